"""Time as an argument: the core asks this object and never the system."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """Wall time in seconds since 1970, monotonic seconds, and sleep; a test passes its own and never waits."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)


def stamp(instant: float) -> str:
    """RFC 3339 in UTC to the millisecond."""
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def instant(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time; raises ValueError for anything else."""
    return datetime.fromisoformat(text).timestamp()
