"""Repetitions, Retry-After, deadlines, the breaker and slots, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import httpx
import pytest

from qrun.errors import ProviderError, Unavailable, Uncertain
from qrun.http import Call
from qrun.http.breaker import Breaker
from qrun.http.policy import retry_after, spoken
from tests.answers import Cloud, cloud, own, page

SUBMIT, READ = Call.SUBMIT, Call.READ
METHOD = {SUBMIT: "POST", READ: "GET"}
LOST = httpx.ReadError("connection reset by peer")
REFUSED = httpx.ConnectError("connection refused")


def test_repetitions_wait_longer_each_time() -> None:
    server = cloud(own(500))

    server.fails(server.http(chance=lambda: 1.0).ask(READ, "GET", "/jobs"))

    assert server.times == [0, 0.5, 1.5, 3.5, 7.5, 15.5]


def test_an_outage_that_ends_in_time_is_not_noticed() -> None:
    server = cloud(REFUSED, LOST, page(503), own(200))

    assert server.run(server.http().ask(READ, "GET", "/jobs")).status == 200


@pytest.mark.parametrize(
    ("header", "least"),
    [("7", 7.0), ("Fri, 15 Jan 2027 08:00:09 GMT", 9.0), (" 7 ", 7.0), ("0", 0.0)]
    + [(text, 0.0) for text in ("-7", "soon", "7.5", "", "Fri, 15 Jan 2027 07:00:00 GMT", "Fri, 99 Foo 2027")],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_a_minimum_and_rubbish_counts_for_nothing(header: str, least: float, status: int) -> None:
    server = cloud(own(status, retry_after=header), own(200))

    server.run(server.http().ask(READ, "GET", "/jobs"))

    assert server.times[1] == pytest.approx(least * 1.05 if least else 0.25)


def test_a_date_to_wait_for_is_told_by_the_servers_own_clock() -> None:
    fast = {"retry_after": "Fri, 15 Jan 2027 09:00:09 GMT", "date": "Fri, 15 Jan 2027 09:00:00 GMT"}
    server = cloud(own(429, **fast), own(200))

    server.run(server.http().ask(READ, "GET", "/jobs"))

    assert server.times[1] == pytest.approx(9.45)


@pytest.mark.parametrize("call", [SUBMIT, READ])
def test_a_wait_beyond_the_deadline_is_said_and_not_waited(call: Call) -> None:
    server = cloud(own(429, "too many", retry_after="11520"))

    raised = server.fails(server.http(limited=True).ask(call, METHOD[call], "/jobs"))

    assert isinstance(raised, Unavailable)
    assert raised.retry_after == 11520
    assert "the server asks to wait 3 h 12 min" in str(raised)
    assert (raised.status, raised.words, server.clock.now() - server.began) == (429, "too many", 0)


def test_what_the_server_asks_one_request_to_wait_all_wait() -> None:
    server = cloud(own(429, retry_after="20"), own(200))
    http = server.http()

    async def both() -> None:
        async def later() -> None:
            await server.clock.sleep(1)
            await http.ask(READ, "GET", "/devices")

        await asyncio.gather(http.ask(READ, "GET", "/jobs"), later())

    server.run(both())

    assert len(server.times) == 3
    assert min(server.times[1:]) >= 20


def test_a_429_is_no_proof_unless_the_contract_says_so() -> None:
    server = cloud(own(429), own(200))

    assert isinstance(server.fails(server.http().ask(SUBMIT, "POST", "/jobs")), Uncertain)
    assert len(server.asked) == 1


def test_where_a_429_means_not_processed_a_submit_goes_out_again() -> None:
    server = cloud(*[own(429)] * 8, own(200))

    reply = server.run(server.http(limited=True).ask(SUBMIT, "POST", "/jobs"))

    assert (reply.status, len(server.asked)) == (200, 9)


def test_a_429_that_a_proxy_made_is_no_proof_either() -> None:
    server = cloud(page(429), own(200))

    assert isinstance(server.fails(server.http(limited=True).ask(SUBMIT, "POST", "/jobs")), Uncertain)


def test_a_429_slows_the_connection_down() -> None:
    server = cloud(own(429), own(200))
    http = server.http(settings={"requests_per_second": 20})
    server.run(http.ask(READ, "GET", "/jobs"))

    async def many() -> float:
        start = server.clock.now()
        await asyncio.gather(*(http.ask(READ, "GET", "/jobs") for _ in range(100)))
        return server.clock.now() - start

    assert server.run(many()) == pytest.approx(100 / 10, rel=0.05)


def test_the_deadline_is_for_everything_and_a_submit_has_its_own_time_after_a_wait() -> None:
    server = cloud(own(429, retry_after="300"), own(200))
    server.takes = 200.0

    reply = server.run(server.http(limited=True).ask(SUBMIT, "POST", "/jobs", deadline=520))
    assert reply.status == 200

    slow = cloud(own(500))
    slow.takes = 50.0
    slow.fails(slow.http().ask(READ, "GET", "/jobs"))
    assert slow.clock.now() - slow.began <= 121


def test_an_answer_that_never_comes_ends_at_the_deadline() -> None:
    for call, kind in ((SUBMIT, Uncertain), (READ, Unavailable)):
        server = cloud(own(200))
        server.takes = 1e6

        raised = server.fails(server.http().ask(call, METHOD[call], "/jobs", deadline=12))

        assert type(raised) is kind
        assert "no answer in time" in str(raised)
        assert server.clock.now() - server.began == pytest.approx(12, abs=1.5)


@pytest.mark.parametrize("text", [None, "٧", "²", "1e3", "Thu, 01 Jan 1970", "0x10", "NaN", "inf", "-1", "+1", "1 2"])
def test_rubbish_asks_for_nothing(text: str | None) -> None:
    assert retry_after(text, 1_800_000_000.0) is None


def test_a_number_that_is_too_long_is_still_a_number() -> None:
    assert retry_after("9" * 5000, 0.0) == 9_999_999_999.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (42, "42 s"), (60, "1 min"), (61, "1 min 1 s"), (11520, "3 h 12 min"), (176400, "2 d 1 h")],
)
def test_a_time_to_wait_is_said_as_people_do(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


class Line(httpx.AsyncByteStream):
    """So many bytes, so many a second."""

    def __init__(self, size: int, pace: int) -> None:
        self.size = size
        self.pace = pace

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(0, self.size, self.pace):
            await asyncio.sleep(1)
            yield b"x" * self.pace


def over(size: int, pace: int) -> Cloud:
    return cloud(lambda _: httpx.Response(200, stream=Line(size, pace)))


def test_a_download_over_a_slow_line_is_given_the_time_that_its_bytes_need() -> None:
    server = over(40_000_000, 100_000)

    got = server.run(server.http().download("https://cloud.example/x"))

    assert len(got) == 40_000_000
    assert server.clock.now() - server.began == 400


def test_a_download_that_drips_ends_after_two_minutes() -> None:
    server = over(10_000, 1)

    raised = server.fails(server.http().download("https://cloud.example/x"))

    assert isinstance(raised, Unavailable)
    assert server.clock.now() - server.began < 125


def test_the_largest_download_ends_after_half_an_hour() -> None:
    server = over(256 * 1024 * 1024, 60_000)

    server.fails(server.http().download("https://cloud.example/x"))

    assert server.clock.now() - server.began < 2 * 1920


def outage(server: Cloud, live: int, seconds: float) -> list[float]:
    """When requests go out while `live` jobs are asked after, each again as soon as its question failed."""
    http = server.http(settings={"requests_per_second": 20, "max_in_flight": 32})

    async def follow() -> None:
        while server.clock.now() - server.began < seconds:
            try:
                await http.ask(READ, "GET", "/jobs/7/status")
                return
            except Unavailable as error:
                await server.clock.sleep(error.retry_after or 20.0)

    async def everyone() -> None:
        await asyncio.gather(*(follow() for _ in range(live)))

    server.run(everyone())
    return server.times


@pytest.mark.parametrize("answer", [REFUSED, LOST, page(503)], ids=["refused", "reset", "503"])
def test_a_server_that_is_down_with_1000_live_jobs_is_left_alone(answer: httpx.Response | Exception) -> None:
    times = outage(cloud(answer), 1000, 1800.0)

    opened = times[4]
    after = [time for time in times if time > opened + 1.0]
    assert len(times) - len(after) <= 32 + 5
    assert all(later - earlier >= 5 for earlier, later in pairwise(after))
    assert after[0] - opened >= 29
    assert 5 < len(after) < 20


def test_after_an_outage_everything_goes_on() -> None:
    server = cloud(*[page(503)] * 10, own(200))

    times = outage(server, 200, 7200.0)

    assert len(times) == 10 + 200


def test_a_hanging_server_is_left_alone_too() -> None:
    server = cloud(own(200))
    server.takes = 1e6

    times = outage(server, 100, 3600.0)

    opened = 121.0
    after = [time for time in times if time > opened]
    assert all(later - earlier >= 5 for earlier, later in pairwise(after))


def test_a_submit_does_not_wait_for_a_server_that_is_down() -> None:
    server = cloud(*[page(503)] * 6, own(200))
    http = server.http()
    server.fails(http.ask(READ, "GET", "/jobs"))
    asked, now = len(server.asked), server.clock.now()

    raised = server.fails(http.ask(SUBMIT, "POST", "/jobs"))

    assert isinstance(raised, Unavailable)
    assert raised.retry_after is None  # nobody asks for it
    told = "not asked before 2027-01-15T08:01:36Z, in 1 min: it failed 6 times in a row; run again later"
    assert str(raised) == f'"hub", POST /jobs: {told}'
    assert (len(server.asked), server.clock.now()) == (asked, now)


def test_a_submit_waits_where_a_server_that_is_well_asks_for_it() -> None:
    server = cloud(own(429, retry_after="20"), own(200))
    http = server.http(limited=True)

    async def submit() -> None:
        await server.clock.sleep(1)
        await http.ask(SUBMIT, "POST", "/jobs")

    async def both() -> None:
        await asyncio.gather(http.ask(READ, "GET", "/jobs"), submit())

    server.run(both())

    assert len(server.times) == 3
    assert min(server.times[1:]) >= 20


def test_one_request_that_always_ends_in_a_500_of_the_servers_own_closes_nothing() -> None:
    server = cloud(own(500, "no such column"))
    http = server.http()
    server.fails(http.ask(READ, "GET", "/jobs/7"))
    start = server.clock.now()

    server.fails(http.ask(READ, "GET", "/jobs/8", deadline=0.1))

    assert server.clock.now() == start


def test_an_answer_of_any_kind_shows_that_the_server_is_there() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(4):
            breaker.failed(sent=0, now=0)
        breaker.answered()

    assert not breaker.open
    assert breaker.wait(0) == 0


def test_the_breaker_stays_open_longer_each_time_up_to_ten_minutes() -> None:
    breaker, now, waits = Breaker(), 0.0, []
    for _ in range(5):
        breaker.failed(sent=now, now=now)
    for _ in range(25):
        wait = breaker.wait(now)
        waits.append(wait)
        now += wait
        breaker.begin(now)
        breaker.failed(sent=now, now=now)

    assert waits[:3] == [30, 60, 90]
    assert waits[-1] == 600


def test_failures_of_what_was_sent_before_it_opened_change_nothing() -> None:
    breaker = Breaker()
    for _ in range(32):
        breaker.failed(sent=1, now=2)

    assert breaker.wait(2) == 30


def test_a_probe_has_some_seconds_for_itself() -> None:
    breaker = Breaker()
    for _ in range(5):
        breaker.failed(sent=0, now=0)

    assert breaker.wait(30) == 0
    breaker.begin(30)
    assert breaker.wait(30) == 5
    assert breaker.wait(35) == 0


def test_a_storage_host_that_is_down_does_not_close_the_line_to_the_provider() -> None:
    server = cloud(*[page(503)] * 6, own(200))
    http = server.http(trusted=frozenset({"storage.example"}))

    server.fails(http.download("https://storage.example/x"))

    assert server.run(http.ask(SUBMIT, "POST", "/jobs")).status == 200


def test_in_a_slot_the_requests_go_out_at_once() -> None:
    server = cloud(own(200))
    http = server.http(settings={"requests_per_second": 1, "max_in_flight": 1})

    async def submit() -> list[float]:
        before = []
        for _ in range(3):
            async with http.slot(2):
                before.append(server.clock.now() - server.began)
                await http.ask(READ, "POST", "/jobs")
                await http.ask(SUBMIT, "POST", "/jobs/7/submit")
        return before

    entered = server.run(submit())

    assert entered == pytest.approx([0, 1.75, 3.75])
    assert server.times == pytest.approx([time for time in entered for _ in range(2)])


def test_no_more_than_so_many_are_asked_at_once() -> None:
    server = cloud(own(200))
    server.takes = 1.0
    http = server.http(settings={"requests_per_second": 1000, "max_in_flight": 4})

    async def all_of_them() -> None:
        await asyncio.gather(*(http.ask(READ, "GET", "/jobs") for _ in range(12)))

    server.run(all_of_them())

    assert [round(time, 1) for time in server.times] == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize(("url", "seconds"), [("http://127.0.0.1:8080", 0), ("https://cloud.example", 99 / 20 - 0.25)])
def test_this_machine_is_asked_without_a_rate_and_others_with_20_a_second(url: str, seconds: float) -> None:
    server = cloud(own(200))
    http = server.http(url)

    async def many() -> None:
        await asyncio.gather(*(http.ask(READ, "GET", "/jobs") for _ in range(100)))

    server.run(many())

    assert server.times[-1] == pytest.approx(seconds)


def test_waiting_in_line_costs_nothing_of_the_deadline() -> None:
    server = cloud(own(200))
    http = server.http(settings={"requests_per_second": 0.01})

    async def three() -> list[ProviderError | object]:
        return await asyncio.gather(*(http.ask(READ, "GET", "/jobs", deadline=5) for _ in range(3)))

    assert len(server.run(three())) == 3
