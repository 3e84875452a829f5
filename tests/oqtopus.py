"""An OQTOPUS cloud in memory behind the real HTTP of qrun, for what a stand-in on a socket cannot be made to do.

Nothing moves by itself: a test sets a job's `status`. A script says what happens to requests that it expects:
`cloud.script["POST submit"] = [lost]` is used up, one entry a request; None lets one through.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx

from qrun.archive import archive
from qrun.clock import Clock, instant, stamp
from qrun.connection import Access, Connection
from qrun.job import Job, Program, Target
from qrun.provider import Prepared, Submission
from qrun.providers.oqtopus import connect
from qrun.providers.oqtopus.provider import Oqtopus
from qrun.record import Handle
from tests.virtual import VirtualClock

BELL = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n'
API = "http://127.0.0.1:1"
STORAGE = "http://127.0.0.1:2"
MARKER = "qr1" + "a" * 26
MARK = "qrx" + "b" * 26

Document = dict[str, Any]
Fault = Callable[["Cloud", httpx.Request], httpx.Response]


def answer(status: int, body: Any = None) -> Fault:
    """Instead of doing what was asked; text is what a proxy might say."""
    data = body if isinstance(body, str) else json.dumps(body)
    return lambda cloud, request: httpx.Response(status, text=data)


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


@dataclass(kw_only=True)
class Cloud(httpx.AsyncBaseTransport):
    clock: Clock
    jobs: dict[str, Document] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # what the storage holds, by key
    devices: list[Document] = field(default_factory=lambda: [device("qulacs")])
    script: dict[str, list[Fault | None]] = field(default_factory=dict)
    seen: list[tuple[float, str, dict[str, str]]] = field(default_factory=list)  # when, route, query
    tokens: set[str | None] = field(default_factory=set)  # at the API
    submits: list[str] = field(default_factory=list)  # ids that were started: the money that was spent
    links: int = 0
    refused: set[str] = field(default_factory=set)  # files whose links are never good
    last_page_again: bool = False
    numbers: int = 0
    plain_ids: bool = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.seen.append((self.clock.monotonic(), route(request), query(request)))
        if request.url.port == 1:
            self.tokens.add(request.headers.get("q-api-token"))
        else:
            assert "q-api-token" not in request.headers
        script = self.script.get(route(request))
        fault = script.pop(0) if script else None
        return self.done(request) if fault is None else fault(self, request)

    def asked(self, wanted: str) -> int:
        return sum(each == wanted for _, each, _ in self.seen)

    def done(self, request: httpx.Request) -> httpx.Response:
        parts = path(request)
        match (request.url.port, request.method, parts):
            case 2, "POST", []:
                return self._upload(request)
            case 2, "GET", _:
                return self._file(request)
            case _, "GET", ["devices"]:
                return httpx.Response(200, json=self.devices)
            case _, "POST", ["jobs"]:
                return self._register()
            case _, "GET", ["jobs"]:
                return self._list(query(request))
        job = self.jobs.get(parts[1])
        if job is None:
            return httpx.Response(404, json={"message": "job not found with the given id"})
        match (request.method, parts[2:]):
            case "POST", ["submit"]:
                return self._submit(job, json.loads(request.content))
            case "GET", ["status"]:
                return httpx.Response(200, json={"job_id": job["job_id"], "status": job["status"]})
            case "POST", ["cancel"]:
                return self._cancel(job)
            case "DELETE", []:
                del self.jobs[job["job_id"]]
                return httpx.Response(200, json={"message": "job deleted"})
            case _:
                return self._whole(job)

    def new(self, status: str, **members: Any) -> Handle:
        """A job that is there already."""
        when = members.get("submitted_at") or stamp(self.clock.now())
        job_id = self._id(instant(when))
        made = {"job_type": "sampling", "device_id": "qulacs", "shots": 100, "submitted_at": when}
        self.jobs[job_id] = {"job_id": job_id, **made, "status": status, **members}
        return Handle(job_id)

    def output(self, handle: str, name: str, content: bytes | Any) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.files[f"{handle}/{name}"] = archive("whatever/it/is", data)

    def _id(self, when: float) -> str:
        self.numbers += 1
        if self.plain_ids:
            return f"job-{self.numbers:08d}"
        digits = f"{int(when * 1000):012x}"
        return f"{digits[:8]}-{digits[8:]}-7000-8000-{self.numbers:012x}"

    def _register(self) -> httpx.Response:
        job_id = self._id(self.clock.now())
        self.jobs[job_id] = {"job_id": job_id, "status": "registered"}
        fields = {"key": f"{job_id}/input.zip", "policy": "p", "signature": "s", "x-odd": "as it is"}
        return httpx.Response(200, json={"job_id": job_id, "presigned_url": {"url": f"{STORAGE}/", "fields": fields}})

    def _upload(self, request: httpx.Request) -> httpx.Response:
        fields, content = form(request)
        if fields.get("x-odd") != "as it is":
            return httpx.Response(403, text="<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        self.files[fields["key"].removesuffix(".zip")] = content
        return httpx.Response(204)

    def _submit(self, job: Document, body: Document) -> httpx.Response:
        if job["status"] != "registered":
            return httpx.Response(400, json={"message": "job is not in valid status for submission"})
        if f"{job['job_id']}/input" not in self.files:
            words = f"job information input for {job['job_id']} job not found"
            return httpx.Response(400, json={"message": words})
        job |= {**body, "status": "submitted", "submitted_at": stamp(self.clock.now())}
        self.submits.append(job["job_id"])
        return httpx.Response(200, json={"message": "job submitted"})

    def _cancel(self, job: Document) -> httpx.Response:
        if job["status"] in ("succeeded", "failed"):
            return httpx.Response(400, json={"message": "job is not in valid status for cancellation"})
        job["status"] = "cancelled"
        return httpx.Response(200, json={"message": "cancel request accepted"})

    def _whole(self, job: Document) -> httpx.Response:
        if trap(job):
            return httpx.Response(500, json={"message": "job_type: Input should be known"})
        info = {name.partition("/")[2]: self._link(name) for name in self.files if name.startswith(job["job_id"])}
        return httpx.Response(200, json={**job, "job_info": {**info, **job.get("job_info", {})}})

    def _link(self, name: str) -> str:
        self.links += 1
        return f"{STORAGE}/{name}?signature=s{self.links}"

    def _file(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.strip("/")
        if name in self.refused:
            return httpx.Response(
                403, text="<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
            )
        if name not in self.files:
            return httpx.Response(404, text="<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>")
        return httpx.Response(200, content=self.files[name])

    def _list(self, asked: Mapping[str, str]) -> httpx.Response:
        size, page = int(asked.get("size", "100")), int(asked.get("page", "1"))
        assert 1 <= size <= 100
        assert page >= 1
        fields = asked["fields"].split(",") if "fields" in asked else None
        jobs = [job for job in self.jobs.values() if matches(job, asked)]
        if asked.get("order") == "DESC":
            jobs.reverse()
        last = max(0, -(-len(jobs) // size) - 1)
        start = (min(page - 1, last) if self.last_page_again else page - 1) * size
        shown = jobs[start : start + size]
        if (fields is None or {"job_type", "shots"} & set(fields)) and any(map(trap, shown)):
            return httpx.Response(500, json={"message": "job_type: Input should be known"})
        wanted = fields or ["job_id", "status"]
        return httpx.Response(200, json=[{name: job[name] for name in wanted if name in job} for job in shown])


def trap(job: Document) -> bool:
    return job["status"] == "cancelled" and "submitted_at" not in job


def matches(job: Document, asked: Mapping[str, str]) -> bool:
    """`q` with SQL's wildcards; times leave out what was never submitted."""
    if text := asked.get("q", ""):
        signs = {"%": ".*", "_": "."}
        like = re.compile("".join(signs.get(sign) or re.escape(sign) for sign in text), re.IGNORECASE)
        if not any(like.search(str(job.get(name, ""))) for name in ("job_id", "name", "description")):
            return False
    if asked.get("status") not in (None, job["status"]):
        return False
    return "start_time" not in asked or str(job.get("submitted_at", "")) >= asked["start_time"][:19]


def route(request: httpx.Request) -> str:
    """`GET jobs`, `GET job`, `POST submit`, `POST upload`, `GET file`."""
    if request.url.port == 2:
        return "POST upload" if request.method == "POST" else "GET file"
    parts = path(request)
    return f"{request.method} {parts[2] if len(parts) > 2 else 'job' if len(parts) > 1 else parts[0]}"


def path(request: httpx.Request) -> list[str]:
    return [unquote(part) for part in request.url.raw_path.decode().partition("?")[0].split("/") if part]


def query(request: httpx.Request) -> dict[str, str]:
    return dict(parse_qsl(request.url.query.decode()))


def form(request: httpx.Request) -> tuple[dict[str, str], bytes]:
    """The fields of a multipart form, and its file, which comes last."""
    line = request.headers["content-type"].partition("boundary=")[2].encode()
    parts = request.content.split(b"--" + line)[1:-1]
    fields: dict[str, str] = {}
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        assert "file" not in fields
        fields[name] = content.removesuffix(b"\r\n").decode("latin-1")
    return fields, fields["file"].encode("latin-1")


def device(name: str, **facts: Any) -> Document:
    return {
        "device_id": name,
        "device_type": "simulator",
        "status": "available",
        "available_at": None,
        "n_pending_jobs": 3,
        "n_qubits": 39,
        "basis_gates": ["x", "cx"],
        "supported_instructions": ["measure"],
        "device_info": "",
        "calibrated_at": None,
        "description": "a simulator",
        **facts,
    }


# --- the provider beside it -------------------------------------------------------------------------------------------


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
        raise AssertionError("an OQTOPUS cloud has raw outputs")

    async def gone(self, handle: Handle, words: str) -> None:
        self.lost[handle] = words


def provider(
    clock: Clock | None = None, *, transport: Any = None, url: str = API, token: str = "id.secret", **settings: Any
) -> Oqtopus:
    access = Access(reveal=lambda source: token, clock=clock or Clock())
    connection = Connection(name="cloud", provider="oqtopus", settings={"url": url, "api_token": object(), **settings})
    if transport is None:
        return connect(connection, access)
    return Oqtopus(connection, access, transport)


def beside(cloud: Cloud) -> Oqtopus:
    return provider(cloud.clock, transport=cloud)


def cloud(**given: Any) -> tuple[Cloud, VirtualClock]:
    clock = VirtualClock()
    return Cloud(clock=clock, **given), clock


def submission(
    *programs: str, kind: str = "sampling", device: str = "qulacs", path: str = "programs/x.qasm", **rest: Any
) -> Submission:
    contents = [program.encode() for program in programs or (BELL,)]
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    job = Job(
        experiment="tests",
        key="job",
        target=Target(connection="cloud", provider="oqtopus", device=device),
        kind=kind,
        digest="0" * 64,
        digest_without_site="0" * 64,
        programs=tuple(Program(path=path, sha256=h, size=len(c)) for h, c in zip(hashes, contents, strict=True)),
        **({"shots": None if kind == "sse" else 100} | rest),
    )
    return Submission(connection="cloud", jobs=(job,), attempts=(1,), programs=dict(zip(hashes, contents, strict=True)))


async def sent(oqtopus: Oqtopus, pen: Pen | None = None, wanted: Submission | None = None) -> Handle:
    prepared = await oqtopus.prepare(wanted or submission())
    (handle,) = await oqtopus.submit(prepared, pen or Pen())
    return handle


def unzipped(data: bytes) -> tuple[Sequence[str], bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return file.namelist(), file.read(file.namelist()[0])


def content(prepared: Prepared) -> Any:
    """`input.json` as it will be uploaded."""
    names, data = unzipped(prepared.body.packed)
    assert names == ["input.json"]
    return json.loads(data)
