"""The user's publish command: run in the project, told line by line, and an error where it does not end well."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from qrun.cli.publish import publish, publisher
from qrun.errors import SettingsError
from qrun.settings import Settings


def run(*words: str, root: Path, limit: float = 60.0) -> None:
    asyncio.run(publish(words, str(root), limit=limit))


def failure(*words: str, root: Path, limit: float = 60.0) -> str:
    with pytest.raises(SettingsError) as error:
        run(*words, root=root, limit=limit)
    return str(error.value)


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def ends(process: int, within: float = 30.0) -> bool:
    end = time.monotonic() + within
    while runs(process) and time.monotonic() < end:
        time.sleep(0.01)
    return not runs(process)


def test_it_runs_in_the_projects_root_without_input(tmp_path: Path) -> None:
    run("sh", "-c", "pwd > here; cat > typed", root=tmp_path)

    assert (tmp_path / "here").read_text().strip() == os.path.realpath(tmp_path)
    assert (tmp_path / "typed").read_text() == ""


def test_what_it_says_is_told_line_by_line_and_steers_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("sh", "-c", r"printf 'one\n\033[2Jtwo\r'; printf 'three' >&2", root=tmp_path)

    told = capsys.readouterr()
    assert told.err.splitlines() == ["publish: one", r"publish: \x1b[2Jtwo", "publish: three"]
    assert told.out == ""


def test_a_line_without_end_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x", root=tmp_path)

    assert capsys.readouterr().err == f"publish: {'x' * 500}…\n"


def test_a_failure_repeats_its_last_words(tmp_path: Path) -> None:
    words = failure("sh", "-c", "seq 5; exit 3", root=tmp_path)

    assert words == 'the publish command "sh" ended with code 3: 3; 4; 5; nothing more is sent until it works'


def test_a_command_that_dies_or_does_not_exist_is_a_failure(tmp_path: Path) -> None:
    assert failure("sh", "-c", "kill -9 $$", root=tmp_path).startswith('the publish command "sh" ended with code -9;')
    assert failure("no-such-command", root=tmp_path) == (
        'the publish command "no-such-command" cannot be run: no such file or directory; correct it in your settings'
    )
    assert "cannot be run" in failure("sh", root=tmp_path / "no-such-folder")


def test_no_argument_of_it_is_told(tmp_path: Path) -> None:
    assert "hunter2" not in failure("false", "--token=hunter2", root=tmp_path)


def test_one_that_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    words = failure("sh", "-c", "sleep 1000 & echo $! > child; wait", root=tmp_path, limit=1.5)

    assert words == 'the publish command "sh" took longer than 1.5 s; nothing more is sent until it works'
    assert ends(int((tmp_path / "child").read_text()))


def test_something_that_it_leaves_running_holds_up_nothing(tmp_path: Path) -> None:
    run("sh", "-c", "sleep 1000 & echo $! > child", root=tmp_path)

    child = int((tmp_path / "child").read_text())
    assert runs(child)
    os.kill(child, 9)


def test_it_is_killed_where_the_command_that_waits_for_it_is_cancelled(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "itself")

    async def cancelled() -> int:
        task = asyncio.create_task(publish(["sh", "-c", "echo $$ > itself; exec sleep 1000"], str(tmp_path)))
        process = await asyncio.to_thread((tmp_path / "itself").read_text)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return int(process)

    assert ends(asyncio.run(cancelled()))


def test_there_is_one_only_where_the_settings_name_it(tmp_path: Path) -> None:
    assert publisher(Settings(root=str(tmp_path))) is None

    command = publisher(Settings(root=str(tmp_path), publish=("touch", "published")))
    assert command is not None

    async def called() -> None:
        await command()

    asyncio.run(called())
    assert (tmp_path / "published").exists()
