"""The jobs of an account, newest first, each with what its batch says of it.

Tags and device belong to the batch, the status to the job. So where tags or a device are asked for, batches are listed
and then their jobs; else jobs, and then the batches that they are of. Times of creation are compared here: what the
service takes for a start and an end is told in two ways.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from qrun.clock import instant
from qrun.provider import Filters, Found
from qrun.providers.pasqal import PULSE, WORKLOAD, wire
from qrun.providers.pasqal.core import Document, Query, named
from qrun.providers.pasqal.looking import NEWEST, Look
from qrun.providers.pasqal.places import Route, lacking
from qrun.providers.pasqal.wire import WORDS

TOGETHER: Final = 10  # batches whose jobs are listed together


async def account(look: Look, filters: Filters) -> AsyncIterator[Found]:
    """Both streams are newest first; what comes next is the newer of their heads."""
    if look.core.ovh:
        raise lacking("lists")
    streams = [stream(look, filters) for kind, stream in STREAMS.items() if filters.kind in (None, kind)]
    heads = [await anext(stream, None) for stream in streams]
    while any(head is not None for head in heads):
        at = max(range(len(heads)), key=lambda place: _age(heads[place]))
        found = heads[at]
        assert found is not None
        yield found
        heads[at] = await anext(streams[at], None)


def _age(found: Found | None) -> tuple[bool, float]:
    return (found is not None, instant(found.created) if found is not None and found.created else 0.0)


async def _jobs(look: Look, filters: Filters) -> AsyncGenerator[Found, None]:
    pages = _by_batch(look, filters) if filters.tags or filters.device else _by_job(look, filters)
    async with aclosing(pages) as listed:
        async for page in listed:
            for found in sorted(page, key=_age, reverse=True):
                if meant(found, filters):
                    yield found


async def _by_batch(look: Look, filters: Filters) -> AsyncGenerator[Sequence[Found], None]:
    device = [("device_type", filters.device)] if filters.device else []
    query = [*look.own(), *[("tag", tag) for tag in filters.tags[:1]], *device, *NEWEST]
    async for listed in look.core.pages(Route.BATCHES, query):
        page = await look.tagged(listed) if filters.tags else listed
        for at in range(0, len(page), TOGETHER):
            batches = {wire.identity(each): each for each in page[at : at + TOGETHER]}
            for part in named("batch_id", list(batches)):
                jobs = await look.core.all(Route.JOBS, [*part, *_words(filters)])
                yield [wire.found(job, batches[job["batch_id"]]) for job in jobs if job.get("batch_id") in batches]


async def _by_job(look: Look, filters: Filters) -> AsyncGenerator[Sequence[Found], None]:
    async for page in look.core.pages(Route.JOBS, [*look.own(), *_words(filters)]):
        names = list(dict.fromkeys(str(job["batch_id"]) for job in page if job.get("batch_id")))
        batches: dict[str, Document] = {}
        for part in named("id", names):
            batches |= {wire.identity(each): each for each in await look.core.all(Route.BATCHES, part)}
        found = [wire.found(job, batches.get(str(job.get("batch_id")), {})) for job in page]
        yield found
        if _before(found, filters):
            return


async def _workloads(look: Look, filters: Filters) -> AsyncGenerator[Found, None]:
    if filters.tags:
        return
    async for page in look.core.pages(Route.WORKLOADS, look.own()):
        listed = sorted(map(wire.found_workload, page), key=_age, reverse=True)
        for found in listed:
            if meant(found, filters):
                yield found
        if _before(listed, filters):
            return


def _words(filters: Filters) -> Query:
    """Words that the service does not know would be an error there."""
    known = all(word in WORDS for word in filters.words)
    return [("status", word) for word in filters.words] if known else []


def _before(found: Sequence[Found], filters: Filters) -> bool:
    """Whether a whole page is older than what is wanted: what follows is older still."""
    if filters.since is None or not found:
        return False
    return all(each.created is not None and instant(each.created) < instant(filters.since) for each in found)


def meant(found: Found, filters: Filters) -> bool:
    """Every filter, exactly."""
    created = None if found.created is None else instant(found.created)
    return (
        (not filters.words or found.word in filters.words)
        and filters.device in (None, found.device)
        and filters.kind in (None, found.kind)
        and set(filters.tags) <= set(found.tags)
        and (filters.text or "") in found.handle
        and (filters.since is None or (created is not None and created >= instant(filters.since)))
        and (filters.until is None or (created is not None and created <= instant(filters.until)))
    )


STREAMS: Final[Mapping[str, Callable[[Look, Filters], AsyncGenerator[Found, None]]]] = {
    PULSE: _jobs,
    WORKLOAD: _workloads,
}
