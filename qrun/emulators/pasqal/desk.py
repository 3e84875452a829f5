"""What the core API of the Pasqal stand-in does to its rows: makes them, finds them, copies and cancels them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import uuid4

from qrun.emulators.accounts import Account
from qrun.emulators.faults import Kind, When
from qrun.emulators.pasqal.asked import AskedBatch, AskedJob, AskedWorkload
from qrun.emulators.pasqal.devices import usable
from qrun.emulators.pasqal.envelope import refuse, too_many
from qrun.emulators.pasqal.rows import CANCELING, PENDING, Batch, Books, Job, Row, Work, Workload
from qrun.emulators.pasqal.tokens import Issued
from qrun.emulators.pasqal.work import Workshop
from qrun.emulators.wire import Call, Refusal


@dataclass(frozen=True, kw_only=True, slots=True)
class Desk:
    """`put` gives a batch to its device, `put_workload` a workload to the one place where those run."""

    books: Books
    workshop: Workshop
    put: Callable[[Batch], None]
    put_workload: Callable[[Workload], None]
    quota_status: int = 429
    retry_after: str | None = None

    # --- new ones -------------------------------------------------------------------------------------------------

    def new_batch(self, wanted: AskedBatch, call: Call, caller: Issued) -> Batch:
        if not usable(wanted.device, caller.account):
            refuse(403, f"The project may not use {wanted.device.name}")
        self._room(caller.account, len(wanted.jobs))
        batch = Batch(
            **self._row(wanted.project_id, caller),
            device_type=wanted.device.name,
            sequence=wanted.sequence,
            open=wanted.open,
            tags=list(wanted.tags),
            webhook=wanted.webhook,
            configuration=wanted.configuration,
            backend_configuration=wanted.backend_configuration,
        )
        return self._begun(batch, wanted.jobs, (), call, caller)

    def copied(self, old: Batch, jobs: Sequence[Job], call: Call, caller: Issued) -> Batch:
        """The copy bears the tags of the old one, whether it should or not."""
        self._room(caller.account, len(jobs))
        batch = Batch(
            **self._row(old.project_id, caller),
            device_type=old.device_type,
            sequence=old.sequence,
            tags=list(old.tags),
            parent_id=old.id,
            webhook=old.webhook,
            configuration=old.configuration,
            backend_configuration=old.backend_configuration,
        )
        copies = [AskedJob(runs=job.runs, variables=job.variables, sequence=job.sequence) for job in jobs]
        return self._begun(batch, copies, jobs, call, caller)

    def _begun(
        self, batch: Batch, jobs: Sequence[AskedJob], parents: Sequence[Job], call: Call, caller: Issued
    ) -> Batch:
        _hide(batch, call)
        self._add(batch, jobs, call, caller)
        for job, parent in zip(batch.jobs, parents, strict=False):
            job.parent_id = parent.id
        self.books.add_batch(batch)
        self.put(batch)
        return batch

    def add(self, batch: Batch, jobs: Sequence[AskedJob], call: Call, caller: Issued) -> None:
        self._room(caller.account, len(jobs))
        self._add(batch, jobs, call, caller)
        batch.updated = time.time()
        batch.news.set()

    def _add(self, batch: Batch, jobs: Sequence[AskedJob], call: Call, caller: Issued) -> None:
        for job in jobs:
            row = Job(
                **self._row(batch.project_id, caller),
                batch_id=batch.id,
                order=len(batch.jobs),
                runs=job.runs,
                variables=job.variables,
                sequence=job.sequence,
            )
            _mark(row, call)
            self.books.add_job(batch, row)
            caller.account.live += 1

    def new_workload(self, wanted: AskedWorkload, call: Call, caller: Issued) -> Workload:
        self._room(caller.account, 1)
        row = Workload(
            **self._row(wanted.project_id, caller),
            workload_type=wanted.workload_type,
            backend=wanted.backend,
            config=wanted.config,
        )
        _mark(row, call)
        caller.account.live += 1
        self.books.add_workload(row)
        self.put_workload(row)
        return row

    def _row(self, project: str, caller: Issued) -> dict[str, Any]:
        now = time.time()
        return {
            "id": str(uuid4()),
            "account": caller.account.name,
            "project_id": project,
            "user_id": caller.subject,
            "created": now,
            "updated": now,
            "number": self.books.number(),
        }

    def _room(self, account: Account, more: int) -> None:
        if account.max_live is not None and account.live + more > account.max_live:
            if self.quota_status == 429:
                raise Refusal(too_many(self.retry_after))
            refuse(self.quota_status, "The number of unfinished jobs is limited")

    # --- cancels: why one cannot be, where it cannot --------------------------------------------------------------

    def cancel_batch(self, batch: Batch) -> str | None:
        """What waits is cancelled; what runs comes to its end."""
        if batch.ended or batch.status == CANCELING:
            return f"The batch is {batch.status} and cannot be cancelled"
        batch.open = False
        batch.become(CANCELING, time.time())
        for job in batch.jobs:
            if job.status == PENDING:
                self.workshop.cancel(job)
        batch.settle(time.time())
        return None

    def cancel(self, row: Work) -> str | None:
        if row.ended or row.status == CANCELING:
            return f"It is {row.status} and cannot be cancelled"
        self.workshop.cancel(row)
        return None

    # --- whose it is: what does not exist and what is somebody else's look the same -------------------------------

    def batch(self, caller: Issued, batch_id: str) -> Batch:
        row = self.books.batches.get(batch_id.lower())
        if row is None or row.account != caller.account.name:
            _unknown()
        return row

    def job(self, caller: Issued, job_id: str) -> Job:
        row = self.books.jobs.get(job_id.lower())
        if row is None or row.account != caller.account.name:
            _unknown()
        return row

    def workload(self, caller: Issued, workload_id: str) -> Workload:
        row = self.books.workloads.get(workload_id.lower())
        if row is None or row.account != caller.account.name:
            _unknown()
        return row


def _unknown() -> NoReturn:
    refuse(404, "Not found, or you are not a member of its project")


def _mark(row: Work, call: Call) -> None:
    """With what the faults of the request say of its rows."""
    _hide(row, call)
    for fault in call.faults:
        if fault.kind is Kind.STUCK:
            row.stuck = True
        elif fault.kind is Kind.FAIL:
            row.fails = fault.message or "The device failed"
            row.fails_early = fault.when is When.BEFORE


def _hide(row: Row, call: Call) -> None:
    """From lists, for as long as a fault says."""
    for fault in call.faults:
        if fault.kind is Kind.LAG:
            row.hidden_until = time.time() + fault.seconds
