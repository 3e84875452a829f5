"""An event loop whose time jumps: nothing waits, and everything that sleeps wakes in the right order."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from qrun.clock import Clock

T = TypeVar("T")
EPOCH = 1_800_000_000.0


class _Jumping(selectors.SelectSelector):
    """Instead of waiting for `timeout` seconds, time moves on by as much."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for another one")
        self.elapsed += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, start: float = 0.0) -> None:
        self._jumping = _Jumping()
        self._jumping.elapsed = start
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.elapsed


class VirtualClock(Clock):
    """Wall and monotonic time of the virtual loop; `base` goes on over several runs."""

    def __init__(self, base: float = EPOCH) -> None:
        self.base = base
        self.last = 0.0

    def now(self) -> float:
        with contextlib.suppress(RuntimeError):  # outside a run the time stands still
            self.last = asyncio.get_running_loop().time()
        return self.base + self.last

    def monotonic(self) -> float:
        return self.now() - EPOCH

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end in virtual time; the next run goes on where this one ended."""
        loop = VirtualLoop(self.last)
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                return runner.run(work)
        finally:
            self.last = loop._jumping.elapsed  # noqa: SLF001 (the loop is ours)
