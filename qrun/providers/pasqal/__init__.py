"""Pasqal Cloud: neutral atoms, one Pulser sequence with many sets of parameters, in batches that can stay open.

Only plain data stands here; `connect` imports the rest, so that `validate` and `plan` stay light.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from qrun.provider import Capabilities, Kind, Recovery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qrun.connection import Access, Connection
    from qrun.job import Job, Program
    from qrun.provider import Flaw
    from qrun.providers.pasqal.provider import Pasqal

PULSE: Final = "pulse"
WORKLOAD: Final = "workload"
MEMBERS: Final = 100  # jobs of a batch, unless `submit.pack` says otherwise

_CONFIGURATION: Final[dict[str, Any]] = {
    "type": "object",
    "x-name": "configuration",
    "x-means": "a map such as {with_noise: false}",
    "description": "What an older emulator (EMU_FREE, EMU_TN) is told. New work: backend_configuration.",
    "properties": {
        "with_noise": {
            "type": "boolean",
            "description": "EMU_FREE: with the noise of the device. Default: false.",
            "examples": [True],
        },
        "strict_validation": {
            "type": "boolean",
            "description": "EMU_FREE: refuse what the real device could not run. Default: false.",
            "examples": [True],
        },
        "result_types": {
            "type": ["array", "null"],
            "items": {"type": "string", "x-means": "the name of a form of results"},
            "x-means": "a list of forms of results",
            "description": "EMU_FREE: which forms of results are wanted. Default: the counts.",
            "examples": [["counter"]],
        },
        "dt": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "EMU_TN: the step in time, in ns. Default: 10.",
            "examples": [5],
        },
        "precision": {
            "enum": ["low", "normal", "high"],
            "description": "EMU_TN: how exact. Default: normal.",
            "examples": ["high"],
        },
        "max_bond_dim": {
            "type": "integer",
            "minimum": 1,
            "description": "EMU_TN: the largest bond dimension. Default: 500.",
            "examples": [100],
        },
    },
    "examples": [{"with_noise": False}],
}

_BACKEND: Final[dict[str, Any]] = {
    "type": "object",
    "x-name": "backend_configuration",
    "x-means": "a map, as Pulser writes its EmulationConfig",
    "description": "What an emulator is told: the JSON of Pulser's EmulationConfig (to_abstract_repr), as a map.",
    "examples": [{"observables": [], "with_modulation": False}],
}

_WEBHOOK: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": "^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?$",
    "maxLength": 2048,
    "x-local": True,
    "x-means": "an address that begins with https://",
    "description": "An address that the cloud tells of changes. Default: the connection's. The cloud promises nothing.",
    "examples": ["https://example.org/hook"],
}

_TYPE: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 256,
    "x-means": "the name of a type such as qadence_circuit",
    "description": "What kind of workload it is, in the cloud's own word.",
    "examples": ["qadence_circuit"],
}

PULSE_OPTIONS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"configuration": _CONFIGURATION, "backend_configuration": _BACKEND, "webhook": _WEBHOOK},
}
WORKLOAD_OPTIONS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["workload_type"],
    "properties": {"workload_type": _TYPE},
}


def _flaws(job: Job, content: Callable[[Program], bytes]) -> Iterable[Flaw]:
    from qrun.providers.pasqal.flaws import flaws

    return flaws(job, content)


CAPABILITIES: Final = Capabilities(
    provider="pasqal",
    kinds={
        PULSE: Kind(
            fields=frozenset({"program", "shots", "params", "options", "tags"}),
            required=frozenset({"program"}),
            options=PULSE_OPTIONS,
            flaws=_flaws,
        ),
        WORKLOAD: Kind(
            fields=frozenset({"program", "options", "tags"}),
            required=frozenset({"program", "options"}),
            options=WORKLOAD_OPTIONS,
            flaws=_flaws,
        ),
    },
    default_kind=PULSE,
    recovery={
        "": Recovery.SEARCH,
        "*/join": Recovery.COUNT,
        "*/rebatch": Recovery.COUNT,
        WORKLOAD: Recovery.NOTHING,
    },
    settle=600.0,  # the service may take minutes to create a batch
    relabel=True,
    filters=frozenset(
        {
            "containers",
            "open",
            "ids",
            "within",
            "projects",
            "users",
            "priorities",
            "least",
            "most",
            "errors",
        }
    ),
    members=MEMBERS,
    packs=True,
    opens=True,
)

# By way of OVH there are no lists to search, nothing can be changed once it is sent, and no batch stays open.
OVH: Final = replace(
    CAPABILITIES,
    kinds={PULSE: CAPABILITIES.kinds[PULSE]},
    recovery={"": Recovery.NOTHING},
    cancel=False,
    relabel=False,
    opens=False,
)
VARIANTS: Final = {"ovh": OVH}


def connect(connection: Connection, access: Access) -> Pasqal:
    """The provider with this connection's settings; asks nobody yet, and for no secret."""
    from qrun.providers.pasqal.provider import Pasqal

    return Pasqal(connection, access)
