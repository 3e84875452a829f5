"""Bringing results home: each job's document, then what lies behind its link, which is a credential of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from qrun.clock import Clock
from qrun.errors import Missing, Unexpected
from qrun.provider import Sink
from qrun.providers.pasqal import wire
from qrun.providers.pasqal.core import NAMED, Document
from qrun.providers.pasqal.looking import Look
from qrun.providers.pasqal.places import Route
from qrun.providers.pasqal.wire import WORDS
from qrun.record import Handle, Phase

DOCUMENT: Final = "job.json"
RESULT: Final = "result.json"
EXPIRED: Final = 403  # whoever says it, and however
TOGETHER: Final = 32  # jobs that are fetched at the same time
PATIENCE: Final = (1.0, 3.0)  # seconds to wait for the link of a job that has just ended


class Fetching:
    """`documents` are of jobs that were seen to have ended; they are taken from there, else asked for."""

    def __init__(self, look: Look, clock: Clock, documents: dict[Handle, Document]) -> None:
        self.look = look
        self.core = look.core
        self.clock = clock
        self.documents = documents

    async def fetch(self, handles: Sequence[Handle], sink: Sink) -> None:
        workloads = [handle for handle in handles if "/" not in handle]
        batches: dict[str, list[Handle]] = {}
        for handle in handles:
            if "/" in handle:
                batches.setdefault(handle.partition("/")[0], []).append(handle)
        for batch, members in batches.items():
            await self._batch(batch, members, sink)
        await each(workloads, lambda handle: self._workload(handle, sink))

    async def _batch(self, batch: str, handles: Sequence[Handle], sink: Sink) -> None:
        """A batch that is gone has none of its jobs any more."""
        try:
            documents = await self._documents(batch, handles)
        except Missing:
            documents = {}
        await each(handles, lambda handle: self._job(handle, documents.get(handle), sink))

    async def _documents(self, batch: str, handles: Sequence[Handle]) -> Mapping[Handle, Document]:
        found = {handle: self.documents.pop(handle) for handle in handles if handle in self.documents}
        ids = [handle.rpartition("/")[2] for handle in handles if handle not in found]
        if ids:
            jobs = await self.look.jobs(batch, ids if len(ids) <= NAMED else ())
            found |= {wire.handle({**job, "batch_id": batch}): job for job in jobs}
        return found

    async def _job(self, handle: Handle, job: Document | None, sink: Sink) -> None:
        if job is None:
            await sink.gone(handle, "the service does not know the job any more")
            return
        await sink.raw(handle, DOCUMENT, wire.kept(job))
        try:
            data = await self._result(handle, job)
        except Missing as error:
            await sink.gone(handle, str(error))
            return
        if data is None:
            await sink.gone(handle, f'the service has no result of this job, which is "{wire.word(job)}"')
            return
        await sink.raw(handle, RESULT, data)

    async def _result(self, handle: Handle, job: Document) -> bytes | None:
        """None where there is no link. One that is refused has expired: another is asked for, once."""
        link = await self._link(handle, job)
        if link is None:
            return None
        try:
            return await self.core.http.download(link)
        except (Missing, Unexpected) as error:
            if error.status in (404, 410) or (isinstance(error, Unexpected) and error.status != EXPIRED):
                raise
        link = await self._link(handle, job)
        return None if link is None else await self.core.http.download(link)

    async def _link(self, handle: Handle, job: Document) -> str | None:
        """The link may come a moment after the job has ended."""
        link = await self._told_link(handle)
        for pause in PATIENCE:
            if link is not None or WORDS.get(wire.word(job)) is not Phase.SUCCEEDED:
                break
            await self.clock.sleep(pause)
            link = await self._told_link(handle)
        return link

    async def _told_link(self, handle: Handle) -> str | None:
        if "/" in handle:
            told, name = await self.core.one(Route.RESULTS, handle.rpartition("/")[2]), "results_link"
        else:
            told, name = await self.core.one(Route.WORKLOAD, handle), "result_link"
        return wire.said(told, name) or None

    async def _workload(self, handle: Handle, sink: Sink) -> None:
        try:
            told = await self.core.one(Route.WORKLOAD, handle)
        except Missing as error:
            await sink.gone(handle, str(error))
            return
        await self._job(handle, told, sink)


async def each(handles: Collection[Handle], ask: Callable[[Handle], Awaitable[Any]]) -> None:
    """Some at a time; one that fails keeps none of the others from its end."""
    room = asyncio.Semaphore(TOGETHER)

    async def one(handle: Handle) -> None:
        async with room:
            await ask(handle)

    for ended in await asyncio.gather(*map(one, handles), return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
