"""A server that does not answer is left alone for a while, then asked by one request at a time."""

from __future__ import annotations

from typing import Final

PATIENCE: Final = 5  # failures in a row
OPEN: Final = 30.0  # seconds, times how often in a row it has opened
LONGEST: Final = 600.0
PROBE: Final = 5.0  # seconds that one request has for itself before the next may try


class Breaker:
    """For one server. Times are monotonic seconds; nothing here waits or asks anybody.

    It also holds requests back because the server asked for that (`hold`), which says nothing about its health.
    """

    def __init__(self) -> None:
        self.failures = 0
        self.opened = 0
        self.since = 0.0
        self.until = 0.0
        self.held = 0.0

    @property
    def open(self) -> bool:
        return self.opened > 0

    def wait(self, now: float) -> float:
        """Seconds until a request may be sent."""
        return max(0.0, self.held - now, self.until - now if self.open else 0.0)

    def begin(self, now: float) -> None:
        """A request goes out. Where the breaker is open, it is the probe, and the others wait for what it finds."""
        if self.open:
            self.until = max(self.until, now + PROBE)

    def answered(self) -> None:
        self.failures = self.opened = 0

    def failed(self, *, sent: float, now: float) -> None:
        """Failures of what was sent before the breaker opened are no news."""
        if self.open and sent < self.since:
            return
        self.failures += 1
        if self.failures >= PATIENCE:
            self.opened += 1
            self.since = now
            self.until = now + min(LONGEST, OPEN * self.opened)

    def hold(self, until: float) -> None:
        self.held = max(self.held, until)
