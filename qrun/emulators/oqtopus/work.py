"""A job's way through a device: transpiled, begun, computed, and its outputs laid down; or how it failed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qrun.emulators.engine import Engine, EngineError, seed_of
from qrun.emulators.oqtopus.devices import Device
from qrun.emulators.oqtopus.jobs import Job
from qrun.emulators.oqtopus.payload import (
    Payload,
    PayloadError,
    of_parts,
    payload,
    result,
    rewritten,
    task,
    transpiles,
)
from qrun.emulators.oqtopus.shown import key
from qrun.emulators.packing import packed
from qrun.emulators.qasm import Unwritten, counted, written
from qrun.emulators.sandbox import Sandbox, ScriptError
from qrun.emulators.storage import Blob
from qrun.providers.local.openqasm.circuit import Circuit

MANY: Final = 20_000  # shots that are joined beside the loop, not in it


@dataclass(frozen=True, kw_only=True, slots=True)
class Workshop:
    """`run_time` says how long a job stays in running at least; `ended` is told once a job rests."""

    engine: Engine
    sandbox: Sandbox
    blobs: dict[str, Blob]
    devices: Mapping[str, Device]
    seed: str
    run_time: Callable[[Job], float]
    ended: Callable[[Job], None]

    async def run(self, job: Job) -> None:
        """Takes a job that is ready; one that was cancelled while it waited is left alone."""
        if job.status != "ready":
            return
        try:
            given = await self._opened(job)
            if job.fails is not None and job.fails_early:
                raise EngineError(job.fails)
            await self._transpiled(job, given)
        except (PayloadError, EngineError) as error:
            self._fail(job, str(error))
            return
        if job.status != "ready":
            return
        job.status, job.running = "running", time.time()
        job.starts += 1
        if job.stuck:
            return
        try:
            outputs = await self._computed(job, given)
            await asyncio.sleep(max(0.0, self.run_time(job) + job.running - time.time()))
            if job.fails is not None:
                raise EngineError(job.fails)
        except (PayloadError, EngineError, ScriptError) as error:
            self._fail(job, str(error))
        else:
            self._succeed(job, outputs)

    async def _opened(self, job: Job) -> Payload:
        data = self.blobs.get(key(job, "input"), b"")
        assert isinstance(data, bytes)
        return payload(data, job.job_type or "")

    async def _transpiled(self, job: Job, given: Payload) -> None:
        """Reads the programs; the row is given what the transpiler was really told."""
        assert job.transpiler_info is not None
        if given.script is not None:
            return
        circuits = await self.engine.circuits(given.programs)
        self._fits(job, circuits)
        transpiled = transpiles(job.transpiler_info)
        if transpiled and "transpiler_options" not in rewritten(job.transpiler_info):
            raise EngineError("'transpiler_options'")
        job.transpiler_info = rewritten(job.transpiler_info)
        if job.job_type == "multi_manual":
            self._put(job, "combined_program", lambda: packed("combined_program", _program(given, circuits)))
        if transpiled:
            self._put(
                job, "transpile_result", lambda: packed("transpile_result.json", _transpile_result(given, circuits))
            )

    def _fits(self, job: Job, circuits: Sequence[Circuit]) -> None:
        limit = self.devices[job.device_id or ""].limit
        needed = sum(len(circuit.qubits) for circuit in circuits)
        if needed > limit:
            raise EngineError(f"the program needs {needed} qubits, and {job.device_id} has {limit}")

    async def _computed(self, job: Job, given: Payload) -> dict[str, bytes]:
        assert job.job_type is not None
        assert job.shots is not None
        if given.script is not None:
            return await self._script(job, given.script)
        found = await self._result(job.job_type, given, job.shots, seed_of(self.seed, job.number))
        return {"result": packed("result.json", json.dumps(found).encode())}

    async def _result(self, job_type: str, given: Payload, shots: int, seed: int) -> dict[str, Any]:
        found = await self.engine.run(task(job_type, given, shots, seed))
        if job_type == "multi_manual" and shots * len(given.programs) > MANY:
            return await asyncio.to_thread(result, job_type, found, seed)
        return result(job_type, found, seed)

    async def _script(self, job: Job, script: str) -> dict[str, bytes]:
        """The last job that the script asks for gives the result; what it prints is the log."""
        last: dict[str, Any] = {}
        asked = 0

        async def submit(request: Mapping[str, Any]) -> dict[str, Any]:
            nonlocal asked, last
            asked += 1
            given = of_parts(request["job_type"], request.get("program"), request.get("operator"))
            circuits = await self.engine.circuits(given.programs)
            self._fits(job, circuits)
            seed = seed_of(self.seed, job.number, asked)
            last = await self._result(request["job_type"], given, request["shots"], seed)
            return last | {"transpile_result": json.loads(_transpile_result(given, circuits))}

        log = await self.sandbox.run(script, _guarded(submit))
        outputs = {"sse_log": packed("sse_runtime.log", log)}
        return outputs | ({"result": packed("result.json", json.dumps(last).encode())} if last else {})

    # --- how it ends ----------------------------------------------------------------------------------------------

    def _put(self, job: Job, name: str, blob: Blob) -> None:
        """Nothing more for a job that was cancelled; it may be deleted by now."""
        if job.status == "cancelled":
            return
        self.blobs[key(job, name)] = blob
        job.outputs.append(name)

    def _succeed(self, job: Job, outputs: Mapping[str, bytes]) -> None:
        """A job that was cancelled meanwhile has no result."""
        if job.status != "running":
            return
        assert job.running is not None
        for name, content in outputs.items():
            self._put(job, name, content)
        job.ended = time.time()
        job.execution_time = round(job.ended - job.running, 3)
        job.status = "succeeded"
        self.ended(job)

    def _fail(self, job: Job, message: str) -> None:
        if job.status not in ("ready", "running"):
            return
        job.ended = time.time()
        if job.running is not None:
            job.execution_time = round(job.ended - job.running, 3)
        job.message = message
        job.status = "failed"
        self.ended(job)


def _guarded(submit: Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]) -> Callable[..., Awaitable[Any]]:
    """A job of a script that fails is the script's to deal with."""

    async def guarded(request: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"result": await submit(request)}
        except (PayloadError, EngineError) as error:
            return {"error": str(error)}

    return guarded


def _program(given: Payload, circuits: Sequence[Circuit]) -> bytes:
    try:
        return written(circuits).encode()
    except Unwritten:
        return "\n".join(given.programs).encode()


def _transpile_result(given: Payload, circuits: Sequence[Circuit]) -> bytes:
    qubits = sum(len(circuit.qubits) for circuit in circuits)
    bits = sum(len(circuit.bits) or len(circuit.qubits) for circuit in circuits)
    counts = counted(circuits)
    mapping = {
        "qubit_mapping": {str(number): number for number in range(qubits)},
        "bit_mapping": {str(number): number for number in range(bits)},
    }
    found = {
        "transpiled_program": _program(given, circuits).decode(),
        "stats": {"before": {"n_qubits": qubits, **counts}, "after": {"n_qubits": qubits, **counts}},
        "virtual_physical_mapping": mapping,
    }
    return json.dumps(found).encode()
