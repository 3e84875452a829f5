"""Programs of the tests, and a way to run jobs through the provider `local` as `apply` does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qrun.connection import Access, Connection
from qrun.job import Job, Program, Target
from qrun.provider import Status, Submission
from qrun.providers.local import connect
from qrun.providers.local.provider import Local
from qrun.record import Handle

HERE = Path(__file__).parent


def text(name: str) -> str:
    return (HERE / name).read_text()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A job, and the bytes of its programs by their hashes."""

    job: Job
    contents: Mapping[str, bytes] = field(repr=False)


def ask(
    *programs: str | bytes,
    device: str = "ddsim",
    kind: str = "sampling",
    shots: int | None = 1000,
    path: str = "programs/x.qasm",
    key: str = "job",
    **rest: Any,
) -> Asked:
    contents = [program.encode() if isinstance(program, str) else program for program in programs]
    hashes = [hashlib.sha256(content).hexdigest() for content in contents]
    job = Job(
        experiment="tests",
        key=key,
        target=Target(connection="local", provider="local", device=device),
        kind=kind,
        digest="0" * 64,
        digest_without_site="0" * 64,
        programs=tuple(Program(path=path, sha256=h, size=len(c)) for h, c in zip(hashes, contents, strict=True)),
        shots=shots,
        **rest,
    )
    return Asked(job=job, contents=dict(zip(hashes, contents, strict=True)))


class Pen:
    """What travels with a submit."""

    def __init__(self, marker: str) -> None:
        self.marker = marker
        self.mark = "qrx"
        self.noted: Mapping[str, str] = {}

    async def note(self, **facts: str) -> None:
        raise AssertionError(f"a local job has nothing to note: {facts}")


class Waiting:
    """The handles that wait, as `apply` shows them to a provider."""

    def __init__(self) -> None:
        self.names: set[Handle] = set()
        self._changed = asyncio.Event()

    def handles(self) -> Sequence[Handle]:
        return sorted(self.names)

    async def changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def add(self, *handles: Handle) -> None:
        self.names.update(handles)
        self._changed.set()

    def drop(self, handle: Handle) -> None:
        self.names.discard(handle)
        self._changed.set()


class Basket:
    def __init__(self) -> None:
        self.found: dict[Handle, Mapping[str, Any]] = {}
        self.lost: dict[Handle, str] = {}

    async def raw(self, handle: Handle, name: str, data: bytes) -> None:
        raise AssertionError("a local job has no raw outputs")

    async def results(self, handle: Handle, results: Mapping[str, Any]) -> None:
        self.found[handle] = results

    async def gone(self, handle: Handle, words: str) -> None:
        self.lost[handle] = words


@dataclass(frozen=True, kw_only=True)
class Outcome:
    status: Status
    results: Mapping[str, Any]


async def send(local: Local, asked: Asked, marker: str) -> Handle:
    submission = Submission(connection="local", jobs=(asked.job,), attempts=(1,), programs=asked.contents)
    (handle,) = await local.submit(await local.prepare(submission), Pen(marker))
    return handle


async def finish(local: Local, waiting: Waiting) -> dict[Handle, Outcome]:
    """Watches until nothing waits any more, and fetches what succeeded."""
    basket, ends = Basket(), {}
    async for handle, status in local.watch(waiting):
        assert status.phase is not None
        if status.phase.final:
            waiting.drop(handle)
            ends[handle] = status
            if status.phase == "succeeded":
                await local.fetch([handle], basket)
        if not waiting.names:
            break
    return {handle: Outcome(status=status, results=basket.found.get(handle, {})) for handle, status in ends.items()}


async def run_all(asked: Sequence[Asked], markers: Sequence[str] = (), **settings: Any) -> list[Outcome]:
    local = connect(Connection(name="local", provider="local", settings={"workers": 1, **settings}), Access())
    waiting = Waiting()
    try:
        names = markers or [f"qr1{place}" for place in range(len(asked))]
        handles = [await send(local, each, marker) for each, marker in zip(asked, names, strict=True)]
        waiting.add(*handles)
        outcomes = await finish(local, waiting)
    finally:
        await local.aclose()
    return [outcomes[handle] for handle in handles]


def run(*asked: Asked, markers: Sequence[str] = (), **settings: Any) -> list[Outcome]:
    return asyncio.run(run_all(asked, markers, **settings))


def results(*programs: str | bytes, **rest: Any) -> Mapping[str, Any]:
    """What one job brings; it must succeed."""
    (outcome,) = run(ask(*programs, **rest))
    assert outcome.status.phase == "succeeded", outcome.status.message
    return outcome.results


def failure(*programs: str | bytes, **rest: Any) -> str | None:
    (outcome,) = run(ask(*programs, **rest))
    assert outcome.status.phase == "failed", outcome.results
    return outcome.status.message
