"""JSON that others wrote, read strictly: no key twice, no NaN, nothing that is too deep or too large to be honest."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final

DEEPEST: Final = 100


def parse(content: bytes) -> Any:
    """Strict JSON; raises ValueError."""
    try:
        text = content.decode("utf-8-sig")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"nested deeper than {DEEPEST} levels") from None
    if content.count(b"[") + content.count(b"{") > DEEPEST:
        _shallow(value)
    if b"\\u" in content:
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text: UnicodeEncodeError
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f'"{twice[:80]}" stands twice in one object')
    return table


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _shallow(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _inside(outer)]
        if not level:
            return
    if any(isinstance(inner, (dict, list)) for inner in level):
        raise ValueError(f"nested deeper than {DEEPEST} levels")


def _inside(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer
