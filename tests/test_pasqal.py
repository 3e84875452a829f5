"""Jobs on Pasqal Cloud from their submit to their results, through a socket, on the stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from qrun.connection import Access, Connection
from qrun.errors import Denied, Rejected, Uncertain
from qrun.job import Job, rendered
from qrun.provider import Filters, Found, Labels, Marks
from qrun.providers.pasqal import connect
from qrun.providers.pasqal.provider import Pasqal
from qrun.record import Handle, Phase
from tests.emulator_pasqal import PARAMETRIZED, Cloud, shared
from tests.pasqal import MARK, MARKER, Basket, Pen, job, submission
from tests.programs import Waiting


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    account = shared().new_account()
    yield account
    account.close()


@pytest.fixture
def slow() -> Iterator[Cloud]:
    """An account whose batches never leave the queue by themselves."""
    account = shared().new_account(queue_delay=3600.0)
    yield account
    account.close()


def provider(cloud: Cloud, **settings: Any) -> Pasqal:
    places = {"core_url": cloud.core, "account_url": f"{cloud.url}/account", "token_url": cloud.token_url}
    login = {"username": cloud.username, "password": object(), "project_id": cloud.project}
    connection = Connection(name="atoms", provider="pasqal", settings={**places, **login, **settings})
    return connect(connection, Access(reveal=lambda _: cloud.token))


def run(cloud: Cloud, what: Callable[[Pasqal], Awaitable[Any]], **settings: Any) -> Any:
    async def go() -> Any:
        pasqal = provider(cloud, **settings)
        try:
            return await what(pasqal)
        finally:
            await pasqal.aclose()

    return asyncio.run(go())


def swept(*omegas: float, **rest: Any) -> list[Job]:
    """One job for each value."""
    return [job(f"job-{at}", program=PARAMETRIZED, params={"omega": value}, **rest) for at, value in enumerate(omegas)]


async def send(pasqal: Pasqal, jobs: Sequence[Job], pen: Pen | None = None, container: str | None = None) -> Any:
    prepared = await pasqal.prepare(submission(*jobs, container=container))
    return await pasqal.submit(prepared, pen or Pen())


async def finish(pasqal: Pasqal, handles: Sequence[Handle]) -> tuple[Mapping[Handle, Phase | None], Basket]:
    waiting, basket, ends = Waiting(), Basket(), {}
    waiting.add(*handles)
    async for handle, status in pasqal.watch(waiting):
        if status.phase is not None and status.phase.final:
            waiting.drop(handle)
            ends[handle] = status.phase
        if not waiting.names:
            break
    await pasqal.fetch([handle for handle in handles if ends[handle] is Phase.SUCCEEDED], basket)
    return ends, basket


def batch(handle: Handle) -> Handle:
    return Handle(handle.partition("/")[0])


def test_a_sweep_is_sent_watched_and_brought_home(cloud: Cloud) -> None:
    jobs = swept(*(at / 100 for at in range(100)))

    async def story(pasqal: Pasqal) -> list[Any]:
        handles = await send(pasqal, jobs)
        ends, basket = await finish(pasqal, handles)
        assert set(ends.values()) == {Phase.SUCCEEDED}
        programs = {program.sha256: program.content or b"" for program in jobs[0].programs}
        raw = [{**programs, **basket.files[handle]} for handle in handles]
        return [pasqal.read(rendered(one), each) for one, each in zip(jobs, raw, strict=True)]

    results = run(cloud, story)

    assert [result["counts"].get("11", 0) for result in results] == list(range(100))
    assert results[1]["bits"] == ["left", "right"]
    assert results[1]["shots"] == 100


def test_what_is_found_inspected_and_listed_is_what_was_prepared(cloud: Cloud) -> None:
    jobs = swept(0.25, 0.5, options={"configuration": {"with_noise": False}})

    async def story(pasqal: Pasqal) -> Any:
        prepared = await pasqal.prepare(submission(*jobs))
        handles = await pasqal.submit(prepared, Pen())
        found = await pasqal.find(Marks(mark=MARK, marker=MARKER))
        listed = [each async for each in pasqal.list(Filters())]
        inspected = [(await pasqal.inspect(handle)).payload for handle in handles]
        return handles, list(prepared.payloads), found, inspected, listed

    handles, payloads, found, inspected, listed = run(cloud, story)

    assert [each.handle for each in found] == handles
    assert [each.payload for each in found] == payloads == inspected
    assert {each.handle for each in listed} == set(handles)


def test_a_job_comes_back_as_it_was_sent(cloud: Cloud) -> None:
    (one,) = swept(0.25, tags=("team",), options={"configuration": {"with_noise": True}})

    async def story(pasqal: Pasqal) -> Any:
        (handle,) = await send(pasqal, [one])
        return await pasqal.recall(batch(handle))

    recalled = run(cloud, story)

    assert recalled.fields == {
        "device": "EMU_FREE",
        "kind": "pulse",
        "shots": 100,
        "params": {"omega": 0.25},
        "options": {"configuration": {"with_noise": True}},
        "tags": ["team"],
    }
    assert recalled.programs == (("sequence.json", PARAMETRIZED.encode()),)


def test_a_job_that_cannot_run_fails_by_itself_with_the_words_of_the_cloud(cloud: Cloud) -> None:
    async def story(pasqal: Pasqal) -> Any:
        handles = await send(pasqal, swept(0.25, -1.0))
        ends, _ = await finish(pasqal, handles)
        return [ends[handle] for handle in handles]

    assert run(cloud, story) == [Phase.SUCCEEDED, Phase.FAILED]


def test_an_open_batch_is_joined_closed_and_takes_no_more(cloud: Cloud) -> None:
    async def story(pasqal: Pasqal) -> Any:
        (first,) = await send(pasqal, swept(0.25, open=True))
        was_open = await pasqal.opened(batch(first))
        joined = await send(pasqal, swept(0.5, 0.75), container=batch(first))
        ends, _ = await finish(pasqal, [first, *joined])
        await pasqal.close(batch(first))
        await pasqal.close(batch(first))
        with pytest.raises(Rejected):
            await send(pasqal, swept(0.9), container=batch(first))
        return was_open, await pasqal.opened(batch(first)), set(ends.values()), {batch(one) for one in joined}, first

    was_open, is_open, phases, batches, first = run(cloud, story)

    assert (was_open, is_open) == (True, False)
    assert phases == {Phase.SUCCEEDED}
    assert batches == {batch(first)}


@pytest.mark.parametrize("kind", ["reset-after", "504-after", "truncated", "html-after", "close-after"])
def test_a_batch_whose_answer_is_lost_is_there_once_and_is_found(cloud: Cloud, kind: str) -> None:
    jobs = swept(0.25, 0.5)

    async def story(pasqal: Pasqal) -> Any:
        prepared = await pasqal.prepare(submission(*jobs))
        cloud.faults(f"POST /api/v1/batches: {kind} x1")
        with pytest.raises(Uncertain):
            await pasqal.submit(prepared, Pen())
        return prepared.payloads, await pasqal.find(Marks(mark=MARK, marker=MARKER))

    payloads, found = run(cloud, story)

    assert [each.payload for each in found] == list(payloads)
    assert len({batch(each.handle) for each in found}) == 1


def test_jobs_that_joined_and_whose_answer_is_lost_are_found_beyond_the_number(cloud: Cloud) -> None:
    jobs = swept(0.5, 0.75)

    async def story(pasqal: Pasqal) -> Any:
        (first,) = await send(pasqal, swept(0.25, open=True))
        pen = Pen()
        prepared = await pasqal.prepare(submission(*jobs, container=batch(first)))
        cloud.faults("POST /api/v2/batches/*/jobs: reset-after x1")
        with pytest.raises(Uncertain):
            await pasqal.submit(prepared, pen)
        marks = Marks(mark=MARK, step="join", container=batch(first), noted=pen.noted)
        return prepared.payloads, await pasqal.find(marks)

    payloads, found = run(cloud, story)

    assert [each.payload for each in found] == list(payloads)


def test_jobs_are_cancelled_one_by_one_several_at_once_and_whole_batches_together(slow: Cloud) -> None:
    async def story(pasqal: Pasqal) -> Any:
        one = await send(pasqal, swept(0.1, 0.2, 0.3, 0.4))
        two = await send(pasqal, swept(0.1, 0.2))
        three = await send(pasqal, swept(0.1))
        answers = [await pasqal.cancel(one[:1]), await pasqal.cancel(one[1:3]), await pasqal.cancel([*two, *three])]
        found: Sequence[Found] = await pasqal.find(Marks(mark=MARK))
        return answers, {each.handle: each.word for each in found}, one[3]

    answers, words, left = run(slow, story)

    assert all(words is None for answer in answers for words in answer.values())
    assert [handle for handle, word in words.items() if word != "CANCELED"] == [left]
    assert words[left] == "PENDING"


def test_failed_jobs_run_once_more_and_are_found_by_their_parent(cloud: Cloud) -> None:
    async def story(pasqal: Pasqal) -> Any:
        handles = await send(pasqal, swept(0.25, -1.0))
        await finish(pasqal, handles)
        pen = Pen()
        made = await pasqal.again(handles[1:], pen)
        found = await pasqal.find(Marks(mark=MARK, step="rebatch", container=batch(handles[0]), noted=pen.noted))
        return made, found, await pasqal.copies(handles), handles

    made, found, copies, handles = run(cloud, story)

    assert [each.handle for each in found] == made
    assert batch(made[0]) != batch(handles[0])
    assert found[0].payload is not None
    assert copies == {handles[0]: [], handles[1]: made}


def test_labels_replace_the_tags_of_a_batch(cloud: Cloud) -> None:
    async def story(pasqal: Pasqal) -> Any:
        (handle,) = await send(pasqal, swept(0.25, tags=("old",)))
        await pasqal.relabel(batch(handle), Labels(markers=(MARKER,), mark=MARK, tags=("new",)))
        return [each async for each in pasqal.list(Filters(tags=("new",)))], handle

    found, handle = run(cloud, story)

    assert [(each.handle, each.marker, each.tags) for each in found] == [(handle, MARKER, ("new",))]


def test_a_workload_goes_its_own_way(cloud: Cloud) -> None:
    asked = job(kind="workload", device="pyqtorch", program='{"n": 1}', options={"workload_type": "qadence_circuit"})

    async def story(pasqal: Pasqal) -> Any:
        prepared = await pasqal.prepare(submission(asked))
        (handle,) = await pasqal.submit(prepared, Pen())
        ends, basket = await finish(pasqal, [handle])
        found = await pasqal.inspect(handle)
        return ends[handle], found.payload == prepared.payloads[0], pasqal.read(rendered(asked), basket.files[handle])

    phase, same, result = run(cloud, story)

    assert (phase, same) == (Phase.SUCCEEDED, True)
    assert isinstance(result["result"], dict)


def test_the_devices_are_told_with_their_limits(cloud: Cloud) -> None:
    devices = {each.device: each for each in run(cloud, lambda pasqal: pasqal.devices())}

    assert devices["FRESNEL"].qubits
    assert devices["FRESNEL"].status == "UP"
    assert devices["FRESNEL"].facts["specs"]["max_runs"]


def test_a_wrong_password_is_told_in_the_words_of_the_cloud(cloud: Cloud) -> None:
    async def story(pasqal: Pasqal) -> None:
        await pasqal.find(Marks(mark=MARK))

    with pytest.raises(Denied, match=r"Wrong email or password\."):
        run(cloud, story, username="nobody@example.org")
