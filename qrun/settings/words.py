"""How messages speak of values, names and places."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

Path = tuple[str | int, ...]


def field_name(path: Path) -> str:
    """A path as people write it: `connections.sim.services.a`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text if len(text) <= 80 else text[:79] + "…"


def show(value: Any) -> str:
    """A value in a message: text in quotes, numbers bare, 80 characters at most."""
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:78] + ('…"' if isinstance(value, str) else "…")


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def either(names: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def masked(address: Any) -> str:
    """An address in a message, unless it may hold a password."""
    return show(address) if not isinstance(address, str) or "@" not in address else "what stands here"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    names = sorted(known)
    close = get_close_matches(name.lower(), names, n=1) if len(name) <= 80 else []
    if close:
        return f'did you mean "{close[0]}"?'
    return f"there are {', '.join(names)}" if 0 < len(names) <= 12 else None
