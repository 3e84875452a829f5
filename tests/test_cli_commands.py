"""Each command through the real entry point: what it prints, what it leaves, and how it refuses wrong input."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qrun import __version__
from qrun.cli import COMMANDS
from qrun.errors import Problem, UsageError
from tests.desk import BROKEN, PROJECT, Desk

# --- the group --------------------------------------------------------------------------------------------------------


def test_help_lists_every_command_with_its_line(desk: Desk) -> None:
    answer = desk.run("--help")

    assert answer.code == 0
    assert all(name in answer.out and words in answer.out for name, words in COMMANDS.items())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(desk: Desk, name: str) -> None:
    answer = desk.run(name, "--help")

    assert answer.code == 0
    assert answer.out.startswith(f"Usage: qrun {name}")


def test_version_is_one_line(desk: Desk) -> None:
    assert desk.run("--version").out == f"qrun {__version__}\n"


def test_no_command_at_all_is_a_usage_error(desk: Desk) -> None:
    answer = desk.run()

    assert answer.code == 64
    assert answer.err.startswith("Usage: qrun ")


def test_a_misspelt_command_is_a_usage_error(desk: Desk) -> None:
    answer = desk.run("aply")

    assert (answer.code, answer.out, answer.err) == (64, "", 'there is no command "aply"; did you mean "apply"?\n')


def test_an_unknown_option_is_a_usage_error_and_a_document(desk: Desk) -> None:
    answer = desk.run("plan", "-o", "json", "--xyzzy")

    assert answer.code == 64
    assert answer.err == 'no such option "--xyzzy"; see "qrun plan --help"\n'
    assert answer.json == {
        "version": 1,
        "experiments": [],
        "errors": [
            {
                "code": "usage",
                "message": 'no such option "--xyzzy"',
                "field": None,
                "file": None,
                "line": None,
                "column": None,
                "hint": 'see "qrun plan --help"',
            }
        ],
        "exit": 64,
    }


def test_an_option_may_come_from_the_environment(desk: Desk) -> None:
    desk.bell()

    answer = desk.run("status", env={"QRUN_STATUS_OUTPUT": "json"})

    assert answer.json["experiments"][0]["summary"] == {"absent": 1}


def test_a_variable_that_names_no_option_of_ours_does_not_matter(desk: Desk) -> None:
    assert desk.run("--version", env={"QRUN_VERSION": "9.9"}).out == f"qrun {__version__}\n"


def test_the_first_twenty_problems_are_told_and_how_many_more_there_are(desk: Desk) -> None:
    jobs = {f"j{n:02}": {"provider": "local", "device": "ddsim", "shots": n} for n in range(25)}
    desk.write("specs/many.yaml", json.dumps({"jobs": jobs}, indent=1))

    answer = desk.run("validate")

    lines = answer.err.splitlines()
    assert answer.code == 65
    assert len(lines) == 21
    assert all(line.startswith("specs/many.yaml:") for line in lines[:20])
    assert lines[20].startswith("... and ")


def test_foreign_text_in_an_error_cannot_steer_the_terminal(desk: Desk) -> None:
    answer = desk.run("validate", "no\x1b[2Jsuch.yaml")

    assert answer.code == 65
    assert answer.err == "no\\x1b[2Jsuch.yaml: does not exist; check the path\n"


# --- validate and render ----------------------------------------------------------------------------------------------


def test_validate_counts_what_is_right(desk: Desk) -> None:
    desk.bell()
    desk.bell("other")

    answer = desk.run("validate")

    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "specs/bell.yaml   bell   1 job\nspecs/other.yaml  other  1 job\nvalid: 2 manifests, 2 jobs\n"
    )


def test_validate_reports_the_problems_of_all_manifests(desk: Desk) -> None:
    desk.bell(shots="many")
    desk.bell("other", shots=0)

    answer = desk.run("validate", "-o", "json")

    assert answer.code == 65
    assert [error["file"] for error in answer.json["errors"]] == ["specs/bell.yaml", "specs/other.yaml"]
    assert len(answer.err.splitlines()) == 2


def test_a_folder_without_manifests_is_named(desk: Desk) -> None:
    answer = desk.run("validate", "specs/programs")

    assert (answer.code, answer.err) == (65, "specs/programs: holds no manifest; one ends in .yaml or .yml\n")


def test_nothing_in_reach_is_a_usage_error(desk: Desk) -> None:
    answer = desk.run("validate")

    assert answer.code == 64
    assert answer.err == 'no manifest is named and none is in reach; name one, or make one with "qrun init"\n'


def test_several_manifests_beside_each_other_are_not_guessed(desk: Desk) -> None:
    desk.write("a.yaml", "x")
    desk.write("b.yml", "x")

    answer = desk.run("validate")

    assert answer.code == 64
    assert answer.err == 'several manifests are in reach: "a.yaml", "b.yml"; name one, or put them into specs/\n'


def test_the_manifests_are_found_from_inside_the_project(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.bell()
    monkeypatch.chdir(desk.folder / "specs" / "programs")

    answer = desk.run("validate")

    assert answer.out == "../bell.yaml  bell  1 job\nvalid: 1 manifest, 1 job\n"


def test_a_manifest_named_twice_is_read_once(desk: Desk) -> None:
    desk.bell()

    answer = desk.run("validate", "specs", "specs/bell.yaml")

    assert answer.out.splitlines()[-1] == "valid: 1 manifest, 1 job"


def test_manifests_of_two_projects_are_refused(desk: Desk) -> None:
    desk.bell()
    desk.write("inner/qrun.toml", "")
    desk.write("inner/a.yaml", "x")

    answer = desk.run("validate", "specs/bell.yaml", "inner/a.yaml")

    assert answer.code == 64
    assert answer.err == (
        '"specs/bell.yaml" and the manifests in "inner" belong to different projects; '
        "run one command for each project\n"
    )


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--var", "shots"], '"shots" is not a variable; write NAME=VALUE'),
        (
            ["--var-json", "shots=many"],
            "the value of \"shots\" is not JSON; write it as JSON, for example --var-json 'shots=[0, 0.5]', "
            "or use --var for text",
        ),
        (
            ["--var-json", "shots=NaN"],
            "the value of \"shots\" is not JSON; write it as JSON, for example --var-json 'shots=[0, 0.5]', "
            "or use --var for text",
        ),
    ],
)
def test_wrong_values_are_usage_errors(desk: Desk, words: list[str], wanted: str) -> None:
    desk.bell()

    answer = desk.run("validate", *words)

    assert (answer.code, answer.err) == (64, wanted + "\n")


def test_a_variables_file_that_is_no_map_is_refused(desk: Desk) -> None:
    desk.bell()
    desk.write("v.yaml", "- 1\n")

    answer = desk.run("validate", "--vars", "v.yaml")

    assert (answer.code, answer.err) == (65, "v.yaml: is not one map of variables; write for example: n: 3\n")


def test_values_reach_the_templates(desk: Desk) -> None:
    desk.bell(vars={"n": 1, "tag": "x"}, shots="{{ vars.n }}", tags=["{{ vars.tag }}"])
    desk.write("v.yaml", "n: 7\n")

    answer = desk.run("render", "-o", "json", "--vars", "v.yaml", "--var", "tag=1e3")

    job = answer.json["experiments"][0]["jobs"][0]
    assert (job["shots"], job["tags"]) == (7, ["1e3"])


def test_rendered_yaml_reads_back_as_the_same_jobs(desk: Desk) -> None:
    from qrun.manifest import yaml

    desk.bell(tags=["1e3", "0x10", "on", "null", "1:30", "two\nlines", "π"], params={})

    answer = desk.run("render")

    [document] = yaml.compose(answer.out.encode(), "rendered.yaml")
    job = document.value["jobs"]["bell"]
    assert job["tags"] == ["1e3", "0x10", "on", "null", "1:30", "two\nlines", "π"]
    assert (job["shots"], job["provider"], job["device"]) == (100, "local", "ddsim")


# --- plan, apply, status ----------------------------------------------------------------------------------------------


def test_plan_shows_each_job_once_and_writes_nothing(desk: Desk) -> None:
    desk.bell()

    answer = desk.run("plan")

    assert answer.code == 0
    assert answer.out == "bell (specs/bell.yaml)\n  + submit  bell  local/ddsim  100 shots  (new)\n\n1 to submit\n"
    assert not (desk.folder / "results").exists()


def test_plan_as_a_document_has_a_step_for_each_job(desk: Desk) -> None:
    desk.bell()

    answer = desk.run("plan", "-o", "json")

    [experiment] = answer.json["experiments"]
    [step] = experiment["steps"]
    digest = step.pop("digest")
    assert len(digest) == 64
    assert step == {
        "job": "bell",
        "action": "submit",
        "reason": "new",
        "provider": "local",
        "device": "ddsim",
        "shots": 100,
        "price": 0,
    }
    assert experiment["summary"] == {"submit": 1}


def test_detailed_exit_code_tells_changes_from_none(desk: Desk) -> None:
    desk.bell()

    before = desk.run("plan", "--detailed-exitcode").code
    desk.run("apply")

    assert (before, desk.run("plan", "--detailed-exitcode").code) == (2, 0)


def test_a_job_that_needs_a_held_one_is_planned_as_held(desk: Desk) -> None:
    one = {"provider": "local", "device": "ddsim", "program": "programs/bad.qasm", "shots": 5}
    desk.write("specs/programs/bad.qasm", BROKEN)
    desk.write("specs/two.yaml", json.dumps({"jobs": {"one": one, "two": {**one, "needs": ["one"]}}}))
    desk.run("apply")

    answer = desk.run("plan", "-o", "json")

    found = {step["job"]: (step["action"], step["reason"]) for step in answer.json["experiments"][0]["steps"]}
    assert found == {"one": ("none", "failed"), "two": ("hold", 'needs "one", which is failed')}


def test_apply_runs_a_job_and_a_second_one_finds_it_done(desk: Desk) -> None:
    desk.bell(options={"seed": 7})

    first = desk.run("apply")
    tree = desk.tree()
    second = desk.run("apply")

    assert (first.code, first.out) == (0, "bell: 1 succeeded; results in results/bell\n")
    assert first.err.splitlines()[-1].startswith("done       bell  ")
    assert (second.code, second.out, second.err) == (0, "nothing to do: 1 job is done\n", "")
    assert desk.tree() == tree


def test_apply_as_a_document_tells_each_job_and_the_exit_code(desk: Desk) -> None:
    desk.bell()

    answer = desk.run("apply", "-o", "json")

    assert list(answer.json) == ["version", "experiments", "errors", "exit"]
    [experiment] = answer.json["experiments"]
    assert experiment["summary"] == {"succeeded": 1}
    [job] = experiment["jobs"]
    assert {"job", "phase", "word", "provider", "device", "handle", "attempt", "digest", "outputs"} <= job.keys()
    assert [output["name"] for output in job["outputs"]] == ["results.json"]
    assert answer.json["exit"] == answer.code == 0


def test_apply_as_a_stream_begins_with_its_version_and_ends_with_the_summary(desk: Desk) -> None:
    desk.bell()

    answer = desk.run("apply", "-o", "jsonl")

    assert answer.lines[0] == {"type": "version", "version": 1}
    assert answer.lines[-1] == {"type": "summary", "exit": 0, "phases": {"succeeded": 1}}
    assert [line["type"] for line in answer.lines].count("fetched") == 1


def test_a_stream_that_cannot_begin_still_has_its_first_and_last_line(desk: Desk) -> None:
    answer = desk.run("apply", "none.yaml", "-o", "jsonl")

    assert answer.code == 65
    assert answer.lines == [
        {"type": "version", "version": 1},
        {
            "type": "failed",
            "experiment": "",
            "message": "none.yaml: does not exist; check the path",
            "code": "manifest",
        },
        {"type": "summary", "exit": 65, "phases": {}},
    ]


def test_a_failed_job_ends_with_three_and_says_what_to_do(desk: Desk) -> None:
    desk.write("specs/programs/bad.qasm", BROKEN)
    desk.bell(program="programs/bad.qasm")
    told = 'failed     bell  specs/programs/bad.qasm:4:1: unknown gate "fo" (device ddsim)'
    hint = '"qrun retry --failed" runs failed jobs once more'

    first, second = desk.run("apply"), desk.run("apply")

    assert (first.code, first.out) == (3, "bell: 1 failed; results in results/bell\n")
    assert first.err.splitlines()[-2:] == [told, hint]
    assert (second.code, second.out) == (3, "nothing to do: 1 failed\n")
    assert second.err.splitlines() == [told, hint]
    assert desk.run("status").out.splitlines()[1].endswith('4:1: unknown gate "fo" (device ddsim)')


def test_one_invalid_manifest_and_nothing_is_run(desk: Desk) -> None:
    desk.bell()
    desk.bell("other", shots=-1)

    answer = desk.run("apply")

    assert answer.code == 65
    assert not (desk.folder / "results").exists()


def test_only_some_jobs_are_run(desk: Desk) -> None:
    desk.bell()
    desk.bell("other")

    answer = desk.run("apply", "--only", "o*")

    assert (answer.code, answer.out) == (0, "other: 1 succeeded; results in results/other\n")
    assert not (desk.folder / "results" / "bell").exists()


def test_a_glob_that_means_no_job_is_a_usage_error(desk: Desk) -> None:
    desk.bell()

    answer = desk.run("apply", "--only", "bel")

    assert (answer.code, answer.err) == (64, 'no job is called "bel"; did you mean "bell"?\n')


def test_locked_refuses_to_submit(desk: Desk) -> None:
    desk.bell()

    answer = desk.run("apply", "--locked")

    assert (answer.code, answer.err) == (
        3,
        '1 job would have to be submitted, which --locked forbids: "bell"\n',
    )
    desk.run("apply")
    assert desk.run("apply", "--locked").code == 0


@pytest.mark.parametrize("text", ["soon", "1.h", "-3", "10 m", ""])
def test_a_wrong_duration_is_a_usage_error(desk: Desk, text: str) -> None:
    desk.bell()

    answer = desk.run("apply", "--timeout", text)

    assert answer.code == 64
    assert answer.err == (
        f'invalid value for "--timeout": "{text}" is not a duration; write for example 90s, 10m or 1h30m; '
        'see "qrun apply --help"\n'
    )


def test_results_that_are_in_use_say_by_whom(desk: Desk) -> None:
    from qrun.store import Store

    desk.bell()
    with Store.open(str(desk.folder), "bell", project=None, manifest="specs/bell.yaml", command="qrun apply"):
        answer = desk.run("apply")

    assert answer.code == 5
    assert answer.err.startswith(f"results/bell is in use by pid {os.getpid()} on ")
    assert answer.err.endswith("(qrun apply); wait until it has ended\n")


def test_a_program_that_changed_is_shown_by_plan_and_why(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")
    desk.bell(shots=200)

    plan, why = desk.run("plan"), desk.run("why", "bell")

    assert plan.out.splitlines()[1] == "  + submit  bell  local/ddsim  200 shots  (changed)"
    digest = next((desk.folder / "results" / "bell" / "bell").iterdir()).name
    assert why.out == f"bell: {digest}, which is succeeded, had shots 100, now it is 200\n"


def test_an_experiment_that_moved_takes_its_results_along(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")
    os.rename(desk.folder / "specs" / "bell.yaml", desk.folder / "specs" / "renamed.yaml")

    assert desk.run("apply").out == "nothing to do: 1 job is done\n"


def test_two_files_may_not_claim_the_same_results(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")
    desk.write("copy/bell.yaml", desk.read("specs/bell.yaml").replace("programs/", "../specs/programs/"))

    answer = desk.run("apply", "copy/bell.yaml")

    assert answer.code == 65
    assert answer.err == (
        'copy/bell.yaml:1:1: the experiment "bell" is also in "specs/bell.yaml", to which its results belong; '
        "give one of them another name\n"
    )


def test_status_lists_phases_and_exits_as_asked(desk: Desk) -> None:
    desk.bell()
    desk.bell("other")
    desk.run("apply", "--only", "bell")

    answer = desk.run("status")

    assert answer.code == 0
    assert answer.out == (
        "JOB    PHASE      WHERE        SHOTS  ATTEMPT\n"
        "bell   succeeded  local/ddsim  100    1\n"
        "other  absent     local/ddsim  100\n"
        "1 absent, 1 succeeded\n"
    )
    assert desk.run("status", "--exit-code").code == 4
    assert desk.run("status", "--exit-code", "--only", "bell").code == 0


def test_sync_submits_nothing(desk: Desk) -> None:
    desk.bell()

    answer = desk.run("sync")

    assert (answer.code, answer.out) == (0, "nothing to do: 1 absent\n")


# --- show, why, retry, cancel -----------------------------------------------------------------------------------------


def test_show_draws_the_counts(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")

    answer = desk.run("show", "bell")

    assert answer.out.splitlines()[0] == "bell"
    assert "  100 shots, bits from left to right: c[1] c[0]" in answer.out.splitlines()
    assert sum("█" in line for line in answer.out.splitlines()) == 2


def test_show_as_a_document_is_the_record_with_its_results(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")

    record = desk.run("show", "bell", "-o", "json").json

    assert (record["type"], record["key"], record["phase"]) == ("record", "bell", "succeeded")
    assert sum(record["results"]["counts"].values()) == record["results"]["shots"] == 100
    assert record["job"]["program"][0]["path"] == "specs/programs/bell.qasm"


def test_show_needs_no_manifest(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")
    (desk.folder / "specs" / "bell.yaml").unlink()

    assert desk.run("show", "bell").code == 0


def test_show_goes_on_beside_a_manifest_that_is_wrong(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")
    desk.bell(shots=0)

    answer = desk.run("show", "bell")

    assert answer.code == 0
    assert answer.err.endswith("; what is recorded is shown nevertheless\n")


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("bel", 'no job is called "bel"; did you mean "bell"?'),
        ("b*", '"b*" means 2 jobs: "bell", "best"; name one'),
        ("best", '"best" was not run yet; qrun apply runs it'),
    ],
)
def test_show_wants_one_job_that_was_run(desk: Desk, word: str, wanted: str) -> None:
    desk.bell()
    desk.bell("best")
    desk.run("apply", "--only", "bell")

    answer = desk.run("show", word)

    assert (answer.code, answer.err) == (64, wanted + "\n")


def test_why_says_so_where_nothing_differs_or_nothing_was_run(desk: Desk) -> None:
    desk.bell()
    desk.bell("best")
    desk.run("apply", "--only", "bell")
    digest = next((desk.folder / "results" / "bell" / "bell").iterdir()).name

    assert desk.run("why", "bell").out == f"bell: nothing differs, it is recorded as succeeded ({digest})\n"
    assert desk.run("why", "best").out == "best: it was not run yet\n"
    assert desk.run("why", "b?st", "-o", "json").json["jobs"][0]["others"] == []


def test_why_names_every_field_that_differs(desk: Desk) -> None:
    desk.bell(options={"seed": 1})
    desk.run("apply")
    desk.write("specs/programs/bell.qasm", desk.read("specs/programs/bell.qasm") + "// other\n")
    desk.bell(shots=7, options={"seed": 2})

    [answer] = desk.run("why", "bell", "-o", "json").json["jobs"]

    [other] = answer["others"]
    assert [difference["field"] for difference in other["differences"]] == ["program", "shots", "options.seed"]
    assert [(d["was"], d["now"]) for d in other["differences"]][1:] == [(100, 7), (1, 2)]


def test_retry_runs_a_failed_job_once_more(desk: Desk) -> None:
    desk.write("specs/programs/bad.qasm", BROKEN)
    desk.bell(program="programs/bad.qasm")
    desk.run("apply")

    answer = desk.run("retry", "--failed", "-o", "json")

    [job] = answer.json["experiments"][0]["jobs"]
    assert (answer.code, job["attempt"], job["phase"]) == (3, 2, "failed")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["bell"], '"bell" succeeded; to run it again use matrix: {repeat: [1, 2]}'),
        (["best"], '"best" was not run yet; qrun apply runs it'),
        (["nobody"], 'no job is called "nobody"; "qrun status" lists the jobs'),
        ([], "no job is named; name some, or use --failed"),
        (["bell", "--failed"], "jobs are named beside --failed; use one of both"),
    ],
)
def test_retry_refuses_what_did_not_fail(desk: Desk, words: list[str], wanted: str) -> None:
    desk.bell()
    desk.bell("best")
    desk.run("apply", "--only", "bell")

    answer = desk.run("retry", *words)

    assert (answer.code, answer.err) == (64, wanted + "\n")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["bell"], '"bell" is a local job, which runs only inside an apply; press Ctrl-C there'),
        (["bel"], 'no job is called "bel"; did you mean "bell"?'),
        ([], 'missing argument "JOB..."; see "qrun cancel --help"'),
    ],
)
def test_cancel_refuses_what_no_provider_has(desk: Desk, words: list[str], wanted: str) -> None:
    desk.bell()

    answer = desk.run("cancel", *words)

    assert (answer.code, answer.err) == (64, wanted + "\n")


# --- verify, gc, lock, schema, doctor, init ---------------------------------------------------------------------------


def test_verify_finds_and_repairs_damage(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")
    whole = desk.run("verify")
    lock = desk.folder / "results" / "bell" / "qrun.lock"
    lock.write_bytes(lock.read_bytes() + b"garbage\n")

    damaged, refused, repaired, after = (
        desk.run("verify"),
        desk.run("apply"),
        desk.run("verify", "--repair"),
        desk.run("verify"),
    )

    assert (whole.code, whole.out.endswith(": all intact\n")) == (0, True)
    assert (damaged.code, refused.code) == (5, 5)
    assert damaged.err.startswith("results/bell/qrun.lock:3: ")
    assert (repaired.code, after.code) == (0, 0)
    assert desk.run("apply").out == "nothing to do: 1 job is done\n"


def test_verify_of_unknown_results_is_a_usage_error(desk: Desk) -> None:
    answer = desk.run("verify", "nope")

    assert (answer.code, answer.err) == (64, 'no results are called "nope"; nothing was run here yet\n')


def test_gc_lists_and_removes_what_a_changed_job_left(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")
    desk.bell(shots=5)
    desk.run("apply")

    listed, removed, after = desk.run("gc"), desk.run("gc", "--yes"), desk.run("gc")

    assert listed.out.splitlines()[-1].startswith("could be removed: 1 item, ")
    assert removed.out.splitlines()[-1].startswith("removed: 1 item, ")
    assert after.out == "nothing to remove\n"
    assert len(list((desk.folder / "results" / "bell" / "bell").iterdir())) == 1
    assert desk.run("verify").code == 0


def test_lock_merge_joins_two_sides(desk: Desk) -> None:
    desk.bell()
    desk.run("apply")
    lock = desk.folder / "results" / "bell" / "qrun.lock"
    base = desk.write("base", "")
    ours = desk.folder / "ours"
    ours.write_bytes(lock.read_bytes())

    answer = desk.run("lock", "merge", str(base), str(ours), str(lock))

    assert answer.code == 0
    assert ours.read_bytes() == lock.read_bytes()


@pytest.mark.parametrize("name", ["manifest", "lock", "record", "event", "project"])
def test_schema_prints_a_schema(desk: Desk, name: str) -> None:
    assert json.loads(desk.run("schema", name).out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_schema_of_something_else_is_a_usage_error(desk: Desk) -> None:
    answer = desk.run("schema", "lok")

    assert answer.code == 64
    assert answer.err == (
        'invalid value for "[SCHEMA]": "lok" is not one of "manifest", "lock", "record", "event", "project"; '
        'see "qrun schema --help"\n'
    )


def test_doctor_is_content_with_a_fresh_project(desk: Desk) -> None:
    answer = desk.run("doctor")

    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "all is well"
    assert f"project {PROJECT}" in answer.out


def test_doctor_names_what_is_to_be_done(desk: Desk) -> None:
    desk.write("qrun.toml", "")
    own = desk.write(
        ".config/qrun/config.toml",
        '[connections.lab]\ntype = "oqtopus"\nurl = "https://lab.example.org"\napi_token = "not-for-others"\n',
    )
    own.chmod(0o644)

    checks = {check["check"]: check for check in desk.run("doctor", "-o", "json").json["checks"]}

    assert checks["qrun.toml"]["cure"] == '"qrun init" writes one'
    assert checks["user settings"]["cure"] == 'run "chmod 600 ~/.config/qrun/config.toml"'
    assert desk.run("doctor").code == 78


def test_doctor_reports_settings_that_do_not_read(desk: Desk) -> None:
    desk.write("qrun.toml", "project = 5\n")

    answer = desk.run("doctor")

    assert answer.code == 78
    assert answer.out.splitlines()[-1] == "1 thing to do"


def test_wrong_settings_stop_a_command(desk: Desk) -> None:
    desk.bell()
    desk.write("qrun.toml", "projekt = 'x'\n")

    answer = desk.run("plan", "-o", "json")

    assert answer.code == answer.json["exit"] == 78
    assert answer.json["errors"][0]["file"] == "qrun.toml"


def test_init_makes_a_folder_that_runs_at_once(tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = tmp_path / "fresh"
    assert desk.run("init", str(fresh)).code == 0
    monkeypatch.chdir(fresh)

    assert desk.run("apply").out == "bell: 1 succeeded; results in results/bell\n"


def test_a_clone_without_the_merge_driver_is_told_so(desk: Desk) -> None:
    desk.bell()
    subprocess.run(["git", "init", "-q"], check=True)
    desk.write(".gitattributes", "results/**/qrun.lock merge=qrun\n")
    hint = 'this clone has no merge driver for "qrun.lock"; "qrun init" sets it up'

    first = desk.run("apply")
    subprocess.run(["git", "config", "merge.qrun.driver", "qrun lock merge %O %A %B"], check=True)

    assert first.err.splitlines()[0] == hint
    assert desk.run("apply").err == ""


def test_a_record_says_from_which_commit_it_was_run(desk: Desk) -> None:
    desk.bell()
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()

    desk.run("apply")
    desk.bell("other")
    desk.run("apply")

    origins: list[dict[str, Any]] = [desk.run("show", name, "-o", "json").json["origin"] for name in ("bell", "other")]
    assert origins == [
        {"manifest": "specs/bell.yaml", "commit": commit, "dirty": False, "qrun": __version__},
        {"manifest": "specs/other.yaml", "commit": commit, "dirty": True, "qrun": __version__},
    ]


# --- bugs -------------------------------------------------------------------------------------------------------------


def test_a_bug_is_one_sentence_and_never_shows_values() -> None:
    from qrun.cli import State
    from qrun.cli.ending import failed

    state = State()
    error = ValueError("secret-value-123")

    assert failed(error, state, []) == 1


def test_an_error_of_ours_inside_a_group_is_told_as_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from qrun.cli import State
    from qrun.cli.ending import failed

    group = ExceptionGroup("tasks", [UsageError(Problem(message="no job is named", hint="name one"))])

    assert failed(group, State(), []) == 64
    assert capsys.readouterr().err == "no job is named; name one\n"


def test_debug_shows_where_but_no_words_of_a_foreign_exception(capsys: pytest.CaptureFixture[str]) -> None:
    from qrun.cli import State
    from qrun.cli.ending import failed

    state = State()
    state.debug = True
    try:
        raise ValueError("secret-value-123")
    except ValueError as error:
        code = failed(error, state, [])

    told = capsys.readouterr().err
    assert code == 1
    assert told.startswith("this is a bug of qrun (ValueError); nothing that was recorded is lost\n")
    assert 'test_cli_commands.py", line' in told
    assert "secret-value-123" not in told
