"""A batch's way through its device, and a workload's way through its own: begun, computed, laid down, or failed.

A QPU belongs to one batch until that batch has ended, and runs its jobs one after the other. An emulator begins every
batch at once; its jobs wait for one of so many places.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.emulators.pasqal.devices import DEVICES
from qrun.emulators.pasqal.engine import Engine, EngineError, Task
from qrun.emulators.pasqal.rows import (
    CANCELED,
    CANCELING,
    DONE,
    ERROR,
    PENDING,
    RUNNING,
    TIMED_OUT,
    Batch,
    Job,
    Work,
    Workload,
)
from qrun.emulators.storage import Blob

SLOW: Final = 0.05  # seconds from CANCELING to CANCELED
RAW: Final = 10_000  # results of more runs do not list them one by one


def key(row: Work) -> str:
    """Where the result is stored."""
    return f"{row.id}/results.json"


@dataclass(kw_only=True)
class Workshop:
    """By account: `run_time` is how long a job runs at least, `idle` how long an open batch waits for more jobs, `lane`
    with whom it shares the emulators. `rested` hears of each end.
    """

    engine: Engine
    blobs: dict[str, Blob]
    batches: Mapping[str, Batch]
    seed: str
    workers: int
    run_time: Callable[[str], float]
    idle: Callable[[str], float]
    rested: Callable[[Work], None]
    lane: Callable[[str], str]
    places: dict[tuple[str, str], asyncio.Semaphore] = field(default_factory=dict)

    # --- batches --------------------------------------------------------------------------------------------------

    async def run(self, batch: Batch) -> None:
        """Returns once the batch has ended, or when nothing of it ever will; jobs that come later are begun too."""
        place = self._place(batch)
        begun = 0
        async with asyncio.TaskGroup() as group:
            while not batch.ended and not _stuck(batch):
                batch.news.clear()
                for job in batch.jobs[begun:]:
                    group.create_task(self._placed(batch, job, place))
                begun = len(batch.jobs)
                await self._news(batch)

    def _place(self, batch: Batch) -> asyncio.Semaphore:
        if DEVICES[batch.device_type].qpu:
            return asyncio.Semaphore(1)
        return self.places.setdefault((batch.device_type, self.lane(batch.account)), asyncio.Semaphore(self.workers))

    async def _news(self, batch: Batch) -> None:
        """Waits for some; an open batch that has nothing to do waits only so long."""
        idles = batch.open and all(job.ended for job in batch.jobs)
        try:
            async with asyncio.timeout(self.idle(batch.account) if idles else None):
                await batch.news.wait()
        except TimeoutError:
            batch.open = False
            batch.become(TIMED_OUT, time.time())

    async def _placed(self, batch: Batch, job: Job, place: asyncio.Semaphore) -> None:
        async with place:
            await self._job(batch, job)

    async def _job(self, batch: Batch, job: Job) -> None:
        if job.status == PENDING and not job.fails_early and batch.status == PENDING:
            batch.become(RUNNING, time.time())
        await self._carried_out(job, lambda: self._result(batch, job))
        batch.settle(time.time())

    async def _result(self, batch: Batch, job: Job) -> bytes:
        sequence = job.sequence if job.sequence is not None else batch.sequence
        assert sequence is not None
        device = DEVICES[batch.device_type]
        seed = self._seed(job)
        task = Task(
            sequence=sequence,
            variables=job.variables or {},
            runs=job.runs,
            seed=seed,
            configuration=batch.backend_configuration,
            noisy=bool((batch.configuration or {}).get("with_noise")),
            serialised=device.serialised,
        )
        found = await self.engine.run(task)
        result: dict[str, Any] = {"counter": found["counter"]}
        if not device.qpu:
            result["raw"] = one_by_one(found["counter"], seed)
            result["serialised_results"] = found["serialised_results"]
        return json.dumps(result).encode()

    # --- workloads ------------------------------------------------------------------------------------------------

    async def work(self, workload: Workload) -> None:
        await self._carried_out(workload, lambda: self._computed(workload))

    async def _computed(self, workload: Workload) -> bytes:
        """A Pulser sequence in the configuration is run. What else there may be is described nowhere; it comes back."""
        config = workload.config
        sequence = config.get("sequence")
        if not isinstance(sequence, str):
            return json.dumps({"workload_type": workload.workload_type, "config": config}).encode()
        variables, runs = config.get("variables") or {}, config.get("runs")
        if not isinstance(variables, dict) or not isinstance(runs, int | None):
            raise EngineError("The configuration's variables are an object, and its runs a whole number")
        task = Task(sequence=sequence, variables=variables, runs=runs, seed=self._seed(workload))
        return json.dumps({"counter": (await self.engine.run(task))["counter"]}).encode()

    # --- what both have in common ---------------------------------------------------------------------------------

    def _seed(self, row: Work) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.seed}/{row.number}".encode()).digest()[:6])

    async def _carried_out(self, row: Work, compute: Callable[[], Any]) -> None:
        """Takes a row that is pending; one that was cancelled while it waited is left alone."""
        if row.status != PENDING:
            return
        if row.fails is not None and row.fails_early:
            self._end(row, ERROR, row.fails)
            return
        row.become(RUNNING, time.time())
        row.starts += 1
        if row.stuck:
            return
        row.computing = asyncio.create_task(self._timed(row, compute))
        try:
            found = await row.computing
        except EngineError as error:
            self._end(row, ERROR, str(error))
        except asyncio.CancelledError:
            if not row.ended:
                raise
        else:
            if row.status == RUNNING:
                self.blobs[key(row)] = found
                self._end(row, DONE)

    async def _timed(self, row: Work, compute: Callable[[], Any]) -> bytes:
        begun = time.monotonic()
        found: bytes = await compute()
        await asyncio.sleep(max(0.0, self.run_time(row.account) - (time.monotonic() - begun)))
        if row.fails is not None:
            raise EngineError(row.fails)
        return found

    def _end(self, row: Work, status: str, message: str | None = None) -> None:
        """Once only: an end that comes later than another one is none."""
        if row.ended or (row.status == CANCELING and status != CANCELED):
            return
        row.become(status, time.time())
        if message is not None:
            row.errors = [message]
        self.rested(row)
        if isinstance(row, Job) and row.batch_id in self.batches:
            self.batches[row.batch_id].settle(time.time())

    def cancel(self, row: Work) -> None:
        """What waits is cancelled at once; what runs, a moment later."""
        if row.status == PENDING:
            self._end(row, CANCELED)
        elif row.status == RUNNING:
            row.become(CANCELING, time.time())
            asyncio.get_running_loop().call_later(SLOW, self._stop, row)

    def _stop(self, row: Work) -> None:
        self._end(row, CANCELED)
        if row.computing is not None:
            row.computing.cancel()


def _stuck(batch: Batch) -> bool:
    """Whether nothing happens any more: it is closed, and what has not ended never will."""
    return not batch.open and all(job.ended or (job.stuck and job.status == RUNNING) for job in batch.jobs)


def one_by_one(counter: Mapping[str, int], seed: int) -> list[str] | None:
    """Each run's bits in the order in which they were measured; None for too many."""
    if sum(counter.values()) > RAW:
        return None
    found = [bits for bits, number in counter.items() for _ in range(number)]
    random.Random(seed).shuffle(found)  # noqa: S311 - physics, not secrets
    return found
