"""Commands against a cloud: what is asked before sending, what is waited for, and how a command ends."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cloud import Cloud
from tests.desk import PROJECT, Answer, Desk, sky


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sky() as cloud:
        yield cloud


def manifest(desk: Desk, *keys: str, name: str = "exp", **fields: object) -> None:
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "shots": 100, **fields}
    desk.write(f"specs/{name}.yaml", json.dumps({"name": name, "jobs": dict.fromkeys(keys or ("one",), job)}))


def phases(answer: Answer) -> dict[str, str]:
    return {job["job"]: job["phase"] for experiment in answer.json["experiments"] for job in experiment["jobs"]}


# --- before sending ---------------------------------------------------------------------------------------------------


def test_without_a_terminal_nothing_is_sent_unasked(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a", "b")

    answer = desk.run("apply")

    assert answer.code == 64
    assert answer.err == (
        'would send 2 jobs with 200 shots to "memory/qpu", price unknown; add --yes to send without being asked\n'
    )
    assert cloud.made() == []


def test_yes_sends_and_waits(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a", "b")

    answer = desk.run("apply", "--yes")

    assert (answer.code, answer.out) == (0, "exp: 2 succeeded; results in results/exp\n")
    assert len(cloud.made()) == 2
    again = desk.run("apply")
    assert (again.code, again.out) == (0, "nothing to do: 2 jobs are done\n")
    assert len(cloud.made()) == 2


def test_without_a_project_nothing_goes_to_a_cloud(desk: Desk, cloud: Cloud) -> None:
    desk.write("qrun.toml", "")
    manifest(desk)

    answer = desk.run("apply", "--yes")

    assert answer.code == 78
    assert answer.err == (
        '"exp.one" goes to a cloud, but no project id marks what is sent; qrun init writes one into qrun.toml\n'
    )
    assert cloud.made() == []


def test_a_budget_counts_all_experiments_together(desk: Desk, cloud: Cloud) -> None:
    desk.write("qrun.toml", f'project = "{PROJECT}"\n[budget]\nmax_jobs = 3\n')
    manifest(desk, "a", "b")
    manifest(desk, "c", "d", name="other")

    answer = desk.run("apply", "--yes", "-o", "json")

    assert answer.code == answer.json["exit"] == 7
    assert answer.err == "4 jobs to send, but budget.max_jobs is 3; raise max_jobs or use --only\n"
    assert answer.json["errors"][0]["code"] == "budget"
    assert cloud.made() == []


def test_a_total_budget_counts_what_was_sent_before(desk: Desk, cloud: Cloud) -> None:
    desk.write("qrun.toml", f'project = "{PROJECT}"\n[budget]\ntotal_shots = 250\n')
    manifest(desk, "a", "b")
    desk.run("apply", "--yes")
    manifest(desk, "a", "b", "c")

    answer = desk.run("apply", "--yes")

    assert (answer.code, answer.err) == (
        7,
        "300 shots in all, but budget.total_shots is 250; raise total_shots or use --only\n",
    )
    assert len(cloud.made()) == 2


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_no_wait_sends_looks_once_and_leaves(desk: Desk, cloud: Cloud) -> None:
    cloud.duration = 1e9
    manifest(desk, "a", "b")

    answer = desk.run("apply", "--yes", "--no-wait", "-o", "json")

    assert answer.code == 0
    assert phases(answer) == {"a": "live", "b": "live"}
    assert desk.run("status", "--exit-code").code == 4


def test_sync_fetches_what_is_ready_and_submits_nothing(desk: Desk, cloud: Cloud) -> None:
    cloud.duration = 1e9
    manifest(desk, "a")
    desk.run("apply", "--yes", "--no-wait")
    manifest(desk, "a", "b")

    early = desk.run("sync")
    cloud.duration = 0.0
    late = desk.run("sync", "-o", "json")

    assert (early.code, early.out) == (0, "exp: 1 absent, 1 live; results in results/exp\n")
    assert (late.code, phases(late)) == (0, {"a": "succeeded", "b": "absent"})
    assert len(cloud.made()) == 1


def test_the_end_of_a_wait_ends_the_command_and_no_job(desk: Desk, cloud: Cloud) -> None:
    cloud.duration = 1e9
    manifest(desk)

    answer = desk.run("apply", "--yes", "--timeout", "50ms")

    assert answer.code == 4
    assert answer.err.splitlines()[-1] == "timeout: 1 job goes on; run `qrun apply --yes --timeout 50ms` to go on"
    assert not cloud.runs[0].cancelled
    cloud.duration = 0.0
    assert desk.run("apply").out == "exp: 1 succeeded; results in results/exp\n"
    assert len(cloud.made()) == 1


# --- how jobs end -----------------------------------------------------------------------------------------------------


def test_a_refused_job_is_held_with_the_providers_words(desk: Desk, cloud: Cloud) -> None:
    cloud.faults["submit"] = ["refused"]
    manifest(desk)

    answer = desk.run("apply", "--yes", "-o", "json")

    [job] = answer.json["experiments"][0]["jobs"]
    assert (answer.code, job["phase"], job["held"]) == (3, "absent", "shots must be below 500")


def test_an_error_of_a_provider_ends_with_one_and_stands_in_the_document(desk: Desk, cloud: Cloud) -> None:
    cloud.faults["prepare"] = ["denied"]
    manifest(desk)

    answer = desk.run("apply", "--yes", "-o", "json")

    assert answer.code == answer.json["exit"] == 1
    assert [(e["code"], e["message"], e["hint"]) for e in answer.json["errors"]] == [
        ("denied", "the token has expired", "log in again")
    ]


def test_a_failed_job_can_be_retried_once_more(desk: Desk, cloud: Cloud) -> None:
    cloud.outcome = lambda run: "ERROR"
    manifest(desk, "a", "b")
    failed = desk.run("apply", "--yes")
    cloud.outcome = lambda run: "DONE"

    plain = desk.run("apply", "--yes")
    retried = desk.run("retry", "exp.a", "--yes")

    assert (failed.code, failed.err.splitlines()[-1]) == (3, '"qrun retry --failed" runs failed jobs once more')
    assert (plain.code, plain.out) == (3, "nothing to do: 2 failed\n")
    assert (retried.code, retried.out) == (0, "exp: 1 succeeded; results in results/exp\n")
    assert len(cloud.made("a")) == 2
    assert len(cloud.made("b")) == 1


def test_cancel_asks_the_provider_and_records_it(desk: Desk, cloud: Cloud) -> None:
    cloud.duration = 1e9
    manifest(desk, "a", "b")
    desk.run("apply", "--yes", "--no-wait")

    answer = desk.run("cancel", "exp.a")

    assert (answer.code, answer.out, answer.err) == (0, "exp.a: cancelled\n", "")
    assert [run.cancelled for run in cloud.runs if run.key == "a"] == [True]
    assert [run.cancelled for run in cloud.runs if run.key == "b"] == [False]
    assert phases(desk.run("status", "-o", "json")) == {"a": "cancelled", "b": "live"}
    assert desk.run("status", "--exit-code", "--only", "a").code == 0


def test_cancel_of_what_has_ended_is_a_usage_error(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")

    answer = desk.run("cancel", "one")

    assert (answer.code, answer.err) == (64, '"exp.one" is succeeded; only a live job can be cancelled\n')


def test_a_pattern_cancels_what_lives_of_what_it_means(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a", "c")
    desk.run("apply", "--yes")
    cloud.duration = 1e9
    manifest(desk, "a", "b", "c")
    desk.run("apply", "--yes", "--no-wait")

    named = desk.run("cancel", "exp.*", "exp.a")
    assert (named.code, [run.cancelled for run in cloud.runs]) == (64, [False] * 3)
    meant = desk.run("cancel", "exp.*")
    again = desk.run("cancel", "exp.*")

    assert (meant.code, meant.out, meant.err) == (0, "exp.b: cancelled\n", "")
    assert again.code == 64
    assert '"exp.b" is cancelled; only a live job can be cancelled\n' in again.err


def test_a_changed_job_waits_for_a_word_about_the_one_that_runs(desk: Desk, cloud: Cloud) -> None:
    cloud.duration = 1e9
    manifest(desk)
    desk.run("apply", "--yes", "--no-wait")
    manifest(desk, shots=50)

    held = desk.run("apply", "--yes", "--no-wait")
    kept = desk.run("apply", "--yes", "--no-wait", "--keep")

    assert held.code == 3
    assert [run.shots for run in cloud.runs] == [100, 50]
    assert kept.code == 0


def test_results_of_an_experiment_with_another_name_are_not_bought_again(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")
    (desk.folder / "specs" / "exp.yaml").unlink()
    manifest(desk, name="fresh")

    answer = desk.run("apply", "--yes", "-o", "json")

    [job] = answer.json["experiments"][0]["jobs"]
    assert answer.code == 3
    assert job["held"] == 'was run as part of "exp": set `name: exp` to keep its results'
    assert len(cloud.made()) == 1


def test_a_damaged_experiment_stops_before_another_one_is_sent(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, name="aaa")
    manifest(desk, name="bbb")
    desk.run("apply", "--yes", "--only", "bbb.*")
    lock = desk.folder / "results" / "bbb" / "qrun.lock"
    lock.write_bytes(lock.read_bytes() + b"garbage\n")

    answer = desk.run("apply", "--yes")

    assert answer.code == 5
    assert len(cloud.made()) == 1


# --- saved plans ------------------------------------------------------------------------------------------------------


def test_a_saved_plan_is_applied_once(desk: Desk, cloud: Cloud) -> None:
    manifest(desk, "a", "b")
    saved = desk.run("plan", "--only", "a", "--out", "plan.json")

    first = desk.run("apply", "plan.json", "--yes")
    second = desk.run("apply", "plan.json", "--yes")

    assert saved.err == 'saved; "qrun apply plan.json" does this, as long as nothing has changed\n'
    assert first.code == 0
    assert (second.code, second.err) == (
        5,
        'plan.json: this plan is stale: the step of "exp.a" was "submit" and is "none" now; plan again\n',
    )
    assert len(cloud.made()) == 1


@pytest.mark.parametrize(
    ("file", "text", "difference"),
    [
        ("specs/exp.yaml", None, 'the manifest "specs/exp.yaml" has changed'),
        ("specs/programs/bell.qasm", "// changed\n", 'the program "specs/programs/bell.qasm" has changed'),
        ("qrun.toml", f'project = "{PROJECT}"\nsuperseded = "keep"\n', 'the file "qrun.toml" has changed'),
    ],
)
def test_a_saved_plan_is_stale_once_anything_changed(
    desk: Desk, cloud: Cloud, file: str, text: str | None, difference: str
) -> None:
    manifest(desk)
    desk.run("plan", "--out", "plan.json")
    desk.write(file, text if text is not None else desk.read(file) + "\n")

    answer = desk.run("apply", "plan.json", "--yes")

    assert (answer.code, answer.err) == (5, f"plan.json: this plan is stale: {difference}; plan again\n")
    assert cloud.made() == []


def test_values_are_part_of_a_saved_plan(desk: Desk, cloud: Cloud) -> None:
    desk.write(
        "specs/exp.yaml",
        json.dumps(
            {
                "vars": {"n": 5},
                "jobs": {
                    "a": {
                        "provider": "memory",
                        "device": "qpu",
                        "program": "programs/bell.qasm",
                        "shots": "{{ vars.n }}",
                    }
                },
            }
        ),
    )
    desk.run("plan", "--var-json", "n=9", "--out", "plan.json")

    refused = desk.run("apply", "plan.json", "--yes", "--var-json", "n=9")
    done = desk.run("apply", "plan.json", "--yes")

    words = '"plan.json" is a saved plan, which holds its own values and choices; save another plan with others'
    assert refused.err == f"{words}\n"
    assert (refused.code, done.code) == (64, 0)
    assert [run.shots for run in cloud.runs] == [9]


def test_a_plan_is_never_written_over_another_file(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    before = desk.read("specs/exp.yaml")

    answer = desk.run("plan", "--out", "specs/exp.yaml")

    assert (answer.code, answer.err) == (
        64,
        '"specs/exp.yaml" exists and is not a saved plan; name another file\n',
    )
    assert desk.read("specs/exp.yaml") == before


@pytest.mark.parametrize("change", ["cut", "path", "version"])
def test_a_plan_that_was_tampered_with_is_refused(desk: Desk, cloud: Cloud, change: str) -> None:
    manifest(desk)
    desk.run("plan", "--out", "plan.json")
    text = desk.read("plan.json")
    whole = json.loads(text)
    whole["manifests"][0]["path"] = "../elsewhere.yaml" if change == "path" else whole["manifests"][0]["path"]
    whole["version"] = 99 if change == "version" else 1
    desk.write("plan.json", text[:-20] if change == "cut" else json.dumps(whole, indent=2))

    answer = desk.run("apply", "plan.json", "--yes")

    assert (answer.code, answer.err) == (
        5,
        {
            "cut": "plan.json: is not JSON, or only a part of it; plan again\n",
            "path": "plan.json: is not a plan as qrun saves it; plan again\n",
            "version": "plan.json: was saved by another version of qrun; plan again\n",
        }[change],
    )
    assert cloud.made() == []
