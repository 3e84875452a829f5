"""Waiting for the jobs of an OQTOPUS cloud: how often, with which requests, and what is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from qrun.clock import stamp
from qrun.errors import Denied, Unavailable, Unexpected
from qrun.provider import Status
from qrun.providers.oqtopus import sweep
from qrun.providers.oqtopus.sweep import Pace, Watched
from qrun.providers.oqtopus.watch import Watch
from qrun.record import Handle, Phase
from tests.oqtopus import Cloud, Fault, answer, beside, cloud, swallowed, unsent
from tests.programs import Waiting
from tests.virtual import EPOCH, VirtualClock

Heard = list[tuple[float, Handle, Status]]


def listen(
    clock: VirtualClock,
    there: Cloud,
    handles: Sequence[Handle],
    *,
    until: float,
    act: Sequence[tuple[float, Callable[[Waiting], None]]] = (),
) -> Heard:
    """Everything that is heard within so many seconds; `act` is what happens meanwhile, and when."""
    heard: Heard = []

    async def go() -> None:
        waiting = Waiting()
        waiting.add(*handles)
        oqtopus = beside(there)
        began = clock.monotonic()

        async def follow() -> None:
            watching = Watch(oqtopus.http, clock, lambda: 0.0)
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


def words(heard: Heard) -> list[str]:
    return [status.word or "error" for _, _, status in heard]


def times(there: Cloud, route: str = "GET jobs") -> list[float]:
    return [round(when - there.seen[0][0], 3) for when, each, _ in there.seen if each == route]


# --- when -------------------------------------------------------------------------------------------------------------


def test_the_pause_follows_the_age_of_the_youngest_job_within_bounds() -> None:
    assert [sweep.pause(age, spent=0.0, jitter=0.0) for age in (0, 1, 2, 60, 600, 6000)] == [0.1, 0.1, 0.1, 3, 30, 30]
    assert sweep.pause(60, spent=0.0, jitter=1.0) == pytest.approx(3.6)
    assert sweep.pause(60, spent=0.0, jitter=-1.0) == pytest.approx(2.4)
    assert sweep.pause(0, spent=5.0, jitter=0.0) == 10.0


def test_a_service_that_fails_is_left_alone_for_longer_and_longer_and_as_long_as_it_asks() -> None:
    pace = Pace()
    waits = []
    for _ in range(8):
        pace.failed(None)
        waits.append(pace.patience)

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    pace.failed(3600.0)
    assert pace.patience == 3600.0
    pace.answered()
    assert (pace.failures, pace.patience) == (0, 0.0)


def test_sweeps_become_rarer_as_the_jobs_grow_older_and_frequent_again_when_one_is_added() -> None:
    there, clock = cloud()
    handles = [there.new("submitted") for _ in range(3)]
    young = there.new("submitted", submitted_at=stamp(EPOCH + 60))

    listen(clock, there, handles, until=70, act=[(60, lambda waiting: waiting.add(young))])

    asked = times(there)
    pauses = [round(after - before, 3) for before, after in pairwise(asked)]
    early = [pause for pause, when in zip(pauses, asked, strict=False) if when < 1]
    late = [pause for pause, when in zip(pauses, asked, strict=False) if 50 < when < 57]
    fresh = [pause for pause, when in zip(pauses, asked, strict=False) if 60.2 < when < 61]
    assert early and max(early) == pytest.approx(0.1)
    assert late and min(late) > 2.4
    assert fresh and max(fresh) <= 0.11


def test_a_job_that_the_server_says_is_old_is_not_looked_at_as_if_it_were_new() -> None:
    there, clock = cloud()
    handles = [there.new("running", submitted_at=stamp(EPOCH - 86400)) for _ in range(3)]

    listen(clock, there, handles, until=100)

    assert times(there) == [0, 30, 60, 90]


def test_a_change_of_what_is_waited_for_is_taken_in_at_once() -> None:
    there, clock = cloud()
    handles = [there.new("running", submitted_at=stamp(EPOCH - 86400)) for _ in range(3)]
    fresh = there.new("submitted")

    heard = listen(clock, there, handles, until=20, act=[(10, lambda waiting: waiting.add(fresh))])

    assert [when for when, handle, _ in heard if handle == fresh] == [pytest.approx(10.0, abs=0.2)]


def test_nothing_is_asked_while_nothing_waits() -> None:
    there, clock = cloud()
    late = there.new("succeeded")

    heard = listen(clock, there, [], until=100, act=[(50, lambda waiting: waiting.add(late))])

    assert [round(when) for when, _, _ in heard] == [50]
    assert {route for _, route, _ in there.seen} == {"GET status", "GET job"}


# --- with which requests ----------------------------------------------------------------------------------------------


def test_many_jobs_are_asked_for_a_hundred_at_a_time_and_no_job_by_itself() -> None:
    there, clock = cloud()
    handles = [there.new("submitted") for _ in range(1000)]

    heard = listen(clock, there, handles, until=0.05)

    assert len(heard) == 1000
    assert there.asked("GET jobs") == 10
    assert there.asked("GET status") == 0
    assert {query["size"] for _, _, query in there.seen} == {"100"}


def test_a_list_is_asked_only_for_what_it_can_always_show() -> None:
    there, clock = cloud()
    handles = [there.new("submitted") for _ in range(3)]

    listen(clock, there, handles, until=0.05)

    fields = there.seen[0][2]["fields"].split(",")
    assert not {"job_type", "shots", "job_info"} & set(fields)


def test_a_list_begins_with_the_oldest_job_that_is_waited_for() -> None:
    there, clock = cloud()
    for _ in range(300):
        there.new("succeeded", submitted_at=stamp(EPOCH - 7200))
    handles = [there.new("running", submitted_at=stamp(EPOCH - 3600 + place)) for place in range(3)]

    listen(clock, there, handles, until=200)

    first, *others = [query for _, route, query in there.seen if route == "GET jobs"]
    assert first["start_time"] == "2027-01-15T06:59:00+00:00"  # the time in the ids, less what clocks may differ by
    assert {query["start_time"] for query in others} == {"2027-01-15T06:59:59+00:00"}
    assert {query["order"] for query in others} == {"ASC"}
    assert {query["page"] for query in others} == {"1"}


def test_where_nobody_knows_how_old_the_jobs_are_the_newest_come_first_until_all_were_seen() -> None:
    there, clock = cloud(plain_ids=True)
    for _ in range(1000):
        there.new("succeeded", submitted_at=stamp(EPOCH - 7200))
    handles = [there.new("running", submitted_at=stamp(EPOCH - 3600)) for _ in range(3)]

    listen(clock, there, handles, until=35)

    first, second = [query for _, route, query in there.seen if route == "GET jobs"]
    assert (first["order"], first["page"], first.get("start_time")) == ("DESC", "1", None)
    assert (second["order"], second["start_time"]) == ("ASC", "2027-01-15T06:59:59+00:00")


def test_what_a_whole_list_does_not_show_is_asked_for_by_itself_a_few_in_each_sweep() -> None:
    there, clock = cloud()
    listed = [there.new("submitted") for _ in range(100)]
    hidden = [there.new("running", submitted_at="") for _ in range(20)]

    heard = listen(clock, there, [*listed, *hidden], until=0.05)
    later = listen(clock, there, [*listed, *hidden], until=5)

    assert sum(handle in hidden for _, handle, _ in heard) == 120 // 50 + 2
    assert {handle for _, handle, _ in later if handle in hidden} == set(hidden)


def test_a_list_is_not_read_for_jobs_that_it_never_shows() -> None:
    there, clock = cloud(plain_ids=True)
    handles = [there.new("running", submitted_at=stamp(EPOCH)) for _ in range(2)]
    strangers = [Handle(job_id) for job_id in ("far-1", "far-2", "far-3")]
    for each in strangers:
        there.jobs[each] = {"job_id": each, "status": "running", "hidden": True}
    there.script["GET jobs"] = []
    hide(there, strangers)

    listen(clock, there, strangers, until=400)

    asked = times(there)
    assert asked
    assert max(asked) < 70
    assert max(times(there, "GET status")) > 300
    assert handles


def hide(there: Cloud, handles: Sequence[Handle]) -> None:
    """No list shows these from now on."""
    shown = there._list  # noqa: SLF001 (the fake is ours)

    def listed(asked: Any) -> Any:
        kept = there.jobs
        there.jobs = {job_id: job for job_id, job in kept.items() if job_id not in handles}
        try:
            return shown(asked)
        finally:
            there.jobs = kept

    there._list = listed  # type: ignore[method-assign]  # noqa: SLF001


def test_two_jobs_are_asked_for_by_themselves() -> None:
    there, clock = cloud()
    handles = [there.new("submitted"), there.new("running")]

    heard = listen(clock, there, handles, until=0.05)

    assert sorted(words(heard)) == ["running", "submitted"]
    assert [route for _, route, _ in there.seen] == ["GET status", "GET status"]


def test_a_list_whose_last_page_comes_again_and_again_has_an_end() -> None:
    there, clock = cloud(last_page_again=True)
    handles = [there.new("submitted") for _ in range(100)]

    heard = listen(clock, there, [*handles, Handle("gone")], until=0.05)

    assert {handle for _, handle, status in heard if status.phase is Phase.LIVE} == set(handles)
    assert [handle for _, handle, status in heard if status.phase is Phase.LOST] == ["gone"]


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 5])
def test_a_job_is_followed_from_word_to_word_and_each_is_told_once(others: int) -> None:
    there, clock = cloud()
    handle = there.new("submitted")
    more = [there.new("submitted") for _ in range(others)]

    def becomes(word: str, **members: Any) -> Callable[[Waiting], None]:
        return lambda waiting: there.jobs[handle].update(status=word, **members)

    ended = {"ended_at": stamp(EPOCH + 4), "execution_time": 0.5, "running_at": stamp(EPOCH + 2)}
    act = [
        (1, becomes("ready")),
        (2, becomes("running")),
        (3, becomes("cancelling")),
        (4, becomes("succeeded", **ended)),
    ]
    heard = [each for each in listen(clock, there, [handle, *more], until=6, act=act) if each[1] == handle]

    assert words(heard) == ["submitted", "ready", "running", "cancelling", "succeeded"]
    assert [status.running for _, _, status in heard] == [False, False, True, False, False]
    assert heard[-1][2].provided == {
        "submitted": "2027-01-15T08:00:00Z",
        "running": "2027-01-15T08:00:02Z",
        "ended": "2027-01-15T08:00:04Z",
        "execution_time": 0.5,
    }


@pytest.mark.parametrize("others", [0, 5])
def test_why_a_job_failed_is_looked_up(others: int) -> None:
    there, clock = cloud()
    handle = there.new("failed", job_info={"message": "no such gate"})
    more = [there.new("running") for _ in range(others)]

    heard = {each: status for _, each, status in listen(clock, there, [handle, *more], until=0.05)}

    assert (heard[handle].phase, heard[handle].message) == (Phase.FAILED, "no such gate")
    assert there.asked("GET job") == 1


@pytest.mark.parametrize("others", [0, 5])
def test_a_cancelled_job_is_final_though_the_service_sets_no_end(others: int) -> None:
    there, clock = cloud()
    handle = there.new("cancelled")
    more = [there.new("running") for _ in range(others)]

    heard = {each: status for _, each, status in listen(clock, there, [handle, *more], until=0.05)}

    assert heard[handle].phase is Phase.CANCELLED
    assert heard[handle].provided == {"submitted": "2027-01-15T08:00:00Z"}


@pytest.mark.parametrize("others", [0, 5])
def test_a_job_that_the_service_knows_no_more_is_lost(others: int) -> None:
    there, clock = cloud()
    more = [there.new("running") for _ in range(others)]

    heard = {each: status for _, each, status in listen(clock, there, [Handle("gone"), *more], until=0.05)}

    assert (heard[Handle("gone")].phase, heard[Handle("gone")].word) == (Phase.LOST, "404")
    assert heard[Handle("gone")].message == "job not found with the given id"


@pytest.mark.parametrize("others", [0, 5])
def test_a_word_that_qrun_does_not_know_is_told_as_it_is_and_ends_nothing(others: int) -> None:
    there, clock = cloud()
    handle = there.new("paused")
    more = [there.new("running") for _ in range(others)]
    act = [(1, lambda waiting: there.jobs[handle].update(status="succeeded"))]

    heard = [each for each in listen(clock, there, [handle, *more], until=3, act=act) if each[1] == handle]

    assert [(status.phase, status.word) for _, _, status in heard] == [(None, "paused"), (Phase.SUCCEEDED, "succeeded")]


# --- what goes wrong --------------------------------------------------------------------------------------------------

OUTAGES: list[Fault] = [unsent, swallowed, answer(503, "<html>"), answer(500, {"message": "no"})]


@pytest.mark.parametrize("others", [0, 5])
@pytest.mark.parametrize("fault", OUTAGES)
def test_a_service_that_does_not_answer_is_told_of_and_waited_for(fault: Fault, others: int) -> None:
    there, clock = cloud()
    handle = there.new("succeeded")
    more = [there.new("running") for _ in range(others)]
    route = "GET jobs" if others else "GET status"
    there.script[route] = [fault] * 8

    heard = listen(clock, there, [handle, *more], until=1200)

    assert isinstance(heard[0][2].error, Unavailable)
    assert [status.phase for _, each, status in heard if each == handle and status.error is None] == [Phase.SUCCEEDED]


def test_a_service_that_is_down_is_asked_at_most_once_in_five_seconds_whatever_waits() -> None:
    there, clock = cloud()
    handles = [there.new("running") for _ in range(1000)]
    there.script["GET jobs"] = [unsent] * 10_000

    listen(clock, there, handles, until=1200)

    asked = times(there)
    later = [after - before for before, after in pairwise(asked) if before > 30]
    assert later and min(later) >= 5


def test_a_server_that_asks_for_an_hour_is_left_alone_for_an_hour() -> None:
    there, clock = cloud()
    handles = [there.new("running") for _ in range(5)]

    def busy(cloud: Cloud, request: Any) -> Any:
        told = answer(429, {"message": "Too Many Requests"})(cloud, request)
        told.headers["retry-after"] = "3600"
        return told

    there.script["GET jobs"] = [busy]

    heard = listen(clock, there, handles, until=3700)

    asked = times(there)
    assert asked[1] >= 3600
    assert words(heard)[-5:] == ["running"] * 5


@pytest.mark.parametrize("others", [0, 5])
def test_one_strange_answer_ends_nothing_and_a_row_of_them_ends_the_watch(others: int) -> None:
    there, clock = cloud()
    handles = [there.new("running") for _ in range(1 + others)]
    route = "GET jobs" if others else "GET status"
    there.script[route] = [answer(200, {"unknown": "shape"})]

    heard = listen(clock, there, handles, until=10)

    assert isinstance(heard[0][2].error, Unexpected)
    assert words(heard)[1:] == ["running"] * (1 + others)
    if others:
        there.script[route] = [answer(200, {"unknown": "shape"})] * 50
        with pytest.raises(Unexpected):
            listen(clock, there, handles, until=300)


def test_a_refused_token_ends_the_watch() -> None:
    there, clock = cloud(script={"GET jobs": [answer(401, {"message": "Unauthorized"})]})
    handles = [there.new("running") for _ in range(5)]

    with pytest.raises(Denied):
        listen(clock, there, handles, until=10)


def test_a_failed_job_whose_reason_cannot_be_read_now_is_told_of_later_and_keeps_no_other_from_its_end() -> None:
    there, clock = cloud()
    failed = there.new("failed", job_info={"message": "no such gate"})
    others = [there.new("succeeded") for _ in range(5)]
    there.script["GET job"] = [swallowed] * 6

    heard = listen(clock, there, [failed, *others], until=300)

    assert sum(status.phase is Phase.SUCCEEDED for _, _, status in heard) == 5
    assert [status.message for _, handle, status in heard if handle == failed and status.error is None] == [
        "no such gate"
    ]


# --- many -------------------------------------------------------------------------------------------------------------


def test_ten_thousand_jobs_take_a_request_for_a_hundred_and_none_for_one() -> None:
    there, clock = cloud()
    handles = [there.new("running", submitted_at=stamp(EPOCH - 3600)) for _ in range(10_000)]

    heard = listen(clock, there, handles, until=0.05)

    assert len(heard) == 10_000
    assert there.asked("GET jobs") == 100
    assert there.asked("GET status") == 0


# --- from when on -----------------------------------------------------------------------------------------------------


def test_an_id_tells_when_it_was_given_out() -> None:
    assert sweep.registered(Handle("01a1fe30-51e8-78a4-803f-3b7aee5b4222")) == pytest.approx(1795265941.992)
    assert sweep.registered(Handle("01a1fe30-51e8-48a4-803f-3b7aee5b4222")) is None
    assert sweep.registered(Handle("job-1")) is None


def test_a_list_begins_early_enough_for_every_job_or_nowhere() -> None:
    known = Watched(born=0.0, submitted=1000.0)

    assert sweep.start({Handle("a"): known, Handle("b"): Watched(born=0.0, submitted=900.0)}) == 899.0
    assert sweep.start({Handle("a"): known, Handle("b"): Watched(born=0.0)}) is None
    assert sweep.start({}) is None
    assert sweep.query({Handle("a"): Watched(born=0.0, submitted=0.0)})["start_time"] == "1970-01-01T00:00:00+00:00"
