"""The quick answer holds as long as nothing it rests on has changed, and not a moment longer."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qrun.store import glance
from qrun.store.disk import Disk
from tests.desk import Desk
from tests.test_cli_imports import loaded

NAME = "0123456789abcdef"


def settled(*folders: Path) -> float:
    """A moment after which no file in these folders is too young for its signature."""
    latest = max(os.lstat(path).st_ctime for folder in folders for path in [folder, *folder.rglob("*")])
    while time.time() < latest + 0.1:
        time.sleep(0.01)
    return time.time()


def kept(root: Path, *, since: float | None = None, now: float | None = None) -> None:
    (root / "results").mkdir(exist_ok=True)
    for name in ("specs.yaml", "lock"):
        (root / name).write_text(name)
    moment = settled(root)
    seen = glance.Glance(
        question="all?", read=["specs.yaml"], written=["lock", "journal"], answer={"a": 1}, details={"rows": [[1]]}
    )
    glance.keep(Disk(str(root)), NAME, seen, since=since or moment, now=now or moment)


def recalled(root: Path, question: str = "all?") -> object:
    return glance.recall(str(root), NAME, question)


def test_an_answer_comes_back_while_nothing_changes(tmp_path: Path) -> None:
    kept(tmp_path)

    assert recalled(tmp_path) == {"a": 1}
    assert glance.recall(str(tmp_path), NAME, "all?", details=True) == {"rows": [[1]]}
    assert recalled(tmp_path, "another?") is None


CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte": lambda root: (root / "specs.yaml").write_text("Specs.yaml"),
    "the same bytes again": lambda root: (root / "lock").write_text("lock"),
    "a file that goes": lambda root: (root / "lock").unlink(),
    "a file that comes": lambda root: (root / "journal").write_text("x"),
    "a file replaced": lambda root: [(root / "n").write_text("lock"), (root / "n").rename(root / "lock")],
    "a link in its place": lambda root: (root / "lock").rename(root / "l").with_name("lock").symlink_to(root / "l"),
    "another name": lambda root: (root / "lock").rename(root / "kcol"),
    "wider rights": lambda root: (root / f"results/.qrun/glance-{NAME}").chmod(0o644),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_makes_somebody_look_again(change: Callable[[Path], object], tmp_path: Path) -> None:
    kept(tmp_path)

    change(tmp_path)

    assert recalled(tmp_path) is None


def test_every_damage_is_ignored(tmp_path: Path) -> None:
    kept(tmp_path)
    file = tmp_path / f"results/.qrun/glance-{NAME}"
    whole = file.read_bytes()

    for place in range(len(whole) - 1):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert recalled(tmp_path) is None, place
        file.write_bytes(whole[:place])
        assert recalled(tmp_path) is None, place


def test_nothing_is_kept_when_something_read_may_have_changed_since(tmp_path: Path) -> None:
    kept(tmp_path, since=1.0)

    assert recalled(tmp_path) is None


def test_a_file_too_young_for_its_signature_is_read_again(tmp_path: Path) -> None:
    """Its times are those that were kept, its content is not: what a coarse clock would let pass."""
    kept(tmp_path, now=1.0)
    file = tmp_path / f"results/.qrun/glance-{NAME}"
    young = json.loads(file.read_bytes().split(b"\n")[1])["young"]

    assert list(young) == ["lock"]
    assert recalled(tmp_path) == {"a": 1}


# --- through the command line -----------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = Desk(tmp_path)
    found.bell()
    settled(tmp_path)
    assert found.run("apply").code == 0
    assert list(tmp_path.glob("results/.qrun/glance-*"))
    return found


def test_a_second_apply_and_status_answer_alike_with_and_without_a_glance(desk: Desk) -> None:
    quick = [desk.run("apply"), desk.run("status")]
    for file in desk.folder.glob("results/.qrun/glance-*"):
        file.unlink()
    full = [desk.run("apply"), desk.run("status")]

    assert quick == full
    assert quick[0].out == "nothing to do: 1 job is done\n"


def test_a_change_of_the_manifest_is_seen(desk: Desk) -> None:
    desk.bell(shots=7)

    assert desk.run("apply").out == "bell: 1 succeeded; results in results/bell\n"


def test_a_change_of_a_program_is_seen(desk: Desk) -> None:
    desk.write("specs/programs/bell.qasm", desk.read("specs/programs/bell.qasm").replace("cx", "cz"))

    assert desk.run("apply").out == "bell: 1 succeeded; results in results/bell\n"


def test_a_record_that_goes_is_made_again_with_the_same_counts(desk: Desk) -> None:
    lock = desk.read("results/bell/qrun.lock")
    (record,) = desk.folder.glob("results/bell/bell/*/record.json")
    results = json.loads(record.read_text())["results"]
    record.unlink()

    assert desk.run("apply").out == "bell: 1 succeeded; results in results/bell\n"
    assert json.loads(record.read_text())["results"] == results
    assert desk.read("results/bell/qrun.lock") == lock


def test_a_lock_that_goes_is_written_again(desk: Desk) -> None:
    before = desk.tree()
    (desk.folder / "results/bell/qrun.lock").unlink()

    assert desk.run("apply").code == 0
    assert desk.tree() == before


def test_another_value_of_a_variable_is_another_question(desk: Desk) -> None:
    desk.bell(vars={"n": 5}, shots="{{ vars.n }}")
    settled(desk.folder)
    desk.run("apply")

    assert desk.run("apply", "--var-json", "n=6").out == "bell: 1 succeeded; results in results/bell\n"
    assert desk.run("apply").out == "nothing to do: 1 job is done\n"


def test_a_manifest_that_comes_into_the_folder_is_seen(desk: Desk) -> None:
    desk.bell("more", shots=3)

    assert "more: 1 succeeded" in desk.run("apply").out


def test_settings_that_change_are_seen(desk: Desk) -> None:
    desk.write("qrun.toml", "shots = 3\n")

    assert desk.run("apply").code == 78


@pytest.mark.parametrize("command", ["apply", "status"])
def test_a_quick_answer_loads_no_parser(desk: Desk, command: str) -> None:
    assert loaded(desk, command) & {"yaml", "jsonschema", "asyncio", "rich", "httpx", "qrun.plan"} == set()
