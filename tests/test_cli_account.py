"""What a connection has: its devices, the jobs of its account, and the logs of jobs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from qrun.cli.devices import ask_all
from qrun.cli.remote import through
from qrun.clock import stamp
from qrun.connection import Connection
from qrun.errors import SettingsError
from qrun.job import Job, Target
from qrun.provider import Device
from qrun.record import Record
from qrun.settings import Settings, Ways
from tests.cloud import Cloud, Run
from tests.desk import Answer, Desk, sky

SEEN = 1_782_900_000.0  # 2026-07-01T10:00:00Z, when the first job of somebody else was made


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with sky() as cloud:
        yield cloud


def manifest(desk: Desk, *keys: str, name: str = "exp", **fields: object) -> None:
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "shots": 100, **fields}
    desk.write(f"specs/{name}.yaml", json.dumps({"name": name, "jobs": dict.fromkeys(keys or ("one",), job)}))


def elsewhere(cloud: Cloud, *ids: str, **fields: object) -> None:
    """Jobs of the account that qrun did not send, an hour apart."""
    for id in ids:  # noqa: A001
        whole = {"marker": None, "mark": None, "key": f"name of {id}", "payload": "p", "device": "qpu", "shots": 100}
        run = {**whole, "created": SEEN + 3600.0 * len(cloud.runs), **fields}
        cloud.runs.append(Run(id=id, **run))  # type: ignore[arg-type]


def refused(answer: Answer, wanted: str) -> None:
    assert (answer.code, answer.out, answer.err) == (64, "", wanted + "\n")


# --- devices ----------------------------------------------------------------------------------------------------------

QPU = Device(
    device="qpu",
    status="available",
    qubits=8,
    pending=3,
    calibrated_at="2026-07-01T10:00:00Z",
    facts={"device_type": "QPU", "basis_gates": ["sx", "rz", "cx"], "status": "a second one", "description": ""},
)


def test_the_devices_of_a_connection_are_a_table(desk: Desk, cloud: Cloud) -> None:
    cloud.devices = [QPU, Device(device="sim", status="unavailable")]

    answer = desk.run("devices", "memory")

    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == [
        "DEVICE  STATUS       QUBITS  PENDING  CALIBRATED",
        "qpu     available    8       3        2026-07-01T10:00:00Z",
        "sim     unavailable",
    ]


def test_the_devices_of_a_connection_are_one_document(desk: Desk, cloud: Cloud) -> None:
    cloud.devices = [QPU]

    answer = desk.run("devices", "memory", "-o", "json")

    assert answer.json == {
        "version": 1,
        "connection": "memory",
        "devices": [
            {
                "device": "qpu",
                "status": "available",
                "qubits": 8,
                "pending": 3,
                "calibrated_at": "2026-07-01T10:00:00Z",
                "device_type": "QPU",
                "basis_gates": ["sx", "rz", "cx"],
                "description": "",
            }
        ],
        "errors": [],
    }


def test_of_one_device_all_facts_are_told(desk: Desk, cloud: Cloud) -> None:
    cloud.devices = [QPU, Device(device="sim", status="unavailable")]

    answer = desk.run("devices", "memory", "qpu")
    document = desk.run("devices", "memory", "sim", "-o", "json")

    assert answer.out.splitlines() == [
        "qpu",
        "  status       available",
        "  qubits       8",
        "  pending      3",
        "  calibrated   2026-07-01T10:00:00Z",
        "  device_type  QPU",
        '  basis_gates  ["sx", "rz", "cx"]',
    ]
    assert [device["device"] for device in document.json["devices"]] == ["sim"]


def test_without_a_name_this_machine_is_asked_too(desk: Desk, cloud: Cloud) -> None:
    answer, document = desk.run("devices"), desk.run("devices", "-o", "json")

    assert ["local", "ddsim", "available"] in [line.split()[:3] for line in answer.out.splitlines()]
    assert [entry["connection"] for entry in document.json["connections"]] == ["local"]
    assert (answer.code, document.json["errors"]) == (0, [])


def test_every_cloud_of_the_project_is_asked_and_one_that_refuses_hides_no_other(cloud: Cloud) -> None:
    cloud.faults["devices"] = ["denied"]
    connections = {name: Connection(name=name, provider="memory") for name in ("one", "two")}

    told = asyncio.run(ask_all(Settings(root=".", connections=Ways(written=connections))))

    assert list(told) == ["one", "two", "local"]
    assert str(told["one"]) == "the token has expired; log in again"
    assert told["two"] == cloud.devices


def test_a_connection_that_cannot_be_used_hides_no_other(desk: Desk) -> None:
    desk.write("qrun.toml", '[connections.resonance]\ntype = "iqm"\nurl = "https://resonance.iqm.tech"\n')

    answer, document = desk.run("devices"), desk.run("devices", "-o", "json")

    words = '"resonance" is a connection of type "iqm", which is not supported'
    assert (answer.code, document.code) == (78, 78)
    assert answer.err.startswith(f"{words}; supported are: ")
    assert "local" in answer.out
    entries = {entry["connection"]: entry for entry in document.json["connections"]}
    assert entries["resonance"]["error"]["message"] == words
    assert entries["local"]["devices"][0].keys() >= {"device", "status", "qubits", "pending", "calibrated_at"}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["memry"], 'no connection is called "memry"; did you mean "memory"?'),
        (["memory", "qpo"], '"memory" has no device "qpo"; did you mean "qpu"?'),
        (["memory", "zzz"], '"memory" has no device "zzz"; there are "qpu"'),
        (["memory", "qpu", "x"], '"x" is more than the command takes; see "qrun devices --help"'),
    ],
)
def test_an_unknown_device_or_connection_is_a_usage_error(
    desk: Desk, cloud: Cloud, words: list[str], wanted: str
) -> None:
    refused(desk.run("devices", *words), wanted)


def test_a_connection_that_refuses_is_an_error_of_the_provider(desk: Desk, cloud: Cloud) -> None:
    cloud.faults["devices"] = ["denied"]

    answer = desk.run("devices", "memory", "-o", "json")

    assert answer.code == answer.json["exit"] == 1
    assert (answer.json["errors"][0]["code"], answer.err) == ("denied", "the token has expired; log in again\n")


def test_a_device_cannot_steer_the_terminal(desk: Desk, cloud: Cloud) -> None:
    cloud.devices = [Device(device="q\x1b[2J", status="\x9bup", facts={"\x07n": "\u202ex", "list": ["\x1b"]})]

    shown = desk.run("devices", "memory").out + desk.run("devices", "memory", "q\x1b[2J").out

    assert not any(sign in shown for sign in "\x1b\x07\x9b\u202e")


# --- the jobs of an account -------------------------------------------------------------------------------------------


def test_the_jobs_of_an_account_are_listed_newest_first_with_ours_named(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, "x1", "x2")
    manifest(desk)
    desk.run("apply", "--yes")

    answer = desk.run("status", "--remote", "memory")

    lines = [line.split() for line in answer.out.splitlines()]
    assert (answer.code, answer.err) == (0, "")
    assert lines[0] == ["ID", "STATUS", "DEVICE", "KIND", "SHOTS", "CREATED", "NAME", "JOB"]
    assert [line[0] for line in lines[1:]] == ["j3", "x2", "x1"]
    assert (lines[1][1:5], lines[1][-1]) == (["DONE", "qpu", "sampling", "100"], "exp.one")
    assert lines[3] == ["x1", "DONE", "qpu", "sampling", "100", stamp(SEEN), "name", "of", "x1"]


def test_the_jobs_of_an_account_are_one_document(desk: Desk, cloud: Cloud) -> None:
    cloud.words = lambda run: "PARKED"
    elsewhere(cloud, "x1")

    answer = desk.run("status", "--remote", "memory", "-o", "json")

    assert answer.json == {
        "version": 1,
        "connection": "memory",
        "jobs": [
            {
                "handle": "x1",
                "word": "PARKED",
                "phase": None,
                "device": "qpu",
                "kind": "sampling",
                "shots": 100,
                "created": stamp(SEEN),
                "name": "name of x1",
                "job": None,
            }
        ],
        "more": False,
        "errors": [],
    }


def test_a_job_whose_answer_was_lost_is_known_by_its_marker(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    cloud.faults["submit"] = ["answer lost"]
    cloud.lag = 1e9
    desk.run("apply", "--yes", "--no-wait")
    cloud.lag = 0.0

    answer = desk.run("status", "--remote", "memory", "-o", "json")

    assert [(job["handle"], job["job"]) for job in answer.json["jobs"]] == [("j1", "exp.one")]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--status", "DONE"], ["x4", "x3"]),
        (["--status", "ERROR", "--status", "DONE"], ["x4", "x3", "x2"]),
        (["--device", "toy"], ["x3"]),
        (["--kind", "estimation"], []),
        (["--text", "of x2"], ["x2"]),
        (["--tag", "night", "--tag", "may"], ["x4"]),
        (["--since", "2026-07-01T12:00:00Z"], ["x4", "x3"]),
        (["--since", "2026-07-01T14:00:00+02:00", "--until", "2026-07-01T12:30"], ["x3"]),
        (["--until", "2026-06-30"], []),
        (["--until", "2026-07-01"], ["x4", "x3", "x2", "x1"]),
        (["--since", "1d"], []),
        (["--limit", "3"], ["x4", "x3", "x2"]),
        (["--device", "qpu", "--status", "DONE"], ["x4"]),
    ],
)
def test_each_filter_limits_what_is_listed(desk: Desk, cloud: Cloud, words: list[str], wanted: list[str]) -> None:
    elsewhere(cloud, "x1", cancelled=True)
    elsewhere(cloud, "x2")
    elsewhere(cloud, "x3", device="toy")
    elsewhere(cloud, "x4", tags=("may", "night"))
    cloud.outcome = lambda run: "ERROR" if run.id == "x2" else "DONE"

    answer = desk.run("status", "--remote", "memory", *words, "-o", "json")

    assert [job["handle"] for job in answer.json["jobs"]] == wanted


def test_what_is_left_out_of_a_list_is_told(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, *(f"x{n}" for n in range(51)))

    short, whole, none = (
        desk.run("status", "--remote", "memory"),
        desk.run("status", "--remote", "memory", "--limit", "51"),
        desk.run("status", "--remote", "memory", "--device", "none"),
    )

    assert (len(short.out.splitlines()), short.err) == (51, "there are more than the newest 50; --limit shows them\n")
    assert (len(whole.out.splitlines()), whole.err) == (52, "")
    assert (none.code, none.out) == (0, "no jobs\n")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--remote", "memry"], 'no connection is called "memry"; did you mean "memory"?'),
        (["--remote", "local"], '"local" is this machine, which keeps no jobs of an account; name a cloud'),
        (["--device", "qpu"], "--device is about the jobs of an account; add --remote CONNECTION"),
        (["--status", "DONE"], "--status is about the jobs of an account; add --remote CONNECTION"),
        (["--tag", "a"], "--tag is about the jobs of an account; add --remote CONNECTION"),
        (["--limit", "5"], "--limit is about the jobs of an account; add --remote CONNECTION"),
        (
            ["--remote", "memory", "specs"],
            "a manifest is given beside --remote, which is about an account; leave one out",
        ),
        (
            ["--remote", "memory", "--only", "a"],
            "--only is given beside --remote, which is about an account; leave one out",
        ),
        (
            ["--remote", "memory", "--since", "yesterday"],
            'invalid value for "--since": "yesterday" is not a time; write for example 2026-07-01, '
            '2026-07-01T12:00Z, or 2d for two days ago; see "qrun status --help"',
        ),
        (
            ["--remote", "memory", "--until", "99999999999d"],
            'invalid value for "--until": "99999999999d" is not a time; write for example 2026-07-01, '
            '2026-07-01T12:00Z, or 2d for two days ago; see "qrun status --help"',
        ),
    ],
)
def test_a_question_about_an_account_that_cannot_be_meant_is_refused(
    desk: Desk, cloud: Cloud, words: list[str], wanted: str
) -> None:
    manifest(desk)

    answer = desk.run("status", *words)

    refused(answer, wanted)
    assert cloud.requests == []


def test_an_account_can_be_looked_at_beside_damaged_results(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")
    lock = desk.folder / "results" / "exp" / "qrun.lock"
    lock.write_bytes(lock.read_bytes() + b"garbage\n")

    answer = desk.run("status", "--remote", "memory")

    assert (answer.code, answer.out.splitlines()[1].split()[0]) == (0, "j1")
    assert answer.err.startswith("results/exp/qrun.lock:3: ")


def test_a_connection_that_is_gone_is_a_matter_of_settings() -> None:
    record = Record(key="one", digest="d", digest_without_site="d", provider="memory", device="qpu")
    settings = Settings(root=".", connections=Ways(written={"new": Connection(name="new", provider="memory")}))
    job = Job(
        experiment="exp",
        key="one",
        target=Target(connection="new", provider="memory", device="qpu"),
        kind="sampling",
        digest="d",
        digest_without_site="d",
    )

    with pytest.raises(SettingsError) as raised:
        through(settings, None, record, {"connection": "old"})

    assert str(raised.value) == (
        '"one" is reached through the connection "old", which is not there any more; put it into qrun.toml again'
    )
    assert through(settings, job, record, {"connection": "old"}) == "new"


# --- cancelling jobs of an account ------------------------------------------------------------------------------------


def test_jobs_are_cancelled_by_id_and_each_has_its_answer(desk: Desk, cloud: Cloud) -> None:
    cloud.duration = 1e12
    elsewhere(cloud, "x1", "x2", "x3")

    answer = desk.run("cancel", "--remote", "memory", "x1", "x9", "x2", "x1")

    assert (answer.code, answer.err) == (1, "")
    assert answer.out.splitlines() == ["x1: cancelled", 'x9: not cancelled: no job "x9"', "x2: cancelled"]
    assert [run.cancelled for run in cloud.runs] == [True, True, False]


def test_the_answers_are_one_document(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, "x1")

    answer = desk.run("cancel", "--remote", "memory", "x1", "x9", "-o", "json")

    assert answer.code == 1
    assert answer.json == {
        "version": 1,
        "connection": "memory",
        "jobs": [
            {"handle": "x1", "cancelled": True, "message": None, "job": None},
            {"handle": "x9", "cancelled": False, "message": 'no job "x9"', "job": None},
        ],
        "errors": [],
    }


def test_jobs_that_fit_filters_are_cancelled_where_they_run(desk: Desk, cloud: Cloud) -> None:
    cloud.words = lambda run: {"x1": "QUEUED", "x2": "DONE", "x5": "PARKED"}.get(run.id, "RUNNING")
    elsewhere(cloud, "x1", "x2", "x3")
    elsewhere(cloud, "x4", started=False)
    elsewhere(cloud, "x5", "x6", device="toy")

    asked = desk.run("cancel", "--remote", "memory", "--device", "qpu")
    done = desk.run("cancel", "--remote", "memory", "--device", "qpu", "--yes")

    refused(asked, 'would cancel 2 jobs of memory: "x3", "x1"; add --yes to do it without being asked')
    assert (done.code, done.out) == (0, "x3: cancelled\nx1: cancelled\n")
    assert [run.id for run in cloud.runs if run.cancelled] == ["x1", "x3"]


def test_where_no_job_runs_that_fits_nothing_is_asked(desk: Desk, cloud: Cloud) -> None:
    elsewhere(cloud, "x1")

    answer = desk.run("cancel", "--remote", "memory", "--device", "qpu")

    assert (answer.code, answer.out) == (0, "nothing to cancel: no job that runs fits\n")


def test_jobs_of_this_project_are_named_and_recorded_by_the_next_sync(desk: Desk, cloud: Cloud) -> None:
    cloud.duration = 1e12
    manifest(desk)
    desk.run("apply", "--yes", "--no-wait")

    answer = desk.run("cancel", "--remote", "memory", "j1")
    desk.run("sync")

    assert (answer.code, answer.out) == (0, "j1: cancelled\n")
    assert answer.err == 'of this project: "exp.one"; the next "qrun sync" records it\n'
    assert desk.run("status", "-o", "json").json["experiments"][0]["summary"] == {"cancelled": 1}


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "no job is named; name ids, or say which jobs by --status, --device, --text, ..."),
        (["--yes"], "no job is named; name ids, or say which jobs by --status, --device, --text, ..."),
        (["x1", "--device", "qpu"], "ids are named beside filters; use one of both"),
        (
            ["a b"],
            '"a b" is not the id of a job; an id has letters, digits, ".", "_" and "-", '
            'and one "/" or "#" where a container comes first',
        ),
        (["x1", "-m", "specs"], "a manifest is given beside --remote, which is about an account; leave one out"),
    ],
)
def test_nothing_is_cancelled_where_it_is_not_clear_what(
    desk: Desk, cloud: Cloud, words: list[str], wanted: str
) -> None:
    answer = desk.run("cancel", "--remote", "memory", *words)

    refused(answer, wanted)
    assert cloud.requests == []


@pytest.mark.parametrize(("typed", "code", "shown"), [("y", 0, "x1: cancelled"), ("n", 130, "interrupted")])
def test_on_a_terminal_it_is_asked_before_many_are_cancelled(desk: Desk, typed: str, code: int, shown: str) -> None:
    script = (
        "import sys; from tests.desk import sky; from tests.cloud import Run\n"
        "with sky(duration=1e12) as cloud:\n"
        " run = Run(id='x1', marker=None, mark=None, key='', payload='', device='qpu', shots=1, created=0)\n"
        " cloud.runs.append(run)\n"
        " from qrun.cli import cli; cli.main(sys.argv[1:])"
    )

    ended, seen = desk.on_terminal("cancel", "--remote", "memory", "--device", "qpu", typed=f"{typed}\n", script=script)

    assert ended == code
    assert 'cancel 1 job of memory: "x1"? [y/N]:' in seen.decode()
    assert shown in seen.decode()


# --- logs -------------------------------------------------------------------------------------------------------------


def test_the_log_of_a_job_is_printed(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")

    answer = desk.run("logs", "exp.one")

    assert (answer.code, answer.out, answer.err) == (0, "started\nended\n", "")


def test_a_log_cannot_steer_the_terminal_and_keeps_its_lines_and_tabs(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")
    cloud.runs[0].log = b"a\tb\r\n\x1b[2Jc\rd\xff\n"

    answer = desk.run("logs", "one")

    assert answer.out == "a\tb\n\\x1b[2Jc\\x0dd\\xff\n"


def test_a_log_is_saved_as_it_is_and_never_over_another_file(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")
    cloud.runs[0].log = b"\x1b[2Jraw\xff"

    first = desk.run("logs", "one", "--save", "out/logs")
    cloud.runs[0].log = b"other"
    second = desk.run("logs", "one", "--save", "out/logs")

    assert (first.code, first.out) == (0, 'saved "out/logs/one.j1.log"\n')
    refused(second, "out/logs/one.j1.log: is there already and stays as it is; name another folder")
    assert (desk.folder / "out/logs/one.j1.log").read_bytes() == b"\x1b[2Jraw\xff"


def test_a_log_is_not_saved_through_a_link(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")
    (desk.folder / "out").mkdir()
    (desk.folder / "out" / "one.j1.log").symlink_to(desk.folder / "elsewhere")

    answer = desk.run("logs", "one", "--save", "out")

    assert answer.code == 64
    assert not (desk.folder / "elsewhere").exists()


def test_a_folder_that_cannot_be_made_is_told(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")
    desk.write("out", "a file")

    answer = desk.run("logs", "one", "--save", "out/logs")

    refused(answer, "out/logs: cannot be written: not a directory; name another folder")


def test_a_job_without_a_log_says_so(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.run("apply", "--yes")
    cloud.runs[0].log = b""

    answer = desk.run("logs", "one")

    assert (answer.code, answer.out, answer.err) == (0, "", '"exp.one" has no log at memory\n')


def test_a_log_of_what_was_not_sent_or_ran_here_is_a_usage_error(desk: Desk, cloud: Cloud) -> None:
    manifest(desk)
    desk.bell()
    desk.run("apply", "--only", "bell")
    cloud.faults["submit"] = ["request lost"]

    early, local, unknown = desk.run("logs", "one"), desk.run("logs", "bell"), desk.run("logs", "belll")
    desk.run("apply", "--only", "one", "--yes", "--no-wait")
    unclear = desk.run("logs", "one")

    refused(early, '"exp.one" was not run yet; qrun apply runs it')
    refused(local, '"bell" ran at "local", which keeps no logs')
    refused(unknown, 'no job is called "belll"; did you mean "bell"?')
    refused(unclear, '"exp.one" is intent, so there is no log to ask for; qrun apply looks for it')
