"""One device's queue: what is put in becomes ready after a while, and so many run at a time, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

Work = TypeVar("Work")


class Queue(Generic[Work]):
    """`fetched` is told when something has waited out its delay, `run` does it; neither raises."""

    def __init__(self, *, width: int, fetched: Callable[[Work], None], run: Callable[[Work], Awaitable[None]]) -> None:
        self.width = width
        self.fetched = fetched
        self.run = run
        self._unripe = 0
        self._incoming: asyncio.Queue[tuple[Work, float]] = asyncio.Queue()
        self._ripe: asyncio.Queue[Work] = asyncio.Queue()
        self._idle = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._runners = 0
        self._fed = False

    def put(self, work: Work, delay: float) -> None:
        """`delay` is in seconds. Nothing overtakes what was put in before it."""
        if not delay and not self._unripe:
            self._ripen(work)
            return
        self._unripe += 1
        self._incoming.put_nowait((work, asyncio.get_running_loop().time() + delay))
        if not self._fed:
            self._fed = True
            self._start(self._feed())

    def _ripen(self, work: Work) -> None:
        self.fetched(work)
        self._ripe.put_nowait(work)
        if not self._idle and self._runners < self.width:
            self._runners += 1
            self._start(self._carry_out())

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(job))

    async def _feed(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            work, due = await self._incoming.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._unripe -= 1
            self._ripen(work)

    async def _carry_out(self) -> None:
        while True:
            self._idle += 1
            work = await self._ripe.get()
            self._idle -= 1
            await self.run(work)

    def stop(self) -> None:
        """What waits, waits for ever; what runs is broken off."""
        for task in self._tasks:
            task.cancel()

    async def aclose(self) -> None:
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
