"""Which open container a job may join, so that jobs added to a manifest later stand with those that are there."""

from __future__ import annotations

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
    for held, record, attempt in list(noted_open(apply.store.records)):
        if held in closed:
            await apply.ledger.commit(Noted(marker=attempt.marker, facts=SHUT))
        elif attempt.connection == connection and provider.alike(job, apply.store.job(record.key, record.digest)):
            if await provider.opened(held):
                return held
            closed.add(held)
            await apply.ledger.commit(Noted(marker=attempt.marker, facts=SHUT))
    return None


async def look_at_open(apply: Apply) -> None:
    """What is noted as open and has been closed elsewhere is noted as such; where nobody answers, nothing changes."""
    open_: dict[Handle, bool] = {}
    for held, record, attempt in list(noted_open(apply.store.records)):
        if held not in open_:
            open_[held] = await _may_be_open(apply, attempt.connection or record.provider, held)
        if not open_[held]:
            await apply.ledger.commit(Noted(marker=attempt.marker, facts=SHUT))


async def _may_be_open(apply: Apply, connection: str, held: Handle) -> bool:
    try:
        provider = apply.connect(connection)
        return not provider.capabilities.opens or await cast(Containers, provider).opened(held)
    except QrunError:
        return True
