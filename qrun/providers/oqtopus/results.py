"""Results in the normal form (DESIGN §6), from what was downloaded and the programs that ran."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qrun.errors import Unexpected
from qrun.providers.oqtopus.registers import Registers, registers

BITS: Final = re.compile(r"[01]+")
DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,99}")

Counts = Mapping[str, Any]


def normal(
    result: Mapping[str, Any], *, kind: str, shots: int | None, programs: Sequence[bytes | None]
) -> dict[str, Any]:
    """`result` is the unpacked `result.json`; a program is None where it is not known here.

    Of an sse job this is the last result that its script had.
    """
    sampling, estimation = result.get("sampling"), result.get("estimation")
    if isinstance(estimation, Mapping):
        return estimated(estimation, None if kind == "sse" else shots)
    if not isinstance(sampling, Mapping):
        if kind == "sse":
            return {}
        raise Unexpected("the result holds neither counts nor an expected value")
    counts = _counts(sampling.get("counts"))
    if kind == "sse":
        return sampled(counts, None, None)
    known = [None if program is None else registers(program) for program in programs]
    if kind == "multi":
        return _parts(counts, sampling.get("divided_counts"), known, shots)
    return sampled(counts, known[0] if known else None, shots)


def sampled(counts: Counts, known: Registers | None, shots: int | None) -> dict[str, Any]:
    """Mitigated counts may not add up, so the shots are those that were asked for."""
    names = known.characters if known is not None else ()
    spelled = spell(counts, len(names) or None)
    width = len(next(iter(spelled), names))
    if len(names) != width:
        names = tuple(f"c[{place}]" for place in reversed(range(width)))
    return {
        "bits": list(names),
        "counts": dict(sorted(spelled.items())),
        "shots": shots if shots is not None else sum(spelled.values()),
    }


def spell(counts: Counts, width: int | None) -> Counts:
    """Keys as bit strings. They may come as decimal numbers, which shows where they are not all of one width."""
    keys = {key: key.replace(" ", "") for key in counts}
    widths = {len(bare) for bare in keys.values()}
    binary = all(BITS.fullmatch(bare) for bare in keys.values())
    if binary and widths <= {width}:
        return {bare: counts[key] for key, bare in keys.items()}
    decimal = all(DECIMAL.fullmatch(key) for key in counts)
    if binary and len(widths) == 1 and (width is None or not decimal):
        return {bare: counts[key] for key, bare in keys.items()}
    if not decimal:
        raise Unexpected("the keys of the counts are neither bit strings nor numbers")
    numbers = {int(key): count for key, count in counts.items()}
    needed = max(1, *(number.bit_length() for number in numbers))
    wide = needed if width is None or needed > width else width
    return {f"{number:0{wide}b}": count for number, count in numbers.items()}


def estimated(estimation: Mapping[str, Any], shots: int | None) -> dict[str, Any]:
    error = estimation.get("stds")
    return {
        "value": _real(estimation.get("exp_value")),
        "std_error": None if error is None else _real(error),
        "shots": shots,
    }


def _parts(joined: Counts, divided: Any, known: Sequence[Registers | None], shots: int | None) -> dict[str, Any]:
    """The programs' own counts, in their order; where the server did not divide them, it is done here."""
    if not divided:
        widths = [len(each.characters) if each is not None else 0 for each in known]
        divided = divide(joined, widths) if known and all(widths) else None
    if not divided:
        return sampled(joined, None, shots)
    if not isinstance(divided, Mapping) or not all(key.isdecimal() and len(key) < 8 for key in divided):
        raise Unexpected("the divided counts are not numbered by program")
    parts = {int(key): _counts(value) for key, value in divided.items()}
    if sorted(parts) != list(range(len(known) or len(parts))):
        raise Unexpected(f"{len(known)} programs ran, and the divided counts are of {sorted(parts)}")
    return {
        "parts": [
            sampled(parts[place], known[place] if place < len(known) else None, shots) for place in range(len(parts))
        ]
    }


def divide(joined: Counts, widths: Sequence[int]) -> dict[str, dict[str, Any]] | None:
    """The joined register has program 0 at its right end; None where it is not as wide as the programs together."""
    spelled = spell(joined, sum(widths))
    if any(len(key) != sum(widths) for key in spelled):
        return None
    parts: dict[str, dict[str, Any]] = {}
    end = sum(widths)
    for place, width in enumerate(widths):
        own: dict[str, Any] = {}
        for key, count in spelled.items():
            bits = key[end - width : end]
            own[bits] = own.get(bits, 0) + count
        parts[str(place)] = own
        end -= width
    return parts


def _counts(value: Any) -> Counts:
    if not isinstance(value, Mapping) or not all(
        isinstance(count, (int, float)) and not isinstance(count, bool) for count in value.values()
    ):
        raise Unexpected("the counts are not numbers by outcome")
    return value


def _real(value: Any) -> float:
    """Older servers give [real, imaginary]; an observable's value has no imaginary part but rounding."""
    if isinstance(value, list) and len(value) == 2:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unexpected("the expected value is not a number")
    return value
