"""Waiting for many jobs with few requests: lists that show a hundred jobs each, at a pace that follows their age.

A sweep reads the list from the oldest live job on, until every live job was seen. What a whole list does not show is
asked for by itself, a few jobs in each sweep; two jobs or less are always asked for by themselves. Only news is told.
Asking each job in turn, as the service's own clients do, would cost a request a job and sweep.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from qrun.clock import Clock
from qrun.errors import Missing, ProviderError, Unavailable, Uncertain, Unexpected
from qrun.http import Http
from qrun.provider import LiveSet, Status
from qrun.providers.oqtopus import looking, sweep, wire
from qrun.providers.oqtopus.listing import SIZE, WATCHED, Document, pages
from qrun.providers.oqtopus.sweep import Pace, Watched
from qrun.record import Handle, Phase

STRANGE: Final = 5  # answers of an unknown shape, one after the other, before the watch ends with one
KEPT: Final = 100  # documents of finished jobs that wait for their fetch
GATHERED: Final = 0.05  # seconds in which several changes of the live set are taken in together

News = tuple[Handle, Status]


class Watch:
    """`documents` holds what was read of jobs that have ended, for the fetch that follows."""

    def __init__(self, http: Http, clock: Clock, jitter: Callable[[], float] | None = None) -> None:
        self.http = http
        self.clock = clock
        self.jitter = jitter or (lambda: random.uniform(-1, 1))  # noqa: S311 - no secret
        self.documents: dict[Handle, Document] = {}

    async def news(self, live: LiveSet) -> AsyncIterator[News]:
        """News of the live set, for ever; one request that fails ends nothing."""
        watched: dict[Handle, Watched] = {}
        pace = Pace(jitter=self.jitter())
        changed = await _listening(live)
        try:
            while True:
                if changed.done():
                    changed = await _listening(live)
                self._follow(watched, live.handles())
                if not watched:
                    await changed
                elif (wait := self._wait(watched, pace)) > 0:
                    await self._rest(wait, changed)
                else:
                    async with aclosing(self._swept(watched, pace)) as news:
                        async for each in news:
                            yield each
        finally:
            changed.cancel()

    def _wait(self, watched: Mapping[Handle, Watched], pace: Pace) -> float:
        now = self.clock.monotonic()
        return pace.due(max(each.born for each in watched.values()), now) - now

    async def _swept(self, watched: dict[Handle, Watched], pace: Pace) -> AsyncGenerator[News, None]:
        """One sweep, and what is learnt of when to make the next. A service that fails is told of with one job."""
        began = self.clock.monotonic()
        try:
            async with aclosing(self._sweep(watched)) as news:
                async for each in news:
                    yield each
            pace.answered()
        except (Unavailable, Unexpected, Uncertain, Missing) as error:
            pace.failed(error.retry_after if isinstance(error, Unavailable) else None)
            if isinstance(error, Unexpected) and pace.failures >= STRANGE:
                raise
            yield next(iter(watched)), Status(phase=None, word="", error=error)
        pace.swept(began, self.clock.monotonic(), self.jitter())

    async def _rest(self, wait: float, changed: asyncio.Future[None]) -> None:
        """Until the time has come or the set has changed; changes that come in quick succession count as one."""
        timer = asyncio.ensure_future(self.clock.sleep(wait))
        try:
            await asyncio.wait((timer, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if changed.done() and wait > GATHERED:
            await self.clock.sleep(GATHERED)

    def _follow(self, watched: dict[Handle, Watched], handles: Collection[Handle]) -> None:
        now = self.clock.monotonic()
        for handle in handles:
            if handle not in watched:
                watched[handle] = Watched(born=now)
        if len(watched) > len(handles):
            for handle in watched.keys() - set(handles):
                del watched[handle]

    # --- one sweep ----------------------------------------------------------------------------------------------------

    async def _sweep(self, watched: dict[Handle, Watched]) -> AsyncGenerator[News, None]:
        missing = set(watched)
        if len(watched) > sweep.FEW:
            listed = {handle: each for handle, each in watched.items() if not each.unlisted}
            missing -= listed.keys()
            async with aclosing(self._list(listed)) as news:
                async for each in news:
                    yield each
            missing |= listed.keys()  # what is left of them
        asked = sweep.alone(missing, watched, watched)
        for handle, found in zip(asked, await self._each(map(self._ask, asked)), strict=True):
            watched[handle].asked = self.clock.monotonic()
            for told in self._told(watched, handle, found):
                yield told

    async def _list(self, wanted: dict[Handle, Watched]) -> AsyncGenerator[News, None]:
        """Takes out of `wanted` what the list shows."""
        if not wanted:
            return
        watched, asked = dict(wanted), sweep.query(wanted)
        async with aclosing(pages(self.http, WATCHED, asked, expected=lambda: -(-len(wanted) // SIZE))) as listed:
            async for documents in listed:
                for handle, found in await self._page(wanted, documents):
                    for told in self._told(watched, handle, found):
                        yield told
                if not wanted:
                    return
        for each in wanted.values():
            each.unseen(self.clock.monotonic(), whole="start_time" not in asked)

    async def _page(
        self, wanted: dict[Handle, Watched], documents: Sequence[Document]
    ) -> Sequence[tuple[Handle, Status | ProviderError]]:
        seen = [(handle, each) for each in documents if (handle := wire.handle(each)) in wanted]
        for handle, each in seen:
            self._age(wanted.pop(handle), each)
        found = await self._each(self._read(each) for _, each in seen)
        return [(handle, status) for (handle, _), status in zip(seen, found, strict=True)]

    def _age(self, watched: Watched, document: Document) -> None:
        if watched.submitted is None and (submitted := wire.seconds(document.get("submitted_at"))) is not None:
            watched.submitted = submitted
            watched.born = min(watched.born, self.clock.monotonic() - (self.clock.now() - submitted))

    def _told(self, watched: dict[Handle, Watched], handle: Handle, found: Status | ProviderError) -> Sequence[News]:
        """What is new about a job."""
        if isinstance(found, ProviderError):
            return [(handle, Status(phase=None, word="", error=found))]
        if found.word == watched[handle].told:
            return []
        watched[handle].told = found.word
        return [(handle, found)]

    async def _read(self, document: Document) -> Status:
        """Why a job failed stands in no list."""
        found = wire.status(document)
        if found.phase is not Phase.FAILED:
            return found
        return wire.status(await looking.document(self.http, wire.handle(document)))

    async def _ask(self, handle: Handle) -> Status:
        try:
            found = wire.status({"status": await looking.status(self.http, handle)})
            if found.phase is None or not found.phase.final:
                return found
            document = await looking.document(self.http, handle)
        except Missing as error:
            word = str(error.status or 404)
            return Status(phase=Phase.LOST, word=word, message=error.words or "the service does not know the job")
        if document.get("status") == "succeeded" and len(self.documents) < KEPT:
            self.documents[handle] = document
        return wire.status(document)

    async def _each(self, asked: Iterable[Coroutine[Any, Any, Status]]) -> Sequence[Status | ProviderError]:
        """All at the same time; what fails for one job alone is told of that job, and a refused login ends it all."""
        answers: list[Status | ProviderError] = []
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
