"""Who computes: the simulators of the provider `local` behind two questions, what a program is and what it yields.

Programs come from anywhere, so they are read in a thread and simulated in the limited processes of `local`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.connection import Connection
from qrun.errors import Rejected
from qrun.job import NOTHING, Job, Program, Target
from qrun.provider import Status, Submission
from qrun.providers.local import DDSIM, SEED
from qrun.providers.local.openqasm.circuit import Circuit
from qrun.providers.local.openqasm.program import parse
from qrun.providers.local.openqasm.tokens import ProgramError, Text
from qrun.providers.local.provider import Local
from qrun.record import Handle, Phase

TARGET: Final = Target(connection="emulator", provider="local", device=DDSIM)
LONGEST: Final = 2**20  # a program larger than this is not read
REMEMBERED: Final = 256  # programs whose circuits are kept


class EngineError(Exception):
    """Why a program cannot be run, or what became of it, in words for its author."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is to be computed; the seed says with which random numbers. Estimations have observables, others none."""

    kind: str
    programs: tuple[str, ...]
    shots: int
    seed: int
    observable: tuple[tuple[str, float], ...] = ()


class Engine:
    """Results are in the normal form of `local`; `starts` counts what was really begun."""

    def __init__(self, *, workers: int) -> None:
        self.local = Local(Connection(name="emulator", provider="local", settings={"workers": workers}))
        self.starts = 0
        self._live = Live()
        self._ends: dict[Handle, asyncio.Future[Status]] = {}
        self._watch: asyncio.Task[None] | None = None
        self._read: dict[str, Circuit | str] = {}

    async def circuits(self, programs: Sequence[str]) -> list[Circuit]:
        """The programs as they are understood; raises EngineError naming what is not."""
        return [await self._circuit(place, text) for place, text in enumerate(programs)]

    async def _circuit(self, place: int, text: str) -> Circuit:
        if len(text) > LONGEST:
            raise EngineError(f"program {place} is larger than {LONGEST} characters")
        found = self._read.get(text)
        if found is None:
            found = await asyncio.to_thread(circuit_of, text)
            if len(self._read) >= REMEMBERED:
                del self._read[next(iter(self._read))]
            self._read[text] = found
        if isinstance(found, str):
            raise EngineError(f"program {place}:{found}")
        return found

    async def run(self, task: Task) -> Mapping[str, Any]:
        """Raises EngineError."""
        self.starts += 1
        handle = Handle(f"{self.starts}")
        job, programs = job_of(task)
        try:
            prepared = await self.local.prepare(
                Submission(connection="emulator", jobs=(job,), attempts=(1,), programs=programs)
            )
        except Rejected as error:
            raise EngineError(str(error)) from error
        end = self._ends[handle] = asyncio.get_running_loop().create_future()
        if self._watch is None:
            self._watch = asyncio.create_task(self._tell())
        await self.local.submit(prepared, Marked(marker=handle))
        self._live.add(handle)
        try:
            status = await end
            if status.phase is not Phase.SUCCEEDED:
                raise EngineError((status.message or status.word).replace(f" (device {DDSIM})", ""))
            taken = Taken()
            await self.local.fetch([handle], taken)
            return taken.found
        except asyncio.CancelledError:
            await self.local.cancel([handle])
            raise
        finally:
            self._live.remove(handle)
            self._ends.pop(handle, None)

    async def _tell(self) -> None:
        async for handle, status in self.local.watch(self._live):
            end = self._ends.get(handle)
            if end is not None and status.phase is not None and status.phase.final and not end.done():
                end.set_result(status)

    async def aclose(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self.local.aclose()


def job_of(task: Task) -> tuple[Job, dict[str, bytes]]:
    contents = [text.encode() for text in task.programs]
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    job = Job(
        experiment="emulator",
        key="job",
        target=TARGET,
        kind=task.kind,
        digest="",
        digest_without_site="",
        programs=tuple(
            Program(path=f"program {place}", sha256=sha256, size=len(content))
            for place, (sha256, content) in enumerate(zip(hashes, contents, strict=True))
        ),
        shots=task.shots,
        observable=task.observable,
        options={"seed": task.seed},
    )
    return job, dict(zip(hashes, contents, strict=True))


def seed_of(*parts: object) -> int:
    """A seed that the simulators take, from what names the job."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8]) % SEED + 1


def circuit_of(text: str) -> Circuit | str:
    """The circuit, or what is wrong with the program."""
    try:
        circuit = parse(Text(text))
    except ProgramError as error:
        place = "" if error.line is None else f"{error.line}:{error.column}:"
        return f"{place} {error.message}"
    except RecursionError:
        return " it is nested too deeply"
    return circuit if circuit.qubits else " there are no qubits"


# --- what the provider asks for ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Marked:
    marker: str
    mark: str = ""
    noted: Mapping[str, str] = NOTHING

    async def note(self, **facts: str) -> None:
        """Nothing here has to outlive the process."""


@dataclass(slots=True)
class Live:
    running: set[Handle] = field(default_factory=set)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, handle: Handle) -> None:
        self.running.add(handle)
        self.news.set()

    def remove(self, handle: Handle) -> None:
        self.running.discard(handle)

    def handles(self) -> Collection[Handle]:
        return self.running

    async def changed(self) -> None:
        await self.news.wait()
        self.news.clear()


@dataclass(slots=True)
class Taken:
    found: Mapping[str, Any] = NOTHING

    async def raw(self, handle: Handle, name: str, data: bytes) -> None:
        """A simulator has none."""
        del handle, name, data

    async def results(self, handle: Handle, results: Mapping[str, Any]) -> None:
        del handle
        self.found = results

    async def gone(self, handle: Handle, words: str) -> None:
        raise EngineError(f"{words} ({handle})")
