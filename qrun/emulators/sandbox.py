"""Uploaded programs, run: a process of their own with little memory, little time and nothing of ours in it.

The process is limited by itself (*sandbox_child*), which Python can do before it runs anything else. It talks back over
one socket, a line of JSON each way: that is how a program submits jobs from inside.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from qrun.job import NOTHING

CHILD: Final = Path(__file__).with_name("sandbox_child.py")
LOG: Final = 10 * 2**20  # bytes of what a program prints that are kept
LINE: Final = 16 * 2**20  # bytes of one message

ENVIRONMENT: Final = {"LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Submit = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class ScriptError(Exception):
    """How an uploaded program came to a bad end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """`library` is a folder that programs may import from. Times are seconds, `memory` and `disk` bytes."""

    library: Path
    python: str = sys.executable
    seconds: float = 600.0
    memory: int = 512 * 2**20
    disk: int = 64 * 2**20
    variables: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    async def run(self, script: str, submit: Submit) -> bytes:
        """What the program prints, both streams together; raises ScriptError where it does not end with code 0."""
        with tempfile.TemporaryDirectory(prefix="qrun-emulator-") as folder:
            program, log, empty = _laid_out(folder, script)
            ours, theirs = socket.socketpair()
            try:
                process = await self._start(program, log, empty, theirs)
            except OSError as error:
                ours.close()
                raise ScriptError(f"the program could not be started: {error.strerror}") from error
            finally:
                theirs.close()
            code = await self._attend(process, ours, submit)
            printed = _read(log)
        if code:
            raise ScriptError(_ended(code, printed))
        return printed

    async def _start(self, program: Path, log: Path, empty: Path, bridge: socket.socket) -> asyncio.subprocess.Process:
        limits = {"seconds": int(self.seconds), "memory": self.memory, "disk": self.disk}
        with open(log, "wb") as file:  # noqa: ASYNC230 - a new file in a new folder
            return await asyncio.create_subprocess_exec(
                self.python,
                "-I",
                str(CHILD),
                str(program),
                str(self.library),
                str(bridge.fileno()),
                json.dumps(limits),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=empty,
                env={**ENVIRONMENT, **self.variables},
                pass_fds=(bridge.fileno(),),
                start_new_session=True,
            )

    async def _attend(self, process: asyncio.subprocess.Process, ours: socket.socket, submit: Submit) -> int:
        """The exit code; what the program has started ends with it."""
        reader, writer = await asyncio.open_connection(sock=ours, limit=LINE)
        talk = asyncio.create_task(_talk(reader, writer, submit))
        try:
            async with asyncio.timeout(self.seconds):
                return await process.wait()
        except TimeoutError as error:
            raise ScriptError(f"the program ran for more than {self.seconds:g} seconds") from error
        finally:
            _kill(process)
            await process.wait()
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)
            writer.close()


def _laid_out(folder: str, script: str) -> tuple[Path, Path, Path]:
    """The program, the file for what it prints, and an empty folder to work in."""
    program, log, empty = (Path(folder, name) for name in ("program.py", "log", "work"))
    program.write_text(script, encoding="utf-8", errors="backslashreplace")
    empty.mkdir()
    return program, log, empty


def _read(log: Path) -> bytes:
    with open(log, "rb") as file:
        return file.read(LOG)


async def _talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, submit: Submit) -> None:
    while line := await reader.readline():
        try:
            reply = await submit(_request(json.loads(line)))
        except (ValueError, TypeError) as error:
            reply = {"error": f"the request is not understood: {error}"}
        writer.write(json.dumps(reply).encode() + b"\n")
        await writer.drain()


def _request(given: Any) -> Mapping[str, Any]:
    shots = given.get("shots")
    if given.get("job_type") not in ("sampling", "estimation", "multi_manual"):
        raise ValueError(f"job_type is {given.get('job_type')!r}")
    if isinstance(shots, bool) or not isinstance(shots, int) or not 1 <= shots <= 10_000_000:
        raise ValueError(f"shots is {shots!r}")
    return given  # type: ignore[no-any-return]  # it answers `get`, so it is the map that JSON gave us


def _kill(process: asyncio.subprocess.Process) -> None:
    """The program, and what it may have started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _ended(code: int, log: bytes) -> str:
    """The last line of a traceback says most."""
    lines = log.decode("utf-8", "replace").strip().splitlines() or ["it printed nothing"]
    how = f"with exit code {code}" if code > 0 else f"by signal {-code}"
    return f"the program ended {how}: {lines[-1][:500]}"
