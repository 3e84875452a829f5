"""The API of the OQTOPUS stand-in: its routes, each one function from a request to an answer.

Which mistakes it makes on purpose is told in docs/emulator.md; they are those of the real one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.clock import stamp
from qrun.emulators.accounts import Account
from qrun.emulators.faults import Fault, Kind, When
from qrun.emulators.oqtopus import asked
from qrun.emulators.oqtopus.devices import Device, view
from qrun.emulators.oqtopus.jobs import FINAL, LIVE, REGISTERED, Books, Job
from qrun.emulators.oqtopus.people import People
from qrun.emulators.oqtopus.shown import key, keys, shown
from qrun.emulators.storage import Storage
from qrun.emulators.wire import Answer, Call, Routes, refuse, said

Handler = Callable[..., Answer]

GONE: Final = {"message": "job not found with the given id"}
TRACE: Final = "x-amz-meta-trace"  # a field that no client knows


@dataclass(kw_only=True)
class Api:
    """`put` queues a job for its device, `pending` counts those that wait for one; `cancelled` is told of a cancel."""

    books: Books
    storage: Storage
    devices: dict[str, Device]
    put: Callable[[Job, Account], None]
    pending: Callable[[str], int]
    rested: Callable[[Job], None]
    quota_status: int = 429
    retry_after: str | None = None
    routes: Routes[Handler] = field(default_factory=Routes)

    def __post_init__(self) -> None:
        people = People()
        table: dict[str, Handler] = {
            "GET /devices": self.list_devices,
            "GET /devices/{device_id}": self.device,
            "GET /device_histories": self.histories,
            "GET /device_histories/{uid}": self.history,
            "POST /jobs": self.register,
            "GET /jobs": self.list_jobs,
            "GET /jobs/{job_id}": self.job,
            "DELETE /jobs/{job_id}": self.delete,
            "POST /jobs/{job_id}/submit": self.submit,
            "GET /jobs/{job_id}/status": self.status,
            "POST /jobs/{job_id}/cancel": self.cancel,
            **people.table(),
        }
        for route, handler in table.items():
            method, _, pattern = route.partition(" ")
            self.routes.add(method, pattern, handler)

    # --- jobs -----------------------------------------------------------------------------------------------------

    def register(self, call: Call, account: Account) -> Answer:
        """A body is passed over; an upload form is all that a new job has."""
        job = self.books.register(account.name, time.time())
        self._lag(job, call)
        token = stamp(job.created).encode().hex()
        extra = {"x-amz-security-token": token} | ({TRACE: job.job_id[::-1]} if account.trace else {})
        return said({"job_id": job.job_id, "presigned_url": self.storage.form(key(job, "input"), extra)})

    def submit(self, call: Call, account: Account, job_id: str) -> Answer:
        body = asked.submit(call.body)
        job = self._own(account, job_id)
        if job.status != REGISTERED:
            words = f"{job_id} job is not in valid status for submission (valid statuses for submission: 'registered')"
            refuse(400, {"message": words})
        self._usable(body.device_id, account)
        if key(job, "input") not in self.storage.blobs:
            refuse(400, {"message": f"job information input for {job_id} job not found"})
        if account.max_live is not None and account.live >= account.max_live:
            return self._too_many()
        self._accept(job, body, account, call)
        return said({"message": "job submitted"})

    def _accept(self, job: Job, body: asked.Asked, account: Account, call: Call) -> None:
        job.name, job.description = body.name, body.description
        job.device_id, job.job_type, job.shots = body.device_id, body.job_type, body.shots
        job.transpiler_info = body.infos["transpiler_info"]
        job.simulator_info = body.infos["simulator_info"]
        job.mitigation_info = body.infos["mitigation_info"]
        job.status, job.submitted = "submitted", time.time()
        job.submits += 1
        account.live += 1
        self.books.shelf(account.name).relabelled(job)
        self._lag(job, call)
        for fault in call.faults:
            _mark(job, fault)
        self.put(job, account)

    def _usable(self, device_id: str, account: Account) -> None:
        device = self.devices.get(device_id)
        if device is None:
            refuse(400, {"message": "device not found"})
        if device.status != "available":
            refuse(400, {"message": f"device {device_id} is not available"})
        if not _granted(device, account):
            refuse(403, {"message": f"device {device_id} is not permitted"})

    def _too_many(self) -> Answer:
        if self.quota_status == 429:
            return too_many(self.retry_after)
        return said({"message": "the number of unfinished jobs is limited"}, self.quota_status)

    def _lag(self, job: Job, call: Call) -> None:
        for fault in call.faults:
            if fault.kind is Kind.LAG:
                shelf = self.books.shelf(job.account)
                job.hidden_until = time.time() + fault.seconds
                shelf.lagging_until = max(shelf.lagging_until, job.hidden_until)

    def list_jobs(self, call: Call, account: Account) -> Answer:
        wanted = asked.wanted(call.query)
        link = self.storage.link
        return said([shown(job, link, wanted.fields) for job in self.books.shelf(account.name).page(wanted)])

    def job(self, _: Call, account: Account, job_id: str) -> Answer:
        return said(shown(self._own(account, job_id), self.storage.link))

    def status(self, _: Call, account: Account, job_id: str) -> Answer:
        return said({"job_id": job_id, "status": self._own(account, job_id).status})

    def cancel(self, _: Call, account: Account, job_id: str) -> Answer:
        """At once, whatever the device does; the time of the end stays empty."""
        job = self._own(account, job_id)
        if job.status in ("succeeded", "failed"):
            words = f"{job_id} job is not in valid status for cancellation"
            refuse(400, {"message": f"{words} (valid statuses: 'registered', 'submitted', 'ready' and 'running')"})
        live = job.status in LIVE
        job.status = "cancelled"
        if live:
            self.rested(job)
        return said({"message": "cancel request accepted"})

    def delete(self, _: Call, account: Account, job_id: str) -> Answer:
        job = self._own(account, job_id)
        if job.status not in FINAL:
            words = f"{job_id} job is not in valid status for deletion"
            refuse(400, {"message": f"{words} (valid statuses for deletion: 'succeeded', 'failed' and 'cancelled')"})
        self.books.remove(job)
        self.storage.remove(keys(job))
        return said({"message": "job deleted"})

    def _own(self, account: Account, job_id: str) -> Job:
        job = self.books.own(account.name, job_id)
        if job is None:
            refuse(404, GONE)
        return job

    # --- devices --------------------------------------------------------------------------------------------------

    def list_devices(self, _: Call, account: Account) -> Answer:
        return said([self._view(device) for device in self.devices.values() if _granted(device, account)])

    def device(self, _: Call, account: Account, device_id: str) -> Answer:
        return said(self._view(self._device(device_id, account)))

    def _device(self, device_id: str, account: Account) -> Device:
        device = self.devices.get(device_id)
        if device is None:
            refuse(404, {"message": f"device_id={device_id} is not found."})
        if not _granted(device, account):
            refuse(403, {"message": f"device {device_id} is not permitted"})
        return device

    def _view(self, device: Device) -> dict[str, Any]:
        return view(device, self.pending(device.device_id), self.storage.link)

    def histories(self, call: Call, account: Account) -> Answer:
        """What each device was calibrated to; here once for each that is calibrated at all."""
        query = call.query
        limit, offset = _number(query, "limit", 1, 100, 100), _number(query, "offset", 0, None, 0)
        names = [query["device_id"]] if "device_id" in query else list(self.devices)
        found = [
            self._entry(device)
            for name in names
            for device in [self._device(name, account) if "device_id" in query else self.devices[name]]
            if device.calibrated and _granted(device, account)
        ]
        return said(found[offset : offset + limit])

    def history(self, _: Call, account: Account, uid: str) -> Answer:
        device = self.devices.get(uid.removesuffix("-1"))
        if device is None or not device.calibrated or not uid.endswith("-1"):
            refuse(404, {"message": "device history not found with the given id"})
        return said(self._entry(self._device(device.device_id, account)))

    def _entry(self, device: Device) -> dict[str, Any]:
        shown_now = self._view(device)
        return {"uid": f"{device.device_id}-1"} | {
            name: shown_now[name] for name in ("device_id", "device_info", "calibrated_at")
        }


def too_many(retry_after: str | None) -> Answer:
    answer = said({"message": "Too Many Requests"}, 429)
    headers = () if retry_after is None else ((b"retry-after", retry_after.encode("latin-1", "replace")),)
    return Answer(status=429, body=answer.body, headers=headers)


def _granted(device: Device, account: Account) -> bool:
    return not device.private or device.device_id in account.granted


def _mark(job: Job, fault: Fault) -> None:
    if fault.kind is Kind.STUCK:
        job.stuck = True
    elif fault.kind is Kind.FAIL:
        job.fails = fault.message or "the device failed"
        job.fails_early = fault.when is When.BEFORE


def _number(query: dict[str, str], name: str, least: int, most: int | None, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdigit() or int(text) < least or (most is not None and int(text) > most):
        words = f"Input should be a whole number from {least}" + (f" to {most}" if most is not None else "")
        asked.invalid([asked.problem("int_parsing", ("query", name), words)])
    return int(text)
