"""Die at every durable write and at every request, run again: one job a job, on the cloud's own books."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from qrun.job import Conduct, Job
from qrun.provider import Recovery
from qrun.record import Phase
from tests.scene import Scene, job
from tests.shelf import Killed

Edit = Callable[[list[Job]], list[Job]]
TOGETHER = Conduct(together="all")


def one() -> list[Job]:
    return [job("a")]


def three() -> list[Job]:
    return [job("a"), job("b", shots=2), job("c", shots=3, conduct=Conduct(needs=("a",)))]


def packed() -> list[Job]:
    return [job("a", conduct=TOGETHER), job("b", shots=2, conduct=TOGETHER), job("c", shots=3, conduct=TOGETHER)]


def repeated() -> list[Job]:
    return [job(f"r={n}") for n in (1, 2, 3)]


SETS = {"one": one, "three": three, "packed": packed, "repeated": repeated}
CERTAIN = [Recovery.SEARCH, Recovery.KEY, Recovery.ID_FIRST]


def deaths(recovery: Recovery, jobs: list[Job], faults: list[str | None]) -> Iterator[Scene]:
    """A scene for every place where a first apply can die, until it no longer dies; each already reopened."""
    members = 1 if recovery is Recovery.ID_FIRST else 100
    for kind in ("write", "written", "request"):
        for at in range(200):
            scene = Scene(recovery, members=members, duration=90, lag=20, pace=15.0, faults={"submit": list(faults)})
            if kind == "request":
                scene.cloud.kill_at = at
            else:
                scene.shelf.kill_at, scene.shelf.kill_after_write = at, kind == "written"
            try:
                scene.apply(*jobs)
            except BaseExceptionGroup as group:
                assert group.subgroup(Killed) is not None, group
            else:
                break
            scene.cloud.kill_at = None
            scene.shelf = scene.shelf.reopened()
            yield scene
        else:
            raise AssertionError("it never ran to its end")


@pytest.mark.parametrize("faults", [[], ["answer lost"], ["request lost"]], ids=lambda f: f[0] if f else "no fault")
@pytest.mark.parametrize("jobs", SETS.values(), ids=SETS)
@pytest.mark.parametrize("recovery", CERTAIN, ids=lambda r: r.name.lower())
def test_whenever_it_dies_each_job_is_bought_once(
    recovery: Recovery, jobs: Callable[[], list[Job]], faults: list[str | None]
) -> None:
    count = 0

    for scene in deaths(recovery, jobs(), faults):
        scene.apply(*jobs())
        count += 1

        assert {key: len(scene.cloud.made(key)) for key in scene.phases()} == {j.key: 1 for j in jobs()}
        assert set(scene.phases().values()) == {Phase.SUCCEEDED}
        assert all(record.outputs for record in scene.shelf.records)
    assert count > 5


@pytest.mark.parametrize("jobs", SETS.values(), ids=SETS)
@pytest.mark.parametrize("recovery", [Recovery.NOTHING, Recovery.COUNT], ids=lambda r: r.name.lower())
def test_where_little_can_be_asked_nothing_is_bought_twice(recovery: Recovery, jobs: Callable[[], list[Job]]) -> None:
    for scene in deaths(recovery, jobs(), []):
        scene.apply(*jobs())

        for wanted in jobs():
            made, phase = len(scene.cloud.made(wanted.key)), scene.phases().get(wanted.key, Phase.ABSENT)
            assert made <= 1
            assert phase in (Phase.SUCCEEDED, Phase.UNCERTAIN, Phase.INTENT, Phase.ABSENT)
            assert made == 1 or phase is not Phase.SUCCEEDED


@pytest.mark.parametrize("recovery", CERTAIN, ids=lambda r: r.name.lower())
def test_an_edit_between_crash_and_rerun_buys_only_what_was_edited(recovery: Recovery) -> None:
    for scene in deaths(recovery, three(), []):
        edited = [job("a"), job("b", shots=22), three()[2]]
        scene.apply(*edited)
        scene.apply(*edited)

        made = [(run.key, run.shots) for run in scene.cloud.runs if run.started]
        assert len(made) == len(set(made)), made
        assert {("a", 100), ("b", 22), ("c", 3)} <= set(made)


@pytest.mark.parametrize("recovery", [Recovery.SEARCH, Recovery.KEY], ids=lambda r: r.name.lower())
def test_a_lost_laptop_after_a_crash_buys_once(recovery: Recovery) -> None:
    """The listing that opens the command is the only guard, so it comes once the cloud lists what it has."""
    for scene in deaths(recovery, three(), []):
        scene.fresh_clone()
        scene.clock.last += 100
        scene.apply(*three())

        assert [len(scene.cloud.made(key)) for key in "abc"] == [1, 1, 1]
        assert set(scene.phases().values()) == {Phase.SUCCEEDED}


@pytest.mark.parametrize("recovery", CERTAIN, ids=lambda r: r.name.lower())
def test_dying_twice_is_no_worse_than_once(recovery: Recovery) -> None:
    for scene in deaths(recovery, packed(), ["answer lost"]):
        scene.cloud.kill_at = 2
        try:
            scene.apply(*packed())
        except BaseExceptionGroup as group:
            assert group.subgroup(Killed) is not None, group
        scene.cloud.kill_at = None
        scene.shelf = scene.shelf.reopened()
        scene.apply(*packed())

        assert [len(scene.cloud.made(key)) for key in "abc"] == [1, 1, 1]
