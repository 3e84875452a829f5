"""The user's publish command: what is about to be sent stands where other machines see it before it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qrun.apply.ledger import Store

Command = Callable[[], Awaitable[None]]  # raises QrunError where it fails


class Publication:
    """Runs the command once for all intents that were noted while it last ran; without a command it does nothing."""

    def __init__(self, store: Store, command: Command | None) -> None:
        self.store = store
        self.command = command
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def intents(self) -> None:
        """Returns once a run that began after this call has ended well: the intents noted so far stand in the lock.

        Whoever is cancelled while waiting must not take the others with it, hence the shield.
        """
        if self.command is None:
            return
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        await asyncio.shield(self._next)

    async def rest(self) -> None:
        if self.command is not None:
            await self.command()

    async def _after(self, former: asyncio.Task[None] | None) -> None:
        if former is not None:
            await asyncio.wait([former])
        self._running, self._next = self._next, None
        assert self.command is not None
        self.store.publish(rest=False, now=True)
        await self.command()
