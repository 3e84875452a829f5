"""Lists of Pasqal Cloud that show what was sent only after a while, in virtual time: nothing is bought twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from qrun.apply import Apply, Outcome
from qrun.clock import instant, stamp
from qrun.errors import Uncertain
from qrun.events import Adopted, Event
from qrun.fact import Intended, Noted
from qrun.job import Job, digests
from qrun.plan import Policy
from qrun.providers.pasqal import CAPABILITIES
from qrun.record import Handle, Member, Phase
from tests.pasqal import MARKER, SEQUENCE, Cloud, Fault, Pen, beside, job, lost, swallowed
from tests.shelf import Killed, Shelf
from tests.virtual import VirtualClock

RUNTIME = 2.0  # seconds that a job takes
SETTLE = CAPABILITIES.settle
LAGS = [0, 1, 60, SETTLE - 1]


def killed(cloud: Cloud, request: httpx.Request) -> httpx.Response:
    """Done, and who has asked is gone before the answer comes."""
    cloud.done(request)
    raise Killed


def unsent_and_killed(cloud: Cloud, request: httpx.Request) -> httpx.Response:
    raise Killed


@dataclass(kw_only=True)
class Lagging(Cloud):
    """Its jobs run by themselves, and its lists show a row `lag` seconds after it was made."""

    lag: float = 0.0

    def done(self, request: httpx.Request) -> httpx.Response:
        now = self.clock.now()
        for name, row in self.jobs.items():
            if row["status"] == "PENDING" and now - instant(row["created_at"]) > RUNTIME:
                self.set("DONE", name)
                self.results[name] = {"counter": {"11": row["runs"]}}
        rows = (*self.batches.values(), *self.jobs.values())
        self.unlisted = {row["id"] for row in rows if now - instant(row["created_at"]) < self.lag}
        return super().done(request)


class Scene:
    """One experiment on that cloud. What is durable outlives a command that is killed."""

    def __init__(self, lag: float = 0.0) -> None:
        self.clock = VirtualClock()
        self.cloud = Lagging(clock=self.clock, lag=lag)
        self.shelf = Shelf()
        self.events: list[Event] = []

    def apply(self, *jobs: Job, policy: Policy | None = None) -> Outcome:
        async def run() -> Outcome:
            pasqal = beside(self.cloud)
            loop = Apply(
                store=self.shelf,
                connect=lambda connection: pasqal,
                capabilities=lambda name: CAPABILITIES,
                content=lambda program: program.content or b"",
                policy=policy or Policy(),
                emit=self.events.append,
                clock=self.clock,
            )
            try:
                return await loop.run(jobs)
            finally:
                await pasqal.aclose()

        return self.clock.run(run())

    def copies(self, *handles: Handle) -> None:
        """As `retry --rebatch` does it: what is known before is durable, and no answer comes."""
        members = tuple(
            Member(key=record.key, digest=record.digest, attempt=2, payload=record.last.payload)
            for record in self.shelf.records
            if record.handle in handles and record.last is not None
        )
        marker, parent = MARKER, Handle(handles[0].partition("/")[0])
        told = [self.shelf.job(each.key, each.digest) for each in members]
        self.shelf.note(
            Intended(
                marker=marker,
                connection="atoms",
                step="rebatch",
                members=members,
                jobs=tuple(told),
                digests_without_site=tuple(each.digest for each in members),
                sent=stamp(self.clock.now()),
                container=parent,
            )
        )

        async def ask() -> None:
            pasqal = beside(self.cloud)
            try:
                await pasqal.again(handles, Noting(self.shelf, marker))
            finally:
                await pasqal.aclose()

        with pytest.raises((Uncertain, Killed)):
            self.clock.run(ask())
        self.shelf = self.shelf.reopened()

    def dies(self, *jobs: Job) -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            self.apply(*jobs)
        assert caught.value.subgroup(Killed) is not None
        self.shelf = self.shelf.reopened()

    def phases(self) -> set[Phase]:
        return {record.phase for record in self.shelf.records}

    def runs(self) -> list[int]:
        """Of all jobs that were ever made there."""
        return [row["runs"] for row in self.cloud.jobs.values()]

    def adopted(self) -> set[str]:
        return {event.found for event in self.events if isinstance(event, Adopted)}


class Noting(Pen):
    """Its notes are durable."""

    def __init__(self, shelf: Shelf, marker: str) -> None:
        super().__init__()
        self.shelf = shelf
        self.marker = marker

    async def note(self, **facts: str) -> None:
        await super().note(**facts)
        self.shelf.note(Noted(marker=self.marker, facts=facts))


def jobs(*shots: int, opens: bool = False) -> Sequence[Job]:
    return [wanted(number, opens) for number in shots]


def wanted(shots: int, opens: bool) -> Job:
    found = job(f"runs-{shots}", program=SEQUENCE, shots=shots, open=opens)
    fields: dict[str, Any] = {"shots": shots, "params": found.params, "programs": [found.programs[0].sha256]}
    whole, without = digests(provider="pasqal", device=found.target.device, kind=found.kind, **fields)
    return replace(found, digest=whole, digest_without_site=without)


@pytest.mark.parametrize("lag", LAGS)
@pytest.mark.parametrize("fault", [lost, killed], ids=["the answer is lost", "the command is killed"])
def test_a_batch_that_no_list_shows_yet_is_not_created_again(fault: Fault, lag: float) -> None:
    scene = Scene(lag)
    scene.cloud.script["POST batches"] = [fault]

    if fault is killed:
        scene.dies(*jobs(10, 20))
    scene.apply(*jobs(10, 20))

    assert (scene.runs(), len(scene.cloud.creates)) == ([10, 20], 1)
    assert (scene.phases(), scene.adopted()) == ({Phase.SUCCEEDED}, {"marker"})


@pytest.mark.parametrize("lag", LAGS)
@pytest.mark.parametrize("fault", [lost, killed], ids=["the answer is lost", "the command is killed"])
def test_jobs_that_joined_and_that_no_list_shows_yet_are_not_added_again(fault: Fault, lag: float) -> None:
    scene = Scene(lag)
    scene.apply(*jobs(10, opens=True))
    scene.cloud.script["POST batch/jobs"] = [fault]

    if fault is killed:
        scene.dies(*jobs(10, 20, 30, opens=True))
    scene.apply(*jobs(10, 20, 30, opens=True))

    assert (scene.runs(), len(scene.cloud.creates)) == ([10, 20, 30], 1)
    assert (scene.phases(), scene.adopted()) == ({Phase.SUCCEEDED}, {"list"})


@pytest.mark.parametrize("lag", LAGS)
@pytest.mark.parametrize("fault", [lost, killed], ids=["the answer is lost", "the command is killed"])
@pytest.mark.parametrize("earlier", [False, True], ids=["the first copy", "a copy beside an earlier one"])
def test_a_copy_that_no_list_shows_yet_is_found_by_its_parent_and_not_asked_for_again(
    fault: Fault, lag: float, earlier: bool
) -> None:
    scene = Scene()
    scene.apply(*jobs(10, 20))
    handles = [record.handle for record in scene.shelf.records if record.handle is not None]
    if earlier:
        scene.cloud.new("DONE", "DONE", parent_id=handles[0].partition("/")[0], tags=[])
        scene.clock.run(scene.clock.sleep(lag))
    scene.cloud.lag = lag
    scene.cloud.script["POST batch/rebatch"] = [fault]

    scene.copies(*handles)
    scene.apply(policy=Policy(submit=False))

    assert scene.cloud.asked("POST batch/rebatch") == 1
    copies = [f"{job['batch_id']}/{job['id']}" for job in scene.cloud.jobs.values() if job["parent_id"]]
    assert [record.handle for record in scene.shelf.records] == copies
    assert (scene.phases(), scene.adopted()) == ({Phase.SUCCEEDED}, {"list"})


def test_that_no_copy_came_is_said_once_no_list_can_lag_so_far_and_none_is_asked_for_again() -> None:
    scene = Scene()
    scene.apply(*jobs(10))
    handles = [record.handle for record in scene.shelf.records if record.handle is not None]
    scene.cloud.script["POST batch/rebatch"] = [swallowed]
    scene.copies(*handles)
    begun = scene.clock.now()

    outcome = scene.apply(policy=Policy(submit=False))

    assert "0 jobs came since the intent where 1 were sent" in outcome.held["runs-10"]
    assert round(scene.clock.now() - begun) >= SETTLE
    assert (scene.phases(), scene.cloud.asked("POST batch/rebatch")) == ({Phase.UNCERTAIN}, 1)


def test_that_a_batch_was_never_made_is_believed_ten_minutes_after_the_send_and_not_before() -> None:
    scene = Scene()
    scene.cloud.script["POST batches"] = [swallowed]

    scene.apply(*jobs(10))

    first, second = (when for when, route, _, _ in scene.cloud.seen if route == "POST batches")
    searches = [when for when, route, _, _ in scene.cloud.seen if route == "GET batches" and first < when <= second]
    assert second - first >= SETTLE
    assert sum(when - first > SETTLE - 1 for when in searches) == 2
    assert (scene.runs(), scene.phases()) == ([10], {Phase.SUCCEEDED})


def test_whoever_does_not_wait_is_told_when_to_come_back_and_nothing_is_sent() -> None:
    scene = Scene(lag=60)
    scene.apply(*jobs(10, opens=True))
    scene.cloud.script |= {"POST batches": [lost], "POST batch/jobs": [lost]}

    created = scene.apply(*jobs(10, opens=True), *jobs(40), policy=Policy(wait=False))
    joined = scene.apply(*jobs(10, 20, opens=True), *jobs(40), policy=Policy(wait=False))

    assert "a search can prove it" in created.held["runs-40"]
    assert "a list shows all that came" in joined.held["runs-20"]
    assert scene.runs() == [10, 40, 20]


def test_a_batch_of_which_a_list_shows_only_a_part_proves_nothing_and_nothing_is_sent_until_it_shows_all() -> None:
    scene = Scene(lag=60)
    scene.apply(*jobs(10, opens=True))
    scene.cloud.script["POST batch/jobs"] = [killed]
    scene.dies(*jobs(10, 20, opens=True))

    first = scene.apply(*jobs(10, 20, 30, opens=True))
    before = scene.runs()
    scene.clock.run(scene.clock.sleep(60))
    scene.apply(*jobs(10, 20, 30, opens=True))

    assert "has 2 jobs, and the list shows 1" in str(first.errors[0])
    assert (before, scene.runs()) == ([10, 20], [10, 20, 30])
    assert scene.phases() == {Phase.SUCCEEDED}


def test_what_joins_while_another_job_is_looked_for_is_not_taken_for_it() -> None:
    """Two repetitions of one run are alike in all that can be compared."""
    scene = Scene()
    scene.apply(*jobs(10, opens=True))
    scene.cloud.script["POST batch/jobs"] = [unsent_and_killed]
    one, two = (replace(wanted(20, True), key=f"repeat-{number}") for number in (1, 2))
    scene.dies(*jobs(10, opens=True), one)

    scene.apply(*jobs(10, opens=True), one, two)

    phases = {record.key: record.phase for record in scene.shelf.records}
    assert phases == {"runs-10": Phase.SUCCEEDED, "repeat-1": Phase.UNCERTAIN, "repeat-2": Phase.SUCCEEDED}
    assert scene.runs() == [10, 20]
