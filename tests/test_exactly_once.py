"""Two machines, edits in between, and what is shown to others before it is sent: nobody buys twice unasked."""

from __future__ import annotations

import json

from qrun.errors import SettingsError
from qrun.events import Adopted, Warned
from qrun.plan import Policy
from qrun.provider import Recovery
from qrun.record import Phase
from tests.scene import Scene, job


def test_an_old_journal_adopts_what_another_machine_sent_in_the_meantime() -> None:
    scene = Scene(Recovery.ID_FIRST, duration=600, faults={"start": ["killed before"]})
    scene.killed(job("a"))
    old = scene.shelf
    scene.fresh_clone()
    scene.cloud.faults["sweep"] = ["killed"]
    scene.killed(job("a"))

    scene.shelf = old
    scene.apply(job("a"))

    assert scene.cloud.made() == ["j2"]
    assert [event.handle for event in scene.told(Adopted)] == ["j2"]
    assert scene.phases() == {"a": Phase.SUCCEEDED}


def test_a_registered_job_that_the_provider_never_starts_is_not_asked_for_ever() -> None:
    scene = Scene(Recovery.ID_FIRST, faults={"start": ["request lost"] * 10})

    outcome = scene.apply(job("a"), job("b", shots=2))

    assert outcome.held["a"] == 'the provider has it as "j1" and does not start it: run again later'
    assert scene.cloud.requests.count("start") < 10
    assert {run.id for run in scene.cloud.runs} == {"j1", "j2"}


def test_an_interrupted_submit_that_nobody_wants_any_more_is_never_sent() -> None:
    scene = Scene(Recovery.ID_FIRST, faults={"start": ["killed before"]})
    scene.killed(job("a"))

    scene.apply(job("a", shots=5))

    assert [run.shots for run in scene.cloud.runs if run.started] == [5]
    assert scene.phases() == {"a": Phase.SUCCEEDED}


def test_a_changed_job_goes_out_in_the_same_command_once_the_old_ones_outcome_is_known() -> None:
    scene = Scene(faults={"submit": ["killed after"]}, duration=600)
    scene.killed(job("a"))

    outcome = scene.apply(job("a", shots=5), policy=Policy(superseded="keep"))

    assert outcome.held == {}
    assert [run.shots for run in scene.cloud.runs] == [100, 5]
    assert {record.phase for record in scene.shelf.records} == {Phase.SUCCEEDED}


def test_a_list_without_payloads_is_asked_job_by_job_before_a_renamed_job_is_bought_again() -> None:
    scene = Scene(faults={"sweep": ["killed"]}, duration=600, lists_payloads=False)
    scene.killed(job("a"), job("b", shots=2))

    scene.fresh_clone()
    scene.apply(job("renamed"), job("b", shots=2))

    assert {event.job: event.found for event in scene.told(Adopted)} == {"renamed": "payload", "b": "marker"}
    assert len(scene.cloud.made()) == 2


def test_a_job_of_the_experiment_that_nobody_here_knows_is_told() -> None:
    scene = Scene(faults={"sweep": ["killed"]}, duration=600)
    scene.killed(job("a"))

    scene.fresh_clone()
    scene.apply(job("a", shots=5))

    assert [event.message for event in scene.told(Warned)] == [
        "of this experiment sky also has j1, which no job here is: qrun import sky ID takes one in"
    ]


def test_a_marker_on_another_device_is_not_adopted() -> None:
    scene = Scene(faults={"sweep": ["killed"]}, duration=600)
    scene.killed(job("a"))
    scene.cloud.runs[0].device = "other"

    scene.fresh_clone()
    outcome = scene.apply(job("a"))

    assert scene.phases() == {"a": Phase.UNCERTAIN}
    assert "other" in outcome.held["a"]
    assert scene.cloud.made() == ["j1"]


# --- what the record says of the device -------------------------------------------------------------------------------


def test_what_the_provider_says_of_the_device_is_kept_once_and_named_in_each_record() -> None:
    scene = Scene(device={"device": "qpu", "calibrated_at": "2026-01-01T00:00:00Z"})

    scene.apply(job("a"), job("b", shots=2))

    [(sha, data)] = scene.shelf.snapshots.items()
    told = [fact["provided"] for fact in scene.shelf.facts if fact["ev"] == "reached" and fact["phase"] == "live"]
    assert told == [{"device": {"snapshot": sha, "calibrated_at": "2026-01-01T00:00:00Z"}}] * 2
    assert json.loads(data)["calibrated_at"] == "2026-01-01T00:00:00Z"


# --- publish ----------------------------------------------------------------------------------------------------------


class Command:
    """A publish command that remembers what others could see when it ran."""

    def __init__(self, scene: Scene, *, fails: bool = False) -> None:
        self.scene = scene
        self.fails = fails
        self.seen: list[dict[str, Phase]] = []
        self.requests: list[int] = []

    async def __call__(self) -> None:
        self.seen.append(self.scene.phases())
        self.requests.append(self.scene.cloud.requests.count("submit"))
        await self.scene.clock.sleep(1.0)
        if self.fails:
            raise SettingsError("the publish command ended with code 1")


def test_intents_are_published_before_anything_is_sent_and_once_for_all_of_a_round() -> None:
    scene = Scene()
    scene.publish = command = Command(scene)

    scene.apply(*[job(f"j{n}", shots=n + 1) for n in range(8)])

    assert command.seen[0] == {f"j{n}": Phase.INTENT for n in range(8)}
    assert command.requests[0] == 0
    assert set(command.seen[-1].values()) == {Phase.SUCCEEDED}
    assert len(command.seen) == 2


def test_what_cannot_be_published_is_not_sent() -> None:
    scene = Scene()
    scene.publish = Command(scene, fails=True)

    outcome = scene.apply(job("a"))

    assert "submit" not in scene.cloud.requests
    assert outcome.held == {"a": "not sent: what was to be sent could not be published"}
    assert "the publish command ended with code 1" in {str(error) for error in outcome.errors}
    assert scene.phases() == {"a": Phase.ABSENT}


def test_a_command_with_nothing_to_tell_publishes_nothing() -> None:
    scene = Scene()
    scene.apply(job("a"))
    scene.shelf = scene.shelf.reopened()
    scene.publish = command = Command(scene)

    scene.apply(job("a"))

    assert command.seen == []
