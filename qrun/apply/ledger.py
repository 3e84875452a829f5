"""The pen of the loop: facts of many coroutines in one durable write, and the store as the loop sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from qrun.fact import Fact
from qrun.job import Program
from qrun.record import Output, Record, Records


class Store(Protocol):
    """What the loop needs of the results directory; each method returns once its effect is durable."""

    @property
    def records(self) -> Records: ...
    def note(self, *facts: Fact) -> None: ...
    def keep_program(self, program: Program, data: bytes) -> None: ...
    def keep_snapshot(self, data: bytes) -> str: ...
    def keep_output(self, key: str, digest: str, attempt: int, name: str, data: bytes) -> Output: ...
    def missing(self, record: Record) -> bool: ...
    def job(self, key: str, digest: str) -> Mapping[str, Any]: ...
    def programs(self, key: str, digest: str) -> Mapping[str, bytes]: ...
    def publish(self, *, rest: bool, now: bool = False) -> None: ...
    def rescue(self, facts: Sequence[Fact]) -> str: ...


class Ledger:
    """Facts that arrive in one turn of the event loop share one write and one fdatasync."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.written = False  # whether anything was noted
        self._waiting: list[Fact] = []
        self._written: asyncio.Future[None] | None = None

    async def commit(self, *facts: Fact) -> None:
        """To be awaited: done once the facts are on disk and folded into the records. Raises StoreError.

        Whoever is cancelled while waiting must not take the others with it, hence the shield.
        """
        self._waiting.extend(facts)
        if self._written is None:
            loop = asyncio.get_running_loop()
            self._written = loop.create_future()
            loop.call_soon(self._write)
        await asyncio.shield(self._written)

    def _write(self) -> None:
        facts, written = self._waiting, self._written
        self._waiting, self._written = [], None
        assert written is not None
        try:
            self.store.note(*facts)
            self.written = True
            self.store.publish(rest=False)
        except BaseException as error:  # handed on to all who wait, whatever it is: else they would wait for ever
            written.set_exception(error)
        else:
            written.set_result(None)
