"""An answer is lost, spoilt or doubled, at each request of an `apply`: the state that RELIABILITY §4 names, one job.

By the books of the stand-in. What waits for minutes is typed in a process whose event loop lets them pass quickly.
"""

from __future__ import annotations

import asyncio
import resource
import selectors
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from qrun.providers.oqtopus import CAPABILITIES
from tests.booked import (
    JOB,
    ONE,
    End,
    Jobs,
    Wanted,
    at_rest,
    bought_once,
    forked,
    lose,
    project,
    recorded,
    several,
    stopped,
    write,
)
from tests.desk import BELL, Desk
from tests.emulator import Emulator, shared
from tests.killing import PATIENCE, Look, traced, typed, usable

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
ORDER = ("list", "devices", "register", "upload", "submit")  # of a fresh apply of one job
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


def well(desk: Desk, account: Emulator, jobs: Jobs, perhaps: frozenset[int] = frozenset()) -> list[str]:
    """What is not as it should be, once a command has ended well."""
    look, wanted = Look(name="afterwards"), Wanted(jobs=jobs, perhaps=perhaps)
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


@pytest.mark.parametrize("step", ["register", "upload", "submit"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_command_that_dies_over_a_lost_answer_is_followed_by_one_that_goes_on(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Emulator, fault: str, step: str
) -> None:
    desk = project(tmp_path / "p", account, ONE)
    account.faults(f"{STEPS[step]}: {FAULTS[fault]} x1")

    died = pool.submit(hastily_stopped, desk, f"answered:{ORDER.index(step) + 1}", *APPLY).result()
    struck = account.struck()
    end = typed(desk, *APPLY)

    assert (died, struck, end.code) == (True, [1], 0)
    assert well(desk, account, ONE) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_answer_to_a_cancel_leaves_one_job_cancelled_and_one_bought(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Emulator, fault: str
) -> None:
    desk = project(tmp_path / "p", account, ONE)
    account.faults("POST /jobs/*/submit: stuck x1", f"POST /jobs/*/cancel: {FAULTS[fault]} x1")
    assert typed(desk, *APPLY, "--no-wait").code == 0

    write(desk, changed := {"a": {**JOB, "shots": 101}})
    end = pool.submit(hasty, desk, *APPLY, "--prune").result()

    assert (end.code, account.struck()) == (0, [1, 1]), end
    assert {job["shots"]: job["status"] for job in account.books()["jobs"]} == {100: "cancelled", 101: "succeeded"}
    assert well(desk, account, changed, frozenset({100})) == []


# --- nobody answers any more ------------------------------------------------------------------------------------------

DARK = {
    "the submit never arrives": ["POST /jobs/*/submit: reset"],
    "it arrives and nothing is heard": ["POST /jobs/*/submit: reset-after", "GET /jobs*: 503 skip=1"],
    "a proxy speaks for it": ["POST /jobs/*/submit: 404-after body=html", "GET /jobs*: 404 body=html skip=1"],
}


@pytest.mark.parametrize("until", [("--no-wait",), ("--timeout", "2m")], ids=" ".join)
@pytest.mark.parametrize("faults", DARK.values(), ids=DARK)
def test_a_submit_whose_outcome_nobody_can_see_is_loud_and_cleared_up_by_the_next_command(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Emulator, faults: list[str], until: tuple[str, ...]
) -> None:
    desk = project(tmp_path / "p", account, ONE)
    account.faults(*faults)

    dark = pool.submit(hasty, desk, *APPLY, *until).result()
    account.clear()
    end = typed(desk, *APPLY)

    assert dark.code == 6, dark
    assert "\nunclear    three.a  whether" in dark.err
    assert account.asked("POST /jobs/{job_id}/submit") <= 16
    assert end.code == 0
    assert well(desk, account, ONE) == []


def test_a_submit_whose_outcome_can_be_seen_only_later_is_cleared_up_by_the_same_command(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Emulator
) -> None:
    desk = project(tmp_path / "p", account, ONE)
    account.faults("POST /jobs/*/submit: reset-after x1", "GET /jobs/*/status: 503 x3")

    end = pool.submit(hasty, desk, *APPLY).result()

    assert (end.code, account.struck()) == (0, [1, 3]), end
    assert well(desk, account, ONE) == []


# --- lists that lag ---------------------------------------------------------------------------------------------------

MANY = {f"j{number}": {**JOB, "shots": number + 10} for number in range(6)}


@pytest.mark.parametrize("lag", [0, 1, CAPABILITIES.settle, 10 * CAPABILITIES.settle])
@pytest.mark.parametrize("place", ["answered:16", "submitted:1", "accepted:3", "heard:2"])
def test_a_list_that_lags_makes_nobody_buy_twice(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Emulator, lag: float, place: str
) -> None:
    desk = project(tmp_path / "p", account, MANY)
    account.faults(f"POST /jobs: lag={lag}", f"POST /jobs/*/submit: lag={lag}")

    died = pool.submit(stopped, desk, place, *APPLY).result()
    end = typed(desk, *APPLY)

    assert (died, end.code) == (True, 0)
    assert well(desk, account, MANY) == []


# --- two for one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("journal", [True, False], ids=["with the journal", "on a fresh clone"])
def test_two_jobs_with_one_marker_are_shown_and_left_alone_while_others_go_on(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Emulator, journal: bool
) -> None:
    desk = project(tmp_path / "p", account, ONE)
    assert pool.submit(stopped, desk, f"answered:{ORDER.index('submit') + 1}", *APPLY).result()
    (first,) = account.books()["jobs"]
    twin = account.submit({"program": [BELL]}, description=first["description"])
    if not journal:
        lose(desk)
    write(desk, both := {**ONE, "b": {**JOB, "shots": 7}})

    ends = [typed(desk, *APPLY), typed(desk, *APPLY)]

    assert [end.code for end in ends] == [6, 6]
    assert all(first["job_id"] in end.err and twin in end.err for end in ends)
    assert [job["shots"] for job in account.books()["jobs"] if job["submits"]] == [100, 100, 7]
    assert account.asked("POST /jobs/{job_id}/cancel") == 0
    phases = {job["job"]: job["phase"] for job in typed(desk, "status", "-o", "json").json["experiments"][0]["jobs"]}
    assert phases == {"a": "uncertain", "b": "succeeded"}

    resolved = typed(desk, "resolve", "a", "--adopt", first["job_id"])

    assert (resolved.code, typed(desk, *APPLY).code) == (0, 0)
    assert account.asked("POST /jobs/{job_id}/submit") == 3
    look = Look(name="afterwards")
    at_rest(desk, look, len(both))
    assert look.wrong == []


# --- the answer is here, and the disk takes no more -------------------------------------------------------------------


def confine(size: int) -> None:
    """No file of this process may become larger; a module that it compiles would be cut short without a word."""
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def confined(desk: Desk, size: int, *words: str) -> End:
    return forked(desk, *words, first=partial(confine, size))


def journal(desk: Desk) -> Path:
    return desk.folder / "results/three/.qrun/journal.jsonl"


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_journal_that_is_full_when_the_job_is_accepted_leaves_a_rescue_file(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Emulator, room: int
) -> None:
    desk = project(tmp_path / "p", account, ONE)
    measured = project(tmp_path / "m", there := account.new_account(), ONE)
    assert pool.submit(stopped, measured, "submitted:1", *APPLY).result()
    size = journal(measured).stat().st_size
    there.close()

    end = pool.submit(confined, desk, size + room, *APPLY).result()

    rescued(desk, account, end)


@pytest.mark.skipif(not usable(), reason="strace is not here or may not kill")
@pytest.mark.parametrize(
    "error", ["write:error=ENOSPC", "write:error=EIO", "fdatasync:error=EIO", "write:error=EDQUOT"]
)
def test_a_disk_that_fails_when_the_job_is_accepted_leaves_a_rescue_file(
    tmp_path: Path, account: Emulator, error: str
) -> None:
    desk = project(tmp_path / "p", account, ONE)
    call = error.partition(":")[0]
    number = accepting(project(tmp_path / "t", there := account.new_account(), ONE), call)
    there.close()

    words = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={error}:when={number}"]
    done = subprocess.run(
        [*words, *desk.command, *APPLY],
        cwd=desk.folder,
        env={**desk.environment, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )

    rescued(desk, account, End(code=done.returncode, out=done.stdout, err=done.stderr))


def accepting(desk: Desk, call: str) -> int:
    """The how-manieth call of its kind makes a job's acceptance durable, in an undisturbed run."""
    log = desk.folder / "trace"
    traced(desk, ["-o", str(log), "-s", "4000", "-e", "trace=write,fdatasync"], *APPLY)
    calls = log.read_text(errors="replace").splitlines()
    at = next(n for n, line in enumerate(calls) if "live" in line and "reached" in line)
    return sum(line.startswith(f"{call}(") for line in calls[: at + 1 + (call == "fdatasync")])


def rescued(desk: Desk, account: Emulator, end: End) -> None:
    """The id is told and kept; the next command needs neither."""
    (sent,) = (job["job_id"] for job in account.books()["jobs"] if job["submits"])
    assert end.code == 5, end
    (file,) = desk.folder.glob("qrun-errored-*.json")
    assert sent in file.read_text()
    assert sent in end.err
    assert str(file) in end.err

    assert typed(desk, *APPLY).code == 0
    assert well(desk, account, ONE) == []
