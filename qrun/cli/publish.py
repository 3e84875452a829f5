"""The user's publish command: it carries the lock to where other machines see it, a Git commit and push for example.

It runs once what a round will send stands in the lock and before that is sent, and at rest; what it says goes to
stderr.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from qrun.cli.out import tell
from qrun.errors import SettingsError
from qrun.render.safe import shown

if TYPE_CHECKING:
    from qrun.settings import Settings

LIMIT: Final = 600.0  # seconds
AFTERWARDS: Final = 1.0  # seconds for its last words, where something that it started keeps the stream open
LAST: Final = 3  # lines of it that an error repeats
LONGEST: Final = 500  # bytes of a line
HINT: Final = "nothing more is sent until it works"


def publisher(found: Settings) -> Callable[[], Awaitable[None]] | None:
    return partial(publish, found.publish, found.root) if found.publish is not None else None


async def publish(words: Sequence[str], root: str, *, limit: float = LIMIT) -> None:
    """SettingsError unless it ends well in time; what did not end then is killed."""
    name = f'the publish command "{shown(words[0])}"'
    loop = asyncio.get_running_loop()
    try:
        process, run = await loop.subprocess_exec(
            partial(Run, loop),
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.STDOUT,
            cwd=root,
            start_new_session=True,
        )
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise SettingsError(f"{name} cannot be run: {reason}", hint="correct it in your settings") from error
    try:
        await asyncio.wait([run.ended], timeout=limit)
        if not run.ended.done():
            raise SettingsError(f"{name} took longer than {limit:g} s", hint=HINT)
        await asyncio.wait([run.silent], timeout=AFTERWARDS)
        run.flush()
    finally:
        if not run.ended.done():
            await _killed(process.get_pid(), run)
        process.close()
    if code := process.get_returncode():
        said = f": {'; '.join(run.last)}" if run.last else ""
        raise SettingsError(f"{name} ended with code {code}{said}", hint=HINT)


async def _killed(group: int, run: Run) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    await asyncio.wait([run.ended], timeout=AFTERWARDS)


class Run(asyncio.SubprocessProtocol):
    """One run of it: tells each line as it comes, and when the process ended and its stream fell silent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ended = loop.create_future()
        self.silent = loop.create_future()
        self.last: deque[str] = deque(maxlen=LAST)
        self._begun = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 (asyncio's signature)
        *lines, self._begun = re.split(rb"[\r\n]+", self._begun + data)
        for line in lines:
            self._line(line)
        self._begun = self._begun[: LONGEST + 1]

    def flush(self) -> None:
        """A last line may lack its end."""
        self._line(self._begun)
        self._begun = b""

    def _line(self, line: bytes) -> None:
        text = shown(line[:LONGEST].decode(errors="replace")) + ("…" if len(line) > LONGEST else "")
        if text.strip():
            self.last.append(text)
            tell(f"publish: {text}")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        if not self.silent.done():
            self.silent.set_result(None)

    def process_exited(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
