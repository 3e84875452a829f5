"""What a sequence says of itself without being simulated: its variables, its atoms, the device it was written for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

REQUIRED: Final = ("version", "name", "register", "channels", "variables", "operations", "measurement", "device")
BY_NAME: Final = frozenset({"Chadoq2", "IroiseMVP", "MockDevice"})  # devices that a sequence need not bring along
QUBITS: Final = "qubits"  # the variable that chooses the places of a mappable register


class SequenceError(ValueError):
    """Why a text is no sequence in Pulser's abstract representation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """`variables` by name with their sizes; `atoms` in the register, which is `mappable` if its places are open."""

    variables: Mapping[str, int]
    atoms: int
    mappable: bool
    device: str


@lru_cache(maxsize=64)
def declared(text: str) -> Declared:
    """Raises SequenceError."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SequenceError(f"The sequence is not valid JSON: {error}") from error
    if not isinstance(given, dict):
        raise SequenceError("The sequence is not a JSON object")
    missing = [name for name in REQUIRED if name not in given]
    if missing:
        raise SequenceError(f"The sequence has no {', '.join(missing)}")
    register = given["register"]
    if not isinstance(register, list) or not all(isinstance(atom, dict) for atom in register):
        raise SequenceError("The sequence's register is not a list of atoms")
    return Declared(
        variables=_sizes(given["variables"]),
        atoms=len(register),
        mappable=any("x" not in atom for atom in register),
        device=_device(given["device"]),
    )


def _sizes(variables: Any) -> dict[str, int]:
    if not isinstance(variables, dict):
        raise SequenceError("The sequence's variables are not an object")
    found: dict[str, int] = {}
    for name, entry in variables.items():
        value = entry.get("value") if isinstance(entry, dict) else None
        if not isinstance(value, list):
            raise SequenceError(f"The sequence's variable {name} has no default value")
        found[name] = len(value)
    return found


def _device(given: Any) -> str:
    name = given if isinstance(given, str) else given.get("name") if isinstance(given, dict) else None
    if not isinstance(name, str) or (isinstance(given, str) and given not in BY_NAME):
        raise SequenceError("The sequence's device is neither an object with a name nor one that is known by name")
    return name


def wrong_variables(given: Mapping[str, Any] | None, sequence: Declared) -> str | None:
    """What is wrong with the variables of a job, None where they fit."""
    given = given or {}
    if given and not sequence.variables and not sequence.mappable:
        return "The sequence is not parametrized, so a job cannot have variables"
    wanted = set(sequence.variables) | ({QUBITS} if sequence.mappable else set())
    if missing := sorted(wanted - set(given)):
        return f"Missing variables: {', '.join(missing)}"
    if unknown := sorted(set(given) - wanted):
        return f"The sequence does not declare: {', '.join(unknown)}"
    for name, size in sequence.variables.items():
        value = given[name]
        if isinstance(value, list) and len(value) != size:
            return f"The variable {name} has {size} values, not {len(value)}"
    if sequence.mappable and not isinstance(given[QUBITS], dict):
        return "The variable qubits is a map from atoms to traps"
    return None
