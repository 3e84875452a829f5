"""An answer is lost, spoilt or doubled, at each request of an `apply`: the state that RELIABILITY §4 names, one job.

By the books of the stand-in. What waits for minutes is typed in a process whose event loop lets them pass quickly.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.booked import (
    JOB,
    ONE,
    End,
    Jobs,
    Wanted,
    at_rest,
    bought_once,
    forked,
    goes_on,
    lose,
    project,
    recorded,
    several,
    stopped,
)
from tests.desk import Desk
from tests.emulator import Emulator, shared
from tests.killing import Look, typed

HASTE = 60  # seconds that pass in one
APPLY = ("apply", "--yes")
REQUESTS = 10  # of an undisturbed run, without the looks at a job that waits
MORE = 8  # that one lost answer may cost

STEPS = {
    "devices": "GET /devices",
    "list": "GET /jobs",
    "register": "POST /jobs",
    "upload": "POST /emulator-jobs",
    "submit": "POST /jobs/*/submit",
    "status": "GET /jobs/*/status",
    "document": "GET /jobs/????????-????-????-????-????????????",
    "download": "GET /emulator-jobs/*/result.zip",
}
FAULTS = {
    "reset": "reset-after",
    "close": "close-after",
    "hang": "hang-after=600",
    "truncated": "truncated",
    "5xx": "503-after",
    "5xx of a proxy": "502-after body=html",
    "html": "html-after",
    "replay": "replay",
}


class Hasty(asyncio.SelectorEventLoop):
    """An event loop in which a minute passes in a second."""

    def __init__(self) -> None:
        super().__init__(Short())

    def time(self) -> float:
        return super().time() * HASTE


class Short(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout and timeout / HASTE)


class Haste(asyncio.DefaultEventLoopPolicy):
    _loop_factory = Hasty


def hurry() -> None:
    """For a process that ends with the command."""
    asyncio.set_event_loop_policy(Haste())


# --- in processes of their own, which may fork ------------------------------------------------------------------------


def hasty(desk: Desk, *words: str) -> End:
    return forked(desk, *words, first=hurry)


def hastily_stopped(desk: Desk, failpoint: str, *words: str) -> bool:
    return stopped(desk, failpoint, *words, first=hurry)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with several() as pool:
        yield pool


@pytest.fixture
def account() -> Iterator[Emulator]:
    account = shared().new_account()
    yield account
    account.close()


def well(desk: Desk, account: Emulator, jobs: Jobs) -> list[str]:
    """What is not as it should be, once a command has ended well."""
    look, wanted = Look(name="afterwards"), Wanted(jobs=jobs)
    bought_once(account, look, wanted)
    recorded(desk, account, look, wanted)
    at_rest(desk, look, len(jobs))
    return look.wrong


# --- one lost answer --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", FAULTS)
def test_one_lost_answer_is_cleared_up_by_the_same_command(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Emulator, fault: str, step: str
) -> None:
    desk = project(tmp_path / "p", account, ONE)
    account.faults(f"{STEPS[step]}: {FAULTS[fault]} x1")

    end = pool.submit(hasty, desk, *APPLY).result()

    assert (end.code, account.struck()) == (0, [1]), end
    assert well(desk, account, ONE) == []
    asked = account.books()["routes"]
    assert (
        sum(each["asked"] for route, each in asked.items() if route != "GET /jobs/{job_id}/status") <= REQUESTS + MORE
    )
