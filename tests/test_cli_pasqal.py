"""Every command on Pasqal Cloud as a user types it, against the stand-in: what is done there, and what is said here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.desk import PROJECT, Answer, Desk
from tests.emulator_pasqal import PARAMETRIZED, Cloud, shared

UNKNOWN: Final = "99999999-0000-4000-8000-000000000000"
DOWN: Final = "FRESNEL_SA1"  # takes batches and never begins them
FAILS: Final = "ValueError: All amplitude values must be greater than or equal to zero"


class Lab(Desk):
    """A project whose connections lead to one account of the stand-in; secrets are in variables, as they should be."""

    def __init__(self, folder: Path, account: Cloud) -> None:
        super().__init__(folder)
        self.account = account
        self.write("specs/programs/rabi.json", PARAMETRIZED)
        self.connections()

    def connections(self, **changed: str) -> None:
        """One for each way to a token and the one by way of OVH; `changed` replaces keys, "" takes one out."""
        place = {
            "project_id": self.account.project,
            "core_url": self.account.core,
            "account_url": f"{self.account.url}/account",
            "token_url": self.account.token_url,
        }
        lines = [f'{key} = "{value}"' for key, value in (place | changed).items() if value]
        ovh = ['variant = "ovh"', *(line for line in lines if not line.startswith("project_id"))]
        text = f'project = "{PROJECT}"\n'
        for name, secrets, rest in (
            ("person", ("username", "password"), lines),
            ("service", ("client_id", "client_secret"), lines),
            ("ready", ("token",), lines),
            ("ovh", ("token",), ovh),
        ):
            told = [f'{key} = {{ env = "PASQAL_{key.upper()}" }}' for key in secrets]
            text += "\n".join([f"[connections.{name}]", 'type = "pasqal"', *told, *rest]) + "\n"
        self.write("qrun.toml", text)

    @property
    def secrets(self) -> dict[str, str]:
        service, _, secret = self.account.token.partition(".")
        return {
            "PASQAL_USERNAME": self.account.username,
            "PASQAL_PASSWORD": self.account.token,
            "PASQAL_CLIENT_ID": service,
            "PASQAL_CLIENT_SECRET": secret,
            "PASQAL_TOKEN": self.account.token,
        }

    def type(self, *words: str, **changed: str) -> Answer:
        """A command; with other values of some variables."""
        return self.run(*words, env={**self.secrets, **changed})

    def jobs(self, name: str = "exp", *, provider: str = "person", **amplitudes: float) -> None:
        """Jobs that go out together, by the names of their amplitudes."""
        self.manifest(name, {key: {"params": {"omega": omega}} for key, omega in amplitudes.items()}, provider=provider)

    def manifest(self, name: str, jobs: dict[str, Any], **common: Any) -> None:
        usual = {"provider": "person", "device": "EMU_FREE", "program": "programs/rabi.json", "shots": 100}
        whole = {"name": name, "defaults": {**usual, **common}, "jobs": jobs}
        self.write(f"specs/{name}.yaml", json.dumps(whole))

    def phases(self) -> dict[str, str]:
        answer = self.type("status", "-o", "json").json
        return {job["job"]: job["phase"] for experiment in answer["experiments"] for job in experiment["jobs"]}

    def counts(self, name: str) -> dict[str, int]:
        found: dict[str, int] = self.type("show", name, "-o", "json").json["results"]["counts"]
        return found


@pytest.fixture
def account() -> Iterator[Cloud]:
    account = shared().new_account()
    yield account
    account.close()


@pytest.fixture
def lab(home: Path, account: Cloud) -> Lab:
    return Lab(home, account)


def batches(account: Cloud) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = account.books()["batches"]
    return found


def made(account: Cloud, *omegas: float, **given: Any) -> str:
    """A batch that somebody made without qrun, once its jobs have ended or wait for a device that is down."""
    jobs = [{"runs": 20, "variables": {"omega": omega}} for omega in omegas]
    batch_id: str = account.create(jobs=jobs, **given)["id"]
    if given.get("device_type") != DOWN:
        account.settled(batch_id)
    return batch_id


def handles(account: Cloud, batch_id: str) -> list[str]:
    return [f"{batch_id}/{job['id']}" for job in account.jobs(batch_id)]


# --- a sweep ----------------------------------------------------------------------------------------------------------


def test_a_sweep_is_one_batch_and_runs_once(lab: Lab, account: Cloud) -> None:
    sweep = {"params": {"omega": "{{ matrix.omega }}"}, "matrix": {"omega": [0.25, 0.5, 0.75]}}
    lab.manifest("exp", {"rabi": sweep})

    first = lab.type("apply", "--yes")
    before = lab.tree()
    second = lab.type("apply", "--yes")

    assert (first.code, first.out) == (0, "exp: 3 succeeded; results in results/exp\n")
    assert (second.code, second.out) == (0, "nothing to do: 3 jobs are done\n")
    assert lab.tree() == before
    (batch,) = batches(account)
    assert (batch["status"], len(batch["jobs"]), account.asked("POST /api/v1/batches")) == ("DONE", 3, 1)
    assert lab.counts("exp.rabi:omega=0.25") == {"00": 75, "11": 25}
    assert lab.counts("exp.rabi:omega=0.75") == {"00": 25, "11": 75}


@pytest.mark.parametrize("provider", ["person", "service", "ready"])
def test_each_way_to_a_token_sends_and_leaves_no_secret_behind(lab: Lab, account: Cloud, provider: str) -> None:
    lab.jobs(provider=provider, one=0.25)

    answer = lab.type("apply", "--yes")

    assert (answer.code, answer.out) == (0, "exp: 1 succeeded; results in results/exp\n")
    written = b"".join(path.read_bytes() for path in (lab.folder / "results").rglob("*") if path.is_file())
    for secret in (account.token, account.token.partition(".")[2], "eyJ", "X-Amz"):
        assert secret not in answer.out + answer.err
        assert secret.encode() not in written


def test_a_job_that_failed_is_told_though_its_batch_is_done(lab: Lab, account: Cloud) -> None:
    lab.jobs(good=0.25, bad=-1.0)

    answer = lab.type("apply", "--yes")

    assert (answer.code, answer.out) == (3, "exp: 1 succeeded, 1 failed; results in results/exp\n")
    assert f"failed     exp.bad  {FAILS}\n" in answer.err
    assert [batch["status"] for batch in batches(account)] == ["DONE"]
    assert lab.phases() == {"good": "succeeded", "bad": "failed"}


def test_failed_members_alone_are_tried_again(lab: Lab, account: Cloud) -> None:
    jobs = {name: {"params": {"omega": omega}} for name, omega in (("good", 0.25), ("bad", -1.0), ("worse", -2.0))}
    lab.manifest("exp", jobs, retry={"attempts": 2})

    answer = lab.type("apply", "--yes")

    first, second = batches(account)
    variables = [[job["variables"]["omega"] for job in batch["jobs"]] for batch in (first, second)]
    assert (answer.code, variables) == (3, [[0.25, -1.0, -2.0], [-1.0, -2.0]])
    assert lab.phases() == {"good": "succeeded", "bad": "failed", "worse": "failed"}


def test_an_expired_link_is_asked_for_anew(lab: Lab, account: Cloud) -> None:
    account.faults("GET /emulator-jobs/*: expired x1")
    lab.jobs(one=0.25, two=0.5)

    answer = lab.type("apply", "--yes")

    assert (answer.code, answer.out) == (0, "exp: 2 succeeded; results in results/exp\n")
    assert account.struck() == [1]
    assert account.asked("GET /api/v1/jobs/{job_id}/results_link") == 3
    assert account.books()["leaks"] == 0


def test_a_workload_brings_its_object(lab: Lab, account: Cloud) -> None:
    lab.write("specs/programs/work.json", '{"depth": 3}')
    options = {"workload_type": "qadence_circuit"}
    work = {"provider": "person", "kind": "workload", "device": "pyqtorch", "options": options}
    lab.write("specs/exp.yaml", json.dumps({"name": "exp", "program": "programs/work.json", **work}))

    unsaid = lab.type("apply", "--yes")
    answer = lab.type("apply", "--yes", "--not-sent-elsewhere")

    assert (unsaid.code, answer.code) == (3, 0), answer.err
    assert lab.type("show", "exp", "-o", "json").json["results"]["result"]["config"] == {"depth": 3}


# --- open batches and tags --------------------------------------------------------------------------------------------


def test_what_is_added_later_joins_the_open_batch_until_it_is_closed(lab: Lab, account: Cloud) -> None:
    def apply(**amplitudes: float) -> Answer:
        jobs = {key: {"params": {"omega": omega}} for key, omega in amplitudes.items()}
        lab.manifest("exp", jobs, submit={"open": True})
        return lab.type("apply", "--yes")

    first = apply(a=0.25)
    second = apply(a=0.25, b=0.5, c=0.75)
    (batch,) = batches(account)
    assert (first.code, second.code, batch["open"], len(batch["jobs"])) == (0, 0, True, 3)
    assert second.err.splitlines()[-1] == f"batch {batch['id']} on person is open (3 jobs): qrun close exp.a"

    closed = lab.type("close", "exp.b")
    again = lab.type("close", "exp.b")
    apply(a=0.25, b=0.5, c=0.75, d=0.8)

    assert (closed.code, closed.out) == (0, f"closed {batch['id']} on person (3 jobs)\n")
    assert (again.code, again.err) == (64, '"exp.b" is in no open batch; qrun status shows which are open\n')
    old, new = batches(account)
    assert (old["status"], old["open"], len(old["jobs"])) == ("DONE", False, 3)
    assert (new["open"], len(new["jobs"])) == (True, 1)


def test_a_changed_tag_is_the_batchs_and_runs_nothing(lab: Lab, account: Cloud) -> None:
    lab.jobs(one=0.25, two=0.5)
    lab.type("apply", "--yes")
    marks = batches(account)[0]["tags"]
    lab.manifest("exp", {"one": {"params": {"omega": 0.25}}, "two": {"params": {"omega": 0.5}}}, tags=["demo"])

    answer = lab.type("apply")

    (batch,) = batches(account)
    assert (answer.code, answer.out) == (0, "exp: 2 succeeded; results in results/exp\n")
    assert batch["tags"] == [*marks, "demo"]
    assert account.asked("PATCH /api/v1/batches/{batch_id}/tags") == 1
    assert account.books()["starts"] == 2


# --- cancelling -------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(lab: Lab) -> Lab:
    """Three jobs of one batch that wait for a device."""
    jobs = {name: {"params": {"omega": omega}} for name, omega in (("a", 0.25), ("b", 0.5), ("c", 0.75))}
    lab.manifest("exp", jobs, device=DOWN)
    assert lab.type("apply", "--yes", "--no-wait").code == 0
    return lab


def test_one_job_of_a_batch_is_cancelled_and_the_others_go_on(waiting: Lab, account: Cloud) -> None:
    answer = waiting.type("cancel", "exp.b")

    assert (answer.code, answer.out) == (0, "exp.b: cancelled\n")
    (batch,) = batches(account)
    assert [job["status"] for job in batch["jobs"]] == ["PENDING", "CANCELED", "PENDING"]
    assert waiting.phases() == {"a": "live", "b": "cancelled", "c": "live"}


def test_all_jobs_of_a_batch_are_cancelled_by_one_request(waiting: Lab, account: Cloud) -> None:
    answer = waiting.type("cancel", "exp.*")
    again = waiting.type("cancel", "exp.a")

    assert (answer.code, answer.out) == (0, "exp.a: cancelled\nexp.b: cancelled\nexp.c: cancelled\n")
    assert (again.code, again.err) == (64, '"exp.a" is cancelled; only a live job can be cancelled\n')
    assert [batch["status"] for batch in batches(account)] == ["CANCELED"]
    assert account.asked("PATCH /api/v1/batches/cancel") == 1
    assert account.books()["empty_cancels"] == 0
    assert set(waiting.phases().values()) == {"cancelled"}


def test_jobs_of_the_account_are_cancelled_by_a_filter(lab: Lab, account: Cloud) -> None:
    done = made(account, 0.25)
    slow = made(account, 0.25, 0.5, device_type=DOWN, tags=["night"])

    unasked = lab.type("cancel", "--remote", "person", "--tag", "night")
    answer = lab.type("cancel", "--remote", "person", "--tag", "night", "--yes")
    nothing = lab.type("cancel", "--remote", "person", "--tag", "night", "--yes")

    first, second = handles(account, slow)
    words = f'would cancel 2 jobs of person: "{second}", "{first}"; add --yes to do it without being asked\n'
    assert (unasked.code, unasked.err) == (64, words)
    assert (answer.code, sorted(answer.out.splitlines())) == (
        0,
        sorted([f"{first}: cancelled", f"{second}: cancelled"]),
    )
    assert (nothing.code, nothing.out) == (0, "nothing to cancel: no job that runs fits\n")
    assert (account.words(done), account.words(slow)) == (["DONE"], ["CANCELED", "CANCELED"])
    assert account.books()["empty_cancels"] == 0


def test_what_is_named_by_its_id_is_cancelled_as_far_as_it_still_runs(lab: Lab, account: Cloud) -> None:
    done = made(account, 0.25)
    slow = made(account, 0.25, 0.5, device_type=DOWN)
    first, _ = handles(account, slow)

    answer = lab.type("cancel", "--remote", "person", first, done, UNKNOWN, f"{slow}/{UNKNOWN}")
    whole = lab.type("cancel", "--remote", "person", slow)

    assert (answer.code, answer.out.splitlines()) == (
        1,
        [
            f"{first}: cancelled",
            f'{done}: not cancelled: it is "DONE"',
            f"{UNKNOWN}: not cancelled: the service does not know it any more",
            f"{slow}/{UNKNOWN}: not cancelled: the service does not know it any more",
        ],
    )
    assert (whole.code, whole.out) == (0, f"{slow}: cancelled\n")
    assert account.words(slow) == ["CANCELED", "CANCELED"]


def test_an_open_batch_of_somebody_is_ended_by_its_id_though_none_of_its_jobs_runs(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, open=True)

    first, second = lab.type("cancel", "--remote", "person", batch), lab.type("cancel", "--remote", "person", batch)

    assert (first.code, first.out) == (0, f"{batch}: cancelled\n")
    assert (second.code, second.out) == (1, f'{batch}: not cancelled: it is "DONE"\n')
    assert account.batch(batch)["open"] is False


# --- the account ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ((), {"done", "failed", "a", "b", "ours"}),
        (("--status", "PENDING"), {"a", "b"}),
        (("--status", "ERROR", "--status", "DONE"), {"done", "failed", "ours"}),
        (("--status", "SLEEPING"), set()),
        (("--device", DOWN), {"a", "b"}),
        (("--tag", "night"), {"done", "failed"}),
        (("--tag", "night", "--tag", "day"), set()),
        (("--tag", "night", "--status", "ERROR"), {"failed"}),
        (("--kind", "workload"), set()),
        (("--since", "1h"), {"done", "failed", "a", "b", "ours"}),
        (("--until", "2020-01-01"), set()),
        (("--limit", "1", "--device", "EMU_FREE", "--tag", "night"), {"failed"}),
    ],
)
def test_the_jobs_of_the_account_are_listed_by_filters(
    lab: Lab, account: Cloud, filters: tuple[str, ...], wanted: set[str]
) -> None:
    first = made(account, 0.25, -1.0, tags=["night"])
    second = made(account, 0.25, 0.5, device_type=DOWN)
    lab.jobs(ours=0.5)
    lab.type("apply", "--yes")
    names = dict(zip([*handles(account, first), *handles(account, second)], ("done", "failed", "a", "b"), strict=True))

    answer = lab.type("status", "--remote", "person", *filters, "-o", "json").json

    assert {names.get(job["handle"], "ours") for job in answer["jobs"]} == wanted
    assert {job["job"] for job in answer["jobs"]} <= {None, "exp.ours"}
    assert answer["more"] is ("--limit" in filters)


def test_the_devices_have_their_limits(lab: Lab) -> None:
    table, one = lab.type("devices", "person"), lab.type("devices", "person", "FRESNEL8", "-o", "json")

    assert table.out.splitlines()[0].split() == ["DEVICE", "STATUS", "QUBITS"]
    assert [line.split() for line in table.out.splitlines()[1:]] == [
        ["FRESNEL", "UP", "100"],
        ["FRESNEL8", "UP", "8"],
        ["FRESNEL_CAN1", "UP", "100"],
        [DOWN, "DOWN", "INACTIVE", "100"],
    ]
    [device] = one.json["devices"]
    assert (device["qubits"], device["max_runs"], device["max_sequence_duration"]) == (8, 2000, 6000)


def test_there_are_no_logs_and_that_is_said(lab: Lab) -> None:
    lab.jobs(one=0.25)
    lab.type("apply", "--yes")

    answer = lab.type("logs", "exp.one")

    assert (answer.code, answer.err) == (64, '"exp.one" ran at "pasqal", which keeps no logs\n')


# --- importing --------------------------------------------------------------------------------------------------------


def test_a_job_is_taken_in_under_its_own_id_however_it_is_named(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, 0.5)
    first, second = handles(account, batch)
    (_, one), (_, two) = (each.split("/") for each in (first, second))

    by_job = lab.type("import", "person", one)
    again = lab.type("import", "person", first)
    whole = lab.type("import", "person", second)
    by_id = lab.type("import", "person", two)

    assert (by_job.code, by_job.out) == (0, f'import-person.{one}: "{first}" taken in, succeeded\n')
    assert (again.code, again.out) == (0, f'import-person.{one}: "{first}" is here already, succeeded\n')
    assert (whole.code, whole.out) == (0, f'import-person.{two}: "{second}" taken in, succeeded\n')
    assert (by_id.code, by_id.out) == (0, f'import-person.{two}: "{second}" is here already, succeeded\n')
    assert lab.counts(f"import-person.{one}") == {"00": 15, "11": 5}
    assert lab.type("verify").code == 0


def test_a_whole_batch_is_taken_in_each_job_under_its_own_id(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, -1.0, 0.5, tags=["night"])

    answer = lab.type("import", "person", batch)
    before, asked = lab.tree(), account.asked("GET /api/v1/jobs/{job_id}/results_link")
    again = lab.type("import", "person", batch)

    first, failed, last = handles(account, batch)
    keys = [handle.split("/")[1] for handle in (first, failed, last)]
    ends = zip(keys, (first, failed, last), ("succeeded", "failed", "succeeded"), strict=True)
    assert answer.code == 3  # as a sync that finds a failed job
    assert answer.out.splitlines() == [f'import-person.{key}: "{h}" taken in, {end}' for key, h, end in ends]
    assert again.out == answer.out.replace("taken in", "is here already")
    assert (lab.tree(), account.asked("GET /api/v1/jobs/{job_id}/results_link")) == (before, asked)
    assert lab.counts(f"import-person.{keys[2]}") == {"00": 10, "11": 10}
    assert account.asked("POST /api/v1/batches") == 1


def test_jobs_that_still_wait_come_home_with_a_sync(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, 0.5, device_type=DOWN)
    lab.bell()

    answer = lab.type("import", "person", batch, "-o", "json")
    account.get("PATCH", f"/api/v2/batches/{batch}/cancel")
    synced = lab.type("sync")

    [experiment] = answer.json["experiments"]
    assert (answer.code, [job["phase"] for job in experiment["jobs"]]) == (0, ["live", "live"])
    assert (synced.code, sorted(lab.phases().values())) == (0, ["absent", "cancelled", "cancelled"])


def test_of_a_batch_only_what_is_not_known_yet_is_taken_in(lab: Lab, account: Cloud) -> None:
    lab.jobs(one=0.25)
    lab.manifest("exp", {"one": {"params": {"omega": 0.25}}}, submit={"open": True})
    lab.type("apply", "--yes")
    (batch,) = batches(account)
    account.get("POST", f"/api/v2/batches/{batch['id']}/jobs", [{"runs": 20, "variables": {"omega": 0.5}}])
    account.settled(batch["id"])

    answer = lab.type("import", "person", batch["id"])

    ours, other = handles(account, batch["id"])
    assert (answer.code, answer.out) == (0, f'import-person.{other.split("/")[1]}: "{other}" taken in, succeeded\n')
    assert answer.err.splitlines()[0] == f'"{ours}" is known already, as "exp.one"'


def test_a_batch_is_no_one_job_of_a_manifest(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, 0.5)
    alone = made(account, 0.25)
    lab.manifest("exp", {"one": {"params": {"omega": 0.25}, "shots": 20}})

    refused = lab.type("import", "person", batch, "--as", "exp.one")
    taken = lab.type("import", "person", alone, "--as", "exp.one")

    hint = f"leave --as out to take in all of them, or name one, such as {handles(account, batch)[0]}"
    assert (refused.code, refused.err) == (64, f'"{batch}" is a batch of 2 jobs, and --as names one job; {hint}\n')
    assert (taken.code, taken.out) == (0, f'exp.one: "{handles(account, alone)[0]}" taken in, succeeded\n')
    assert lab.type("apply").out == "nothing to do: 1 job is done\n"


def test_a_job_that_comes_back_in_another_spelling_is_the_manifests_all_the_same(lab: Lab, account: Cloud) -> None:
    lab.manifest("exp", {"one": {"params": {"omega": 0.25}, "shots": 20}, "two": {"params": {"omega": 0.5}}})
    spelled = json.dumps(json.loads(PARAMETRIZED), indent=3)
    jobs = [{"runs": 20, "variables": {"omega": [0.25]}}]
    batch = account.create(sequence_builder=spelled, jobs=jobs)["id"]
    account.settled(batch)

    taken = lab.type("import", "person", batch, "--as", "exp.one")
    other = account.create(sequence_builder=spelled.replace("100", "104"), jobs=jobs)["id"]
    refused = lab.type("import", "person", other, "--as", "exp.two")

    assert (taken.code, taken.out) == (0, f'exp.one: "{handles(account, batch)[0]}" taken in, succeeded\n')
    assert refused.code == 64
    assert '"exp.two" has program ' in refused.err


def test_an_open_batch_that_was_closed_elsewhere_is_no_longer_told_once_sync_has_looked(
    lab: Lab, account: Cloud
) -> None:
    lab.manifest("exp", {"one": {"params": {"omega": 0.25}}}, submit={"open": True})
    lab.type("apply", "--yes")
    account.get("PATCH", f"/api/v2/batches/{batches(account)[0]['id']}/complete")

    before, synced, after = lab.type("status"), lab.type("sync"), lab.type("status")

    assert "is open" in before.err
    assert (synced.code, synced.out, synced.err, after.err) == (0, "nothing to do: 1 job is done\n", "", "")


def test_where_nobody_answers_whether_a_batch_is_open_it_stays_told(lab: Lab, account: Cloud) -> None:
    lab.manifest("exp", {"one": {"params": {"omega": 0.25}}}, submit={"open": True})
    lab.type("apply", "--yes")
    account.faults("GET /api/v2/batches/*: 403")

    answer = lab.type("sync")

    assert (answer.code, answer.out) == (0, "nothing to do: 1 job is done\n")
    assert answer.err.endswith(" is open (1 job): qrun close exp.one\n")


def test_an_open_batch_that_was_taken_in_is_shown_and_can_be_closed(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, 0.5, open=True)
    lab.bell()

    answer = lab.type("import", "person", batch)
    seen = lab.type("status")
    closed = lab.type("close", "--all")

    least = min(handle.split("/")[1] for handle in handles(account, batch))
    line = f"batch {batch} on person is open (2 jobs): qrun close import-person.{least}\n"
    assert (answer.err, seen.err) == (line, line)
    assert (closed.code, closed.out) == (0, f"closed {batch} on person (2 jobs)\n")
    assert account.batch(batch)["status"] == "DONE"


def test_what_is_not_there_is_told_with_what_was_looked_for(lab: Lab) -> None:
    answer, by_ovh = lab.type("import", "person", UNKNOWN), lab.type("import", "ovh", UNKNOWN)

    words = f'"person" has no batch, no job and no workload "{UNKNOWN}"; check the id, and that its project is'
    assert (answer.code, answer.err) == (1, f"{words} one of this account\n")
    words = f'"ovh" has no batch "{UNKNOWN}"; a job is named with its batch: BATCH/JOB\n'
    assert (by_ovh.code, by_ovh.err) == (1, words)


def test_what_is_no_id_at_all_is_nothing_that_could_be_cancelled(lab: Lab) -> None:
    answer = lab.type("cancel", "--remote", "person", "nonsense")

    assert (answer.code, answer.out) == (1, "nonsense: not cancelled: the service does not know it any more\n")


def test_where_nothing_was_imported_nothing_can_be_copied(lab: Lab) -> None:
    answer = lab.type("retry", "--rebatch", "exp.one")

    hint = "qrun import takes some in; without --rebatch a manifest's jobs are meant"
    assert (answer.code, answer.err) == (64, f"no job was imported; {hint}\n")


def test_what_is_no_id_at_all_is_not_there_either(lab: Lab) -> None:
    answer = lab.type("import", "person", "nonsense")

    words = '"person" has no batch, no job and no workload "nonsense"; check the id, and that its project is one of'
    assert (answer.code, answer.err) == (1, f"{words} this account\n")


# --- what is wrong ----------------------------------------------------------------------------------------------------

WRONG: Final = {
    "person": ("PASQAL_PASSWORD", '403 invalid_grant "Wrong email or password."; check username and password of'),
    "service": ("PASQAL_CLIENT_SECRET", '401 access_denied "Unauthorized"; check client_id and client_secret of'),
    "ready": ("PASQAL_TOKEN", '401 "Could not validate credentials"; check the credentials of'),
}


@pytest.mark.parametrize("provider", WRONG)
@pytest.mark.parametrize("words", [("apply", "--yes"), ("devices",), ("status", "--remote")], ids=lambda w: w[0])
def test_wrong_credentials_are_told_and_nothing_is_sent(
    lab: Lab, account: Cloud, provider: str, words: tuple[str, ...]
) -> None:
    lab.jobs(provider=provider, one=0.25)
    variable, told = WRONG[provider]

    answer = lab.type(*words, *([provider] if words[0] != "apply" else []), **{variable: "not-it"})

    assert answer.code == 1
    assert f'{told} connection "{provider}"\n' in answer.err
    assert "not-it" not in answer.out + answer.err
    assert batches(account) == []


def test_a_secret_that_is_not_set_is_named_with_its_place(lab: Lab) -> None:
    lab.jobs(one=0.25)

    answer = lab.run("apply", "--yes", env=lab.secrets | {"PASQAL_PASSWORD": ""})

    assert answer.code == 78
    assert 'connections.person.password: the variable "PASQAL_PASSWORD" is' in answer.err


def test_a_project_that_is_not_ours_is_told_with_the_key_to_look_at(lab: Lab, account: Cloud) -> None:
    lab.connections(project_id="00000000-0000-0000-0000-00000000dead")
    lab.jobs(one=0.25)

    answer = lab.type("apply", "--yes")

    words = (
        '404 "The project does not exist, or you are not one of its members"; check project_id of connection "person"'
    )
    assert (answer.code, batches(account)) == (3, [])
    assert f'refused    exp.one  "person", POST /api/v1/batches: {words}\n' in answer.err


def test_where_no_project_is_named_those_of_the_account_are(lab: Lab, account: Cloud) -> None:
    lab.connections(project_id="")
    lab.jobs(one=0.25)

    answer = lab.type("apply", "--yes")

    words = 'connection "person" has no project_id; give it in qrun.toml, or set PASQAL_PROJECT_ID; '
    words += f"this account has main ({account.project}), "
    assert (answer.code, batches(account)) == (1, [])
    assert words in answer.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"region": "us"}, 'connections.person.region: "us" is not one of "fr", "sa"\n'),
        (
            {"realms": "x"},
            'connections.person.realms: is not a field of a connection of type pasqal; did you mean "realm"',
        ),
        ({"core_url": "https://pasqal.example.org"}, '"pasqal.example.org" is not a known host; those of pasqal are'),
    ],
)
def test_what_is_wrong_in_the_settings_is_told_with_its_place(lab: Lab, change: dict[str, str], words: str) -> None:
    lab.connections(**change)
    lab.jobs(one=0.25)

    answer = lab.type("plan")

    assert answer.code == 78
    assert re.match(r"qrun\.toml:\d+:1: connections\.person\.", answer.err)
    assert words in answer.err


@pytest.mark.parametrize("command", [("validate",), ("plan",), ("apply", "--yes")])
def test_flaws_of_jobs_are_told_with_their_places_before_anybody_is_asked(
    lab: Lab, account: Cloud, command: tuple[str, ...]
) -> None:
    lab.write("specs/programs/broken.json", '{"version": "1",\n "name": }')
    lab.write(
        "specs/exp.yaml",
        """\
name: exp
defaults: {provider: person, device: EMU_FREE, program: programs/rabi.json, shots: 20}
jobs:
  named:
    params: {omeg: 0.25}
  tagged:
    params: {omega: 0.25}
    tags: [fine, two words]
  swept:
    matrix: {omega: [[0.1, 0.2]]}
    params: {omega: "{{ matrix.omega }}"}
  broken:
    program: programs/broken.json
""",
    )

    answer = lab.type(*command)

    assert answer.code == 65
    assert answer.err.splitlines() == [
        "specs/exp.yaml:5:5: jobs.named.params.omega: the sequence needs a value for it",
        "specs/exp.yaml:5:14: jobs.named.params.omeg: the sequence has no such variable; it has omega",
        'specs/exp.yaml:8:18: jobs.tagged.tags[1]: "two words" cannot be a tag there; '
        'use letters, digits, ".", "_" and "-", at most 64',
        "specs/exp.yaml:11:21: jobs.swept.params.omega: it is [0.1, 0.2]; a number is needed",
        "specs/exp.yaml:13:14: jobs.broken.program: line 2 of it: the program is not JSON: expecting value; "
        "write it with Pulser: sequence.to_abstract_repr()",
    ]
    assert batches(account) == []


def test_what_the_cloud_alone_knows_is_told_before_anything_is_sent(lab: Lab, account: Cloud) -> None:
    lab.manifest("exp", {"runs": {"params": {"omega": 0.25}, "device": "FRESNEL", "shots": 5000}})

    answer = lab.type("apply", "--yes")

    assert (answer.code, answer.out) == (3, "exp: 1 held; results in results/exp\n")
    assert "runs.shots: 5000 runs are too many for FRESNEL, which takes 2000" in answer.err
    assert batches(account) == []


# --- by way of OVH ----------------------------------------------------------------------------------------------------


def test_by_way_of_ovh_a_batch_is_sent_and_fetched(lab: Lab, account: Cloud) -> None:
    lab.jobs(provider="ovh", one=0.25, two=0.5)

    answer = lab.type("apply", "--yes", "--not-sent-elsewhere")

    assert (answer.code, answer.out) == (0, "exp: 2 succeeded; results in results/exp\n")
    assert len(batches(account)) == 1
    assert lab.counts("exp.two") == {"00": 50, "11": 50}


REFUSED: Final[dict[str, tuple[Callable[[Lab, str], Answer], str]]] = {
    "list": (lambda lab, _: lab.type("status", "--remote", "ovh"), "lists"),
    "cancel": (lambda lab, batch: lab.type("cancel", "--remote", "ovh", batch), "way to cancel"),
    "cancel by filter": (lambda lab, _: lab.type("cancel", "--remote", "ovh", "--status", "PENDING"), "lists"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_ovh_does_not_offer_is_refused_with_a_sentence(lab: Lab, account: Cloud, what: str) -> None:
    act, lacks = REFUSED[what]
    batch = made(account, 0.25, device_type=DOWN)

    answer = act(lab, batch)

    words = f"access by way of OVH offers no {lacks}; use a connection of your own to Pasqal Cloud\n"
    assert answer.code == 1
    assert (answer.out + answer.err).endswith(words)
    assert account.words(batch) == ["PENDING"]


def test_by_way_of_ovh_no_batch_stays_open(lab: Lab, account: Cloud) -> None:
    lab.manifest("exp", {"open": {"params": {"omega": 0.25}, "submit": {"open": True}}}, provider="ovh")

    answer = lab.type("apply", "--yes", "--not-sent-elsewhere")

    assert (answer.code, batches(account)) == (3, [])
    assert (
        'refused    exp.open  "ovh" keeps nothing open for more jobs; leave `open` out of its `submit`\n' in answer.err
    )


def test_by_way_of_ovh_there_are_no_workloads(lab: Lab) -> None:
    lab.write("specs/programs/work.json", "{}")
    work = {
        "kind": "workload",
        "program": "programs/work.json",
        "options": {"workload_type": "x"},
        "device": "pyqtorch",
    }
    lab.write("specs/work.yaml", json.dumps({"name": "work", "provider": "ovh", **work}))

    answer = lab.type("validate")

    assert answer.code == 65
    assert answer.err == 'specs/work.yaml:1:45: kind: "workload" is not a kind of "ovh"; there are: pulse\n'


def test_by_way_of_ovh_a_batch_is_taken_in(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, 0.5)

    answer = lab.type("import", "ovh", batch)

    assert answer.code == 0, answer.err
    assert answer.out.count("taken in, succeeded\n") == 2


def test_by_way_of_ovh_a_changed_tag_is_our_records_alone(lab: Lab, account: Cloud) -> None:
    lab.jobs(provider="ovh", one=0.25)
    lab.type("apply", "--yes", "--not-sent-elsewhere")
    tags = batches(account)[0]["tags"]
    lab.manifest("exp", {"one": {"params": {"omega": 0.25}}}, provider="ovh", tags=["new"])

    answer, again = lab.type("apply"), lab.type("apply")

    assert answer.code == 0, answer.err
    assert "relabelled exp.one  in record" in answer.err
    assert again.out == "nothing to do: 1 job is done\n"
    assert batches(account)[0]["tags"] == tags


def test_why_a_job_failed_is_shown_with_it(lab: Lab) -> None:
    lab.jobs(bad=-1.0)
    lab.type("apply", "--yes")

    answer = lab.type("show", "exp.bad")

    assert "  phase    failed (ERROR)\n" in answer.out
    assert f"  message  {FAILS}\n" in answer.out


# --- imported jobs once more ------------------------------------------------------------------------------------------


@pytest.fixture
def failed(lab: Lab, account: Cloud) -> list[str]:
    """The handles of an imported batch of three jobs that all failed."""
    account.faults("POST /api/v1/batches: fail=broken x1")
    batch = made(account, 0.25, 0.5, 0.75, tags=["night"])
    assert lab.type("import", "person", batch).code == 3
    return handles(account, batch)


def named(handle: str) -> str:
    return f"import-person.{handle.split('/')[1]}"


def test_imported_jobs_that_failed_are_copied_by_the_cloud_and_no_others(
    lab: Lab, account: Cloud, failed: list[str]
) -> None:
    first, _, third = failed

    unasked = lab.type("retry", "--rebatch", named(first), named(third))
    answer = lab.type("retry", "--rebatch", named(first), named(third), "--yes")

    words = 'would run 2 jobs with 40 shots on "person/EMU_FREE" once more, price unknown'
    assert (unasked.code, unasked.err) == (64, f"{words}; add --yes to do it without being asked\n")
    old, new = batches(account)
    made_from = {job["parent_id"]: f"{new['id']}/{job['id']}" for job in new["jobs"]}
    one, two = made_from[first[37:]], made_from[third[37:]]
    assert (new["parent_id"], [job["parent_id"] for job in new["jobs"]]) == (
        old["id"],
        [h[37:] for h in (first, third)],
    )
    lines = [f'{named(first)}: once more as "{one}", succeeded', f'{named(third)}: once more as "{two}", succeeded']
    assert (answer.code, answer.out.splitlines()) == (0, sorted(lines))
    assert lab.counts(named(third)) == {"00": 5, "11": 15}
    assert sorted(lab.phases().values()) == ["failed", "succeeded", "succeeded"]
    attempts = lab.type("show", named(first), "-o", "json").json["attempts"]
    assert [(each["n"], each["handle"]) for each in attempts] == [(1, first), (2, one)]
    assert lab.type("verify").code == 0


def test_all_imported_jobs_that_failed_are_copied_once(lab: Lab, account: Cloud, failed: list[str]) -> None:
    answer = lab.type("retry", "--rebatch", "--failed", "--yes", "-o", "json")
    again = lab.type("retry", "--rebatch", "--failed", "--yes")
    by_name = lab.type("retry", "--rebatch", named(failed[0]))

    [experiment] = answer.json["experiments"]
    assert (answer.code, [(job["attempt"], job["phase"]) for job in experiment["jobs"]]) == (0, [(2, "succeeded")] * 3)
    assert (again.code, again.out) == (0, "nothing to do: no imported job failed\n")
    assert (by_name.code, by_name.err) == (64, f'"{named(failed[0])}" succeeded\n')
    assert account.asked("POST /api/v1/batches/{batch_id}/rebatch") == 1


def test_a_copy_whose_answer_is_lost_is_found_by_what_it_was_made_from(
    lab: Lab, account: Cloud, failed: list[str]
) -> None:
    account.faults("POST /api/v1/batches/*/rebatch: 504-after x1")

    answer = lab.type("retry", "--rebatch", "--failed", "--yes")

    assert answer.code == 0, answer.err
    assert account.asked("POST /api/v1/batches/{batch_id}/rebatch") == 1
    assert set(lab.phases().values()) == {"succeeded"}
    assert [lab.counts(named(handle))["11"] for handle in failed] == [5, 10, 15]
    assert len(batches(account)) == 2


def test_a_copy_that_nobody_can_see_is_not_asked_for_again(lab: Lab, account: Cloud, failed: list[str]) -> None:
    account.faults("POST /api/v1/batches/*/rebatch: 504 x1")

    answer = lab.type("retry", "--rebatch", named(failed[0]), "--yes", "--no-wait")
    again = lab.type("retry", "--rebatch", named(failed[0]), "--yes")

    assert answer.code == 6
    words = "and its outcome is not known; qrun sync looks for it\n"
    assert answer.out == f"{named(failed[0])}: sent, {words}"
    assert (again.code, again.err) == (64, f'"{named(failed[0])}" was sent {words}')
    assert len(batches(account)) == 1


def test_a_copy_that_the_cloud_refuses_leaves_the_job_as_it_was(lab: Lab, account: Cloud) -> None:
    batch = made(account, -0.25, open=True)
    lab.type("import", "person", batch)
    before = lab.tree()

    answer = lab.type("retry", "--rebatch", "--failed", "--yes")

    assert answer.code == 1
    assert "/rebatch: 400" in answer.err
    assert answer.out == f"{named(handles(account, batch)[0])}: not sent, failed\n"
    assert lab.tree() == before


def test_by_way_of_ovh_nothing_is_copied(lab: Lab, account: Cloud) -> None:
    batch = made(account, -0.25)
    lab.type("import", "ovh", batch)

    answer = lab.type("retry", "--rebatch", "--failed", "--yes")

    assert (answer.code, len(batches(account))) == (1, 1)
    assert "access by way of OVH offers no batches made from others" in answer.err


# --- a project that holds imports alone, and ids to copy --------------------------------------------------------------


def test_a_sync_without_any_manifest_brings_home_what_was_taken_in(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, 0.5, device_type=DOWN)
    lab.type("import", "person", batch)

    waiting = lab.type("sync")
    account.get("PATCH", f"/api/v2/batches/{batch}/cancel")
    ended = lab.type("sync")
    before, phases = lab.tree(), lab.phases()
    again = lab.type("sync")

    assert (waiting.code, waiting.out) == (0, "import-person: 2 live; results in results/import-person\n")
    assert (ended.code, list(phases.values())) == (0, ["cancelled", "cancelled"])
    assert "cancelled  import-person." in ended.err
    assert (again.code, again.out.startswith("nothing to do")) == (0, True)
    assert lab.tree() == before


def test_a_sync_looks_at_those_imported_jobs_alone_that_are_named(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, 0.5, device_type=DOWN)
    lab.type("import", "person", batch)
    account.get("PATCH", f"/api/v2/batches/{batch}/cancel")
    first, second = (handle.split("/")[1] for handle in handles(account, batch))

    answer = lab.type("sync", "--only", f"import-person.{first}")

    assert answer.code == 0, answer.err
    assert lab.phases() == {first: "cancelled", second: "live"}


def test_a_sync_where_there_is_nothing_at_all_says_what_is_missing(lab: Lab) -> None:
    answer = lab.type("sync")

    words = 'no manifest is named and none is in reach; name one, or make one with "qrun init"\n'
    assert (answer.code, answer.err) == (64, words)


def test_the_ids_of_a_list_stand_in_one_column_and_whole(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, 0.5)

    header, *lines = lab.type("status", "--remote", "person").out.splitlines()

    assert {line.split()[0] for line in lines} == set(handles(account, batch))
    assert {line.index("DONE") for line in lines} == {header.index("STATUS")}


def test_what_stays_open_is_told_when_another_batch_is_closed(lab: Lab, account: Cloud) -> None:
    for name in ("one", "two"):
        lab.manifest(name, {"a": {"params": {"omega": 0.25}}}, submit={"open": True})
        lab.type("apply", f"specs/{name}.yaml", "--yes")
    first, second = (batch["id"] for batch in batches(account))
    account.get("POST", f"/api/v2/batches/{first}/jobs", [{"runs": 20, "variables": {"omega": 0.5}}])

    answer = lab.type("close", "one.a")
    rest = lab.type("status")

    assert (answer.code, answer.out) == (0, f"closed {first} on person (1 job)\n")
    assert rest.err == f"batch {second} on person is open (1 job): qrun close two.a\n"


def test_the_times_of_a_job_are_shown_in_their_order(lab: Lab) -> None:
    lab.jobs(one=0.25)
    lab.type("apply", "--yes")

    shown = [line.split()[0] for line in lab.type("show", "exp.one").out.splitlines() if line.strip()]

    assert [word for word in shown if word in ("sent", "created", "started", "ended")] == [
        "sent",
        "created",
        "started",
        "ended",
    ]


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        (("--status", "ERROR"), [0, 1, 2]),
        (("--status", "CANCELED"), []),
        (("--status", "CANCELED", "--status", "ERROR", "--min-shots", "20"), [1, 2]),
        (("--max-shots", "20"), [0, 1]),
        (("--min-shots", "15", "--max-shots", "25"), [1]),
    ],
)
def test_of_the_imported_jobs_those_run_once_more_that_the_filters_let_through(
    lab: Lab, account: Cloud, filters: tuple[str, ...], meant: list[int]
) -> None:
    account.faults("POST /api/v1/batches: fail=broken x1")
    batch = account.create(jobs=[{"runs": runs, "variables": {"omega": 0.25}} for runs in (10, 20, 30)])["id"]
    account.settled(batch)
    lab.type("import", "person", batch)
    failed = handles(account, batch)

    answer = lab.type("retry", "--rebatch", "--failed", "--yes", *filters)

    assert answer.code == 0, answer.err
    copied = [job["parent_id"] for other in batches(account) if other["parent_id"] for job in other["jobs"]]
    assert copied == [failed[place].split("/")[1] for place in meant]
    assert meant or answer.out == "nothing to do: no imported job is like that\n"


def test_filters_of_imported_jobs_are_for_these_alone(lab: Lab) -> None:
    answer = lab.type("retry", "--failed", "--min-shots", "2")

    assert (answer.code, answer.err) == (64, "--min-shots is about imported jobs; add --rebatch, or name the jobs\n")
