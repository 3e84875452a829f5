"""Every file operation of the store, behind one small object, so that tests can cut the power between any two.

Paths are relative to the project's root and are walked component by component without following links: a link that
somebody committed leads nowhere. Nothing is durable until it is synced: a file by `fsync` or `fdatasync`, its name by
`fsync_dir` of the folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, TypeAlias

from qrun.errors import Problem, StoreError

if TYPE_CHECKING:
    from concurrent.futures import Executor

Seal: TypeAlias = tuple[int, int, int, int, int]  # mtime_ns, ctime_ns, size, inode, device
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
UNSYNCABLE: Final = frozenset({errno.EINVAL, errno.ENOTSUP})  # file systems whose folders cannot be synced
FEW: Final = 2  # files that are synced together; one is synced here and now
WORKERS: Final = 8
CURES: Final = {
    errno.ENOSPC: ("the disk is full", "free some space and run again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run again"),
    errno.EROFS: ("the file system is read-only", "make it writable or copy the project elsewhere"),
    errno.EACCES: ("permission denied", "make the file and its folder readable and writable for you"),
    errno.EPERM: ("permission denied", "make the file and its folder readable and writable for you"),
    errno.EIO: ("the disk reports an error", "check the disk, then qrun verify"),
    errno.ENOENT: ("no such file or folder", "check the path"),
    errno.ELOOP: ("a link stands in the way", "replace the link by a folder or file of its own"),
    errno.ENOTDIR: ("a link or file stands where a folder is due", "move it away"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What lstat says. `seal` changes whenever the file's content may have changed."""

    mode: int
    seal: Seal

    @property
    def size(self) -> int:
        return self.seal[2]

    @property
    def regular(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


class Disk:
    """The operating system's files below `root`. `sync=False` is for tests that need speed and no durability."""

    def __init__(self, root: str, *, sync: bool = True) -> None:
        self.root = root
        self.sync = sync
        self._pinned: dict[str, int] = {}  # open folders; the root's is ""
        try:
            self._pinned[""] = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise trouble(root, error) from error

    def at(self, root: str) -> Disk:
        """The same kind of disk below another folder."""
        return Disk(root, sync=self.sync)

    def close(self) -> None:
        if "_workers" in self.__dict__:
            self._workers.shutdown()
            del self._workers
        self._let_go()

    def pin(self, path: str) -> None:
        """Keep this folder open from now on: names below it are reached through it."""
        if path not in self._pinned:
            with _told(path), self._opened(path, FOLDER) as folder:
                self._pinned[path] = os.dup(folder)

    def unpin(self, path: str) -> None:
        """Let go of this folder and all below it."""
        for pinned in [name for name in self._pinned if name == path or name.startswith(f"{path}/")]:
            os.close(self._pinned.pop(pinned))

    @contextmanager
    def pinned(self, paths: Sequence[str]) -> Iterator[None]:
        """These folders stay open for as long as something is done with what is in them."""
        new = [path for path in paths if path not in self._pinned]
        try:
            for path in new:
                self.pin(path)
            yield
        finally:
            for path in new:
                if path in self._pinned:
                    os.close(self._pinned.pop(path))

    def __del__(self) -> None:
        """Waits for no thread: this may run in the midst of one that begins, which holds what their end needs."""
        self._let_go()

    def _let_go(self) -> None:
        for folder in self._pinned.values():
            os.close(folder)
        self._pinned.clear()

    # --- looking ------------------------------------------------------------------------------------------------------

    def lstat(self, path: str) -> Entry | None:
        """None where nothing is. It opens nothing, so a link above the last name is followed here and only here."""
        try:
            return entry(os.lstat(path or ".", dir_fd=self._pinned[""]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise trouble(path, error) from error

    def read(self, path: str, limit: int | None = None) -> bytes:
        """The content of a regular file; FileNotFoundError where nothing is. Beyond `limit` bytes it is refused."""
        with _told(path), self._opened(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as file:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise StoreError(Problem(file=path, message="is not a regular file", hint="move it away"))
            if limit is not None and found.st_size > limit:
                raise StoreError(Problem(file=path, message=f"is larger than {limit} bytes", hint="move it away"))
            return _whole(file, found.st_size)

    def list(self, path: str) -> dict[str, bool]:
        """Names in a folder, and whether each is a folder itself (a link is none); empty where there is no folder."""
        try:
            with _told(path), self._opened(path, FOLDER) as folder, os.scandir(folder) as entries:
                return {item.name: item.is_dir(follow_symlinks=False) for item in entries}
        except FileNotFoundError:
            return {}

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, path: str, data: bytes, mode: int) -> None:
        """A new file with exactly this mode, whatever the umask; FileExistsError where something is."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with _told(path), self._opened(path, flags, 0o600) as file:
            _write(file, data)
            os.fchmod(file, mode)

    def append(self, path: str, data: bytes, at: int) -> None:
        """Add to a file that is exactly `at` bytes long; StoreError where somebody else wrote to it."""
        with _told(path), self._opened(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW) as file:
            size = os.fstat(file).st_size
            if size != at:
                words = f"is {size} bytes long and not {at}: somebody else wrote to it"
                raise StoreError(Problem(file=path, message=words, hint="qrun verify shows what is wrong"))
            _write(file, data)

    def truncate(self, path: str, size: int) -> None:
        with _told(path), self._opened(path, os.O_WRONLY | os.O_NOFOLLOW) as file:
            os.ftruncate(file, size)

    def rename(self, old: str, new: str) -> None:
        with _told(new), self._parent(old) as (source, name), self._parent(new) as (target, renamed):
            os.rename(name, renamed, src_dir_fd=source, dst_dir_fd=target)

    def unlink(self, path: str) -> None:
        with _told(path), self._parent(path) as (folder, name):
            os.unlink(name, dir_fd=folder)

    def mkdir(self, path: str, mode: int | None = None) -> bool:
        """Whether the folder is new. With `mode` it has exactly that, also where it existed."""
        with _told(path), self._parent(path) as (folder, name):
            try:
                os.mkdir(name, 0o777 if mode is None else mode, dir_fd=folder)
                new = True
            except FileExistsError:
                new = False
            if not new or mode is not None:
                with self._opened(path, FOLDER) as made:
                    if mode is not None and stat.S_IMODE(os.fstat(made).st_mode) != mode:
                        os.fchmod(made, mode)
            return new

    def rmdir(self, path: str) -> bool:
        """Whether the folder was empty and is gone."""
        try:
            with _told(path), self._parent(path) as (folder, name):
                os.rmdir(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        return True

    def chmod(self, path: str, mode: int) -> None:
        with _told(path), self._opened(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as file:
            os.fchmod(file, mode)

    # --- durability ---------------------------------------------------------------------------------------------------

    def fsync(self, path: str) -> None:
        with _told(path), self._opened(path, os.O_RDONLY | os.O_NOFOLLOW) as file:
            self._sync(file)

    def fdatasync(self, path: str) -> None:
        with _told(path), self._opened(path, os.O_RDONLY | os.O_NOFOLLOW) as file:
            self._sync(file, data_only=True)

    def fsync_dir(self, path: str) -> None:
        kept = self._pinned.get(path)
        with _told(path), self._opened(path, FOLDER) if kept is None else nullcontext(kept) as folder:
            try:
                self._sync(folder)
            except OSError as error:
                if error.errno not in UNSYNCABLE:
                    raise

    def fsync_all(self, paths: Sequence[str]) -> None:
        """Many files. Several at once share the file system's own commits: a third of the time of one after another."""
        self._each(self.fsync, paths)

    def fsync_dirs(self, paths: Sequence[str]) -> None:
        self._each(self.fsync_dir, paths)

    def _each(self, sync: Callable[[str], None], paths: Sequence[str]) -> None:
        if len(paths) < FEW:
            _in_turn(sync, paths)
            return
        shares = [paths[number::WORKERS] for number in range(min(WORKERS, len(paths)))]
        for _ in self._workers.map(partial(_in_turn, sync), shares):
            pass

    @cached_property
    def _workers(self) -> Executor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(WORKERS)

    def _sync(self, file: int, *, data_only: bool = False) -> None:
        if not self.sync:
            return
        if sys.platform == "darwin":
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
        elif data_only:
            os.fdatasync(file)
        else:
            os.fsync(file)

    # --- the kernel's lock --------------------------------------------------------------------------------------------

    def flock(self, path: str) -> int | None:
        """Lock a file, made where it is missing, mode 0600; None where another process holds it. Never unlink it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        with _told(path), self._opened(path, flags, 0o600) as file:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise StoreError(Problem(file=path, message="is not a regular file", hint="move it away"))
            os.fchmod(file, 0o600)
            held = os.dup(file)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            return None
        except OSError as error:
            os.close(held)
            words = "its file system has no working flock, so two runs could not be kept apart"
            raise StoreError(Problem(file=path, message=words, hint="keep the project on a local disk")) from error
        return held

    def inscribe(self, held: int, data: bytes) -> None:
        """Replace the content of a locked file; for people, so it is not synced."""
        with suppress(OSError):  # a full disk: the lock holds without a name
            os.ftruncate(held, 0)
            os.pwrite(held, data, 0)

    def unlock(self, held: int) -> None:
        fcntl.flock(held, fcntl.LOCK_UN)  # closing alone would not do while a child that was just forked has a copy
        os.close(held)

    # --- walking ------------------------------------------------------------------------------------------------------

    def _parent(self, path: str) -> _Parent:
        """The open folder that holds `path`, and its last name; never through a link and never upwards."""
        above, _, name = path.rpartition("/")
        folder = self._pinned.get(above)
        return _Parent(self._open(above, FOLDER), name) if folder is None else _Parent(folder, name, pinned=True)

    def _opened(self, path: str, flags: int, mode: int = 0o600) -> _Opened:
        return _Opened(self._open(path, flags, mode))

    def _open(self, path: str, flags: int, mode: int = 0o600) -> int:
        if not path:
            return os.dup(self._pinned[""])
        with self._parent(path) as (above, name):
            if name in (".", ".."):
                raise StoreError(f'"{path}" leads out of the project')
            return os.open(name, flags | os.O_CLOEXEC, mode, dir_fd=above)


class _Opened:
    """Something open, closed at the end."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> int:
        return self.number

    def __exit__(self, *_: object) -> None:
        os.close(self.number)


class _Parent:
    """A folder and a name in it. The folder is closed at the end, where it is not pinned."""

    __slots__ = ("folder", "name", "pinned")

    def __init__(self, folder: int, name: str, *, pinned: bool = False) -> None:
        self.folder = folder
        self.name = name
        self.pinned = pinned

    def __enter__(self) -> tuple[int, str]:
        return self.folder, self.name

    def __exit__(self, *_: object) -> None:
        if not self.pinned:
            os.close(self.folder)


def entry(found: os.stat_result) -> Entry:
    seal = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_dev)
    return Entry(mode=found.st_mode, seal=seal)


def trouble(path: str, error: OSError) -> StoreError:
    """A foreign error in our words: what, where, what to do."""
    words, hint = CURES.get(error.errno or 0, (os.strerror(error.errno or 0).lower(), "check the disk and run again"))
    return StoreError(Problem(file=path, message=words, hint=hint))


def _in_turn(sync: Callable[[str], None], paths: Sequence[str]) -> None:
    for path in paths:
        sync(path)


class _told:  # noqa: N801  # reads as a statement where it stands
    """Turns the system's errors into ours; what callers decide by (missing, existing, not empty) passes."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError) or isinstance(error, FileNotFoundError | FileExistsError):
            return
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return
        raise trouble(self.path, error) from error


def _whole(file: int, size: int) -> bytes:
    """Until the end, also where the file grew since it was looked at."""
    parts = []
    while part := os.read(file, max(size, 1) + 1):
        parts.append(part)
        size = max(size - len(part), 65536)
    return b"".join(parts)


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
