"""The table of `status`, from rows of plain text: nothing here knows what a job is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qrun.render.words import columns

HEADERS: Final = ("JOB", "PHASE", "WHERE", "SHOTS", "ATTEMPT", "HANDLE", "REMARK")
MANY: Final = 500  # rows above which a terminal, too, gets plain columns


def lines(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Plain columns; those that hold nothing are left out."""
    kept = [i for i in range(len(header)) if i == 0 or any(row[i] for row in body)]
    return columns([[row[i] for i in kept] for row in (header, *body)])
