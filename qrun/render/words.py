"""Small phrases that all renderers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from typing import Final

from qrun.render.safe import safe

WIDEST: Final = 80  # a column does not grow beyond this for the sake of one long name; a handle may be two UUIDs long


def job_name(experiment: str, key: str) -> str:
    """As users and commands say it (`Job.name`), safe to print."""
    return safe(key if key == experiment else f"{experiment}.{key}")


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """The first names, and how many more there are."""
    shown = ", ".join(f'"{safe(name)}"' for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def phases(counts: Mapping[str, int]) -> str:
    """`3 succeeded, 1 failed`; in the order given."""
    return ", ".join(f"{number} {phase}" for phase, number in counts.items() if number)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 12 min`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size(number: int) -> str:
    """`340 B`, `1.5 MiB`."""
    amount = float(number)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def blocks(rows: Callable[[], Iterable[Sequence[str]]], *, gap: str = "  ") -> Iterator[str]:
    """As `columns`, a thousand lines in one text, for rows that are made twice rather than kept."""
    widths: list[int] = []
    for row in rows():
        widths = [max(pair) for pair in zip_longest(widths, map(len, row), fillvalue=0)]
    form = _form(widths, gap)
    lines = (form(*row).rstrip() for row in rows())
    while block := list(islice(lines, 1000)):
        yield "\n".join(block)


def _form(widths: Sequence[int], gap: str) -> Callable[..., str]:
    capped = [*(min(width, WIDEST) for width in widths[:-1]), 0]
    return gap.join(f"{{:<{width}}}" for width in capped).format


def columns(rows: Iterable[Sequence[str]], *, gap: str = "  ") -> list[str]:
    """Rows of cells, each column as wide as its cells (up to a limit); the last column runs free."""
    kept = list(rows)
    if not kept:
        return []
    form = _form([max(map(len, column)) for column in zip(*kept, strict=True)], gap)
    return [form(*row).rstrip() for row in kept]
