"""What qrun sends to Pasqal Cloud, field by field, beside what its official client sends for the same."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import pytest

from tests.desk import PROJECT, Desk
from tests.emulator_pasqal import PARAMETRIZED, Cloud
from tests.official.recorder import Sent
from tests.official_pasqal.conftest import connected
from tests.official_pasqal.recorder import between

pytest.importorskip("pasqal_cloud", reason="the official client is not installed")

filters: Any = import_module("pasqal_cloud.utils.filters")
device: Any = import_module("pasqal_cloud.device")
backend: Any = import_module("pulser.backend")

DOWN: Final = "FRESNEL_SA1"  # takes batches and never begins them
OF_THE_CLOUD: Final = frozenset({"header host", "header authorization", "header content-length"})
ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MARK: Final = re.compile(r"qr[1x][a-z2-7]{26}")

# Where the two differ in whatever is sent, and why.
ALWAYS: Final[Mapping[str, str]] = {
    "header user-agent": "each says who it is",
    "header accept-encoding": "qrun counts an answer's bytes as they come, so none may be packed",
    "header accept": "qrun takes JSON alone",
    "header connection": "both keep it open; qrun leaves it unsaid, as is usual since HTTP/1.1",
}
# Where they differ in some of the cases.
NOW_AND_THEN: Final[Mapping[str, str]] = {
    "header content-encoding": "the client packs two requests; qrun sends what anybody can read on the wire",
    "body tags": "qrun's two marks stand before the user's tags",
    "body configuration": "the client also says what is usual; qrun says what the manifest says",
}


def job(omega: float, runs: int = 20) -> dict[str, Any]:
    return {"runs": runs, "variables": {"omega": omega}}


# --- the cases --------------------------------------------------------------------------------------------------------


class Author(Desk):
    """Somebody with a project of qrun and one account, who types commands."""

    def __init__(self, folder: Path, account: Cloud) -> None:
        super().__init__(folder)
        self.secrets = {"PASQAL_PASSWORD": account.token}
        self.write("rabi.json", PARAMETRIZED)
        self.write("work.json", '{"depth": 3, "angles": [0.1, 0.25]}')
        self.write(
            "qrun.toml",
            f'project = "{PROJECT}"\n[connections.there]\ntype = "pasqal"\nproject_id = "{account.project}"\n'
            f'core_url = "{account.core}"\naccount_url = "{account.url}/account"\ntoken_url = "{account.token_url}"\n'
            f'username = "{account.username}"\npassword = {{ env = "PASQAL_PASSWORD" }}\n',
        )

    def apply(self, *jobs: Mapping[str, Any], name: str = "exp", **common: Any) -> None:
        """The manifest has these jobs now."""
        named = {
            f"j{place}": {"shots": each["runs"], "params": each["variables"]} if "runs" in each else each
            for place, each in enumerate(jobs)
        }
        usual = {"provider": "there", "device": "EMU_FREE", "program": "rabi.json"}
        self.write(f"{name}.yaml", json.dumps({"name": name, "defaults": {**usual, **common}, "jobs": named}))
        self.type("apply", "--yes", f"{name}.yaml", "--no-wait")

    def type(self, *words: str) -> None:
        answer = self.run(*words, env=self.secrets)
        assert answer.code == 0, answer.err


@dataclass(frozen=True, kw_only=True)
class Case:
    """The same by both; `also` are the differences beyond those that are always there."""

    client: Callable[[Any], object]
    author: Callable[[Author], object]
    also: frozenset[str] = frozenset({"header content-encoding", "body tags"})


def grown_by_client(client: Any) -> None:
    made = client.create_batch(PARAMETRIZED, [job(0.25)], open=True, device_type="EMU_FREE")
    client.add_jobs(made.id, [job(0.5), job(0.75, 30)])
    client.close_batch(made.id)


def grown_by_author(author: Author) -> None:
    author.apply(job(0.25), submit={"open": True})
    author.apply(job(0.25), job(0.5), job(0.75, 30), submit={"open": True})
    author.type("close", "-m", "exp.yaml", "exp.j0")


def tagged_by_client(client: Any) -> None:
    made = client.create_batch(PARAMETRIZED, [job(0.25)], device_type="EMU_FREE", tags=["a"])
    client.set_batch_tags(made.id, ["a", "b"])


def tagged_by_author(author: Author) -> None:
    author.apply(job(0.25), tags=["a"])
    author.apply(job(0.25), tags=["a", "b"])


def cancelled_by_client(client: Any) -> None:
    made = client.create_batch(PARAMETRIZED, [job(place / 8) for place in range(5)], device_type=DOWN)
    first, *_, fourth, fifth = [each.id for each in made.ordered_jobs]
    client.cancel_job(first)
    client.cancel_jobs(made.id, filters.CancelJobFilters(id=[fourth, fifth]))
    other = client.create_batch(PARAMETRIZED, [job(0.25)], device_type=DOWN)
    client.cancel_batches([other.id])


def cancelled_by_author(author: Author) -> None:
    jobs = [job(place / 8) for place in range(5)]
    author.apply(*jobs, device=DOWN)
    author.type("cancel", "-m", "exp.yaml", "exp.j0")
    author.type("cancel", "-m", "exp.yaml", "exp.j3", "exp.j4")
    author.apply(job(0.25), name="other", device=DOWN)
    author.type("cancel", "-m", "other.yaml", "other.j0")


def worked_by_client(client: Any) -> None:
    client.create_workload("qadence_circuit", "pyqtorch", {"depth": 3, "angles": [0.1, 0.25]})


def worked_by_author(author: Author) -> None:
    options = {"workload_type": "qadence_circuit"}
    author.apply({"kind": "workload", "device": "pyqtorch", "program": "work.json", "options": options})


CONFIG: Final[str] = backend.EmulationConfig(observables=[backend.BitStrings(num_shots=20)]).to_abstract_repr()
USUAL: Final = {"strict_validation": False, "result_types": None}
CASES: Final[Mapping[str, Case]] = {
    "a closed batch": Case(
        client=lambda client: client.create_batch(PARAMETRIZED, [job(0.25), job(0.5, 30)], device_type="EMU_FREE"),
        author=lambda author: author.apply(job(0.25), job(0.5, 30)),
    ),
    "a batch with tags and a configuration": Case(
        client=lambda client: client.create_batch(
            PARAMETRIZED,
            [job(0.25)],
            device_type="EMU_FREE",
            configuration=device.EmuFreeConfig(with_noise=True),
            tags=["night", "first"],
        ),
        author=lambda author: author.apply(
            job(0.25), options={"configuration": {"with_noise": True}}, tags=["night", "first"]
        ),
        also=frozenset({"header content-encoding", "body tags", "body configuration"}),
    ),
    "a batch with a backend configuration": Case(
        client=lambda client: client.create_batch(
            PARAMETRIZED, [job(0.25)], device_type="EMU_FREE", backend_configuration=CONFIG
        ),
        author=lambda author: author.apply(job(0.25), options={"backend_configuration": json.loads(CONFIG)}),
    ),
    "an open batch that grows and is closed": Case(client=grown_by_client, author=grown_by_author),
    "tags that are changed": Case(client=tagged_by_client, author=tagged_by_author),
    "cancels of one job, of several and of a batch": Case(client=cancelled_by_client, author=cancelled_by_author),
    "a workload": Case(client=worked_by_client, author=worked_by_author, also=frozenset()),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_qrun_sends_what_the_official_client_sends(name: str, cloud: Cloud, folder: Path) -> None:
    case = CASES[name]

    with between(cloud) as (seen, sent):
        case.client(connected(seen))
        theirs = changes(sent)
    with between(cloud) as (seen, sent):
        case.author(Author(folder, seen))
        ours = changes(sent)

    assert [route(each, cloud) for each in ours] == [route(each, cloud) for each in theirs]
    different = apart(theirs, ours, cloud)
    assert set(different) == ALWAYS.keys() | case.also
    assert case.also <= NOW_AND_THEN.keys()
    for one, two in different.get("body tags", []):
        assert [MARK.fullmatch(tag) is not None for tag in two] == [True, True, *[False] * len(one or [])]
        assert two[2:] == (one or [])
    for one, two in different.get("body configuration", []):
        assert one == {**USUAL, **two}


def test_jobs_are_copied_by_the_request_that_the_client_sends(cloud: Cloud, folder: Path) -> None:
    cloud.faults("POST /api/v1/batches: fail=broken x1")
    batch = cloud.create(jobs=[job(0.25), job(0.5)])["id"]
    cloud.settled(batch)
    ids = [each["id"] for each in cloud.jobs(batch)]

    with between(cloud) as (seen, sent):
        connected(seen).rebatch(batch, filters.RebatchFilters(id=ids))
        theirs = changes(sent)
    with between(cloud) as (seen, sent):
        author = Author(folder, seen)
        imported = author.run("import", "there", batch, env=author.secrets)
        author.type("retry", "--rebatch", "--failed", "--yes")
        ours = changes(sent)

    assert imported.code == 3  # its jobs have failed
    assert [route(each, cloud) for each in ours] == [route(each, cloud) for each in theirs]
    assert sorted(ours[0].query["id"]) == sorted(theirs[0].query["id"]) == sorted(ids)
    assert set(apart(theirs, ours, cloud)) == ALWAYS.keys()


def test_a_token_is_asked_for_as_the_client_asks(cloud: Cloud, folder: Path) -> None:
    def asked(sent: Sequence[Sent]) -> list[dict[str, Any]]:
        return [taken_apart(each, cloud) for each in sent if each.path == "/oauth/token"]

    with between(cloud) as (seen, sent):
        connected(seen)
        (theirs,) = asked(sent)
    with between(cloud) as (seen, sent):
        Author(folder, seen).type("devices", "there")
        (ours,) = asked(sent)

    form = {name for name in ours if name.startswith("form ")}
    assert form == {f"form {name}" for name in ("client_id", "grant_type", "realm", "audience", "username", "password")}
    assert {name: ours[name] for name in form} == {name: theirs[name] for name in form}
    assert different_names(theirs, ours) <= ALWAYS.keys()


def test_every_question_of_qrun_is_one_that_the_client_asks_too(cloud: Cloud, folder: Path) -> None:
    """Beside them stands what only the reference tells: the state of a device."""
    known = {
        "GET /core-fast/api/v1/batches": {"tag", "project_id", "limit", "offset"},
        "GET /core-fast/api/v1/batches/*/status": set(),
        "GET /core-fast/api/v2/batches/*": set(),
        "GET /core-fast/api/v2/jobs": {"batch_id", "order_by", "order_by_direction", "limit", "offset"},
        "GET /core-fast/api/v1/jobs/*/results_link": set(),
        "GET /core-fast/api/v1/devices/specs": set(),
        "POST /oauth/token": set(),
        "POST /core-fast/api/v1/batches": set(),
    }

    with between(cloud) as (seen, sent):
        Author(folder, seen).apply(job(0.25), job(0.5))
        Author(folder, seen).type("sync", "--wait", "exp.yaml")

    for each in sent:
        assert set(each.query) <= known[route(each, cloud)], each
    assert all(("authorization" in each.headers) is (each.path != "/oauth/token") for each in sent)
    assert all(each.headers["user-agent"].startswith("qrun/") for each in sent)


# --- requests, taken apart --------------------------------------------------------------------------------------------


def changes(sent: Sequence[Sent]) -> list[Sent]:
    """What is more than a question."""
    return [each for each in sent if each.method != "GET" and each.path != "/oauth/token"]


def route(sent: Sent, account: Cloud) -> str:
    return f"{sent.method} {unnamed(sent.path, account)}"


def unnamed(text: str, account: Cloud) -> str:
    """Without the ids that the cloud gives out; the project is no such id."""
    return ID.sub(lambda found: "PROJECT" if found[0] == account.project else "*", text)


def apart(theirs: Sequence[Sent], ours: Sequence[Sent], account: Cloud) -> dict[str, list[tuple[Any, Any]]]:
    """By the name of a field what each sends, where they differ."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    for pair in zip(theirs, ours, strict=True):
        one, two = (taken_apart(each, account) for each in pair)
        for name in different_names(one, two):
            found.setdefault(name, []).append((one.get(name), two.get(name)))
    return found


def different_names(one: Mapping[str, Any], two: Mapping[str, Any]) -> set[str]:
    return {name for name in {*one, *two} - OF_THE_CLOUD if one.get(name) != two.get(name)}


def taken_apart(sent: Sent, account: Cloud) -> dict[str, Any]:
    found: dict[str, Any] = {"query": unnamed(json.dumps(sent.query), account)}
    found |= {f"header {name}": value for name, value in sent.headers.items()}
    if sent.headers.get("content-type") == "application/x-www-form-urlencoded":
        return found | {f"form {name}": value for name, value in parse_qsl(sent.body.decode())}
    if not sent.body:
        return found
    data = gzip.decompress(sent.body) if sent.headers.get("content-encoding") == "gzip" else sent.body
    told = json.loads(data)
    if sent.path.endswith("/tags"):
        told = {"tags": told}
    members = told.items() if isinstance(told, dict) else [("", told)]
    return found | {f"body {name}".strip(): _plain(name, value, account) for name, value in members}


def _plain(name: str, value: Any, account: Cloud) -> Any:
    """One is JSON in a text, whose layout is nobody's concern."""
    plain = json.loads(value) if name == "backend_configuration" else value
    return json.loads(unnamed(json.dumps(plain), account))
