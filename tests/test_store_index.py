"""The index: hashes that are believed only while a file looks exactly as it did, and was old enough to be trusted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qrun.store import Disk, Index, Store
from qrun.store.index import look, racy

NOW = 1_800_000_000.0
HASH = "ab" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Store.open(str(tmp_path), "sweep", project=None, manifest="").close()
    (tmp_path / "p.qasm").write_bytes(b"one")
    return tmp_path


def load(root: Path) -> Index:
    return Index.load(Disk(str(root)), "sweep")


def saved(root: Path) -> Index:
    index = load(root)
    seal = look(str(root / "p.qasm"))
    assert seal is not None
    index.put("p.qasm", seal, HASH, time.time() + 10)
    index.set_memo("plan", {"keys": ["a", "b"]})
    assert index.save()
    return load(root)


def test_what_was_put_is_there_for_the_next_command(root: Path) -> None:
    index = saved(root)

    assert index.unchanged(str(root), ["p.qasm", "other.qasm"]) == {"p.qasm": HASH}
    assert index.memo("plan") == {"keys": ["a", "b"]}


def rewrite(path: Path) -> None:
    path.write_bytes(b"two")


def keep_times(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_keeping_times(path: Path) -> None:
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"two")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.rename(path)


def link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


@pytest.mark.parametrize("change", [rewrite, keep_times, replace_keeping_times, Path.unlink, link])
def test_a_file_that_may_have_changed_is_not_known(root: Path, change: Callable[[Path], None]) -> None:
    index = saved(root)

    change(root / "p.qasm")

    assert index.unchanged(str(root), ["p.qasm"]) == {}


def test_a_file_that_changed_just_before_it_was_hashed_is_not_kept() -> None:
    written = int(NOW * 1e9) + 123
    seal = (written, written, 3, 4, 5)

    assert racy(seal, written)
    assert racy(seal, written + 49_000_000)
    assert not racy(seal, written + 51_000_000)
    assert racy(seal, written - 10**9), "a file from the future"


def test_where_times_are_whole_seconds_a_file_must_be_older() -> None:
    written = int(NOW) * 10**9

    assert racy((written, written, 3, 4, 5), written + 1_900_000_000)
    assert not racy((written, written, 3, 4, 5), written + 2_100_000_000)


def test_a_racy_file_forgets_what_was_known_of_it(root: Path) -> None:
    index = saved(root)
    seal = look(str(root / "p.qasm"))
    assert seal is not None

    index.put("p.qasm", seal, "cd" * 32, seal[0] / 1e9)

    assert index.unchanged(str(root), ["p.qasm"]) == {}


def flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"abab", b"acab", 1))


def newer(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2'))


def checked_out(path: Path) -> None:
    path.chmod(0o644)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("change", [flip, newer, checked_out, empty, Path.unlink])
def test_an_index_that_is_damaged_or_foreign_is_ignored(root: Path, change: Callable[[Path], None]) -> None:
    saved(root)

    change(root / "results" / "sweep" / ".qrun" / "index")

    index = load(root)
    assert len(index) == 0
    assert index.memo("plan") is None


def test_an_index_without_news_is_not_written(root: Path) -> None:
    index = saved(root)
    path = root / "results" / "sweep" / ".qrun" / "index"
    before = path.stat()
    seal = look(str(root / "p.qasm"))
    assert seal is not None

    index.put("p.qasm", seal, HASH, NOW)
    index.set_memo("plan", {"keys": ["a", "b"]})

    assert not index.save()
    assert path.stat() == before


def test_where_nothing_was_run_yet_no_index_is_made(tmp_path: Path) -> None:
    index = load(tmp_path)
    index.set_memo("plan", [1])

    assert not index.save()
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_asks_for_any_more_is_dropped(root: Path) -> None:
    index = saved(root)

    index.keep_only(["other"])

    assert len(index) == 0
