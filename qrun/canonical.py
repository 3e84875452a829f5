"""One byte string for one JSON value: RFC 8785 (JSON Canonicalization Scheme), the input of every digest.

The standard library's encoder already agrees with RFC 8785 except in the spelling of some floats, in the order of keys
beyond the Basic Multilingual Plane, and in what it accepts; only those cases take the slow road here.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"

EXACT = 2**53 - 1  # the largest integer that every JSON reader keeps (RFC 7493 §2.2)


def digest(value: Json) -> str:
    """SHA-256 over the canonical bytes, 64 hexadecimal characters."""
    return hashlib.sha256(canonical(value)).hexdigest()


def canonical(value: Json) -> bytes:
    """RFC 8785 bytes; raises ValueError for NaN, infinity, integers beyond ±(2^53 - 1), and lone surrogates."""
    plain = _plain(value)
    if plain is None:
        return _spell(value).encode()
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def number(value: float) -> str:
    """A finite number as ECMAScript writes it (RFC 8785 §3.2.2.3)."""
    if isinstance(value, int):
        if abs(value) > EXACT:
            raise ValueError(f"{value} is beyond ±(2^53 - 1), which not every JSON reader keeps")
        return str(value)
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a JSON number")
    if value == 0:
        return "0"
    mantissa, _, power = f"{value!r}e0".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    exponent = int(power.removesuffix("e0") or "0")
    fraction = fraction if fraction != "0" else ""
    point = len(whole) + exponent
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def _plain(value: Json) -> Json:
    """The value if the standard encoder spells it as RFC 8785 does, else None."""
    match value:
        case bool() | str():
            return value
        case int():
            return value if abs(value) <= EXACT else None
        case float() | None:
            return None
        case Mapping():
            for key, item in value.items():
                if not key.isascii() or _plain(item) is None:
                    return None
            return value
        case _:
            for item in value:
                if _plain(item) is None:
                    return None
            return value


def _spell(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return number(value)
        case str():
            value.encode()
            return json.dumps(value, ensure_ascii=False)
        case Mapping():
            pairs = sorted(value.items(), key=lambda pair: pair[0].encode("utf-16-be"))
            return "{" + ",".join(f"{_spell(key)}:{_spell(item)}" for key, item in pairs) + "}"
        case _:
            return "[" + ",".join(map(_spell, value)) + "]"
