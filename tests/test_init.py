"""`qrun init`: what it makes works at once, and what is there already is not touched."""

from __future__ import annotations

import os
import stat
import subprocess
import tomllib
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from qrun.cli.init import command, init
from qrun.errors import UsageError
from qrun.manifest import Values, load
from qrun.providers import capabilities
from qrun.settings import settings

ID = "5f0c7a52-6d0e-4b1e-9d0b-1f6f6f3a2b11"
FILES = ["specs/bell.yaml", "specs/programs/bell.qasm", "qrun.toml", ".gitattributes", ".gitignore"]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_working_folder_is_made_and_each_file_is_named(tmp_path: Path) -> None:
    lines = init(str(tmp_path), project=lambda: ID)

    assert list(lines) == [f'made "{name}"' for name in FILES] + [f"next: cd {tmp_path} && qrun apply specs/bell.yaml"]
    assert sorted(snapshot(tmp_path)) == sorted(FILES)


def test_what_is_made_is_a_valid_project_whose_job_can_be_loaded(tmp_path: Path) -> None:
    init(str(tmp_path), project=lambda: ID)

    found = settings(str(tmp_path / "specs"), {"HOME": str(tmp_path)})
    (experiment,) = load(
        [str(tmp_path / "specs/bell.yaml")],
        Values(),
        root=found.root,
        connections=found.connections,
        capabilities=capabilities,
    )
    assert found.project == ID
    assert [job.key for job in experiment.jobs] == ["bell"]
    assert experiment.jobs[0].target.provider == "local"


def test_each_project_gets_an_id_of_its_own(tmp_path: Path) -> None:
    init(str(tmp_path / "one"))
    init(str(tmp_path / "two"))

    ids = [tomllib.loads((tmp_path / name / "qrun.toml").read_text())["project"] for name in ("one", "two")]
    assert ids[0] != ids[1]
    assert [str(uuid.UUID(one)) for one in ids] == ids


def test_a_second_run_has_nothing_to_do_and_changes_nothing(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    init(str(tmp_path))
    before = snapshot(tmp_path)
    config = (tmp_path / ".git/config").read_bytes()

    assert init(str(tmp_path)) == ["nothing to do: everything is there"]
    assert snapshot(tmp_path) == before
    assert (tmp_path / ".git/config").read_bytes() == config


def test_files_that_are_there_are_left_and_what_they_lack_is_said(tmp_path: Path) -> None:
    (tmp_path / "qrun.toml").write_text("# mine\n")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    (tmp_path / ".gitattributes").write_text("results/**/qrun.lock merge=qrun\n")
    before = snapshot(tmp_path)

    lines = init(str(tmp_path), project=lambda: ID)

    assert list(lines) == [
        'made "specs/bell.yaml"',
        'made "specs/programs/bell.qasm"',
        'left "qrun.toml" as it is',
        'left ".gitattributes" as it is',
        'left ".gitignore" as it is',
        '"qrun.toml" has no project id; add this line at its top:',
        f'    project = "{ID}"',
        '".gitattributes" lacks these lines; add them:',
        "    results/** -text",
        "    results/**/record.json merge=qrun",
        '".gitignore" lacks these lines; add them:',
        "    results/**/.qrun/",
        f"next: cd {tmp_path} && qrun apply specs/bell.yaml",
    ]
    assert snapshot(tmp_path).items() >= before.items()


def test_no_example_is_made_where_there_are_manifests(tmp_path: Path) -> None:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs/mine.yaml").write_text("name: mine\n")

    assert list(init(str(tmp_path))) == ['made "qrun.toml"', 'made ".gitattributes"', 'made ".gitignore"']


def test_a_repository_gets_the_merge_driver_and_a_fresh_clone_gets_it_again(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    git(one, "init", "-q")
    init(str(one))
    git(one, "add", "-A")
    git(one, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "start")
    git(tmp_path, "clone", "-q", str(one), str(two))

    lines = init(str(two))

    assert lines[0] == "set up the merge driver of this clone"
    for clone in (one, two):
        assert git(clone, "config", "merge.qrun.driver") == "qrun lock merge %O %A %B"
    assert git(one, "check-attr", "merge", "text", "--", "results/bell/qrun.lock").splitlines() == [
        "results/bell/qrun.lock: merge: qrun",
        "results/bell/qrun.lock: text: unset",
    ]
    assert git(one, "check-attr", "merge", "--", "results/bell/a/0123/record.json").endswith("merge: qrun")
    assert git(one, "check-ignore", "results/bell/.qrun/journal.jsonl") == "results/bell/.qrun/journal.jsonl"


def test_a_merge_driver_of_the_users_own_is_kept(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "merge.qrun.driver", "other %O %A %B")

    init(str(tmp_path))

    assert git(tmp_path, "config", "merge.qrun.driver") == "other %O %A %B"


def test_without_a_folder_the_project_around_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init(str(tmp_path))
    monkeypatch.chdir(tmp_path / "specs")

    result = CliRunner().invoke(command, [])

    assert result.output == "nothing to do: everything is there\n"
    assert not (tmp_path / "specs/qrun.toml").exists()


def test_here_the_next_step_needs_no_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(command, [])

    assert result.output.splitlines()[-1] == "next: qrun apply specs/bell.yaml"


def test_a_link_out_of_the_project_is_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (folder / "specs").symlink_to(outside)

    with pytest.raises(UsageError) as error:
        init(str(folder))

    path = folder / "specs/bell.yaml"
    assert str(error.value) == f"{path}: would be outside of the project; take the link away"
    assert list(outside.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_one_clear_message(tmp_path: Path) -> None:
    (tmp_path / "specs").write_text("")

    with pytest.raises(UsageError) as error:
        init(str(tmp_path))

    assert str(error.value) == f"{tmp_path}/specs/bell.yaml: cannot be made: file exists"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_clear_message(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)

    with pytest.raises(UsageError) as error:
        init(str(tmp_path))

    assert str(error.value) == f"{tmp_path}/specs/bell.yaml: cannot be made: permission denied"
