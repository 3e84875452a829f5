"""The line in which requests wait: how many at once, how many a second, and what a 429 changes."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrun.pace import BURST, Pace, Rate
from tests.virtual import VirtualClock


def sent(rate: Rate, count: int, now: float = 0.0) -> list[float]:
    """When each of `count` requests goes that all want to go at `now`."""
    return [now + rate.take(now) for _ in range(count)]


def test_without_a_limit_nothing_waits() -> None:
    assert sent(Rate(None), 1000) == [0.0] * 1000


def test_a_rate_is_kept_after_a_short_burst() -> None:
    times = sent(Rate(20), 46)

    assert times[:6] == [0.0] * 6
    assert times[45] == pytest.approx(45 / 20 - BURST)


def test_a_rest_earns_one_burst_and_no_more() -> None:
    rate = Rate(20)
    sent(rate, 100)

    assert sent(rate, 46, now=1000.0) == pytest.approx([1000.0 + time for time in sent(Rate(20), 46)])


@given(st.floats(0.5, 200), st.lists(st.floats(0, 3), min_size=1, max_size=200))
def test_no_second_sees_more_than_the_rate_and_one_burst(limit: float, pauses: list[float]) -> None:
    rate, now, times = Rate(limit), 0.0, []
    for pause in pauses:
        now += pause
        times.append(now + rate.take(now))

    for first in times:
        assert sum(first <= time < first + 1 for time in times) <= limit * (1 + BURST) + 1 + 1e-6


def test_a_429_halves_the_rate_and_it_grows_back_a_tenth_a_minute() -> None:
    rate = Rate(20)

    rate.halve(100.0, sent=99.0)

    assert rate.rate(100.0) == 10
    assert rate.rate(160.0) == pytest.approx(11)
    assert rate.rate(220.0) == pytest.approx(12.1)
    assert rate.rate(100.0 + 3600) == 20


def test_all_the_429s_of_one_volley_halve_once() -> None:
    rate = Rate(20)

    for _ in range(32):
        rate.halve(100.0, sent=99.0)

    assert rate.rate(100.0) == 10
    rate.halve(101.0, sent=100.5)
    assert rate.rate(101.0) == pytest.approx(5, rel=0.01)


def test_without_a_limit_a_429_halves_what_was_sent_in_the_last_second() -> None:
    rate = Rate(None)
    for number in range(300):
        rate.take(number / 300)

    rate.halve(0.999, sent=0.9)

    assert rate.rate(0.999) == 150
    assert rate.take(1.0) == 0
    assert rate.rate(0.999 + 600) == pytest.approx(150 * 1.1**10)


def test_however_many_429s_come_something_is_sent() -> None:
    rate = Rate(20)

    for second in range(10_000):
        rate.halve(float(second), sent=float(second))

    assert rate.take(10_001.0) < 60


def lined_up(pace: Pace, count: int, seconds: float, *, counts: bool = True) -> list[tuple[int, float]]:
    """Which request began when; each takes `seconds`."""
    begun: list[tuple[int, float]] = []
    clock = pace.clock
    assert isinstance(clock, VirtualClock)
    start = clock.now()

    async def request(number: int) -> None:
        async with pace.place(counts=counts):
            begun.append((number, round(clock.now() - start, 3)))
            await clock.sleep(seconds)

    async def all_of_them() -> None:
        await asyncio.gather(*(request(number) for number in range(count)))

    clock.run(all_of_them())
    return begun


def test_so_many_at_once_and_first_come_first_served() -> None:
    begun = lined_up(Pace(VirtualClock(), together=4, rate=None), 12, 1.0)

    assert begun == [(number, float(number // 4)) for number in range(12)]


def test_what_does_not_count_only_needs_a_place() -> None:
    begun = lined_up(Pace(VirtualClock(), together=100, rate=1), 100, 0.0, counts=False)

    assert {time for _, time in begun} == {0.0}


def test_a_slow_rate_is_first_come_first_served_too() -> None:
    begun = lined_up(Pace(VirtualClock(), together=3, rate=2), 9, 0.0)

    assert [number for number, _ in begun] == list(range(9))
    assert begun[-1][1] == pytest.approx(8 / 2 - BURST)


def test_inside_a_slot_nothing_waits_for_a_place_or_a_turn_that_was_paid() -> None:
    clock = VirtualClock()
    pace = Pace(clock, together=1, rate=1)
    waits: list[float] = []

    async def submit() -> None:
        async with pace.slot(3):
            for _ in range(4):
                before = clock.now()
                async with pace.place():
                    waits.append(round(clock.now() - before, 3))

    clock.run(submit())

    assert waits == [0, 0, 0, 2.75]


def test_a_slot_of_one_pace_is_none_of_another() -> None:
    clock = VirtualClock()
    mine, other = Pace(clock, together=1, rate=None), Pace(clock, together=1, rate=None)
    order: list[str] = []

    async def holds() -> None:
        async with other.place():
            await clock.sleep(5)
            order.append("the other's place is free")

    async def wants() -> None:
        await clock.sleep(1)
        async with mine.slot(), other.place():
            order.append("got it")

    async def both() -> None:
        await asyncio.gather(holds(), wants())

    clock.run(both())

    assert order == ["the other's place is free", "got it"]


def test_a_task_that_outlives_the_slot_waits_like_everybody() -> None:
    clock = VirtualClock()
    pace = Pace(clock, together=1, rate=None)
    order: list[str] = []

    async def straggler() -> None:
        await clock.sleep(2)
        async with pace.place():
            order.append("straggler")

    async def main() -> None:
        async with pace.slot():
            left = asyncio.create_task(straggler())
        async with pace.place():
            await clock.sleep(10)
            order.append("first")
        await left

    clock.run(main())

    assert order == ["first", "straggler"]


def test_a_cancelled_request_gives_its_place_back() -> None:
    clock = VirtualClock()
    pace = Pace(clock, together=1, rate=None)

    async def main() -> float:
        async def forever() -> None:
            async with pace.place():
                await clock.sleep(1e9)

        stuck = asyncio.create_task(forever())
        await clock.sleep(1)
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        async with pace.slot():
            return clock.now()

    start = clock.now()
    assert clock.run(main()) == start + 1
