"""Containers that stay open, so that jobs added to a manifest later join those that are there.

Which ones may be open is noted with the attempts that they hold; whether one still is, only the provider knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, cast

from qrun.fact import Noted
from qrun.provider import Containers
from qrun.record import Attempt, Handle, Record, Records

if TYPE_CHECKING:
    from qrun.apply.loop import Apply
    from qrun.job import Job

Holding = tuple[Record, Attempt]

OPEN: Final = {"open": "yes"}
SHUT: Final = {"open": ""}


def container(handle: Handle) -> Handle:
    """The provider's object that holds the job: `<batch>` of `<batch>/<job>`, `<job>` of `<job>#<i>`, else itself."""
    return Handle(handle.partition("/")[0].partition("#")[0])


def held(records: Records) -> dict[Handle, list[Holding]]:
    """What each container holds, as far as the records know."""
    found: dict[Handle, list[Holding]] = {}
    for record in records:
        for attempt in record.attempts:
            if attempt.handle is not None:
                found.setdefault(container(attempt.handle), []).append((record, attempt))
    return found


def noted_open(records: Records) -> Iterator[tuple[Handle, Record, Attempt]]:
    """Every member of a container that may be open."""
    for record in records:
        for attempt in record.attempts:
            if attempt.handle is not None and attempt.noted.get("open"):
                yield container(attempt.handle), record, attempt


def stays_open(job: Job | None, marker: str) -> list[Noted]:
    """What is noted with the handles of a submission whose container is to stay open."""
    return [Noted(marker=marker, facts=OPEN)] if job is not None and job.conduct.open else []


async def open_container(apply: Apply, connection: str, job: Job) -> Handle | None:
    """The container that such a job may join. What turns out to be closed is noted as such; raises ProviderError."""
    provider = cast(Containers, apply.connect(connection))
    closed: set[Handle] = set()
    for held, record, attempt in list(noted_open(apply.store.records)):
        if held in closed:
            await apply.ledger.commit(Noted(marker=attempt.marker, facts=SHUT))
        elif attempt.connection == connection and provider.alike(job, apply.store.job(record.key, record.digest)):
            if await provider.opened(held):
                return held
            closed.add(held)
            await apply.ledger.commit(Noted(marker=attempt.marker, facts=SHUT))
    return None
