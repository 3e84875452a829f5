"""The types of OpenQASM's numbers, truths and bit strings, and what a value becomes when it is given one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

NUMBERS: Final = frozenset({"int", "uint", "float", "angle", "bool"})

WANTED: Final[Mapping[str, str]] = {
    "int": "a whole number",
    "uint": "a whole number from 0",
    "float": "a number",
    "angle": "a number",
    "bool": "true or false",
    "bit": "a bit string",
}

LONG: Final = 1000


class Type(NamedTuple):
    """`width` is the size in bits, where the program gives one."""

    kind: str
    width: int | None

    def __str__(self) -> str:
        return f"{self.kind}[{self.width}]" if self.width else self.kind


def number(value: Any) -> Any:
    """Bit strings count as the number that they spell."""
    return int(value, 2) if isinstance(value, str) else value


def shortened(value: Any) -> str:
    """The value as a message shows it. Python refuses to write very long numbers with decimal digits."""
    text = f"{value:#x}" if isinstance(value, int) and value.bit_length() > LONG else str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def fit(type_: Type, value: Any) -> Any:
    """The value as its declared type holds it; ValueError says why it does not."""
    match type_.kind:
        case "bool":
            return bool(number(value))
        case "float" | "angle":
            return _real(type_, number(value))
        case "bit":
            return _bits(type_, value)
        case _:
            return _whole(type_, number(value))


def _real(type_: Type, value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{shortened(value)} does not fit {type_}") from None


def _bits(type_: Type, value: Any) -> str:
    size = type_.width or 1
    match value:
        case str() if len(value) == size:
            return value
        case int() if 0 <= value < 1 << size:
            return format(value, f"0{size}b")
        case _:
            given = f'"{shortened(value)}"' if isinstance(value, str) else shortened(value)
            raise ValueError(f"{given} does not fit {type_}")


def _whole(type_: Type, value: Any) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value} is not a whole number")
    whole = int(value)
    if not holds(type_, whole):
        raise ValueError(f"{shortened(whole)} does not fit {type_}")
    return whole


def holds(type_: Type, whole: int) -> bool:
    """Without a width, whole numbers have 64 bits."""
    size = type_.width or 64
    if type_.kind == "uint":
        return 0 <= whole < 1 << size
    return -(1 << size - 1) <= whole < 1 << size - 1


def bound(type_: Type, value: Any) -> Any:
    """The value of a parameter as an input of this type takes it; None where it does not fit."""
    kind, width = type_
    match kind, value:
        case "bool", bool():
            return value
        case _, bool():
            return ("1" if value else "0") if kind == "bit" and width in (None, 1) else None
        case (("float" | "angle"), int() | float()):
            return _finite(value)
        case "bit", str():
            return value if len(value) == (width or 1) and not set(value) - {"0", "1"} else None
        case "bit", 0 | 1:
            return str(value) if width in (None, 1) else None
        case (("int" | "uint"), float()) if value.is_integer():
            return bound(type_, int(value))
        case (("int" | "uint"), int()):
            return value if holds(type_, value) else None
    return None


def _finite(value: float) -> float | None:
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
