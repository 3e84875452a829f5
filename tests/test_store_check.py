"""Verify names what is not as it was written; repair rebuilds it from what else is there, and throws nothing away."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from qrun.canonical import canonical
from qrun.errors import StoreError
from qrun.fact import Fetched
from qrun.job import Program
from qrun.record import Output, Phase
from qrun.store import Store
from qrun.store.check import Findings, Repairs, repair, verify
from qrun.store.gc import garbage, remove
from qrun.store.records import read
from tests.test_store_files import at
from tests.test_store_power import DIGESTS, PROJECT, RESULTS, intended, known, reached

HERE = "results/sweep"
LOCK = f"{HERE}/qrun.lock"
JOURNAL = f"{HERE}/.qrun/journal.jsonl"
RUN = f"{HERE}/a/{DIGESTS['a'][:12]}"
PROGRAM = b"OPENQASM 2.0;\n"
SHA = sha256(PROGRAM).hexdigest()
CURE = "; qrun verify --repair rebuilds what the other files still know"
CHECKOUT = "git checkout brings back what was committed"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A succeeded, b is live; c is live and so far only in the journal."""
    with at(tmp_path) as store:
        store.keep_program(Program(path="p.qasm", sha256=SHA, size=len(PROGRAM)), PROGRAM)
        fact = intended("a")
        sent = {**fact.jobs[0], "program": [{"path": "p.qasm", "sha256": SHA, "size": len(PROGRAM)}]}
        store.note(replace(fact, jobs=(sent,)), intended("b"), reached("a", Phase.LIVE), reached("b", Phase.LIVE))
        raw = store.keep_output("a", DIGESTS["a"], 1, "result.json", b'{"raw": 1}')
        text = canonical(RESULTS)  # type: ignore[arg-type]
        small = Output(name="results.json", sha256=sha256(text).hexdigest(), size=len(text))
        whole = Fetched(key="a", digest=DIGESTS["a"], attempt=1, outputs=(raw, small), results=RESULTS)
        store.note(reached("a", Phase.SUCCEEDED), whole)
        store.publish(rest=True)
        store.note(intended("c"), reached("c", Phase.LIVE))
    return tmp_path


def checked(root: Path) -> Findings:
    return verify(str(root), "sweep", project=PROJECT)


def mended(root: Path) -> Repairs:
    return repair(str(root), "sweep", project=PROJECT)


def write(path: Path, data: bytes) -> None:
    if path.exists():
        path.chmod(0o644)
    path.write_bytes(data)


def handles(root: Path) -> set[str]:
    return {handle for _, handle in known(Store.read(str(root), "sweep", project=PROJECT))}


def told(root: Path) -> list[str]:
    return [str(problem) for problem in checked(root).problems]


ALL = {"id-a1", "id-b1", "id-c1"}


def test_what_is_as_it_was_written_is_fine(root: Path) -> None:
    findings = checked(root)

    assert (findings.problems, findings.notes) == ([], [])
    assert findings.files == 6


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"{RUN}/raw.1.result.json", f'is not what was fetched as "raw.1.result.json": its hash differs; {CHECKOUT}'),
        (
            f"{HERE}/programs/{SHA[:12]}.qasm",
            f"is not the program that was sent: its hash differs from its name; {CHECKOUT}",
        ),
        (f"{RUN}/record.json", f"does not match its checksum{CURE}"),
    ],
)
def test_a_damaged_file_is_named_and_put_aside_by_repair(root: Path, path: str, words: str) -> None:
    file = root / path
    damaged = file.read_bytes().replace(b"1", b"2", 1).replace(b"2.0", b"3.0", 1)
    write(file, damaged)

    assert told(root) == [f"{path}: {words}"]
    repairs = mended(root)

    assert repairs.problems == []
    assert repairs.done == [f"{path} is damaged and now called {path}.damaged-1"]
    assert (root / f"{path}.damaged-1").read_bytes() == damaged
    assert told(root) == []
    assert handles(root) == ALL


def test_a_damaged_lock_is_rebuilt_from_the_record_files(root: Path) -> None:
    before = (root / LOCK).read_bytes()
    write(root / LOCK, before.replace(b"id-a1", b"id-x1"))

    assert told(root) == [f"{LOCK}:2: the line does not match its checksum{CURE}"]
    repairs = mended(root)

    assert repairs.problems == []
    assert handles(root) == ALL
    assert told(root) == []
    assert (root / f"{LOCK}.damaged-1").read_bytes() == before.replace(b"id-a1", b"id-x1")


def test_a_damaged_header_is_rebuilt(root: Path) -> None:
    before = (root / LOCK).read_bytes()
    write(root / LOCK, before.replace(b'"type":"lock"', b'"type":"lick"'))

    repairs = repair(str(root), "sweep", project=PROJECT, manifest="specs/sweep.yaml")

    assert repairs.problems == []
    assert handles(root) == ALL
    assert (root / LOCK).read_bytes().splitlines()[0] == before.splitlines()[0]


def test_a_damaged_line_that_nothing_else_tells_is_kept_as_it_reads_and_told(root: Path) -> None:
    (root / RUN / "record.json").unlink()
    lines = (root / LOCK).read_bytes()
    write(root / LOCK, lines.replace(b'"device":"qulacs"', b'"device":"qulacz"', 1))

    repairs = mended(root)

    assert [str(problem) for problem in repairs.problems] == [
        f'{LOCK}:2: the line of "a" fails its checksum and nothing else tells of it: it is kept as it reads; '
        "compare with git log -p"
    ]
    assert handles(root) == ALL


def test_conflict_markers_go_and_both_sides_stay(root: Path) -> None:
    head, first, second = (root / LOCK).read_bytes().splitlines(keepends=True)
    ours, theirs = b"<<<<<<< ours\n" + first, b"=======\n" + first + second + b">>>>>>> theirs\n"
    write(root / LOCK, head + ours + theirs)

    repairs = mended(root)

    assert repairs.problems == []
    assert handles(root) == ALL
    assert told(root) == []


def test_a_damaged_journal_gives_what_still_reads_and_names_the_handle_that_does_not_fit(root: Path) -> None:
    path = root / JOURNAL
    head, opened, intent, handle = path.read_bytes().splitlines(keepends=True)
    write(path, head + opened + intent.replace(b"f0f0", b"f1f0", 1) + handle)
    path.chmod(0o600)

    with pytest.raises(StoreError) as caught:
        at(root)
    assert str(caught.value) == f"{JOURNAL}:3: the line does not match its checksum{CURE}"
    repairs = mended(root)

    assert [str(problem) for problem in repairs.problems] == [
        f'{JOURNAL}: "c" has the handle "id-c1", but "c" has no record with digest {DIGESTS["c"][:12]}, '
        "but a later entry speaks of one; qrun resolve JOB --adopt ID"
    ]
    assert b"id-c1" in (root / f"{JOURNAL}.damaged-1").read_bytes()
    assert handles(root) == {"id-a1", "id-b1"}
    assert told(root) == []


def test_a_journal_of_which_lines_are_lost_does_not_say_any_more_that_all_was_sent_from_here(root: Path) -> None:
    path = root / JOURNAL
    head, opened, intent, handle = path.read_bytes().splitlines(keepends=True)
    write(path, head + opened + intent.replace(b"f0f0", b"f1f0", 1) + handle)

    mended(root)

    with at(root) as store:
        assert not store.ran_here


def test_repair_of_what_is_fine_changes_no_committed_byte(root: Path) -> None:
    with at(root) as store:
        store.publish(rest=True)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "mutex"}

    repairs = mended(root)

    assert (repairs.done, repairs.problems) == ([], [])
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "mutex"} == before


def test_what_is_absent_or_not_pulled_is_no_damage(root: Path) -> None:
    (root / RUN / "raw.1.result.json").unlink()
    write(root / f"{HERE}/programs/{SHA[:12]}.qasm", b"version https://git-lfs.github.com/spec/v1\n")

    findings = checked(root)

    assert findings.problems == []
    assert [str(note) for note in findings.notes] == [
        f"{RUN}/raw.1.result.json: is not here; qrun apply fetches it again",
        f"{HERE}/programs/{SHA[:12]}.qasm: is not pulled from Git LFS; git lfs pull",
    ]


def test_a_record_file_in_the_wrong_folder_is_named(root: Path) -> None:
    (root / HERE / "x" / ("0" * 12)).mkdir(parents=True)
    wrong = root / HERE / "x" / ("0" * 12) / "record.json"
    wrong.write_bytes((root / RUN / "record.json").read_bytes())

    words = f'is the record of "a" with digest {DIGESTS["a"][:12]}, which belongs elsewhere; move it back'
    assert told(root) == [f"{HERE}/x/{'0' * 12}/record.json: {words}"]


def test_every_flipped_byte_of_a_record_file_is_named(root: Path) -> None:
    path = f"{RUN}/record.json"
    whole = (root / path).read_bytes()
    assert read(path, whole).record.handle == "id-a1"

    for place in range(len(whole)):
        for mask in (0x01, 0x20, 0xFF):
            data = whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :]
            with pytest.raises(StoreError) as caught:
                read(path, data)
            assert [problem.file for problem in caught.value.problems] == [path]


def test_gc_lists_only_what_a_changed_job_replaced_and_was_fetched_and_removes_only_that(root: Path) -> None:
    new = "ee" * 32
    with at(root) as store:
        store.publish(rest=True)
        wanted = [("a", new), ("b", new)]
        listed = garbage(store, wanted)
        assert [(item.key, item.path) for item in listed] == [("a", RUN), ("", f"{HERE}/programs/{SHA[:12]}.qasm")]
        assert listed[0].size == sum(path.stat().st_size for path in (root / RUN).iterdir())

        freed = remove(store, listed)

    assert freed == listed[0].size + len(PROGRAM)
    assert not (root / HERE / "a").exists()
    assert list((root / HERE / "programs").iterdir()) == []
    assert handles(root) == {"id-b1", "id-c1"}
    assert told(root) == []


def test_gc_keeps_everything_that_is_still_wanted(root: Path) -> None:
    view = Store.read(str(root), "sweep", project=PROJECT)

    assert garbage(view, [("a", DIGESTS["a"]), ("b", DIGESTS["b"])]) == []
