"""Many at once on a cloud: commands in one directory, and a thousand jobs of a provider that is down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from qrun.apply import Apply, Outcome
from qrun.apply.submit import PATIENCE as LONGEST
from qrun.apply.traffic import Limits, Traffic
from qrun.fact import Fact, Intended
from qrun.http.breaker import PATIENCE
from qrun.job import Job, Target
from qrun.plan import Policy
from qrun.providers.oqtopus import CAPABILITIES
from qrun.record import Phase
from tests import oqtopus
from tests.booked import JOB, Wanted, at_rest, bought_once, project, recorded, write
from tests.emulator import Emulator, shared
from tests.killing import Look, typed
from tests.oqtopus import beside
from tests.scene import SOURCE, job
from tests.shelf import Shelf
from tests.test_kill import ROUNDS, crowd, in_use
from tests.virtual import VirtualClock

# --- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def account() -> Iterator[Emulator]:
    account = shared().new_account()
    yield account
    account.close()


@pytest.mark.slow
def test_of_a_crowd_one_buys_and_the_others_say_who(tmp_path: Path, account: Emulator) -> None:
    desk = project(tmp_path / "crowd", account, {})
    jobs: dict[str, dict[str, Any]] = {}

    for number in range(ROUNDS):
        jobs |= {f"r{number}-{k}": {**JOB, "shots": 1000 * k + number + 1} for k in range(2)}
        write(desk, jobs)
        ends = crowd(desk, "apply", "--yes")

        assert 0 in {code for _, code, _ in ends}
        assert {code for _, code, _ in ends} <= {0, 5}
        pids = {str(pid) for pid, _, _ in ends}
        for pid, code, err in ends:
            holder = in_use(err, "apply --yes") if code else None
            assert holder is None or holder in pids - {str(pid)}, (holder, pids)
        assert typed(desk, "apply", "--yes").out.startswith(f"nothing to do: {len(jobs)} jobs are done")

    look, wanted = Look(name="afterwards"), Wanted(jobs=jobs)
    bought_once(account, look, wanted)
    recorded(desk, account, look, wanted)
    at_rest(desk, look, len(jobs))
    assert look.wrong == []


# --- a provider that is down ------------------------------------------------------------------------------------------

LIVE = 1000
WAITING = 20  # jobs that are sent only when others have ended
OUTAGE = 3 * 3600.0
LATENCY = 0.02
CLOUD = Target(connection="cloud", provider="oqtopus", device="qulacs", site="127.0.0.1:1")
RESULT = {"sampling": {"counts": {"0": 1}, "divided_counts": None}, "estimation": None}

Answer = Callable[[], httpx.Response]


@dataclass(kw_only=True)
class Sky(oqtopus.Cloud):
    """While there is an `outage` nobody gets through; `tried` is, for each host, when somebody wanted to and heard so.

    `before` is how many jobs had been started by then.
    """

    outage: Answer | None = None
    before: int = 0
    tried: dict[int | None, list[tuple[float, float]]] = field(default_factory=dict)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent = self.clock.monotonic()
        await self.clock.sleep(LATENCY)
        if self.outage is None:
            return await super().handle_async_request(request)
        self.tried.setdefault(request.url.port, []).append((sent, self.clock.monotonic()))
        return self.outage()

    def rests(self) -> list[tuple[float, float]]:
        """Before each try of which the host had been asked before: seconds since it was last heard, and since the one
        before was sent; the second only once five had failed.
        """
        return [
            (sent - former[-1][1], sent - former[-1][0] if len(former) >= PATIENCE else 5.0)
            for tried in self.tried.values()
            for sent, _ in tried
            if (former := [each for each in tried if each[1] < sent])
        ]

    def finish(self) -> None:
        for handle, document in self.jobs.items():
            if document["status"] == "submitted":
                document["status"] = "succeeded"
                self.output(handle, "result", RESULT)


class Indexed(Shelf):
    """Finds each of many jobs at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[tuple[str, str], Mapping[str, Any]] = {}

    def note(self, *facts: Fact) -> None:
        super().note(*facts)
        for fact in facts:
            if isinstance(fact, Intended):
                self.sent |= {(m.key, m.digest): whole for m, whole in zip(fact.members, fact.jobs, strict=True)}

    def job(self, key: str, digest: str) -> Mapping[str, Any]:
        return self.sent[key, digest]


def refused() -> httpx.Response:
    raise httpx.ConnectError("connection refused")


def silent() -> httpx.Response:
    raise httpx.ReadTimeout("no answer")


def broken() -> httpx.Response:
    return httpx.Response(503, json={"message": "Service Unavailable"})


def asking_for(status: int, seconds: int) -> Answer:
    return lambda: httpx.Response(status, json={"message": "later"}, headers={"retry-after": str(seconds)})


def through(sky: Sky, clock: VirtualClock, *, live: int = LIVE) -> tuple[list[Outcome], Shelf]:
    """A command of more jobs than may be live at once, an outage once so many of them are, and afterwards the same
    command again where the first one did not wait for so long.
    """
    shelf = Indexed()
    cloud = beside(sky)
    jobs: list[Job] = [job(f"j{number}", target=CLOUD, shots=number + 1) for number in range(LIVE + WAITING)]

    def command() -> Apply:
        return Apply(
            store=shelf,
            connect=lambda connection: cloud,
            capabilities=lambda name: CAPABILITIES,
            content=lambda program: SOURCE,
            policy=Policy(),
            emit=lambda event: None,
            clock=clock,
            traffic=Traffic(lambda connection: Limits(live=LIVE)),
        )

    async def weather(outage: Answer) -> None:
        while len(sky.submits) < live:
            await clock.sleep(LATENCY)
        sky.outage, sky.before = outage, len(sky.submits)
        await clock.sleep(OUTAGE)
        sky.outage = None
        while True:
            await clock.sleep(1)
            sky.finish()

    async def all_of_it() -> list[Outcome]:
        outage, sky.outage = sky.outage, None
        assert outage is not None
        turns = asyncio.create_task(weather(outage))
        ends = [await command().run(jobs)]
        if ends[0].postponed:
            await clock.sleep(OUTAGE)
            ends.append(await command().run(jobs))
        turns.cancel()
        return ends

    return clock.run(all_of_it()), shelf


OUTAGES: dict[str, tuple[Answer, float]] = {
    "refused": (refused, 0),
    "silent": (silent, 0),
    "broken": (broken, 0),
    "broken, for 2 minutes": (asking_for(503, 120), 120),
    "limited, for 3 minutes": (asking_for(429, 180), 180),
    "limited, for 1 hour": (asking_for(429, 3600), 3600),
}


@pytest.mark.parametrize(("outage", "asked"), OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("live", [LIVE, LIVE // 2], ids=["while all wait", "while half of them are sent"])
def test_a_provider_that_is_down_is_left_alone_and_a_thousand_jobs_go_on_afterwards(
    outage: Answer, asked: float, live: int
) -> None:
    clock = VirtualClock()
    sky = Sky(clock=clock, outage=outage)

    ends, shelf = through(sky, clock, live=live)

    assert live <= sky.before < live + 64
    rests = sky.rests()
    assert len(rests) > 1
    assert min(since for since, _ in rests) >= asked
    assert min(since for _, since in rests) >= 5.0
    assert {record.phase for record in shelf.records} == {Phase.SUCCEEDED}
    assert len(shelf.records) == len(sky.submits) == len(set(sky.submits)) == LIVE + WAITING
    assert (ends[-1].held, ends[-1].left) == ({}, [])
    assert len(ends) == (2 if asked > LONGEST and live < LIVE else 1)
