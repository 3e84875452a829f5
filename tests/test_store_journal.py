"""The journal: durable facts, a torn tail cut off, everything else that does not read named."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from qrun.errors import StoreError
from qrun.record import Phase
from qrun.store import Store
from tests.disk import FakeDisk, replayed
from tests.test_store_power import PROJECT, intended, known, opened, reached

PATH = "results/sweep/.qrun/journal.jsonl"
CURE = "; qrun verify --repair rebuilds what the other files still know"


def written() -> FakeDisk:
    """Three lines after the header: the run's, an intent and a handle."""
    disk = FakeDisk()
    with opened(disk) as store:
        store.note(intended("a"))
        store.note(reached("a", Phase.LIVE))
    return disk


def altered(disk: FakeDisk, data: bytes) -> FakeDisk:
    fresh = replayed(disk.log)
    fresh.truncate(PATH, 0)
    fresh.append(PATH, data, 0)
    return fresh


def test_facts_that_are_noted_together_share_one_write_and_one_sync() -> None:
    disk = FakeDisk()
    with opened(disk) as store:
        store.note(intended("a"))
        before = len(disk.log)

        store.note(reached("a", Phase.LIVE), intended("b"), reached("b", Phase.LIVE))

        assert [op[0] for op in disk.log[before:]] == ["append", "fsync"]


def test_what_was_noted_is_there_for_whoever_opens_next() -> None:
    with opened(written()) as store:
        record = store.records.get("a", intended("a").members[0].digest)

        assert record is not None and record.phase is Phase.LIVE and record.handle == "id-a1"
        assert store.ran_here
        assert store.job("a", record.digest)["kind"] == "sampling"


@pytest.mark.parametrize(("whole", "vouches"), [(None, True), (True, True), (False, False)])
def test_a_journal_vouches_unless_it_was_begun_where_more_may_have_been_sent(whole: bool | None, vouches: bool) -> None:
    disk = FakeDisk()
    with opened(disk) as store:
        store.vouch(whole)
        store.note(intended("a"))

    with opened(disk) as store:
        assert store.ran_here is vouches


def test_once_it_is_said_that_nothing_was_sent_elsewhere_the_journal_vouches_from_the_next_rest_on() -> None:
    disk = FakeDisk()
    for whole in (False, True):
        with opened(disk) as store:
            store.vouch(whole)
            store.note(intended("a"), reached("a", Phase.LIVE))
            store.publish(rest=True)

    with opened(disk) as store:
        assert store.ran_here


def test_a_journal_from_before_the_project_had_an_id_does_not_vouch_for_it() -> None:
    disk = FakeDisk()
    with Store.open("", "sweep", project=None, manifest="specs/sweep.yaml", disk=disk) as store:
        store.note(intended("a"))

    with opened(disk) as store:
        assert not store.ran_here


def test_a_torn_tail_of_any_length_is_cut_off_and_everything_before_it_stands() -> None:
    disk = written()
    whole = disk.read(PATH)
    last = whole.rindex(b"\n", 0, -1) + 1

    for length in range(last + 1, len(whole) - 1):
        torn = altered(disk, whole[:length])
        with opened(torn) as store:
            assert [r.phase for r in store.records] == [Phase.INTENT]
        assert torn.read(PATH) == whole[:last]


def test_a_last_line_that_lost_only_its_newline_stands() -> None:
    disk = written()
    whole = disk.read(PATH)

    for data in (whole[:-1], whole[:-1] + b"x"):
        healed = altered(disk, data)
        with opened(healed) as store:
            assert len(known(store)) == 1
        assert healed.read(PATH) == whole


def test_a_tail_that_the_file_system_left_as_zeros_is_cut_off() -> None:
    disk = written()
    whole = disk.read(PATH)
    torn = altered(disk, whole + b"\0" * 4096)

    with opened(torn) as store:
        assert len(known(store)) == 1
        store.note(reached("a", Phase.SUCCEEDED))

    with opened(torn) as store:
        assert [r.phase for r in store.records] == [Phase.SUCCEEDED]


def test_every_flipped_byte_is_named_by_file_and_line_or_healed() -> None:
    disk = written()
    whole = disk.read(PATH)

    for place in range(len(whole)):
        for mask in (0x01, 0x20, 0xFF):
            data = whole[:place] + bytes([whole[place] ^ mask]) + whole[place + 1 :]
            try:
                with opened(altered(disk, data)) as store:
                    assert len(known(store)) == 1
            except StoreError as error:
                line = whole.count(b"\n", 0, place) + 1
                assert {problem.file for problem in error.problems} == {PATH}
                assert line in {problem.line for problem in error.problems}, error


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_a_line_cut_from_the_middle_is_named(removed: int) -> None:
    disk = written()
    lines = disk.read(PATH).splitlines(keepends=True)

    with pytest.raises(StoreError) as caught:
        opened(altered(disk, b"".join(lines[: removed - 1] + lines[removed:])))

    assert caught.value.exit == 5
    assert caught.value.problems[0].line == removed


def test_swapped_lines_are_named() -> None:
    disk = written()
    head, first, second, third = disk.read(PATH).splitlines(keepends=True)

    with pytest.raises(StoreError) as caught:
        opened(altered(disk, head + first + third + second))

    assert str(caught.value).splitlines()[0] == f"{PATH}:3: entry 3 stands where entry 2 is due{CURE}"


def test_a_journal_of_another_project_or_experiment_is_refused() -> None:
    disk = written()

    with pytest.raises(StoreError) as caught:
        Store.open("/project", "sweep", project="other", manifest="", disk=replayed(disk.log))

    words = f'{PATH}:1: belongs to the project "{PROJECT}", not to "other"; set project in qrun.toml back'
    assert str(caught.value) == words


def test_on_a_full_disk_nothing_is_noted_and_nothing_is_lost() -> None:
    disk = written()
    full = False

    def fault(method: str, path: str) -> int | None:
        return errno.ENOSPC if full and method == "append" else None

    disk.tree.fault = fault
    with opened(disk) as store:
        before = disk.read(PATH)
        full = True
        with pytest.raises(StoreError) as caught:
            store.note(intended("b"))
        assert str(caught.value) == f"{PATH}: the disk is full; free some space and run again"
        assert disk.read(PATH) == before
        assert [r.key for r in store.records] == ["a"]

        full = False
        store.note(intended("b"))
        assert [r.key for r in store.records] == ["a", "b"]

    with opened(disk) as store:
        assert [r.key for r in store.records] == ["a", "b"]


def test_after_a_failed_sync_that_cannot_be_taken_back_nothing_more_is_written() -> None:
    disk = written()
    broken = False

    def fault(method: str, path: str) -> int | None:
        return errno.EIO if broken and method in ("fsync", "truncate") else None

    disk.tree.fault = fault
    with opened(disk) as store:
        broken = True
        with pytest.raises(StoreError):
            store.note(intended("b"))
        broken = False

        with pytest.raises(StoreError) as caught:
            store.note(intended("c"))

    assert str(caught.value) == f"{PATH}: the disk reports an error; check the disk, then qrun verify"


def test_a_journal_that_somebody_removed_stops_the_run_and_says_so() -> None:
    disk = written()
    with opened(disk) as store:
        disk.unlink(PATH)

        with pytest.raises(StoreError) as caught:
            store.note(intended("b"))

    assert str(caught.value) == f"{PATH}: is gone while this run was using it; run again"


def test_a_contradiction_is_refused_and_not_written() -> None:
    disk = written()
    with opened(disk) as store:
        store.note(reached("a", Phase.SUCCEEDED))
        before = disk.read(PATH)

        with pytest.raises(StoreError) as caught:
            store.note(reached("a", Phase.FAILED))

        assert str(caught.value) == '"a" attempt 1 is told to have ended as succeeded and as failed'
        assert disk.read(PATH) == before


def test_a_reader_sees_a_journal_that_is_being_written_and_changes_nothing() -> None:
    disk = written()
    whole = disk.read(PATH)
    torn = altered(disk, whole[:-20])
    operations = len(torn.log)

    view = Store.read("/project", "sweep", project=PROJECT, disk=torn)

    assert [r.phase for r in view.records] == [Phase.INTENT]
    assert len(torn.log) == operations


def test_a_journal_can_lie_outside_of_the_project(tmp_path: Path) -> None:
    root, fast = tmp_path / "project", tmp_path / "fast"
    root.mkdir()
    fast.mkdir()

    def elsewhere() -> Store:
        return Store.open(str(root), "sweep", project=PROJECT, manifest="", journal=str(fast))

    with elsewhere() as store:
        store.note(intended("a"))

        with pytest.raises(StoreError, match="is in use"):
            elsewhere()

    assert [path.suffix for path in sorted(fast.iterdir())] == [".jsonl", ".mutex"]
    assert not (root / PATH).exists()
    with elsewhere() as store:
        assert [r.phase for r in store.records] == [Phase.INTENT]
