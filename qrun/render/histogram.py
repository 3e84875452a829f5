"""Counts drawn as bars in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qrun.render.safe import safe
from qrun.render.words import count

ROWS: Final = 16
WIDTH: Final = 40
EIGHTHS: Final = " ▏▎▍▌▋▊▉"
LONGEST: Final = 48  # characters of an outcome's name


def bars(counts: Mapping[str, int], *, rows: int = ROWS, width: int = WIDTH) -> list[str]:
    """One line an outcome, with its share and its count; beyond `rows` only the most frequent ones, and a last line.

    Few outcomes stand in the order of their names, many in the order of their frequency.
    """
    total = sum(counts.values())
    if not total:
        return []
    kept = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    left = kept[rows - 1 :] if len(kept) > rows else []
    kept = kept[: rows - 1] if left else sorted(kept)
    most = max(number for _, number in kept)
    names = [_short(name) for name, _ in kept]
    longest, digits = max(map(len, names)), len(str(most))
    lines = [
        f"{name:<{longest}}  {100 * number / total:5.1f} %  {number:>{digits}}  {_bar(number / most * width)}".rstrip()
        for name, (_, number) in zip(names, kept, strict=True)
    ]
    if left:
        share = 100 * sum(number for _, number in left) / total
        lines.append(f"... and {count(len(left), 'more outcome')} with {share:.1f} %")
    return lines


def headline(counts: Mapping[str, int], *, most: int = 4) -> str:
    """The most frequent outcomes on one line: `00: 508, 11: 492`."""
    kept = list(counts.items())
    text = ", ".join(f"{_short(name)}: {number}" for name, number in kept[:most])
    return f"{text}, ..." if len(kept) > most else text


def _bar(length: float) -> str:
    """In eighths of a character; what is not zero shows."""
    eighths = max(round(length * 8), 1)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _short(name: str) -> str:
    plain = safe(name)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST // 2 - 1]}…{plain[-LONGEST // 2 :]}"
