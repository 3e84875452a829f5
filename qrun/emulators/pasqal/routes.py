"""The core API of the Pasqal stand-in: its routes, each one function from a request to the data of an answer.

What the reference leaves open is decided here to the disadvantage of whoever relies on it (docs/emulator.md).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.emulators.pasqal import asked, devices, filters, shown
from qrun.emulators.pasqal.desk import Desk
from qrun.emulators.pasqal.envelope import enveloped, problem, refuse
from qrun.emulators.pasqal.fields import uuids
from qrun.emulators.pasqal.filters import Of
from qrun.emulators.pasqal.rows import DONE, PENDING, RUNNING, Job, Work
from qrun.emulators.pasqal.tokens import Issued, active, project_id
from qrun.emulators.pasqal.work import key
from qrun.emulators.storage import Storage
from qrun.emulators.wire import Answer, Call, Routes

Handler = Callable[..., Any]

OVH: Final = "/api/v1/third-party-access/ovh"  # what customers of that cloud may ask for
PUBLIC: Final = frozenset({"GET /api/v1/devices/public-specs", "GET /api/v1/devices"})  # need no token
OF_A_ROW: Final = ("{batch_id}", "{job_id}", "{workload_id}")


@dataclass(kw_only=True)
class Api:
    desk: Desk
    storage: Storage
    routes: Routes[Handler] = field(default_factory=Routes)

    def __post_init__(self) -> None:
        table: dict[str, Handler] = {
            "POST /api/v1/batches": self.create_batch,
            "GET /api/v1/batches": self.list_batches,
            "PATCH /api/v1/batches/cancel": self.cancel_batches,
            "GET /api/v2/batches/{batch_id}": self.batch,
            "GET /api/v1/batches/{batch_id}/status": self.batch_status,
            "GET /api/v1/batches/{batch_id}/full_results": self.full_results,
            "POST /api/v2/batches/{batch_id}/jobs": self.add_jobs,
            "PATCH /api/v2/batches/{batch_id}/complete": self.close_batch,
            "PATCH /api/v2/batches/{batch_id}/cancel": self.cancel_batch,
            "PATCH /api/v2/batches/{batch_id}/cancel/jobs": self.cancel_jobs,
            "POST /api/v1/batches/{batch_id}/rebatch": self.rebatch,
            "PATCH /api/v1/batches/{batch_id}/tags": self.set_tags,
            "GET /api/v2/jobs": self.list_jobs,
            "GET /api/v2/jobs/{job_id}": self.job,
            "GET /api/v1/jobs/{job_id}/status": self.job_status,
            "PATCH /api/v2/jobs/{job_id}/cancel": self.cancel_job,
            "GET /api/v1/jobs/{job_id}/results_link": self.results_link,
            "POST /api/v1/workloads": self.create_workload,
            "GET /api/v2/workloads": self.list_workloads,
            "GET /api/v2/workloads/{workload_id}": self.workload,
            "PUT /api/v1/workloads/{workload_id}/cancel": self.cancel_workload,
            "GET /api/v1/devices": lambda call, _: devices.states(filters.query(call).get("device_type", [])),
            "GET /api/v1/devices/specs": lambda *_: devices.specs(),
            "GET /api/v1/devices/specs/{device_type}": lambda _, __, name: devices.spec_of(name),
            "GET /api/v1/devices/public-specs": lambda *_: devices.public_specs(),
            f"POST {OVH}/batches": self.create_batch_elsewhere,
            f"GET {OVH}/batches/{{batch_id}}": self.batch,
            f"GET {OVH}/batches/{{batch_id}}/status": self.batch_status,
            f"GET {OVH}/jobs": self.list_jobs,
            f"GET {OVH}/jobs/{{job_id}}/results_link": self.results_link,
            f"GET {OVH}/jobs/{{job_id}}/status": self.job_status,
        }
        for route, handler in table.items():
            method, _, pattern = route.partition(" ")
            self.routes.add(method, pattern, handler)

    def answer(self, call: Call, caller: Issued | None) -> Answer:
        route, handler, values = self.routes.find(call.method, call.path)
        if handler is None:
            refuse(405 if route else 404, "Method not allowed" if route else "Not found")
        if caller is None and route not in PUBLIC:
            refuse(401, "Could not validate credentials")
        if any(name in route for name in OF_A_ROW):
            uuids(values, "path")
        return enveloped(handler(call, caller, *values), call.path)

    # --- batches --------------------------------------------------------------------------------------------------

    def create_batch(self, call: Call, caller: Issued) -> Any:
        wanted = asked.batch(asked.body(call))
        _check_member(wanted.project_id, caller)
        return shown.batch_with_jobs(self.desk.new_batch(wanted, call, caller))

    def create_batch_elsewhere(self, call: Call, caller: Issued) -> Any:
        """Without a project of its own, and closed."""
        wanted = asked.batch(asked.body(call), project=project_id(caller.account.name))
        if wanted.open:
            refuse(422, [problem("An open batch is not possible here", "body", "open")])
        return shown.batch_with_jobs(self.desk.new_batch(wanted, call, caller))

    def list_batches(self, call: Call, caller: Issued) -> Any:
        rows = self.desk.books.shelf(caller.account.name).batches
        return filters.page(rows, filters.query(call), Of.BATCHES, shown.batch)

    def batch(self, _: Call, caller: Issued, batch_id: str) -> Any:
        return shown.batch_in_full(self.desk.batch(caller, batch_id))

    def batch_status(self, _: Call, caller: Issued, batch_id: str) -> Any:
        return shown.batch_status(self.desk.batch(caller, batch_id))

    def full_results(self, _: Call, caller: Issued, batch_id: str) -> Any:
        jobs = [job for job in self.desk.batch(caller, batch_id).jobs if job.status == DONE]
        return {job.id: json.loads(self._stored(job)) for job in jobs}

    def add_jobs(self, call: Call, caller: Issued, batch_id: str) -> Any:
        batch = self.desk.batch(caller, batch_id)
        jobs = asked.more_jobs(asked.body(call), batch.sequence, devices.DEVICES[batch.device_type])
        if not batch.open or batch.status not in (PENDING, RUNNING):
            refuse(400, "The batch is closed, no job can be added")
        self.desk.add(batch, jobs, call, caller)
        return shown.batch_with_jobs(batch)

    def close_batch(self, _: Call, caller: Issued, batch_id: str) -> Any:
        batch = self.desk.batch(caller, batch_id)
        if not batch.open:
            refuse(400, "The batch is closed already")
        batch.open = False
        batch.updated = time.time()
        batch.settle(batch.updated)
        return shown.batch_with_jobs(batch)

    def set_tags(self, call: Call, caller: Issued, batch_id: str) -> Any:
        batch = self.desk.batch(caller, batch_id)
        batch.tags = list(asked.tags(asked.body(call)))
        batch.updated = time.time()
        return shown.batch_with_jobs(batch)

    def rebatch(self, call: Call, caller: Issued, batch_id: str) -> Any:
        old = self.desk.batch(caller, batch_id)
        if old.open:
            refuse(400, "The batch is open; only a closed one can be done again")
        jobs = list(filters.chosen(old.jobs, filters.query(call), Of.REBATCH))
        if not jobs:
            refuse(400, "No job of the batch matches")
        return shown.batch_with_jobs(self.desk.copied(old, jobs, call, caller))

    def cancel_batch(self, _: Call, caller: Issued, batch_id: str) -> Any:
        batch = self.desk.batch(caller, batch_id)
        _check(self.desk.cancel_batch(batch))
        return shown.batch_with_jobs(batch)

    def cancel_batches(self, call: Call, caller: Issued) -> Any:
        wanted = asked.batch_ids(asked.body(call))
        if wanted is None:
            self.desk.books.empty_cancels[caller.account.name] += 1
            refuse(422, [problem("Name the batches to cancel", "body", "batch_ids", kind="value_error.list.min_items")])
        done: list[Any] = []
        errors: dict[str, str] = {}
        for batch_id in wanted:
            batch = self.desk.books.batches.get(batch_id)
            if batch is None or batch.account != caller.account.name:
                errors[batch_id] = "Not found"
            elif (words := self.desk.cancel_batch(batch)) is not None:
                errors[batch_id] = words
            else:
                done.append(shown.batch(batch))
        return {"batches": done, "errors": errors}

    def cancel_jobs(self, call: Call, caller: Issued, batch_id: str) -> Any:
        batch = self.desk.batch(caller, batch_id)
        done: list[Any] = []
        errors: dict[str, str] = {}
        for job in list(filters.chosen(batch.jobs, filters.query(call), Of.CANCEL)):
            words = self.desk.cancel(job)
            if words is not None:
                errors[job.id] = words
            else:
                done.append(shown.job(job))
        return {"jobs": done, "errors": errors}

    # --- jobs -----------------------------------------------------------------------------------------------------

    def list_jobs(self, call: Call, caller: Issued) -> Any:
        query = filters.query(call)
        return filters.page(self._listed(query, caller), query, Of.JOBS, shown.job)

    def _listed(self, query: Mapping[str, list[str]], caller: Issued) -> list[Job]:
        """Those of one batch need not be looked for among all."""
        named = query.get("batch_id", [])
        batch = self.desk.books.batches.get(named[0].lower()) if len(named) == 1 else None
        if batch is not None and batch.account == caller.account.name:
            return batch.jobs
        return self.desk.books.shelf(caller.account.name).jobs

    def job(self, _: Call, caller: Issued, job_id: str) -> Any:
        return shown.job_in_full(self.desk.job(caller, job_id))

    def job_status(self, _: Call, caller: Issued, job_id: str) -> Any:
        job = self.desk.job(caller, job_id)
        return {"id": job.id, "status": job.status}

    def cancel_job(self, _: Call, caller: Issued, job_id: str) -> Any:
        job = self.desk.job(caller, job_id)
        _check(self.desk.cancel(job))
        return shown.job(job)

    def results_link(self, _: Call, caller: Issued, job_id: str) -> Any:
        return {"results_link": self._link(self.desk.job(caller, job_id))}

    def _link(self, row: Work) -> str | None:
        return self.storage.link(key(row)) if row.status == DONE else None

    def _stored(self, row: Work) -> bytes:
        blob = self.storage.blobs[key(row)]
        assert isinstance(blob, bytes)
        return blob

    # --- workloads ------------------------------------------------------------------------------------------------

    def create_workload(self, call: Call, caller: Issued) -> Any:
        wanted = asked.workload(asked.body(call))
        _check_member(wanted.project_id, caller)
        return shown.workload(self.desk.new_workload(wanted, call, caller))

    def list_workloads(self, call: Call, caller: Issued) -> Any:
        rows = self.desk.books.shelf(caller.account.name).workloads
        return filters.page(rows, filters.query(call), Of.WORKLOADS, shown.workload)

    def workload(self, _: Call, caller: Issued, workload_id: str) -> Any:
        row = self.desk.workload(caller, workload_id)
        return shown.workload(row, self._link(row))

    def cancel_workload(self, _: Call, caller: Issued, workload_id: str) -> Any:
        row = self.desk.workload(caller, workload_id)
        _check(self.desk.cancel(row))
        return shown.workload(row)


def _check(words: str | None) -> None:
    """Refuses what cannot be done."""
    if words is not None:
        refuse(400, words)


def _check_member(project: str, caller: Issued) -> None:
    if project not in active(caller.account.name):
        refuse(404, "The project does not exist, or you are not one of its members")
