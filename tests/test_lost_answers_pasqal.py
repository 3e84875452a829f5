"""An answer of Pasqal Cloud is lost, spoilt or doubled where something is bought: the state that RELIABILITY §4 names
for it, and by the books of the stand-in each job once.

What waits for minutes is typed in a process that skips them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.booked import at_rest, lose, stopped, written
from tests.booked_pasqal import (
    APPLY,
    OPEN,
    Jobs,
    Wanted,
    asked,
    bought_once,
    patient,
    project,
    pulse,
    recorded,
    restore,
    sent,
    several,
    skip,
    standing,
    workload,
    write,
)
from tests.desk import Desk
from tests.emulator_pasqal import Cloud, shared
from tests.killing import Look, typed

CREATE: Final = "POST /api/v1/batches"
JOIN: Final = "POST /api/v2/batches/*/jobs"
REBATCH: Final = "POST /api/v1/batches/*/rebatch"
WORKLOAD: Final = "POST /api/v1/workloads"
COPIED: Final = "answered:5"  # by a batch that was made from another
CANCEL: Final = "PATCH /api/v1/batches/cancel"

PAIR: Final = {"a": pulse(100), "b": pulse(400)}
ALONE: Final = {"a": pulse(100, **OPEN)}
MORE: Final = {**ALONE, "b": pulse(400, **OPEN), "c": pulse(48, **OPEN)}
WORK: Final = {"w": workload(56)}


class Seen(NamedTuple):
    """How a job stands, how often it was asked for, and how many of it were made."""

    phase: str
    asked: int
    made: int


ONCE: Final = Seen("succeeded", 1, 1)
AGAIN: Final = Seen("succeeded", 2, 1)
TWINS: Final = Seen("succeeded", 1, 2)
REFUSED: Final = Seen("absent", 1, 0)


def held(made: int) -> Seen:
    return Seen("uncertain", 1, made)


# What becomes of a batch, of jobs that join one, of a copy, and of a workload.
HARMLESS: Final = (ONCE, ONCE, ONCE, ONCE)
LOST: Final = (ONCE, ONCE, ONCE, held(1))
UNDONE: Final = (AGAIN, held(0), held(0), held(0))
NOT_PROCESSED: Final = (AGAIN, AGAIN, AGAIN, AGAIN)
NO: Final = (REFUSED, REFUSED, Seen("failed", 1, 0), REFUSED)
DOUBLED: Final = (TWINS, held(2), TWINS, TWINS)

FATES: Final[Mapping[str, Sequence[Seen]]] = {
    **dict.fromkeys(("latency=0.1", "drip=0.0001"), HARMLESS),
    **dict.fromkeys(("reset-after", "close-after", "hang-after=600", "truncated", "wrong", "html-after"), LOST),
    **dict.fromkeys(("408-after", "409-after", "504-after", "520-after body=html", "202-after body=empty"), LOST),
    **dict.fromkeys(("reset", "hang=600", "html", "503", "409", "400 body=html"), UNDONE),
    **dict.fromkeys(("401", "421", "425", "429 retry-after=0"), NOT_PROCESSED),
    **dict.fromkeys(("302", "403", "404", "422", "501"), NO),
    "replay": DOUBLED,
}
FOUND: Final = tuple(fault for fault, fates in FATES.items() if fates is LOST)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with several() as pool:
        yield pool


@pytest.fixture
def account() -> Iterator[Cloud]:
    account = shared().new_account()
    yield account
    account.close()


def patiently_stopped(desk: Desk, failpoint: str, *words: str) -> bool:
    return stopped(desk, failpoint, *words, first=skip)


# --- every fault at every request that buys, in processes of their own, which may fork --------------------------------


class Trial(NamedTuple):
    folder: Path
    cloud: Cloud
    fault: str


def trials(folder: Path, *faults: str) -> list[Trial]:
    return [Trial(folder / str(count), shared(), fault) for count, fault in enumerate(faults)]


def test_whatever_happens_to_a_create_an_add_or_a_workload_each_job_is_bought_once_or_somebody_is_asked(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    found = dict(zip(FATES, pool.map(bought, trials(tmp_path, *FATES)), strict=True))

    assert found == {fault: ([], create, join, work) for fault, (create, join, _, work) in FATES.items()}


def bought(trial: Trial) -> tuple[list[str], Seen, Seen, Seen]:
    """What is wrong, and what became of a batch and of a workload, then of a job that joins."""
    account = trial.cloud.new_account()
    desk = project(Desk(trial.folder), account, {**ALONE, **WORK})
    wrong = []
    account.faults(f"{CREATE}: {trial.fault} x1", f"{WORKLOAD}: {trial.fault} x1")
    first = patient(desk, *APPLY)
    created = Seen(standing(desk)["a"], asked(account, CREATE), len(account.books()["batches"]))
    work = Seen(standing(desk)["w"], asked(account, WORKLOAD), len(account.books()["workloads"]))
    if (created == ONCE and trial.fault in FOUND) != ("found by its marker" in first.err):
        wrong.append(f"how it was found: {first}")
    second = patient(desk, *APPLY)  # as a further command sees it
    wrong += _ends(desk, account, first.code, second.code, work)

    write(desk, {**ALONE, "b": pulse(400, **OPEN), **WORK})
    account.faults(f"{JOIN}: {trial.fault} x1")
    patient(desk, *APPLY)
    joined = Seen(standing(desk)["b"], asked(account, JOIN), [*sent(account).values()].count(400))
    patient(desk, *APPLY)
    if (joined == REFUSED) != (asked(account, JOIN) > joined.asked):
        wrong.append("a further command does something else")
    if account.struck() != [1, 1, 1]:
        wrong.append(f"the faults struck {account.struck()} times")
    account.close()
    return wrong, created, joined, work


def _ends(desk: Desk, account: Cloud, first: int, second: int, work: Seen) -> Iterator[str]:
    """The exit codes of both commands, and whether the second bought only what the first was refused."""
    expected = {"uncertain": (6, 6), "absent": (3, 0)}.get(work.phase, (0, 0))
    if (first, second) != expected:
        yield f"the commands end with {first} and {second}"
    again = work.asked + (1 if work == REFUSED else 0)
    if asked(account, WORKLOAD) != again or standing(desk)["a"] != "succeeded":
        yield f"afterwards: {standing(desk)}, asked {asked(account, WORKLOAD)} times"


def test_whatever_happens_to_a_rebatch_each_job_is_copied_once_or_somebody_is_asked(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    found = dict(zip(FATES, pool.map(copied, trials(tmp_path, *FATES)), strict=True))

    assert found == {fault: (copy, copy) for fault, (_, _, copy, _) in FATES.items()}


def copied(trial: Trial) -> tuple[Seen, Seen]:
    """What became of it by the end of the command, and by the end of a sync."""
    account = trial.cloud.new_account()
    desk, names = imported(trial.folder, account, f"{REBATCH}: {trial.fault} x1")
    patient(desk, "retry", "--rebatch", *names, "--yes")
    first = _copy(desk, account)
    patient(desk, "sync", "--wait")
    second = _copy(desk, account)
    account.close()
    return first, second


def _copy(desk: Desk, account: Cloud) -> Seen:
    (phase,) = set(standing(desk, 1).values())
    return Seen(phase, asked(account, REBATCH), len(account.books()["batches"]) - 1)


def imported(folder: Path, account: Cloud, *faults: str) -> tuple[Desk, list[str]]:
    """A batch whose two jobs have failed, taken in beside a manifest that nobody applies; the keys of its jobs."""
    desk = project(Desk(folder), account, {"other": pulse(48)})
    account.faults("POST /api/v1/batches: fail=broken x1")
    made = account.create(jobs=[{"runs": runs, "variables": {"omega": 0.25}} for runs in (100, 400)])
    account.settled(made["id"])
    account.clear()
    assert typed(desk, "import", "atoms", made["id"]).code == 3
    account.faults(*faults)
    return desk, [f"import-atoms.{job['id']}" for job in made["jobs"]]


def test_a_command_that_dies_over_a_lost_answer_is_followed_by_one_that_finds_the_batch(
    tmp_path: Path, pool: ProcessPoolExecutor
) -> None:
    found = dict(zip(FOUND, pool.map(died, trials(tmp_path, *FOUND)), strict=True))

    assert found == dict.fromkeys(FOUND, (True, 0, 1, []))


def died(trial: Trial) -> tuple[bool, int, int, list[str]]:
    account = trial.cloud.new_account()
    desk = project(Desk(trial.folder), account, PAIR)
    account.faults(f"{CREATE}: {trial.fault} x1")
    stops = patiently_stopped(desk, "answered:4", *APPLY)
    end = patient(desk, *APPLY)
    found = stops, end.code, asked(account, CREATE), well(desk, account, PAIR)
    account.close()
    return found


def well(desk: Desk, account: Cloud, jobs: Jobs, perhaps: frozenset[int] = frozenset()) -> list[str]:
    """What is not as it should be, once a command has ended well and every batch is closed."""
    look, wanted = Look(name="afterwards"), Wanted(jobs=jobs, perhaps=perhaps)
    bought_once(account, look, wanted)
    recorded(desk, account, look, wanted)
    at_rest(desk, look, len(jobs))
    return look.wrong


# --- a batch ----------------------------------------------------------------------------------------------------------


def test_one_504_after_acceptance_leaves_one_batch_where_the_official_client_makes_two(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud
) -> None:
    """What that client does is shown in tests/official_pasqal."""
    desk = project(Desk(tmp_path / "p"), account, PAIR)
    account.faults(f"{CREATE}: 504-after x1")

    end = pool.submit(patient, desk, *APPLY).result()

    assert end.code == 0, end
    assert len(account.books()["batches"]) == 1
    assert set(account.books()["created_by_tag"].values()) == {1}
    assert asked(account, CREATE) == 1


def test_a_batch_that_a_proxy_had_made_twice_is_taken_once_and_the_other_is_told(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud
) -> None:
    """The answer names one of them, so nothing is unclear until a later command sees the other."""
    desk = project(Desk(tmp_path / "p"), account, PAIR)
    account.faults(f"{CREATE}: replay x1")
    first = pool.submit(patient, desk, *APPLY).result()

    write(desk, {**PAIR, "c": pulse(48)})
    later = pool.submit(patient, desk, *APPLY).result()

    assert (first.code, later.code, asked(account, CREATE)) == (0, 0, 2)
    twin, taken, _ = (batch["id"] for batch in account.books()["batches"])
    assert twin not in first.err
    assert f'"{twin}/' in later.err
    assert f'has the marker of "a" ({taken}/' in later.err
    assert "was it sent twice?" in later.err


@pytest.mark.parametrize("journal", [True, False], ids=["with the journal", "on a fresh clone"])
def test_two_batches_with_one_marker_are_shown_and_left_alone_while_others_go_on(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, journal: bool
) -> None:
    one = {"a": pulse(100)}
    desk = project(Desk(tmp_path / "p"), account, one)
    account.faults(f"{CREATE}: replay x1")
    assert pool.submit(stopped, desk, "answered:4", *APPLY).result()
    if not journal:
        lose(desk)
    write(desk, both := {**one, "b": pulse(400, device="EMU_MPS")})

    ends = [pool.submit(patient, desk, *APPLY).result() for _ in range(2)]

    assert [end.code for end in ends] == [6, 6], ends
    assert all("two hits for one marker" in end.err for end in ends)
    twins = [handle for handle, runs in sent(account).items() if runs == 100]
    assert all(twin in end.err for end in ends for twin in twins)
    assert (list(sent(account).values()), asked(account, CREATE), asked(account, CANCEL)) == ([100, 100, 400], 2, 0)
    assert standing(desk) == {"a": "uncertain", "b": "succeeded"}

    resolved = typed(desk, "resolve", "a", "--adopt", twins[0])

    assert (resolved.code, typed(desk, *APPLY).code, asked(account, CREATE)) == (0, 0, 2), resolved
    look = Look(name="afterwards")
    at_rest(desk, look, len(both))
    assert look.wrong == []


# --- jobs that join ---------------------------------------------------------------------------------------------------


def joining(folder: Path, pool: ProcessPoolExecutor, account: Cloud, *faults: str) -> Desk:
    """An open batch of one job, which two more are to join."""
    desk = project(Desk(folder), account, ALONE)
    assert pool.submit(patient, desk, *APPLY).result().code == 0
    write(desk, MORE)
    account.faults(*faults)
    return desk


@pytest.mark.parametrize("fault", ["replay", "reset"])
def test_where_other_jobs_came_than_were_sent_nothing_is_taken_in_and_nothing_sent_again(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, fault: str
) -> None:
    """Twice as many, or none at all: only the user can know."""
    desk = joining(tmp_path / "p", pool, account, f"{JOIN}: {fault} x1")

    ends = [pool.submit(patient, desk, *APPLY).result() for _ in range(2)]

    assert [end.code for end in ends] == [6, 6], ends
    came = [handle for handle, runs in sent(account).items() if runs != 100]
    words = f"{len(came)} jobs came since the intent where 2 were sent: {', '.join(came) or 'none'}"
    assert all(words in end.err for end in ends), ends
    assert (len(came), asked(account, JOIN)) == (4 if fault == "replay" else 0, 1)
    assert standing(desk) == {"a": "succeeded", "b": "uncertain", "c": "uncertain"}


# --- batches that are made from others --------------------------------------------------------------------------------


def test_where_two_copies_were_made_none_is_taken_in_and_none_is_asked_for_again(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud
) -> None:
    desk, names = imported(tmp_path / "p", account, f"{REBATCH}: replay x1")
    assert pool.submit(stopped, desk, COPIED, "retry", "--rebatch", *names, "--yes").result()
    assert account.struck() == [1]

    ends = [pool.submit(patient, desk, "sync", "--wait").result() for _ in range(2)]

    assert [end.code for end in ends] == [6, 6], ends
    assert all("4 jobs came since the intent where 2 were sent" in end.err for end in ends)
    assert (len(account.books()["batches"]), asked(account, REBATCH)) == (3, 1)


def test_where_no_copy_came_the_user_is_asked_once_no_list_can_lag_so_far(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud
) -> None:
    desk, names = imported(tmp_path / "p", account, f"{REBATCH}: reset x1")
    sent_off = pool.submit(patient, desk, "retry", "--rebatch", *names, "--yes").result()

    ends = [pool.submit(patient, desk, "sync", "--wait").result() for _ in range(2)]

    assert [end.code for end in (sent_off, *ends)] == [6, 6, 6], (sent_off, *ends)
    assert all("0 jobs came since the intent where 2 were sent: none" in end.err for end in ends)
    assert (len(account.books()["batches"]), asked(account, REBATCH)) == (1, 1)


def test_what_a_lost_machine_had_copied_is_taken_in_on_a_fresh_clone_and_not_copied_again(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud
) -> None:
    desk, _ = imported(tmp_path / "p", account)
    committed = desk.tree()
    assert pool.submit(stopped, desk, COPIED, "retry", "--rebatch", "--failed", "--yes").result()
    restore(desk, committed)

    end = pool.submit(patient, desk, "retry", "--rebatch", "--failed", "--yes").result()

    assert (end.code, asked(account, REBATCH)) == (0, 1), end
    _, copy = account.books()["batches"]
    assert {f"{copy['id']}/{job['id']}" for job in copy["jobs"]} <= {handle for handle, _ in written(desk)}


# --- a workload -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [{}, {"w": workload(104)}], ids=["taken out", "changed"])
def test_a_workload_of_unknown_outcome_that_no_manifest_names_any_more_is_held_all_the_same(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, jobs: Jobs
) -> None:
    desk = project(Desk(tmp_path / "p"), account, WORK)
    account.faults(f"{WORKLOAD}: reset-after x1")
    assert pool.submit(patient, desk, *APPLY).result().code == 6
    write(desk, {"other": pulse(48), **jobs})

    ends = [pool.submit(patient, desk, *APPLY, "--keep").result() for _ in range(2)]

    assert [end.code for end in ends] == [6, 6], ends
    assert sorted(sent(account).values()) == [48, 56]


def test_by_way_of_ovh_a_batch_whose_answer_is_lost_is_not_sent_again(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud
) -> None:
    """There nothing can be searched, so that nothing is found proves nothing."""
    desk = project(Desk(tmp_path / "p"), account, PAIR, variant="ovh")
    account.faults("POST /api/v1/third-party-access/ovh/batches: reset-after x1")

    ends = [pool.submit(patient, desk, *APPLY).result() for _ in range(2)]

    assert [end.code for end in ends] == [6, 6], ends
    assert sorted(sent(account).values()) == [100, 400]
