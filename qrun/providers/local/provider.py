"""The provider `local`: a pool of worker processes and the jobs that wait for one.

A worker runs one job at a time and is started when a job needs it, so there are never more workers than jobs. Stopping
a job means killing its worker; another takes its place. Nothing outlives this process: workers die with it, and what
was running is absent again.

A handle is the submission's marker, with `#<i>` where a submission has several members. It also gives the seed, so that
the same attempt of the same job has the same counts wherever it runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
import re
import signal
import struct
import sys
import sysconfig
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from qrun.connection import Connection
from qrun.errors import Missing, Problem, Rejected, SettingsError
from qrun.job import Job
from qrun.provider import (
    Capabilities,
    Device,
    Filters,
    Found,
    Labels,
    LiveSet,
    Log,
    Marks,
    Prepared,
    Recalled,
    Sending,
    Sink,
    Status,
    Submission,
)
from qrun.providers.local import AER, CAPABILITIES, DDSIM, PULSER, SEED, TAKES
from qrun.providers.local.normal import ObservableError, parse_observable
from qrun.providers.local.openqasm.tokens import ProgramError, Text, check_includes, decode, inputs
from qrun.providers.local.size import size
from qrun.record import Handle, Phase

WORDS: Final[Mapping[str, Phase]] = {
    "queued": Phase.LIVE,
    "running": Phase.LIVE,
    "succeeded": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "crashed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}

LENGTH: Final = struct.Struct(">I")
LOOK: Final = 256 * 1024  # programs up to this size are looked through before they are queued
UNITS: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
SMALLEST: Final = 256 * 2**20  # less memory than this and a worker cannot load its libraries
MODULES: Final = {DDSIM: ("mqt.core",), AER: ("qiskit", "qiskit_aer"), PULSER: ("pulser", "pulser_simulation")}


def workers(settings: Mapping[str, Any]) -> int:
    number = settings.get("workers", os.cpu_count() or 1)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise SettingsError(Problem(message=f"workers is {number!r}; a whole number above 0 is needed"))
    return number


def share(settings: Mapping[str, Any], count: int) -> int:
    """The bytes that each of so many workers may take; 0 where the machine does not tell how many it has."""
    given = settings.get("memory")
    if given is None:
        return max(SMALLEST, physical() * 8 // 10 // count) if physical() else 0
    whole = memory(given)
    if whole // count < SMALLEST:
        hint = f"give {count * SMALLEST // 2**20} MiB or more, or fewer workers"
        raise SettingsError(Problem(message=f"memory is {given!r}, too little for {count} workers", hint=hint))
    return whole // count


def memory(given: Any) -> int:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", given) if isinstance(given, str) else None
    if match is None or match[2].lower() not in UNITS:
        raise SettingsError(Problem(message=f'memory is {given!r}; a size such as "4 GiB" is needed'))
    return int(float(match[1]) * UNITS[match[2].lower()])


def physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def seed(handle: str) -> int:
    """From 1 up: 0 means "at random" to mqt-core."""
    return int.from_bytes(hashlib.sha256(handle.encode()).digest()[:8]) % SEED + 1


def request(job: Job, programs: Mapping[str, bytes]) -> dict[str, Any]:
    """What a worker is sent, all but the seed; raises Rejected for what can be seen to be wrong."""
    _check_device(job)
    _check_kind(job)
    texts = [_checked(program.path, programs[program.sha256], job.target.device) for program in job.programs]
    _check_params(job, texts)
    return {
        "device": job.target.device,
        "kind": job.kind,
        "programs": [
            {"path": program.path, "text": text} for program, (text, _) in zip(job.programs, texts, strict=True)
        ],
        "shots": job.shots,
        "params": dict(job.params),
        "observable": [list(term) for term in job.observable],
        "options": {name: value for name, value in job.options.items() if name != "seed"},
    }


def _refused(job: Job, message: str, *, field: str | None = None, hint: str | None = None) -> Rejected:
    path = job.programs[0].path if job.programs and field is None else None
    return Rejected(Problem(message=message, file=path, field=field, hint=hint), members=(job.key,))


def _check_device(job: Job) -> None:
    device = job.target.device
    if device not in MODULES:
        known = ", ".join(MODULES)
        raise _refused(job, f'there is no device "{device}"', field=f"{job.key}.device", hint=f"choose one of {known}")
    if not available(device):
        raise _refused(job, f'device "{device}" is not installed', field=f"{job.key}.device", hint=cure(device))
    for name in job.options:
        if name != "seed" and name not in TAKES[device]:
            others = [other for other, taken in TAKES.items() if name in taken]
            hint = f"it belongs to device {' and '.join(others)}" if others else None
            raise _refused(job, f'device "{device}" has no such option', field=f"{job.key}.options.{name}", hint=hint)


def _check_kind(job: Job) -> None:
    if job.kind == "estimation" and job.target.device == PULSER:
        raise _refused(job, "device pulser only samples", field=f"{job.key}.kind", hint="use kind: sampling")
    if not job.programs:
        raise _refused(job, "a program is needed", field=f"{job.key}.program")
    if job.kind != "multi" and len(job.programs) > 1:
        raise _refused(job, "only one program fits", field=f"{job.key}.program", hint="use kind: multi")
    if job.kind != "estimation" and not job.shots:
        raise _refused(job, "the number of shots is needed", field=f"{job.key}.shots")
    if job.kind == "estimation":
        if not job.observable:
            raise _refused(job, "an observable is needed", field=f"{job.key}.observable")
        try:
            parse_observable(job.observable)
        except ObservableError as error:
            raise _refused(job, str(error), field=f"{job.key}.observable") from error


def _checked(path: str, data: bytes, device: str) -> tuple[str, Text | None]:
    """The program's text, and its tokens where it is OpenQASM and not large; a worker looks at every one."""
    try:
        text = decode(data)
        if device == PULSER or len(data) > LOOK:
            return text, None
        tokens = Text(text)
        check_includes(tokens)
    except ProgramError as error:
        problem = Problem(message=error.message, file=path, line=error.line, column=error.column, hint=error.hint)
        raise Rejected(problem) from error
    return text, tokens


def _check_params(job: Job, texts: Sequence[tuple[str, Text | None]]) -> None:
    if job.target.device == PULSER or any(tokens is None for _, tokens in texts):
        return
    declared: set[str] = set()
    for program, (_, tokens) in zip(job.programs, texts, strict=True):
        assert tokens is not None
        found = inputs(tokens) if "input" in tokens.text else {}
        for name, token in found.items():
            if name not in job.params:
                line, column = tokens.position(token.offset)
                hint = f"give it under params: {name}"
                message = f'input "{name}" has no value'
                problem = Problem(message=message, file=program.path, line=line, column=column, hint=hint)
                raise Rejected(problem, members=(job.key,))
        declared |= set(found)
    for name in job.params:
        if name not in declared:
            hint = f"its inputs are {', '.join(sorted(declared))}" if declared else "it declares no input"
            raise _refused(job, "the program has no such input", field=f"{job.key}.params.{name}", hint=hint)


_FOUND: dict[str, bool] = {}


def available(device: str) -> bool:
    if device not in _FOUND:
        _FOUND[device] = all(_importable(module) for module in MODULES[device])
    return _FOUND[device]


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def cure(device: str) -> str:
    return "pip install 'mqt-core>=3.11,<4'" if device == DDSIM else f"pip install 'qrun-quantum[{device}]'"


def ended(code: int, limit: int) -> str:
    """Why a worker that said nothing is gone."""
    if code >= 0:
        return f"the worker ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    cause = {
        "SIGKILL": "; it was killed from outside, perhaps because the machine ran out of memory",
        "SIGABRT": f"; the simulation may have needed more memory than the {size(limit)} that a worker may take"
        if limit
        else "",
        "SIGSEGV": "; the simulator crashed",
        "SIGBUS": "; the simulator crashed",
    }.get(name, "")
    return f"the worker was ended by signal {-code} ({name}){cause}"


@dataclass(kw_only=True, slots=True)
class Run:
    """A job from submit to fetch."""

    handle: Handle
    body: bytes = field(repr=False)
    cancelled: bool = False
    process: asyncio.subprocess.Process | None = None
    results: Mapping[str, Any] | None = field(default=None, repr=False)
    final: bool = False


class Local:
    def __init__(self, connection: Connection) -> None:
        self.workers = workers(connection.settings)
        self.memory = share(connection.settings, self.workers)
        self._runs: dict[Handle, Run] = {}
        self._waiting: deque[Run] = deque()
        self._news: dict[Handle, Status] = {}
        self._woken = asyncio.Event()
        self._crews: set[asyncio.Task[None]] = set()
        self._idle: list[asyncio.subprocess.Process] = []

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def pack(self, jobs: Sequence[Job]) -> Sequence[Sequence[Job]]:
        return [[job] for job in jobs]

    async def prepare(self, submission: Submission) -> Prepared:
        body = tuple(request(job, submission.programs) for job in submission.jobs)
        return Prepared(submission=submission, payloads=tuple(job.digest for job in submission.jobs), body=body)

    def slot(self) -> AbstractAsyncContextManager[None]:
        """The workers have a queue of their own."""
        return nullcontext()

    async def submit(self, prepared: Prepared, sending: Sending) -> Sequence[Handle]:
        jobs = prepared.submission.jobs
        several = len(jobs) > 1
        handles = [Handle(f"{sending.marker}#{place}" if several else sending.marker) for place in range(len(jobs))]
        for job, body, handle in zip(jobs, prepared.body, handles, strict=True):
            whole = {**body, "seed": job.options.get("seed") or seed(handle)}
            run = Run(handle=handle, body=json.dumps(whole, separators=(",", ":"), default=dict).encode())
            self._runs[handle] = run
            self._waiting.append(run)
            if len(self._crews) < self.workers:
                crew = asyncio.create_task(self._crew())
                self._crews.add(crew)
                crew.add_done_callback(self._crews.discard)
        return handles

    async def find(self, marks: Marks) -> Sequence[Found]:
        """Nothing outlives this process, so there is nothing to find."""
        del marks
        return ()

    async def inspect(self, handle: Handle) -> Found:
        if handle not in self._runs:
            raise Missing(f'"{handle}" does not run here')
        return Found(handle=handle, marker=handle.partition("#")[0])

    async def watch(self, live: LiveSet) -> AsyncIterator[tuple[Handle, Status]]:
        """News of a handle waits until the handle is watched; the latest news of each is told."""
        changed = asyncio.ensure_future(live.changed())
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.sleep(0)  # from here on `changed` sees every change
            known = set(live.handles())
            for handle in known - set(self._runs):
                yield handle, Status(phase=Phase.LOST, word="unknown", message="it does not run in this process")
            while True:
                self._woken.clear()
                told = [handle for handle in self._news if handle in known]
                if not told and self._news:
                    known = set(live.handles())
                    told = [handle for handle in self._news if handle in known]
                for handle in told:
                    status = self._news.pop(handle, None)
                    if status is not None:
                        if status.phase in (Phase.FAILED, Phase.CANCELLED):
                            self._runs.pop(handle, None)
                        yield handle, status
                if told:
                    continue
                await asyncio.wait((changed, woken), return_when=asyncio.FIRST_COMPLETED)
                if changed.done():
                    changed = asyncio.ensure_future(live.changed())
                    await asyncio.sleep(0)
                    known = set(live.handles())
                if woken.done():
                    woken = asyncio.ensure_future(self._woken.wait())
        finally:
            changed.cancel()
            woken.cancel()

    async def fetch(self, handles: Sequence[Handle], sink: Sink) -> None:
        for handle in handles:
            run = self._runs.pop(handle, None)
            if run is None or run.results is None:
                await sink.gone(handle, "it did not run in this process")
            else:
                await sink.results(handle, run.results)

    def read(self, job: Mapping[str, Any], raw: Mapping[str, bytes]) -> Mapping[str, Any]:
        del job, raw
        raise Missing("a local job has no raw outputs")

    async def cancel(self, handles: Collection[Handle]) -> Mapping[Handle, str | None]:
        return {handle: self._cancel(handle) for handle in handles}

    def _cancel(self, handle: Handle) -> str | None:
        run = self._runs.get(handle)
        if run is None:
            return "it does not run in this process"
        if run.final:
            return "it has already ended"
        run.cancelled = True
        if run.process is not None:
            _kill(run.process)
        elif run in self._waiting:
            self._waiting.remove(run)
            self._end(run, "cancelled")
        return None

    async def relabel(self, container: Handle, labels: Labels) -> None:
        """Labels are kept only in our own records."""
        del container, labels

    async def list(self, filters: Filters) -> AsyncIterator[Found]:
        """No job of an account: everything is in the records."""
        del filters
        return
        yield

    async def recall(self, handle: Handle) -> Recalled:
        raise Missing(f'"{handle}" ran in a process that has ended')

    async def logs(self, handle: Handle) -> AsyncIterator[Log]:
        """A simulator writes none."""
        del handle
        return
        yield

    async def devices(self) -> Sequence[Device]:
        return [
            Device(device=device, status="available" if available(device) else f"not installed: {cure(device)}")
            for device in MODULES
        ]

    async def aclose(self) -> None:
        """Kills every worker; what ran is as if it had never been."""
        self._waiting.clear()
        crews = list(self._crews)
        for crew in crews:
            crew.cancel()
        await asyncio.gather(*crews, return_exceptions=True)
        for process in self._idle:
            _kill(process)
            await _gone(process)
        self._idle.clear()

    # --- the workers --------------------------------------------------------------------------------------------------

    def _tell(self, handle: Handle, status: Status) -> None:
        self._news[handle] = status
        self._woken.set()

    def _end(self, run: Run, word: str, message: str | None = None, provided: Mapping[str, Any] | None = None) -> None:
        run.final = True
        run.process = None
        self._tell(run.handle, Status(phase=WORDS[word], word=word, message=message, provided=provided or {}))

    async def _crew(self) -> None:
        """One worker after the other, as long as jobs wait."""
        process = self._idle.pop() if self._idle else None
        try:
            while self._waiting:
                run = self._waiting.popleft()
                if process is None or process.returncode is not None:
                    try:
                        process = await self._start()
                    except OSError as error:
                        self._end(run, "failed", f"no worker could be started: {error.strerror}")
                        continue
                process = await self._carry_out(run, process)
            if process is not None:
                self._idle.append(process)
                process = None
        finally:
            if process is not None:
                _kill(process)
                await _gone(process)

    async def _carry_out(self, run: Run, process: asyncio.subprocess.Process) -> asyncio.subprocess.Process | None:
        """Runs the job and tells how it ended; gives the worker back if it can take another."""
        if run.cancelled:
            self._end(run, "cancelled")
            return process
        run.process = process
        self._tell(run.handle, Status(phase=Phase.LIVE, word="running", running=True))
        try:
            reply = await _exchange(process, run.body)
        except (asyncio.IncompleteReadError, ConnectionError):
            await _gone(process)
            assert process.returncode is not None
            if run.cancelled:
                self._end(run, "cancelled")
            else:
                self._end(run, "crashed", ended(process.returncode, self.memory))
            return None
        if run.cancelled:
            await _gone(process)
            self._end(run, "cancelled")
            return None
        if "results" in reply:
            run.results = reply["results"]
            self._end(run, "succeeded", provided=reply["facts"])
        else:
            self._end(run, "failed", reply["message"])
        if reply.get("spent"):
            _kill(process)
            await _gone(process)
            return None
        return process

    async def _start(self) -> asyncio.subprocess.Process:
        """The environment is made anew: nothing of ours reaches the libraries, and one thread is enough for each."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "qrun.providers.local.worker",
            str(os.getpid()),
            str(self.memory),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env=environment(),
            start_new_session=True,  # Ctrl-C is for us: the worker ends when we say so, or with us
            close_fds=True,
        )


def environment() -> dict[str, str]:
    threads = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM", "RAYON", "QISKIT")
    root = str(Path(__file__).resolve().parents[3])
    found = {"PYTHONPATH": root} if root not in sysconfig.get_paths().values() else {}
    return {
        **{f"{library}_NUM_THREADS": "1" for library in threads},
        **found,
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C.UTF-8",
        # glibc gives large blocks back at once and takes them anew for the next job, which costs more than the job
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
        "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
        "MPLBACKEND": "Agg",
    }


async def _exchange(process: asyncio.subprocess.Process, body: bytes) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(LENGTH.pack(len(body)) + body)
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    reply: dict[str, Any] = json.loads(await process.stdout.readexactly(length))
    return reply


def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


async def _gone(process: asyncio.subprocess.Process) -> None:
    """Waits for the end of the process and of its pipes."""
    assert process.stdin is not None
    process.stdin.close()
    await process.wait()
