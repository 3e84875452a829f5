"""`qrun resolve`: what the user says about a job whose outcome nobody can find out, and about one that ended badly."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrun.clock import stamp
from qrun.fact import Intended
from qrun.provider import Recovery
from qrun.record import Member
from qrun.store import Store
from tests.cloud import Cloud, Run
from tests.desk import PROJECT, Answer, Desk, sky


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("QRUN_APPLY_NOT_SENT_ELSEWHERE", "1")  # for the clouds in which nothing can be searched
    return Desk(tmp_path)


@pytest.fixture
def blind() -> Iterator[Cloud]:
    """A cloud in which nothing can be searched."""
    with sky(recovery=Recovery.NOTHING) as cloud:
        yield cloud


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sky() as cloud:
        yield cloud


def manifest(desk: Desk, *keys: str, name: str = "exp", **fields: object) -> None:
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "shots": 100, **fields}
    desk.write(f"specs/{name}.yaml", json.dumps({"name": name, "jobs": dict.fromkeys(keys or ("one",), job)}))


def lost_answer(desk: Desk, cloud: Cloud, *keys: str, fault: str = "answer lost", **fields: Any) -> None:
    """Jobs that were sent, and nobody knows what became of them."""
    manifest(desk, *keys, **fields)
    cloud.faults["submit"] = [fault] * (len(keys) or 1)
    answer = desk.run("apply", "--yes", "--no-wait")
    assert answer.code == 6, answer.err


def phases(desk: Desk, *words: str) -> dict[str, str]:
    answer = desk.run("status", "-o", "json", *words)
    return {job["job"]: job["phase"] for experiment in answer.json["experiments"] for job in experiment["jobs"]}


def refused(answer: Answer, wanted: str) -> None:
    assert (answer.code, answer.out, answer.err) == (64, "", wanted + "\n")


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ["one"],
            "it is not said what became of it; use --adopt ID, --resubmit, --abandon or --accept",
        ),
        (
            ["one", "--abandon", "--accept"],
            "--abandon and --accept exclude each other; use one of --adopt ID, --resubmit, --abandon or --accept",
        ),
        (["--accept"], 'missing argument "JOB..."; see "qrun resolve --help"'),
        (["onne", "--accept"], 'no job is called "onne"; did you mean "one"?'),
        (["one", "two", "--adopt", "j1"], 'one id is not that of 2 jobs: "exp.one", "exp.two"; name one job'),
        (
            ["one", "--adopt", "a/b/c"],
            '"a/b/c" is not the id of a job; an id has letters, digits, ".", "_" and "-", '
            'and one "/" or "#" where a container comes first',
        ),
        (["one", "--abandon"], '"exp.one" was not sent, so there is nothing to resolve; qrun apply sends it'),
    ],
)
def test_what_cannot_be_meant_is_refused(desk: Desk, cloud: Cloud, words: list[str], wanted: str) -> None:
    manifest(desk, "one", "two")

    answer = desk.run("resolve", *words)

    refused(answer, wanted)
    assert cloud.requests == []


@pytest.mark.parametrize("way", [["--adopt", "j9"], ["--resubmit"], ["--abandon"]])
def test_only_an_unknown_outcome_can_be_cleared_up(desk: Desk, cloud: Cloud, way: list[str]) -> None:
    manifest(desk, "done")
    desk.run("apply", "--yes")
    cloud.duration = 1e9
    manifest(desk, "done", "live")
    desk.run("apply", "--yes", "--no-wait")

    done, live = desk.run("resolve", "done", *way), desk.run("resolve", "live", *way)

    refused(done, 'the outcome of "exp.done" is known: it is succeeded')
    refused(live, '"exp.live" is live as "j2"; qrun sync looks at it')


def test_an_interrupted_local_job_has_nothing_to_resolve(desk: Desk) -> None:
    desk.bell()
    job = desk.run("render", "-o", "json").json["experiments"][0]["jobs"][0]
    with Store.open(str(desk.folder), "bell", project=PROJECT, manifest="specs/bell.yaml") as store:
        store.note(
            Intended(
                marker="qr1x",
                connection="local",
                step="create",
                members=(Member(key="bell", digest=job["digest"], attempt=1),),
                jobs=({"provider": "local", "device": "ddsim"},),
                digests_without_site=(job["digest"],),
                sent=stamp(1e9),
            )
        )

    answer = desk.run("resolve", "bell", "--resubmit", "--yes")

    refused(answer, '"bell" is a local job, which starts again by itself; qrun apply')


def test_results_that_an_apply_holds_are_left_alone(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)

    with Store.open(str(desk.folder), "exp", project=PROJECT, manifest="specs/exp.yaml", command="qrun apply"):
        answer = desk.run("resolve", "one", "--abandon")

    assert answer.code == 5
    assert answer.err.startswith(f"results/exp is in use by pid {os.getpid()} on ")
    assert phases(desk) == {"one": "uncertain"}


# --- adopt ------------------------------------------------------------------------------------------------------------


def test_the_id_that_the_user_found_is_adopted_looked_at_and_fetched(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)

    answer = desk.run("resolve", "exp.one", "--adopt", "j1")

    assert (answer.code, answer.out, answer.err) == (0, 'exp.one: adopted "j1", succeeded\n', "")
    record = desk.run("show", "one", "-o", "json").json
    assert record["attempts"][0]["handle"] == "j1"
    assert record["attempts"][0]["found"] == "user"
    assert record["results"]["counts"] == {"0": 100}
    assert desk.run("apply").out == "nothing to do: 1 job is done\n"
    assert blind.made() == ["j1"]


def test_an_adopted_job_that_still_runs_is_live(desk: Desk, blind: Cloud) -> None:
    blind.duration = 1e9
    lost_answer(desk, blind)

    answer = desk.run("resolve", "one", "--adopt", "j1", "-o", "json")

    assert answer.code == 0
    [experiment] = answer.json["experiments"]
    assert (experiment["experiment"], experiment["manifest"]) == ("exp", "specs/exp.yaml")
    [job] = experiment["jobs"]
    assert (job["job"], job["phase"], job["handle"], job["attempt"]) == ("one", "live", "j1", 1)
    assert (experiment["summary"], answer.json["errors"]) == ({"live": 1}, [])


def test_an_adopted_job_that_failed_ends_with_the_code_of_a_sync(desk: Desk, blind: Cloud) -> None:
    blind.outcome = lambda run: "ERROR"
    lost_answer(desk, blind)

    answer = desk.run("resolve", "one", "--adopt", "j1")

    assert (answer.code, answer.out) == (3, 'exp.one: adopted "j1", failed\n')


def test_an_id_that_nobody_knows_is_an_error_of_the_provider_and_changes_nothing(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)
    before = desk.tree()

    answer = desk.run("resolve", "one", "--adopt", "j99", "-o", "json")

    assert answer.code == answer.json["exit"] == 1
    assert (answer.json["errors"][0]["code"], answer.err) == ("missing", 'no job "j99"\n')
    assert desk.tree() == before


def test_every_disagreement_is_named_with_both_values_and_nothing_is_adopted(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)
    other = Run(id="j7", marker="qr1other", mark=None, key="x", payload="f" * 64, device="toy", shots=7, created=0.0)
    blind.runs.append(other)
    before = desk.tree()

    answer = desk.run("resolve", "one", "--adopt", "j7")

    assert (answer.code, answer.out) == (64, "")
    lines = answer.err.splitlines()
    assert lines[:2] == [
        '"j7" has device toy, and "exp.one" was sent with qpu',
        '"j7" has shots 7, and "exp.one" was sent with 100',
    ]
    assert lines[2].startswith('"j7" holds the payload ffffffffffff, and "exp.one" was sent with ')
    assert lines[3].startswith('"j7" carries the marker qr1other of another job, and "exp.one" was sent with qr1')
    assert len(lines) == 4
    assert desk.tree() == before


def test_a_job_that_was_there_before_ours_was_sent_is_not_it(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)
    old = Run(id="j7", marker="", mark=None, key="x", payload="f" * 64, device="qpu", shots=100, created=1e9)
    blind.runs.append(old)

    answer = desk.run("resolve", "one", "--adopt", "j7")

    assert answer.code == 64
    assert answer.err.splitlines()[1].startswith(f'"j7" was made at {stamp(1e9)}, and "exp.one" was sent at ')


def test_a_registered_job_that_was_never_started_is_not_adopted(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)
    blind.runs[0].started = False

    answer = desk.run("resolve", "one", "--adopt", "j1")

    refused(answer, '"j1" is registered and was never started; qrun apply starts it, if it is the one')


def test_a_job_of_another_experiment_is_not_adopted_a_second_time(desk: Desk, blind: Cloud) -> None:
    manifest(desk, "mine", name="other")
    desk.run("apply", "--yes")
    lost_answer(desk, blind)
    before = desk.tree()

    answer = desk.run("resolve", "exp.one", "--adopt", "j1")

    refused(answer, '"j1" is "other.mine" already; one job of a provider is one job here')
    assert desk.tree() == before


def test_of_two_hits_for_one_marker_the_user_chooses(desk: Desk, cloud: Cloud) -> None:
    lost_answer(desk, cloud, fault="replayed")
    message = desk.run("status", "-o", "json").json["experiments"][0]["jobs"][0]["message"]

    answer = desk.run("resolve", "one", "--adopt", "j2")

    assert message == "two hits for one marker: j1, j2"
    assert (answer.code, answer.out) == (0, 'exp.one: adopted "j2", succeeded\n')
    assert desk.run("apply").out == "nothing to do: 1 job is done\n"


def test_a_provider_that_does_not_answer_leaves_everything_as_it_was(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)
    blind.faults["inspect"] = ["unavailable"]
    before = desk.tree()

    answer = desk.run("resolve", "one", "--adopt", "j1")

    assert (answer.code, answer.err) == (1, "the job did not answer\n")
    assert desk.tree() == before


def test_results_that_cannot_be_fetched_now_are_an_error_and_the_job_is_adopted(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)
    blind.faults["fetch"] = ["unavailable"]

    answer = desk.run("resolve", "one", "--adopt", "j1", "-o", "json")

    assert (answer.code, answer.err) == (1, "the results did not answer\n")
    assert [error["code"] for error in answer.json["errors"]] == ["unavailable"]
    assert answer.json["experiments"][0]["jobs"][0]["phase"] == "succeeded"
    assert desk.run("sync").code == 0
    assert desk.run("show", "one", "-o", "json").json["results"]["counts"] == {"0": 100}


# --- resubmit ---------------------------------------------------------------------------------------------------------


def test_a_resubmit_needs_a_yes_where_nobody_can_be_asked(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)

    answer = desk.run("resolve", "one", "--resubmit")

    refused(
        answer,
        'would send "exp.one" again, and pay twice if it runs; make sure that it was never started, or add --yes',
    )
    assert phases(desk) == {"one": "uncertain"}


def test_what_is_resubmitted_goes_out_with_the_next_apply_as_the_same_attempt(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind, fault="request lost")

    answer = desk.run("resolve", "one", "--resubmit", "--yes")
    sent = blind.made()
    applied = desk.run("apply", "--yes", "-o", "json")

    assert (answer.code, answer.err) == (0, "")
    assert answer.out == "exp.one: not sent; the next apply sends it as attempt 1\n"
    assert sent == []
    [job] = applied.json["experiments"][0]["jobs"]
    assert (applied.code, job["phase"], job["attempt"]) == (0, "succeeded", 1)
    assert len(blind.made()) == 1


def test_before_a_resubmit_the_search_of_an_apply_is_advised(desk: Desk, cloud: Cloud) -> None:
    lost_answer(desk, cloud, fault="request lost")

    asked = desk.run("resolve", "one", "--resubmit")
    done = desk.run("resolve", "one", "--resubmit", "--yes")

    refused(asked, 'would send "exp.one" again, and pay twice if it runs; qrun apply looks for it first, or add --yes')
    assert done.code == 0
    assert done.err == 'not looked for yet: "exp.one"; "qrun apply" searches the provider by itself\n'


def test_what_runs_after_all_is_found_and_not_bought_again(desk: Desk, cloud: Cloud) -> None:
    lost_answer(desk, cloud, fault="replayed")
    cloud.runs.pop()
    desk.run("resolve", "one", "--resubmit", "--yes")

    answer = desk.run("apply", "--yes", "-o", "json")

    assert (answer.code, answer.json["experiments"][0]["jobs"][0]["handle"]) == (0, "j1")
    assert cloud.made() == ["j1"]


@pytest.mark.parametrize(("typed", "phase"), [("y", "absent"), ("n", "uncertain")])
def test_on_a_terminal_a_resubmit_asks(desk: Desk, blind: Cloud, typed: str, phase: str) -> None:
    lost_answer(desk, blind)

    shown, code = _typed(desk, f"{typed}\n", "resolve", "one", "--resubmit")

    assert 'send "exp.one" again, and pay twice if it runs? [y/N]:' in shown
    assert code == {"y": 0, "n": 130}[typed]
    assert phases(desk) == {"one": phase}


def _typed(desk: Desk, answer: str, *words: str) -> tuple[str, int]:
    """A command on a terminal, in a process that has the cloud in memory."""
    script = "import sys; from tests.desk import sky\nwith sky():\n from qrun.cli import cli; cli.main(sys.argv[1:])"
    code, shown = desk.on_terminal(*words, typed=answer, script=script)
    return shown.decode(), code


# --- abandon ----------------------------------------------------------------------------------------------------------


def test_what_is_abandoned_counts_as_accepted_and_is_not_sent_again(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)

    answer = desk.run("resolve", "one", "--abandon", "-o", "json")

    [job] = answer.json["experiments"][0]["jobs"]
    assert (answer.code, job["phase"], job["message"]) == (0, "cancelled", "abandoned by the user")
    applied = desk.run("apply", "--yes")
    assert (applied.code, applied.out) == (0, "nothing to do: 1 cancelled\n")
    assert desk.run("status", "--exit-code").code == 0
    assert len(blind.made()) == 1


def test_what_was_abandoned_can_be_retried(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)
    desk.run("resolve", "one", "--abandon")

    answer = desk.run("retry", "one", "--yes", "-o", "json")

    [job] = answer.json["experiments"][0]["jobs"]
    assert (answer.code, job["phase"], job["attempt"]) == (0, "succeeded", 2)


def test_what_went_out_together_is_resolved_together(desk: Desk, tmp_path: Path) -> None:
    with sky(recovery=Recovery.NOTHING, members=10) as cloud:
        manifest(desk, "a", "b", "c", submit={"with": "batch"})
        cloud.faults["submit"] = ["answer lost"]
        desk.run("apply", "--yes")

        answer = desk.run("resolve", "a", "--abandon")

        assert answer.code == 0
        assert answer.out == "exp.a: abandoned\nexp.b: abandoned\nexp.c: abandoned\n"
        assert answer.err == '"exp.a" went out together with "exp.b", "exp.c": what is said holds for all of them\n'
        assert set(phases(desk).values()) == {"cancelled"}


def test_one_of_several_that_went_out_together_can_be_adopted_alone(desk: Desk) -> None:
    with sky(recovery=Recovery.NOTHING, members=10) as cloud:
        manifest(desk, "a", "b", submit={"with": "batch"})
        cloud.faults["submit"] = ["answer lost"]
        desk.run("apply", "--yes")

        answer = desk.run("resolve", "b", "--adopt", "b1/1")

        assert (answer.code, answer.out) == (0, 'exp.b: adopted "b1/1", succeeded\n')
        assert phases(desk) == {"a": "uncertain", "b": "succeeded"}


def test_a_job_that_no_manifest_names_any_more_can_be_resolved(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)
    (desk.folder / "specs" / "exp.yaml").unlink()

    answer = desk.run("resolve", "exp.one", "--resubmit", "--yes")

    assert (answer.code, answer.out) == (0, "exp.one: not sent, and no manifest names it any more\n")
    header: Any = json.loads((desk.folder / "results" / "exp" / "qrun.lock").read_text().splitlines()[0])
    assert header["manifest"] == "specs/exp.yaml"


def test_a_job_that_was_changed_while_its_outcome_is_unknown_is_resolved_as_it_was_sent(
    desk: Desk, blind: Cloud
) -> None:
    lost_answer(desk, blind)
    manifest(desk, shots=50)

    answer = desk.run("resolve", "one", "--adopt", "j1")

    assert (answer.code, answer.out) == (0, 'exp.one: adopted "j1", succeeded\n')
    assert phases(desk) == {"one": "absent"}
    assert desk.run("apply", "--yes").code == 0
    assert [run.shots for run in blind.runs] == [100, 50]


def test_what_is_resolved_is_published(desk: Desk, blind: Cloud) -> None:
    lost_answer(desk, blind)
    env = {"QRUN_PUBLISH": "cp results/exp/qrun.lock published"}

    answer = desk.run("resolve", "one", "--abandon", env=env)

    assert answer.code == 0, answer.err
    assert '"phase":"cancelled"' in desk.read("published")


# --- accept -----------------------------------------------------------------------------------------------------------


def test_an_accepted_failure_no_longer_counts(desk: Desk, cloud: Cloud) -> None:
    cloud.outcome = lambda run: "ERROR"
    manifest(desk, "a", "b")
    desk.run("apply", "--yes")

    one = desk.run("resolve", "a", "--accept")
    still = desk.run("status", "--exit-code").code
    both = desk.run("resolve", "a", "b", "--accept")

    assert (one.code, one.out, still) == (0, "exp.a: accepted as it is, failed\n", 3)
    assert both.out == "exp.a: accepted as it is, failed\nexp.b: accepted as it is, failed\n"
    assert desk.run("status", "--exit-code").code == 0
    assert desk.run("apply", "--yes").code == 0
    assert len(cloud.made()) == 2


def test_missing_outputs_can_be_accepted(desk: Desk, cloud: Cloud) -> None:
    cloud.gone.add("j1")
    manifest(desk)
    assert desk.run("apply", "--yes").code == 3

    answer = desk.run("resolve", "one", "--accept", "-o", "json")

    [job] = answer.json["experiments"][0]["jobs"]
    assert (answer.code, job["phase"], job.get("missing")) == (0, "succeeded", None)
    assert desk.run("apply").code == 0


def test_accepting_twice_changes_no_byte(desk: Desk, cloud: Cloud) -> None:
    cloud.outcome = lambda run: "ERROR"
    manifest(desk)
    desk.run("apply", "--yes")
    desk.run("resolve", "one", "--accept")
    before = desk.tree()

    answer = desk.run("resolve", "one", "--accept")

    assert (answer.code, answer.out) == (0, "exp.one: accepted as it is, failed\n")
    assert desk.tree() == before


def test_only_what_ended_badly_can_be_accepted(desk: Desk, blind: Cloud) -> None:
    manifest(desk, "good")
    desk.run("apply", "--yes")
    blind.faults["submit"] = ["answer lost"]
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm"}
    jobs = {"good": {**job, "shots": 100}, "bad": {**job, "shots": 50}}
    desk.write("specs/exp.yaml", json.dumps({"name": "exp", "jobs": jobs}))
    desk.run("apply", "--yes")

    good, bad = desk.run("resolve", "good", "--accept"), desk.run("resolve", "bad", "--accept")

    refused(good, '"exp.good" is succeeded, which nobody has to accept')
    refused(
        bad, 'the outcome of "exp.bad" is not known, so it cannot be accepted; use --adopt ID, --resubmit or --abandon'
    )
