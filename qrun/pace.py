"""How fast one connection asks: so many requests at once, so many a second, slower when the provider says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final

from qrun.clock import Clock

BURST: Final = 0.25  # seconds' worth of requests that may go out together after a rest
GROWTH: Final = 1.1  # a minute, after a 429
WINDOW: Final = 1.0  # seconds over which an unlimited rate is measured
SLOWEST: Final = 0.05  # requests a second


class Rate:
    """When the next request may go. Pure: times are monotonic seconds, handed in and never going back.

    `limit` is in requests a second, None for none. A 429 halves the rate, which then grows back 10 % a minute; where
    there was no limit, it halves what was sent in the last second.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit
        self._rate = limit  # as it was at `_since`
        self._since = 0.0
        self._free = 0.0  # when a request may go that uses up nothing in advance
        self._halved = float("-inf")
        self._window = 0.0
        self._sent = 0

    def rate(self, now: float) -> float | None:
        """Requests a second that are allowed now."""
        if self._rate is None:
            return None
        grown: float = self._rate * GROWTH ** min(1000.0, (now - self._since) / 60)
        return grown if self.limit is None else min(grown, self.limit)

    def take(self, now: float, requests: int = 1) -> float:
        """Seconds until these requests may go: a place in the line, which is theirs from now on."""
        self._count(now, requests)
        rate = self.rate(now)
        if rate is None:
            return 0.0
        wait = max(0.0, self._free - BURST - now)
        self._free = max(self._free, now) + requests / rate
        return wait

    def halve(self, now: float, *, sent: float) -> None:
        """After a 429. What was sent before the last halving is no news: it went out at the old rate."""
        if sent < self._halved:
            return
        rate = self.rate(now) or max(1.0, self._sent / WINDOW)
        self._rate, self._since, self._halved = max(SLOWEST, rate / 2), now, now

    def _count(self, now: float, requests: int) -> None:
        if now - self._window >= WINDOW:
            self._window, self._sent = now, 0
        self._sent += requests


class Pace:
    """The line in which the requests of one connection wait, first come, first served."""

    def __init__(self, clock: Clock, *, together: int, rate: float | None) -> None:
        self.clock = clock
        self.rate = Rate(rate)
        self._places = asyncio.Semaphore(together)

    @asynccontextmanager
    async def slot(self, requests: int = 1) -> AsyncIterator[None]:
        """One place, held for all that is done inside, with so many turns taken in advance."""
        async with self._places:
            await self._turn(requests)
            slot = Slot(self, requests)
            before = HELD.set(slot)
            try:
                yield
            finally:
                slot.open = False
                HELD.reset(before)

    @asynccontextmanager
    async def place(self, *, counts: bool = True) -> AsyncIterator[None]:
        """A place for one request: the slot that this task holds, or else one of its own.

        What goes to another server does not count against the rate.
        """
        slot = HELD.get()
        if slot is not None and slot.owner is self and slot.open:
            if counts and not slot.pay():
                await self._turn()
            yield
            return
        async with self._places:
            if counts:
                await self._turn()
            yield

    def slower(self, *, sent: float) -> None:
        """After a 429 to a request that went out at `sent`."""
        self.rate.halve(self.clock.monotonic(), sent=sent)

    async def _turn(self, requests: int = 1) -> None:
        wait = self.rate.take(self.clock.monotonic(), requests)
        if wait > 0:
            await self.clock.sleep(wait)


class Slot:
    """A place that is held, and how many of its turns are left; a task started inside that outlives it holds none."""

    def __init__(self, owner: Pace, turns: int) -> None:
        self.owner = owner
        self.turns = turns
        self.open = True

    def pay(self) -> bool:
        self.turns -= 1
        return self.turns >= 0


HELD: Final[ContextVar[Slot | None]] = ContextVar("slot", default=None)
