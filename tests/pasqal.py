"""Pasqal Cloud in memory behind the real HTTP of qrun, for what a stand-in on a socket cannot be made to do.

Nothing moves by itself: a test sets a job's `status`. A script says what happens to requests that it expects:
`cloud.script["POST batches"] = [lost]` is used up, one entry a request; None lets one through.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx

from qrun.clock import Clock, stamp
from qrun.connection import Access, Connection
from qrun.job import Conduct, Job, Program, Target
from qrun.provider import Submission
from qrun.providers.pasqal import connect
from qrun.providers.pasqal.provider import Pasqal
from qrun.record import Handle
from tests.virtual import VirtualClock

CORE = "http://127.0.0.1:1/core-fast"
ACCOUNT = "http://127.0.0.1:1/account"
TOKEN = "http://127.0.0.1:3/oauth/token"
LINKS = "http://127.0.0.1:2"
PROJECT = "00000000-0000-0000-0000-00000000aaaa"
MARKER = "qr1" + "a" * 26
MARK = "qrx" + "b" * 26
OVH = "/api/v1/third-party-access/ovh"
ENDED = ("DONE", "ERROR", "CANCELED", "TIMED_OUT")

FRESNEL = {"name": "FRESNEL", "max_runs": 500, "max_atom_num": 3, "max_sequence_duration": 4000, "dimensions": 2}

Document = dict[str, Any]
Fault = Callable[["Cloud", httpx.Request], httpx.Response]


def answer(status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> Fault:
    """Instead of doing what was asked; text is what a proxy might say."""
    data = body if isinstance(body, str) else json.dumps(body)
    return lambda cloud, request: httpx.Response(status, text=data, headers=headers)


def refuses(status: int, said: Any) -> Fault:
    return answer(status, envelope_of_error(status, said))


def lost(cloud: Cloud, request: httpx.Request) -> httpx.Response:
    """Done, and the answer does not come through."""
    cloud.done(request)
    raise httpx.ReadError("connection reset")


def swallowed(cloud: Cloud, request: httpx.Request) -> httpx.Response:
    """Sent, and never done."""
    raise httpx.ReadError("connection reset")


def unsent(cloud: Cloud, request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused")


def then(status: int, body: Any) -> Fault:
    """Done, and answered with something else."""

    def fault(cloud: Cloud, request: httpx.Request) -> httpx.Response:
        cloud.done(request)
        return answer(status, body)(cloud, request)

    return fault


def envelope_of_error(status: int, said: Any) -> Document:
    return {"status": "fail", "message": "Refused", "code": str(status), "data": {"description": said}}


def good(data: Any, **rest: Any) -> httpx.Response:
    return httpx.Response(200, json={"status": "success", "message": "OK.", "code": "200", "data": data, **rest})


def bad(status: int, said: Any) -> httpx.Response:
    return httpx.Response(status, json=envelope_of_error(status, said))


@dataclass(kw_only=True)
class Cloud(httpx.AsyncBaseTransport):
    clock: Clock
    batches: dict[str, Document] = field(default_factory=dict)
    jobs: dict[str, Document] = field(default_factory=dict)
    workloads: dict[str, Document] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)  # by the id of a job or workload
    devices: dict[str, str] = field(default_factory=lambda: {"FRESNEL": json.dumps(FRESNEL)})
    script: dict[str, list[Fault | None]] = field(default_factory=dict)
    seen: list[tuple[float, str, list[tuple[str, str]], Any]] = field(default_factory=list)  # when, route, query, body
    creates: list[str] = field(default_factory=list)  # ids of what costs money
    lifetime: float | None = 86400.0  # of a token
    tokens: list[str] = field(default_factory=list)  # that were given out
    good_tokens: set[str] = field(default_factory=lambda: {"ready"})
    refused: set[str] = field(default_factory=set)  # links that have expired; "*" for all
    unlisted: set[str] = field(default_factory=set)  # ids that lists do not show yet
    counted: bool = True  # whether a batch counts its jobs
    links: int = 0
    numbers: int = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        body = sent_in(request)
        self.seen.append((self.clock.monotonic(), route(request), query(request), body))
        script = self.script.get(route(request))
        fault = script.pop(0) if script else None
        return self.done(request) if fault is None else fault(self, request)

    def asked(self, wanted: str) -> int:
        return sum(each == wanted for _, each, _, _ in self.seen)

    def bodies(self, wanted: str) -> list[Any]:
        return [body for _, each, _, body in self.seen if each == wanted]

    def routes(self) -> list[str]:
        return [each for _, each, _, _ in self.seen]

    # --- who asks -----------------------------------------------------------------------------------------------------

    def done(self, request: httpx.Request) -> httpx.Response:
        proof = request.headers.get("authorization")
        if request.url.port == 2:
            assert proof is None, "a second credential is refused there"
            return self._file(request)
        if request.url.port == 3:
            assert proof is None
            return self._login(sent_in(request))
        parts = path(request)
        public = parts == ["devices", "public-specs"] or (parts == ["devices"] and request.method == "GET")
        if not public and (proof or "").removeprefix("Bearer ") not in self.good_tokens:
            return bad(401, "Unauthorized")
        return self._do(request, request.method, parts, dict(query(request)))

    def _login(self, form: Mapping[str, str]) -> httpx.Response:
        if form.get("password", form.get("client_secret")) != "pa55word":
            words = {"error": "invalid_grant", "error_description": "Wrong email or password."}
            return httpx.Response(403, json=words)
        token = f"token-{len(self.tokens) + 1}-of-many"
        self.tokens.append(token)
        self.good_tokens = {token}
        told = {"access_token": token, "token_type": "Bearer"}
        return httpx.Response(200, json=told if self.lifetime is None else {**told, "expires_in": self.lifetime})

    # --- what is asked ------------------------------------------------------------------------------------------------

    def _do(
        self, request: httpx.Request, method: str, parts: Sequence[str], asked: Mapping[str, str]
    ) -> httpx.Response:
        body: Any = json.loads(request.content) if request.content else None
        match method, list(parts):
            case "POST", ["batches"]:
                return self._create(body)
            case "GET", ["batches"]:
                return self._list(request, [self.shown(each) for each in self.batches.values()])
            case "PATCH", ["batches", "cancel"]:
                return self._cancel_batches(body)
            case "GET", ["jobs"]:
                return self._list(request, [dict(each) for each in self.jobs.values()])
            case "POST", ["workloads"]:
                return self._new_workload(body)
            case "GET", ["workloads"]:
                return self._list(request, [dict(each) for each in self.workloads.values()])
            case "GET", ["devices", "specs"]:
                return good(self.devices)
            case "GET", ["devices", "public-specs"]:
                return good([{"device_type": name, "specs": text} for name, text in self.devices.items()])
            case "GET", ["devices"]:
                return good([{"status": "UP", "availability": "ACTIVE"}])
            case "GET", ["projects"]:
                return good([{"project_id": PROJECT, "name": "atoms"}])
            case _, ["batches", name, *rest]:
                return self._of_batch(request, method, self.batches.get(name), rest, body)
            case _, ["jobs", name, *rest]:
                return self._of_job(method, self.jobs.get(name), rest)
            case _, ["workloads", name, *rest]:
                return self._of_workload(method, self.workloads.get(name), rest)
        return bad(404, "no such route")

    def _of_batch(
        self, request: httpx.Request, method: str, batch: Document | None, rest: Sequence[str], body: Any
    ) -> httpx.Response:
        if batch is None:
            return bad(404, "batch not found")
        match method, list(rest):
            case "GET", []:
                ids = [job["id"] for job in self._members(batch)]
                return good({**self.shown(batch), "sequence_builder": batch["sequence_builder"], "job_ids": ids})
            case "GET", ["status"]:
                shown = self.shown(batch)
                return good({name: shown[name] for name in ("status", "jobs_count_per_status") if name in shown})
            case "POST", ["jobs"]:
                if not batch["open"]:
                    return bad(400, "the batch is closed")
                if wrong := flaws(body):
                    return bad(422, wrong)
                self._add(batch, body)
                return good(self._with_jobs(batch))
            case "PATCH", ["complete"]:
                if not batch["open"]:
                    return bad(400, "the batch is closed already")
                batch["open"] = False
                return good(self._with_jobs(batch))
            case "PATCH", ["tags"]:
                batch["tags"] = body
                return good(self._with_jobs(batch))
            case "PATCH", ["cancel", "jobs"]:
                wanted = [value for name, value in query(request) if name == "id"]
                assert wanted, "no filter is every job"
                found = [self._cancelled(self.jobs[each]) for each in wanted]
                errors = {each: words for each, words in zip(wanted, found, strict=True) if words}
                return good({"jobs": [], "errors": errors})
            case "POST", ["rebatch"]:
                return self._rebatch(request, batch)
        return bad(404, "no such route")

    def _of_job(self, method: str, job: Document | None, rest: Sequence[str]) -> httpx.Response:
        if job is None:
            return bad(404, "job not found")
        match method, list(rest):
            case "GET", []:
                return good({**job, "sequence": self.batches[job["batch_id"]]["sequence_builder"]})
            case "GET", ["status"]:
                return good({"status": job["status"]})
            case "GET", ["results_link"]:
                return good({"results_link": self._link(job["id"])})
            case "PATCH", ["cancel"]:
                words = self._cancelled(job)
                return bad(400, words) if words else good(job)
        return bad(404, "no such route")

    def _of_workload(self, method: str, workload: Document | None, rest: Sequence[str]) -> httpx.Response:
        if workload is None:
            return bad(404, "workload not found")
        match method, list(rest):
            case "GET", []:
                return good({**workload, "result_link": self._link(workload["id"])})
            case "PUT", ["cancel"]:
                words = self._cancelled(workload)
                return bad(400, words) if words else good(workload)
        return bad(404, "no such route")

    # --- what is done -------------------------------------------------------------------------------------------------

    def new(
        self, *statuses: str, tags: Sequence[str] = (MARKER, MARK), open_: bool = False, **batch: Any
    ) -> list[Handle]:
        """A batch that is there already, with jobs of these statuses."""
        name = self._made({"tags": list(tags), "open": open_, "sequence_builder": SEQUENCE, "jobs": [], **batch})
        self._add(self.batches[name], [{"runs": 100, "variables": {"omega": at}} for at in range(len(statuses))])
        members = self._members(self.batches[name])
        for job, status in zip(members, statuses, strict=True):
            job["status"] = status
        return [Handle(f"{name}/{job['id']}") for job in members]

    def set(self, status: str, *handles: str, **members: Any) -> None:
        for handle in handles:
            self.jobs[handle.rpartition("/")[2]] |= {"status": status, **members}

    def _create(self, body: Document) -> httpx.Response:
        if wrong := flaws(body["jobs"], "jobs"):
            return bad(422, wrong)
        if len(set(body.get("tags", []))) < len(body.get("tags", [])):
            return bad(422, [{"loc": ["body", "tags"], "msg": "tags are not unique", "type": "value_error"}])
        return good(self._with_jobs(self.batches[self._made(body)]))

    def _made(self, body: Document) -> str:
        name = self._id("b")
        jobs = body["jobs"]
        usual = {"device_type": "EMU_FREE", "project_id": PROJECT, "webhook": None, "parent_id": None}
        rest = {key: value for key, value in body.items() if key != "jobs"}
        self.batches[name] = {**usual, **rest, "id": name, "created_at": self._now()}
        self.creates.append(name)
        self._add(self.batches[name], jobs)
        return name

    def _add(self, batch: Document, jobs: Sequence[Document]) -> None:
        for job in jobs:
            name = self._id("j")
            self.jobs[name] = {
                "id": name,
                "batch_id": batch["id"],
                "project_id": PROJECT,
                "status": "PENDING",
                "runs": job.get("runs"),
                "variables": job.get("variables", {}),
                "parent_id": job.get("parent_id"),
                "errors": None,
                "created_at": self._now(),
                "creation_order": len(self._members(batch)),
            }

    def _members(self, batch: Document) -> list[Document]:
        return [job for job in self.jobs.values() if job["batch_id"] == batch["id"]]

    def shown(self, batch: Document) -> Document:
        jobs = self._members(batch)
        words = [job["status"] for job in jobs]
        ended = all(word in ENDED for word in words)
        usual = "RUNNING" if batch["open"] or not ended else "DONE"
        told = {name: value for name, value in batch.items() if name != "sequence_builder"}
        counts = {"jobs_count_per_status": {word: words.count(word) for word in words}} if self.counted else {}
        return {"status": usual, **told, "jobs_count": len(jobs), **counts}

    def _with_jobs(self, batch: Document) -> Document:
        return {**self.shown(batch), "jobs": list(reversed(self._members(batch)))}

    def _rebatch(self, request: httpx.Request, batch: Document) -> httpx.Response:
        if batch["open"]:
            return bad(400, "the batch is open")
        asked = query(request)
        ids = [value for name, value in asked if name == "id"]
        words = [value for name, value in asked if name == "status"]
        chosen = [
            {"runs": job["runs"], "variables": job["variables"], "parent_id": job["id"]}
            for job in self._members(batch)
            if (not ids or job["id"] in ids) and (not words or job["status"] in words)
        ]
        if not chosen:
            return bad(400, "no job matches")
        return good(self._with_jobs(self.batches[self._made({**batch, "jobs": chosen, "parent_id": batch["id"]})]))

    def _new_workload(self, body: Document) -> httpx.Response:
        name = self._id("w")
        self.workloads[name] = {"id": name, "status": "PENDING", "created_at": self._now(), **body}
        self.creates.append(name)
        return good(self.workloads[name])

    def _cancelled(self, job: Document) -> str | None:
        if job["status"] in ENDED:
            return f"a job that is {job['status']} cannot be cancelled"
        job["status"] = "CANCELED"
        return None

    def _cancel_batches(self, body: Document) -> httpx.Response:
        assert body["batch_ids"], "an empty list is every batch"
        errors = {}
        for name in body["batch_ids"]:
            if name not in self.batches:
                errors[name] = "batch not found"
                continue
            self.batches[name]["open"] = False
            for job in self._members(self.batches[name]):
                self._cancelled(job)
        return good({"batches": [], "errors": errors})

    def _link(self, name: str) -> str | None:
        if name not in self.results:
            return None
        self.links += 1
        return f"{LINKS}/{name}?signature=s{self.links}"

    def _file(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.strip("/")
        if str(request.url) in self.refused or "*" in self.refused:
            return httpx.Response(403, text="<Error><Code>AccessDenied</Code><Message>expired</Message></Error>")
        if name not in self.results:
            return httpx.Response(404, text="<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>")
        found = self.results[name]
        return httpx.Response(200, content=found if isinstance(found, bytes) else json.dumps(found).encode())

    def _list(self, request: httpx.Request, documents: Sequence[Document]) -> httpx.Response:
        asked = query(request)
        found = [each for each in documents if each["id"] not in self.unlisted and matches(each, asked)]
        order = dict(asked)
        if order.get("order_by") == "creation_order":
            found.sort(key=lambda each: each["creation_order"])
        if order.get("order_by_direction", "DESC") == "DESC":
            found.reverse()
        start, most = int(order.get("offset", "0")), int(order.get("limit", "100"))
        assert 1 <= most <= 100
        shown = found[start : start + most]
        pagination = {"total": len(found), "start": start, "end": min(start + most, len(found))}
        return good(shown, pagination=pagination)

    def _id(self, kind: str) -> str:
        self.numbers += 1
        return f"{kind}{self.numbers:07d}-0000-4000-8000-000000000000"

    def _now(self) -> str:
        return stamp(self.clock.now())


def sent_in(request: httpx.Request) -> Any:
    """JSON, or a form where a token is asked for."""
    if request.url.port == 3:
        assert request.headers["content-type"] == "application/x-www-form-urlencoded"
        return dict(parse_qsl(request.content.decode()))
    return json.loads(request.content) if request.content else None


REPEATED = ("id", "project_id", "device_type", "status", "batch_id")


def matches(document: Document, asked: Sequence[tuple[str, str]]) -> bool:
    for name in REPEATED:
        wanted = [value for key, value in asked if key == name]
        if wanted and document.get(name) not in wanted:
            return False
    tags = [value for key, value in asked if key == "tag"]
    assert len(tags) <= 1
    return all(tag in document.get("tags", []) for tag in tags)


def flaws(jobs: Sequence[Document], *place: str) -> list[Document]:
    return [
        {"loc": ["body", *place, number, "runs"], "msg": "must be at most 1000", "type": "value_error"}
        for number, job in enumerate(jobs)
        if (job.get("runs") or 0) > 1000
    ]


def route(request: httpx.Request) -> str:
    """`GET batches`, `GET batch`, `PATCH batch/tags`, `POST token`, `GET link`."""
    if request.url.port == 2:
        return "GET link"
    if request.url.port == 3:
        return "POST token"
    kind, *rest = path(request)
    if kind == "devices" or not rest:
        return " ".join([request.method, "/".join([kind, *rest])])
    if rest[0] == "cancel":
        return f"{request.method} {kind}/cancel"
    return " ".join([request.method, "/".join([kind.removesuffix("es" if kind == "batches" else "s"), *rest[1:]])])


def path(request: httpx.Request) -> list[str]:
    """Below the version, by whichever way it came."""
    raw = request.url.raw_path.decode().partition("?")[0].replace(OVH, "/api/v1")
    parts = re.sub(r"^/(core-fast|account)/api/v[12]/", "", raw).split("/")
    return [unquote(part) for part in parts if part]


def query(request: httpx.Request) -> list[tuple[str, str]]:
    return parse_qsl(request.url.query.decode())


# --- the provider beside it -------------------------------------------------------------------------------------------


def sequence(*atoms: str, variables: Mapping[str, Any] | None = None, **changed: Any) -> str:
    """A pulse on some atoms, in Pulser's abstract representation."""
    value: Any = {"expression": "index", "lhs": {"variable": "omega"}, "rhs": 0}
    declared = {"omega": {"type": "float", "value": [0.0]}} if variables is None else dict(variables)
    pulse = {
        "op": "pulse",
        "channel": "ryd",
        "protocol": "min-delay",
        "phase": 0.0,
        "post_phase_shift": 0.0,
        "amplitude": {"kind": "constant", "duration": 100, "value": value if "omega" in declared else 1.0},
        "detuning": {"kind": "constant", "duration": 100, "value": 0.0},
    }
    register = [{"name": name, "x": 8.0 * place, "y": 0.0} for place, name in enumerate(atoms or ("left", "right"))]
    whole = {
        "version": "1",
        "name": "demo",
        "register": register,
        "channels": {"ryd": "rydberg_global"},
        "measurement": "ground-rydberg",
        "variables": declared,
        "operations": [pulse],
        "device": "MockDevice",
    }
    return json.dumps({**whole, **changed})


SEQUENCE = sequence()


class Pen:
    """What travels with a submit; `steps` are its notes in their order."""

    def __init__(self, noted: Mapping[str, str] | None = None) -> None:
        self.marker = MARKER
        self.mark = MARK
        self.noted: Mapping[str, str] = dict(noted or {})
        self.steps: list[dict[str, str]] = []

    async def note(self, **facts: str) -> None:
        self.steps.append(facts)
        self.noted = {**self.noted, **facts}


class Basket:
    def __init__(self) -> None:
        self.files: dict[Handle, dict[str, bytes]] = {}
        self.lost: dict[Handle, str] = {}

    async def raw(self, handle: Handle, name: str, data: bytes) -> None:
        self.files.setdefault(handle, {})[name] = data

    async def results(self, handle: Handle, results: Mapping[str, Any]) -> None:
        raise AssertionError("Pasqal Cloud has raw outputs")

    async def gone(self, handle: Handle, words: str) -> None:
        self.lost[handle] = words


def provider(clock: Clock, transport: Any, *, reveal: Callable[[Any], str] = str, **settings: Any) -> Pasqal:
    """Logged in as a user, unless the settings say otherwise; None leaves one out."""
    places = {"core_url": CORE, "account_url": ACCOUNT, "token_url": TOKEN, "project_id": PROJECT}
    login = {} if "token" in settings or "client_id" in settings else {"username": "me", "password": "pa55word"}
    known = {name: value for name, value in {**places, **login, **settings}.items() if value is not None}
    connection = Connection(name="atoms", provider="pasqal", settings=known)
    access = Access(reveal=reveal, clock=clock)
    return connect(connection, access) if transport is None else Pasqal(connection, access, transport)


def beside(cloud: Cloud, **settings: Any) -> Pasqal:
    return provider(cloud.clock, cloud, **settings)


def cloud(**given: Any) -> tuple[Cloud, VirtualClock]:
    clock = VirtualClock()
    return Cloud(clock=clock, **given), clock


def job(key: str = "job", *, program: str = SEQUENCE, device: str = "EMU_FREE", **rest: Any) -> Job:
    """One of an experiment; `open` and `pack` are its conduct."""
    kind = rest.pop("kind", "pulse")
    conduct = Conduct(open=rest.pop("open", False), pack=rest.pop("pack", None), together=rest.pop("together", None))
    usual: dict[str, Any] = {"shots": 100, "params": {"omega": 1.0}} if kind == "pulse" else {}
    data = program.encode()
    sha = hashlib.sha256(data).hexdigest()
    return Job(
        experiment="tests",
        key=key,
        target=Target(connection="atoms", provider="pasqal", device=device),
        kind=kind,
        digest="0" * 64,
        digest_without_site="0" * 64,
        programs=(Program(path="programs/x.json", sha256=sha, size=len(data), content=data),),
        conduct=conduct,
        **{**usual, **rest},
    )


def submission(*jobs: Job, container: str | None = None) -> Submission:
    members = jobs or (job(),)
    programs = {program.sha256: program.content or b"" for each in members for program in each.programs}
    return Submission(
        connection="atoms",
        jobs=members,
        attempts=(1,) * len(members),
        programs=programs,
        step="create" if container is None else "join",
        container=None if container is None else Handle(container),
    )


async def sent(pasqal: Pasqal, *jobs: Job, pen: Pen | None = None, container: str | None = None) -> Sequence[Handle]:
    prepared = await pasqal.prepare(submission(*jobs, container=container))
    return await pasqal.submit(prepared, pen or Pen())


def jwt(**claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{body}.c2lnbmF0dXJl"
