"""The provider `local` as `apply` uses it: a pool of workers that can be killed, limited and outlived by nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from qrun.connection import Access, Connection
from qrun.errors import Missing, Rejected, SettingsError
from qrun.provider import Marks, Submission
from qrun.providers.local import CAPABILITIES, connect
from qrun.providers.local.provider import Local
from qrun.record import Handle, Phase
from tests.programs import Asked, Basket, Outcome, Pen, Waiting, ask, finish, run, send, text

TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
ROOT = Path(__file__).parent.parent


def endless() -> str:
    """A dense circuit that keeps a worker busy for longer than any test waits."""
    gates = [
        f"u3({0.1 + layer * 0.37 + qubit * 0.11},{0.2 + layer * 0.23},{qubit * 0.7 + 0.3}) q[{qubit}];\n"
        f"cx q[{qubit}], q[{(qubit + layer % 23 + 1) % 24}];\n"
        for layer in range(60)
        for qubit in range(24)
    ]
    return TWO + "qreg q[24];\ncreg c[24];\n" + "".join(gates) + "measure q -> c;\n"


def local(**settings: Any) -> Local:
    return connect(Connection(name="local", provider="local", settings=settings), Access())


def prepared(asked: Asked) -> None:
    submission = Submission(connection="local", jobs=(asked.job,), attempts=(1,), programs=asked.contents)
    asyncio.run(local().prepare(submission))


def refusal(asked: Asked) -> str:
    with pytest.raises(Rejected) as caught:
        prepared(asked)
    return str(caught.value)


def children(parent: int) -> list[int]:
    """The workers that this process has started and that still run; it may have started others."""
    try:
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [int(pid) for pid in found if alive(int(pid)) and works(int(pid))]


def works(pid: int) -> bool:
    try:
        return b"qrun.providers.local.worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def run_until(asked: dict[str, Asked], act: Any, *, workers: int = 1) -> dict[str, Outcome]:
    """Sends the jobs by their markers; `act(local, handle)` is called once the job "busy" runs."""

    async def go() -> dict[str, Outcome]:
        provider, waiting = local(workers=workers), Waiting()
        try:
            for marker, each in asked.items():
                waiting.add(await send(provider, each, marker))
            async for handle, status in provider.watch(waiting):
                if handle == "busy" and status.running:
                    break
            await act(provider, Handle("busy"))
            outcomes = await finish(provider, waiting)
        finally:
            await provider.aclose()
        return {str(handle): outcome for handle, outcome in outcomes.items()}

    return asyncio.run(asyncio.wait_for(go(), 60))


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@linux
def test_a_killed_worker_fails_its_job_and_no_other() -> None:
    async def kill(provider: Local, handle: Handle) -> None:
        for pid in children(os.getpid()):
            os.kill(pid, signal.SIGKILL)

    outcomes = run_until({"busy": ask(endless()), "next": ask(text("bell.qasm"))}, kill)

    assert (outcomes["busy"].status.phase, outcomes["busy"].status.word) == (Phase.FAILED, "crashed")
    assert outcomes["busy"].status.message == (
        "the worker was ended by signal 9 (SIGKILL); "
        "it was killed from outside, perhaps because the machine ran out of memory"
    )
    assert outcomes["next"].status.phase is Phase.SUCCEEDED


@linux
def test_cancelling_stops_the_process_that_runs_the_job_and_another_goes_on() -> None:
    stopped: list[int] = []

    async def cancel(provider: Local, handle: Handle) -> None:
        stopped.extend(children(os.getpid()))
        assert await provider.cancel([handle]) == {handle: None}

    outcomes = run_until({"busy": ask(endless()), "next": ask(text("bell.qasm"))}, cancel)

    assert outcomes["busy"].status.phase is Phase.CANCELLED
    assert outcomes["next"].status.phase is Phase.SUCCEEDED
    assert len(stopped) == 1
    assert not alive(stopped[0])


def test_a_job_that_waits_is_cancelled_without_ever_running() -> None:
    async def cancel(provider: Local, handle: Handle) -> None:
        assert await provider.cancel([Handle("waits"), handle]) == {"waits": None, handle: None}

    outcomes = run_until({"busy": ask(endless()), "waits": ask(text("bell.qasm"))}, cancel)

    assert outcomes["waits"].status.phase is Phase.CANCELLED
    assert outcomes["busy"].status.phase is Phase.CANCELLED


def test_what_has_ended_or_never_was_cannot_be_cancelled() -> None:
    async def go() -> dict[Handle, str | None]:
        provider, waiting = local(workers=1), Waiting()
        try:
            handle = await send(provider, ask(text("bell.qasm")), "done")
            waiting.add(handle)
            async for _, status in provider.watch(waiting):
                if status.phase is Phase.SUCCEEDED:
                    break
            return dict(await provider.cancel([handle, Handle("never")]))
        finally:
            await provider.aclose()

    assert asyncio.run(go()) == {"done": "it has already ended", "never": "it does not run in this process"}


@linux
def test_closing_leaves_no_process_behind() -> None:
    async def go() -> list[int]:
        provider, waiting, running = local(workers=2), Waiting(), set()
        for marker in ("a", "b"):
            waiting.add(await send(provider, ask(endless()), marker))
        async for handle, _ in provider.watch(waiting):
            running.add(handle)
            if len(running) == 2:
                break
        started = children(os.getpid())
        await provider.aclose()
        return started

    started = asyncio.run(go())

    assert len(started) == 2
    assert not any(alive(pid) for pid in started)


@linux
def test_workers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.test_local_provider import *\n"
        "async def go():\n"
        "    provider, waiting = local(workers=1), Waiting()\n"
        "    waiting.add(await send(provider, ask(endless()), 'busy'))\n"
        "    async for handle, status in provider.watch(waiting):\n"
        "        print('running', flush=True)\n"
        "asyncio.run(go())\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "running\n"
        workers = children(parent.pid)

        parent.kill()
        parent.wait()

    assert len(workers) == 1
    deadline = time.monotonic() + 10
    while alive(workers[0]) and time.monotonic() < deadline:
        os.sched_yield()
    assert not alive(workers[0])


@linux
def test_there_are_never_more_workers_than_jobs_or_settings_allow() -> None:
    async def go() -> list[int]:
        provider, waiting = local(workers=2), Waiting()
        seen = [len(children(os.getpid()))]
        try:
            waiting.add(await send(provider, ask(text("bell.qasm")), "first"))
            await finish(provider, waiting)
            seen.append(len(children(os.getpid())))
            for place in range(20):
                waiting.add(await send(provider, ask(text("bell.qasm")), f"m{place}"))
            await finish(provider, waiting)
            seen.append(len(children(os.getpid())))
        finally:
            await provider.aclose()
        return seen

    assert asyncio.run(go()) == [0, 1, 2]


def test_a_simulation_that_outgrows_its_memory_fails_alone() -> None:
    entangled = TWO + "qreg a[30]; qreg b[30]; creg c[1]; ry(0.7) a; cx a, b; measure a[0] -> c[0];"

    outgrown, after = run(ask(entangled), ask(text("bell.qasm")), memory="256 MiB")

    assert outgrown.status.phase is Phase.FAILED
    assert outgrown.status.message == (
        "the simulation needs more memory than the 256 MiB that a worker may take (device ddsim); "
        "try device: aer with method: matrix_product_state, or raise memory in the connection"
    )
    assert after.status.phase is Phase.SUCCEEDED


def test_news_of_a_handle_waits_until_it_is_watched() -> None:
    async def go() -> list[Phase | None]:
        provider, waiting, other = local(workers=1), Waiting(), Waiting()
        try:
            other.add(await send(provider, ask(text("bell.qasm")), "other"))
            handle = await send(provider, ask(text("bell.qasm")), "late")
            await finish(provider, other)

            async def later() -> None:
                waiting.add(handle)

            task = asyncio.create_task(later())
            phases = [outcome.status.phase for outcome in (await finish(provider, waiting)).values()]
            await task
            return phases
        finally:
            await provider.aclose()

    assert asyncio.run(asyncio.wait_for(go(), 60)) == [Phase.SUCCEEDED]


def test_a_handle_of_another_process_is_lost() -> None:
    async def go() -> dict[Handle, Outcome]:
        provider, waiting = local(), Waiting()
        waiting.add(Handle("qr1other"))
        return await finish(provider, waiting)

    outcomes = asyncio.run(go())

    assert outcomes[Handle("qr1other")].status.phase is Phase.LOST
    assert outcomes[Handle("qr1other")].status.message == "it does not run in this process"


def test_members_of_one_submission_have_handles_and_seeds_of_their_own() -> None:
    async def go() -> dict[Handle, Outcome]:
        provider, waiting = local(workers=1), Waiting()
        first, second = ask(text("bell.qasm"), key="a"), ask(text("bell.qasm"), key="b")
        jobs = (first.job, second.job)
        try:
            submission = Submission(connection="local", jobs=jobs, attempts=(1, 1), programs=first.contents)
            waiting.add(*await provider.submit(await provider.prepare(submission), Pen("qr1x")))
            return await finish(provider, waiting)
        finally:
            await provider.aclose()

    outcomes = asyncio.run(go())

    assert sorted(outcomes) == ["qr1x#0", "qr1x#1"]
    assert outcomes[Handle("qr1x#0")].results != outcomes[Handle("qr1x#1")].results


def test_nothing_outlives_the_process() -> None:
    async def go() -> tuple[Any, dict[Handle, str]]:
        provider, basket = local(), Basket()
        await provider.fetch([Handle("old")], basket)
        with pytest.raises(Missing):
            await provider.inspect(Handle("old"))
        return await provider.find(Marks(mark="qrx")), basket.lost

    assert asyncio.run(go()) == ((), {"old": "it did not run in this process"})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ask('OPENQASM 2.0;\n  include "/etc/passwd";'),
            'programs/x.qasm:2:3: include of "/etc/passwd" is refused; '
            "only qelib1.inc and stdgates.inc are known; put the gates into the program itself",
        ),
        (ask(b"\xff\xfe"), "programs/x.qasm:1:1: the program is not UTF-8 text"),
        (
            ask(text("rotation.qasm")),
            'programs/x.qasm:3:13: input "theta" has no value; give it under params: theta',
        ),
        (
            ask(text("rotation.qasm"), params={"theta": 1, "phi": 2}),
            "job.params.phi: the program has no such input; its inputs are theta",
        ),
        (
            ask(text("bell.qasm"), params={"phi": 2}),
            "job.params.phi: the program has no such input; it declares no input",
        ),
        (
            ask(text("bell.qasm"), device="dsim"),
            'job.device: there is no device "dsim"; choose one of ddsim, aer, pulser',
        ),
        (
            ask(text("bell.qasm"), options={"method": "statevector"}),
            'job.options.method: device "ddsim" has no such option; it belongs to device aer',
        ),
        (ask(text("bell.qasm"), shots=None), "job.shots: the number of shots is needed"),
        (ask(text("bell.qasm"), text("qft.qasm")), "job.program: only one program fits; use kind: multi"),
        (
            ask(text("bell.qasm"), kind="estimation", observable=(("X0 Q1", 1.0),)),
            'job.observable: "X0 Q1" is not a product of Pauli matrices such as "X0 Z1" or "I"',
        ),
        (
            ask(text("bell.qasm"), kind="estimation", observable=(("X0 Z0", 1.0),)),
            'job.observable: "X0 Z0" names qubit 0 twice',
        ),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_refused_before_anything_runs(asked: Asked, message: str) -> None:
    assert refusal(asked) == message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "workers is 0; a whole number above 0 is needed"),
        ({"workers": "two"}, "workers is 'two'; a whole number above 0 is needed"),
        ({"memory": "much"}, "memory is 'much'; a size such as \"4 GiB\" is needed"),
        (
            {"memory": "300 MiB", "workers": 2},
            "memory is '300 MiB', too little for 2 workers; give 512 MiB or more, or fewer workers",
        ),
    ],
)
def test_settings_that_make_no_sense_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        local(**settings)

    assert str(caught.value) == message


def test_memory_is_shared_among_the_workers() -> None:
    assert local(workers=4, memory="4 GiB").memory == 2**30
    assert local(workers=2, memory=2**31).memory == 2**30


def test_devices_are_listed_with_what_they_need() -> None:
    devices = {device.device: device.status for device in asyncio.run(local().devices())}

    assert list(devices) == list(CAPABILITIES.devices or ())
    assert devices["ddsim"] == "available"
    assert devices["aer"] in ("available", "not installed: pip install 'qrun-quantum[aer]'")


def test_capabilities_load_no_library_and_no_event_loop() -> None:
    program = (
        "import sys, qrun.providers.local as local; assert local.CAPABILITIES.default_kind == 'sampling'; "
        "print(sorted({'mqt', 'asyncio', 'qiskit', 'pulser', 'numpy'} & {name.split('.')[0] for name in sys.modules}))"
    )

    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"


def test_a_thousand_jobs_all_come_back() -> None:
    outcomes = run(*[ask(text("bell.qasm"), shots=10)] * 1000, workers=2)

    assert {outcome.status.phase for outcome in outcomes} == {Phase.SUCCEEDED}
    assert {sum(outcome.results["counts"].values()) for outcome in outcomes} == {10}
