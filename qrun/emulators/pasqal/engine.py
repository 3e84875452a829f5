"""Who computes jobs: worker processes that know Pulser. What a job is, and what comes of it, is said here.

The processes are begun when a job needs one, take one job at a time, and die with this process. They are not those of
the provider `local`: a sweep sends the same sequence hundreds of times, and these keep what they have read of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any, Final, Protocol

from qrun.providers.local.provider import environment, physical

MODULES: Final = ("pulser", "pulser_simulation")
LENGTH: Final = struct.Struct(">I")


class EngineError(Exception):
    """What became of a job that has no result, in words for its author."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """What is to be computed; the seed says with which random numbers.

    `configuration` is Pulser's own, serialised; `noisy`: measurements are wrong now and then; `serialised`: the result
    comes in Pulser's own form too.
    """

    sequence: str = field(repr=False)
    variables: Mapping[str, Any]
    runs: int | None
    seed: int
    configuration: str | None = None
    noisy: bool = False
    serialised: bool = False


class Engine(Protocol):
    async def run(self, task: Task) -> Mapping[str, Any]:
        """`counter`, and `serialised_results` or None; raises EngineError."""

    async def aclose(self) -> None: ...


def missing() -> str | None:
    """Which library is not there."""
    return next((module for module in MODULES if find_spec(module) is None), None)


class Crew:
    """So many worker processes."""

    def __init__(self, *, workers: int) -> None:
        self._memory = physical() * 8 // 10 // workers
        self._free = asyncio.Semaphore(workers)
        self._idle: list[asyncio.subprocess.Process] = []

    async def run(self, task: Task) -> Mapping[str, Any]:
        try:
            async with self._worker() as process:
                reply = await _exchange(process, json.dumps(asdict(task)).encode())
        except (asyncio.IncompleteReadError, OSError) as error:
            raise EngineError("The emulator ended unexpectedly, perhaps for want of memory") from error
        if "message" in reply:
            raise EngineError(reply["message"])
        return reply

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """One that nobody else talks to; whatever goes wrong with it, it is not used again."""
        async with self._free:
            process = self._idle.pop() if self._idle else await _start(self._memory)
            try:
                yield process
            except BaseException:
                await _end(process)
                raise
            self._idle.append(process)

    async def aclose(self) -> None:
        for process in self._idle:
            await _end(process)
        self._idle.clear()


async def _start(memory: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "qrun.emulators.pasqal.worker",
        str(os.getpid()),
        str(memory),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        env=environment(),
        start_new_session=True,  # Ctrl-C is for us
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    if process.returncode is None:
        process.kill()
    process.stdin.close()
    await process.wait()


async def _exchange(process: asyncio.subprocess.Process, body: bytes) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(LENGTH.pack(len(body)) + body)
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    reply: dict[str, Any] = json.loads(await process.stdout.readexactly(length))
    return reply
