"""`qrun import`: a job that was submitted elsewhere, as a manifest's job and as one that no manifest names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256

import pytest

from qrun.clock import stamp
from qrun.provider import Recovery
from tests.cloud import Cloud, Run
from tests.desk import BELL, Answer, Desk, sky

SEEN = 1_782_900_000.0  # when the jobs of others were made


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sky() as cloud:
        yield cloud


def elsewhere(cloud: Cloud, id: str = "x1", **fields: object) -> Run:  # noqa: A002
    """A job that somebody submitted without qrun."""
    whole = {"marker": None, "mark": None, "key": "notebook", "payload": "p", "device": "qpu", "shots": 100}
    programs = (("program.qasm", BELL.encode()),)
    run = Run(**{"id": id, "created": SEEN, "programs": programs, **whole, **fields})  # type: ignore[arg-type]
    cloud.runs.append(run)
    return run


def manifest(desk: Desk, *keys: str, name: str = "exp", **fields: object) -> None:
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "shots": 100, **fields}
    desk.write(f"specs/{name}.yaml", json.dumps({"name": name, "jobs": dict.fromkeys(keys or ("one",), job)}))


def refused(answer: Answer, wanted: str) -> None:
    assert (answer.code, answer.out, answer.err) == (64, "", wanted + "\n")


def sent(cloud: Cloud) -> int:
    return sum(request in ("submit", "prepare") for request in cloud.requests)


# --- as a job of a manifest -------------------------------------------------------------------------------------------


def test_a_job_that_equals_the_manifests_takes_its_place_and_is_fetched(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)
    manifest(desk)

    answer = desk.run("import", "memory", "x1", "--as", "exp.one")

    assert (answer.code, answer.out, answer.err) == (0, 'exp.one: "x1" taken in, succeeded\n', "")
    assert desk.run("apply").out == "nothing to do: 1 job is done\n"
    assert sent(cloud) == 0
    record = desk.run("show", "one", "-o", "json").json
    [attempt] = record["attempts"]
    assert (attempt["handle"], attempt["found"], attempt["sent"]) == ("x1", "user", stamp(SEEN))
    assert record["results"]["counts"] == {"0": 100}
    assert record["origin"]["manifest"] == "specs/exp.yaml"
    assert desk.run("verify").code == 0
    [program] = (desk.folder / "results" / "exp" / "programs").iterdir()
    assert program.read_text() == BELL


def test_every_field_that_differs_is_named_and_nothing_is_written(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, device="toy", shots=7, programs=(("program.qasm", b"other"),), fields={"params": {"a": 1}})
    manifest(desk)

    answer = desk.run("import", "memory", "x1", "--as", "one")

    assert (answer.code, answer.out) == (64, "")
    ours, theirs = sha256(BELL.encode()).hexdigest()[:12], sha256(b"other").hexdigest()[:12]
    assert answer.err.splitlines() == [
        'specs/exp.yaml:1: "exp.one" has device "qpu", and "x1" has device "toy"',
        f'specs/exp.yaml:1: "exp.one" has program {ours}, and "x1" has program {theirs}',
        'specs/exp.yaml:1: "exp.one" has shots 100, and "x1" has shots 7',
        'specs/exp.yaml:1: "exp.one" has no params.a, and "x1" has params.a 1',
    ]
    assert desk.tree() == {}


def test_params_and_options_are_compared_as_values(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, fields={"params": {"a": 1.0}, "options": {"level": 2}})
    manifest(desk, params={"a": 1}, options={"level": 2})

    answer = desk.run("import", "memory", "x1", "--as", "one")

    assert (answer.code, answer.out) == (0, 'exp.one: "x1" taken in, succeeded\n')


def test_what_the_provider_cannot_give_back_is_not_compared_and_that_is_said(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, programs=(), fields={"shots": None})
    manifest(desk)

    answer = desk.run("import", "memory", "x1", "--as", "one")

    assert (answer.code, answer.out) == (0, 'exp.one: "x1" taken in, succeeded\n')
    assert answer.err == "not compared, since memory does not give it back: program, shots\n"


def test_a_job_that_still_runs_is_live_and_comes_home_with_a_sync(desk: Desk, cloud: Cloud) -> None:
    cloud.words = lambda run: "RUNNING"
    elsewhere(cloud)
    manifest(desk)

    answer = desk.run("import", "memory", "x1", "--as", "one", "-o", "json")
    cloud.words = lambda run: None
    later = desk.run("sync")

    [experiment] = answer.json["experiments"]
    [job] = experiment["jobs"]
    assert (answer.code, experiment["manifest"]) == (0, "specs/exp.yaml")
    assert (job["job"], job["phase"], job["handle"]) == ("one", "live", "x1")
    assert (later.code, later.out) == (0, "exp: 1 succeeded; results in results/exp\n")
    assert sent(cloud) == 0


def test_a_second_import_of_a_job_changes_no_byte(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)
    manifest(desk)
    desk.run("import", "memory", "x1", "--as", "one")
    before, asked = desk.tree(), len(cloud.requests)

    answer = desk.run("import", "memory", "x1", "--as", "exp.one")

    assert (answer.code, answer.out) == (0, 'exp.one: "x1" is here already, succeeded\n')
    assert desk.tree() == before
    assert len(cloud.requests) == asked


def test_a_second_import_of_a_job_that_runs_looks_at_it_again(desk: Desk, cloud: Cloud) -> None:
    cloud.words = lambda run: "RUNNING"
    elsewhere(cloud)
    desk.run("import", "memory", "x1")
    cloud.words = lambda run: None

    answer = desk.run("import", "memory", "x1")

    assert (answer.code, answer.out) == (0, 'import-memory.x1: "x1" is here already, succeeded\n')
    assert desk.run("show", "x1", "-o", "json").json["results"]["counts"] == {"0": 100}


def test_a_job_that_has_one_already_takes_no_other(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)
    manifest(desk)
    desk.run("apply", "--yes")
    before = desk.tree()

    answer = desk.run("import", "memory", "x1", "--as", "one")

    refused(answer, '"exp.one" is succeeded as "j2"; one job is enough for it')
    assert desk.tree() == before


def test_after_a_failure_an_imported_job_is_the_next_attempt(desk: Desk, cloud: Cloud) -> None:
    cloud.outcome = lambda run: "ERROR" if run.id == "j1" else "DONE"
    manifest(desk)
    desk.run("apply", "--yes")
    elsewhere(cloud)

    answer = desk.run("import", "memory", "x1", "--as", "one", "-o", "json")

    [job] = answer.json["experiments"][0]["jobs"]
    assert (answer.code, job["phase"], job["attempt"], job["handle"]) == (0, "succeeded", 2, "x1")


def test_a_job_whose_outcome_is_unknown_is_for_resolve(desk: Desk) -> None:
    with sky(recovery=Recovery.NOTHING) as cloud:
        manifest(desk)
        cloud.faults["submit"] = ["answer lost"]
        desk.run("apply", "--yes", "--not-sent-elsewhere")

        answer = desk.run("import", "memory", "j1", "--as", "one")

        refused(
            answer,
            '"exp.one" was sent and its outcome is not known; this may be it; qrun resolve exp.one --adopt j1',
        )


def test_an_imported_job_that_failed_ends_with_the_code_of_a_sync(desk: Desk, cloud: Cloud) -> None:
    cloud.outcome = lambda run: "ERROR"
    elsewhere(cloud)
    manifest(desk)

    answer = desk.run("import", "memory", "x1", "--as", "one")

    assert (answer.code, answer.out) == (3, 'exp.one: "x1" taken in, failed\n')


def test_a_job_that_this_project_sent_from_another_machine_keeps_its_marker(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, marker="qr1" + "a" * 26)
    manifest(desk)

    desk.run("import", "memory", "x1", "--as", "one")

    assert desk.run("show", "one", "-o", "json").json["attempts"][0]["marker"] == "qr1" + "a" * 26


# --- as a job that no manifest names ----------------------------------------------------------------------------------


def test_without_a_name_a_job_is_kept_by_itself_with_its_programs_and_never_sent(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)

    answer = desk.run("import", "memory", "x1")

    assert (answer.code, answer.out, answer.err) == (0, 'import-memory.x1: "x1" taken in, succeeded\n', "")
    manifest(desk)
    applied = desk.run("apply", "--yes", "--only", "exp.one")
    assert applied.code == 3  # its very digest is here already, so it is held rather than bought
    assert sent(cloud) == 0
    record = desk.run("show", "import-memory.x1", "-o", "json").json
    assert (record["experiment"], record["job"]["shots"], record["phase"]) == ("import-memory", 100, "succeeded")
    assert desk.run("show", "x1").out.startswith("import-memory.x1\n  phase    succeeded (DONE)\n")
    [program] = (desk.folder / "results" / "import-memory" / "programs").iterdir()
    assert program.read_text() == BELL
    assert desk.run("verify").code == 0


def test_a_name_that_no_manifest_has_names_what_is_imported(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)
    manifest(desk)

    answer = desk.run("import", "memory", "x1", "--as", "calibration.may", "-o", "json")

    [experiment] = answer.json["experiments"]
    assert (answer.code, experiment["experiment"], experiment["manifest"]) == (0, "import-memory", None)
    [job] = experiment["jobs"]
    assert (job["job"], job["phase"], job["provider"], job["device"]) == (
        "calibration.may",
        "succeeded",
        "memory",
        "qpu",
    )


def test_status_shows_imported_jobs_beside_those_of_the_manifests(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)
    manifest(desk)
    desk.run("apply", "--yes")
    desk.run("import", "memory", "x1")

    every, one = desk.run("status"), desk.run("status", "--only", "import-memory.x1", "-o", "json")
    named, coded = desk.run("status", "specs"), desk.run("status", "--exit-code")

    assert [line.split() for line in every.out.splitlines()[1:3]] == [
        ["exp.one", "succeeded", "memory/qpu", "100", "1", "j2"],
        ["import-memory.x1", "succeeded", "memory/qpu", "100", "1", "x1"],
    ]
    assert every.out.splitlines()[3] == "2 succeeded"
    assert [job["handle"] for experiment in one.json["experiments"] for job in experiment["jobs"]] == ["x1"]
    assert "import-memory" not in named.out
    assert coded.code == 0


def test_status_shows_imported_jobs_where_there_is_no_manifest(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)
    desk.run("import", "memory", "x1")

    answer = desk.run("status")

    assert answer.code == 0
    assert answer.out.splitlines()[1].split() == ["import-memory.x1", "succeeded", "memory/qpu", "100", "1", "x1"]
    assert answer.err.startswith("no manifest is named and none is in reach")


def test_a_failed_import_does_not_change_the_exit_code_of_status(desk: Desk, cloud: Cloud) -> None:
    cloud.outcome = lambda run: "ERROR" if run.id == "x1" else "DONE"
    elsewhere(cloud)
    manifest(desk, shots=50)
    desk.run("apply", "--yes")

    imported = desk.run("import", "memory", "x1")

    assert imported.code == 3
    assert desk.run("status", "--exit-code").code == 0


def test_an_id_that_is_no_name_gets_one(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, "b1/0")
    elsewhere(cloud, "b1#0")

    one, two = desk.run("import", "memory", "b1/0"), desk.run("import", "memory", "b1#0")

    names = [answer.out.partition(":")[0] for answer in (one, two)]
    assert [name.rpartition("-")[0] for name in names] == ["import-memory.b1-0"] * 2
    assert names[0] != names[1]


def test_a_name_that_is_taken_is_refused(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)
    elsewhere(cloud, "x2", shots=7)
    desk.run("import", "memory", "x1", "--as", "may")
    before = desk.tree()

    answer = desk.run("import", "memory", "x2", "--as", "import-memory.may")

    refused(answer, '"import-memory.may" is "x1" already; choose another name with --as')
    assert desk.tree() == before


def test_an_imported_job_is_cancelled_by_its_id_alone_and_cancel_says_so(desk: Desk, cloud: Cloud) -> None:
    cloud.words = lambda run: "RUNNING"
    elsewhere(cloud)
    manifest(desk)
    desk.run("import", "memory", "x1")

    answer = desk.run("cancel", "import-memory.x1")

    hint = "qrun cancel --remote memory ID, with its handle as the ID"
    refused(answer, f'"import-memory.x1" was imported, and no manifest names it; {hint}')


def test_a_job_is_imported_only_once(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)
    desk.run("import", "memory", "x1", "--as", "may")
    manifest(desk)
    before = desk.tree()

    same, other, wanted = (
        desk.run("import", "memory", "x1"),
        desk.run("import", "memory", "x1", "--as", "june"),
        desk.run("import", "memory", "x1", "--as", "exp.one"),
    )

    assert (same.code, same.out) == (0, 'import-memory.may: "x1" is here already, succeeded\n')
    for answer in (other, wanted):
        refused(answer, '"x1" is known already, as "import-memory.may"; a job of a provider is one job here')
    assert desk.tree() == before


def test_a_job_that_apply_sent_is_known(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")

    answer = desk.run("import", "memory", "j1")

    refused(answer, '"j1" is known already, as "exp.one"; a job of a provider is one job here')


# --- what cannot be meant ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["memry", "x1"], 'no connection is called "memry"; did you mean "memory"?'),
        (["local", "x1"], '"local" is this machine, which keeps no jobs of an account; name a cloud'),
        (
            ["memory", "../x1"],
            '"../x1" is not the id of a job; an id has letters, digits, ".", "_" and "-", '
            'and one "/" or "#" where a container comes first',
        ),
        (["memory", "x1", "--as", "exp.two"], 'no job is called "exp.two"; did you mean "exp.one"?'),
        (["memory", "x1", "--as", "repeat"], '"repeat" means 2 jobs: "exp.repeat:n=1", "exp.repeat:n=2"; name one'),
        (["memory", "x1", "--as", "onne"], 'no job is called "onne"; did you mean "one"?'),
        (
            ["memory", "x1", "--as", "a b"],
            '"a b" is not a name for a job; use letters, digits, ".", "_" and "-", at most 64, '
            "the first one a letter or digit",
        ),
        (["memory"], 'missing argument "ID"; see "qrun import --help"'),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anybody_is_asked(
    desk: Desk, cloud: Cloud, words: list[str], wanted: str
) -> None:
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "shots": 100}
    repeated = {**job, "matrix": {"n": [1, 2]}}
    desk.write("specs/exp.yaml", json.dumps({"name": "exp", "jobs": {"one": job, "repeat": repeated}}))

    answer = desk.run("import", *words)

    refused(answer, wanted)
    assert cloud.requests == []
    assert desk.tree() == {}


def test_an_id_that_the_provider_does_not_know_leaves_nothing_behind(desk: Desk, cloud: Cloud) -> None:
    answer = desk.run("import", "memory", "x9", "-o", "json")

    assert answer.code == answer.json["exit"] == 1
    assert (answer.json["errors"][0]["code"], answer.err) == ("missing", 'no job "x9"\n')
    assert not (desk.folder / "results").exists()


def test_a_job_that_was_never_started_is_not_taken_in(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, started=False)

    answer = desk.run("import", "memory", "x1")

    refused(answer, '"x1" is registered and was never started: there is nothing to take in')


@pytest.mark.parametrize(
    "fields",
    [{"shots": 2**60}, {"observable": 5}, {"options": ["a"]}, {"device": None}, {"params": {"a": float("nan")}}],
)
def test_a_job_of_unknown_shape_is_an_error_and_nothing_is_written(
    desk: Desk, cloud: Cloud, fields: dict[str, object]
) -> None:
    elsewhere(cloud, fields=fields)

    answer = desk.run("import", "memory", "x1", "-o", "json")

    assert (answer.code, answer.json["errors"][0]["code"]) == (1, "unexpected")
    assert answer.err == '"x1" comes back in a shape that this qrun does not know; update qrun\n'
    assert desk.tree() == {}


def test_a_manifest_that_is_wrong_stops_an_import_under_a_name(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud)
    desk.write("specs/exp.yaml", "name: exp\njobs: 5\n")

    named, plain = desk.run("import", "memory", "x1", "--as", "exp.one"), desk.run("import", "memory", "x1")

    assert named.code == 65
    assert plain.code == 0


def test_what_a_provider_calls_things_cannot_steer_the_terminal(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, device="q\x1b[2Jpu", fields={"params": {"\x1b]0;x\x07": "\x9b1m"}})
    manifest(desk)

    answer = desk.run("import", "memory", "x1", "--as", "one")

    assert answer.code == 64
    assert not any(sign in answer.err for sign in "\x1b\x07\x9b")
