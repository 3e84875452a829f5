"""When the live jobs of a connection are asked for, and from when on the list is read; nothing here asks anybody."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from qrun.record import Handle

SHARE: Final = 0.05  # of the youngest job's age, between two sweeps
SHORTEST: Final = 0.1  # seconds
LONGEST: Final = 30.0
JITTER: Final = 0.2
DUTY: Final = 2.0  # a pause lasts at least so many times the sweep before it
PATIENCE: Final = 60.0  # seconds between two tries of a service that does not answer

FEW: Final = 2  # so many jobs are asked for one by one
ONE_OF: Final = 50  # of so many live jobs, one may be asked for by itself
LAG: Final = 60.0  # seconds after which a list shows every job
ROUNDING: Final = 1.0  # seconds by which a time in a list may differ from the server's own
SKEW: Final = 60.0  # seconds by which the clocks behind a service may differ

UUID7: Final = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@dataclass(kw_only=True, slots=True)
class Watched:
    """What is known of a live job. `born` and `asked` are monotonic seconds, `submitted` seconds since 1970.

    `born` is when it was first seen here, or earlier if the server says so; `asked` when it was last asked for alone.
    """

    born: float
    submitted: float | None = None
    told: str | None = None
    asked: float = 0.0
    dated: bool = True  # whether the time in its id is believed
    unlisted: bool = False  # a whole list did not show it, so that no list is read for it

    def unseen(self, now: float, *, whole: bool) -> None:
        """A list did not show it: if it should have by now, that began too late, or it is in no list."""
        if now - self.born > LAG:
            self.dated, self.unlisted = False, whole


@dataclass(kw_only=True, slots=True)
class Pace:
    """When the next sweep is due, by what came of those before. All instants are monotonic seconds.

    `jitter`, from -1 to 1, is new for each sweep. `patience` is for how long a service is left alone that fails.
    """

    jitter: float = 0.0
    ended: float = float("-inf")
    spent: float = 0.0
    failures: int = 0
    patience: float = 0.0

    def due(self, born: float, now: float) -> float:
        """`born` is that of the youngest job."""
        return self.ended + max(pause(now - born, spent=self.spent, jitter=self.jitter), self.patience)

    def swept(self, began: float, ended: float, jitter: float) -> None:
        self.ended, self.spent, self.jitter = ended, ended - began, jitter

    def answered(self) -> None:
        self.failures, self.patience = 0, 0.0

    def failed(self, asked: float | None) -> None:
        """`asked` is how many seconds the service wants to be left alone."""
        self.failures += 1
        self.patience = max(min(PATIENCE, 2.0 ** min(self.failures - 1, 30)), asked or 0.0)


def pause(youngest: float, *, spent: float, jitter: float) -> float:
    """Seconds from one sweep to the next; `youngest` is the age of the youngest job."""
    return max(min(max(SHARE * youngest, SHORTEST), LONGEST), DUTY * spent) * (1 + JITTER * jitter)


def registered(handle: Handle) -> float | None:
    """Seconds since 1970: an id of version 7 holds the time at which it was given out."""
    found = UUID7.fullmatch(handle)
    return int(found[1] + found[2], 16) / 1000 if found else None


def start(watched: Mapping[Handle, Watched]) -> float | None:
    """Seconds since 1970 from which on a list holds all of these; None where that is not known."""
    earliest = float("inf")
    for handle, each in watched.items():
        if each.submitted is not None:
            bound = each.submitted - ROUNDING
        elif each.dated and (given := registered(handle)) is not None:
            bound = given - SKEW
        else:
            return None
        earliest = min(earliest, bound)
    return earliest if earliest != float("inf") else None


def query(watched: Mapping[Handle, Watched]) -> dict[str, str]:
    """From the oldest on where that is known, so that the list begins with what is wanted; else the newest first."""
    since = start(watched)
    if since is None:
        return {"order": "DESC"}
    return {"order": "ASC", "start_time": datetime.fromtimestamp(max(since, 0.0), UTC).isoformat()}


def alone(missing: Iterable[Handle], watched: Mapping[Handle, Watched], live: Collection[Handle]) -> list[Handle]:
    """Those that are asked for by themselves in this sweep: the ones that have waited longest for it."""
    allowed = len(live) // ONE_OF + FEW
    return sorted(missing, key=lambda handle: (watched[handle].asked, handle))[:allowed]
