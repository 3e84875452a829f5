"""A manifest file: read with care, and asked once more for the places of what is wrong in it.

Nobody keeps positions. A problem is noted as a flaw, with the paths where its cause may be written, the most specific
first; only when there are flaws, the file is read once more and their places are looked up.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.errors import ManifestError, Problem
from qrun.manifest import words, yaml
from qrun.manifest.schema import Path
from qrun.manifest.words import show

LARGEST: Final = 32 * 1024 * 1024
COUNTED: Final = 10_000  # problems of one file after which nothing further is looked at
SIGNS: Final = (b"{{", b"{%", b"{#", b"\\")  # no template without one of them; a backslash may spell a brace
BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, slots=True)
class Flaw:
    """A problem before its place is known; of its paths the first that is written counts."""

    document: int
    paths: tuple[Path, ...]
    message: str
    hint: str | None = None
    at_key: bool = False


@dataclass(kw_only=True, slots=True)
class Source:
    """One manifest file. `path` is relative to the root; `file` is what the user typed."""

    file: str
    path: str
    sha256: str = ""
    templated: bool = False
    flaws: list[Flaw] = field(default_factory=list)
    found: list[Problem] = field(default_factory=list)  # those whose place is known already

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.path)

    @property
    def stem(self) -> str:
        return posixpath.splitext(posixpath.basename(self.path))[0]

    @property
    def enough(self) -> bool:
        """Whether so much is wrong that looking further would tell nobody anything."""
        return len(self.flaws) + len(self.found) > COUNTED

    def leave(self, line: int) -> None:
        """Says where the looking stopped."""
        message = "is not looked at, nor what follows it, since too much is wrong above"
        self.found.append(Problem(file=self.file, line=line, message=message, hint="mend that first"))

    def documents(self) -> list[yaml.Document]:
        data = read(self.file)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.templated = any(sign in data for sign in SIGNS)
        documents = yaml.compose(data.removeprefix(BOM), self.file)
        if not documents:
            raise ManifestError(Problem(file=self.file, message="is empty", hint="a job needs provider and device"))
        return documents

    def problems(self) -> list[Problem]:
        """The flaws with their places, once where several jobs have one from the same place."""
        if not self.flaws:
            return self.found
        data = read(self.file).removeprefix(BOM)
        wanted = {(flaw.document, path[:n]) for flaw in self.flaws for path in flaw.paths for n in range(len(path) + 1)}
        found = yaml.locate(data, wanted)
        problems = [self._problem(flaw, found) for flaw in self.flaws]
        by_field: dict[Any, Problem] = {}
        for flaw, problem in zip(self.flaws, problems, strict=True):
            several = problem.message if flaw.at_key else None  # one place may lack several fields
            by_field.setdefault((problem.line, problem.column, problem.field, several), problem)
        by_message: dict[Any, Problem] = {}
        for problem in by_field.values():
            by_message.setdefault((problem.line, problem.column, problem.message), problem)
        return [*self.found, *by_message.values()]

    def _problem(self, flaw: Flaw, found: Mapping[tuple[int, Path], yaml.Place]) -> Problem:
        path = next((path for path in flaw.paths if (flaw.document, path) in found), flaw.paths[0])
        written = path
        while written and (flaw.document, written) not in found:
            written = written[:-1]
        place = found.get((flaw.document, written))
        at_key = flaw.at_key or len(written) < len(path)
        line, column = (None, None) if place is None else (at_key and place.key) or place.value
        return Problem(
            file=self.file,
            line=line,
            column=column,
            field=words.field(path) or None,
            message=flaw.message,
            hint=flaw.hint,
        )


def read(file: str) -> bytes:
    """The bytes of a manifest, once it is sure that they are text; ManifestError with what to do otherwise."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise ManifestError(_unopened(file, error)) from error
    try:
        data = _content(descriptor, file)
    except OSError as error:
        raise ManifestError(_unopened(file, error)) from error
    finally:
        os.close(descriptor)
    _check_text(data, file)
    return data


def _content(descriptor: int, file: str) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a file"
        raise ManifestError(Problem(file=file, message=f"is {what}", hint="name a YAML file"))
    if status.st_size > LARGEST:
        message = f"has {status.st_size} bytes; {LARGEST} are the most"
        raise ManifestError(Problem(file=file, message=message, hint="use matrix, or several files"))
    with open(descriptor, "rb", closefd=False) as opened:
        return opened.read(status.st_size + 1)


def _unopened(file: str, error: OSError | ValueError) -> Problem:
    match error:
        case FileNotFoundError():
            return Problem(file=file, message="does not exist", hint="check the path")
        case PermissionError():
            return Problem(file=file, message="may not be read", hint="check its permissions")
        case OSError():
            return Problem(file=file, message=f"cannot be read: {(error.strerror or 'unknown').lower()}")
        case _:
            return Problem(message=f"{show(file)} is not the name of a file", hint="check the path")


def _check_text(data: bytes, file: str) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ManifestError(Problem(file=file, line=1, column=1, message="is UTF-16 text", hint="save it as UTF-8"))
    if (zero := data.find(b"\0")) >= 0:
        line, column = yaml.place_of(data[:zero].decode("utf-8", "replace"), zero)
        message = "is a binary file, not a manifest"
        raise ManifestError(
            Problem(file=file, line=line, column=max(column, 1), message=message, hint="name a YAML file")
        )
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = yaml.place_of(before, len(before))
        problem = Problem(file=file, line=line, column=column, message="is not UTF-8 text", hint="save it as UTF-8")
        raise ManifestError(problem) from error
