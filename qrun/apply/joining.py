"""Which open container a job may join, so that jobs added to a manifest later stand with those that are there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from qrun.containers import noted_open
from qrun.errors import QrunError
from qrun.fact import Noted
from qrun.provider import Containers
from qrun.record import Handle

if TYPE_CHECKING:
    from qrun.apply.loop import Apply
    from qrun.job import Job

OPEN: Final = {"open": "yes"}
SHUT: Final = {"open": ""}


def stays_open(job: Job | None, marker: str) -> list[Noted]:
    """What is noted with the handles of a submission whose container is to stay open."""
    return [Noted(marker=marker, facts=OPEN)] if job is not None and job.conduct.open else []


async def open_container(apply: Apply, connection: str, job: Job) -> Handle | None:
    """The container that such a job may join. What turns out to be closed is noted as such; raises ProviderError."""
    provider = cast(Containers, apply.connect(connection))
    closed: set[Handle] = set()
    shut: set[str] = set()  # markers: one fact serves all members of a submission
    for held, record, attempt in list(noted_open(apply.store.records)):
        if attempt.marker in shut:
            continue
        if held not in closed:
            if attempt.connection != connection:
                continue
            if not provider.alike(job, apply.store.job(record.key, record.digest)):
                continue
            if await provider.opened(held):
                return held
            closed.add(held)
        await apply.ledger.commit(Noted(marker=attempt.marker, facts=SHUT))
        shut.add(attempt.marker)
    return None


async def look_at_open(apply: Apply) -> None:
    """What is noted as open and has been closed elsewhere is noted as such; where nobody answers, nothing changes."""
    only = apply.policy.only
    ways: dict[Handle, str] = {}  # of those that hold a job which is meant
    markers: dict[Handle, dict[str, None]] = {}  # of all submissions that made or joined it
    for held, record, attempt in noted_open(apply.store.records):
        markers.setdefault(held, {})[attempt.marker] = None
        if only is None or record.key in only:
            ways[held] = attempt.connection or record.provider
    opened = await asyncio.gather(*(_may_be_open(apply, way, held) for held, way in ways.items()))
    shut = [marker for held, stays in zip(ways, opened, strict=True) if not stays for marker in markers[held]]
    if shut:
        await apply.ledger.commit(*[Noted(marker=marker, facts=SHUT) for marker in shut])


async def _may_be_open(apply: Apply, connection: str, held: Handle) -> bool:
    try:
        provider = apply.connect(connection)
        return not provider.capabilities.opens or await cast(Containers, provider).opened(held)
    except QrunError:
        return True
