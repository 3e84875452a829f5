"""How files come into one results directory: whole, read-only, durable, and never in place of something else.

A file is written under a temporary name in `.qrun/tmp`, synced, renamed, and its folder synced. Many files do each of
these steps together, which costs a third.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from qrun.store.disk import Disk
from qrun.store.paths import IGNORE, NOTHING, PRIVATE, RESULTS, TEMPORARY

READ_ONLY = 0o444
OPEN = 64  # folders that are open at once


class Files:
    """The files below `folder`, an experiment's. Paths are relative to the disk's root."""

    def __init__(self, disk: Disk, folder: str) -> None:
        self.disk = disk
        self.folder = folder
        self._private = f"{folder}/{PRIVATE}"
        self._scratch = f"{self._private}/{TEMPORARY}"
        self._made = 0
        self._unsynced: list[str] = []  # kept files that are in place and not synced yet
        self._changed: set[str] = set()  # folders whose names are not synced yet

    def make_folders(self) -> None:
        """The experiment's folder with its private part, which ignores itself in Git."""
        for path, mode in ((RESULTS, None), (self.folder, None), (self._private, 0o700), (self._scratch, 0o700)):
            if self.disk.mkdir(path, mode):
                self.disk.fsync_dir(path.rpartition("/")[0])
        with suppress(FileExistsError):
            self.disk.create(f"{self._private}/{IGNORE}", NOTHING, 0o644)
        for path in (self.folder, self._private, self._scratch):
            self.disk.pin(path)

    def sweep(self) -> None:
        """Remove temporary files that a killed run left, and finish what it only began."""
        for name in self.disk.list(self._scratch):
            self.disk.unlink(f"{self._scratch}/{name}")
        if self.content(f"{self._private}/{IGNORE}") == b"":
            self.replace(f"{self._private}/{IGNORE}", NOTHING, 0o644)

    def content(self, path: str, limit: int | None = None) -> bytes | None:
        try:
            return self.disk.read(path, limit)
        except FileNotFoundError:
            return None

    def replace(self, path: str, data: bytes, mode: int = READ_ONLY) -> None:
        """Write a file in place of what was there."""
        self.replace_all([(path, data)], mode)

    def replace_all(self, new: Sequence[tuple[str, bytes]], mode: int = READ_ONLY) -> None:
        """All temporaries, then all syncs, then all names, then each folder once."""
        moves = [(self._temporary(data, mode), path) for path, data in new]
        self.disk.fsync_all([temporary for temporary, _ in moves])
        folders: dict[str, list[tuple[str, str]]] = {}
        for temporary, path in moves:
            folders.setdefault(path.rpartition("/")[0], []).append((temporary, path))
        names = list(folders)
        for start in range(0, len(names), OPEN):
            self._place({name: folders[name] for name in names[start : start + OPEN]})

    def keep(self, path: str, data: bytes) -> None:
        """Keep a file whose name tells its content; durable after the next `settle`."""
        found = self.disk.lstat(path)
        if found is not None and found.regular and found.size == len(data):
            return
        if found is not None:
            self.set_aside(path)
        temporary = self._temporary(data, READ_ONLY)
        self._make(path.rpartition("/")[0])
        self.disk.rename(temporary, path)
        self._unsynced.append(path)

    def settle(self) -> None:
        """Make durable all that was kept."""
        if self._unsynced:
            self.disk.fsync_all(self._unsynced)
            self._changed.update(path.rpartition("/")[0] for path in self._unsynced)
            self._settle_names()
            self._unsynced.clear()

    def set_aside(self, path: str) -> str:
        """Rename a damaged file beside itself and say how it is called now; nothing is ever thrown away."""
        number = 1
        while self.disk.lstat(f"{path}.damaged-{number}") is not None:
            number += 1
        self.disk.rename(path, f"{path}.damaged-{number}")
        self.disk.fsync_dir(path.rpartition("/")[0])
        return f"{path}.damaged-{number}"

    def move_folder(self, old: str, new: str) -> None:
        """Move a run's folder; twice moves nothing more. What is in both places already stays in both."""
        if old == new or self.disk.lstat(old) is None:
            return
        above = old.rpartition("/")[0]
        self._make(new.rpartition("/")[0])
        self._settle_names()  # what moves into a folder without a durable name could be lost with it
        if self.disk.lstat(new) is None:
            self.disk.rename(old, new)
        else:
            for name in self.disk.list(old):
                if self.disk.lstat(f"{new}/{name}") is None:
                    self.disk.rename(f"{old}/{name}", f"{new}/{name}")
            self._changed.add(new)
        self._changed |= {new.rpartition("/")[0], above}
        self._settle_names()
        self.disk.rmdir(old)
        if self.disk.rmdir(above):
            self.disk.fsync_dir(self.folder)

    def _place(self, folders: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        for folder in folders:
            self._make(folder)
        with self.disk.pinned(list(folders)):
            for folder, moves in folders.items():
                for temporary, path in moves:
                    self.disk.rename(temporary, path)
                self._changed.add(folder)
            self._settle_names()

    def _temporary(self, data: bytes, mode: int) -> str:
        self._made += 1
        path = f"{self._scratch}/{os.getpid()}-{self._made}"
        self.disk.create(path, data, mode)
        return path

    def _make(self, path: str) -> None:
        """Make a folder and those above it, and remember whose names are not durable yet."""
        above = path.rpartition("/")[0]
        try:
            new = self.disk.mkdir(path)
        except FileNotFoundError:
            if not above.startswith(self.folder):
                raise
            self._make(above)
            new = self.disk.mkdir(path)
        if new:
            self._changed.add(above)

    def _settle_names(self) -> None:
        self.disk.fsync_dirs(sorted(self._changed))
        self._changed.clear()
