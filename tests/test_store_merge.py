"""Locks and record files of two branches as one, with Git itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from qrun.errors import StoreError
from qrun.fact import Labelled
from qrun.record import Phase
from qrun.store import Store
from qrun.store.merge import main, merge
from tests.test_store_files import at, finish
from tests.test_store_power import DIGESTS, PROJECT, fetched, intended, known, reached

LOCK = "results/sweep/qrun.lock"


def git(root: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    person = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *person, *arguments], cwd=root, env={**os.environ, **quiet}, capture_output=True, text=True, check=check
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository whose merge driver is ours, with a live job on its main branch."""
    git(tmp_path, "init", "-q", "-b", "main")
    command = f'"{sys.executable}" -m qrun.store.merge %O %A %B'
    git(tmp_path, "config", "merge.qrun.driver", f'env PYTHONPATH="{Path(__file__).parent.parent}" {command}')
    (tmp_path / ".gitattributes").write_text("qrun.lock merge=qrun\nrecord.json merge=qrun\n")
    with at(tmp_path) as store:
        store.note(intended("a"), reached("a", Phase.LIVE))
        store.publish(rest=True)
    commit(tmp_path)
    return tmp_path


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "results")


def branch(root: Path, name: str) -> None:
    git(root, "checkout", "-q", "-b", name, "main")


def merged(root: Path) -> subprocess.CompletedProcess[str]:
    git(root, "checkout", "-q", "one")
    return git(root, "merge", "-q", "two", "-m", "both", check=False)


def lines(root: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (root / LOCK).read_bytes().splitlines()]


def test_new_jobs_of_both_sides_are_all_there(root: Path) -> None:
    for name, key in (("one", "b"), ("two", "c")):
        branch(root, name)
        with at(root) as store:
            finish(store, key)
            store.publish(rest=True)
        commit(root)

    done = merged(root)

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.get("key") for line in lines(root)] == [None, "a", "b", "c"]
    with at(root) as store:
        assert {handle for _, handle in known(store)} == {"id-a1", "id-b1", "id-c1"}
        store.publish(rest=True)
    assert git(root, "status", "--porcelain").stdout == ""


def test_different_attempts_of_one_job_stand_together(root: Path) -> None:
    branch(root, "one")
    with at(root) as store:
        store.note(reached("a", Phase.FAILED, message="no luck"))
        store.publish(rest=True)
    commit(root)
    branch(root, "two")
    with at(root) as store:
        store.note(reached("a", Phase.FAILED, message="no luck"), intended("a", 2), reached("a", Phase.LIVE, attempt=2))
        store.publish(rest=True)
    commit(root)

    done = merged(root)

    assert (done.returncode, done.stderr) == (0, "")
    with at(root) as store:
        (record,) = store.records
        assert [(a.n, a.phase, a.handle) for a in record.attempts] == [
            (1, Phase.FAILED, "id-a1"),
            (2, Phase.LIVE, "id-a2"),
        ]
        store.publish(rest=True)
    assert git(root, "status", "--porcelain").stdout == ""


def test_a_job_that_came_further_on_one_side_and_got_labels_on_the_other_has_both(root: Path) -> None:
    branch(root, "one")
    with at(root) as store:
        store.note(Labelled(key="a", digest=DIGESTS["a"], tags=("mine",), description="words"))
        store.publish(rest=True)
    commit(root)
    branch(root, "two")
    with at(root) as store:
        output = store.keep_output("a", DIGESTS["a"], 1, "result.json", b"{}")
        store.note(reached("a", Phase.SUCCEEDED, provided={"seed": 7}), fetched("a", output))
        store.publish(rest=True)
    commit(root)

    assert merged(root).returncode == 0

    with at(root) as store:
        (record,) = store.records
        assert (record.phase, record.tags, record.description) == (Phase.SUCCEEDED, ("mine",), "words")
        assert not store.missing(record)
        page = store.page("a", DIGESTS["a"])
        assert page is not None and page.provided == {1: {"seed": 7}} and page.results is not None
        store.publish(rest=True)
    assert git(root, "status", "--porcelain").stdout == ""


def test_a_true_contradiction_stays_as_a_conflict_and_is_named(root: Path) -> None:
    for name, phase in (("one", Phase.FAILED), ("two", Phase.CANCELLED)):
        branch(root, name)
        with at(root) as store:
            store.note(reached("a", phase))
            store.publish(rest=True)
        commit(root)

    done = merged(root)

    assert done.returncode == 1
    assert '"a" attempt 1 is told to have ended as failed and as cancelled' in done.stderr
    with pytest.raises(StoreError) as caught:
        at(root)
    words = f'{LOCK}:2: holds the conflict marker "<<<<<<<" of a git merge; qrun verify --repair takes in both sides'
    assert str(caught.value) == words


def test_without_the_driver_git_leaves_conflicts_that_are_recognised(root: Path) -> None:
    git(root, "config", "--unset", "merge.qrun.driver")
    for name, phase in (("one", Phase.FAILED), ("two", Phase.LOST)):
        branch(root, name)
        with at(root) as store:
            store.note(reached("a", phase))
            store.publish(rest=True)
        commit(root)

    assert merged(root).returncode == 1

    with pytest.raises(StoreError, match="conflict marker"):
        at(root)


def run_locally(root: Path, counts: dict[str, int], handle: str) -> None:
    import hashlib

    from qrun.canonical import canonical
    from qrun.fact import Fetched, Intended, Reached
    from qrun.record import Handle, Member, Output

    text = canonical({"counts": counts})
    output = Output(name="results.json", sha256=hashlib.sha256(text).hexdigest(), size=len(text))
    with Store.open(str(root), "sweep", project=PROJECT, manifest="specs/sweep.yaml") as store:
        store.note(
            Intended(
                marker="qr1local",
                connection="local",
                step="create",
                members=(Member(key="b", digest=DIGESTS["b"], attempt=1),),
                jobs=({"provider": "local", "device": "ddsim", "kind": "sampling"},),
                digests_without_site=(DIGESTS["b"],),
                sent="2026-01-01T00:00:00.000Z",
            ),
            Reached(
                key="b",
                digest=DIGESTS["b"],
                attempt=1,
                phase=Phase.SUCCEEDED,
                marker="qr1local",
                handle=Handle(handle),
            ),
            Fetched(key="b", digest=DIGESTS["b"], attempt=1, outputs=(output,), results={"counts": counts}),
        )
        store.publish(rest=True)


def test_a_job_that_ran_on_both_simulators_keeps_our_run(root: Path) -> None:
    branch(root, "one")
    run_locally(root, {"00": 1}, "local-1")
    commit(root)
    branch(root, "two")
    run_locally(root, {"11": 1}, "local-2")
    commit(root)

    done = merged(root)

    assert (done.returncode, done.stderr) == (0, "")
    with at(root) as store:
        record = store.records.get("b", DIGESTS["b"])
        assert record is not None and record.handle == "local-1"
        assert store.results("b", DIGESTS["b"]) == {"counts": {"00": 1}}


def test_a_side_that_is_damaged_is_named_and_ours_is_left_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, ours, theirs = (root / name for name in ("base", "ours", "theirs"))
    whole = (root / LOCK).read_bytes()
    base.write_bytes(b"")
    ours.write_bytes(whole)
    theirs.write_bytes(whole.replace(b"id-a1", b"id-a9"))

    assert main([str(base), str(ours), str(theirs)]) == 2

    assert f"{ours} (theirs):2: the line does not match its checksum" in capsys.readouterr().err
    assert ours.read_bytes() == whole


def test_locks_of_two_experiments_are_not_merged(root: Path) -> None:
    whole = (root / LOCK).read_bytes()
    with Store.open(str(root), "other", project=PROJECT, manifest="m") as store:
        store.note(intended("b"))
        store.publish(rest=True)
    other = (root / "results/other/qrun.lock").read_bytes()

    with pytest.raises(StoreError) as caught:
        merge(b"", whole, other)

    assert str(caught.value) == 'qrun.lock: one side is of the experiment "sweep", one of "other"'


@pytest.mark.parametrize(("ours", "theirs"), [(0, 1), (1, 0)])
def test_what_only_one_side_changed_is_taken_from_it(root: Path, ours: int, theirs: int) -> None:
    base = (root / LOCK).read_bytes()
    with at(root) as store:
        store.note(reached("a", Phase.FAILED), intended("b"), reached("b", Phase.LIVE))
        store.publish(rest=True)
    sides: Sequence[bytes] = (base, (root / LOCK).read_bytes())

    assert merge(base, sides[ours], sides[theirs]).data == sides[1]
