"""The pen of the loop: facts of many coroutines in one durable write, and the store as the loop sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from qrun.fact import Fact
from qrun.job import Program
from qrun.record import Download, Output, Record, Records


class Store(Protocol):
    """What the loop needs of the results directory; each method returns once its effect is durable."""

    @property
    def records(self) -> Records: ...
    def note(self, *facts: Fact) -> None: ...
    def keep_program(self, program: Program, data: bytes) -> None: ...
    def keep_snapshot(self, data: bytes) -> str: ...
    def keep_outputs(self, downloads: Sequence[Download]) -> Sequence[Output]: ...
    def missing(self, record: Record) -> bool: ...
    def job(self, key: str, digest: str) -> Mapping[str, Any]: ...
    def programs(self, key: str, digest: str) -> Mapping[str, bytes]: ...
    def publish(self, *, rest: bool, now: bool = False) -> None: ...
    def rescue(self, facts: Sequence[Fact]) -> str: ...


class Ledger:
    """What arrives in one turn of the event loop shares its syncs: facts one write, downloads one round to the disk."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.written = False  # whether anything was noted
        self._waiting: list[Fact] = []
        self._written: asyncio.Future[None] | None = None
        self._downloads: list[Download] = []
        self._kept: asyncio.Future[Sequence[Output]] | None = None

    async def keep(self, download: Download) -> Output:
        """Done once the bytes are durable. Raises StoreError."""
        place = len(self._downloads)
        self._downloads.append(download)
        if self._kept is None:
            loop = asyncio.get_running_loop()
            self._kept = loop.create_future()
            loop.call_soon(self._keep)
        return (await asyncio.shield(self._kept))[place]

    def _keep(self) -> None:
        downloads, kept = self._downloads, self._kept
        self._downloads, self._kept = [], None
        assert kept is not None
        try:
            kept.set_result(self.store.keep_outputs(downloads))
        except BaseException as error:  # handed on to all who wait, whatever it is: else they would wait for ever
            kept.set_exception(error)

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
