"""The loop on a cloud in memory: what is sent, found again, retried, held, and never sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from qrun.apply import Outcome
from qrun.apply.traffic import Limits
from qrun.budget import Budget
from qrun.errors import BudgetError, SettingsError, StoreError
from qrun.events import Absent, Adopted, Event, Held, Refused, Relabelled, Renamed, Rested, Warned
from qrun.job import Conduct
from qrun.plan import Policy
from qrun.provider import Recovery
from qrun.record import Phase
from tests.cloud import WORDS
from tests.scene import Scene, job

SEARCHABLE = [Recovery.SEARCH, Recovery.KEY]


def test_jobs_are_sent_watched_and_fetched_once() -> None:
    scene = Scene()

    outcome = scene.apply(job("a"), job("b", shots=200))

    assert scene.phases() == {"a": Phase.SUCCEEDED, "b": Phase.SUCCEEDED}
    assert scene.cloud.made() == ["j1", "j2"]
    assert scene.shelf.results("b") == {"bits": ["c[0]"], "counts": {"0": 200}, "shots": 200}
    assert (outcome.held, outcome.left, outcome.errors) == ({}, [], [])


def test_a_second_apply_asks_nothing_and_writes_nothing() -> None:
    scene = Scene()
    scene.apply(job("a"))
    facts, requests = list(scene.shelf.facts), len(scene.cloud.requests)

    scene.shelf = scene.shelf.reopened()
    scene.apply(job("a"))

    assert scene.shelf.facts == facts
    assert len(scene.cloud.requests) == requests


@pytest.mark.parametrize("fault", ["answer lost", "strange answer"])
@pytest.mark.parametrize("recovery", SEARCHABLE)
def test_a_lost_answer_is_looked_up_before_submitting_again(fault: str, recovery: Recovery) -> None:
    scene = Scene(recovery, faults={"submit": [fault]})

    scene.apply(job("a"))

    assert scene.phases() == {"a": Phase.SUCCEEDED}
    assert scene.cloud.made() == ["j1"]


@pytest.mark.parametrize("lag", [0.0, 10.0, 59.0])
def test_a_listing_that_lags_makes_no_second_job(lag: float) -> None:
    scene = Scene(lag=lag, duration=600, faults={"submit": ["answer lost"]})

    scene.apply(job("a"))

    assert scene.cloud.made() == ["j1"]
    assert [event.found for event in scene.told(Adopted)] == ["marker"]


@pytest.mark.parametrize("recovery", [Recovery.SEARCH, Recovery.COUNT], ids=lambda r: r.name.lower())
def test_what_a_list_shows_a_little_later_is_found_then_and_not_only_when_absence_could_be_proven(
    recovery: Recovery,
) -> None:
    scene = Scene(recovery, lag=5.0, duration=1, faults={"submit": ["answer lost"]})

    scene.apply(job("a"))

    assert scene.phases() == {"a": Phase.SUCCEEDED}
    assert scene.clock.now() - scene.clock.base < 30  # of the 60 s after which nothing more can come


def test_a_request_that_never_arrived_is_sent_again_after_proof() -> None:
    scene = Scene(faults={"submit": ["request lost"]})

    scene.apply(job("a"))

    assert scene.cloud.made() == ["j1"]
    assert [event.attempt for event in scene.told(Absent)] == [1]
    assert scene.phases() == {"a": Phase.SUCCEEDED}
    # settle, then two searches that agree
    assert scene.cloud.runs[0].created - scene.clock.base >= 65


def test_long_after_a_crash_two_searches_are_proof_enough() -> None:
    scene = Scene(faults={"submit": ["killed before"]})
    scene.killed(job("a"))
    scene.clock.run(scene.clock.sleep(1000))
    before = len(scene.cloud.requests)

    scene.apply(job("a"))

    requests = scene.cloud.requests[before:]
    assert requests[: requests.index("submit")].count("find") == 2 + 1  # and the listing that opens a command
    assert scene.cloud.made() == ["j1"]


def test_two_hits_for_one_marker_are_shown_and_left_alone() -> None:
    scene = Scene(faults={"submit": ["replayed"]})

    outcome = scene.apply(job("a"), job("b"))

    assert outcome.held == {"a": "two hits for one marker: j1, j2: qrun resolve"}
    assert scene.phases() == {"a": Phase.UNCERTAIN, "b": Phase.SUCCEEDED}
    assert scene.cloud.made("a") == ["j1", "j2"]


def test_two_hits_of_which_one_goes_away_are_one() -> None:
    scene = Scene(duration=600, faults={"submit": ["replayed"]})
    scene.apply(job("a"))

    del scene.cloud.runs[1]
    outcome = scene.apply(job("a"))

    assert outcome.held == {}
    assert [(event.handle, event.found) for event in scene.told(Adopted)] == [("j1", "marker")]
    assert scene.phases() == {"a": Phase.SUCCEEDED}


@pytest.mark.parametrize("fault", ["killed before", "killed after"])
@pytest.mark.parametrize("recovery", SEARCHABLE)
def test_a_process_killed_around_the_request_buys_once(fault: str, recovery: Recovery) -> None:
    scene = Scene(recovery, faults={"submit": [fault]})

    scene.killed(job("a"))
    scene.apply(job("a"))

    assert scene.cloud.made() == ["j1"]
    assert scene.phases() == {"a": Phase.SUCCEEDED}


def test_a_fresh_clone_adopts_what_a_lost_laptop_sent() -> None:
    scene = Scene(faults={"sweep": ["killed"]}, duration=600)
    scene.killed(job("a"), job("b", shots=7))

    scene.fresh_clone()
    scene.apply(job("a"), job("b", shots=7), job("c", shots=8))

    assert [event.handle for event in scene.told(Adopted)] == ["j1", "j2"]
    assert [len(scene.cloud.made(key)) for key in "abc"] == [1, 1, 1]


def test_a_renamed_job_on_a_fresh_clone_is_adopted_by_its_payload() -> None:
    scene = Scene(faults={"sweep": ["killed"]}, duration=600)
    scene.killed(job("a"))

    scene.fresh_clone()
    scene.apply(job("renamed"))

    assert [(event.job, event.handle, event.found) for event in scene.told(Adopted)] == [("renamed", "j1", "payload")]
    assert scene.cloud.made() == ["j1"]


def test_an_edit_between_crash_and_rerun_looks_up_the_old_and_sends_the_new() -> None:
    scene = Scene(faults={"submit": ["killed after"]})
    scene.killed(job("a"))

    first = scene.apply(job("a", shots=5))
    second = scene.apply(job("a", shots=5))

    assert first.held == {"a": "supersedes a job that still runs: --prune cancels it first, --keep pays for both"}
    assert second.held == {}
    assert [run.shots for run in scene.cloud.runs] == [100, 5]


@pytest.mark.parametrize("recovery", [Recovery.NOTHING])
@pytest.mark.parametrize("fault", ["killed before", "killed after"])
def test_where_nothing_can_be_asked_the_user_decides(recovery: Recovery, fault: str) -> None:
    scene = Scene(recovery, faults={"submit": [fault]})
    scene.killed(job("a"))

    outcome = scene.apply(job("a"), job("b", shots=3))

    assert outcome.held == {"a": "outcome unknown, and the provider cannot be searched: qrun resolve"}
    assert len(scene.cloud.made("a")) == (fault == "killed after")
    assert scene.phases()["b"] is Phase.SUCCEEDED


def test_a_list_with_exactly_one_new_job_is_adopted_with_notice() -> None:
    scene = Scene(Recovery.COUNT, faults={"submit": [None, "answer lost"]})
    scene.apply(job("a"))

    scene.apply(job("b", shots=3))

    assert scene.cloud.made() == ["j1", "j2"]
    assert [event.message for event in scene.told(Warned)] == [
        '"j2" is taken for "b": it is the only one of its kind',
    ]
    assert scene.phases()["b"] is Phase.SUCCEEDED


def test_a_list_that_does_not_tell_leaves_it_to_the_user() -> None:
    scene = Scene(Recovery.COUNT, faults={"submit": ["request lost"]})

    outcome = scene.apply(job("a"))

    words = "0 jobs came since the intent where 1 were sent: none: qrun resolve"
    assert outcome.held == {"a": words}
    assert scene.phases() == {"a": Phase.UNCERTAIN}
    assert scene.cloud.made() == []


@pytest.mark.parametrize(
    "faults",
    [
        {"register": ["killed"]},
        {"upload": ["killed"]},
        {"start": ["killed before"]},
        {"start": ["killed after"]},
    ],
    ids=["register", "upload", "before start", "after start"],
)
def test_an_id_that_comes_first_is_started_once_whatever_dies(faults: dict[str, list[str | None]]) -> None:
    scene = Scene(Recovery.ID_FIRST, faults=faults)

    scene.killed(job("a"))
    scene.apply(job("a"))

    assert len(scene.cloud.made()) == 1
    assert scene.phases() == {"a": Phase.SUCCEEDED}


def test_members_of_one_submission_get_a_handle_each() -> None:
    scene = Scene(members=100)
    together = Conduct(together="pair")

    scene.apply(job("a", conduct=together), job("b", shots=2, conduct=together), job("c", shots=3))

    assert scene.cloud.made() == ["b1/0", "b1/1", "j3"]
    assert set(scene.phases().values()) == {Phase.SUCCEEDED}


def test_a_lost_answer_for_several_members_finds_them_all() -> None:
    scene = Scene(members=100, faults={"submit": ["answer lost"]})
    together = Conduct(together="pair")

    scene.apply(job("a", conduct=together), job("b", shots=2, conduct=together))

    assert {r.key: r.handle for r in scene.shelf.records} == {"a": "b1/0", "b": "b1/1"}
    assert len(scene.cloud.runs) == 2


def test_a_refusal_of_one_member_lets_the_others_go() -> None:
    scene = Scene(members=100, faults={"submit": ["refused:b"]})
    together = Conduct(together="three")
    jobs = [job("a", conduct=together), job("b", shots=2, conduct=together), job("c", shots=3, conduct=together)]

    outcome = scene.apply(*jobs)

    assert scene.phases() == {"a": Phase.SUCCEEDED, "b": Phase.ABSENT, "c": Phase.SUCCEEDED}
    assert outcome.held == {"b": '"b" has a bad parameter'}
    assert [event.job for event in scene.told(Refused)] == ["b"]


def test_what_was_refused_is_sent_again_as_the_same_attempt_by_the_next_command() -> None:
    scene = Scene(faults={"submit": ["refused"]})

    first = scene.apply(job("a"))
    second = scene.apply(job("a"))

    assert (first.held, second.held) == ({"a": "shots must be below 500"}, {})
    assert [attempt.n for attempt in next(iter(scene.shelf.records)).attempts] == [1]


def test_a_failed_job_is_retried_as_often_as_the_manifest_allows() -> None:
    scene = Scene(outcome=lambda run: "ERROR" if run.id != "j3" else "DONE")

    scene.apply(job("a", conduct=Conduct(attempts=3)))

    assert [attempt.phase for attempt in next(iter(scene.shelf.records)).attempts] == ["failed", "failed", "succeeded"]
    assert len({run.marker for run in scene.cloud.runs}) == 3


def test_only_the_failed_members_are_retried_once_all_rest() -> None:
    scene = Scene(members=100, outcome=lambda run: "ERROR" if run.id == "b1/0" else "DONE")
    conduct = Conduct(attempts=2, together="pair")

    scene.apply(job("a", conduct=conduct), job("b", shots=2, conduct=conduct))

    assert scene.cloud.made("a") == ["b1/0", "j3"]
    assert scene.cloud.made("b") == ["b1/1"]
    assert set(scene.phases().values()) == {Phase.SUCCEEDED}


def test_a_failed_job_without_retry_stays_failed_until_asked_once_more() -> None:
    scene = Scene(outcome=lambda run: "ERROR" if run.id == "j1" else "DONE")
    scene.apply(job("a"))

    scene.apply(job("a"))
    again = scene.phases()
    scene.apply(job("a"), policy=Policy(once_more=frozenset({"a"})))

    assert again == {"a": Phase.FAILED}
    assert scene.phases() == {"a": Phase.SUCCEEDED}
    assert scene.cloud.made() == ["j1", "j2"]


def test_an_unknown_word_warns_once_and_ends_nothing() -> None:
    scene = Scene()
    scene.cloud.words = lambda run: "CALIBRATING" if scene.clock.now() - run.created < 20 else None

    scene.apply(job("a"))

    assert [(event.word, event.message) for event in scene.told(Warned)] == [
        ("CALIBRATING", 'the provider says "CALIBRATING", which this qrun does not know')
    ]
    assert scene.phases() == {"a": Phase.SUCCEEDED}


def test_errors_while_waiting_change_no_job() -> None:
    scene = Scene(faults={"sweep": ["unavailable"] * 5})

    scene.apply(job("a"))

    assert scene.cloud.made() == ["j1"]
    assert scene.phases() == {"a": Phase.SUCCEEDED}


def test_refused_credentials_stop_one_connection_and_lose_nothing() -> None:
    scene = Scene(faults={"sweep": ["denied"]})

    first = scene.apply(job("a"))
    second = scene.apply(job("a"))

    assert [str(error) for error in first.errors] == ["the token has expired"]
    assert first.left == ["a"]
    assert second.errors == []
    assert scene.cloud.made() == ["j1"]


def test_what_a_job_needs_comes_first_and_its_failure_holds_the_rest() -> None:
    scene = Scene(outcome=lambda run: "ERROR" if run.key == "b" else "DONE")
    jobs = [
        job("c", shots=3, conduct=Conduct(needs=("b",))),
        job("b", shots=2, conduct=Conduct(needs=("a",))),
        job("a", shots=1),
    ]

    outcome = scene.apply(*jobs)

    assert [run.key for run in scene.cloud.runs] == ["a", "b"]
    assert scene.cloud.runs[1].created >= scene.cloud.runs[0].created + 30
    assert outcome.held == {"c": 'needs "b", which is failed'}
    assert [event.reason for event in scene.told(Held)] == ['needs "b", which is failed']


def test_a_job_that_runs_too_long_is_cancelled() -> None:
    scene = Scene(duration=3000)

    scene.apply(job("a", conduct=Conduct(timeout=60.0)))

    record = next(iter(scene.shelf.records))
    assert (record.phase, record.last and record.last.message) == (
        Phase.CANCELLED,
        "timeout: ran for more than 60 s",
    )


def test_a_rename_runs_nothing_again() -> None:
    scene = Scene()
    scene.apply(job("old"))

    scene.apply(job("new"))

    assert [(event.formerly, event.job) for event in scene.told(Renamed)] == [("old", "new")]
    assert [(record.key, record.formerly) for record in scene.shelf.records] == [("new", ("old",))]
    assert scene.cloud.made() == ["j1"]


def test_an_edit_keeps_the_old_results_and_runs_anew() -> None:
    scene = Scene()
    scene.apply(job("a"))

    scene.apply(job("a", shots=7))

    assert [(record.phase, record.outputs is not None) for record in scene.shelf.records] == [
        (Phase.SUCCEEDED, True),
        (Phase.SUCCEEDED, True),
    ]
    assert scene.cloud.made() == ["j1", "j2"]


@pytest.mark.parametrize(
    ("superseded", "held", "words"),
    [
        (None, {"a": "supersedes a job that still runs: --prune cancels it first, --keep pays for both"}, ["DONE"]),
        ("keep", {}, ["DONE", "DONE"]),
        ("cancel", {}, ["CANCELLED", "DONE"]),
    ],
)
def test_a_change_of_a_running_job_asks_what_becomes_of_it(
    superseded: str | None, held: dict[str, str], words: list[str]
) -> None:
    scene = Scene(duration=600)
    scene.apply(job("a"), policy=Policy(wait=False))

    outcome = scene.apply(job("a", shots=7), policy=Policy(superseded=superseded))

    assert outcome.held == held
    assert [scene.cloud.word(run) for run in scene.cloud.runs] == words


def test_no_wait_sends_and_reads_once() -> None:
    scene = Scene(duration=600)

    outcome = scene.apply(job("a"), policy=Policy(wait=False))

    assert outcome.left == ["a"]
    assert scene.phases() == {"a": Phase.LIVE}
    assert scene.cloud.requests.count("sweep") == 1


def test_sync_never_submits() -> None:
    scene = Scene(duration=600)
    scene.apply(job("a"), policy=Policy(wait=False))

    scene.apply(job("a"), job("b", shots=3), policy=Policy(submit=False))

    assert scene.cloud.made() == ["j1"]
    assert scene.phases() == {"a": Phase.SUCCEEDED}


def test_only_limits_steps_and_never_matching() -> None:
    scene = Scene()
    scene.apply(job("old"))

    scene.apply(job("new"), job("b", shots=3), policy=Policy(only=frozenset({"b"})))

    assert scene.cloud.made() == ["j1", "j2"]
    assert scene.phases() == {"b": Phase.SUCCEEDED, "new": Phase.SUCCEEDED}


def test_a_changed_tag_relabels_and_runs_nothing() -> None:
    scene = Scene()
    scene.apply(job("a", tags=["x"]))

    scene.apply(job("a", tags=["y"]))

    assert scene.cloud.made() == ["j1"]
    assert scene.cloud.runs[0].tags == ("y",)
    assert [event.where for event in scene.told(Relabelled)] == ["provider and record"]
    assert next(iter(scene.shelf.records)).tags == ("y",)


def test_results_that_are_gone_are_told_and_never_bought_again() -> None:
    scene = Scene()
    scene.cloud.gone.add("j1")

    scene.apply(job("a"))
    scene.apply(job("a"))

    assert scene.cloud.made() == ["j1"]
    record = next(iter(scene.shelf.records))
    assert (record.phase, record.outputs) == (Phase.SUCCEEDED, None)
    assert {event.message for event in scene.told(Warned)} == {"the outputs are gone: 410 results were deleted"}


def test_a_fetch_that_dies_is_made_again() -> None:
    scene = Scene(faults={"fetch": ["killed"]})

    scene.killed(job("a"))
    scene.apply(job("a"))

    assert scene.cloud.made() == ["j1"]
    assert scene.shelf.results("a") is not None


def test_a_job_that_the_provider_no_longer_knows_is_lost_loudly() -> None:
    scene = Scene(duration=600)
    scene.apply(job("a"), policy=Policy(wait=False))
    scene.cloud.runs.clear()

    scene.apply(job("a"))

    assert [(event.phase, event.message) for event in scene.told(Rested)] == [("lost", "no such job any more")]


def test_a_budget_refuses_before_anything_is_sent() -> None:
    scene = Scene()

    with pytest.raises(BudgetError) as caught:
        scene.apply(job("a"), job("b", shots=901), policy=Policy(budget=Budget(max_jobs=1, max_shots=1000)))

    assert [problem.message for problem in caught.value.problems] == [
        "2 jobs to send, but budget.max_jobs is 1",
        "1001 shots to send, but budget.max_shots is 1000",
    ]
    assert scene.cloud.made() == []


def test_a_retry_counts_against_the_budget() -> None:
    scene = Scene(outcome=lambda run: "ERROR")

    outcome = scene.apply(job("a", conduct=Conduct(attempts=9)), policy=Policy(budget=Budget(max_jobs=2)))

    assert len(scene.cloud.made()) == 2
    assert outcome.over_budget


def test_a_cloud_without_a_project_is_refused() -> None:
    scene = Scene()
    scene.shelf.records.project = None

    with pytest.raises(SettingsError, match="no project id"):
        scene.apply(job("a"))

    assert scene.cloud.requests == []


def test_another_site_is_held_until_somebody_buys_anew() -> None:
    from dataclasses import replace

    from tests.scene import QPU

    scene = Scene()
    scene.apply(job("a"))
    moved = job("a", target=replace(QPU, site="other.example/p"))

    held = scene.apply(moved).held
    scene.apply(moved, policy=Policy(new_site=True))

    assert held == {
        "a": "site changed from sky.example/p: set site in the connection, or buy anew with --new-site",
    }
    assert scene.cloud.made() == ["j1", "j2"]


def test_a_full_disk_before_the_intent_sends_nothing() -> None:
    scene = Scene()
    scene.shelf.full_after = 0

    with pytest.raises(StoreError, match="no space left"):
        scene.apply(job("a"))

    assert scene.cloud.made() == []


def test_a_full_disk_after_acceptance_rescues_the_id() -> None:
    scene = Scene()
    scene.shelf.full_after = 1

    with pytest.raises(StoreError, match="no space left"):
        scene.apply(job("a"))

    assert [getattr(fact, "handle", None) for fact in scene.shelf.rescued] == ["j1"]
    marker = scene.cloud.runs[0].marker
    assert [event.message for event in scene.told(Warned)] == [
        f'"j1" runs with the marker {marker}, and could only be written to qrun-errored-test.json'
    ]


def test_no_more_jobs_are_unfinished_than_the_connection_may_have() -> None:
    scene = Scene()
    scene.limits = Limits(live=2)
    most = 0

    def count(event: object) -> None:
        nonlocal most
        unfinished = [r for r in scene.cloud.runs if not WORDS[scene.cloud.word(r)].final]
        most = max(most, len(unfinished))

    scene.events = Told(count)
    scene.apply(*[job(f"j{n}", shots=n + 1, conduct=Conduct(attempts=2)) for n in range(7)])

    assert most == 2
    assert set(scene.phases().values()) == {Phase.SUCCEEDED}


def test_without_waiting_what_has_no_room_is_held() -> None:
    scene = Scene()
    scene.limits = Limits(live=2)

    outcome = scene.apply(*[job(f"j{n}", shots=n + 1) for n in range(3)], policy=Policy(wait=False))

    assert outcome.held == {"j2": "2 jobs are unfinished, and max_live is 2: run again later"}


def test_without_waiting_a_provider_that_does_not_answer_ends_the_command() -> None:
    scene = Scene(faults={"sweep": [None, "unavailable"]}, duration=600)
    scene.apply(job("a"), policy=Policy(wait=False))

    outcome = scene.apply(job("a"), policy=Policy(wait=False))

    assert [str(error) for error in outcome.errors] == ["502 from a proxy"]
    assert scene.phases() == {"a": Phase.LIVE}


def test_a_provider_that_asks_to_be_left_alone_holds_nothing_and_is_no_error() -> None:
    scene = Scene(faults={"prepare": ["come back"]})

    outcome = scene.apply(job("a"), job("b", shots=3))

    assert (outcome.held, outcome.errors) == ({}, [])
    assert [str(error) for error in outcome.postponed] == ["the server asks to wait 3 h"]
    assert "submit" not in scene.cloud.requests


def test_an_outage_in_the_middle_is_waited_for() -> None:
    scene = Scene(faults={"prepare": [None, *["unavailable"] * 5]})

    outcome = scene.apply(job("a"), job("b", shots=3, conduct=Conduct(needs=("a",))))

    assert (outcome.held, outcome.errors) == ({}, [])
    assert set(scene.phases().values()) == {Phase.SUCCEEDED}
    assert [event.message for event in scene.told(Warned)] == ["no route to the cloud; what is to be sent waits for it"]


def test_a_provider_that_never_answered_is_given_up_at_once() -> None:
    scene = Scene(faults={"prepare": ["unavailable"] * 5})

    outcome = scene.apply(job("a"))

    assert outcome.held == {"a": 'connection "sky" is not usable now'}
    assert [str(error) for error in outcome.errors] == ["no route to the cloud"]


def test_a_command_that_is_stopped_waits_for_no_preparation() -> None:
    scene = Scene(faults={"prepare": ["slow"]})
    loop = scene.loop()

    async def run() -> Outcome:
        running = asyncio.ensure_future(loop.run([job("a")]))
        await scene.clock.sleep(5.0)
        loop.stop("timeout")
        return await running

    outcome = scene.clock.run(run())

    assert outcome.stopped == "timeout"
    assert scene.clock.monotonic() < 10.0
    assert scene.cloud.runs == []


class Told(list[Event]):
    """Events, with somebody who looks up at each."""

    def __init__(self, look: Callable[[Event], None]) -> None:
        super().__init__()
        self.look = look

    def append(self, event: Event) -> None:
        super().append(event)
        self.look(event)
