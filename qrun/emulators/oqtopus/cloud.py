"""The OQTOPUS stand-in as a whole: accounts, devices with their queues, the API and the storage host behind it."""

from __future__ import annotations

import re
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from qrun.emulators import Options
from qrun.emulators.accounts import Account, Accounts
from qrun.emulators.engine import Engine
from qrun.emulators.oqtopus.devices import configured, info_key, info_zip
from qrun.emulators.oqtopus.jobs import LIVE, WAITING, Books, Job
from qrun.emulators.oqtopus.routes import Api, too_many
from qrun.emulators.oqtopus.shown import key, keys
from qrun.emulators.oqtopus.work import Workshop
from qrun.emulators.queue import Queue
from qrun.emulators.sandbox import Sandbox
from qrun.emulators.storage import Storage
from qrun.emulators.wire import Answer, Call, Refusal, said

MARKER: Final = re.compile(r"qr1[a-z2-7]{26}")
LIBRARY: Final = Path(__file__).with_name("container")
CONTAINER: Final = {"OQTOPUS_ENV": "sse_container"}


class Oqtopus:
    """`owner` and `answer` are asked for each request, in this order; an answer never waits."""

    name: Final = "oqtopus"

    def __init__(self, options: Options, storage_url: str) -> None:
        self.options = options
        self.accounts = Accounts()
        for name, token in options.accounts:
            self.accounts.add(name, token, **self._limits())
        if not options.accounts:
            self.accounts.add("default", **self._limits())
        self.books = Books()
        self.storage = Storage(url=storage_url, secret=secrets.token_bytes(32), life=options.link_life)
        self.devices = configured(options.devices, options.workers)
        for device in self.devices.values():
            if device.linked:
                self.storage.blobs[info_key(device)] = info_zip(device)
        self.engine = Engine(workers=options.workers)
        self.workshop = Workshop(
            engine=self.engine,
            sandbox=Sandbox(library=LIBRARY, python=options.python or sys.executable, variables=CONTAINER),
            blobs=self.storage.blobs,
            devices=self.devices,
            seed=secrets.token_hex(8) if options.seed is None else str(options.seed),
            run_time=self._run_time,
            ended=self._rested,
        )
        self.queues: dict[tuple[str, str], Queue[Job]] = {}
        self.api = Api(
            books=self.books,
            storage=self.storage,
            devices=self.devices,
            put=self._put,
            pending=self._pending,
            rested=self._rested,
            quota_status=options.quota_status,
            retry_after=options.retry_after,
        )

    def add_account(self, **given: Any) -> Account:
        """`granted` may be any sequence; what is not given is as for everybody. Raises ValueError and TypeError."""
        given["granted"] = frozenset(given.get("granted", ()))
        return self.accounts.add(**(self._limits() | given))

    def close_account(self, name: str) -> None:
        """Its jobs are gone with it."""
        self.accounts.remove(name)
        for place in [place for place in self.queues if place[1] == name]:
            self.queues.pop(place).stop()
        for job in self.books.close(name):
            job.status = "cancelled"
            self.storage.remove(keys(job))

    def _limits(self) -> dict[str, Any]:
        return {"max_live": self.options.max_live, "rate": self.options.rate, "trace": self.options.trace}

    # --- requests -------------------------------------------------------------------------------------------------

    def owner(self, call: Call) -> Account | None:
        """Whose request it is. The storage host knows no tokens, but its keys begin with a job's id."""
        if call.host == 0:
            return self.accounts.by_token.get(call.headers.get("q-api-token", ""))
        job = self.books.by_id.get(_job_id(call))
        return None if job is None else self.accounts.by_name.get(job.account)

    def route(self, call: Call) -> str:
        """The name under which a request is counted."""
        if call.host == 1:
            return f"{call.method} storage {call.path.rpartition('/')[2] if call.method == 'GET' else 'form'}"
        return self.api.routes.find(call.method, call.path)[0] or f"{call.method} unknown"

    def answer(self, call: Call, account: Account | None, now: float) -> Answer:
        if call.host == 1:
            return self.storage.answer(call)
        if account is None or account.revoked:
            known = "q-api-token" in call.headers
            return said({"detail": "Unauthorized"} if known else {"message": "Unauthorized"}, 401)
        if not account.pays(now):
            return too_many(self.options.retry_after)
        route, handler, values = self.api.routes.find(call.method, call.path)
        if handler is None:
            return said({"detail": "Method Not Allowed"}, 405) if route else said({"detail": "Not Found"}, 404)
        try:
            return handler(call, account, *values)
        except Refusal as refusal:
            return refusal.answer

    # --- jobs on devices ------------------------------------------------------------------------------------------

    def _put(self, job: Job, account: Account) -> None:
        assert job.device_id is not None
        place = (job.device_id, account.name if account.alone else "")
        queue = self.queues.get(place)
        if queue is None:
            device = self.devices[job.device_id]
            queue = self.queues[place] = Queue(width=device.width, fetched=_fetched, run=self.workshop.run)
        queue.put(job, self.options.queue_delay if account.queue_delay is None else account.queue_delay)

    def _run_time(self, job: Job) -> float:
        account = self.accounts.by_name.get(job.account)
        own = None if account is None else account.run_time
        return self.options.run_time if own is None else own

    def _rested(self, job: Job) -> None:
        account = self.accounts.by_name.get(job.account)
        if account is not None:
            account.live -= 1

    def _pending(self, device_id: str) -> int:
        return sum(job.device_id == device_id and job.status in WAITING for job in self.books.by_id.values())

    # --- its own truth --------------------------------------------------------------------------------------------

    def truth(self, account: str | None = None) -> dict[str, Any]:
        jobs = [job for job in self.books.by_id.values() if account is None or job.account == account]
        return {
            "jobs": [_entry(job) for job in jobs],
            "live": sum(job.status in LIVE for job in jobs),
            "starts": sum(job.starts for job in jobs),
            "leaks": self.storage.leaks,
        }

    def brief(self, account: str | None = None) -> dict[str, Any]:
        """By marker: how many jobs bear it, how many were submitted and how often they were begun."""
        found: dict[str, dict[str, int]] = {}
        for job in self.books.by_id.values():
            if account is not None and job.account != account:
                continue
            for marker in set(MARKER.findall(f"{job.name} {job.description}")):
                entry = found.setdefault(marker, {"jobs": 0, "submitted": 0, "started": 0})
                entry["jobs"] += 1
                entry["submitted"] += job.submits
                entry["started"] += job.starts
        return {"markers": found}

    async def aclose(self) -> None:
        for queue in self.queues.values():
            await queue.aclose()
        await self.engine.aclose()


def _fetched(job: Job) -> None:

    if job.status == "submitted":
        job.status, job.ready = "ready", time.time()


def _job_id(call: Call) -> str:
    """Of a link, from its path; of a form, from the field `key`, which stands near the beginning."""
    if call.method == "GET":
        return call.path.strip("/").split("/")[1] if call.path.count("/") > 1 else ""
    match = re.search(rb'name="key"\r\n(?:[^\r\n]+\r\n)*\r\n([^/\r\n]{1,64})/', call.body[:65536])
    return match[1].decode("latin-1") if match else ""


def _entry(job: Job) -> Mapping[str, Any]:
    return {
        "job_id": job.job_id,
        "account": job.account,
        "name": job.name,
        "description": job.description,
        "status": job.status,
        "device_id": job.device_id,
        "job_type": job.job_type,
        "shots": job.shots,
        "transpiler_info": job.transpiler_info,
        "created": job.created,
        "submitted": job.submitted,
        "ready": job.ready,
        "running": job.running,
        "ended": job.ended,
        "submits": job.submits,
        "starts": job.starts,
        "message": job.message,
        "outputs": [key(job, name) for name in job.outputs],
    }
