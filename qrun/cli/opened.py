"""Batches that may still take more jobs, as the results have them noted, and how every command tells of them.

Only the provider knows whether a batch is still open; it is asked when a job may join, by `qrun sync`, by `qrun close`.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from qrun.cli.out import SHOWN, tell
from qrun.containers import Holding, noted_open
from qrun.record import Handle, Records
from qrun.render.safe import safe
from qrun.render.words import count


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """One container that is noted open. `members` are sorted by key, and never none."""

    experiment: str
    connection: str
    container: Handle
    members: tuple[Holding, ...]

    @property
    def jobs(self) -> Sequence[str]:
        """The keys, each once: a job may be in it with several attempts."""
        return list(dict.fromkeys(record.key for record, _ in self.members))

    @property
    def markers(self) -> Sequence[str]:
        """Those of all submissions that made or joined it."""
        return list(dict.fromkeys(attempt.marker for _, attempt in self.members))

    def __str__(self) -> str:
        return f"{safe(self.container)} on {safe(self.connection)}"


def opened(experiment: str, records: Records, *, only: Collection[str] | None = None) -> list[Opened]:
    """The batches that are noted open, in the order of their first jobs; with `only` those that hold such a job."""
    if not any(attempt.noted for lines in records.by_key.values() for r in lines.values() for attempt in r.attempts):
        return []  # asked by every command; sorting many records for nothing takes five times as long
    found: dict[tuple[str, Handle], list[Holding]] = {}
    for container, record, attempt in noted_open(records):
        found.setdefault((attempt.connection or record.provider, container), []).append((record, attempt))
    return [
        Opened(experiment=experiment, connection=connection, container=container, members=tuple(members))
        for (connection, container), members in found.items()
        if only is None or any(record.key in only for record, _ in members)
    ]


def counted(batch: Opened) -> str:
    return f"({count(len(batch.jobs), 'job')})"


def tell_open(batches: Sequence[Opened]) -> None:
    """One line a batch, with what to type when nothing more is to join."""
    for batch in batches[:SHOWN]:
        name = shlex.quote(safe(f"{batch.experiment}.{batch.jobs[0]}"))
        tell(f"batch {batch} is open {counted(batch)}: qrun close {name}")
    if len(batches) > SHOWN:
        tell(f"... and {len(batches) - SHOWN} more: qrun close --all")


def open_json(batches: Sequence[Opened]) -> dict[str, Any]:
    """The field `open` of an experiment's entry, where there is anything to say."""
    entries = [{"connection": b.connection, "container": b.container, "jobs": b.jobs} for b in batches]
    return {"open": entries} if entries else {}
