"""The rows of a Pasqal cloud: batches with their jobs, workloads, and one shelf of them for each account."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

PENDING: Final = "PENDING"
RUNNING: Final = "RUNNING"
CANCELING: Final = "CANCELING"
CANCELED: Final = "CANCELED"
DONE: Final = "DONE"
ERROR: Final = "ERROR"
TIMED_OUT: Final = "TIMED_OUT"
PAUSED: Final = "PAUSED"  # no row is ever paused; a filter may ask for it

ENDED: Final = frozenset({DONE, ERROR, CANCELED, TIMED_OUT})
STATUSES: Final = frozenset({PENDING, RUNNING, PAUSED, CANCELING, *ENDED})


@dataclass(kw_only=True, slots=True, eq=False)
class Row:
    """What batches, jobs and workloads have in common. Times are seconds since 1970.

    `hidden_until` keeps a row out of lists (a lagging index); `number` counts the rows of its kind.
    """

    id: str
    account: str
    project_id: str
    user_id: str
    created: float
    updated: float
    number: int
    status: str = PENDING
    started: float | None = None
    finished: float | None = None
    hidden_until: float = 0.0

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def become(self, status: str, now: float) -> None:
        self.status, self.updated = status, now
        if status == RUNNING and self.started is None:
            self.started = now
        if self.ended:
            self.finished = now


@dataclass(kw_only=True, slots=True, eq=False)
class Work(Row):
    """A row that is computed. `starts` counts how often; `fails` is the message with which it will fail."""

    errors: list[str] | None = None
    starts: int = 0
    stuck: bool = False
    fails: str | None = None
    fails_early: bool = False
    computing: asyncio.Task[bytes] | None = field(default=None, repr=False)


@dataclass(kw_only=True, slots=True, eq=False)
class Job(Work):
    batch_id: str
    order: int  # in its batch, from 0
    runs: int | None = None
    variables: Mapping[str, Any] | None = None
    sequence: str | None = field(default=None, repr=False)
    parent_id: str | None = None


@dataclass(kw_only=True, slots=True, eq=False)
class Workload(Work):
    workload_type: str
    backend: str
    config: Mapping[str, Any]


@dataclass(kw_only=True, slots=True, eq=False)
class Batch(Row):
    """`news` is set when something has happened that whoever runs the batch should look at."""

    device_type: str
    sequence: str | None = field(default=None, repr=False)
    open: bool = False
    tags: list[str] = field(default_factory=list)
    parent_id: str | None = None
    webhook: str | None = None
    configuration: Mapping[str, Any] | None = None
    backend_configuration: str | None = None
    jobs: list[Job] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(job.status for job in self.jobs).items()))

    def settle(self, now: float) -> None:
        """Ends the batch if nothing more can come: it is closed, or being cancelled, and each job has ended."""
        self.news.set()
        if self.ended or self.open or not all(job.ended for job in self.jobs):
            return
        self.become(CANCELED if self.status == CANCELING else DONE, now)


@dataclass(kw_only=True, slots=True)
class Shelf:
    """One account's rows in the order of their creation."""

    batches: list[Batch] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    workloads: list[Workload] = field(default_factory=list)


@dataclass(kw_only=True, slots=True)
class Books:
    """All rows. `created` counts, by tag, the batches that were created with it, copies by rebatch apart.

    `empty_cancels` counts the requests to cancel batches that named none: the real one might cancel all of them.
    """

    shelves: dict[str, Shelf] = field(default_factory=dict)
    batches: dict[str, Batch] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    workloads: dict[str, Workload] = field(default_factory=dict)
    created: Counter[tuple[str, str]] = field(default_factory=Counter)
    empty_cancels: Counter[str] = field(default_factory=Counter)
    made: int = 0

    def shelf(self, account: str) -> Shelf:
        return self.shelves.setdefault(account, Shelf())

    def number(self) -> int:
        self.made += 1
        return self.made

    def add_batch(self, batch: Batch) -> None:
        self.batches[batch.id] = batch
        self.shelf(batch.account).batches.append(batch)
        if batch.parent_id is None:
            self.created.update((batch.account, tag) for tag in batch.tags)

    def add_job(self, batch: Batch, job: Job) -> None:
        batch.jobs.append(job)
        self.jobs[job.id] = job
        self.shelf(batch.account).jobs.append(job)

    def add_workload(self, workload: Workload) -> None:
        self.workloads[workload.id] = workload
        self.shelf(workload.account).workloads.append(workload)

    def close(self, account: str) -> Shelf:
        """Takes a whole account away."""
        shelf = self.shelves.pop(account, Shelf())
        for batch in shelf.batches:
            del self.batches[batch.id]
        for job in shelf.jobs:
            del self.jobs[job.id]
        for workload in shelf.workloads:
            del self.workloads[workload.id]
        for key in [key for key in self.created if key[0] == account]:
            del self.created[key]
        del self.empty_cancels[account]
        return shelf
