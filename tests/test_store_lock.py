"""The lock: what it holds, what it survives, and what it says when it is damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qrun.errors import StoreError
from qrun.record import Phase
from qrun.store import Store
from qrun.store import lock as locks
from qrun.store.lines import seal
from tests.disk import FakeDisk
from tests.test_store_power import DIGESTS, PROJECT, fetched, intended, known, opened, reached

PATH = "results/sweep/qrun.lock"
CURE = "; qrun verify --repair rebuilds what the other files still know"
SCHEMAS = Path(__file__).parent.parent / "schemas"


def finished() -> FakeDisk:
    """Three jobs at rest: a succeeded, b is live, c is uncertain."""
    disk = FakeDisk()
    with opened(disk) as store:
        store.note(intended("a"), intended("b"), intended("c"))
        store.note(reached("a", Phase.LIVE), reached("b", Phase.LIVE), reached("c", Phase.UNCERTAIN))
        output = store.keep_output("a", DIGESTS["a"], 1, "result.json", b"{}")
        store.note(reached("a", Phase.SUCCEEDED, provided={"seed": 7}), fetched("a", output))
        store.publish(rest=True)
    return disk


def rewritten(disk: FakeDisk, path: str, data: bytes) -> None:
    if disk.lstat(path) is not None:
        disk.unlink(path)
    disk.create(path, data, 0o644)


def raised(disk: FakeDisk) -> StoreError:
    with pytest.raises(StoreError) as caught:
        opened(disk)
    assert caught.value.exit == 5
    return caught.value


def without(disk: FakeDisk, *endings: str) -> FakeDisk:
    for path in disk.files():
        if path.endswith(endings):
            disk.unlink(path)
    return disk


def test_the_lock_alone_restores_every_handle_and_every_unsettled_submission() -> None:
    disk = without(finished(), "record.json", ".jsonl", "index")

    with opened(disk) as store:
        assert {handle for _, handle in known(store)} == {"id-a1", "id-b1"}
        unsettled = store.records.get("c", DIGESTS["c"])
        assert unsettled is not None and unsettled.last is not None
        fact = intended("c")
        assert unsettled.phase is Phase.UNCERTAIN
        assert (unsettled.last.marker, unsettled.last.sent) == (fact.marker, fact.sent)
        assert (unsettled.last.payload, unsettled.last.connection) == ("f0" * 32, "cloud")
        assert store.job("c", DIGESTS["c"]) == fact.jobs[0]


def test_the_record_files_alone_restore_every_handle() -> None:
    disk = without(finished(), "qrun.lock", ".jsonl", "index")

    with opened(disk) as store:
        assert {handle for _, handle in known(store)} == {"id-a1", "id-b1"}
        store.publish(rest=True)

    assert b'"id-b1"' in disk.read(PATH)


def test_a_line_that_was_cut_out_comes_back_from_its_record_file() -> None:
    disk = finished()
    lines = disk.read(PATH).splitlines(keepends=True)
    rewritten(disk, PATH, lines[0] + b"".join(lines[3:]))

    with opened(disk) as store:
        store.publish(rest=True)

    assert disk.read(PATH).splitlines(keepends=True) == lines


def test_the_order_of_lines_means_nothing_and_two_lines_of_one_job_are_taken_together() -> None:
    disk = finished()
    head, *rest = disk.read(PATH).splitlines(keepends=True)
    rewritten(disk, PATH, head + b"".join([*reversed(rest), rest[0]]))

    with opened(disk) as store:
        assert len(store.records) == 3


def test_every_flipped_byte_of_a_lock_is_named_by_file_and_line_or_healed() -> None:
    whole = finished().read(PATH)

    for place in range(len(whole)):
        for mask in (0x01, 0x20, 0xFF):
            data = whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :]
            line = whole.count(b"\n", 0, place) + 1
            try:
                lock = locks.read(PATH, data)
            except StoreError as error:
                assert {problem.file for problem in error.problems} == {PATH}
                assert line in {problem.line for problem in error.problems}, error
            else:
                assert {r.handle for r in lock.records.values()} == {"id-a1", "id-b1", None}


def test_all_damaged_lines_are_named_together() -> None:
    disk = finished()
    data = disk.read(PATH).replace(b"id-a1", b"id-a2").replace(b"id-b1", b"id-b2")
    rewritten(disk, PATH, data)

    words = [f"{PATH}:{line}: the line does not match its checksum{CURE}" for line in (2, 3)]
    assert str(raised(disk)).splitlines() == words


def test_line_ends_and_first_bytes_that_git_or_an_editor_changed_do_no_harm() -> None:
    disk = finished()
    windows = b"\xef\xbb\xbf" + disk.read(PATH).replace(b"\n", b"\r\n")
    rewritten(disk, PATH, windows)

    with opened(disk) as store:
        assert len(store.records) == 3
        store.publish(rest=True)

    assert disk.read(PATH) == windows


def test_conflict_markers_are_recognised() -> None:
    disk = finished()
    head, first, *rest = disk.read(PATH).splitlines(keepends=True)
    rewritten(disk, PATH, head + b"<<<<<<< HEAD\n" + first + b"=======\n>>>>>>> other\n" + b"".join(rest))

    words = f'{PATH}:2: holds the conflict marker "<<<<<<<" of a git merge; qrun verify --repair takes in both sides'
    assert str(raised(disk)) == words


def test_a_git_lfs_pointer_is_not_pulled_and_no_damage() -> None:
    disk = finished()
    rewritten(disk, PATH, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")

    assert str(raised(disk)) == f"{PATH}: is a Git LFS pointer: not pulled; git lfs pull"


def test_an_empty_lock_is_damage() -> None:
    disk = finished()
    rewritten(disk, PATH, b"")

    assert str(raised(disk)) == f"{PATH}:1: the lock is empty{CURE}"


def header(disk: FakeDisk, **changes: Any) -> None:
    lines = disk.read(PATH).splitlines(keepends=True)
    raw = json.loads(lines[0]) | changes
    del raw["crc"]
    rewritten(disk, PATH, seal(json.dumps(raw)) + b"".join(lines[1:]))


def test_a_newer_lock_is_read_and_never_written() -> None:
    disk = finished()
    header(disk, version=2)
    before = disk.read(PATH)

    view = Store.read("/project", "sweep", project=PROJECT, disk=disk)

    assert view.newer and len(view.records) == 3
    assert str(raised(disk)) == f"{PATH}:1: was written by a newer qrun (version 2); update qrun"
    assert disk.read(PATH) == before


def test_a_lock_of_another_experiment_or_project_is_refused() -> None:
    disk = finished()
    header(disk, experiment="other")
    words = f'{PATH}:1: belongs to the experiment "other", not to "sweep"; rename the folder to results/other'
    assert str(raised(disk)) == words

    header(disk, experiment="sweep", project="p2")
    words = (
        f'{PATH}:1: belongs to the project "p2", not to "{PROJECT}"; '
        "set project in qrun.toml back, or keep these results elsewhere"
    )
    assert str(raised(disk)) == words


def test_fields_that_this_version_does_not_know_are_kept() -> None:
    disk = finished()
    header(disk, colour="blue")
    head, first, *rest = disk.read(PATH).splitlines(keepends=True)
    raw = json.loads(first) | {"mood": {"good": True}}
    del raw["crc"]
    rewritten(disk, PATH, head + seal(json.dumps(raw)) + b"".join(rest))

    with opened(disk) as store:
        store.note(reached("b", Phase.SUCCEEDED), reached("a", Phase.SUCCEEDED))
        store.publish(rest=True)

    lines = [json.loads(line) for line in disk.read(PATH).splitlines()]
    assert lines[0]["colour"] == "blue"
    assert lines[1]["mood"] == {"good": True}
    assert lines[2]["attempts"][0]["phase"] == "succeeded"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digest": "../../../../etc"}, '"../../../../etc" is not a digest'),
        ({"attempts": [{"n": 1, "marker": "m", "phase": "done"}]}, '"done" is not a phase that this qrun knows'),
        ({"outputs": [{"name": "../x", "sha256": "0" * 64, "size": 1}]}, "the line is not a record: an output's name"),
        ({"attempts": [{"n": "1", "marker": "m", "phase": "live"}]}, "the line is not a record: an attempt's number"),
        ({"tags": "demo"}, "the line is not a record: a list of texts is of the wrong kind"),
        ({"key": 7}, "the line is not a record: a key, digest, provider or device is not text"),
        ({"attempts": 3}, "the line is not a record: "),
    ],
)
def test_a_line_with_a_good_checksum_and_a_bad_shape_is_refused(change: dict[str, Any], words: str) -> None:
    disk = finished()
    head, first, *rest = disk.read(PATH).splitlines(keepends=True)
    raw = json.loads(first) | change
    del raw["crc"]
    rewritten(disk, PATH, head + seal(json.dumps(raw)) + b"".join(rest))

    assert str(raised(disk)).startswith(f"{PATH}:2: {words}")


def test_waiting_changes_no_line() -> None:
    disk = finished()
    before = disk.read(PATH)
    with opened(disk) as store:
        store.note(replace(reached("b", Phase.LIVE), word="RUNNING", provided={"position": 3}))
        store.publish(rest=True)

    assert disk.read(PATH) == before


def test_what_is_written_follows_the_published_schemas() -> None:
    disk = finished()
    lock = json.loads((SCHEMAS / "lock.schema.json").read_bytes())
    record = json.loads((SCHEMAS / "record.schema.json").read_bytes())
    for schema in (lock, record):
        jsonschema.Draft202012Validator.check_schema(schema)

    for line in disk.read(PATH).splitlines():
        jsonschema.validate(json.loads(line), closed(lock))
    for path, data in disk.files().items():
        if path.endswith("record.json"):
            jsonschema.validate(json.loads(data), closed(record))


def closed(schema: Any) -> Any:
    """The schema with every object that lists its fields closed, so that none is undocumented."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    whole = {name: closed(item) for name, item in schema.items()}
    listed = isinstance(whole.get("properties"), dict) and "description" in str(whole["properties"])
    return whole | {"additionalProperties": False} if listed and "type" in whole and "if" not in whole else whole


def test_a_glance_gives_key_digest_phase_and_handle_of_every_line_and_names_damage() -> None:
    data = finished().read(PATH)

    assert locks.glance(data) == [
        ("a", DIGESTS["a"], "succeeded", "id-a1"),
        ("b", DIGESTS["b"], "live", "id-b1"),
        ("c", DIGESTS["c"], "uncertain", None),
    ]
    with pytest.raises(StoreError) as caught:
        locks.glance(data.replace(b"id-b1", b"id-b2"))
    assert str(caught.value) == f"qrun.lock:3: the line does not match its checksum{CURE}"


FORGED: dict[str, Any] = {
    "a number that is text": lambda line: line["attempts"][0].update(n="1"),
    "a number below one": lambda line: line["attempts"][0].update(n=0),
    "a number without end": lambda line: line["attempts"][0].update(n=10**30),
    "a handle that is a path": lambda line: line["attempts"][0].update(handle="../../x"),
    "a handle that is a list": lambda line: line["attempts"][0].update(handle=["x"]),
    "a handle with an escape code": lambda line: line["attempts"][0].update(handle="x\x1b[2J"),
    "a marker that is a number": lambda line: line["attempts"][0].update(marker=7),
    "a connection that is a number": lambda line: line["attempts"][0].update(connection=7),
    "a phase that nobody knows": lambda line: line["attempts"][0].update(phase="done"),
    "a time that is none": lambda line: line["attempts"][0].update(phase="intent", sent="yesterday"),
    "notes that are a list": lambda line: line["attempts"][0].update(phase="intent", noted=[1]),
    "attempts that are a map": lambda line: line.update(attempts={}),
    "an attempt that is nothing": lambda line: line.update(attempts=[None]),
    "an output elsewhere": lambda line: line["outputs"][0].update(name="../../../etc/passwd"),
    "an output of negative size": lambda line: line["outputs"][0].update(size=-1),
    "an output with another hash": lambda line: line["outputs"][0].update(sha256="ab"),
    "outputs that are a map": lambda line: line.update(outputs={"a": 1}),
    "a digest that is a path": lambda line: line.update(digest="../" * 21 + "x"),
    "a site that is a number": lambda line: line.update(site=7),
    "a key that is a number": lambda line: line.update(key=7),
    "tags that are text": lambda line: line.update(tags="abc"),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_line_that_somebody_forged_with_its_checksum_is_named(forge: Any) -> None:
    """A lock from a pull request is untrusted, whatever its checksums say."""
    disk = finished()
    lines = disk.read(PATH).decode().splitlines()
    line = json.loads(lines[1])
    del line["crc"]
    forge(line)

    sealed = seal(json.dumps(line, separators=(",", ":"))).decode().rstrip("\n")
    rewritten(disk, PATH, "\n".join([lines[0], sealed, *lines[2:]]).encode() + b"\n")

    (problem,) = raised(disk).problems
    assert (problem.file, problem.line) == (PATH, 2)
