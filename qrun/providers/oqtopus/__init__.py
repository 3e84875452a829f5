"""OQTOPUS clouds, each installation with an address of its own.

Only plain data stands here; `connect` imports the rest, so that `validate` and `plan` stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qrun.provider import Capabilities, Kind, Recovery

if TYPE_CHECKING:
    from qrun.connection import Access, Connection
    from qrun.providers.oqtopus.provider import Oqtopus

NAME: Final = 256  # characters of a job's name

_NAME: Final[dict[str, Any]] = {
    "type": "string",
    "minLength": 1,
    "maxLength": NAME,
    "x-local": True,
    "x-means": f"a text of 1 to {NAME} characters",
    "description": "The job's name in the cloud. Default: its name in the manifest.",
    "examples": ["bell state, Tuesday"],
}

_TRANSPILER_OPTIONS: Final[dict[str, Any]] = {
    "type": "object",
    "x-name": "transpiler_options",
    "x-means": "a map such as {optimization_level: 1}",
    "description": "What the transpiler is told; `optimization_level` and `initial_layout` are those of qiskit.",
    "properties": {
        "optimization_level": {
            "type": "integer",
            "minimum": 0,
            "maximum": 3,
            "x-means": "a whole number from 0 to 3",
            "description": "How hard qiskit tries to shorten the circuit.",
            "examples": [2],
        },
        "initial_layout": {
            "type": "array",
            "x-means": "a list of qubits such as [0, 1]",
            "items": {"type": "integer", "minimum": 0, "x-means": "the number of a qubit"},
            "description": "The device's qubit for each of the program's.",
            "examples": [[3, 1]],
        },
    },
    "examples": [{"optimization_level": 2}],
}

_TRANSPILER: Final[dict[str, Any]] = {
    "type": "object",
    "x-name": "transpiler_info",
    "x-means": "{transpiler_lib: qiskit, transpiler_options: {…}}, or {transpiler_lib: null} for no transpiling",
    "description": "How the cloud transpiles the program. Default: as the cloud likes (qiskit, optimization_level 1).",
    "anyOf": [
        {"maxProperties": 0},
        {"required": ["transpiler_lib"], "properties": {"transpiler_lib": {"const": None}}},
        {"required": ["transpiler_lib", "transpiler_options"]},
    ],
    "properties": {
        "transpiler_lib": {
            "type": ["string", "null"],
            "x-means": "the name of a transpiler such as qiskit, or null",
            "description": "The transpiler; null sends the program to the device as it is.",
            "examples": ["qiskit", None],
        },
        "transpiler_options": _TRANSPILER_OPTIONS,
    },
    "additionalProperties": False,
    "examples": [{"transpiler_lib": None}],
}

_COUNT: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "x-means": "a whole number of 0 or more"}

_SIMULATOR: Final[dict[str, Any]] = {
    "type": "object",
    "x-name": "simulator_info",
    "x-means": "a map such as {seed_simulation: 42}",
    "description": "What a simulator is told. It is sent and kept; not every installation heeds it.",
    "properties": {
        "n_qubits": {**_COUNT, "description": "Qubits to simulate.", "examples": [5]},
        "n_nodes": {**_COUNT, "description": "Computers to use.", "examples": [12]},
        "n_per_node": {**_COUNT, "description": "Processes on each.", "examples": [1]},
        "seed_simulation": {**_COUNT, "description": "Where the random numbers begin.", "examples": [42]},
        "simulation_opt": {
            "type": "object",
            "x-name": "simulation_opt",
            "x-means": "a map",
            "description": "How the circuit is optimised before it is simulated.",
            "properties": {
                "optimization_method": {
                    "type": "string",
                    "x-means": "a text",
                    "description": "The method.",
                    "examples": ["light"],
                },
                "optimization_block_size": {**_COUNT, "description": "Gates in a block.", "examples": [1]},
                "optimization_swap_level": {**_COUNT, "description": "How swaps are treated.", "examples": [1]},
            },
            "examples": [{"optimization_method": "light"}],
        },
    },
    "examples": [{"seed_simulation": 42}],
}

_MITIGATION: Final[dict[str, Any]] = {
    "type": "object",
    "x-name": "mitigation_info",
    "x-means": "{ro_error_mitigation: pseudo_inverse}",
    "description": "Corrections of the counts. Default: none.",
    "properties": {
        "ro_error_mitigation": {
            "enum": ["pseudo_inverse"],
            "description": "Correct errors of the readout; the counts may then not add up to the shots.",
            "examples": ["pseudo_inverse"],
        }
    },
    "additionalProperties": False,
    "examples": [{"ro_error_mitigation": "pseudo_inverse"}],
}


def _options(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


CIRCUIT: Final = _options(
    transpiler_info=_TRANSPILER, simulator_info=_SIMULATOR, mitigation_info=_MITIGATION, name=_NAME
)
SCRIPT: Final = _options(name=_NAME)

CAPABILITIES: Final = Capabilities(
    provider="oqtopus",
    kinds={
        "sampling": Kind(
            fields=frozenset({"program", "shots", "options", "tags"}),
            required=frozenset({"program", "shots"}),
            options=CIRCUIT,
        ),
        "multi": Kind(
            fields=frozenset({"program", "shots", "options", "tags"}),
            required=frozenset({"program", "shots"}),
            options=CIRCUIT,
        ),
        "estimation": Kind(
            fields=frozenset({"program", "shots", "observable", "options", "tags"}),
            required=frozenset({"program", "shots", "observable"}),
            options=CIRCUIT,
        ),
        "sse": Kind(
            fields=frozenset({"program", "options", "tags"}),
            required=frozenset({"program"}),
            options=SCRIPT,
        ),
    },
    default_kind="sampling",
    recovery={"": Recovery.ID_FIRST},
    settle=60.0,
    logs=True,
)


def connect(connection: Connection, access: Access) -> Oqtopus:
    """The provider with this connection's settings; asks nobody yet, and for no secret."""
    from qrun.providers.oqtopus.provider import Oqtopus

    return Oqtopus(connection, access)
