"""A disk in memory that remembers what was synced, and the disks that a power cut at any moment could leave.

It has the methods of `qrun.store.disk.Disk`. Each change is logged; `states(log)` replays every prefix of a log and
yields, for each, disks on which unsynced data is lost, torn or whole, and on which names that were not synced are lost,
kept, or kept without the ones before them. A rename is one step and durable once its target folder is synced.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os.path import commonprefix
from typing import Any

from qrun.errors import Problem, StoreError
from qrun.store.disk import Disk, Entry, trouble

Op = tuple[Any, ...]  # the method's name, then its arguments; paths are absolute
Fault = Callable[[str, str], int | None]  # (method, path) -> errno to fail with


@dataclass(kw_only=True, slots=True)
class Node:
    """A file or folder; `synced` is the content that survives, None where the file is new."""

    ino: int
    mode: int
    data: bytes = b""
    synced: bytes | None = None
    entries: dict[str, int] | None = None
    changed: int = 0

    @property
    def torn(self) -> bool:
        return self.entries is None and self.data != (self.synced or b"")


@dataclass(frozen=True, kw_only=True, slots=True)
class Naming:
    """One unsynced change of names; `gone` and `new` are (folder, name) and (folder, name, node)."""

    new: tuple[int, str, int] | None = None
    gone: tuple[int, str] | None = None

    def apply(self, nodes: dict[int, Node]) -> None:
        if self.gone is not None:
            entries = nodes[self.gone[0]].entries
            assert entries is not None
            entries.pop(self.gone[1], None)
        if self.new is not None:
            entries = nodes[self.new[0]].entries
            assert entries is not None
            entries[self.new[1]] = self.new[2]

    def durable_in(self, folder: int) -> bool:
        return folder == (self.new[0] if self.new is not None else self.gone[0] if self.gone is not None else -1)


@dataclass(kw_only=True, slots=True)
class Tree:
    """All nodes by number (1 is the top); `durable` holds each folder's names as they survive."""

    nodes: dict[int, Node] = field(default_factory=lambda: {1: Node(ino=1, mode=stat.S_IFDIR | 0o755, entries={})})
    durable: dict[int, dict[str, int]] = field(default_factory=lambda: {1: {}})
    pending: list[Naming] = field(default_factory=list)
    log: list[Op] = field(default_factory=list)
    locked: set[int] = field(default_factory=set)
    held: dict[int, int] = field(default_factory=dict)
    ticks: int = 10**15
    fault: Fault | None = None


class FakeDisk(Disk):
    """Is a `Disk` only in type: nothing of the real one is used."""

    def __init__(self, root: str = "/project", *, tree: Tree | None = None, fault: Fault | None = None) -> None:
        self.root = root
        self._pinned = {}  # nothing is open that would have to be closed
        self.tree = tree or Tree()
        if fault is not None:
            self.tree.fault = fault
        if tree is None:
            for part in root.strip("/").split("/"):
                node = self._new(stat.S_IFDIR | 0o755, entries={})
                top = self.tree.nodes[1].entries
                assert top is not None and "/" not in root.strip("/"), "a root is one folder below the top"
                top[part] = self.tree.durable[1][part] = node.ino

    def at(self, root: str) -> FakeDisk:
        if self._find(root) is None:
            raise trouble(root, OSError(errno.ENOENT, "no such folder"))
        return FakeDisk(root, tree=self.tree)

    def close(self) -> None:
        pass

    def pin(self, path: str) -> None:
        pass

    def unpin(self, path: str) -> None:
        pass

    @contextmanager
    def pinned(self, paths: Sequence[str]) -> Iterator[None]:
        yield

    @property
    def log(self) -> list[Op]:
        return self.tree.log

    def files(self) -> dict[str, bytes]:
        """Every file's content by its path below the root."""
        node = self._find(self.root)
        return {} if node is None else dict(self._walk(node, ""))

    # --- looking ------------------------------------------------------------------------------------------------------

    def lstat(self, path: str) -> Entry | None:
        node = self._find(self._full(path))
        if node is None:
            return None
        return Entry(mode=node.mode, seal=(node.changed, node.changed, len(node.data), node.ino, 1))

    def read(self, path: str, limit: int | None = None) -> bytes:
        self._fail("read", self._full(path))
        node = self._file(path)
        if limit is not None and len(node.data) > limit:
            raise StoreError(Problem(file=path, message=f"is larger than {limit} bytes", hint="move it away"))
        return node.data

    def list(self, path: str) -> dict[str, bool]:
        node = self._find(self._full(path))
        if node is None or node.entries is None:
            return {}
        return {name: self.tree.nodes[ino].entries is not None for name, ino in node.entries.items()}

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(self, path: str, data: bytes, mode: int) -> None:
        full = self._full(path)
        if self._find(full) is not None:
            raise FileExistsError(errno.EEXIST, "exists", path)
        self._above(full)
        self._do("create", full, data, mode)

    def append(self, path: str, data: bytes, at: int) -> None:
        size = len(self._file(path).data)
        if size != at:
            words = f"is {size} bytes long and not {at}: somebody else wrote to it"
            raise StoreError(Problem(file=path, message=words, hint="qrun verify shows what is wrong"))
        self._do("append", self._full(path), data)

    def truncate(self, path: str, size: int) -> None:
        self._file(path)
        self._do("truncate", self._full(path), size)

    def rename(self, old: str, new: str) -> None:
        self._existing(old)
        self._above(self._full(new))
        self._do("rename", self._full(old), self._full(new))

    def unlink(self, path: str) -> None:
        self._existing(path)
        self._do("unlink", self._full(path))

    def mkdir(self, path: str, mode: int | None = None) -> bool:
        full = self._full(path)
        if (found := self._find(full)) is not None:
            if found.entries is None:
                raise trouble(path, OSError(errno.ENOTDIR, "not a folder"))
            return False
        self._above(full)
        self._do("mkdir", full, 0o755 if mode is None else mode)
        return True

    def rmdir(self, path: str) -> bool:
        node = self._find(self._full(path))
        if node is None or node.entries:
            return False
        self._do("unlink", self._full(path))
        return True

    def chmod(self, path: str, mode: int) -> None:
        self._existing(path)
        self._do("chmod", self._full(path), mode)

    def fsync(self, path: str) -> None:
        self._existing(path)
        self._do("fsync", self._full(path))

    def fdatasync(self, path: str) -> None:
        self.fsync(path)

    def fsync_dir(self, path: str) -> None:
        self._existing(path)
        self._do("fsync_dir", self._full(path))

    def fsync_all(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.fsync(path)

    def fsync_dirs(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.fsync_dir(path)

    # --- the kernel's lock --------------------------------------------------------------------------------------------

    def flock(self, path: str) -> int | None:
        full = self._full(path)
        if self._find(full) is None:
            self._do("create", full, b"", 0o600)
        node = self._existing(path)
        if node.ino in self.tree.locked:
            return None
        self.tree.locked.add(node.ino)
        self.tree.held[len(self.tree.held)] = node.ino
        return len(self.tree.held) - 1

    def inscribe(self, held: int, data: bytes) -> None:
        self.tree.nodes[self.tree.held[held]].data = data

    def unlock(self, held: int) -> None:
        self.tree.locked.discard(self.tree.held[held])

    # --- inside -------------------------------------------------------------------------------------------------------

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _find(self, full: str) -> Node | None:
        node = self.tree.nodes[1]
        for part in full.strip("/").split("/"):
            if node.entries is None or part not in node.entries:
                return None
            node = self.tree.nodes[node.entries[part]]
        return node

    def _existing(self, path: str) -> Node:
        node = self._find(self._full(path))
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "no such file or folder", path)
        return node

    def _file(self, path: str) -> Node:
        node = self._existing(path)
        if node.entries is not None:
            raise StoreError(Problem(file=path, message="is not a regular file", hint="move it away"))
        return node

    def _above(self, full: str) -> tuple[Node, str]:
        above, _, name = full.rpartition("/")
        node = self._find(above)
        if node is None or node.entries is None:
            raise FileNotFoundError(errno.ENOENT, "no such folder", above)
        return node, name

    def _new(self, mode: int, *, entries: dict[str, int] | None = None, data: bytes = b"") -> Node:
        self.tree.ticks += 10**6
        number = len(self.tree.nodes) + 1
        node = Node(ino=number, mode=mode, data=data, entries=entries, changed=self.tree.ticks)
        self.tree.nodes[number] = node
        if entries is not None:
            self.tree.durable[number] = {}
        return node

    def _fail(self, method: str, full: str) -> None:
        number = self.tree.fault(method, full) if self.tree.fault is not None else None
        if number is not None:
            raise trouble(full.removeprefix(f"{self.root}/"), OSError(number, "injected"))

    def _do(self, method: str, full: str, *rest: Any) -> None:
        try:
            self._fail(method, rest[0] if method == "rename" else full)
        except StoreError:
            if method == "append":  # as on a full disk: a part is written, then it fails
                self.perform(("append", full, rest[0][: len(rest[0]) // 2]))
            raise
        self.perform((method, full, *rest))

    def perform(self, op: Op) -> None:
        self.tree.log.append(op)
        getattr(self, f"_on_{op[0]}")(*op[1:])

    def _name(self, naming: Naming) -> None:
        naming.apply(self.tree.nodes)
        self.tree.pending.append(naming)

    def _on_create(self, full: str, data: bytes, mode: int) -> None:
        above, name = self._above(full)
        node = self._new(stat.S_IFREG | mode, data=data)
        self._name(Naming(new=(above.ino, name, node.ino)))

    def _on_mkdir(self, full: str, mode: int) -> None:
        above, name = self._above(full)
        node = self._new(stat.S_IFDIR | mode, entries={})
        self._name(Naming(new=(above.ino, name, node.ino)))

    def _on_append(self, full: str, data: bytes) -> None:
        node = self._touch(full)
        node.data += data

    def _on_truncate(self, full: str, size: int) -> None:
        node = self._touch(full)
        node.data = node.data[:size]

    def _on_rename(self, old: str, new: str) -> None:
        source, name = self._above(old)
        target, renamed = self._above(new)
        assert source.entries is not None
        node = source.entries[name]
        self._name(Naming(gone=(source.ino, name), new=(target.ino, renamed, node)))

    def _on_unlink(self, full: str) -> None:
        above, name = self._above(full)
        self._name(Naming(gone=(above.ino, name)))

    def _on_chmod(self, full: str, mode: int) -> None:
        node = self._touch(full)
        node.mode = stat.S_IFMT(node.mode) | mode

    def _on_fsync(self, full: str) -> None:
        node = self._find(full)
        assert node is not None
        node.synced = node.data

    def _on_fsync_dir(self, full: str) -> None:
        folder = self._find(full)
        assert folder is not None
        left = []
        for naming in self.tree.pending:
            if naming.durable_in(folder.ino):
                self._make_durable(naming)
            else:
                left.append(naming)
        self.tree.pending = left

    def _make_durable(self, naming: Naming) -> None:
        if naming.gone is not None:
            self.tree.durable[naming.gone[0]].pop(naming.gone[1], None)
        if naming.new is not None:
            self.tree.durable[naming.new[0]][naming.new[1]] = naming.new[2]

    def _touch(self, full: str) -> Node:
        node = self._find(full)
        assert node is not None
        self.tree.ticks += 10**6
        node.changed = self.tree.ticks
        return node

    def _walk(self, node: Node, prefix: str) -> Iterator[tuple[str, bytes]]:
        for name, ino in sorted((node.entries or {}).items()):
            child = self.tree.nodes[ino]
            if child.entries is None:
                yield f"{prefix}{name}", child.data
            else:
                yield from self._walk(child, f"{prefix}{name}/")


def copied(disk: FakeDisk) -> FakeDisk:
    """The same disk once more, with everything on it synced and nothing logged."""
    return _rebooted(disk, disk.tree.pending, {ino: node.data for ino, node in disk.tree.nodes.items()})


def replayed(log: Sequence[Op], root: str = "/project") -> FakeDisk:
    """A disk on which these operations were done and the power is still on."""
    disk = FakeDisk(root)
    for op in log:
        disk.perform(op)
    return disk


def states(log: Sequence[Op], root: str = "/project", start: FakeDisk | None = None) -> Iterator[tuple[int, FakeDisk]]:
    """Every different disk that a power cut may leave, with the number of operations that were done before it.

    `start` is the disk on which the log began, where that was not an empty one.
    """
    seen: set[tuple[int, tuple[tuple[str, bytes], ...]]] = set()
    disk = FakeDisk(root) if start is None else copied(start)
    for done in range(len(log) + 1):
        if done:
            disk.perform(log[done - 1])
        for after in _after_a_cut(disk):
            content = tuple(sorted(after.files().items()))
            if (done, content) not in seen:
                seen.add((done, content))
                yield done, after


def _after_a_cut(disk: FakeDisk) -> Iterator[FakeDisk]:
    for namings in _namings(disk.tree.pending):
        for contents in _contents(disk.tree):
            yield _rebooted(disk, namings, contents)


def _namings(pending: Sequence[Naming]) -> list[tuple[Naming, ...]]:
    """Which unsynced names survive: none, all, the first ones, all but one, only one."""
    every = tuple(pending)
    choices = {every[:count] for count in range(len(every) + 1)}
    choices |= {(*every[:place], *every[place + 1 :]) for place in range(len(every))}
    choices |= {(naming,) for naming in every}
    return sorted(choices, key=lambda chosen: (len(chosen), [every.index(naming) for naming in chosen]))


def _contents(tree: Tree) -> list[dict[int, bytes]]:
    """What survives of unsynced content: nothing, all, or all but a tail of one file."""
    torn = [node for node in tree.nodes.values() if node.torn]
    choices = [{node.ino: node.synced or b"" for node in torn}, {node.ino: node.data for node in torn}]
    for node in torn:
        base = node.synced or b""
        # what was synced and stays is never lost, by a truncate neither
        shared = len(commonprefix((base, node.data)))  # noqa: RUF071 (bytes, no paths)
        for length in sorted({shared + 1, (shared + len(node.data)) // 2, len(node.data) - 1}):
            if shared < length < len(node.data):
                choices += [{**choice, node.ino: node.data[:length]} for choice in choices[:2]]
    return choices


def _rebooted(disk: FakeDisk, namings: Sequence[Naming], contents: dict[int, bytes]) -> FakeDisk:
    before = disk.tree
    nodes = {}
    for ino, node in before.nodes.items():
        data = contents.get(ino, node.data)
        entries = dict(before.durable[ino]) if node.entries is not None else None
        nodes[ino] = replace(node, data=data, synced=data, entries=entries)
    for naming in namings:
        naming.apply(nodes)
    durable = {ino: dict(node.entries) for ino, node in nodes.items() if node.entries is not None}
    return FakeDisk(disk.root, tree=Tree(nodes=nodes, durable=durable, ticks=before.ticks + 10**9))
