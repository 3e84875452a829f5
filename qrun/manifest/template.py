"""Templates are filled here, in a limited child process that starts when the first one is met.

A sandbox alone does not stop nested loops or large powers, and a limit of the operating system acts on a whole process:
so the templates have a process of their own (`template_child`). It gets texts and values as JSON and gives back JSON.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Final, Self

__all__ = ["Fault", "Limits", "Renderer", "is_template"]

CHUNK: Final = 1000  # values asked for at once
FRAME: Final = 64 << 20  # bytes of one answer: some values of 4 MiB, escaped
START: Final = 30.0  # seconds in which the child has to be ready, on a busy machine
NO_MEMORY: Final = 3  # as template_child says it
CHILD: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "template_child.py")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a template has no value. `line` counts from 1 within its text; `undefined` is the name that was not there,
    with what it was looked for in: `vars.angels`."""

    message: str
    line: int | None = None
    undefined: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """For one call of `fill`; `a_value` and `a_template` are added to both times for each one, so that many small
    templates are no offence.

    The memory is less than a machine has to spare: child and parent together stay below 400 MB.
    """

    cpu: float = 5.0
    wall: float = 10.0
    a_value: float = 0.00005
    a_template: float = 0.001
    memory: int = 320 << 20
    total: int = 128 << 20  # characters of all values


def is_template(text: str) -> bool:
    return "{{" in text or "{%" in text


class Renderer:
    """Fills templates; a context manager whose child process is gone at its end, and with its parent."""

    def __init__(self, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self.clock = clock
        self.child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.child is not None:
            self.child.close()
            self.child = None

    def fill(
        self,
        templates: Sequence[str],
        shared: Mapping[str, Any],
        overlays: Sequence[Mapping[str, Any]],
        wanted: Sequence[tuple[int, int]],
        *,
        text: bool = False,
    ) -> list[Any | Fault]:
        """For each pair of a template's and an overlay's index, what the template makes of `shared | overlay`.

        A template that is exactly one `{{ expression }}` keeps its type unless `text`; any other makes text. A pair
        that has no value has a Fault in its place, and the others are not disturbed.
        """
        results: list[Any | Fault] = [None] * len(wanted)
        order = sorted(range(len(wanted)), key=lambda at: wanted[at][1])  # an overlay then travels once or twice
        number = _Numbering(templates)
        pairs = [(number(wanted[at][0]), wanted[at][1]) for at in order]
        for at, value in zip(order, self._values(number.distinct, shared, overlays, pairs, text), strict=True):
            results[at] = value
        return results

    def _values(
        self,
        templates: Sequence[str],
        shared: Mapping[str, Any],
        overlays: Sequence[Mapping[str, Any]],
        pairs: Sequence[tuple[int, int]],
        text: bool,
    ) -> Iterator[Any | Fault]:
        """One value a pair, in order, whatever happens to the child."""
        if not pairs:
            return
        done, size = 0, 0
        try:
            child = self._started()
            more = self.limits.a_value * len(pairs) + self.limits.a_template * len(templates)
            cpu, wall = round(self.limits.cpu + more, 1), round(self.limits.wall + more, 1)
            child.allow(wall, f"the template took longer than {wall:g} s and was stopped")
            child.tell({"templates": templates, "shared": shared, "text": text, "cpu": cpu})
            for at in range(0, len(pairs), CHUNK):
                for answer, length in child.ask(*_chunk(overlays, pairs[at : at + CHUNK])):
                    size += length
                    if size > self.limits.total:
                        raise _Stopped(f"the values are larger than {self.limits.total >> 20} MiB together")
                    yield answer
                    done += 1
        except _Stopped as error:
            self.close()
            yield from [Fault(str(error))] * (len(pairs) - done)

    def _started(self) -> _Child:
        if self.child is not None and self.child.process.poll() is not None:
            self.close()  # somebody else ended it
        if self.child is None:
            self.child = _Child(self.limits.memory, self.clock)
        return self.child


class _Numbering:
    """Equal templates under one number, so that each is compiled once."""

    def __init__(self, templates: Sequence[str]) -> None:
        self.templates = templates
        self.distinct: list[str] = []
        self.by_text: dict[str, int] = {}

    def __call__(self, index: int) -> int:
        text = self.templates[index]
        number = self.by_text.get(text)
        if number is None:
            number = self.by_text[text] = len(self.distinct)
            self.distinct.append(text)
        return number


def _chunk(
    overlays: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[int, int]]
) -> tuple[list[Mapping[str, Any]], list[tuple[int, int]]]:
    """The overlays that these pairs need, and the pairs with indexes into them."""
    places: dict[int, int] = {}
    local = [(template, places.setdefault(overlay, len(places))) for template, overlay in pairs]
    return [overlays[overlay] for overlay in places], local


# --- the child --------------------------------------------------------------------------------------------------------


class _Stopped(Exception):
    """The child is of no more use; the text is for each value that is still wanted."""


class _Child:
    """The process and its two pipes. Nothing here waits beyond the time that `allow` gave."""

    def __init__(self, memory: int, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.buffer = bytearray()
        self.allow(START, f"templates cannot be filled in: their process was not ready within {START:g} s")
        try:
            self.process = subprocess.Popen(  # noqa: S603 - this interpreter and a file of ours, no shell
                [sys.executable, "-P", "-s", "-B", CHILD, str(memory), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},  # nothing of ours; sets have one order
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            raise _Stopped(f"templates cannot be filled in: no process could be started ({error})") from error
        self.requests, self.replies = self._pipe(self.process.stdin), self._pipe(self.process.stdout)
        try:
            for complaint in self._reply()[0]:
                raise _Stopped(complaint)
        except _Stopped:
            self.close()
            raise

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> int:
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        return pipe.fileno()

    def allow(self, seconds: float, complaint: str) -> None:
        self.until = self.clock() + seconds
        self.complaint = complaint

    def tell(self, message: Mapping[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":"), default=dict).encode()
        view = memoryview(len(data).to_bytes(4, "big") + data)
        while view:
            self._wait(self.requests, select.POLLOUT)
            try:
                view = view[os.write(self.requests, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise _Stopped(self._end()) from None

    def ask(
        self, overlays: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[Any | Fault, int]]:
        """Each pair's value and about how large it is."""
        self.tell({"overlays": overlays, "pairs": pairs})
        left = len(pairs)
        while left:
            answers, size = self._reply()
            left -= len(answers)
            for answer in answers:
                yield (answer[0] if len(answer) == 1 else Fault(*answer[1:])), size // len(answers)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def _reply(self) -> tuple[list[Any], int]:
        self._receive(4)
        size = int.from_bytes(self.buffer[:4], "big")
        if size > FRAME:
            raise _Stopped("the templates' values are too large")
        self._receive(4 + size)
        answers = json.loads(memoryview(self.buffer)[4 : 4 + size].tobytes())
        del self.buffer[: 4 + size]
        return answers, size

    def _receive(self, size: int) -> None:
        while len(self.buffer) < size:
            self._wait(self.replies, select.POLLIN)
            try:
                piece = os.read(self.replies, 1 << 20)
            except BlockingIOError:
                continue
            if not piece:
                raise _Stopped(self._end())
            self.buffer += piece

    def _wait(self, pipe: int, event: int) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, self.until - self.clock()) * 1000):
            self.process.kill()
            raise _Stopped(self.complaint)

    def _end(self) -> str:
        """Why the child is gone; its pipes are closed, so it ends by itself very soon."""
        code = self.process.wait()
        if code == -signal.SIGXCPU:
            return self.complaint
        if code == -signal.SIGKILL:
            return "the template process was killed, perhaps for want of memory"
        if code == NO_MEMORY:
            return "the templates and their values need too much memory"
        if code < 0:
            return f"the template process was ended by signal {-code}"
        return f"the template process ended by itself with code {code}"
