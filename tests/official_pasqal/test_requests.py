"""What qrun sends to Pasqal Cloud, field by field, beside what its official client sends for the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from tests.emulator_pasqal import PARAMETRIZED, Cloud
from tests.official.recorder import Sent
from tests.official_pasqal.apart import ALWAYS, MARK, apart, changes, different_names, route, taken_apart
from tests.official_pasqal.author import Author
from tests.official_pasqal.conftest import DOWN, by_ovh, connected
from tests.official_pasqal.recorder import between

pytest.importorskip("pasqal_cloud", reason="the official client is not installed")

filters: Any = import_module("pasqal_cloud.utils.filters")
device: Any = import_module("pasqal_cloud.device")
backend: Any = import_module("pulser.backend")

CORE: Final = "/core-fast/api"
CREATE: Final = f"POST {CORE}/v1/batches"
WORK: Final = f"POST {CORE}/v1/workloads"
COPIED: Final = frozenset({f"POST {CORE}/v1/batches/*/rebatch"})
# Where they differ in some of the cases.
NOW_AND_THEN: Final[Mapping[str, str]] = {
    "header content-encoding": "the client packs two requests; qrun sends what anybody can read on the wire",
    "body tags": "qrun's two marks stand before the user's tags",
    "body configuration": "the client also says what is usual; qrun says what the manifest says",
}


def job(omega: float, runs: int = 20) -> dict[str, Any]:
    return {"runs": runs, "variables": {"omega": omega}}


# --- the cases --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """The same by both, with all requests that change something; `also` are the differences beyond those that are
    always there.
    """

    routes: frozenset[str]
    client: Callable[[Any], object]
    author: Callable[[Author], object]
    connect: Callable[[Cloud], Any] = connected
    fault: str | None = None
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
    author.type("sync", "--wait", "exp.yaml")  # what runs is waited for before its tags are looked at
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


def stopped_by_client(client: Any) -> None:
    client.cancel_workload(client.create_workload("qadence_circuit", "pyqtorch", {"depth": 3}).id)


def stopped_by_author(author: Author) -> None:
    author.write("work.json", '{"depth": 3}')
    worked_by_author(author)
    author.type("cancel", "-m", "exp.yaml", "exp.j0")


CONFIG: Final[str] = backend.EmulationConfig(observables=[backend.BitStrings(num_shots=20)]).to_abstract_repr()
USUAL: Final = {"strict_validation": False, "result_types": None}
CASES: Final[Mapping[str, Case]] = {
    "a closed batch": Case(
        routes=frozenset({CREATE}),
        client=lambda client: client.create_batch(PARAMETRIZED, [job(0.25), job(0.5, 30)], device_type="EMU_FREE"),
        author=lambda author: author.apply(job(0.25), job(0.5, 30)),
    ),
    "a batch with tags and a configuration": Case(
        routes=frozenset({CREATE}),
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
        routes=frozenset({CREATE}),
        client=lambda client: client.create_batch(
            PARAMETRIZED, [job(0.25)], device_type="EMU_FREE", backend_configuration=CONFIG
        ),
        author=lambda author: author.apply(job(0.25), options={"backend_configuration": json.loads(CONFIG)}),
    ),
    "an open batch that grows and is closed": Case(
        routes=frozenset({CREATE, f"POST {CORE}/v2/batches/*/jobs", f"PATCH {CORE}/v2/batches/*/complete"}),
        client=grown_by_client,
        author=grown_by_author,
    ),
    "tags that are changed": Case(
        routes=frozenset({CREATE, f"PATCH {CORE}/v1/batches/*/tags"}),
        client=tagged_by_client,
        author=tagged_by_author,
    ),
    "cancels of one job, of several and of a batch": Case(
        routes=frozenset(
            {
                CREATE,
                f"PATCH {CORE}/v2/jobs/*/cancel",
                f"PATCH {CORE}/v2/batches/*/cancel/jobs",
                f"PATCH {CORE}/v1/batches/cancel",
            }
        ),
        client=cancelled_by_client,
        author=cancelled_by_author,
    ),
    "a workload": Case(routes=frozenset({WORK}), client=worked_by_client, author=worked_by_author, also=frozenset()),
    "a workload that is cancelled": Case(
        routes=frozenset({WORK, f"PUT {CORE}/v1/workloads/*/cancel"}),
        client=stopped_by_client,
        author=stopped_by_author,
        also=frozenset(),
        fault="POST /api/v1/workloads: stuck",
    ),
    "a batch by way of OVH": Case(
        routes=frozenset({f"POST {CORE}/v1/third-party-access/ovh/batches"}),
        client=lambda client: client.create_batch(PARAMETRIZED, [job(0.25)], device_type="EMU_FREE"),
        author=lambda author: author.apply(job(0.25), provider="by-ovh"),
        connect=by_ovh,
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_qrun_sends_what_the_official_client_sends(name: str, cloud: Cloud, folder: Path) -> None:
    case = CASES[name]
    if case.fault is not None:
        cloud.faults(case.fault)

    with between(cloud) as (seen, sent):
        case.client(case.connect(seen))
        theirs = changes(sent)
    with between(cloud) as (seen, sent):
        case.author(Author(folder, seen))
        ours = changes(sent)

    assert [route(each, cloud) for each in ours] == [route(each, cloud) for each in theirs]
    assert {route(each, cloud) for each in theirs} == case.routes
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
        author = Author(folder, seen)
        imported = author.run("import", "there", batch, env=author.secrets)
        author.type("retry", "--rebatch", "--failed", "--yes")
        ours = changes(sent)
    with between(cloud) as (seen, sent):  # the client after qrun, which would take in its copy
        connected(seen).rebatch(batch, filters.RebatchFilters(id=ids))
        theirs = changes(sent)

    assert imported.code == 3  # its jobs have failed
    assert [{route(each, cloud)} for each in (*theirs, *ours)] == [COPIED, COPIED]
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
