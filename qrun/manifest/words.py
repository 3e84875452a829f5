"""How messages speak of values and names: cut, quoted, and with the nearest known name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

CUT: Final = 80
ALIKE: Final = 0.61  # "params" is none of "vars", which share every third letter
MANY: Final = 300  # names that are compared letter by letter


def show(value: Any) -> str:
    """A value in a message: text in quotes, numbers bare, 80 characters at most."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = json.dumps(value, ensure_ascii=False) if not isinstance(value, float) else _number(value)
    if len(text) <= CUT:
        return text
    return text[: CUT - 2] + ("…" + '"' if text.startswith('"') else "…")


def field(path: Sequence[str | int]) -> str:
    """A path as people write it: `jobs.bell.tags[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text if len(text) <= CUT else text[: CUT - 1] + "…"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    from difflib import get_close_matches

    word = name.lower()
    lower = {other.lower(): other for other in known}
    if word in lower:
        return lower[word]
    if len(name) > CUT:
        return None
    near = list(lower) if len(lower) <= MANY else [other for other in lower if other[:2] == word[:2]][:MANY]
    close = get_close_matches(word, near, n=1, cutoff=ALIKE)
    return lower[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str], what: str | None = None) -> str | None:
    """A hint with the nearest name, else with all of them where they are few."""
    names = sorted(known)
    close = nearest(name, names)
    if close is not None:
        return f"did you mean {show(close)}?"
    if what is None or not names or len(names) > 12:
        return None
    return f"{what}: {', '.join(names)}"


def _number(value: float) -> str:
    return repr(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)
