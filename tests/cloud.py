"""A quantum cloud in memory, with books of its own, and the provider that talks to it.

The cloud outlives the process that a test kills: hand the same `Cloud` to a new `MemoryProvider`. Faults are a script:
`cloud.faults["submit"] = ["answer lost"]` is used up, one entry a call; None lets a call through.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from qrun.canonical import digest
from qrun.clock import Clock, stamp
from qrun.errors import Denied, Missing, Rejected, Unavailable, Uncertain, Unexpected
from qrun.job import NOTHING, Job, rendered
from qrun.provider import (
    Capabilities,
    Device,
    Filters,
    Found,
    Kind,
    Labels,
    LiveSet,
    Log,
    Marks,
    Prepared,
    Recalled,
    Recovery,
    Sending,
    Sink,
    Status,
    Submission,
)
from qrun.record import Handle, Phase
from tests.shelf import Killed

WORDS: Mapping[str, Phase] = {
    "QUEUED": Phase.LIVE,
    "RUNNING": Phase.LIVE,
    "DONE": Phase.SUCCEEDED,
    "ERROR": Phase.FAILED,
    "CANCELLED": Phase.CANCELLED,
    "EXPIRED": Phase.LOST,
}
FIELDS = frozenset({"program", "shots", "params", "options", "tags"})


@dataclass(kw_only=True)
class Run:
    """One job as the cloud's own books have it."""

    id: str
    marker: str | None
    mark: str | None
    key: str  # as the test names it; the cloud of the real world would not know
    payload: str
    device: str
    shots: int | None
    created: float
    started: bool = True
    word: str = "QUEUED"
    tags: tuple[str, ...] = ()
    fetches: int = 0
    cancelled: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)  # what `recall` gives back beside device, kind, shots, tags
    programs: tuple[tuple[str, bytes], ...] = ()
    log: bytes = b"started\nended\n"


@dataclass(kw_only=True)
class Cloud:
    """`outcome` names a run's last word; `duration` is in seconds; `lag` is how long a list misses a new run."""

    clock: Clock
    recovery: Recovery = Recovery.SEARCH
    duration: float = 30.0
    lag: float = 0.0
    outcome: Callable[[Run], str] = lambda run: "DONE"
    faults: dict[str, list[str | None]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    words: Callable[[Run], str | None] = lambda run: None
    gone: set[str] = field(default_factory=set)
    members: int = 1
    opens: bool = False  # whether a batch may stay open for more jobs
    open: set[str] = field(default_factory=set)  # the batches that are
    relabels: bool = True
    lists_payloads: bool = True  # False: only `inspect` gives them
    device: Mapping[str, Any] | None = None  # what it says of its device when a job is prepared
    devices: list[Device] = field(default_factory=lambda: [Device(device="qpu", status="online", qubits=5)])
    pace: float = 1.0  # seconds between two sweeps
    kill_at: int | None = None  # the process dies when it makes this request, counted from now

    def made(self, key: str | None = None) -> list[str]:
        """What was started, in order: the money that was spent."""
        return [run.id for run in self.runs if run.started and key in (None, run.key)]

    def fault(self, call: str) -> str | None:
        self.requests.append(call)
        if self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at < 0:
                self.kill_at = None
                raise Killed
        script = self.faults.get(call)
        return script.pop(0) if script else None

    def word(self, run: Run) -> str:
        if run.cancelled:
            return "CANCELLED"
        forced = self.words(run)
        if forced is not None:
            return forced
        age = self.clock.now() - run.created
        return "QUEUED" if age < self.duration / 3 else "RUNNING" if age < self.duration else self.outcome(run)

    def start(
        self,
        job: Job,
        payload: str,
        marker: str,
        mark: str,
        *,
        id: str,  # noqa: A002
        started: bool = True,
        programs: Mapping[str, bytes] = NOTHING,
    ) -> Run:
        fields = {"params": dict(job.params), "options": dict(job.options)}
        run = Run(
            id=id,
            marker=marker,
            mark=mark,
            key=job.key,
            payload=payload,
            device=job.target.device,
            shots=job.shots,
            created=self.clock.now(),
            started=started,
            tags=job.tags,
            fields={name: value for name, value in fields.items() if value},
            programs=tuple(("program.qasm", programs[p.sha256]) for p in job.programs if p.sha256 in programs),
        )
        self.runs.append(run)
        return run

    def find(self, id: str) -> Run:  # noqa: A002
        for run in self.runs:
            if run.id == id:
                return run
        raise Missing(f'no job "{id}"')

    def listed(self) -> list[Run]:
        return [run for run in self.runs if self.clock.now() - run.created >= self.lag]


class MemoryProvider:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.capabilities = capabilities(cloud)

    def pack(self, jobs: Sequence[Job]) -> Sequence[Sequence[Job]]:
        size = self.cloud.members
        return [jobs[i : i + size] for i in range(0, len(jobs), size)]

    async def prepare(self, submission: Submission) -> Prepared:
        match self.cloud.fault("prepare"):
            case "denied":
                raise Denied("the token has expired", hint="log in again")
            case "unavailable":
                raise Unavailable("no route to the cloud")
            case "slow":
                await self.cloud.clock.sleep(3600.0)
            case "come back":
                raise Unavailable("the server asks to wait 3 h", retry_after=10800.0)
        payloads = tuple(payload(job) for job in submission.jobs)
        return Prepared(submission=submission, payloads=payloads, body=None, device=self.cloud.device)

    def slot(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def submit(self, prepared: Prepared, sending: Sending) -> Sequence[Handle]:
        if self.cloud.recovery is Recovery.ID_FIRST:
            return [await self._register_then_start(prepared.submission, prepared.payloads[0], sending)]
        if prepared.submission.step == "join":
            await sending.note(count=str(len(self._members(str(prepared.submission.container)))))
        fault = self.cloud.fault("submit")
        await asyncio.sleep(0.01)
        match fault:
            case "killed before":
                raise Killed
            case "request lost":
                raise Uncertain("the connection was reset")
            case "refused":
                raise Rejected("shots must be below 500", provider_code="E17")
            case "unavailable":
                raise Unavailable("connection refused")
            case str() if fault.startswith("refused:"):
                key = fault.partition(":")[2]
                raise Rejected(f'"{key}" has a bad parameter', members=(key,))
        if self.cloud.recovery is Recovery.KEY:
            known = [run for run in self.cloud.runs if run.marker == sending.marker]
            if known:
                return [Handle(run.id) for run in known]
        handles = self._start(prepared.submission, prepared.payloads, sending)
        match fault:
            case "answer lost":
                raise Uncertain("the answer was lost")
            case "killed after":
                raise Killed
            case "replayed":
                self._start(prepared.submission, prepared.payloads, sending)
                raise Uncertain("the answer was lost")
            case "strange answer":
                raise Unexpected('the answer has no "id"')
        return handles

    def _start(self, submission: Submission, payloads: Sequence[str], sending: Sending) -> list[Handle]:
        jobs, programs = submission.jobs, submission.programs
        batch = len(self.cloud.runs) + 1
        ids = [f"j{batch}"] if len(jobs) == 1 and not self.cloud.opens else [f"b{batch}/{i}" for i in range(len(jobs))]
        if submission.step == "join":
            ids = self._joined(submission)
        elif any(job.conduct.open for job in jobs):
            self.cloud.open.add(f"b{batch}")
        hidden = self.cloud.recovery in (Recovery.NOTHING, Recovery.COUNT)
        for job, sent, id in zip(jobs, payloads, ids, strict=True):  # noqa: A001
            marker = "" if hidden else sending.marker
            self.cloud.start(job, sent, marker, sending.mark, id=id, programs=programs)
        return [Handle(id) for id in ids]  # noqa: A001

    def _joined(self, submission: Submission) -> list[str]:
        held = str(submission.container)
        if held not in self.cloud.open:
            raise Rejected("the batch takes no more jobs")
        there = len(self._members(held))
        return [f"{held}/{there + i}" for i in range(len(submission.jobs))]

    def _members(self, held: str) -> list[Run]:
        return [run for run in self.cloud.runs if run.id.startswith(f"{held}/")]

    def alike(self, job: Job, other: Mapping[str, Any]) -> bool:
        return job.target.device == other["device"] and [p.sha256 for p in job.programs] == [
            program["sha256"] for program in other["program"]
        ]

    async def opened(self, container: Handle) -> bool:
        self.cloud.fault("opened")
        return container in self.cloud.open

    async def close(self, container: Handle) -> None:
        fault = self.cloud.fault("close")
        if fault == "unavailable":
            raise Unavailable("the batch did not answer")
        self.cloud.open.discard(container)
        match fault:
            case "answer lost":
                raise Uncertain("the answer was lost")
            case "killed after":
                raise Killed

    async def _register_then_start(self, submission: Submission, sent: str, sending: Sending) -> Handle:
        """OQTOPUS's way: the id comes first and costs nothing."""
        id = sending.noted.get("job_id", "") if "uploaded" in sending.noted else ""  # noqa: A001
        if not id:
            self._step("register")
            id = f"j{len(self.cloud.runs) + 1}"  # noqa: A001
            [job], programs = submission.jobs, submission.programs
            self.cloud.start(job, sent, sending.marker, sending.mark, id=id, started=False, programs=programs)
            await sending.note(job_id=id)
            self._step("upload")
            await sending.note(uploaded="yes")
        fault = self.cloud.fault("start")
        if fault == "killed before":
            raise Killed
        run = self.cloud.find(id)
        if fault == "request lost":
            raise Uncertain("the connection was reset")
        run.started, run.created = True, self.cloud.clock.now()
        if fault == "killed after":
            raise Killed
        if fault == "answer lost":
            raise Uncertain("the answer was lost")
        return Handle(id)

    def _step(self, name: str) -> None:
        fault = self.cloud.fault(name)
        if fault == "killed":
            raise Killed
        if fault is not None:
            raise Unavailable(f"{name} failed")

    async def find(self, marks: Marks) -> Sequence[Found]:
        match self.cloud.fault("find"):
            case "unavailable":
                raise Unavailable("the list did not answer")
        if self.cloud.recovery is Recovery.NOTHING:
            return []
        if marks.step == "join":
            new = self._members(str(marks.container))[int(marks.noted["count"]) :]
            return [replace(self._found(run), marker=None) for run in new]
        runs = [run for run in self.cloud.listed() if self.cloud.recovery is Recovery.COUNT or run.mark == marks.mark]
        found = [self._found(run) for run in runs]
        return found if self.cloud.lists_payloads else [replace(f, payload=None) for f in found]

    def _found(self, run: Run) -> Found:
        return Found(
            handle=Handle(run.id),
            marker=run.marker,
            mark=run.mark,
            device=run.device,
            shots=run.shots,
            created=stamp(run.created),
            payload=run.payload,
            word=self.cloud.word(run),
            started=run.started,
            phase=WORDS.get(self.cloud.word(run)),
            kind="sampling",
            name=run.key,
            tags=run.tags,
        )

    async def inspect(self, handle: Handle) -> Found:
        if self.cloud.fault("inspect") == "unavailable":
            raise Unavailable("the job did not answer")
        return self._found(self.cloud.find(handle))

    async def watch(self, live: LiveSet) -> AsyncIterator[tuple[Handle, Status]]:
        while True:
            fault = self.cloud.fault("sweep")
            if fault == "killed":
                raise Killed
            if fault == "denied":
                raise Denied("the token has expired")
            for handle in list(live.handles()):
                yield handle, self._status(handle, fault)
            await asyncio.sleep(self.cloud.pace)

    def _status(self, handle: Handle, fault: str | None) -> Status:
        if fault == "unavailable":
            return Status(phase=None, word="", error=Unavailable("502 from a proxy"))
        try:
            run = self.cloud.find(handle)
        except Missing:
            return Status(phase=Phase.LOST, word="404", message="no such job any more")
        word = self.cloud.word(run)
        return Status(phase=WORDS.get(word), word=word, running=word == "RUNNING", provided={"created": run.id})

    async def fetch(self, handles: Sequence[Handle], sink: Sink) -> None:
        fault = self.cloud.fault("fetch")
        if fault == "killed":
            raise Killed
        if fault == "unavailable":
            raise Unavailable("the results did not answer")
        for handle in handles:
            run = self.cloud.find(handle)
            run.fetches += 1
            if handle in self.cloud.gone:
                await sink.gone(handle, "410 results were deleted")
                continue
            await sink.raw(handle, "result.json", f'{{"counts":{{"0":{run.shots}}},"id":"{run.id}"}}'.encode())

    def read(self, job: Mapping[str, Any], raw: Mapping[str, bytes]) -> Mapping[str, Any]:
        assert raw["result.json"]
        return {"bits": ["c[0]"], "counts": {"0": job.get("shots", 1)}, "shots": job.get("shots", 1)}

    async def cancel(self, handles: Collection[Handle]) -> Mapping[Handle, str | None]:
        self.cloud.fault("cancel")
        for handle in handles:
            run = self.cloud.find(handle)
            if WORDS.get(self.cloud.word(run)) is Phase.LIVE:
                run.cancelled = True
        return dict.fromkeys(handles)

    async def relabel(self, container: Handle, labels: Labels) -> None:
        self.cloud.fault("relabel")
        for run in self.cloud.runs:
            if run.id.partition("/")[0] == container:
                run.tags = labels.tags

    async def list(self, filters: Filters) -> AsyncIterator[Found]:
        self.cloud.fault("list")
        for run in reversed(self.cloud.listed()):
            found = self._found(run)
            if self._wanted(found, filters):
                yield found

    def _wanted(self, found: Found, filters: Filters) -> bool:
        return (
            (not filters.words or found.word in filters.words)
            and filters.device in (None, found.device)
            and filters.kind in (None, found.kind)
            and (filters.text or "") in f"{found.handle} {found.name} {found.description}"
            and set(filters.tags) <= set(found.tags)
            and (filters.since is None or (found.created or "") >= filters.since)
            and (filters.until is None or (found.created or "") <= filters.until)
        )

    async def recall(self, handle: Handle) -> Recalled:
        self.cloud.fault("recall")
        run = self.cloud.find(handle)
        fields = {"device": run.device, "kind": "sampling", "shots": run.shots, "tags": list(run.tags), **run.fields}
        return Recalled(found=self._found(run), fields=fields, programs=run.programs)

    async def logs(self, handle: Handle) -> AsyncIterator[Log]:
        self.cloud.fault("logs")
        run = self.cloud.find(handle)
        if run.log:
            yield Log(name=f"{run.id}.log", data=run.log)

    async def devices(self) -> Sequence[Device]:
        if self.cloud.fault("devices") == "denied":
            raise Denied("the token has expired", hint="log in again")
        return self.cloud.devices

    async def aclose(self) -> None:
        return None


def capabilities(cloud: Cloud) -> Capabilities:
    return Capabilities(
        provider="memory",
        kinds={"sampling": Kind(fields=FIELDS)},
        default_kind="sampling",
        recovery={"": cloud.recovery, "*/join": Recovery.COUNT},
        settle=60.0,
        relabel=cloud.relabels,
        members=cloud.members,
        packs=cloud.opens,
        opens=cloud.opens,
        logs=True,
    )


def payload(job: Job) -> str:
    """What the cloud sees of a job: no key, no tags."""
    sent = {name: value for name, value in rendered(job).items() if name not in ("tags", "description", "connection")}
    return digest(sent)
