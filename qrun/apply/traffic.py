"""What the experiments of one command have under way at each connection, and how much that may be."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from qrun.record import Handle


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one connection takes: submissions at a time, and jobs that are sent and not finished."""

    in_flight: int = 32
    live: int | None = None


class Traffic:
    """Shared by all loops of a command. `limits` is asked by connection."""

    def __init__(self, limits: Callable[[str], Limits] = lambda _: Limits()) -> None:
        self.limits = limits
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._sending: Counter[str] = Counter()  # jobs between the queue and their handle
        self._live: dict[str, set[Handle]] = {}
        self._room = asyncio.Event()

    def slot(self, connection: str) -> asyncio.Semaphore:
        return self._slots.setdefault(connection, asyncio.Semaphore(self.limits(connection).in_flight))

    def unfinished(self, connection: str) -> int:
        """Jobs that are being sent or are sent and not finished, as far as this command knows."""
        return len(self._live.get(connection, ())) + self._sending[connection]

    def fits(self, connection: str, jobs: int) -> bool:
        """Whether so many more may be unfinished; one submission always fits alone."""
        most = self.limits(connection).live
        there = self.unfinished(connection)
        return most is None or there == 0 or there + jobs <= most

    def sends(self, connection: str, jobs: int) -> None:
        """So many more are being sent; negative once they are not any more."""
        self._sending[connection] += jobs
        self.look_again()

    def lives(self, connection: str, handle: Handle) -> None:
        self._live.setdefault(connection, set()).add(handle)

    def ended(self, connection: str, handle: Handle) -> None:
        self._live.get(connection, set()).discard(handle)
        self.look_again()

    def look_again(self) -> None:
        """Whoever waits for room looks whether there is some now, or whether its command stops."""
        self._room.set()

    async def changed(self) -> None:
        self._room.clear()
        await self._room.wait()
