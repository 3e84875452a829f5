"""Results in the normal form (DESIGN §6), from what was downloaded and the sequence that ran."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qrun.errors import Unexpected
from qrun.foreign import parse
from qrun.providers.pasqal.sequence import SequenceError, names

BITS: Final = re.compile(r"[01]+")
FORMS: Final[Mapping[str, str]] = {
    "raw": "the outcome of each run, in order",
    "serialised_results": "Pulser's Results, as JSON",
}


def normal(result: Mapping[str, Any], *, params: Mapping[str, Any], program: bytes | None) -> dict[str, Any]:
    """Counts in the order of the register: the first character of a key is the first atom.

    What else the result holds stays in the file, and is named under `other`.
    """
    counts = _counts(result)
    other = described(result)
    if counts is None:
        if not other:
            raise Unexpected("the result holds no counts, and nothing else")
        return {"other": other}
    width = len(next(iter(counts), ""))
    whole = {"bits": _bits(result, params, program, width), "counts": counts, "shots": sum(counts.values())}
    return {**whole, "other": other} if other else whole


def _counts(result: Mapping[str, Any]) -> dict[str, int] | None:
    told = result.get("counter")
    if told is None:
        return _tallied(result.get("raw"))
    if not isinstance(told, Mapping) or not all(map(_whole, told.values())):
        raise Unexpected("the counts are not numbers by outcome")
    _check_keys(told)
    return {key: int(count) for key, count in sorted(told.items())}


def _tallied(raw: Any) -> dict[str, int] | None:
    """From single outcomes, where nobody has counted them."""
    if not isinstance(raw, list) or not raw or not all(isinstance(each, str) for each in raw):
        return None
    _check_keys(raw)
    found: dict[str, int] = {}
    for each in raw:
        found[each] = found.get(each, 0) + 1
    return dict(sorted(found.items()))


def _check_keys(keys: Any) -> None:
    if len({len(key) for key in keys}) > 1 or not all(BITS.fullmatch(key) for key in keys):
        raise Unexpected("the keys of the counts are not bit strings of one length")


def _bits(result: Mapping[str, Any], params: Mapping[str, Any], program: bytes | None, width: int) -> list[str]:
    """The atoms' names by the sequence, else by the result itself, else their places."""
    for found in (_register(program, params), _order(result)):
        if found is not None and (len(found) == width or not width):
            return list(found)
    return [f"atom {place}" for place in range(width)]


def _register(program: bytes | None, params: Mapping[str, Any]) -> Sequence[str] | None:
    try:
        return None if program is None else names(program, params)
    except SequenceError:
        return None


def _order(result: Mapping[str, Any]) -> Sequence[str] | None:
    order = _serialised(result).get("atom_order")
    return list(map(str, order)) if isinstance(order, list) else None


def described(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a result holds beside its counts, by name; of Pulser's own results also what was observed."""
    found: dict[str, Any] = {}
    for name, value in sorted(result.items()):
        if name == "counter" or value in (None, [], {}, ""):
            continue
        found[name] = FORMS.get(name, f"a member that this qrun does not know ({_kind(value)})")
    tags = _serialised(result).get("tagmap")
    if isinstance(tags, Mapping) and tags:
        found["observed"] = sorted(map(str, tags))
    return found


def _serialised(result: Mapping[str, Any]) -> Mapping[str, Any]:
    text = result.get("serialised_results")
    try:
        told = parse(text.encode()) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, Mapping) else {}


def _kind(value: Any) -> str:
    match value:
        case str():
            return "a text"
        case list():
            return "a list"
        case Mapping():
            return "a map"
        case _:
            return json.dumps(value)[:40]


def _whole(value: Any) -> bool:
    """A count may be written as 5.0."""
    number = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return number and not isinstance(value, bool) and value >= 0
