"""The jobs of an account, newest first, each with what its batch says of it; or the batches themselves.

Tags, device and priority belong to the batch, the status to the job. So where one of these is asked for, batches are
listed and then their jobs; else jobs, and then the batches that they are of. Times of creation are compared here: what
the service takes for a start and an end is told in two ways.
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
    listed = {PULSE: _batches} if filters.containers else STREAMS
    streams = [stream(look, filters) for kind, stream in listed.items() if filters.kind in (None, kind)]
    heads = [await anext(stream, None) for stream in streams]
    while any(head is not None for head in heads):
        at = max(range(len(heads)), key=lambda place: _age(heads[place]))
        found = heads[at]
        assert found is not None
        yield found
        heads[at] = await anext(streams[at], None)


def _age(found: Found | None) -> tuple[bool, float]:
    return (found is not None, instant(found.created) if found is not None and found.created else 0.0)


async def _batches(look: Look, filters: Filters) -> AsyncGenerator[Found, None]:
    query = [*_of_batch(look, filters), *_repeated("id", filters.ids), *_words(filters), *NEWEST]
    async for page in look.core.pages(Route.BATCHES, query):
        listed = [wire.found_batch(batch) for batch in await look.tagged(page)]
        for found in listed:
            if meant(found, filters):
                yield found
        if _before(listed, filters):
            return


async def _jobs(look: Look, filters: Filters) -> AsyncGenerator[Found, None]:
    of_batch = filters.tags or filters.device or filters.priorities
    pages = _by_batch(look, filters) if of_batch else _by_job(look, filters)
    async with aclosing(pages) as listed:
        async for page in listed:
            for found in sorted(page, key=_age, reverse=True):
                if meant(found, filters):
                    yield found


async def _by_batch(look: Look, filters: Filters) -> AsyncGenerator[Sequence[Found], None]:
    query = [*_of_batch(look, filters), *_repeated("id", filters.within), *NEWEST]
    async for listed in look.core.pages(Route.BATCHES, query):
        page = await look.tagged(listed) if filters.tags else listed
        for at in range(0, len(page), TOGETHER):
            batches = {wire.identity(each): each for each in page[at : at + TOGETHER]}
            for part in named("batch_id", list(batches)):
                jobs = await look.core.all(Route.JOBS, [*part, *_of_job(filters)])
                yield [wire.found(job, batches[job["batch_id"]]) for job in jobs if job.get("batch_id") in batches]


async def _by_job(look: Look, filters: Filters) -> AsyncGenerator[Sequence[Found], None]:
    query = [*_whose(look, filters), *_repeated("batch_id", filters.within), *_of_job(filters)]
    async for page in look.core.pages(Route.JOBS, query):
        names = list(dict.fromkeys(str(job["batch_id"]) for job in page if job.get("batch_id")))
        batches: dict[str, Document] = {}
        for part in named("id", names):
            batches |= {wire.identity(each): each for each in await look.core.all(Route.BATCHES, part)}
        found = [wire.found(job, batches.get(str(job.get("batch_id")), {})) for job in page]
        yield found
        if _before(found, filters):
            return


async def _workloads(look: Look, filters: Filters) -> AsyncGenerator[Found, None]:
    of_batches = (filters.tags, filters.within, filters.priorities, filters.least, filters.most)
    ids = [one for one in filters.ids if "/" not in one]
    if any(of_batches) or filters.errors is not None or (filters.ids and not ids):
        return
    query = [*_whose(look, filters), *_repeated("id", ids)]
    async for page in look.core.pages(Route.WORKLOADS, query):
        listed = sorted(map(wire.found_workload, page), key=_age, reverse=True)
        for found in listed:
            if meant(found, filters):
                yield found
        if _before(listed, filters):
            return


# --- what the service is asked ----------------------------------------------------------------------------------------


def _whose(look: Look, filters: Filters) -> Query:
    """Those of the connection's project, unless others are named."""
    projects = _repeated("project_id", filters.projects) or look.own()
    return [*projects, *_repeated("user_id", filters.users)]


def _of_batch(look: Look, filters: Filters) -> Query:
    """The service heeds one tag."""
    device = [("device_type", filters.device)] if filters.device else []
    stays = [("open", str(filters.open).lower())] if filters.open is not None else []
    priorities = _repeated("queue_priority", filters.priorities)
    return [*_whose(look, filters), *_repeated("tag", filters.tags[:1]), *device, *priorities, *stays]


def _of_job(filters: Filters) -> Query:
    bounds = {"min_runs": filters.least, "max_runs": filters.most}
    limits = [(name, str(bound)) for name, bound in bounds.items() if bound is not None]
    noted = [("errors", str(filters.errors).lower())] if filters.errors is not None else []
    ids = [one.rpartition("/")[2] for one in filters.ids]
    return [*_words(filters), *_repeated("id", ids), *limits, *noted]


def _repeated(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, value) for value in values]


def _words(filters: Filters) -> Query:
    """Words that the service does not know would be an error there."""
    known = all(word in WORDS for word in filters.words)
    return [("status", word) for word in filters.words] if known else []


# --- what is meant ----------------------------------------------------------------------------------------------------


def _before(found: Sequence[Found], filters: Filters) -> bool:
    """Whether a whole page is older than what is wanted: what follows is older still."""
    if filters.since is None or not found:
        return False
    return all(each.created is not None and instant(each.created) < instant(filters.since) for each in found)


def meant(found: Found, filters: Filters) -> bool:
    """Every filter, exactly; whose it is, its priority and whether errors are noted, the service alone can say."""
    created = None if found.created is None else instant(found.created)
    return (
        (not filters.words or found.word in filters.words)
        and filters.device in (None, found.device)
        and filters.kind in (None, found.kind)
        and set(filters.tags) <= set(found.tags)
        and (filters.text or "") in found.handle
        and (not filters.ids or not {found.handle, found.handle.rpartition("/")[2]}.isdisjoint(filters.ids))
        and (not filters.within or found.handle.partition("/")[0] in filters.within)
        and (filters.open is None or found.open is filters.open)
        and (filters.least is None or (found.shots is not None and found.shots >= filters.least))
        and (filters.most is None or (found.shots is not None and found.shots <= filters.most))
        and (filters.since is None or (created is not None and created >= instant(filters.since)))
        and (filters.until is None or (created is not None and created <= instant(filters.until)))
    )


STREAMS: Final[Mapping[str, Callable[[Look, Filters], AsyncGenerator[Found, None]]]] = {
    PULSE: _jobs,
    WORKLOAD: _workloads,
}
