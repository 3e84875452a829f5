"""Wrong words, hostile files and broken streams: one clear message, the right code, and nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.desk import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    desk = Desk(folder)
    desk.bell()
    return desk


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("plan --fast", 'no such option "--fast"; see "qrun plan --help"'),
        ("plan --outt x", 'no such option "--outt"; did you mean "--out"?'),
        ("apply --only", 'option "--only" requires an argument; see "qrun apply --help"'),
        ("show bell bell", '"bell" is more than the command takes; see "qrun show --help"'),
        (
            "apply --parallel 0",
            'invalid value for "--parallel": "0" is not a whole number from 1 to 999999; see "qrun apply --help"',
        ),
        ("apply --keep --prune", "--prune and --keep exclude each other; use one of both"),
        ("plan --keep --prune", "--prune and --keep exclude each other; use one of both"),
        ("retry --failed bell", "jobs are named beside --failed; use one of both"),
    ],
)
def test_misused_options_say_what_to_do(desk: Desk, words: str, wanted: str) -> None:
    answer = desk.run(*words.split())

    assert (answer.code, answer.out, answer.err) == (64, "", wanted + "\n")


@pytest.mark.parametrize("value", ['{"a": 1, "a": 2}', "1e999", "[" * 100_000])
def test_a_value_that_no_reader_would_keep_is_not_json(desk: Desk, value: str) -> None:
    answer = desk.run("plan", "--var-json", f"n={value}")

    assert (answer.code, answer.err) == (
        64,
        "the value of \"n\" is not JSON; write it as JSON, for example --var-json 'n=[0, 0.5]', "
        "or use --var for text\n",
    )


def test_a_value_that_is_not_text_is_refused_before_anything_is_read(desk: Desk) -> None:
    answer = desk.run("plan", "--var", "n=\udcff")

    assert (answer.code, answer.err) == (64, 'the value of "n" is not UTF-8 text; give it in UTF-8\n')


def test_an_empty_word_is_no_manifest(desk: Desk) -> None:
    answer = desk.run("plan", "")

    assert (answer.code, answer.err) == (64, '"" names no manifest; name a file or a folder\n')


def test_a_retry_where_nothing_failed_says_so(desk: Desk) -> None:
    desk.run("apply")

    answer = desk.run("retry", "--failed")
    document = desk.run("retry", "--failed", "-o", "json")

    assert (answer.code, answer.out, answer.err) == (0, "nothing to do: no job failed\n", "")
    assert document.json == {"version": 1, "experiments": [], "errors": [], "exit": 0}


def test_a_rename_is_planned_with_both_names(desk: Desk) -> None:
    job = {"provider": "local", "device": "ddsim", "program": "programs/bell.qasm", "shots": 10}
    desk.write("specs/bell.yaml", json.dumps({"jobs": {"old": job}}))
    desk.run("apply")
    desk.write("specs/bell.yaml", json.dumps({"jobs": {"new": job}}))

    answer = desk.run("plan")

    assert answer.out == "bell (specs/bell.yaml)\n  ~ rename  bell.old → bell.new\n\n1 renamed\n"


# --- saved plans ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["plan", "validate", "status", "gc"])
def test_a_saved_plan_is_no_manifest(desk: Desk, command: str) -> None:
    desk.run("plan", "--out", "p.json")

    answer = desk.run(command, "p.json")

    assert (answer.code, answer.err) == (
        64,
        '"p.json" is a saved plan, not a manifest; "qrun apply p.json" alone carries it out\n',
    )


def test_a_plan_that_cannot_be_written_leaves_nothing_behind(desk: Desk) -> None:
    answer = desk.run("plan", "--out", "none/p.json")

    assert (answer.code, answer.err) == (
        64,
        "none/p.json: cannot be written: no such file or directory; name another file\n",
    )
    assert not list(desk.folder.glob("*.new"))


def test_a_plan_with_entries_of_any_kind_is_stale(desk: Desk) -> None:
    desk.run("plan", "--out", "p.json")
    plan = json.loads(desk.read("p.json"))
    plan["steps"].append({"experiment": [1], "job": {}})
    desk.write("p.json", json.dumps(plan, indent=2))

    answer = desk.run("apply", "p.json")

    assert answer.code == 5
    assert answer.err == (
        'p.json: this plan is stale: the step "None" of "[1].{}" is not to be taken any more; plan again\n'
    )


def test_a_saved_plan_is_applied_from_outside_of_its_project(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.run("plan", "--out", "p.json")
    monkeypatch.chdir(desk.folder.parent)

    answer = desk.run("apply", "project/p.json")

    assert (answer.code, answer.out) == (0, "bell: 1 succeeded; results in project/results/bell\n")


# --- files that are something else ------------------------------------------------------------------------------------


def _file(path: Path) -> None:
    path.write_text("x")


def _link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.mkdir()
    path.symlink_to(elsewhere)


@pytest.mark.parametrize("make", [_file, _link, os.mkfifo])
def test_results_that_are_no_folder_are_not_called_intact(desk: Desk, make: Callable[[Path], None]) -> None:
    make(desk.folder / "results")

    verify, doctor, show = desk.run("verify"), desk.run("doctor"), desk.run("show", "bell")

    assert (verify.code, verify.out) == (5, "")
    assert verify.err == "results: a link or file stands where a folder is due; move it away\n"
    assert doctor.code == 78
    assert f"!!  results        {desk.folder}/results is a link or a file; move it away\n" in doctor.out
    assert show.code == 5


def test_verify_says_where_there_is_nothing_to_verify(desk: Desk) -> None:
    assert desk.run("verify").out == "nothing to verify: there are no results in results\n"


@pytest.mark.parametrize("name", [".gitattributes", "results/bell/qrun.lock", ".git"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(desk: Desk, name: str) -> None:
    desk.run("apply")
    (desk.folder / name).unlink(missing_ok=True)
    os.mkfifo(desk.folder / name)

    for words in (["plan"], ["apply"], ["doctor"], ["init"], ["verify"]):
        ended = subprocess.run(
            [*desk.command, *words], cwd=desk.folder, env=desk.environment, capture_output=True, timeout=60, check=False
        )
        assert ended.returncode in (0, 5, 64, 78)
        assert b"bug" not in ended.stderr


def test_a_folder_in_the_place_of_a_file_stops_init(desk: Desk) -> None:
    (desk.folder / ".gitignore").mkdir()

    answer = desk.run("init")

    assert (answer.code, answer.err) == (64, "./.gitignore: is not a file; move it away\n")


def test_damage_is_named_as_one_would_type_it_from_here(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.run("apply")
    with (desk.folder / "results/bell/qrun.lock").open("a") as lock:
        lock.write("x\n")
    monkeypatch.chdir(desk.folder / "specs")

    inside, document = desk.run("plan"), desk.run("verify", "-o", "json")
    monkeypatch.chdir(desk.folder.parent)
    outside = desk.run("plan", "project/specs")

    words = "the line does not match its checksum; qrun verify --repair rebuilds what the other files still know\n"
    assert (inside.code, inside.err) == (5, f"../results/bell/qrun.lock:3: {words}")
    assert document.json["errors"][0]["file"] == "../results/bell/qrun.lock"
    assert (outside.code, outside.err) == (5, f"project/results/bell/qrun.lock:3: {words}")


def test_our_own_sentence_about_a_password_is_not_hidden(desk: Desk) -> None:
    desk.write("qrun.toml", '[connections.a]\ntype = "pasqal"\npassword = "hunter2hunter2"\n')

    answer = desk.run("plan")

    assert answer.code == 78
    assert answer.err.startswith("qrun.toml:3:1: connections.a.password: a secret may not stand in this file; write ")
    assert "hunter2" not in answer.err


# --- streams ----------------------------------------------------------------------------------------------------------


def shell(desk: Desk, words: str) -> subprocess.CompletedProcess[str]:
    """A line of shell; `$q` is qrun."""
    line = words.replace("$q", " ".join(desk.command))
    return subprocess.run(
        ["/bin/sh", "-c", line], cwd=desk.folder, env=desk.environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_disturb_a_run(desk: Desk, closed: str) -> None:
    ended = shell(desk, f"$q apply {closed}")

    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert desk.run("status", "-o", "json").json["experiments"][0]["summary"] == {"succeeded": 1}
    assert desk.run("verify").code == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
@pytest.mark.parametrize(
    "words", ["apply", "apply -o json", "apply -o jsonl", "--help", "schema", "apply --nothing -o json"]
)
def test_output_that_cannot_be_written_is_told_once_and_stops_no_run(desk: Desk, words: str) -> None:
    ended = shell(desk, f"$q {words} > /dev/full")

    assert ended.returncode == (64 if "--nothing" in words else 1)
    assert ended.stderr.splitlines()[-1] == "what was to be printed could not be written: no space left on device"
    assert "bug" not in ended.stderr
    if words.startswith("apply") and "--nothing" not in words:
        assert desk.run("status", "-o", "json").json["experiments"][0]["summary"] == {"succeeded": 1}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_progress_that_cannot_be_written_stops_no_run(desk: Desk) -> None:
    ended = shell(desk, "$q apply 2> /dev/full")

    assert (ended.returncode, ended.stdout) == (0, "bell: 1 succeeded; results in results/bell\n")


def test_where_only_ascii_can_be_written_bars_are_ascii(desk: Desk) -> None:
    desk.run("apply")

    ended = shell(desk, "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 $q show bell")

    assert ended.returncode == 0
    assert ended.stdout.rstrip().endswith("#")
    assert "\\u" not in ended.stdout


def test_a_terminal_that_cannot_go_back_gets_plain_lines(desk: Desk) -> None:
    shown = _on_terminal(desk, "apply", TERM="dumb") + _on_terminal(desk, "status", TERM="dumb")

    assert b"\x1b" not in shown
    assert b"\r\n\r\n" not in shown
    assert b"bell  succeeded  local/ddsim  100    1\r\n" in shown


def test_a_narrow_terminal_gets_plain_columns(desk: Desk) -> None:
    desk.run("apply")

    assert b"bell  succeeded  local/ddsim  100    1\r\n" in _on_terminal(desk, "status", COLUMNS="30")
    assert b"\x1b" not in _on_terminal(desk, "status", COLUMNS="80", NO_COLOR="1")


def _on_terminal(desk: Desk, *words: str, **environment: str) -> bytes:
    return desk.on_terminal(*words, **{"TERM": "xterm", **environment})[1]


def test_an_apply_that_the_disk_stops_prints_no_empty_line(desk: Desk) -> None:
    job = {"provider": "local", "device": "ddsim", "program": "programs/bell.qasm"}
    desk.write("specs/bell.yaml", json.dumps({"jobs": {f"j{n}": {**job, "shots": n + 1} for n in range(100)}}))

    ended = shell(desk, "ulimit -f 4; $q apply")

    assert (ended.returncode, ended.stdout) == (5, "")
    assert ended.stderr.splitlines()[1].startswith("results/bell/")
    assert desk.run("apply").code == 0
