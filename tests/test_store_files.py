"""The results directory as a whole, on the machine's own disk."""

from __future__ import annotations

import errno
import gc
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest

from qrun.canonical import canonical
from qrun.clock import Clock
from qrun.errors import StoreError
from qrun.fact import Fetched, Labelled, Renamed, Taken
from qrun.job import Job, Program, Target
from qrun.record import Output, Phase
from qrun.store import Disk, Store
from qrun.store.paths import job_folder
from tests.disk import FakeDisk
from tests.test_store_power import DIGESTS, PROJECT, fetched, intended, known, opened, reached

RUN = f"results/sweep/a/{DIGESTS['a'][:12]}"


class StillClock(Clock):
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def at(root: Path, **rest: object) -> Store:
    return Store.open(str(root), "sweep", project=PROJECT, manifest="specs/sweep.yaml", run="r1", **rest)  # type: ignore[arg-type]


def finish(store: Store, key: str = "a", raw: bytes = b'{"raw": 1}') -> Output:
    store.note(intended(key), reached(key, Phase.LIVE))
    output = store.keep_output(key, DIGESTS[key], 1, "result.json", raw)
    store.note(reached(key, Phase.SUCCEEDED, provided={"seed": 7}), fetched(key, output))
    return output


def tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file but the mutex, with its inode, time and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name != "mutex":
            status = path.stat()
            found[str(path.relative_to(root))] = (status.st_ino, status.st_mtime_ns, path.read_bytes())
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_second_run_with_nothing_new_changes_no_byte_and_no_time(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        finish(store)
        store.note(intended("b"), reached("b", Phase.LIVE))
        store.publish(rest=True)
    before = tree(tmp_path)

    for _ in range(2):
        with at(tmp_path) as store:
            assert not store.missing(next(iter(store.records)))
            store.publish(rest=False)
            store.publish(rest=True)

    assert tree(tmp_path) == before


def test_two_machines_that_fetch_one_job_write_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with at(tmp_path / "one") as store:
        store.note(intended("a"), reached("a", Phase.LIVE))
        store.publish(rest=True)
    subprocess.run(["cp", "-r", "one", "two"], cwd=tmp_path, check=True)
    for name in ("one", "two"):
        with at(tmp_path / name) as store:
            output = store.keep_output("a", DIGESTS["a"], 1, "result.json", b"{}")
            store.note(reached("a", Phase.SUCCEEDED, provided={"seed": 7}), fetched("a", output))
            store.publish(rest=True)

    one, two = (
        {
            path: data
            for path, (_, _, data) in tree(tmp_path / name / "results" / "sweep").items()
            if ".qrun" not in path
        }
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 3


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_is_kept_is_read_only_and_what_is_ours_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with at(tmp_path) as store:
            program = b"OPENQASM 2.0;\n"
            sha = sha256(program).hexdigest()
            store.keep_program(Program(path="p.qasm", sha256=sha, size=len(program)), program)
            finish(store)
            store.publish(rest=True)
    finally:
        os.umask(before)

    here = tmp_path / "results" / "sweep"
    assert mode(here / "programs" / f"{sha[:12]}.qasm") == 0o444
    assert mode(tmp_path / RUN / "raw.1.result.json") == 0o444
    assert mode(tmp_path / RUN / "record.json") == 0o444
    assert mode(here / ".qrun") == 0o700
    assert mode(here / ".qrun" / "journal.jsonl") == 0o600
    assert mode(here / ".qrun" / "mutex") == 0o600
    assert mode(here / ".qrun" / "index") == 0o600


def test_a_program_is_kept_once_and_durable_before_the_intent() -> None:
    disk = FakeDisk()
    data = b"OPENQASM 2.0;\n"
    sha = sha256(data).hexdigest()
    program = Program(path="a/p.qasm", sha256=sha, size=len(data))
    path = f"/project/results/sweep/programs/{sha[:12]}.qasm"
    with opened(disk) as store:
        store.keep_program(program, data)
        store.keep_program(program, data)
        store.note(intended("a"))
        once = len(disk.log)
        store.keep_program(program, data)
        assert len(disk.log) == once

    done = [op[:2] for op in disk.log]
    journal = "/project/results/sweep/.qrun/journal.jsonl"
    assert done.index(("fsync", path)) < done.index(("fsync_dir", path.rpartition("/")[0]))
    assert done.index(("fsync_dir", path.rpartition("/")[0])) < done.index(("append", journal))


def test_a_result_that_was_fetched_is_never_replaced(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        first = finish(store)
        store.publish(rest=True)
        again = store.keep_output("a", DIGESTS["a"], 1, "result.json", b'{"raw": 2}')
        other: dict[str, Any] = {"bits": ["c[0]"], "counts": {"1": 1}, "shots": 1}
        text = canonical(other)
        small = Output(name="results.json", sha256=sha256(text).hexdigest(), size=len(text))
        store.note(Fetched(key="a", digest=DIGESTS["a"], attempt=1, outputs=(again, small), results=other))
        store.publish(rest=True)

        assert again == first
        assert store.told == [
            f'a second fetch of "a" brought other bytes for raw.1.result.json: '
            f"kept beside as {RUN}/raw.1.result.json.diverged-1",
            f'a second fetch of "a" brought other bytes for results.json: kept beside as {RUN}/results.json.diverged-1',
        ]
        assert store.results("a", DIGESTS["a"]) == {"bits": ["c[0]"], "counts": {"0": 1}, "shots": 1}

    run = tmp_path / RUN
    assert (run / "raw.1.result.json").read_bytes() == b'{"raw": 1}'
    assert (run / "raw.1.result.json.diverged-1").read_bytes() == b'{"raw": 2}'
    assert (run / "results.json.diverged-1").read_bytes() == text
    page = json.loads((run / "record.json").read_bytes())
    assert page["diverged"] == ["raw.1.result.json.diverged-1", "results.json.diverged-1"]


def test_an_output_that_was_damaged_is_put_aside_when_the_right_one_is_fetched_again(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        finish(store)
        store.publish(rest=True)
    path = tmp_path / RUN / "raw.1.result.json"
    path.chmod(0o644)
    path.write_bytes(b"damaged")

    with at(tmp_path) as store:
        assert store.missing(next(iter(store.records)))
        store.keep_output("a", DIGESTS["a"], 1, "result.json", b'{"raw": 1}')
        assert not store.missing(next(iter(store.records)))

    assert path.read_bytes() == b'{"raw": 1}'
    assert (path.parent / "raw.1.result.json.damaged-1").read_bytes() == b"damaged"


def test_a_large_normal_form_is_a_file_and_is_checked_when_it_is_read(tmp_path: Path) -> None:
    results: dict[str, Any] = {"counts": {f"{n:017b}": 1 for n in range(4000)}, "shots": 4000}
    text = canonical(results)
    assert len(text) > 64 * 1024
    with at(tmp_path) as store:
        store.note(intended("a"), reached("a", Phase.LIVE))
        kept = store.keep_output("a", DIGESTS["a"], 1, "results.json", text)
        whole = Fetched(key="a", digest=DIGESTS["a"], attempt=1, outputs=(kept,))
        store.note(reached("a", Phase.SUCCEEDED), whole)
        store.publish(rest=True)
        record = next(iter(store.records))
        assert store.results("a", DIGESTS["a"]) == results
        assert not store.missing(record)

        path = tmp_path / RUN / "results.json"
        path.chmod(0o644)
        path.write_bytes(text.replace(b":1", b":2", 1))
        with pytest.raises(StoreError) as caught:
            store.results("a", DIGESTS["a"])

        words = "is not what was fetched: its hash differs from the lock's; git checkout brings back what was committed"
        assert str(caught.value) == f"{RUN}/results.json: {words}"
        path.unlink()
        assert store.missing(record)


def test_a_rename_moves_the_folder_and_runs_nothing_again(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        finish(store)
        store.publish(rest=True)
    with at(tmp_path) as store:
        store.note(Renamed(old="a", key="z", digest=DIGESTS["a"]))
        assert not store.missing(next(iter(store.records)))
        store.publish(rest=True)

    assert not (tmp_path / "results" / "sweep" / "a").exists()
    moved = tmp_path / "results" / "sweep" / "z" / DIGESTS["a"][:12]
    page = json.loads((moved / "record.json").read_bytes())
    assert (page["key"], page["formerly"]) == ("z", ["a"])
    assert (moved / "raw.1.result.json").read_bytes() == b'{"raw": 1}'
    lines = [json.loads(line) for line in (tmp_path / "results" / "sweep" / "qrun.lock").read_bytes().splitlines()]
    assert [line.get("key") for line in lines] == [None, "z"]


def test_labels_and_acceptance_change_the_lock_and_the_record_file(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        finish(store)
        store.publish(rest=True)
        store.note(Labelled(key="a", digest=DIGESTS["a"], tags=("new",), description="words"))
        store.note(Taken(key="a", digest=DIGESTS["a"], attempt=1))
        store.publish(rest=True)

    page = json.loads((tmp_path / RUN / "record.json").read_bytes())
    assert (page["tags"], page["description"], page["accepted"]) == (["new"], "words", True)
    with at(tmp_path) as store:
        record = next(iter(store.records))
        assert (record.tags, record.description, record.accepted) == (("new",), "words", True)


def test_a_lock_that_others_changed_during_a_run_is_taken_in(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "other").mkdir()
    with at(tmp_path / "other") as store:
        finish(store, "b")
        store.publish(rest=True)
    with at(tmp_path / "mine") as store:
        finish(store, "a")
        store.publish(rest=True)
        pulled = (tmp_path / "other" / "results" / "sweep" / "qrun.lock").read_bytes()
        (tmp_path / "mine" / "results" / "sweep" / "qrun.lock").write_bytes(pulled)
        store.note(intended("c"), reached("c", Phase.LIVE))
        store.publish(rest=True)

        assert {handle for _, handle in known(store)} == {"id-a1", "id-b1", "id-c1"}

    view = Store.read(str(tmp_path / "mine"), "sweep", project=PROJECT)
    assert {handle for _, handle in known(view)} == {"id-a1", "id-b1", "id-c1"}


def test_an_attempt_that_was_proven_absent_does_not_come_back_with_a_lock_that_others_changed(tmp_path: Path) -> None:
    lock = tmp_path / "results" / "sweep" / "qrun.lock"
    with at(tmp_path) as store:
        store.note(intended("a"), intended("b"))
        store.publish(rest=True)
        before = lock.read_bytes()
        store.note(reached("a", Phase.ABSENT))
        lock.unlink()
        lock.write_bytes(before)
        store.publish(rest=True)

        assert [r.key for r in store.records if r.attempts] == ["b"]
    assert b'"a"' not in lock.read_bytes()


def test_the_lock_of_a_folder_that_was_checked_out_away_is_written_again(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        finish(store)
        store.publish(rest=True)
        (tmp_path / "results" / "sweep" / "qrun.lock").unlink()
        store.publish(rest=True)

    assert b"id-a1" in (tmp_path / "results" / "sweep" / "qrun.lock").read_bytes()


def test_while_running_the_lock_is_written_at_a_pace() -> None:
    disk, clock = FakeDisk(), StillClock()
    store = Store.open("/project", "sweep", project=PROJECT, manifest="m", disk=disk, clock=clock)
    store.note(intended("a"))
    store.publish(rest=False)
    assert "results/sweep/qrun.lock" not in disk.files()

    clock.seconds = 2.0
    store.publish(rest=False)
    assert b"intent" in disk.read("results/sweep/qrun.lock")

    store.note(reached("a", Phase.LIVE))
    clock.seconds = 3.9
    store.publish(rest=False)
    assert b"intent" in disk.read("results/sweep/qrun.lock")
    clock.seconds = 4.0
    store.publish(rest=False)
    assert b"live" in disk.read("results/sweep/qrun.lock")


def test_the_manifest_in_the_header_follows_the_one_that_is_applied_and_stays_where_none_is(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        finish(store)
        store.publish(rest=True)
    with Store.open(str(tmp_path), "sweep", project=PROJECT, manifest="") as store:
        store.publish(rest=True)
    assert Store.read(str(tmp_path), "sweep").manifest == "specs/sweep.yaml"

    with Store.open(str(tmp_path), "sweep", project=PROJECT, manifest="moved.yaml") as store:
        store.publish(rest=True)
    assert Store.read(str(tmp_path), "sweep").manifest == "moved.yaml"


def test_a_job_that_no_file_tells_any_more_is_told_by_the_manifest(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        finish(store)
        store.publish(rest=True)
    (tmp_path / RUN / "record.json").unlink()
    job = Job(
        experiment="sweep",
        key="a",
        target=Target(connection="cloud", provider="oqtopus", device="qulacs"),
        kind="sampling",
        digest=DIGESTS["a"],
        digest_without_site=DIGESTS["a"],
    )

    with at(tmp_path) as store:
        assert store.job("a", DIGESTS["a"]) == {"provider": "oqtopus", "device": "qulacs"}
        store.offer([job])
        assert store.job("a", DIGESTS["a"])["kind"] == "sampling"


HOLDER = """
import sys
from qrun.store import Store
store = Store.open(sys.argv[1], "sweep", project=None, manifest="", command="qrun apply sweep.yaml", run="r9")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_told_who_has_the_directory_and_readers_are_let_in(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(StoreError) as caught:
            at(tmp_path)
        told = json.loads((tmp_path / "results" / "sweep" / ".qrun" / "mutex").read_bytes())
        assert len(Store.read(str(tmp_path), "sweep").records) == 0

    assert caught.value.exit == 5
    words = str(caught.value)
    assert words.startswith(f"results/sweep is in use by pid {process.pid} on {os.uname().nodename} since ")
    assert words.endswith(" (qrun apply sweep.yaml); wait until it has ended")
    assert set(told) == {"run", "pid", "host", "boot", "start", "command"}


def test_a_killed_holder_leaves_the_directory_free(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()

        at(tmp_path).close()


FORKING = """
import os, sys
from qrun.store import Store
store = Store.open(sys.argv[1], "sweep", project=None, manifest="")
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
os.wait()
"""


def test_a_forked_child_does_not_keep_the_directory_after_its_parent_was_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "forked\n"
        process.kill()
        process.wait()

        at(tmp_path).close()


@pytest.mark.parametrize("place", ["results", "results/sweep", "results/sweep/.qrun", f"{RUN}", "results/sweep/a"])
def test_a_link_that_somebody_committed_leads_nowhere(tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "project"
    link = root / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)

    with pytest.raises(StoreError) as caught, at(root) as store:
        finish(store)

    assert "a link" in str(caught.value)
    assert list(outside.iterdir()) == []


def test_a_link_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "results" / "sweep").mkdir(parents=True)
    (tmp_path / "results" / "sweep" / "qrun.lock").symlink_to(secret)

    with pytest.raises(StoreError) as caught:
        at(tmp_path)

    words = "a link stands in the way; replace the link by a folder or file of its own"
    assert str(caught.value) == f"results/sweep/qrun.lock: {words}"


@pytest.mark.parametrize(
    ("key", "folder"),
    [
        ("bell", "bell"),
        ("h2-vqe_1.5", "h2-vqe_1.5"),
        ("Bell", "Bell-{}"),
        ("rabi:omega=0.5,n=3", "rabi-omega=0.5,n=3-{}"),
        ('x:s="a b"', "x-s=-a-b-{}"),
        ("con", "con-{}"),
        ("nul.txt", "nul.txt-{}"),
        ("programs", "programs-{}"),
        ("ends.", "ends-{}"),
        ("bell-0123abcd", "bell-0123abcd-{}"),
        ("../../etc", "etc-{}"),
        ("é", "job-{}"),
        ("k" * 200, "k" * 80 + "-{}"),
    ],
)
def test_a_key_becomes_a_readable_folder_that_no_other_key_has(key: str, folder: str) -> None:
    assert job_folder(key) == folder.format(sha256(key.encode()).hexdigest()[:8])


def test_an_experiment_that_is_no_name_for_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Store.open(str(tmp_path), "../x", project=None, manifest="")

    assert str(caught.value) == '"../x" is not a name for a folder; give the experiment another name'


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run again"),
        (errno.EROFS, "the file system is read-only; make it writable or copy the project elsewhere"),
        (errno.EIO, "the disk reports an error; check the disk, then qrun verify"),
        (errno.EACCES, "permission denied; make the file and its folder readable and writable for you"),
    ],
)
def test_a_write_that_fails_names_the_file_and_the_cure_and_loses_nothing(number: int, words: str) -> None:
    disk = FakeDisk()
    with opened(disk) as store:
        store.note(intended("a"), reached("a", Phase.LIVE))
        disk.tree.fault = lambda method, path: number if path.endswith("qrun.lock") and method == "rename" else None
        with pytest.raises(StoreError) as caught:
            store.publish(rest=True)
    assert str(caught.value) == f"results/sweep/qrun.lock: {words}"

    disk.tree.fault = None
    with opened(disk) as store:
        assert len(known(store)) == 1
        store.publish(rest=True)
    assert b"id-a1" in disk.read("results/sweep/qrun.lock")


def test_a_folder_that_vanishes_under_a_run_is_told_without_a_traceback(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        store.note(intended("a"), reached("a", Phase.LIVE))
        subprocess.run(["rm", "-rf", str(tmp_path / "results")], check=True)

        with pytest.raises(StoreError) as caught:
            store.publish(rest=True)

    assert str(caught.value).startswith("results/sweep: changed while this run was using it: no such file")


def test_facts_that_find_no_room_are_rescued_beside_the_results_or_elsewhere(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        fact = reached("a", Phase.LIVE)
        first = store.rescue([fact])
        second = store.rescue([fact])
        third = store.rescue([fact], str(tmp_path / "results"))

    assert first == str(tmp_path / "qrun-errored-r1.json")
    assert second == str(tmp_path / "qrun-errored-r1-2.json")
    assert third == str(tmp_path / "results" / "qrun-errored-r1.json")
    told = json.loads(Path(first).read_bytes())["facts"][0]
    assert (told["ev"], told["handle"], told["marker"]) == ("reached", "id-a1", fact.marker)


def test_a_damaged_record_file_is_named_and_not_written_over(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        finish(store)
        store.publish(rest=True)
    path = tmp_path / RUN / "record.json"
    whole = path.read_bytes()
    path.chmod(0o644)

    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x01]) + whole[place + 1 :])
        with at(tmp_path) as store, pytest.raises(StoreError) as caught:
            store.results("a", DIGESTS["a"])
        assert caught.value.problems[0].file == f"{RUN}/record.json"


def test_a_run_of_zero_jobs_leaves_no_lock(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        store.publish(rest=True)

    assert not (tmp_path / "results" / "sweep" / "qrun.lock").exists()


def test_a_disk_that_is_dropped_waits_for_none_of_its_threads(tmp_path: Path) -> None:
    """Garbage is collected in any thread at any moment, also in one that begins and holds what the others need."""
    disk = Disk(str(tmp_path))
    go = Event()
    waiting = disk._workers.submit(go.wait)  # noqa: SLF001 (nobody else can keep one of them busy)
    in_the_end = Timer(30, go.set)
    in_the_end.start()

    del disk
    gc.collect()

    assert not waiting.done()
    in_the_end.cancel()
    go.set()
    assert waiting.result(timeout=30)


def test_a_root_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Disk(str(tmp_path / "none"))

    assert str(caught.value) == f"{tmp_path}/none: no such file or folder; check the path"


def test_whatever_a_provider_says_is_written_as_json_and_read_back(tmp_path: Path) -> None:
    odd = {"temperature": float("nan"), "name": "\ud800\u202e\n", "nested": [float("inf"), {"deep": 1.5}]}
    with at(tmp_path) as store:
        store.note(intended("a"), reached("a", Phase.LIVE))
        store.note(reached("a", Phase.FAILED, message="\x1b[31m\ud800", word="KAPUTT", provided=odd))
        store.publish(rest=True)

    with at(tmp_path) as store:
        page = store.page("a", DIGESTS["a"])
    assert page is not None and page.record.last is not None
    assert page.record.last.message == "\x1b[31m\ud800"
    assert page.provided[1] == {"temperature": "nan", "name": "\ud800\u202e\n", "nested": ["inf", {"deep": 1.5}]}
    assert (tmp_path / RUN / "record.json").read_bytes().isascii()


def test_a_pipe_in_place_of_the_mutex_is_named(tmp_path: Path) -> None:
    with at(tmp_path) as store:
        path = tmp_path / store.folder / ".qrun" / "mutex"
    path.unlink()
    os.mkfifo(path)

    with pytest.raises(StoreError, match="mutex: is not a regular file; move it away"):
        at(tmp_path)
