"""Batches that stay open: jobs added to the manifest later join them, and what joined is never sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from qrun.apply.joining import SHUT
from qrun.containers import noted_open
from qrun.events import Adopted
from qrun.job import Conduct, Job
from qrun.plan import Policy
from qrun.record import Handle, Phase
from tests.cloud import MemoryProvider
from tests.scene import Scene, job
from tests.shelf import Killed

OPEN = Conduct(open=True)


def scene(**cloud: Any) -> Scene:
    return Scene(members=100, opens=True, **cloud)


def jobs(*keys: str) -> list[Job]:
    return [job(key, shots=10 + ord(key[0]), conduct=OPEN) for key in keys]


def test_jobs_that_are_alike_go_out_together_unasked() -> None:
    cloud = scene()

    cloud.apply(job("a"), job("b", shots=2), job("c", shots=3))

    assert cloud.cloud.made() == ["b1/0", "b1/1", "b1/2"]
    assert cloud.cloud.requests.count("submit") == 1


def test_jobs_that_come_later_join_the_open_batch() -> None:
    cloud = scene()
    cloud.apply(*jobs("a", "b"))

    cloud.apply(*jobs("a", "b", "c"))
    cloud.apply(*jobs("a", "b", "c", "d"))

    assert cloud.cloud.made() == ["b1/0", "b1/1", "b1/2", "b1/3"]
    assert set(cloud.phases().values()) == {Phase.SUCCEEDED}
    assert cloud.cloud.open == {"b1"}


def test_a_batch_that_is_no_longer_open_gets_a_successor() -> None:
    cloud = scene()
    cloud.apply(*jobs("a"))
    cloud.cloud.open.clear()

    cloud.apply(*jobs("a", "b"))
    cloud.apply(*jobs("a", "b", "c"))

    assert cloud.cloud.made() == ["b1/0", "b2/0", "b2/1"]
    assert cloud.cloud.requests.count("opened") == 2


def test_a_batch_that_turned_out_to_be_closed_is_noted_once() -> None:
    cloud = scene()
    cloud.apply(*jobs("a", "b", "c"))
    cloud.cloud.open.clear()

    cloud.apply(*jobs("a", "b", "c", "d"))

    assert [fact["facts"] for fact in cloud.shelf.facts if fact["ev"] == "noted"].count(SHUT) == 1


class Silent(MemoryProvider):
    """Does not answer when it is asked whether a batch is open."""

    async def opened(self, container: Handle) -> bool:
        await self.cloud.clock.sleep(1000)
        return container in self.cloud.open


def test_a_stopped_command_waits_for_no_answer_about_open_batches() -> None:
    cloud = scene()
    cloud.apply(*jobs("a", "b"))
    loop = cloud.loop(Policy(submit=False))
    loop.connect = lambda connection: Silent(cloud.cloud)

    async def stopped() -> float:
        began = cloud.clock.now()
        running = asyncio.create_task(loop.run(jobs("a", "b")))
        await cloud.clock.sleep(5)
        loop.stop("timeout")
        await running
        return cloud.clock.now() - began

    assert cloud.clock.run(stopped()) < 1000


def test_a_batch_that_was_closed_elsewhere_is_noted_once() -> None:
    cloud = scene()
    cloud.apply(*jobs("a", "b", "c"))
    cloud.cloud.open.clear()
    before = len(cloud.shelf.facts)

    cloud.apply(*jobs("a", "b", "c"), policy=Policy(submit=False))

    assert [(fact["ev"], fact["facts"]) for fact in cloud.shelf.facts[before:]] == [("noted", SHUT)]
    assert not list(noted_open(cloud.shelf.records))


def test_jobs_that_are_not_to_stay_open_join_nothing() -> None:
    cloud = scene()
    cloud.apply(*jobs("a"))

    cloud.apply(*jobs("a"), job("b", shots=2))

    assert cloud.cloud.made() == ["b1/0", "b2/0"]


def deaths(first: list[Job], later: list[Job], faults: list[str | None]) -> Iterator[Scene]:
    """A scene for every place where the command that joins can die; each already reopened."""
    for kind in ("write", "written", "request"):
        for at in range(100):
            cloud = scene(duration=5)
            cloud.apply(*first)
            cloud.cloud.faults["submit"] = list(faults)
            if kind == "request":
                cloud.cloud.kill_at = at
            else:
                cloud.shelf.kill_at, cloud.shelf.kill_after_write = at, kind == "written"
            try:
                cloud.apply(*later)
            except BaseExceptionGroup as group:
                assert group.subgroup(Killed) is not None, group
            else:
                break
            cloud.cloud.kill_at = None
            cloud.shelf = cloud.shelf.reopened()
            yield cloud
        else:
            raise AssertionError("it never ran to its end")


@pytest.mark.parametrize("faults", [[], ["answer lost"], ["request lost"]], ids=lambda f: f[0] if f else "no fault")
def test_whenever_a_joining_command_dies_nothing_is_bought_twice(faults: list[str | None]) -> None:
    count = 0

    for cloud in deaths(jobs("a"), jobs("a", "b", "c"), faults):
        cloud.apply(*jobs("a", "b", "c"))
        count += 1

        made = [run.key for run in cloud.cloud.runs]
        assert len(made) == len(set(made)), made
        for key, phase in cloud.phases().items():
            assert (key in made) or phase in (Phase.UNCERTAIN, Phase.INTENT, Phase.ABSENT)
            assert phase is not Phase.LIVE
    assert count > 5


def test_a_lost_answer_of_a_join_is_adopted_from_the_batch_itself() -> None:
    cloud = scene()
    cloud.apply(*jobs("a"))
    cloud.cloud.faults["submit"] = ["answer lost"]

    cloud.apply(*jobs("a", "b", "c"))

    assert cloud.cloud.made() == ["b1/0", "b1/1", "b1/2"]
    assert {event.job: event.found for event in cloud.told(Adopted)} == {"b": "list", "c": "list"}
    assert {record.key: record.handle for record in cloud.shelf.records} == {"a": "b1/0", "b": "b1/1", "c": "b1/2"}


def test_a_fresh_clone_finds_what_joined_by_its_payload_and_goes_on_joining() -> None:
    cloud = scene(duration=600)
    cloud.apply(*jobs("a"))
    cloud.apply(*jobs("a", "b"))

    cloud.fresh_clone()
    cloud.apply(*jobs("a", "b", "c"))

    assert cloud.cloud.made() == ["b1/0", "b1/1", "b1/2"]


def test_a_changed_tag_renames_the_batch_once_with_the_marks_of_all_that_it_holds() -> None:
    cloud = scene()
    cloud.apply(*jobs("a"))
    cloud.apply(*jobs("a", "b"))
    tagged = [job(key, shots=10 + ord(key), conduct=OPEN, tags=["new"]) for key in "ab"]

    cloud.apply(*tagged)

    assert cloud.cloud.requests.count("relabel") == 1
    assert {run.tags for run in cloud.cloud.runs} == {("new",)}
