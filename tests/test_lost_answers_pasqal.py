"""An answer of Pasqal Cloud is lost, spoilt or doubled, at each request that changes something: the state that
RELIABILITY §4 names for it, and by the books of the stand-in each job once.

What waits for minutes is typed in a process that skips them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.booked import at_rest, lose, stopped
from tests.booked_pasqal import (
    APPLY,
    OPEN,
    Jobs,
    Wanted,
    bought_once,
    patient,
    project,
    pulse,
    recorded,
    sent,
    several,
    skip,
    standing,
    workload,
    write,
)
from tests.desk import Desk
from tests.emulator import until
from tests.emulator_pasqal import Cloud, shared
from tests.killing import Look, typed

LOST = {
    "reset": "reset-after",
    "close": "close-after",
    "hang": "hang-after=600",
    "truncated": "truncated",
    "504": "504-after",
    "504 of a proxy": "504-after body=html",
    "html": "html-after",
    "another shape": "wrong",
}
FAULTS = {**LOST, "replay": "replay"}
CREATE = "POST /api/v1/batches"
JOIN = "POST /api/v2/batches/*/jobs"
REBATCH = "POST /api/v1/batches/*/rebatch"
TAGS = "PATCH /api/v1/batches/*/tags"
CLOSE = "PATCH /api/v2/batches/*/complete"
CANCEL = "PATCH /api/v1/batches/cancel"
CANCEL_JOB = "PATCH /api/v2/jobs/*/cancel"
WORKLOAD = "POST /api/v1/workloads"

PAIR = {"a": pulse(100), "b": pulse(400)}
TAGGED = {name: {**job, "tags": ["new"]} for name, job in PAIR.items()}
ALONE = {"a": pulse(100, **OPEN)}
MORE = {**ALONE, "b": pulse(400, **OPEN), "c": pulse(48, **OPEN)}
WORK = {"w": workload(100)}


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with several() as pool:
        yield pool


@pytest.fixture
def account() -> Iterator[Cloud]:
    account = shared().new_account()
    yield account
    account.close()


def well(desk: Desk, account: Cloud, jobs: Jobs, perhaps: frozenset[int] = frozenset()) -> list[str]:
    """What is not as it should be, once a command has ended well and every batch is closed."""
    look, wanted = Look(name="afterwards"), Wanted(jobs=jobs, perhaps=perhaps)
    bought_once(account, look, wanted)
    recorded(desk, account, look, wanted)
    at_rest(desk, look, len(jobs))
    return look.wrong


def patiently_stopped(desk: Desk, failpoint: str, *words: str) -> bool:
    return stopped(desk, failpoint, *words, first=skip)


def asked(account: Cloud, route: str) -> int:
    """How many requests to a route, whose ids are stars here."""
    routes = account.books()["routes"]
    return sum(each["asked"] for name, each in routes.items() if _starred(name) == route)


def _starred(route: str) -> str:
    return "/".join("*" if part.startswith("{") else part for part in route.split("/"))


# --- a batch ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", LOST)
def test_a_batch_whose_answer_is_lost_is_found_by_its_marker_and_not_created_again(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, fault: str
) -> None:
    desk = project(Desk(tmp_path / "p"), account, PAIR)
    account.faults(f"{CREATE}: {LOST[fault]} x1")

    end = pool.submit(patient, desk, *APPLY).result()

    assert (end.code, account.struck(), asked(account, CREATE)) == (0, [1], 1), end
    assert "found by its marker" in end.err
    assert well(desk, account, PAIR) == []


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


@pytest.mark.parametrize("fault", LOST)
def test_a_command_that_dies_over_a_lost_answer_is_followed_by_one_that_finds_the_batch(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, fault: str
) -> None:
    desk = project(Desk(tmp_path / "p"), account, PAIR)
    account.faults(f"{CREATE}: {LOST[fault]} x1")

    died = pool.submit(patiently_stopped, desk, "answered:4", *APPLY).result()
    end = pool.submit(patient, desk, *APPLY).result()

    assert (died, end.code, asked(account, CREATE)) == (True, 0, 1), end
    assert well(desk, account, PAIR) == []


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


@pytest.mark.parametrize("fault", LOST)
def test_jobs_that_joined_and_whose_answer_is_lost_are_taken_in_with_a_notice(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, fault: str
) -> None:
    desk = joining(tmp_path / "p", pool, account, f"{JOIN}: {LOST[fault]} x1")

    end = pool.submit(patient, desk, *APPLY).result()

    assert (end.code, account.struck(), asked(account, JOIN), asked(account, CREATE)) == (0, [1], 1, 1), end
    assert 'is taken for "b": it is the only one of its kind' in end.err
    assert pool.submit(patient, desk, "close", "--all").result().code == 0
    assert well(desk, account, MORE) == []


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


@pytest.mark.parametrize("fault", FAULTS)
def test_a_copy_whose_answer_is_lost_is_found_by_its_parent(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, fault: str
) -> None:
    """An answer that comes names one copy, even where a proxy had two made; without one, one is all there may be."""
    desk, names = imported(tmp_path / "p", account, f"{REBATCH}: {FAULTS[fault]} x1")

    end = pool.submit(patient, desk, "retry", "--rebatch", *names, "--yes").result()

    assert (end.code, account.struck(), asked(account, REBATCH)) == (0, [1], 1), end
    old, *copies = account.books()["batches"]
    assert [copy["parent_id"] for copy in copies] == [old["id"]] * (2 if fault == "replay" else 1)
    assert all(f'once more as "{copies[-1]["id"]}/' in line for line in end.out.splitlines())
    assert [job["starts"] for copy in copies for job in copy["jobs"]] == [1, 1] * len(copies)


def test_where_two_copies_were_made_none_is_taken_in_and_none_is_asked_for_again(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud
) -> None:
    desk, names = imported(tmp_path / "p", account, f"{REBATCH}: replay x1")
    assert pool.submit(stopped, desk, "answered:4", "retry", "--rebatch", *names, "--yes").result()
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


# --- tags, closing, cancelling: asked again, then judged by how it stands ---------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_answer_to_a_change_of_tags_leaves_the_new_ones_beside_the_marks(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, fault: str
) -> None:
    desk = project(Desk(tmp_path / "p"), account, PAIR)
    assert pool.submit(patient, desk, *APPLY).result().code == 0
    (before,) = account.books()["batches"]
    write(desk, TAGGED)
    account.faults(f"{TAGS}: {FAULTS[fault]} x1")

    end = pool.submit(patient, desk, *APPLY).result()

    (after,) = account.books()["batches"]
    assert (end.code, account.struck(), after["tags"]) == (0, [1], [*before["tags"], "new"]), end
    assert well(desk, account, TAGGED) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_answer_to_a_close_leaves_the_batch_closed(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, fault: str
) -> None:
    desk = project(Desk(tmp_path / "p"), account, ALONE)
    assert pool.submit(patient, desk, *APPLY).result().code == 0
    account.faults(f"{CLOSE}: {FAULTS[fault]} x1")

    end = pool.submit(patient, desk, "close", "a").result()

    (batch,) = account.books()["batches"]
    assert (end.code, account.struck(), batch["open"], batch["status"]) == (0, [1], False, "DONE"), end
    assert well(desk, account, ALONE) == []


@pytest.mark.parametrize(("route", "names"), [(CANCEL, ["a", "b"]), (CANCEL_JOB, ["a"])], ids=["a batch", "a job"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_answer_to_a_cancel_leaves_cancelled_what_was_meant_and_nothing_else(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, fault: str, route: str, names: list[str]
) -> None:
    desk = project(Desk(tmp_path / "p"), account, PAIR)
    account.faults("POST /api/v1/batches: stuck x1", f"{route}: {FAULTS[fault]} x1")
    assert pool.submit(patient, desk, *APPLY, "--no-wait").result().code == 0

    end = pool.submit(patient, desk, "cancel", *names).result()

    assert (end.code, account.struck()) == (0, [1, 1]), end
    expected = ["CANCELED", "CANCELED" if "b" in names else "RUNNING"]
    until(lambda: [job["status"] for job in account.books()["batches"][0]["jobs"]] == expected)
    assert typed(desk, "sync").code == 0
    assert standing(desk) == {"a": "cancelled", "b": "cancelled" if "b" in names else "live"}
    assert account.books()["empty_cancels"] == 0


# --- a workload -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", LOST)
def test_a_workload_whose_answer_is_lost_is_held_until_the_user_has_looked(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud, fault: str
) -> None:
    desk = project(Desk(tmp_path / "p"), account, WORK)
    account.faults(f"{WORKLOAD}: {LOST[fault]} x1")

    ends = [pool.submit(patient, desk, *APPLY).result() for _ in range(3)]

    assert [end.code for end in ends] == [6, 6, 6], ends
    assert all("qrun resolve" in end.err for end in ends)
    assert (standing(desk), asked(account, WORKLOAD)) == ({"w": "uncertain"}, 1)
    (handle,) = sent(account)
    assert typed(desk, "resolve", "w", "--adopt", handle).code == 0
    assert well(desk, account, WORK) == []


def test_a_workload_that_a_proxy_had_made_twice_is_asked_for_once(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud
) -> None:
    """Nothing in the API would show the other one to whoever does not know its id."""
    desk = project(Desk(tmp_path / "p"), account, WORK)
    account.faults(f"{WORKLOAD}: replay x1")

    ends = [pool.submit(patient, desk, *APPLY).result() for _ in range(2)]

    assert ([end.code for end in ends], asked(account, WORKLOAD)) == ([0, 0], 1), ends
    assert standing(desk) == {"w": "succeeded"}


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
    assert sorted(sent(account).values()) == [48, 100]


def test_by_way_of_ovh_a_batch_whose_answer_is_lost_is_not_sent_again(
    tmp_path: Path, pool: ProcessPoolExecutor, account: Cloud
) -> None:
    """There nothing can be searched, so that nothing is found proves nothing."""
    desk = project(Desk(tmp_path / "p"), account, PAIR, variant="ovh")
    account.faults("POST /api/v1/third-party-access/ovh/batches: reset-after x1")

    ends = [pool.submit(patient, desk, *APPLY).result() for _ in range(2)]

    assert [end.code for end in ends] == [6, 6], ends
    assert sorted(sent(account).values()) == [100, 400]
