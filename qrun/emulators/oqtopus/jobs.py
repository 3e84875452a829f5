"""The jobs of an OQTOPUS cloud: one row each, a shelf of rows for each account, and how a page is looked up."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

REGISTERED: Final = "registered"
WAITING: Final = frozenset({"submitted", "ready"})
LIVE: Final = frozenset({"submitted", "ready", "running"})
FINAL: Final = frozenset({"succeeded", "failed", "cancelled"})
STATUSES: Final = frozenset({REGISTERED, *LIVE, "cancelling", *FINAL})
SEARCHES: Final = 8  # texts whose hits a shelf remembers


@dataclass(kw_only=True, slots=True, eq=False)
class Job:
    """One row. Times are seconds since 1970; what a registered job does not have yet is None.

    `starts` counts how often a device began it. `hidden_until` keeps it out of lists (a lagging index).
    """

    job_id: str
    account: str
    created: float
    status: str = REGISTERED
    name: str | None = None
    description: str | None = None
    device_id: str | None = None
    job_type: str | None = None
    shots: int | None = None
    transpiler_info: dict[str, Any] | None = None
    simulator_info: dict[str, Any] | None = None
    mitigation_info: dict[str, Any] | None = None
    submitted: float | None = None
    ready: float | None = None
    running: float | None = None
    ended: float | None = None
    execution_time: float | None = None
    message: str | None = None
    outputs: list[str] = field(default_factory=list)
    number: int = 0
    submits: int = 0
    starts: int = 0
    hidden_until: float = 0.0
    stuck: bool = False
    fails: str | None = None  # the message with which it will fail
    fails_early: bool = False
    haystack: str = ""

    @property
    def trap(self) -> bool:
        """Cancelled before it was submitted: its row has a job type and shots that the API cannot show."""
        return self.status == "cancelled" and self.submitted is None

    def label(self) -> None:
        self.haystack = "\0".join((self.job_id, self.name or "", self.description or "")).casefold()


def new_id(now: float) -> str:
    """UUID version 7: the milliseconds first, so that ids sort by creation."""
    value = int(now * 1000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


@dataclass(kw_only=True, slots=True)
class Shelf:
    """One account's jobs in the order of their creation."""

    jobs: list[Job] = field(default_factory=list)
    by_id: dict[str, Job] = field(default_factory=dict)
    lagging_until: float = 0.0
    _searches: dict[str, list[Job]] = field(default_factory=dict)

    def add(self, job: Job) -> None:
        job.label()
        self.jobs.append(job)
        self.by_id[job.job_id] = job
        self._searches.clear()

    def relabelled(self, job: Job) -> None:
        """To be told when a job's name or description has changed."""
        job.label()
        self._searches.clear()

    def remove(self, job: Job) -> None:
        self.jobs.remove(job)
        del self.by_id[job.job_id]
        self._searches.clear()

    def page(self, wanted: Wanted) -> Sequence[Job]:
        """Past the end there is nothing."""
        found = self._search(wanted.text) if wanted.text else self.jobs
        if tests := list(self._tests(wanted)):
            found = [job for job in found if all(test(job) for test in tests)]
        first = (wanted.page - 1) * wanted.size
        if wanted.newest_first:
            end = len(found) - first
            return found[max(0, end - wanted.size) : max(0, end)][::-1]
        return found[first : first + wanted.size]

    def _search(self, text: str) -> list[Job]:
        if text not in self._searches:
            if len(self._searches) >= SEARCHES:
                self._searches.clear()
            test = like(text)
            self._searches[text] = [job for job in self.jobs if test(job.haystack)]
        return self._searches[text]

    def _tests(self, wanted: Wanted) -> Iterator[Callable[[Job], bool]]:
        if wanted.status is not None:
            yield lambda job: job.status == wanted.status
        start, end = wanted.start, wanted.end
        if start is not None:
            yield lambda job: job.submitted is not None and int(job.submitted) >= start
        if end is not None:
            yield lambda job: job.submitted is not None and int(job.submitted) <= end
        if (now := time.time()) < self.lagging_until:
            yield lambda job: job.hidden_until <= now


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What a list is asked for; `fields` None means all. Times are inclusive and leave out what was never submitted."""

    fields: tuple[str, ...] | None = None
    text: str = ""
    status: str | None = None
    start: float | None = None
    end: float | None = None
    page: int = 1
    size: int = 100
    newest_first: bool = False


def like(text: str) -> Callable[[str], bool]:
    """SQL's `LIKE '%text%'` on one of several columns, whose values a NUL parts; case does not matter."""
    needle = text.casefold()
    if "%" not in needle and "_" not in needle:
        return lambda haystack: needle in haystack
    signs = {"%": "[^\0]*", "_": "[^\0]"}
    pattern = re.compile("".join(signs.get(sign) or re.escape(sign) for sign in needle))
    return lambda haystack: pattern.search(haystack) is not None


@dataclass(kw_only=True, slots=True)
class Books:
    """All shelves, and each job by its id."""

    shelves: dict[str, Shelf] = field(default_factory=dict)
    by_id: dict[str, Job] = field(default_factory=dict)
    made: int = 0

    def shelf(self, account: str) -> Shelf:
        return self.shelves.setdefault(account, Shelf())

    def register(self, account: str, now: float) -> Job:
        self.made += 1
        job = Job(job_id=new_id(now), account=account, created=now, number=self.made)
        self.by_id[job.job_id] = job
        self.shelf(account).add(job)
        return job

    def own(self, account: str, job_id: str) -> Job | None:
        shelf = self.shelves.get(account)
        return None if shelf is None else shelf.by_id.get(job_id)

    def remove(self, job: Job) -> None:
        self.shelf(job.account).remove(job)
        del self.by_id[job.job_id]

    def close(self, account: str) -> list[Job]:
        """Takes a whole account away."""
        shelf = self.shelves.pop(account, Shelf())
        for job in shelf.jobs:
            del self.by_id[job.job_id]
        return shelf.jobs
