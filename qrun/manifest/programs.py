"""Program files: opened beneath the project folder and nowhere else, normalised, hashed.

Every folder on the way is opened by its name inside the one before, without following links, so that neither `..`, nor
a link, nor one that is put there in between, leads outside. Links are refused even where they stay inside: which file
a hash belongs to is then always plain to see.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import stat
from collections.abc import Callable
from typing import Final, Self

from qrun.errors import ManifestError, Problem
from qrun.job import Program
from qrun.manifest.words import nearest, show

LARGEST: Final = 64 * 1024 * 1024
FOLDERS: Final = 128  # open at once
REMEMBERED: Final = 1024  # programs that several jobs may share
HINTS: Final = 30  # names that are looked up in their folders for a hint; more would not be shown
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Known = Callable[[str], "tuple[str, int] | None"]


class Refused(Exception):
    """A program that cannot be used: what is wrong, what to do, and the name beside it that was probably meant.

    The message goes on after the path, so that everybody shows the path as it was written.
    """

    def __init__(self, message: str, hint: str | None = None, near: str | None = None) -> None:
        self.message = message
        self.hint = hint
        self.near = near
        super().__init__(message)

    def verdict(self, written: str) -> tuple[str, str | None]:
        """Message and hint for a path as the author wrote it."""
        folder = written.rpartition("/")[0]
        near = self.near and (f"{folder}/{self.near}" if folder else self.near)
        return f"{show(written)} {self.message}", f"did you mean {show(near)}?" if near else self.hint


class Programs:
    """The programs of one project. `known` may say (SHA-256, size) of a path whose file is known to be unchanged.

    Paths are relative to the root, with forward slashes. To be closed, since it keeps folders open.
    """

    def __init__(self, root: str, known: Known | None = None) -> None:
        self.root = root or "."
        self.known = known
        self._folders: dict[str, int] = {}
        self._programs: dict[str, Program] = {}
        self._hints = HINTS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for descriptor in self._folders.values():
            os.close(descriptor)
        self._folders.clear()

    def program(self, path: str) -> Program:
        found = self._programs.get(path)
        if found is not None:
            return found
        signature = self.known(path) if self.known is not None else None
        if signature is None:
            data = self.read(path)
            signature = (hashlib.sha256(data).hexdigest(), len(data))
        found = Program(path=path, sha256=signature[0], size=signature[1])
        if len(self._programs) < REMEMBERED:
            self._programs[path] = found
        return found

    def read(self, path: str) -> bytes:
        """The bytes as they are sent: text with LF line ends, anything that holds a NUL byte untouched."""
        folder, _, name = path.rpartition("/")
        try:
            descriptor = os.open(name, FILE, dir_fd=self._folder(folder))
        except OSError as error:
            raise self._refused(path, path, error) from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                hint = "name a file in it" if stat.S_ISDIR(status.st_mode) else "name a plain file"
                raise Refused(f"is {_kind(status.st_mode)}, not a file", hint)
            if status.st_size > LARGEST:
                raise Refused(f"has {status.st_size} bytes; {LARGEST} are the most")
            data = os.read(descriptor, status.st_size + 1)
            while len(data) < status.st_size and (more := os.read(descriptor, status.st_size + 1 - len(data))):
                data += more
        except OSError as error:
            raise self._refused(path, path, error) from error
        finally:
            os.close(descriptor)
        return normalised(data)

    def _folder(self, path: str) -> int:
        found = self._folders.get(path)
        if found is not None:
            return found
        if not path:
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            above, _, name = path.rpartition("/")
            try:
                descriptor = os.open(name, FOLDER, dir_fd=self._folder(above))
            except OSError as error:
                raise self._refused(path, path + "/", error) from error
        if len(self._folders) >= FOLDERS:
            oldest = next(name for name in self._folders if name)
            os.close(self._folders.pop(oldest))
        self._folders[path] = descriptor
        return descriptor

    def _refused(self, part: str, shown: str, error: OSError) -> Refused:
        """Why opening failed; `part` is the file or folder at which it did."""
        leads = f"leads through {show(part)}, which " if shown.endswith("/") else ""
        match error.errno:
            case errno.ENOENT if leads:
                return Refused("does not exist", f"there is no folder {show(part)}")
            case errno.ENOENT:
                return Refused("does not exist", "check the path", near=self._near(part))
            case errno.ELOOP | errno.EMLINK | errno.ENOTDIR if self._is_link(part):
                return Refused(f"{leads}is a link; links are not followed", "name the file itself")
            case errno.ENOTDIR:
                return Refused(f"{leads}is not a folder")
            case errno.EACCES | errno.EPERM:
                return Refused(f"{leads}may not be read", "check its permissions")
            case errno.ENXIO | errno.ENODEV:
                return Refused(f"{leads}is a socket or a device, not a file")
            case _:
                return Refused(f"{leads}cannot be read: {(error.strerror or 'unknown').lower()}")

    def _is_link(self, path: str) -> bool:
        try:
            return stat.S_ISLNK(os.lstat(os.path.join(self.root, *path.split("/"))).st_mode)
        except OSError:
            return False

    def _near(self, path: str) -> str | None:
        if not self._hints:
            return None
        self._hints -= 1
        folder, _, name = path.rpartition("/")
        try:
            names = os.listdir(self._folder(folder))[:1000]
            return nearest(name, (other for other in names if not other.endswith((".yaml", ".yml", ".toml"))))
        except (OSError, Refused):
            return None


def inside(folder: str, path: str) -> str:
    """A path that a manifest in this folder names, relative to the root; Refused where it leads out of the project."""
    if path.startswith("/"):
        raise Refused("is an absolute path", "write it relative to the manifest")
    if "\\" in path:
        raise Refused("has a backslash", 'separate folders by "/"')
    if not path.isprintable():
        raise Refused("has a character that cannot stand in a path")
    whole = f"{folder}/{path}" if folder else path
    if "//" in whole or "./" in whole or whole.endswith((".", "/")):
        if path.endswith("/"):
            raise Refused("is a folder, not a file", "name a file in it")
        whole = posixpath.normpath(whole)
    if whole == ".":
        raise Refused("is a folder, not a file", "name a file in it")
    if whole == ".." or whole.startswith("../"):
        raise Refused("is outside of the project", "move the file into the project folder")
    return whole


def normalised(data: bytes) -> bytes:
    """Text with LF line ends; what holds a NUL byte is no text."""
    return data.replace(b"\r\n", b"\n") if b"\r\n" in data and b"\0" not in data else data


def content(root: str, program: Program) -> bytes:
    """The bytes of a program once more, the same that were hashed; ManifestError where they are no longer there."""
    if program.content is not None:
        return program.content
    try:
        with Programs(root) as programs:
            data = programs.read(program.path)
    except Refused as error:
        message, hint = error.verdict(program.path)
        raise ManifestError(Problem(message=message, hint=hint)) from error
    if hashlib.sha256(data).hexdigest() != program.sha256:
        raise ManifestError(
            Problem(file=program.path, message="has changed since it was planned", hint="run the command again")
        )
    return data


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device"
