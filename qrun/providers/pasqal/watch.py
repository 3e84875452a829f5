"""Waiting for many jobs with few requests: one question a batch, and its jobs only where its counts have changed.

A batch counts its jobs by status. As long as these counts agree with what was last read of its jobs, and while all of
them still are the same and not final, nothing more is asked. Many batches are asked for by one list. Only news is told.
The service's own clients ask each batch, and each job for its result, at a pace that knows nothing of the others.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from qrun.clock import Clock
from qrun.errors import Missing, ProviderError, Unavailable, Uncertain, Unexpected
from qrun.provider import LiveSet, Status
from qrun.providers.oqtopus.sweep import Pace
from qrun.providers.pasqal import wire
from qrun.providers.pasqal.core import Document, named
from qrun.providers.pasqal.looking import Look
from qrun.providers.pasqal.places import Route
from qrun.providers.pasqal.wire import WORDS
from qrun.record import Handle, Phase

FEW: Final = 2  # so many batches are asked for one by one
LAG: Final = 60.0  # seconds after which a list shows every job
STRANGE: Final = 5  # sweeps with an answer of an unknown shape, one after the other, before the watch ends with one
KEPT: Final = 5000  # documents of finished jobs that wait for their fetch
GATHERED: Final = 0.05  # seconds in which several changes of the live set are taken in together
GONE: Final = "the service does not know it"

News: TypeAlias = tuple[Handle, Status]
Counts: TypeAlias = Mapping[str, int]


@dataclass(kw_only=True, slots=True)
class Watched:
    """A live job. `born` is when it was first seen here, or earlier if the service says so; monotonic seconds."""

    born: float
    told: str | None = None


@dataclass(kw_only=True, slots=True)
class Batch:
    """A batch with live jobs. `read` are the counts of its jobs when these were last read."""

    name: str
    jobs: dict[Handle, Watched] = field(default_factory=dict)
    read: Counts | None = None

    def agrees(self, counts: Counts | None) -> bool:
        return counts is not None and counts == self.read


class Watch:
    """`documents` holds what was read of jobs that have ended, for the fetch that follows."""

    def __init__(self, look: Look, clock: Clock, jitter: Callable[[], float] | None = None) -> None:
        self.look = look
        self.core = look.core
        self.clock = clock
        self.jitter = jitter or (lambda: random.uniform(-1, 1))  # noqa: S311 - no secret
        self.documents: dict[Handle, Document] = {}

    async def news(self, live: LiveSet) -> AsyncIterator[News]:
        """News of the live set, for ever; one request that fails ends nothing."""
        batches: dict[str, Batch] = {}
        pace = Pace(jitter=self.jitter())
        changed = await _listening(live)
        try:
            while True:
                if changed.done():
                    changed = await _listening(live)
                self._follow(batches, live.handles())
                if not batches:
                    await changed
                elif (wait := self._wait(batches, pace)) > 0:
                    await self._rest(wait, changed)
                else:
                    async with aclosing(self._swept(batches, pace)) as news:
                        async for each in news:
                            yield each
        finally:
            changed.cancel()

    def _wait(self, batches: Mapping[str, Batch], pace: Pace) -> float:
        now = self.clock.monotonic()
        youngest = max(job.born for batch in batches.values() for job in batch.jobs.values())
        return pace.due(youngest, now) - now

    async def _rest(self, wait: float, changed: asyncio.Future[None]) -> None:
        """Until the time has come or the set has changed; changes that come in quick succession count as one."""
        timer = asyncio.ensure_future(self.clock.sleep(wait))
        try:
            await asyncio.wait((timer, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if changed.done() and wait > GATHERED:
            await self.clock.sleep(GATHERED)

    def _follow(self, batches: dict[str, Batch], handles: Collection[Handle]) -> None:
        now = self.clock.monotonic()
        wanted = set(handles)
        for handle in wanted:
            name = handle.partition("/")[0]
            batch = batches.setdefault(name, Batch(name=name))
            if handle not in batch.jobs:
                batch.jobs[handle] = Watched(born=now)
                batch.read = None  # whatever was read before told nothing of this one
        for name, batch in list(batches.items()):
            batch.jobs = {handle: job for handle, job in batch.jobs.items() if handle in wanted}
            if not batch.jobs:
                del batches[name]

    async def _swept(self, batches: Mapping[str, Batch], pace: Pace) -> AsyncGenerator[News, None]:
        """One sweep, and what is learnt of when to make the next. What fails is told of with one job of each batch."""
        began = self.clock.monotonic()
        failed: list[ProviderError] = []
        for batch, told in await self._sweep(list(batches.values())):
            if isinstance(told, ProviderError):
                failed.append(told)
                yield next(iter(batch.jobs)), Status(phase=None, word="", error=told)
                continue
            for handle, status in told:
                if handle in batch.jobs and batch.jobs[handle].told != status.word:
                    batch.jobs[handle].told = status.word
                    yield handle, status
        self._learn(pace, failed)
        pace.swept(began, self.clock.monotonic(), self.jitter())

    def _learn(self, pace: Pace, failed: Sequence[ProviderError]) -> None:
        if not failed:
            pace.answered()
            return
        pace.failed(max((e.retry_after or 0.0 for e in failed if isinstance(e, Unavailable)), default=0.0))
        if pace.failures >= STRANGE and isinstance(failed[0], Unexpected):
            raise failed[0]

    # --- one sweep ----------------------------------------------------------------------------------------------------

    async def _sweep(self, batches: Sequence[Batch]) -> Sequence[tuple[Batch, Sequence[News] | ProviderError]]:
        alone = [batch for batch in batches if batch.name in batch.jobs]  # workloads
        rest = [batch for batch in batches if batch.name not in batch.jobs]
        listed: Mapping[str, Document] = {}
        if len(rest) > FEW and not self.core.ovh:
            try:
                listed = await self._listed([batch.name for batch in rest])
            except (Unavailable, Unexpected, Missing) as error:
                return [(rest[0], error)]
        asked = [self._batch(batch, listed.get(batch.name)) for batch in rest] + [self._workload(one) for one in alone]
        return list(zip([*rest, *alone], await _each(asked), strict=True))

    async def _listed(self, names: Sequence[str]) -> Mapping[str, Document]:
        """Many batches at once; what the list does not show is asked for by itself."""
        parts = await asyncio.gather(*(self.core.all(Route.BATCHES, part) for part in named("id", names)))
        return {wire.identity(each): each for part in parts for each in part if wire.counts(each) is not None}

    async def _batch(self, batch: Batch, told: Document | None) -> Sequence[News]:
        try:
            counts = wire.counts(told or await self.core.one(Route.BATCH_STATUS, batch.name))
        except Missing as error:
            return [(handle, _lost(error)) for handle in batch.jobs]
        if batch.agrees(counts):
            return []
        if counts is not None and (same := _unmoved(counts, len(batch.jobs))):
            return [(handle, same) for handle in batch.jobs]
        jobs = await self.look.jobs(batch.name)
        batch.read = wire.counted(jobs)
        return [*self._news(batch, jobs), *await self._unlisted(batch, jobs)]

    def _news(self, batch: Batch, jobs: Sequence[Document]) -> Sequence[News]:
        news = []
        for job in jobs:
            handle = wire.handle({**job, "batch_id": batch.name})
            if (watched := batch.jobs.get(handle)) is not None:
                self._age(watched, job)
                self._keep(handle, job)
                news.append((handle, wire.status(job)))
        return news

    async def _unlisted(self, batch: Batch, jobs: Sequence[Document]) -> Sequence[News]:
        """Jobs that the list should show by now are asked for by themselves, and until they are, it is read again."""
        shown = {job.get("id") for job in jobs}
        missing = [handle for handle in batch.jobs if handle.rpartition("/")[2] not in shown]
        if missing:
            batch.read = None
        now = self.clock.monotonic()
        old = [handle for handle in missing if now - batch.jobs[handle].born > LAG]
        return [(handle, await self._alone(handle)) for handle in old]

    async def _alone(self, handle: Handle) -> Status:
        try:
            told = await self.core.one(Route.JOB_STATUS, handle.rpartition("/")[2])
        except Missing as error:
            return _lost(error)
        return wire.status(told)

    async def _workload(self, batch: Batch) -> Sequence[News]:
        handle = Handle(batch.name)
        try:
            told = await self.core.one(Route.WORKLOAD, handle)
        except Missing as error:
            return [(handle, _lost(error))]
        self._age(batch.jobs[handle], told)
        return [(handle, wire.status(told))]

    def _age(self, watched: Watched, document: Document) -> None:
        created = wire.seconds(document.get("created_at"))
        if created is not None:
            watched.born = min(watched.born, self.clock.monotonic() - (self.clock.now() - created))

    def _keep(self, handle: Handle, job: Document) -> None:
        if WORDS.get(wire.word(job)) is Phase.SUCCEEDED and len(self.documents) < KEPT:
            self.documents[handle] = job


def _unmoved(counts: Counts, wanted: int) -> Status | None:
    """The status of every job of a batch that has only this one; not of ended ones, of which there is more to tell."""
    if len(counts) != 1 or wanted > next(iter(counts.values())):
        return None
    found = wire.live(next(iter(counts)))
    return found if found.phase is Phase.LIVE else None


def _lost(error: Missing) -> Status:
    return Status(phase=Phase.LOST, word=str(error.status or 404), message=error.words or GONE)


async def _each(asked: Sequence[Coroutine[Any, Any, Sequence[News]]]) -> Sequence[Sequence[News] | ProviderError]:
    """All at the same time; what fails for one alone is told of that one, and a refused login ends it all."""
    answers: list[Sequence[News] | ProviderError] = []
    for each in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(each, BaseException) and not isinstance(each, (Unavailable, Unexpected, Uncertain)):
            raise each
        answers.append(each)
    return answers


async def _listening(live: LiveSet) -> asyncio.Future[None]:
    """Done once the set has changed after now."""
    changed = asyncio.ensure_future(live.changed())
    await asyncio.sleep(0)  # from here on it sees every change
    return changed
