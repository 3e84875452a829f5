"""What is known of files without reading them again: signatures as Git's index keeps them, and memos of other parts.

A hash is believed only while the file's times, size, inode and device are those that were seen when it was hashed, and
only if the file was old enough then that a later change must show in its times. The index is a cache: one that is
damaged, of another version or not private to this user is ignored.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any, Final
from zlib import crc32

from qrun.errors import StoreError
from qrun.store.disk import Disk, Seal, entry
from qrun.store.paths import PRIVATE, TEMPORARY, experiment_folder

VERSION: Final = 1
NAME: Final = "index"
PRIVATE_MODE: Final = 0o600
FINE: Final = 50_000_000  # ns: above what the clock of a file system with fine times may lag
COARSE: Final = 2_000_000_000  # ns: for file systems that keep whole seconds
COLUMNS: Final = ("mtime", "ctime", "size", "ino", "dev")


class Index:
    """`memo` is for whoever wants to keep something; its keys and their meaning are that part's own."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._known: dict[str, tuple[Seal, str]] = {}
        self._changed = False
        self._memo: dict[str, Any] = {}

    @classmethod
    def load(cls, disk: Disk, experiment: str) -> Index:
        """What was saved last, or an empty index."""
        index = cls(disk, f"{experiment_folder(experiment)}/{PRIVATE}/{NAME}")
        whole = _read(disk, index._path)
        if whole is not None:
            index._take(whole)
        return index

    def __len__(self) -> int:
        return len(self._known)

    def sha256(self, path: str, seal: Seal) -> str | None:
        """The hash of a file that looks like this, where it is known."""
        found = self._known.get(path)
        return found[1] if found is not None and found[0] == seal else None

    def unchanged(self, root: str, paths: Iterable[str]) -> dict[str, str]:
        """The hashes of those files under `root` that are as they were; the others are left out. Links are others."""
        known, base, found = self._known, root.rstrip("/") + "/", {}
        lstat = os.lstat
        for path in paths:
            if (before := known.get(path)) is None:
                continue
            try:
                now = lstat(base + path)
            except OSError:
                continue
            seal = (now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino, now.st_dev)
            if seal == before[0] and stat.S_ISREG(now.st_mode):
                found[path] = before[1]
        return found

    def put(self, path: str, seal: Seal, sha256: str, hashed_at: float) -> None:
        """Keep a hash, if the file was at rest when it was read. `hashed_at` is wall time in seconds, before reading;
        `seal` must have been the same before and after.
        """
        if self._known.get(path) == (seal, sha256):
            return
        if racy(seal, int(hashed_at * 1e9)):
            self.forget(path)
            return
        self._known[path] = (seal, sha256)
        self._changed = True

    def forget(self, path: str) -> None:
        if self._known.pop(path, None) is not None:
            self._changed = True

    def keep_only(self, paths: Iterable[str]) -> None:
        """Drop what nobody asks for any more."""
        for path in self._known.keys() - set(paths):
            self.forget(path)

    def memo(self, name: str) -> Any:
        return self._memo.get(name)

    def set_memo(self, name: str, value: Any) -> None:
        """`value` is JSON; None removes it."""
        if self._memo.get(name) == value:
            return
        self._memo[name] = value
        if value is None:
            del self._memo[name]
        self._changed = True

    def save(self) -> bool:
        """Write the index where it changed and can be written; whether it was. Nothing depends on its success."""
        if not self._changed:
            return False
        above = self._path.rpartition("/")[0]
        scratch = f"{above}/{TEMPORARY}"
        temporary = f"{scratch}/{NAME}.{os.getpid()}"
        try:
            if self._disk.lstat(above) is None:
                return False
            self._disk.mkdir(scratch, 0o700)
            self._clear(temporary)
            self._disk.create(temporary, self._bytes(), PRIVATE_MODE)
            self._disk.rename(temporary, self._path)
        except (StoreError, OSError):
            return False
        self._changed = False
        return True

    def _clear(self, temporary: str) -> None:
        if self._disk.lstat(temporary) is not None:
            self._disk.unlink(temporary)

    def _bytes(self) -> bytes:
        paths = sorted(self._known)
        seals = [self._known[path][0] for path in paths]
        columns = {name: [seal[place] for seal in seals] for place, name in enumerate(COLUMNS)}
        hashes = [self._known[path][1] for path in paths]
        whole = {"paths": paths, **columns, "sha256": hashes, "memo": self._memo}
        body = json.dumps(whole, separators=(",", ":"), default=_plain).encode()
        return b'{"version":%d,"crc":"%08x"}\n%s\n' % (VERSION, crc32(body), body)

    def _take(self, whole: Mapping[str, Any]) -> None:
        seals = zip(*(whole[name] for name in COLUMNS), strict=True)
        self._known = dict(zip(whole["paths"], zip(seals, whole["sha256"], strict=True), strict=True))
        self._memo = dict(whole["memo"])


def racy(seal: Seal, now: int) -> bool:
    """Whether a file with these times may change after `now` (ns since 1970) without its times telling."""
    latest = max(seal[0], seal[1])
    grain = COARSE if seal[0] % 1_000_000_000 == 0 else FINE
    return latest > now - grain


def look(path: str) -> Seal | None:
    """The signature of a regular file anywhere; None for everything else."""
    try:
        found = entry(os.lstat(path))
    except OSError:
        return None
    return found.seal if found.regular else None


def _read(disk: Disk, path: str) -> Mapping[str, Any] | None:
    try:
        found = disk.lstat(path)
        if found is None or stat.S_IMODE(found.mode) != PRIVATE_MODE:  # a checkout cannot bring one: Git keeps 644
            return None
        head, _, body = disk.read(path).partition(b"\n")
        body = body.removesuffix(b"\n")
        if head != b'{"version":%d,"crc":"%08x"}' % (VERSION, crc32(body)):
            return None
        whole = json.loads(body)
    except (OSError, StoreError, ValueError):
        return None
    return whole if isinstance(whole, dict) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
