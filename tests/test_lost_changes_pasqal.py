"""An answer of Pasqal Cloud is lost, spoilt or doubled where nothing is bought: tags, closing and cancelling may be
asked for again and are then judged by how it stands, what is only read is read again (RELIABILITY §4).

What waits for minutes is typed in a process that skips them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import pytest

from tests.booked import at_rest
from tests.booked_pasqal import (
    APPLY,
    OPEN,
    Wanted,
    asked,
    bought_once,
    patient,
    project,
    pulse,
    recorded,
    several,
    standing,
    workload,
    write,
)
from tests.desk import Desk
from tests.emulator import until
from tests.emulator_pasqal import Cloud, shared
from tests.killing import Look, typed

T = TypeVar("T")

TAGS: Final = "PATCH /api/v1/batches/*/tags"
CLOSE: Final = "PATCH /api/v2/batches/*/complete"
CANCELS: Final = (
    "PATCH /api/v1/batches/cancel",
    "PATCH /api/v2/batches/*/cancel/jobs",
    "PATCH /api/v2/jobs/*/cancel",
    "PUT /api/v1/workloads/*/cancel",
)
RESULT: Final = "GET /*/results.json"
READS: Final = (
    "GET /api/v1/devices/specs",
    "GET /api/v1/batches",
    "GET /api/v1/batches/*/status",
    "GET /api/v2/jobs",
    "GET /api/v1/jobs/*/results_link",
    "GET /api/v2/workloads/*",
    RESULT,
)
TOKEN: Final = "POST /oauth/token"

HARMLESS: Final = ("latency=0.1", "drip=0.0001", "replay")
SILENT: Final = ("reset", "reset-after", "close", "hang-after=600", "truncated", "wrong")
LATER: Final = ("408", "429 retry-after=0", "500", "503-after", "504-after body=html")
FOREIGN: Final = ("html-after", "404-after body=html", "409-after")  # done, and somebody else says what is not true
UNDONE: Final = ("html", "400 body=html", "302", "400", "403", "404", "409", "501")
STRANGE: Final = ("wrong", "html", "html-after")
AGAIN: Final = (*HARMLESS, *SILENT, *LATER, "401")


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with several() as pool:
        yield pool


class Trial(NamedTuple):
    folder: Path
    cloud: Cloud
    fault: str


def each(pool: ProcessPoolExecutor, folder: Path, faults: Sequence[str], play: Callable[[Trial], T]) -> Mapping[str, T]:
    """What comes of each fault, in processes of their own, which may fork."""
    trials = [Trial(folder / str(count), shared(), fault) for count, fault in enumerate(faults)]
    return dict(zip(faults, pool.map(play, trials), strict=True))


# --- tags and closing -------------------------------------------------------------------------------------------------

BEFORE: Final = {"a": pulse(100, tags=["old"], **OPEN)}
AFTER: Final = {"a": pulse(100, tags=["new"], **OPEN)}


def test_a_lost_answer_to_new_tags_or_a_close_leaves_the_batch_tagged_and_closed(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    found = each(pool, tmp_path, (*AGAIN, *FOREIGN), tagged_and_closed)

    judged = dict.fromkeys(AGAIN, (0, ["new"], 0, False)) | dict.fromkeys(FOREIGN, (0, ["new"], 0, False))
    assert found == judged | {"409-after": (1, ["new"], 0, False)}


def test_where_new_tags_or_a_close_are_refused_the_command_says_so_and_the_next_one_does_it(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    assert each(pool, tmp_path, UNDONE, tagged_and_closed) == dict.fromkeys(UNDONE, (1, ["old"], 1, True))


def tagged_and_closed(trial: Trial) -> tuple[int, list[str], int, bool]:
    """How both commands end, which tags the batch has, and whether it is open; in the end all is well in any case."""
    account = trial.cloud.new_account()
    desk = project(Desk(trial.folder), account, BEFORE)
    assert patient(desk, *APPLY).code == 0
    account.faults(*(f"{route}: {trial.fault} x1" for route in (TAGS, CLOSE)))
    write(desk, AFTER)
    relabelled = patient(desk, *APPLY).code
    (batch,) = account.books()["batches"]
    tags = [tag for tag in batch["tags"] if not tag.startswith("qr")]
    closed = patient(desk, "close", "a").code
    (batch,) = account.books()["batches"]
    assert account.struck() == [1, 1]

    if relabelled or closed:
        patient(desk, *APPLY)
        patient(desk, "close", "--all")
    (last,) = account.books()["batches"]
    assert ("new" in last["tags"], "old" in last["tags"], last["open"]) == (True, False, False)
    at_rest(desk, look := Look(name="afterwards"), 1)
    assert look.wrong == []
    account.close()
    return relabelled, tags, closed, batch["open"]


def _well(desk: Desk, account: Cloud, wanted: Wanted) -> list[str]:
    look = Look(name="afterwards")
    bought_once(account, look, wanted)
    recorded(desk, account, look, wanted)
    at_rest(desk, look, len(wanted.jobs))
    return look.wrong


# --- cancelling -------------------------------------------------------------------------------------------------------

# Of one batch two of three jobs are cancelled, of the second both, of the third one; and a workload.
RUNNING: Final = {
    "a": pulse(100),
    "b": pulse(104),
    "c": pulse(108),
    "d": pulse(112, device="EMU_MPS"),
    "e": pulse(116, device="EMU_MPS"),
    "f": pulse(120, device="EMU_SV"),
    "g": pulse(124, device="EMU_SV"),
    "w": workload(56),
}
CANCELLED: Final = ("a", "b", "d", "e", "f", "w")
DONE: Final = {name: "cancelled" if name in CANCELLED else "live" for name in RUNNING}


def test_a_lost_answer_to_a_cancel_leaves_cancelled_what_was_meant_and_nothing_else(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    faults = (*AGAIN, *FOREIGN)

    assert each(pool, tmp_path, faults, cancelled) == dict.fromkeys(faults, (0, DONE))


def test_where_a_cancel_is_refused_the_command_says_so_and_everything_goes_on(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    faults = tuple(fault for fault in UNDONE if fault != "403")

    assert each(pool, tmp_path, faults, cancelled) == dict.fromkeys(faults, (1, dict.fromkeys(RUNNING, "live")))


def cancelled(trial: Trial) -> tuple[int, Mapping[str, str]]:
    """How the command ends, and how the jobs stand, which must be so here as it is there."""
    account = trial.cloud.new_account()
    desk = project(Desk(trial.folder), account, RUNNING)
    account.faults("POST /api/v1/*: stuck")
    assert patient(desk, *APPLY, "--no-wait").code == 0
    account.clear()
    account.faults(*(f"{route}: {trial.fault} x1" for route in CANCELS))
    code = patient(desk, "cancel", *CANCELLED).code
    assert account.struck() == [1, 1, 1, 1]
    until(lambda: "CANCELING" not in _words(account).values())
    assert typed(desk, "sync").code == 0
    found, there = standing(desk), _words(account)
    phases = {"CANCELED": "cancelled", "RUNNING": "live"}
    assert {name: phases[there[str(job.get("shots", 56))]] for name, job in RUNNING.items()} == found
    assert account.books()["empty_cancels"] == 0
    account.close()
    return code, found


def _words(account: Cloud) -> Mapping[str, str]:
    """By runs."""
    books = account.books()
    jobs = {str(job["runs"]): job["status"] for batch in books["batches"] for job in batch["jobs"]}
    return jobs | {str(work["config"]["runs"]): work["status"] for work in books["workloads"]}


# --- reading ----------------------------------------------------------------------------------------------------------

READ: Final = {"a": pulse(100), "b": pulse(400), "w": workload(56)}


def test_what_is_read_and_lost_is_read_again_at_every_step_of_one_command(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    faults = (*SILENT, *LATER, *STRANGE[1:], "401")

    assert each(pool, tmp_path, faults, read) == dict.fromkeys(faults, (0, {1}, []))


def read(trial: Trial) -> tuple[int, set[int], list[str]]:
    """How it ends, and how often each fault struck. A result has no envelope, so that of one any bytes are kept."""
    account = trial.cloud.new_account()
    desk = project(Desk(trial.folder), account, READ)
    routes = [route for route in READS if route != RESULT or trial.fault not in STRANGE]
    account.faults(*(f"{route}: {trial.fault} x1" for route in routes))
    code = patient(desk, *APPLY).code
    found = code, set(account.struck()), _well(desk, account, Wanted(jobs=READ))
    account.close()
    return found


def test_a_token_whose_answer_is_lost_is_asked_for_again_and_one_that_is_refused_stops_before_anything_is_sent(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    """One that nobody answers has used up the time there is for it."""
    again = tuple(fault for fault in AGAIN if "hang" not in fault and fault != "401")
    never = ("hang=600", "401", *(fault for fault in UNDONE if fault != "html"))

    found = each(pool, tmp_path, (*again, *never), let_in)

    assert found == dict.fromkeys(again, (0, 1, 1)) | dict.fromkeys(never, (1, 1, 0))


def let_in(trial: Trial) -> tuple[int, int, int]:
    """How it ends, how often the fault struck, and how many batches were asked for; the next command does it all."""
    account = trial.cloud.new_account()
    desk = project(Desk(trial.folder), account, {"a": pulse(100)})
    account.faults(f"{TOKEN}: {trial.fault} x1")
    code = patient(desk, *APPLY).code
    (struck,) = account.struck()
    found = code, struck, asked(account, "POST /api/v1/batches")
    assert patient(desk, *APPLY).code == 0
    assert _well(desk, account, Wanted(jobs={"a": pulse(100)})) == []
    account.close()
    return found
