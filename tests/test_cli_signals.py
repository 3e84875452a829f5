"""Ctrl-C and its relatives, on a real process: everything is recorded, and running again goes on."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from tests.desk import Desk

JOBS = 200


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    desk = Desk(tmp_path)
    job = {"provider": "local", "device": "ddsim", "program": "programs/bell.qasm"}
    desk.write("specs/many.yaml", json.dumps({"jobs": {f"j{n}": {**job, "shots": n + 1} for n in range(JOBS)}}))
    return desk


def begun(running: subprocess.Popen[str]) -> None:
    """Return once the first job is done."""
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("done"):
            return
    raise AssertionError("the command ended before any job did")


def test_ctrl_c_records_what_is_done_and_says_how_to_go_on(desk: Desk) -> None:
    running = desk.start("apply", "--parallel", "1")
    begun(running)

    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate()

    found = desk.run("status", "-o", "json").json["experiments"][0]["summary"]
    done, absent = found["succeeded"], found.get("absent", 0)
    assert running.returncode == 130
    assert done + absent == JOBS
    assert out == f"many: {absent} absent, {done} succeeded; results in results/many\n"
    assert err.splitlines()[-1] == (
        f"interrupted: {absent} local jobs start again; run `qrun apply --parallel 1` to go on"
    )
    again = desk.run("apply", "-o", "json")
    assert (again.code, again.json["experiments"][0]["summary"]) == (0, {"succeeded": JOBS})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_stream_of_an_interrupted_command_has_its_summary(desk: Desk, number: signal.Signals) -> None:
    running = desk.start("apply", "--parallel", "1", "-o", "jsonl")
    assert running.stdout is not None
    first = next(line for line in running.stdout if '"fetched"' in line)

    os.kill(running.pid, number)
    out, _ = running.communicate()

    assert json.loads(first)["experiment"] == "many"
    assert (running.returncode, json.loads(out.splitlines()[-1])["exit"]) == (130, 130)


def test_a_second_ctrl_c_leaves_at_once_and_loses_nothing(desk: Desk) -> None:
    running = desk.start("apply", "--parallel", "1")
    begun(running)

    for _ in range(3):
        os.killpg(running.pid, signal.SIGINT)
    running.communicate()

    assert running.returncode == 130
    assert desk.run("apply", "-o", "json").json["experiments"][0]["summary"] == {"succeeded": JOBS}


def test_a_killed_command_is_gone_on_with(desk: Desk) -> None:
    running = desk.start("apply", "--parallel", "1")
    begun(running)

    running.kill()
    running.communicate()

    assert desk.run("apply", "-o", "json").json["experiments"][0]["summary"] == {"succeeded": JOBS}


def test_a_reader_that_goes_away_does_not_disturb_the_command(desk: Desk) -> None:
    running = desk.start("apply", "-o", "jsonl")
    assert running.stdout is not None and running.stderr is not None

    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()

    assert (running.wait(), err) == (0, "")
    assert desk.run("apply").out == f"nothing to do: {JOBS} jobs are done\n"


def test_on_a_terminal_the_progress_is_live_and_ctrl_c_comes_through(desk: Desk) -> None:
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [*desk.command, "apply", "--parallel", "1"],
        cwd=desk.folder,
        env={**desk.environment, "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=_own_terminal,
    )
    os.close(slave)

    shown = _until(master, b"1 running")
    os.write(master, b"\x03")
    shown += _until(master, None)

    assert running.wait() == 130
    assert b"running" in shown
    assert b"interrupted: " in shown
    assert b"Traceback" not in shown


def _own_terminal() -> None:
    """The child's standard input becomes the terminal that sends its signals."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _until(descriptor: int, word: bytes | None) -> bytes:
    """What is shown until the word comes, or to the end."""
    shown = b""
    while word is None or word not in shown:
        try:
            chunk = os.read(descriptor, 4096)
        except OSError:  # Linux tells the end of a terminal by an error
            break
        if not chunk:
            break
        shown += chunk
    return shown
