"""A Pulser sequence in its abstract representation, read as far as a submit needs it; nothing is simulated or built.

The register lists either atoms with their places, or names of atoms that each run puts onto a layout of its own, with
the reserved variable `qubits`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

KEYS: Final = ("version", "name", "register", "channels", "variables", "operations", "measurement", "device")
NAMED_DEVICES: Final = ("Chadoq2", "IroiseMVP", "MockDevice")  # that need no description of their own
QUBITS: Final = "qubits"
SHOWN: Final = 60  # characters of a value in a message


class SequenceError(ValueError):
    """What is wrong with a program; `line` counts from 1 where it is known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, kw_only=True, slots=True)
class Variable:
    whole: bool
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sequence:
    """`text` is what is sent. `atoms` are named in the order of the register, which is that of a key's characters."""

    text: str = field(repr=False)
    atoms: tuple[str, ...]
    mappable: bool
    variables: Mapping[str, Variable]


@lru_cache(maxsize=16)
def read(data: bytes) -> Sequence:
    """Raises SequenceError."""
    text = _text(data)
    told = _object(text)
    lacking = [key for key in KEYS if key not in told]
    if lacking:
        raise SequenceError(f"it has no {' and no '.join(map(_quoted, lacking))}, as a Pulser sequence has")
    device = told["device"]
    if not isinstance(device, Mapping) and device not in NAMED_DEVICES:
        known = ", ".join(NAMED_DEVICES)
        raise SequenceError(f"its device is {_shown(device)}; a description of the device, or one of {known}, is due")
    atoms, mappable = _register(told["register"])
    return Sequence(text=text, atoms=atoms, mappable=mappable, variables=dict(_variables(told["variables"])))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SequenceError("the program is not UTF-8 text", line) from None


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _object(text: str) -> Mapping[str, Any]:
    try:
        told = json.loads(text, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise SequenceError(f"the program is not JSON: {error.msg.lower()}", error.lineno) from None
    except (ValueError, RecursionError) as error:
        raise SequenceError(f"the program is not JSON: {error}") from None
    if not isinstance(told, Mapping):
        hint = " (it is a text: take the quotes away)" if isinstance(told, str) and text.lstrip()[:1] == '"' else ""
        raise SequenceError(f"the program is no sequence in Pulser's abstract representation{hint}")
    return told


def _register(told: Any) -> tuple[tuple[str, ...], bool]:
    if not isinstance(told, list) or not told or not all(isinstance(atom, Mapping) for atom in told):
        raise SequenceError("its register is not a list of atoms")
    mappable = all("qid" in atom for atom in told)
    names = [atom.get("qid" if mappable else "name") for atom in told]
    if not all(isinstance(name, (str, int)) for name in names):
        raise SequenceError("its register has atoms without a name")
    return tuple(map(str, names)), mappable


def _variables(told: Any) -> Iterator[tuple[str, Variable]]:
    if not isinstance(told, Mapping):
        raise SequenceError("its variables are not a map")
    for name, variable in told.items():
        kind = variable.get("type") if isinstance(variable, Mapping) else None
        value = variable.get("value") if isinstance(variable, Mapping) else None
        if kind not in ("int", "float") or not isinstance(value, list):
            raise SequenceError(f"its variable {_quoted(name)} has no type and value")
        yield name, Variable(whole=kind == "int", size=max(1, len(value)))


def names(data: bytes, params: Mapping[str, Any]) -> tuple[str, ...]:
    """What the characters of a key stand for, from left to right; of a layout only the atoms that were put onto it."""
    sequence = read(data)
    chosen = params.get(QUBITS)
    if not sequence.mappable or not isinstance(chosen, Mapping):
        return sequence.atoms
    return tuple(atom for atom in sequence.atoms if atom in chosen)


def flaws(sequence: Sequence, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the values of one job: the parameter's name, and what is needed."""
    if sequence.mappable:
        yield from _places(sequence, params)
    known = ", ".join(sorted(sequence.variables)) or "none"
    for name in params:
        if name not in sequence.variables and not (name == QUBITS and sequence.mappable):
            yield name, f"the sequence has no such variable; it has {known}"
    for name, variable in sequence.variables.items():
        if name not in params:
            yield name, "the sequence needs a value for it"
        elif not _fits(params[name], variable):
            yield name, f"it is {_shown(params[name])}; {_wanted(variable)} is needed"


def _places(sequence: Sequence, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if QUBITS not in params:
        yield QUBITS, f"the register is chosen by each run: say where atoms are, as in {{{sequence.atoms[0]}: 3}}"
        return
    chosen = params[QUBITS]
    if not isinstance(chosen, Mapping) or not chosen or not all(_number(at, whole=True) for at in chosen.values()):
        yield QUBITS, f"it is {_shown(chosen)}; a map of atoms and the numbers of their traps is needed"
        return
    for atom in chosen:
        if atom not in sequence.atoms:
            yield QUBITS, f"there is no atom {_quoted(atom)}; there are {', '.join(sequence.atoms[:20])}"


def _fits(value: Any, variable: Variable) -> bool:
    items = value if isinstance(value, (list, tuple)) else [value]
    return len(items) == variable.size and all(_number(item, whole=variable.whole) for item in items)


def _number(value: Any, *, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return not whole or float(value).is_integer()


def _wanted(variable: Variable) -> str:
    noun = "whole number" if variable.whole else "number"
    return f"a {noun}" if variable.size == 1 else f"a list of {variable.size} {noun}s"


def _quoted(text: str) -> str:
    return f'"{text[:SHOWN]}"'


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
