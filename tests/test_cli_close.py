"""`qrun close`: no more jobs join what was closed; and every command says which batches are open."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from qrun.cli.opened import Opened, tell_open
from qrun.fact import Reached
from qrun.record import Attempt, Handle, Phase, Record
from qrun.store import Store
from tests.cloud import Cloud
from tests.desk import PROJECT, Answer, Desk, sky
from tests.shelf import Killed


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sky(opens=True, members=100) as cloud:
        yield cloud


def manifest(desk: Desk, *keys: str, name: str = "exp", **fields: Any) -> None:
    """Jobs that are alike, and whose batch stays open."""
    common = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "submit": {"open": True}}
    jobs = {key: {**common, "shots": 100 + ord(key[0]), **fields} for key in keys}
    desk.write(f"specs/{name}.yaml", json.dumps({"name": name, "jobs": jobs}))


def applied(desk: Desk, *keys: str, name: str = "exp", **fields: Any) -> None:
    manifest(desk, *keys, name=name, **fields)
    answer = desk.run("apply", f"specs/{name}.yaml", "--yes")
    assert answer.code == 0, answer.err


def refused(answer: Answer, wanted: str) -> None:
    assert (answer.code, answer.out, answer.err) == (64, "", wanted + "\n")


def open_in(answer: Answer) -> list[Any]:
    """The field `open` of each experiment; None where there is none."""
    return [experiment.get("open") for experiment in answer.json["experiments"]]


# --- closing ----------------------------------------------------------------------------------------------------------


def test_a_batch_that_several_jobs_joined_is_closed_by_the_name_of_any(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", "b")
    applied(desk, "a", "b", "c")
    assert cloud.made() == ["b1/0", "b1/1", "b1/2"]

    answer = desk.run("close", "exp.c")

    assert (answer.code, answer.out, answer.err) == (0, "closed b1 on memory (3 jobs)\n", "")
    assert cloud.open == set()


def test_several_jobs_of_one_batch_close_it_once(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", "b", "c")

    answer = desk.run("close", "a", "b", "exp.*")

    assert (answer.code, answer.out) == (0, "closed b1 on memory (3 jobs)\n")
    assert cloud.requests.count("close") == 1


def test_what_was_closed_is_not_asked_about_again_and_gets_a_successor(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a")
    desk.run("close", "a")

    applied(desk, "a", "b")
    applied(desk, "a", "b", "c")

    assert cloud.made() == ["b1/0", "b2/0", "b2/1"]
    assert cloud.requests.count("opened") == 1


def test_closing_twice_asks_the_provider_once_and_changes_no_byte(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a")
    desk.run("close", "a")
    before = desk.tree()

    by_name, every = desk.run("close", "a"), desk.run("close", "--all")

    refused(by_name, '"exp.a" is in no open batch; qrun status shows which are open')
    assert (every.code, every.out, every.err) == (0, "nothing to close: no batch is open\n", "")
    assert cloud.requests.count("close") == 1
    assert desk.tree() == before


def test_a_batch_that_turns_out_to_be_closed_already_is_noted_so(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a")
    cloud.open.clear()

    answer = desk.run("close", "a")

    assert (answer.code, answer.out) == (0, "closed b1 on memory (1 job)\n")
    assert desk.run("plan").err == ""


def test_jobs_that_still_run_go_on_in_a_closed_batch(desk: Desk, cloud: Cloud) -> None:
    cloud.duration = 1e9
    manifest(desk, "a", "b")
    desk.run("apply", "--yes", "--no-wait")

    answer = desk.run("close", "b")
    cloud.duration = 0.0
    synced = desk.run("sync", "-o", "json")

    assert (answer.code, answer.out) == (0, "closed b1 on memory (2 jobs)\n")
    assert [job["phase"] for job in synced.json["experiments"][0]["jobs"]] == ["succeeded", "succeeded"]


def test_all_closes_the_batches_of_every_experiment_also_of_those_that_no_manifest_names(
    desk: Desk, cloud: Cloud
) -> None:
    applied(desk, "a", name="one")
    applied(desk, "b", "c", name="two")
    (desk.folder / "specs/two.yaml").unlink()

    answer = desk.run("close", "--all")

    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "closed b1 on memory (1 job)\nclosed b2 on memory (2 jobs)\n"
    assert cloud.open == set()


def test_all_beside_a_manifest_means_the_batches_of_that_one(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", name="one")
    applied(desk, "b", name="two")

    answer = desk.run("close", "--all", "-m", "specs/two.yaml")

    assert (answer.code, answer.out) == (0, "closed b2 on memory (1 job)\n")
    assert cloud.open == {"b1"}


def test_a_batch_whose_experiment_no_manifest_names_any_more_can_be_closed(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a")
    (desk.folder / "specs/exp.yaml").unlink()

    answer = desk.run("close", "exp.a")

    assert (answer.code, answer.out) == (0, "closed b1 on memory (1 job)\n")
    header = json.loads(desk.read("results/exp/qrun.lock").splitlines()[0])
    assert header["manifest"] == "specs/exp.yaml"


def test_a_job_that_was_changed_since_closes_the_batch_in_which_it_ran(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a")
    manifest(desk, "a", shots=7)

    answer = desk.run("close", "a")

    assert (answer.code, answer.out) == (0, "closed b1 on memory (1 job)\n")


def test_what_was_closed_here_is_published(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a")

    answer = desk.run("close", "a", env={"QRUN_PUBLISH": "cp results/exp/qrun.lock published"})

    assert answer.code == 0, answer.err
    assert desk.read("published") == desk.read("results/exp/qrun.lock")
    assert "open" not in desk.read("published")


# --- what cannot be closed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "no job is named; name some, or use --all"),
        (["a", "--all"], "jobs are named beside --all; use one of both"),
        (["expp.a"], 'no job is called "expp.a"; did you mean "exp.a"?'),
        (["later"], '"exp.later" is in no open batch; qrun status shows which are open'),
        (
            ["a", "alone", "later"],
            '"exp.alone" is in no open batch; qrun status shows which are open\n'
            '"exp.later" is in no open batch; qrun status shows which are open',
        ),
    ],
)
def test_what_is_in_no_open_batch_is_named_and_nothing_is_closed(
    desk: Desk, cloud: Cloud, words: list[str], wanted: str
) -> None:
    applied(desk, "a")
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm"}
    ours = {"a": {**job, "shots": 197, "submit": {"open": True}}, "alone": {**job, "shots": 5}}
    desk.write("specs/exp.yaml", json.dumps({"name": "exp", "jobs": ours}))
    desk.run("apply", "--yes")
    desk.write("specs/exp.yaml", json.dumps({"name": "exp", "jobs": {**ours, "later": {**job, "shots": 9}}}))

    answer = desk.run("close", *words)

    refused(answer, wanted)
    assert cloud.open == {"b1"}


def test_results_that_an_apply_holds_are_left_alone(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a")

    with Store.open(str(desk.folder), "exp", project=PROJECT, manifest="specs/exp.yaml", command="qrun apply"):
        answer = desk.run("close", "a")

    assert answer.code == 5
    assert answer.err.startswith(f"results/exp is in use by pid {os.getpid()} on ")
    assert cloud.open == {"b1"}


def test_only_results_with_an_open_batch_are_held(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", name="one")
    applied(desk, "b", name="two", submit={})

    with Store.open(str(desk.folder), "two", project=PROJECT, manifest="specs/two.yaml", command="qrun apply"):
        answer = desk.run("close", "--all")

    assert (answer.code, answer.out) == (0, "closed b1 on memory (1 job)\n")


# --- when the provider fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"), [("unavailable", "the batch did not answer"), ("answer lost", "the answer was lost")]
)
def test_an_error_of_the_provider_is_told_and_nothing_is_noted(
    desk: Desk, cloud: Cloud, fault: str, words: str
) -> None:
    applied(desk, "a")
    cloud.faults["close"] = [fault]
    before = desk.tree()

    answer = desk.run("close", "a")

    assert (answer.code, answer.out, answer.err) == (1, "", words + "\n")
    assert desk.tree() == before
    again = desk.run("close", "a")
    assert (again.code, again.out) == (0, "closed b1 on memory (1 job)\n")


def test_the_error_of_one_batch_leaves_the_others_closed(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", name="one")
    applied(desk, "b", name="two")
    cloud.faults["close"] = ["unavailable"]

    answer = desk.run("close", "--all", "-o", "json")

    assert (answer.code, answer.err) == (1, "the batch did not answer\n")
    assert [error["code"] for error in answer.json["errors"]] == ["unavailable"]
    assert open_in(answer) == [[{"connection": "memory", "container": "b1", "jobs": ["a"]}], None]
    assert cloud.open == {"b1"}


def test_a_connection_that_is_gone_is_named_and_nothing_is_noted(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a")
    with Store.open(str(desk.folder), "exp", project=PROJECT, manifest="specs/exp.yaml") as store:
        [record] = store.records
        [sent] = record.attempts
        store.note(
            Reached(
                key=record.key,
                digest=record.digest,
                attempt=sent.n,
                phase=sent.phase,
                marker=sent.marker,
                handle=sent.handle,
                connection="lab",
            )
        )
        store.publish(rest=True)
    before = desk.tree()

    answer = desk.run("close", "exp.a")

    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith('the connection "lab", which sent jobs of these results, is in no settings any more')
    assert desk.tree() == before
    assert cloud.open == {"b1"}


def test_a_provider_that_closes_nothing_any_more_is_named(desk: Desk) -> None:
    with sky(opens=True, members=100):
        applied(desk, "a")
    with sky() as other:
        (desk.folder / "specs/exp.yaml").unlink()

        answer = desk.run("close", "exp.a")

    assert (answer.code, answer.out) == (78, "")
    assert answer.err == (
        'the connection "memory" has no batches to close any more; set it back in qrun.toml to what it was\n'
    )
    assert other.requests == []


def test_a_command_that_dies_before_its_note_is_made_good_by_the_next(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", "b")
    cloud.faults["close"] = ["killed after"]
    with pytest.raises(Killed):
        desk.run("close", "a")
    assert cloud.open == set()

    answer = desk.run("close", "a")

    assert (answer.code, answer.out) == (0, "closed b1 on memory (2 jobs)\n")
    assert open_in(desk.run("status", "-o", "json")) == [None]


# --- what every command says ------------------------------------------------------------------------------------------

HINT = "batch b1 on memory is open (2 jobs): qrun close exp.a"
COMMANDS = [["plan"], ["apply"], ["sync"], ["status"], ["apply", "-o", "jsonl"]]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_command_says_what_is_open_until_it_is_closed(desk: Desk, cloud: Cloud, words: list[str]) -> None:
    applied(desk, "a", "b")

    first, second = desk.run(*words), desk.run(*words)
    desk.run("close", "b")
    closed = desk.run(*words)

    assert (first.code, second.code, closed.code) == (0, 0, 0)
    assert first.err.splitlines()[-1] == second.err.splitlines()[-1] == HINT
    assert "batch" not in closed.err
    assert closed.out == second.out


@pytest.mark.parametrize("command", ["plan", "apply", "sync", "status"])
def test_each_document_says_what_is_open_until_it_is_closed(desk: Desk, cloud: Cloud, command: str) -> None:
    applied(desk, "a", "b")

    before = desk.run(command, "-o", "json")
    desk.run("close", "b")
    after = desk.run(command, "-o", "json")

    assert open_in(before) == [[{"connection": "memory", "container": "b1", "jobs": ["a", "b"]}]]
    assert before.err == ""
    assert open_in(after) == [None]


def test_the_document_of_close_has_the_jobs_of_the_batch_and_what_is_still_open(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", "b")
    applied(desk, "a", "b", "c", "d")
    desk.write("specs/programs/bell.qasm", desk.read("specs/programs/bell.qasm").replace("cx", "cz"))
    applied(desk, "x")

    answer = desk.run("close", "d", "-o", "json")

    [experiment] = answer.json["experiments"]
    assert (answer.code, answer.err, answer.json["errors"]) == (0, "", [])
    assert (experiment["experiment"], experiment["manifest"]) == ("exp", "specs/exp.yaml")
    assert [(job["job"], job["phase"], job["handle"]) for job in experiment["jobs"]] == [
        ("a", "succeeded", "b1/0"),
        ("b", "succeeded", "b1/1"),
        ("c", "succeeded", "b1/2"),
        ("d", "succeeded", "b1/3"),
    ]
    assert experiment["open"] == [{"connection": "memory", "container": "b5", "jobs": ["x"]}]


def test_what_a_command_advises_closes_the_batch_as_it_stands_there(desk: Desk, cloud: Cloud) -> None:
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "submit": {"open": True}}
    swept = {**job, "matrix": {"n": [5, 6]}, "shots": "{{ matrix.n }}"}
    desk.write("specs/exp.yaml", json.dumps({"name": "exp", "jobs": {"rabi": swept}}))
    desk.write("specs/rabi.yaml", json.dumps({"name": "rabi", **job, "shots": 3, "submit": {}}))
    advice = desk.run("apply", "--yes").err.splitlines()[-1].rpartition(": qrun ")[2]

    answer = desk.run(*shlex.split(advice))

    assert advice == "close exp.rabi:n=5"
    assert (answer.code, answer.out) == (0, "closed b1 on memory (2 jobs)\n")


def test_only_the_batches_of_the_jobs_that_are_meant_are_told(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", name="one")
    applied(desk, "b", name="two")

    told = {desk.run(command, "--only", "two.b").err for command in ("plan", "apply", "sync", "status")}

    assert told == {"batch b2 on memory is open (1 job): qrun close two.b\n"}


def test_another_clone_knows_what_is_open_and_lets_jobs_join_it(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", "b")
    shutil.rmtree(desk.folder / "results/exp/.qrun")
    shutil.rmtree(desk.folder / "results/.qrun", ignore_errors=True)

    told = desk.run("status").err
    applied(desk, "a", "b", "c")

    assert told == HINT + "\n"
    assert cloud.made() == ["b1/0", "b1/1", "b1/2"]


def test_another_clone_knows_what_was_closed(desk: Desk, cloud: Cloud) -> None:
    cloud.duration = 1e9
    manifest(desk, "a", "b")
    desk.run("apply", "--yes", "--no-wait")
    desk.run("close", "a")
    shutil.rmtree(desk.folder / "results/exp/.qrun")

    found = [desk.run(command, "-o", "json") for command in ("status", "plan", "sync", "status")]

    assert [open_in(answer) for answer in found] == [[None]] * 4


def test_a_second_apply_of_jobs_in_an_open_batch_changes_no_byte(desk: Desk, cloud: Cloud) -> None:
    applied(desk, "a", "b")
    applied(desk, "a", "b", "c")
    before = desk.tree()

    again = desk.run("apply")

    assert (again.code, again.out) == (0, "nothing to do: 3 jobs are done\n")
    assert desk.tree() == before


def test_many_open_batches_are_told_in_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    record = Record(key="a b", digest="d", digest_without_site="d", provider="memory", device="qpu")
    attempt = Attempt(n=1, marker="qr1x", phase=Phase.LIVE)
    batches = [
        Opened(experiment="exp", connection="la\x1bb", container=Handle(f"b{n}"), members=((record, attempt),))
        for n in range(30)
    ]

    tell_open(batches)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == r"batch b0 on la\x1bb is open (1 job): qrun close 'exp.a b'"
    assert lines[19:] == [lines[0].replace("b0", "b19"), "... and 10 more: qrun close --all"]
