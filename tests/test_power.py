"""The power is cut after every operation of an `apply` of three jobs: on the cloud's books each is bought once.

The disk is the fake of `tests/disk.py`, which loses or tears what was not synced and reorders renames; the cloud goes
on from where it was when the power went.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from qrun.apply import Apply
from qrun.job import Conduct, Job
from qrun.plan import Policy
from qrun.provider import Recovery
from qrun.record import Phase
from qrun.store import Store
from tests.cloud import Cloud, MemoryProvider, Run, capabilities
from tests.disk import FakeDisk, states
from tests.scene import SOURCE, job
from tests.virtual import VirtualClock

PROJECT = "5f0c7a52-6d0e-4b1e-9d0b-1f6f6f3a2b11"
TOGETHER = Conduct(together="all")
SEPARATE = [job("a"), job("b", shots=2), job("c", shots=3, conduct=Conduct(needs=("a",)))]
PACKED = [job("a", conduct=TOGETHER), job("b", shots=2, conduct=TOGETHER), job("c", shots=3, conduct=TOGETHER)]


class Watched(FakeDisk):
    """Keeps what the cloud had, and what time it was, when each operation began."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self.cloud = cloud
        self.seen: list[tuple[list[Run], float]] = []

    def _do(self, method: str, full: str, *rest: Any) -> None:
        self.seen.append((copy.deepcopy(self.cloud.runs), self.cloud.clock.now()))
        super()._do(method, full, *rest)


def command(disk: FakeDisk, cloud: Cloud, clock: VirtualClock, jobs: list[Job]) -> Store:
    """One `apply` from opening the store to closing it."""
    provider = MemoryProvider(cloud)
    with Store.open("/project", "exp", project=PROJECT, manifest="specs/exp.yaml", disk=disk, clock=clock) as store:
        loop = Apply(
            store=store,
            connect=lambda connection: provider,
            capabilities=lambda name: capabilities(cloud),
            content=lambda program: SOURCE,
            policy=Policy(),
            emit=lambda event: None,
            clock=clock,
        )
        clock.run(loop.run(jobs))
    return store


def sweep(cloud: Callable[[VirtualClock], Cloud], jobs: list[Job]) -> int:
    """How many states were tried; each must end with every job bought once and its results here."""
    clock = VirtualClock()
    books = cloud(clock)
    disk = Watched(books)
    command(disk, books, clock, jobs)
    disk.seen.append((copy.deepcopy(books.runs), clock.now()))
    tried = 0
    for done, after in states(disk.log):
        runs, now = disk.seen[done]
        later = VirtualClock(now + 1)
        again = replace(cloud(later), runs=copy.deepcopy(runs), faults={})
        store = command(after, again, later, jobs)
        tried += 1

        assert {key: len(again.made(key)) for key in "abc"} == {"a": 1, "b": 1, "c": 1}, f"after operation {done}"
        assert {r.key: r.phase for r in store.records} == dict.fromkeys("abc", Phase.SUCCEEDED)
        assert not any(store.missing(record) for record in store.records)
    return tried


def plain(clock: VirtualClock) -> Cloud:
    return Cloud(clock=clock, members=100, duration=90, lag=20, pace=15.0)


def losing(clock: VirtualClock) -> Cloud:
    return replace(plain(clock), members=1, faults={"submit": ["answer lost", "request lost"]})


def id_first(clock: VirtualClock) -> Cloud:
    return replace(plain(clock), members=1, recovery=Recovery.ID_FIRST)


@pytest.mark.slow
def test_whenever_the_power_is_cut_each_job_is_bought_once() -> None:
    tried = [sweep(plain, SEPARATE), sweep(plain, PACKED), sweep(losing, SEPARATE), sweep(id_first, SEPARATE)]

    assert sum(tried) >= 10_000, tried
