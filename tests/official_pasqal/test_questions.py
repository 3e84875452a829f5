"""What qrun asks Pasqal Cloud, beside what its official client asks; and that no request of the client is left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from tests.emulator_pasqal import PARAMETRIZED, Cloud
from tests.official.recorder import Sent
from tests.official_pasqal.apart import ALWAYS, different_names, route, taken_apart
from tests.official_pasqal.author import Author
from tests.official_pasqal.conftest import by_ovh, connected, where
from tests.official_pasqal.recorder import between
from tests.official_pasqal.test_requests import CASES, COPIED

pytest.importorskip("pasqal_cloud", reason="the official client is not installed")

filters: Any = import_module("pasqal_cloud.utils.filters")
http_client: Any = import_module("pasqal_cloud.http_client")
ovh: Any = import_module("pasqal_cloud.ovh")
PasqalCloudClient: Any = import_module("pasqal_cloud.pasqal_cloud_client").PasqalCloudClient

CORE: Final = "/core-fast/api"
OVH: Final = f"{CORE}/v1/third-party-access/ovh"
MARK: Final = "qr1abcdefghijklmnopqrstuvwxyz"

# What the client asks and qrun asks too.
BOTH: Final = frozenset(
    {
        f"GET {CORE}/v1/batches",
        f"GET {CORE}/v2/batches/*",
        f"GET {CORE}/v1/batches/*/status",
        f"GET {CORE}/v2/jobs",
        f"GET {CORE}/v2/jobs/*",
        f"GET {CORE}/v1/jobs/*/results_link",
        f"GET {CORE}/v2/workloads/*",
        f"GET {CORE}/v1/devices/specs",
        f"GET {CORE}/v1/devices/public-specs",
        "GET /account/api/v1/projects",
        f"GET {OVH}/batches/*",
        f"GET {OVH}/batches/*/status",
        f"GET {OVH}/jobs",
        f"GET {OVH}/jobs/*/results_link",
    }
)
# What qrun alone asks, and why.
MORE: Final[Mapping[str, str]] = {
    f"GET {CORE}/v1/devices": "whether a device is up; of the reference",
    f"GET {CORE}/v2/workloads": "of the reference; the client lists none",
}
# What the client alone sends, and why.
LESS: Final[Mapping[str, str]] = {
    f"PATCH {CORE}/v2/batches/*/cancel": "qrun cancels whole batches by the request that gives a reason for each",
    f"GET {CORE}/v1/jobs/*/status": "qrun asks so only for a job that no list shows after a minute",
    f"GET {OVH}/jobs/*/status": "the same",
}
# Where their questions differ, and why.
OTHERWISE: Final[Mapping[str, str]] = {
    **ALWAYS,
    "header content-type": "the client names the type of a body also where it sends none",
    "query limit": "qrun always says how long a page may be",
    "query offset": "and where it begins",
}
# The same for one route.
ALSO: Final[Mapping[str, Mapping[str, str]]] = {
    f"GET {CORE}/v1/devices/public-specs": {"header authorization": "qrun says who it is wherever it has a token"},
}


def asked_by_client(account: Cloud, batches: Sequence[str], workload: str) -> None:
    client = connected(account)
    first = client.get_batch(batches[0])
    client.get_batch_status(first.id)
    assert first.ordered_jobs[0].result
    client.get_job(first.ordered_jobs[0].id)
    client.get_batches(filters.BatchFilters(tag=MARK, project_id=account.project))
    client.get_batches(filters.BatchFilters(tag=MARK))
    client.get_batches(filters.BatchFilters(id=list(batches)))
    client.get_jobs(filters.JobFilters(project_id=account.project, status="DONE"))
    client.get_jobs(filters.JobFilters(project_id=account.project))
    client.get_workload(workload)
    client.get_device_specs_dict()
    client.get_all_projects()
    PasqalCloudClient(endpoints=where(account)["endpoints"]).get_device_specs_dict()
    other = by_ovh(account)
    batch = other.create_batch(PARAMETRIZED, [{"runs": 20, "variables": {"omega": 0.25}}], device_type="EMU_FREE")
    other._wait_for_batch_terminal(batch.id)  # noqa: SLF001 - what `wait=True` does, which is another request
    assert other.get_batch(batch.id).ordered_jobs[0].result


def asked_by_author(author: Author, batches: Sequence[str], workload: str) -> None:
    author.type("import", "there", batches[0])
    author.type("import", "there", workload, "--as", "work")
    author.apply(*({"runs": 30, "variables": {"omega": place / 8}} for place in range(3)), submit={"pack": 1})
    author.type("sync", "--wait", "exp.yaml")
    author.type("status", "--remote", "there", "--status", "DONE")
    author.type("status", "--remote", "there")
    author.type("devices", "there")
    author.apply({"runs": 40, "variables": {"omega": 0.5}}, name="nameless", provider="nameless", code=1)
    author.apply({"runs": 50, "variables": {"omega": 0.5}}, name="other", provider="by-ovh")
    author.type("sync", "--wait", "other.yaml")
    author.type("import", "by-ovh", batches[1])
    author.type("devices", "by-ovh")


def test_every_question_of_qrun_is_one_that_the_client_asks_too(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    batches = [cloud.create(jobs=[{"runs": 20, "variables": {"omega": 0.25}}])["id"] for _ in range(3)]
    for batch in batches:
        cloud.settled(batch)
    work = {"workload_type": "a", "backend": "digital", "config": {"a": 1}, "project_id": cloud.project}
    workload = cloud.get("POST", "/api/v1/workloads", work)["id"]

    with between(cloud) as (seen, sent):
        asked_by_client(seen, batches, workload)
        theirs = questions(sent, cloud)
    with between(cloud) as (seen, sent):
        asked_by_author(Author(tmp_path, seen), batches, workload)
        ours = questions(sent, cloud)

    assert theirs.keys() == BOTH
    assert ours.keys() == BOTH | MORE.keys()
    different = {name: unlike(theirs[name], ours[name]) for name in BOTH}
    assert {name: found - OTHERWISE.keys() for name, found in different.items()} == {
        name: set(ALSO.get(name, ())) for name in BOTH
    }
    assert OTHERWISE.keys() <= set().union(*different.values())


def test_no_request_of_the_client_is_left_out() -> None:
    """Its own table of routes, beside those that are compared here and in test_requests.py."""
    at = import_module("pasqal_cloud.endpoints").Endpoints(core="http://x/core-fast", account="http://x/account")
    known = {
        re.sub(r"\{\w+\}", "*", urlsplit(url).path)
        for kind in (http_client.HTTPClient, ovh.OvhClient)
        for url in kind(endpoints=at)._get_api_urls().values()  # noqa: SLF001 - told nowhere else
    }

    compared = BOTH | COPIED | {route for case in CASES.values() for route in case.routes}

    assert known == {each.partition(" ")[2] for each in compared | LESS.keys()}
    assert not compared & LESS.keys()


def questions(sent: Sequence[Sent], account: Cloud) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in sent:
        if each.method == "GET":
            found.setdefault(route(each, account), []).append(taken_apart(each, account))
    return found


def unlike(theirs: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]) -> set[str]:
    """Where any of ours differs from that of theirs which is most like it."""
    return {name for one in ours for name in min((different_names(two, one) for two in theirs), key=len)}
