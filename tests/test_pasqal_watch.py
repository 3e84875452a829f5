"""Waiting for the jobs of Pasqal Cloud: with which requests, how often, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from qrun.clock import stamp
from qrun.errors import Denied, Unavailable, Unexpected
from qrun.provider import Status
from qrun.providers.pasqal.watch import Watch
from qrun.record import Handle, Phase
from tests.pasqal import Cloud, answer, beside, cloud, refuses, swallowed
from tests.programs import Waiting
from tests.virtual import EPOCH, VirtualClock

Heard = list[tuple[float, Handle, Status]]
Act = tuple[float, Callable[[Waiting], None]]


def listen(
    clock: VirtualClock,
    there: Cloud,
    handles: Sequence[Handle],
    *,
    until: float,
    act: Sequence[Act] = (),
    **settings: Any,
) -> Heard:
    """Everything that is heard within so many seconds; `act` is what happens meanwhile, and when."""
    heard: Heard = []

    async def go() -> None:
        waiting = Waiting()
        waiting.add(*handles)
        pasqal = beside(there, token="ready", **settings)
        began = clock.monotonic()

        async def follow() -> None:
            watching = Watch(pasqal.looking, clock, lambda: 0.0)
            async for handle, status in watching.news(waiting):
                heard.append((round(clock.monotonic() - began, 3), handle, status))
                if status.phase is not None and status.phase.final:
                    waiting.drop(handle)

        task = asyncio.ensure_future(follow())
        for when, what in act:
            await asyncio.sleep(max(0.0, began + when - clock.monotonic()))
            what(waiting)
        await asyncio.sleep(max(0.0, began + until - clock.monotonic()))
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    clock.run(go())
    return heard


def words(heard: Heard) -> list[tuple[Handle, str]]:
    return [(handle, status.word or "error") for _, handle, status in heard]


def times(there: Cloud, route: str) -> list[float]:
    return [round(when - there.seen[0][0], 3) for when, each, _, _ in there.seen if each == route]


# --- with which requests ----------------------------------------------------------------------------------------------


def test_jobs_that_wait_cost_one_request_a_batch_and_their_list_is_not_read() -> None:
    there, clock = cloud()
    handles = there.new(*["PENDING"] * 100)

    heard = listen(clock, there, handles, until=10)

    assert sorted(words(heard)) == sorted((handle, "PENDING") for handle in handles)
    assert set(there.routes()) == {"GET batch/status"}


def test_the_jobs_are_read_only_after_the_counts_have_changed() -> None:
    there, clock = cloud()
    handles = there.new("PENDING", "PENDING", "PENDING")

    heard = listen(
        clock,
        there,
        handles,
        until=30,
        act=[
            (5, lambda _: there.set("RUNNING", handles[0])),
            (10, lambda _: there.set("DONE", handles[0])),
            (20, lambda _: there.set("DONE", *handles[1:])),
        ],
    )

    assert [word for handle, word in words(heard) if handle == handles[0]] == ["PENDING", "RUNNING", "DONE"]
    assert [word for handle, word in words(heard) if handle == handles[2]] == ["PENDING", "DONE"]
    assert there.asked("GET jobs") == 3


def test_many_batches_are_asked_for_together() -> None:
    there, clock = cloud()
    handles = [there.new("PENDING")[0] for _ in range(60)]

    heard = listen(clock, there, handles, until=0.05)

    assert len(heard) == 60
    assert there.routes() == ["GET batches"] * 3
    assert max(len([name for name, _ in query if name == "id"]) for _, _, query, _ in there.seen) == 25


def test_a_batch_that_the_list_does_not_show_yet_is_asked_for_by_itself() -> None:
    there, clock = cloud()
    handles = [there.new("PENDING")[0] for _ in range(4)]
    there.unlisted.add(handles[0].partition("/")[0])

    heard = listen(clock, there, handles, until=0.05)

    assert len(heard) == 4
    assert there.routes() == ["GET batches", "GET batch/status"]


def test_a_batch_that_does_not_count_its_jobs_has_them_read_each_time() -> None:
    there, clock = cloud(counted=False)
    handles = there.new("RUNNING", "PENDING")

    heard = listen(clock, there, handles, until=0.15, act=[(0.05, lambda _: there.set("DONE", handles[0]))])

    assert words(heard) == [(handles[0], "RUNNING"), (handles[1], "PENDING"), (handles[0], "DONE")]


def test_a_list_that_lags_behind_the_counts_is_read_again() -> None:
    there, clock = cloud()
    handles = there.new("DONE", "RUNNING")
    late = handles[0].partition("/")[2]
    there.unlisted.add(late)

    heard = listen(clock, there, handles, until=5, act=[(2, lambda _: there.unlisted.discard(late))])

    assert words(heard) == [(handles[1], "RUNNING"), (handles[0], "DONE")]


def test_an_open_batch_ends_for_us_with_its_last_job() -> None:
    there, clock = cloud()
    handles = there.new("DONE", "DONE", open_=True)

    heard = listen(clock, there, handles, until=5)

    assert [word for _, word in words(heard)] == ["DONE", "DONE"]
    assert there.routes() == ["GET batch/status", "GET jobs"]


def test_a_batch_that_is_done_says_nothing_of_its_jobs() -> None:
    there, clock = cloud()
    handles = there.new("DONE", "ERROR", "CANCELED", "TIMED_OUT")

    heard = listen(clock, there, handles, until=1)

    phases = [status.phase for _, _, status in heard]
    assert phases == [Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.FAILED]


def test_workloads_are_asked_for_by_themselves() -> None:
    there, clock = cloud()
    there.workloads["w1"] = {"id": "w1", "status": "RUNNING", "created_at": stamp(EPOCH)}

    heard = listen(
        clock, there, [Handle("w1")], until=5, act=[(2, lambda _: there.workloads["w1"].update(status="DONE"))]
    )

    assert words(heard) == [(Handle("w1"), "RUNNING"), (Handle("w1"), "DONE")]
    assert set(there.routes()) == {"GET workload"}


def test_by_way_of_ovh_each_batch_is_asked_for() -> None:
    there, clock = cloud()
    handles = [there.new("PENDING")[0] for _ in range(5)]
    there.set("DONE", handles[0])

    heard = listen(clock, there, handles, until=0.05, variant="ovh")

    assert len(heard) == 5
    assert sorted(there.routes()) == ["GET batch/status"] * 5 + ["GET jobs"]


# --- what is told -----------------------------------------------------------------------------------------------------


def test_why_a_job_failed_and_when_it_ran_is_told() -> None:
    there, clock = cloud()
    (handle,) = there.new("RUNNING")
    there.set(
        "ERROR",
        handle,
        errors=["amplitude too large", {"code": "E7", "message": "out of range"}],
        start_timestamp="2027-01-15T09:00:01+01:00",
        end_timestamp="1800000005.5",
    )

    ((_, _, status),) = listen(clock, there, [handle], until=1)

    assert status.message == "amplitude too large; E7: out of range"
    assert status.provided == {
        "created": "2027-01-15T08:00:00Z",
        "started": "2027-01-15T08:00:01Z",
        "ended": "2027-01-15T08:00:05.500000Z",
    }


def test_a_job_that_is_being_cancelled_still_lives_and_a_word_that_nobody_knows_is_told_as_it_is() -> None:
    there, clock = cloud()
    handles = there.new("CANCELING", "HIBERNATING", "PAUSED")

    heard = listen(clock, there, handles, until=1)

    told = [(status.word, status.phase, status.running) for _, _, status in heard]
    assert told == [("CANCELING", Phase.LIVE, True), ("HIBERNATING", None, False), ("PAUSED", Phase.LIVE, False)]


def test_a_batch_that_is_not_there_has_lost_its_jobs() -> None:
    there, clock = cloud()

    heard = listen(clock, there, [Handle("b1/j1"), Handle("b1/j2"), Handle("w1")], until=1)

    assert sorted((handle, status.phase, status.word, status.message) for _, handle, status in heard) == [
        ("b1/j1", Phase.LOST, "404", "batch not found"),
        ("b1/j2", Phase.LOST, "404", "batch not found"),
        ("w1", Phase.LOST, "404", "workload not found"),
    ]


def test_a_job_that_its_batch_does_not_show_is_lost_once_no_list_can_lag_so_far() -> None:
    there, clock = cloud()
    (one,) = there.new("RUNNING")
    gone = Handle(f"{one.partition('/')[0]}/j9999999")

    heard = listen(clock, there, [one, gone], until=120)

    assert words(heard) == [(one, "RUNNING"), (gone, "404")]
    assert heard[1][0] > 60


def test_one_batch_that_fails_hides_no_other() -> None:
    there, clock = cloud()
    one, two = there.new("PENDING")[0], there.new("PENDING")[0]
    there.script["GET batch/status"] = [answer(200, {"data": 1})]

    heard = listen(clock, there, [one, two], until=0.05)

    failed = [(handle, status.error) for _, handle, status in heard if status.error]
    assert len(failed) == 1
    assert isinstance(failed[0][1], Unexpected)
    assert {handle for handle, word in words(heard) if word == "PENDING"} == {one, two} - {failed[0][0]}


def test_a_service_that_is_down_is_told_of_and_left_alone_for_longer_and_longer() -> None:
    there, clock = cloud()
    (handle,) = there.new("PENDING")
    there.script["GET batch/status"] = [swallowed] * 1000

    heard = listen(clock, there, [handle], until=1800)

    assert all(isinstance(status.error, Unavailable) for _, _, status in heard)
    assert 3 <= len(heard) <= 60


def test_a_login_that_is_refused_ends_the_watch() -> None:
    there, clock = cloud()
    (handle,) = there.new("PENDING")
    there.script["GET batch/status"] = [refuses(403, "no")]

    with pytest.raises(Denied):
        listen(clock, there, [handle], until=1)


def test_a_shape_that_nobody_knows_ends_the_watch_when_it_stays() -> None:
    there, clock = cloud()
    (handle,) = there.new("PENDING")
    there.script["GET batch/status"] = [answer(200, "[]")] * 1000

    with pytest.raises(Unexpected):
        listen(clock, there, [handle], until=600)


# --- when -------------------------------------------------------------------------------------------------------------


def test_sweeps_become_rarer_as_the_jobs_grow_older_and_frequent_again_when_one_is_added() -> None:
    there, clock = cloud()
    handles = there.new("PENDING", "PENDING")
    (young,) = there.new("PENDING")

    listen(clock, there, handles, until=70, act=[(60, lambda waiting: waiting.add(young))])

    asked = sorted({*times(there, "GET batch/status")})
    pauses = [(when, round(after - when, 3)) for when, after in pairwise(asked)]
    assert max(pause for when, pause in pauses if when < 1) == pytest.approx(0.1)
    assert min(pause for when, pause in pauses if 50 < when < 56) > 2.4
    assert max(pause for when, pause in pauses if 60.2 < when < 61) <= 0.11


def test_a_job_that_runs_since_yesterday_is_not_looked_at_as_if_it_were_new() -> None:
    there, clock = cloud()
    handles = there.new("RUNNING", "PENDING")
    there.set("RUNNING", handles[0], created_at=stamp(EPOCH - 86400))
    there.set("PENDING", handles[1], created_at=stamp(EPOCH - 86400))

    listen(clock, there, handles, until=100)

    assert times(there, "GET batch/status") == [0, 30, 60, 90]


def test_nothing_is_asked_while_nothing_waits() -> None:
    there, clock = cloud()
    (late,) = there.new("DONE")

    heard = listen(clock, there, [], until=100, act=[(50, lambda waiting: waiting.add(late))])

    assert [round(when) for when, _, _ in heard] == [50]
