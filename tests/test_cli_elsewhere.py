"""Jobs that nobody can look for: they are sent where this machine knows, or the user says, that no other has."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from qrun.plan import ELSEWHERE
from qrun.provider import Recovery
from tests.cloud import Cloud
from tests.desk import Answer, Desk, sky

SAID = "--not-sent-elsewhere"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sky(recovery=Recovery.NOTHING) as cloud:
        yield cloud


def manifest(desk: Desk, *keys: str) -> None:
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "shots": 100}
    desk.write("specs/exp.yaml", json.dumps({"name": "exp", "jobs": dict.fromkeys(keys, job)}))


def held(answer: Answer) -> dict[str, str]:
    return {step["job"]: step["reason"] for each in answer.json["experiments"] for step in each["steps"]}


def fresh_clone(desk: Desk) -> None:
    """Another machine: all that Git keeps, and nothing else."""
    shutil.rmtree(desk.folder / "results/exp/.qrun")


def test_on_a_machine_that_never_ran_it_nothing_is_sent_until_the_user_says_so(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a")

    planned = desk.run("plan", "-o", "json")
    first = desk.run("apply", "--yes")
    assert (held(planned), first.code, first.out) == ({"a": ELSEWHERE}, 3, "exp: 1 held; results in results/exp\n")
    assert f"exp.a  {ELSEWHERE}\n" in first.err
    assert cloud.made() == []

    second = desk.run("apply", "--yes", SAID)
    assert (second.code, len(cloud.made())) == (0, 1)


def test_where_the_journal_is_nobody_has_to_say_it_again(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a")
    desk.run("apply", "--yes", SAID)
    manifest(desk, "a", "b")

    planned = desk.run("plan", "-o", "json")
    answer = desk.run("apply", "--yes")

    assert held(planned)["b"] == "new"
    assert (answer.code, len(cloud.made("b"))) == (0, 1)


def test_what_was_held_here_is_held_again_whatever_else_was_run_meanwhile(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a")
    whole = json.loads(desk.read("specs/exp.yaml"))
    whole["jobs"]["here"] = {**whole["jobs"]["a"], "provider": "local", "device": "ddsim"}
    desk.write("specs/exp.yaml", json.dumps(whole))

    first = desk.run("apply", "--yes")
    second = desk.run("apply", "--yes")
    assert (first.code, second.code, cloud.made()) == (3, 3, [])

    said = desk.run("apply", "--yes", SAID)
    manifest(desk, "a", "b")
    unsaid = desk.run("apply", "--yes")
    assert (said.code, unsaid.code, len(cloud.made())) == (0, 0, 2)


def test_in_a_fresh_clone_what_the_lock_does_not_have_is_held(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a")
    desk.run("apply", "--yes", SAID)
    fresh_clone(desk)
    manifest(desk, "a", "b")

    answer = desk.run("apply", "--yes")

    assert (answer.code, answer.out) == (3, "exp: 1 succeeded, 1 held; results in results/exp\n")
    assert cloud.made("b") == []


def test_a_retry_in_a_fresh_clone_needs_the_users_word_as_well(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a")
    cloud.outcome = lambda run: "ERROR"
    desk.run("apply", "--yes", SAID)
    fresh_clone(desk)

    unsaid = desk.run("retry", "a", "--yes")
    assert (unsaid.code, len(cloud.made("a"))) == (3, 1)

    said = desk.run("retry", "a", "--yes", SAID)
    assert (said.code, len(cloud.made("a"))) == (3, 2)


def test_what_runs_is_not_cancelled_for_a_job_that_is_held(desk: Desk, cloud: Cloud) -> None:
    cloud.words = lambda run: "QUEUED"
    manifest(desk, "a")
    desk.run("apply", "--yes", "--no-wait", SAID)
    fresh_clone(desk)
    desk.write("specs/exp.yaml", desk.read("specs/exp.yaml").replace("100", "200"))

    answer = desk.run("apply", "--prune", "--yes", "--no-wait")

    assert (answer.code, len(cloud.made()), [run.cancelled for run in cloud.runs]) == (3, 1, [False])
    assert f"exp.a  {ELSEWHERE}\n" in answer.err


def test_a_saved_plan_keeps_the_users_word(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a")
    desk.run("plan", SAID, "--out", "night.plan")

    beside = desk.run("apply", "night.plan", SAID, "--yes")
    answer = desk.run("apply", "night.plan", "--yes")

    assert (beside.code, answer.code, len(cloud.made())) == (64, 0, 1)


def test_a_plan_that_was_saved_where_the_journal_is_is_stale_where_it_is_not(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a")
    desk.run("apply", "--yes", SAID)
    manifest(desk, "a", "b")
    desk.run("plan", "--out", "night.plan")
    fresh_clone(desk)

    answer = desk.run("apply", "night.plan", "--yes")

    assert (answer.code, cloud.made("b")) == (5, [])
    assert 'the step of "exp.b" was "submit" and is "hold" now' in answer.err


@pytest.mark.parametrize(("typed", "code", "shown"), [("y", 0, "exp: 1 succeeded"), ("n", 130, "interrupted")])
def test_on_a_terminal_the_one_question_asks_it(desk: Desk, typed: str, code: int, shown: str) -> None:
    manifest(desk, "a")

    ended, words = on_terminal(desk, "apply", typed=typed)

    assert ended == code, words
    assert "price unknown, 1 of which nobody can look for and no other machine has sent? [y/N]:" in words
    assert shown in words


def test_on_a_terminal_locked_asks_nothing_and_sends_nothing(desk: Desk) -> None:
    manifest(desk, "a")

    ended, words = on_terminal(desk, "apply", "--locked", typed="y")

    assert (ended, "[y/N]" in words) == (3, False), words
    assert "1 held" in words


def on_terminal(desk: Desk, *command: str, typed: str) -> tuple[int, str]:
    """The exit code, and all that was shown."""
    script = (
        "import sys; from qrun.provider import Recovery; from tests.desk import sky\n"
        "with sky(recovery=Recovery.NOTHING):\n"
        " from qrun.cli import cli; cli.main(sys.argv[1:])"
    )
    ended, seen = desk.on_terminal(*command, typed=f"{typed}\n", script=script)
    return ended, " ".join(seen.decode().split())
