"""The embedded provider: simulators in worker processes, without account or network.

Only plain data stands here; `connect` imports the rest, so that `validate` and `plan` stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qrun.provider import Capabilities, Kind, Recovery

if TYPE_CHECKING:
    from qrun.connection import Access, Connection
    from qrun.providers.local.provider import Local

DDSIM: Final = "ddsim"
AER: Final = "aer"
PULSER: Final = "pulser"

METHODS: Final = (
    "automatic",
    "statevector",
    "density_matrix",
    "stabilizer",
    "extended_stabilizer",
    "matrix_product_state",
)

SEED: Final = 2**53 - 1  # the largest number that every JSON reader keeps

_PROBABILITY: Final = {"type": "number", "minimum": 0, "maximum": 1}

OPTIONS: Final[dict[str, Any]] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "seed": {
            "type": "integer",
            "minimum": 1,
            "maximum": SEED,
            "description": "Where the random numbers begin. Default: made from the submission's marker, and recorded.",
            "examples": [42],
        },
        "method": {
            "enum": list(METHODS),
            "description": "Device aer: how a state is kept. Default: automatic.",
            "examples": ["matrix_product_state"],
        },
        "noise": {
            "type": "object",
            "additionalProperties": False,
            "minProperties": 1,
            "description": "Device aer: errors that happen with these probabilities.",
            "properties": {
                "one_qubit": {**_PROBABILITY, "description": "Depolarizing error after each gate on one qubit."},
                "two_qubit": {**_PROBABILITY, "description": "Depolarizing error after each gate on two qubits."},
                "readout": {**_PROBABILITY, "description": "A measured bit is flipped."},
            },
            "examples": [{"one_qubit": 0.001, "two_qubit": 0.01, "readout": 0.02}],
        },
        "sampling_rate": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "description": "Device pulser: which part of the sequence's time steps is simulated. Default: 1.",
            "examples": [0.5],
        },
    },
}

# Which options each device takes beside the seed.
TAKES: Final = {DDSIM: frozenset[str](), AER: frozenset({"method", "noise"}), PULSER: frozenset({"sampling_rate"})}

CAPABILITIES: Final = Capabilities(
    provider="local",
    kinds={
        "sampling": Kind(
            fields=frozenset({"program", "shots", "params", "options", "tags"}),
            required=frozenset({"program", "shots"}),
            options=OPTIONS,
        ),
        "estimation": Kind(
            fields=frozenset({"program", "shots", "params", "observable", "options", "tags"}),
            required=frozenset({"program", "observable"}),
            options=OPTIONS,
        ),
        "multi": Kind(
            fields=frozenset({"program", "shots", "params", "options", "tags"}),
            required=frozenset({"program", "shots"}),
            options=OPTIONS,
        ),
    },
    default_kind="sampling",
    recovery={"": Recovery.LOCAL},
    devices=(DDSIM, AER, PULSER),
    remote=False,
    settle=0.0,
)


def connect(connection: Connection, access: Access) -> Local:
    """The provider with this connection's settings; starts nothing and needs no access."""
    del access
    from qrun.providers.local.provider import Local

    return Local(connection)
