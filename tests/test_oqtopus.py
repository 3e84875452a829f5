"""The provider `oqtopus` against the stand-in on a socket: every kind, from the manifest's job to its normal form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from qrun.errors import Missing, Rejected
from qrun.provider import Filters, Marks, Status, Submission
from qrun.providers.oqtopus.provider import Oqtopus
from qrun.record import Handle, Phase
from tests.emulator import Emulator, shared
from tests.oqtopus import BELL, MARK, MARKER, Basket, Pen, provider, sent, submission
from tests.programs import Waiting

FAILING = BELL.replace("cx q[0], q[1];", "nonsense q[0];")


@pytest.fixture
def account() -> Iterator[Emulator]:
    made = shared().new_account()
    yield made
    made.close()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    handle: Handle
    status: Status
    files: Mapping[str, bytes]
    results: Mapping[str, Any]


def with_provider(account: Emulator, act: Callable[[Oqtopus], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        oqtopus = provider(url=account.url, token=account.token)
        try:
            return await act(oqtopus)
        finally:
            await oqtopus.aclose()

    return asyncio.run(asyncio.wait_for(go(), 60))


async def finish(oqtopus: Oqtopus, wanted: Mapping[Handle, Submission]) -> dict[Handle, Outcome]:
    waiting, basket, ends = Waiting(), Basket(), dict[Handle, Status]()
    waiting.add(*wanted)
    async for handle, status in oqtopus.watch(waiting):
        assert status.error is None
        if status.phase is not None and status.phase.final:
            waiting.drop(handle)
            ends[handle] = status
        if not waiting.names:
            break
    await oqtopus.fetch([handle for handle, status in ends.items() if status.phase is Phase.SUCCEEDED], basket)
    assert basket.lost == {}
    return {h: outcome(oqtopus, h, status, wanted[h], basket.files.get(h, {})) for h, status in ends.items()}


def outcome(
    oqtopus: Oqtopus, handle: Handle, status: Status, wanted: Submission, files: Mapping[str, bytes]
) -> Outcome:
    job = wanted.jobs[0]
    rendered = {"kind": job.kind, "program": [{"sha256": program.sha256} for program in job.programs]}
    results = oqtopus.read(rendered, {**wanted.programs, **files}) if files else {}
    return Outcome(handle=handle, status=status, files=files, results=results)


def run(account: Emulator, *wanted: Submission) -> list[Outcome]:
    async def go(oqtopus: Oqtopus) -> list[Outcome]:
        handles = [await sent(oqtopus, wanted=each) for each in wanted]
        ended = await finish(oqtopus, dict(zip(handles, wanted, strict=True)))
        return [ended[handle] for handle in handles]

    found: list[Outcome] = with_provider(account, go)
    return found


# --- the four kinds ---------------------------------------------------------------------------------------------------


def test_a_sampled_program_brings_counts_named_by_its_own_registers(account: Emulator) -> None:
    text = BELL.replace("bit[2] c;", "bit a;\nbit b;").replace("c = measure q;", "a = measure q[0];\nb = measure q[1];")

    (bell,) = run(account, submission(text, shots=500))

    assert bell.results["bits"] == ["b", "a"]
    assert set(bell.results["counts"]) == {"00", "11"}
    assert (bell.results["shots"], sum(bell.results["counts"].values())) == (500, 500)
    assert set(bell.files) == {"job.json", "result.json", "transpile_result.json"}
    assert set(bell.status.provided) == {"submitted", "ready", "running", "ended", "execution_time"}


def test_several_programs_bring_a_part_each_in_their_order(account: Emulator) -> None:
    one = "OPENQASM 3.0;\nqubit[1] q;\nbit[1] first;\nx q[0];\nfirst = measure q;\n"
    one = one.replace("OPENQASM 3.0;\n", 'OPENQASM 3.0;\ninclude "stdgates.inc";\n')

    (both,) = run(account, submission(one, BELL, kind="multi"))

    first, second = both.results["parts"]
    assert first == {"bits": ["first[0]"], "counts": {"1": 100}, "shots": 100}
    assert second["bits"] == ["c[1]", "c[0]"]
    assert both.files["combined_program.qasm"].startswith(b"OPENQASM")


def test_an_observable_brings_its_value(account: Emulator) -> None:
    (energy,) = run(account, submission(kind="estimation", observable=(("Z0 Z1", 1.0), ("I", 0.5)), shots=1000))

    assert energy.results == {"value": 1.5, "std_error": 0.0, "shots": 1000}


def test_a_script_brings_its_log(account: Emulator) -> None:
    async def go(oqtopus: Oqtopus) -> Any:
        wanted = submission('print("hello from inside")\n', kind="sse", path="run.py")
        handle = await sent(oqtopus, wanted=wanted)
        ended = await finish(oqtopus, {handle: wanted})
        return ended[handle], [log async for log in oqtopus.logs(handle)]

    ended, (log,) = with_provider(account, go)

    assert ended.results == {}
    assert (log.name, log.data) == ("sse_log.txt", b"hello from inside\n")
    assert ended.files["sse_log.txt"] == log.data


def test_what_fails_there_says_why(account: Emulator) -> None:
    good, bad = run(account, submission(), submission(FAILING))

    assert good.status.phase is Phase.SUCCEEDED
    assert bad.status.phase is Phase.FAILED
    assert bad.status.message


def test_a_job_without_transpiling_has_no_transpiled_program(account: Emulator) -> None:
    (bell,) = run(account, submission(options={"transpiler_info": {"transpiler_lib": None}}))

    assert "transpile_result.json" not in bell.files
    assert set(bell.results["counts"]) == {"00", "11"}


# --- the account's books ----------------------------------------------------------------------------------------------


def test_what_is_sent_is_found_by_its_marks_and_is_what_was_prepared(account: Emulator) -> None:
    async def go(oqtopus: Oqtopus) -> Any:
        wanted = submission(description="a bell state", options={"transpiler_info": {}})
        prepared = await oqtopus.prepare(wanted)
        (handle,) = await oqtopus.submit(prepared, Pen())
        await finish(oqtopus, {handle: wanted})
        hits = await oqtopus.find(Marks(mark=MARK, marker=MARKER))
        return handle, prepared.payloads[0], hits, await oqtopus.inspect(handle), await oqtopus.recall(handle)

    handle, payload, (hit,), inspected, recalled = with_provider(account, go)

    assert (hit.handle, hit.marker, hit.mark) == (handle, MARKER, MARK)
    assert inspected.payload == payload
    assert recalled.programs == (("program.qasm", BELL.encode()),)
    assert recalled.fields == {"device": "qulacs", "kind": "sampling", "shots": 100, "description": "a bell state"}
    assert account.markers() == {MARKER: {"jobs": 1, "submitted": 1, "started": 1}}


# Each at the step that it names; what the books must say afterwards is always the same.
FAULTS = [
    f"POST {step}: {kind} x1"
    for step in ("/jobs", "/jobs/*/submit")
    for kind in (
        "500-before",
        "500-after",
        "reset-before",
        "reset-after",
        "close-after",
        "truncated",
        "html-after",
        "replay",
    )
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_step_ends_in_one_job_that_ran_once(account: Emulator, fault: str) -> None:
    account.faults(fault)

    (bell,) = run(account, submission())

    assert account.struck() == [1]
    assert account.markers() == {MARKER: {"jobs": 1, "submitted": 1, "started": 1}}
    assert bell.status.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("kind", ["503-before", "reset-after", "truncated"])
def test_a_fault_of_the_storage_is_repeated_away(account: Emulator, kind: str) -> None:
    account.faults(f"POST /emulator-jobs: {kind} x1", f"GET /emulator-jobs/*: {kind} x1")

    (bell,) = run(account, submission())

    assert account.struck() == [1, 1]
    assert set(bell.results["counts"]) == {"00", "11"}
    assert account.markers() == {MARKER: {"jobs": 1, "submitted": 1, "started": 1}}


def test_a_live_job_is_cancelled_and_rests_as_cancelled(account: Emulator) -> None:
    async def go(oqtopus: Oqtopus) -> Any:
        wanted = submission("import time\ntime.sleep(300)\n", kind="sse", path="run.py")
        handle = await sent(oqtopus, wanted=wanted)
        answers = await oqtopus.cancel([handle])
        again = await oqtopus.cancel([handle])
        return handle, answers, again, (await finish(oqtopus, {handle: wanted}))[handle].status

    handle, answers, again, status = with_provider(account, go)

    assert answers == again == {handle: None}
    assert (status.phase, status.word) == (Phase.CANCELLED, "cancelled")


def test_a_registration_is_left_alone_by_cancel(account: Emulator) -> None:
    orphan = Handle(account.register()["job_id"])

    answers = with_provider(account, lambda oqtopus: oqtopus.cancel([orphan]))

    assert "never submitted" in answers[orphan]
    assert account.ask("GET", "/jobs").status == 200


def test_an_orphan_that_somebody_cancelled_breaks_no_list_of_ours(account: Emulator) -> None:
    orphan = account.register()["job_id"]
    assert account.ask("POST", f"/jobs/{orphan}/cancel").status == 200
    assert account.ask("GET", "/jobs").status == 500
    handle = account.submit({"program": [BELL]}, description=f"{MARKER} {MARK}")

    async def go(oqtopus: Oqtopus) -> Any:
        return await oqtopus.find(Marks(mark=MARK)), [found async for found in oqtopus.list(Filters())]

    hits, listed = with_provider(account, go)

    assert [found.handle for found in hits] == [handle]
    assert {found.handle: found.started for found in listed} == {orphan: False, handle: True}


def test_a_job_of_somebody_else_is_missing(account: Emulator) -> None:
    other = shared().new_account()
    handle = Handle(other.submit({"program": [BELL]}))

    with pytest.raises(Missing):
        with_provider(account, lambda oqtopus: oqtopus.inspect(handle))

    other.close()


def test_devices_are_told_as_the_service_tells_them(account: Emulator) -> None:
    found = {each.device: each for each in with_provider(account, lambda oqtopus: oqtopus.devices())}

    assert found["qulacs"].status == "available"
    assert found["qpu"].facts["device_type"] == "QPU"
    assert "http" not in json.dumps(dict(found["qpu"].facts))
    with pytest.raises(Rejected, match='device "down" is unavailable; it is expected back at'):
        with_provider(account, lambda oqtopus: oqtopus.prepare(submission(device="down")))
