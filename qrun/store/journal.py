"""The journal: what happened since the lock was last complete, one fact a line, durable before anybody acts on it.

Facts that are noted together share one write and one fdatasync. A power cut may leave a part of the last write; that
tail was never acted on and is cut off. Everything else that does not read is damage and named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.clock import stamp
from qrun.errors import Problem, StoreError
from qrun.fact import WORD_OF, Fact, fact_from_json
from qrun.store.disk import Disk
from qrun.store.lines import BOM, VERSION, damaged, encoded, intact, refuse_foreign, seal, told

START: Final = re.compile(rb'\{"n":(\d{1,15}),')
HOLES: Final = b"\0" * 8  # blocks that a power cut left unwritten
OPENED: Final = "opened"  # a run begins to write; for people
PARTIAL: Final = "partial"  # of a header: jobs may have been sent of which this journal never told


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What a journal file holds. `end` is where the good lines end; what follows, if anything, is a torn tail."""

    header: dict[str, Any] | None
    facts: tuple[tuple[int, Fact], ...]  # with line numbers
    head: int  # length of the header line
    end: int
    size: int
    last: int  # the last line's number
    problems: tuple[Problem, ...] = ()
    unended: bool = False  # the last line is whole but for its newline

    def vouches(self, project: str | None) -> bool:
        """Whether it is this project's and tells of all that was sent."""
        header = self.header
        return header is not None and not header.get(PARTIAL) and project in (None, header.get("project"))


@dataclass(kw_only=True, slots=True)
class Journal:
    """One open journal. Only its owner appends; `run` and `command` say who that is.

    `whole` is whether it tells of all that was sent, as far as its owner knows; None where nobody has to know.
    """

    disk: Disk
    path: str
    project: str | None
    experiment: str
    run: str = ""
    command: str = ""
    whole: bool | None = None
    _vouches: bool = field(default=False, init=False)
    _size: int | None = field(default=None, init=False)  # None: there is no file yet
    _head: int = field(default=0, init=False)
    _next: int = field(default=1, init=False)
    _announced: bool = field(default=False, init=False)
    _broken: StoreError | None = field(default=None, init=False)

    @property
    def here(self) -> bool:
        """Whether there is a journal file that vouches, be it empty: whoever ran this experiment ran it here."""
        return self._size is not None and self._vouches

    @property
    def empty(self) -> bool:
        return self._size is None or self._size <= self._head

    def recover(self) -> Sequence[tuple[int, Fact]]:
        """Read what is there and cut a torn tail off; StoreError for damage. Line numbers count from 1."""
        scan = look(self.disk, self.path, self.project, self.experiment)
        if scan is None:
            return ()
        if scan.problems:
            raise StoreError(*scan.problems)
        if scan.header is None:
            self.disk.unlink(self.path)
            self.disk.fsync_dir(self._folder)
            return ()
        self._head, self._size, self._next = scan.head, scan.size, scan.last + 1
        self._vouches = scan.vouches(self.project)
        if scan.end < scan.size:
            self.disk.truncate(self.path, scan.end)
            self._size = scan.end
            if not scan.unended:
                self.disk.fsync(self.path)
        if scan.unended:
            self.disk.append(self.path, b"\n", self._size)
            self._size += 1
            self.disk.fsync(self.path)
        return scan.facts

    def append(self, facts: Iterable[Fact], now: float) -> None:
        """Durable when it returns; when it raises, nothing was noted and the file is as it was."""
        if self._broken is not None:
            raise self._broken
        time = stamp(now)
        number = self._next
        lines = []
        if not self._announced:
            words = {"n": number, "t": time, "ev": OPENED, "run": self.run, "command": self.command}
            lines.append(seal(encoded(words)))
            number += 1
        for fact in facts:
            lines.append(seal(encoded({"n": number, "t": time, "ev": WORD_OF[type(fact)], **told(fact)})))
            number += 1
        self._write(b"".join(lines))
        self._next = number
        self._announced = True

    def clear(self) -> None:
        """Forget everything but the header, durably; that one, too, once it is known to tell less than is the case."""
        if self.empty:
            return
        if self.whole and not self._vouches:
            self.disk.unlink(self.path)
            self._size, self._next, self._announced = None, 1, False
            self._begin()
            return
        self.disk.truncate(self.path, self._head)
        self.disk.fsync(self.path)
        self._size, self._next, self._announced = self._head, 1, False

    @property
    def _folder(self) -> str:
        return self.path.rpartition("/")[0]

    def _write(self, data: bytes) -> None:
        if self._size is None:
            self._begin()
        assert self._size is not None
        try:
            self.disk.append(self.path, data, self._size)
            self.disk.fdatasync(self.path)
        except FileNotFoundError as error:
            words = "is gone while this run was using it"
            self._broken = StoreError(Problem(file=self.path, message=words, hint="run again"))
            raise self._broken from error
        except StoreError as error:
            self._undo(error)
            raise
        self._size += len(data)

    def _begin(self) -> None:
        header = header_line(self.project, self.experiment, partial=self.whole is False)
        try:
            self.disk.create(self.path, header, 0o600)
            self.disk.fsync(self.path)
            self.disk.fsync_dir(self._folder)
        except FileExistsError as error:
            words = "came into being while this run was using the folder"
            raise StoreError(Problem(file=self.path, message=words, hint="run again")) from error
        except StoreError:
            _quietly(lambda: self.disk.unlink(self.path))
            raise
        self._size = self._head = len(header)
        self._vouches = self.whole is not False

    def _undo(self, error: StoreError) -> None:
        """Take back what a failed write left; where even that fails, nothing more is written after it."""
        assert self._size is not None
        size = self._size
        try:
            found = self.disk.lstat(self.path)
            if found is not None and found.size > size:
                self.disk.truncate(self.path, size)
            self.disk.fsync(self.path)
        except (StoreError, OSError):
            self._broken = error


def header_line(project: str | None, experiment: str, *, partial: bool = False) -> bytes:
    header = {"n": 0, "version": VERSION, "type": "journal", "project": project, "experiment": experiment}
    return seal(encoded({**header, PARTIAL: True} if partial else header))


def look(disk: Disk, path: str, project: str | None, experiment: str) -> Scan | None:
    """Read a journal without changing it; None where there is none. StoreError where it is not this one's."""
    try:
        data = disk.read(path)
    except FileNotFoundError:
        return None
    scan = scanned(path, data)
    header = scan.header
    if header is not None and not scan.problems:
        _belongs(path, header, project, experiment)
    return scan


def scanned(path: str, data: bytes) -> Scan:
    """The lines of a journal's bytes, good ones as facts, bad ones as problems (pure)."""
    refuse_foreign(path, data[:4096].removeprefix(BOM).split(b"\n"))
    pieces = data.split(b"\n")
    tail = pieces.pop()
    header: dict[str, Any] | None = None
    facts: list[tuple[int, Fact]] = []
    problems: list[Problem] = []
    position = head = 0
    expected = 0
    if tail and (whole := _whole(tail)) is not None:
        pieces.append(whole)
        unended = True
    else:
        unended = False
    for number, line in enumerate(pieces, 1):
        if HOLES in line and number == len(pieces):
            break
        found = START.match(line) if intact(line) else None
        if found is None:
            problems.append(damaged(path, number))
            expected = -1
        else:
            n = int(found[1])
            if expected not in (n, -1):
                problems.append(damaged(path, number, f"entry {n} stands where entry {expected} is due"))
            expected = n + 1
            _take(path, number, line, facts, problems)
            if number == 1:
                header = json.loads(line)
                head = len(line) + 1
        position += len(line) + 1
    if unended:
        position -= 1
    return Scan(
        header=header,
        facts=tuple(facts),
        head=head,
        end=position,
        size=len(data),
        last=expected - 1,
        problems=tuple(problems),
        unended=unended,
    )


def _whole(tail: bytes) -> bytes | None:
    """A last line that lost only its newline, or whose newline is damaged."""
    return next((line for line in (tail, tail[:-1]) if intact(line)), None)


def _take(path: str, number: int, line: bytes, facts: list[tuple[int, Fact]], problems: list[Problem]) -> None:
    try:
        raw = json.loads(line)
        if number == 1 and raw.get("type") == "journal":
            return
        if raw["ev"] != OPENED:
            facts.append((number, fact_from_json(raw)))
    except StoreError as error:
        problems.extend(
            Problem(file=path, line=number, message=p.message, hint=p.hint or "update qrun") for p in error.problems
        )
    except (ValueError, KeyError, TypeError) as error:
        problems.append(damaged(path, number, f"the line is not an entry: {error}"))


def _belongs(path: str, header: dict[str, Any], project: str | None, experiment: str) -> None:
    if header.get("type") != "journal":
        raise StoreError(damaged(path, 1, "the first line is not the header of a journal"))
    if header.get("version") != VERSION:
        words = f"was written by a newer qrun (version {header.get('version')})"
        raise StoreError(Problem(file=path, line=1, message=words, hint="update qrun"))
    if header.get("experiment") != experiment:
        words = f'belongs to the experiment "{header.get("experiment")}", not to "{experiment}"'
        raise StoreError(Problem(file=path, line=1, message=words, hint="move it away or set its name"))
    theirs = header.get("project")
    if project is not None and theirs is not None and theirs != project:
        words = f'belongs to the project "{theirs}", not to "{project}"'
        raise StoreError(Problem(file=path, line=1, message=words, hint="set project in qrun.toml back"))


def _quietly(change: Callable[[], None]) -> None:
    try:
        change()
    except (StoreError, OSError):
        return
