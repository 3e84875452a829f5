"""The Pasqal stand-in as a whole: accounts and their tokens, devices with their queues, the core API, the results."""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from qrun.emulators import Options
from qrun.emulators.accounts import Account, Accounts
from qrun.emulators.pasqal.desk import Desk
from qrun.emulators.pasqal.devices import DEVICES
from qrun.emulators.pasqal.engine import Crew, Engine
from qrun.emulators.pasqal.envelope import enveloped, oauth, refused, too_many
from qrun.emulators.pasqal.filters import query
from qrun.emulators.pasqal.routes import Api
from qrun.emulators.pasqal.rows import Batch, Books, Job, Work, Workload
from qrun.emulators.pasqal.tokens import PATHS, Tokens, Ways, halves, project_id, projects
from qrun.emulators.pasqal.work import Workshop, key
from qrun.emulators.queue import Queue
from qrun.emulators.storage import Storage, error
from qrun.emulators.wire import Answer, Call, Refusal

CORE, STORAGE, ACCOUNT, TOKEN, NOWHERE = range(5)  # what a call's `host` says
MARK: Final = re.compile(r"qr[1x][a-z2-7]{26}")
OWN: Final = ("life", "told", "jwt", "idle")  # what an account may be made with beyond what every stand-in knows


@dataclass(kw_only=True, slots=True)
class Results(Storage):
    """A storage host that answers with JSON and refuses a request that brings a second credential along."""

    def answer(self, call: Call) -> Answer:
        answer = Storage.answer(self, call)
        if "authorization" in call.headers:
            return error(400, "InvalidArgument", "Only one auth mechanism allowed")
        return replace(answer, type=b"application/json") if answer.status == 200 else answer


class Pasqal:
    """`owner` and `answer` are asked for each request, in this order; an answer never waits."""

    name: Final = "pasqal"

    def __init__(self, options: Options, storage_url: str, engine: Engine | None = None) -> None:
        self.options = options
        self.accounts = Accounts()
        self.tokens = Tokens(accounts=self.accounts)
        for name, token in options.accounts:
            self.accounts.add(name, token, **self._limits())
        if not options.accounts:
            self.accounts.add("default", **self._limits())
        self.books = Books()
        self.storage = Results(url=storage_url, secret=secrets.token_bytes(32), life=options.link_life)
        self.engine: Engine = Crew(workers=options.workers) if engine is None else engine
        self.workshop = Workshop(
            engine=self.engine,
            blobs=self.storage.blobs,
            batches=self.books.batches,
            seed=secrets.token_hex(8) if options.seed is None else str(options.seed),
            workers=options.workers,
            run_time=self._run_time,
            idle=lambda account: self.tokens.way(account).idle,
            rested=self._rested,
            lane=self._lane,
        )
        self.queues: dict[tuple[str, str], Queue[Any]] = {}
        desk = Desk(
            books=self.books,
            workshop=self.workshop,
            put=self._put,
            put_workload=self._put_workload,
            quota_status=options.quota_status,
            retry_after=options.retry_after,
        )
        self.api = Api(desk=desk, storage=self.storage)

    def add_account(self, **given: Any) -> Account:
        """Also with what `Ways` names; what is not given is as for everybody. Raises ValueError and TypeError."""
        ways = Ways(**{name: given.pop(name) for name in OWN if name in given})
        given["granted"] = frozenset(given.get("granted", ()))
        account = self.accounts.add(**(self._limits() | given))
        self.tokens.ways[account.name] = ways
        return account

    def close_account(self, name: str) -> None:
        """Its rows are gone with it."""
        self.accounts.remove(name)
        self.tokens.forget(name)
        for place in [place for place in self.queues if place[1] == name]:
            self.queues.pop(place).stop()
        shelf = self.books.close(name)
        self.storage.remove(key(row) for row in [*shelf.jobs, *shelf.workloads])

    def _limits(self) -> dict[str, Any]:
        return {"max_live": self.options.max_live, "rate": self.options.rate}

    # --- requests -------------------------------------------------------------------------------------------------

    def owner(self, call: Call) -> Account | None:
        """Whose request it is. The results host knows no tokens, but its keys begin with the id of a row."""
        if call.host == STORAGE:
            row = self._row(call.path.strip("/").split("/"))
            return None if row is None else self.accounts.by_name.get(row.account)
        if call.host == TOKEN:
            return self.tokens.meant(call)
        issued = self.tokens.of(call)
        return None if issued is None else issued.account

    def _row(self, parts: list[str]) -> Work | None:
        wanted = parts[1] if len(parts) > 1 else ""
        return self.books.jobs.get(wanted) or self.books.workloads.get(wanted)

    def route(self, call: Call) -> str:
        """The name under which a request is counted."""
        match call.host:
            case 0:
                return self.api.routes.find(call.method, call.path)[0] or f"{call.method} unknown"
            case 1:
                return f"{call.method} storage {call.path.rpartition('/')[2]}"
            case _:
                return f"{call.method} {call.path}"

    def answer(self, call: Call, account: Account | None, now: float) -> Answer:
        if call.host == STORAGE:
            return self.storage.answer(call)
        if account is not None and not account.pays(now):
            return self._too_many(call)
        if call.host == TOKEN:
            return self.tokens.answer(call)
        caller = self.tokens.of(call)
        if caller is not None and caller.account.revoked:
            caller = None
        try:
            if call.host == CORE:
                return self.api.answer(call, caller)
            if call.host == NOWHERE or (call.method, call.path) != ("GET", "/api/v1/projects"):
                return refused(404, "Not found")
            if caller is None:
                return refused(401, "Could not validate credentials")
            wanted = query(call).get("project_status", [None])[-1]
            return enveloped(projects(caller.account, wanted), call.path)
        except Refusal as refusal:
            return refusal.answer

    def _too_many(self, call: Call) -> Answer:
        if call.host == TOKEN:
            return oauth(429, "too_many_attempts", "Too many requests.")
        return too_many(self.options.retry_after)

    # --- what runs ------------------------------------------------------------------------------------------------

    def _put(self, batch: Batch) -> None:
        device = DEVICES[batch.device_type]
        if not device.up:
            return
        place = (device.name, self._lane(batch.account))
        if place not in self.queues:
            self.queues[place] = Queue(width=device.width, fetched=_fetched, run=self.workshop.run)
        self.queues[place].put(batch, self._delay(batch.account))

    def _put_workload(self, workload: Workload) -> None:
        place = ("workloads", self._lane(workload.account))
        if place not in self.queues:
            self.queues[place] = Queue(width=self.options.workers, fetched=_fetched, run=self.workshop.work)
        self.queues[place].put(workload, self._delay(workload.account))

    def _lane(self, account: str) -> str:
        found = self.accounts.by_name.get(account)
        return account if found is not None and found.alone else ""

    def _delay(self, account: str) -> float:
        own = self.accounts.by_name[account].queue_delay
        return self.options.queue_delay if own is None else own

    def _run_time(self, account: str) -> float:
        found = self.accounts.by_name.get(account)
        own = None if found is None else found.run_time
        return self.options.run_time if own is None else own

    def _rested(self, row: Work) -> None:
        account = self.accounts.by_name.get(row.account)
        if account is not None:
            account.live -= 1

    # --- its own truth --------------------------------------------------------------------------------------------

    def truth(self, account: str | None = None) -> dict[str, Any]:
        batches = [batch for batch in self.books.batches.values() if account in (None, batch.account)]
        workloads = [row for row in self.books.workloads.values() if account in (None, row.account)]
        jobs = [job for batch in batches for job in batch.jobs]
        tags: Counter[str] = Counter()
        for (who, tag), number in self.books.created.items():
            if account in (None, who):
                tags[tag] += number
        return {
            "batches": [_batch(batch) for batch in batches],
            "workloads": [_work(row) | {"config": row.config} for row in workloads],
            "created_by_tag": dict(tags),
            "live": sum(not row.ended for row in [*jobs, *workloads]),
            "starts": sum(row.starts for row in [*jobs, *workloads]),
            "empty_cancels": self._of(self.books.empty_cancels, account),
            "tokens": self._of(self.tokens.made, account),
            "leaks": self.storage.leaks,
        }

    def _of(self, counted: Counter[str], account: str | None) -> int:
        return counted.total() if account is None else counted[account]

    def brief(self, account: str | None = None) -> dict[str, Any]:
        """By mark: how many batches were created with it, what they hold, and how often their jobs were begun."""
        found: dict[str, dict[str, int]] = {}
        for batch in self.books.batches.values():
            if account not in (None, batch.account):
                continue
            for mark in {mark for tag in batch.tags for mark in MARK.findall(tag)}:
                entry = found.setdefault(mark, {"batches": 0, "copies": 0, "jobs": 0, "started": 0})
                entry["copies" if batch.parent_id else "batches"] += 1
                entry["jobs"] += len(batch.jobs)
                entry["started"] += sum(job.starts for job in batch.jobs)
        return {"markers": found}

    def told(self) -> Mapping[str, str]:
        """What the line of a new stand-in tells beyond that of the others."""
        first = next(iter(self.accounts))
        client, secret = halves(first)
        return {
            "username": first.name,
            "password": first.token,
            "client_id": client,
            "client_secret": secret,
            "project_id": project_id(first.name),
        }

    async def aclose(self) -> None:
        for queue in self.queues.values():
            await queue.aclose()
        await self.engine.aclose()


def host_of(port_is_storage: bool, path: str) -> tuple[int, str]:
    """Which part of the cloud a path is for, and what is left of it for that part."""
    if port_is_storage:
        return STORAGE, path
    for prefix, host in (("/core-fast", CORE), ("/account", ACCOUNT)):
        if path.startswith(f"{prefix}/"):
            return host, path.removeprefix(prefix)
    return (TOKEN if path in PATHS else NOWHERE), path


def _fetched(_: Any) -> None:
    """A row that has waited out its delay is still pending."""


def _batch(row: Batch) -> dict[str, Any]:
    return {
        "id": row.id,
        "account": row.account,
        "project_id": row.project_id,
        "parent_id": row.parent_id,
        "status": row.status,
        "open": row.open,
        "device_type": row.device_type,
        "tags": row.tags,
        "created": row.created,
        "jobs": [_work(job) | _asked(job) for job in row.jobs],
    }


def _asked(row: Job) -> dict[str, Any]:
    return {"runs": row.runs, "variables": row.variables, "parent_id": row.parent_id}


def _work(row: Work) -> dict[str, Any]:
    return {
        "id": row.id,
        "status": row.status,
        "created": row.created,
        "started": row.started,
        "ended": row.finished,
        "starts": row.starts,
        "errors": row.errors,
    }
