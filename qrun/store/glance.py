"""What a command saw when nothing was left to do, so that the next one can see at a glance that nothing changed.

A glance is an answer with every file that it rests on: manifests, programs, locks, journals, records. It holds only
while each of them has the signature that it had (see `index`); a file that was too young then to be trusted by its
signature is read and hashed again. It is a cache: damaged, foreign, of another question or version, it is ignored.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final
from zlib import crc32

from qrun.errors import StoreError
from qrun.store.disk import Disk
from qrun.store.index import COLUMNS, PRIVATE_MODE, look, racy
from qrun.store.paths import IGNORE, NOTHING, PRIVATE, RESULTS, TEMPORARY

VERSION: Final = 1
FOLDER: Final = f"{RESULTS}/{PRIVATE}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
    """`read` are the files that the answer was read from, `written` those that hold the results; relative to the root
    or absolute. What is not there must stay away. `details` are kept apart, for whoever asks for them.
    """

    question: str
    read: Sequence[str]
    written: Sequence[str]
    answer: Mapping[str, Any]
    details: Mapping[str, Any]


def recall(root: str, name: str, question: str, *, details: bool = False) -> Mapping[str, Any] | None:
    """The answer that was kept under `name` for this question, or its details, if nothing has changed since."""
    parts = _read(os.path.join(root, FOLDER, f"glance-{name}"))
    if parts is None:
        return None
    try:
        whole = json.loads(parts[0])
        holds = whole["question"] == question and _unchanged(root, whole)
        answer: Mapping[str, Any] | None = (json.loads(parts[1]) if details else whole["answer"]) if holds else None
    except (KeyError, TypeError, ValueError):
        return None
    return answer


def keep(disk: Disk, name: str, glance: Glance, *, since: float, now: float) -> None:
    """Keep an answer, unless something that was read may have changed after `since`, the wall time before reading.

    Nothing depends on the success of this.
    """
    root = disk.root
    read = [look(os.path.join(root, path)) for path in glance.read]
    if any(seal is None or racy(seal, int(since * 1e9)) for seal in read):
        return
    written = [look(os.path.join(root, path)) for path in glance.written]
    young = {
        path: _hash(os.path.join(root, path))
        for path, seal in zip(glance.written, written, strict=True)
        if seal is not None and racy(seal, int(now * 1e9))
    }
    seals = [seal or (None,) * len(COLUMNS) for seal in (*read, *written)]
    whole = {
        "question": glance.question,
        "answer": glance.answer,
        "paths": [*glance.read, *glance.written],
        **{column: [seal[place] for seal in seals] for place, column in enumerate(COLUMNS)},
        "young": young,
    }
    lines = [json.dumps(part, separators=(",", ":")).encode() for part in (whole, glance.details)]
    head = b'{"version":%d,"crc":"%08x"}' % (VERSION, crc32(b"\n".join(lines)))
    _write(disk, f"glance-{name}", b"\n".join((head, *lines, b"")))


def _unchanged(root: str, whole: Mapping[str, Any]) -> bool:
    lstat, form, regular, base = os.lstat, stat.S_IFMT, stat.S_IFREG, root.rstrip("/") + "/"
    for path, mtime, ctime, size, ino, dev in zip(whole["paths"], *(whole[c] for c in COLUMNS), strict=True):
        try:
            now = lstat(path if path[0] == "/" else base + path)
        except OSError:
            if mtime is None:
                continue
            return False
        if (
            now.st_mtime_ns != mtime
            or now.st_ctime_ns != ctime
            or now.st_size != size
            or now.st_ino != ino
            or now.st_dev != dev
            or form(now.st_mode) != regular
        ):
            return False
    return all(_hash(os.path.join(root, path)) == known for path, known in whole["young"].items())


def question(parts: Sequence[object]) -> str:
    """One short text for all that the answer depends on besides files."""
    return sha256(repr(parts).encode()).hexdigest()[:32]


def _write(disk: Disk, name: str, data: bytes) -> None:
    """The temporary file has the same name each time, so that one which a killed run left is replaced."""
    temporary, ignore = f"{FOLDER}/{TEMPORARY}/{name}", f"{FOLDER}/{IGNORE}"
    try:
        disk.mkdir(FOLDER, 0o700)
        disk.mkdir(f"{FOLDER}/{TEMPORARY}", 0o700)
        found = disk.lstat(ignore)
        if found is not None and not found.size:
            disk.unlink(ignore)
        if found is None or not found.size:
            disk.create(ignore, NOTHING, 0o600)
        if disk.lstat(temporary) is not None:
            disk.unlink(temporary)
        disk.create(temporary, data, PRIVATE_MODE)
        disk.rename(temporary, f"{FOLDER}/{name}")
    except (StoreError, OSError):
        return


def _read(path: str) -> list[bytes] | None:
    """The two lines of a glance that is whole and private to this user; a checkout cannot bring one: Git keeps 644."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
            if not ours or stat.S_IMODE(found.st_mode) != PRIVATE_MODE:
                return None
            head, _, body = file.read().removesuffix(b"\n").partition(b"\n")
    except OSError:
        return None
    parts = body.split(b"\n")
    if head != b'{"version":%d,"crc":"%08x"}' % (VERSION, crc32(body)) or len(parts) != 2:
        return None
    return parts


def _hash(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return sha256(file.read()).hexdigest()
    except OSError:
        return None
