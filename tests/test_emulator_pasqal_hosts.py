"""The stand-in of Pasqal Cloud: tokens, projects, devices, results, faults and books."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from qrun.emulators import Options
from qrun.emulators.pasqal import stand_in
from qrun.emulators.pasqal.engine import missing
from qrun.errors import SettingsError
from tests.emulator import Reply, fetch, request
from tests.emulator_pasqal import Cloud, shared, told, without_physics


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    account = shared().new_account()
    yield account
    account.close()


@pytest.fixture
def slow() -> Iterator[Cloud]:
    """An account whose batches never leave the queue by themselves."""
    account = shared().new_account(queue_delay=3600.0)
    yield account
    account.close()


def token(cloud: Cloud, **form: Any) -> str:
    reply = cloud.login(**form)
    assert reply.status == 200, reply.content
    found: str = reply.json["access_token"]
    return found


def claims(text: str) -> dict[str, Any]:
    part = text.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


SERVICE: Mapping[str, Any] = {"grant_type": "client_credentials", "realm": None, "username": None, "password": None}


def service(cloud: Cloud) -> dict[str, Any]:
    client, _, secret = cloud.token.partition(".")
    return {**SERVICE, "client_id": client, "client_secret": secret}


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_person_gets_a_token_that_opens_the_core(cloud: Cloud) -> None:
    reply = cloud.login()

    made = cloud.bearing(reply.json["access_token"]).create()

    assert {name: reply.json[name] for name in ("expires_in", "token_type", "scope")} == {
        "expires_in": 86400,
        "token_type": "Bearer",
        "scope": "openid profile email",
    }
    assert abs(claims(reply.json["access_token"])["exp"] - time.time() - 86400) < 60
    assert made["user_id"] == f"auth0|{cloud.username}"


def test_a_service_gets_a_token_and_is_somebody_else(cloud: Cloud) -> None:
    made = cloud.bearing(token(cloud, **service(cloud))).create()

    assert made["user_id"] == f"{cloud.token.partition('.')[0]}@clients"
    assert [row["id"] for row in cloud.get("GET", "/api/v1/batches", user_id=made["user_id"])] == [made["id"]]


def test_the_other_region_asks_without_a_realm_and_json_will_do(cloud: Cloud) -> None:
    form = {"grant_type": "password", "client_id": "cloud-sdk", "username": cloud.username, "password": cloud.token}
    path = "/realms/pasqal-cloud/protocol/openid-connect/token"

    reply = request(cloud.url, "POST", path, json.dumps(form).encode(), {"content-type": "application/json"})

    assert reply.status == 200


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"password": "wrong"}, 403, "invalid_grant"),
        ({"username": "nobody"}, 403, "invalid_grant"),
        ({"password": None}, 400, "invalid_request"),
        ({"client_id": "unknown"}, 401, "invalid_client"),
        ({"realm": None}, 400, "invalid_request"),
        ({"audience": "https://example.org"}, 403, "access_denied"),
        ({"grant_type": None}, 400, "unsupported_grant_type"),
        ({"grant_type": "implicit"}, 403, "unsupported_grant_type"),
        ({**SERVICE, "client_id": "nobody", "client_secret": "x"}, 401, "access_denied"),
        ({**SERVICE, "client_id": "nobody", "client_secret": "x", "audience": None}, 403, "access_denied"),
    ],
)
def test_who_may_not_get_a_token_is_told_in_the_words_of_oauth(
    cloud: Cloud, form: dict[str, Any], status: int, error: str
) -> None:
    reply = cloud.login(**form)

    assert (reply.status, reply.json["error"]) == (status, error)
    assert set(reply.json) == {"error", "error_description"}
    assert cloud.books()["tokens"] == 0


def test_a_token_ends_with_its_life() -> None:
    account = shared().new_account(life=0.0)

    reply = account.bearing(token(account)).ask("GET", "/api/v1/batches")

    assert (reply.status, told(reply)) == (401, "Could not validate credentials")
    account.close()


def test_a_token_may_hide_its_life_or_all_there_is_to_read() -> None:
    silent, opaque = shared().new_account(told=False), shared().new_account(told=False, jwt=False)

    first, second = silent.login().json, opaque.login().json

    assert "expires_in" not in first
    assert claims(first["access_token"])["exp"] > time.time()
    assert "." not in second["access_token"]
    assert opaque.bearing(second["access_token"]).get("GET", "/api/v1/batches") == []
    silent.close()
    opaque.close()


def test_without_a_good_token_there_is_nothing(cloud: Cloud) -> None:
    paths = ("/api/v1/batches", "/api/v2/jobs", "/api/v1/devices/specs")

    replies = [cloud.ask("GET", path, token=given) for path in paths for given in (None, "wrong.token")]
    projects = request(f"{cloud.url}/account", "GET", "/api/v1/projects", None, {})

    assert {reply.status for reply in [*replies, projects]} == {401}


def test_projects_are_those_of_the_account(cloud: Cloud) -> None:
    def names(query: str) -> list[str]:
        headers = {"authorization": f"Bearer {cloud.token}"}
        reply = request(f"{cloud.url}/account", "GET", f"/api/v1/projects{query}", None, headers)
        return [project["name"] for project in reply.json["data"]]

    assert names("?project_status=ACTIVE") == ["main", "second"]
    assert names("?project_status=ARCHIVED") == ["old"]
    assert names("") == ["main", "second", "old"]


# --- devices ----------------------------------------------------------------------------------------------------------


def test_specs_are_told_with_a_token_and_without(cloud: Cloud) -> None:
    own = cloud.get("GET", "/api/v1/devices/specs")
    public = cloud.ask("GET", "/api/v1/devices/public-specs", token=None).json["data"]
    one = cloud.get("GET", "/api/v1/devices/specs/FRESNEL")

    assert json.loads(own["FRESNEL"])["max_runs"] == 2000
    assert {each["device_type"]: each["specs"] for each in public} == own
    assert one == {"FRESNEL": own["FRESNEL"]}
    assert "FRESNEL_RD" not in own
    assert cloud.ask("GET", "/api/v1/devices/specs/NONSUCH").status == 404


def test_the_state_of_devices_needs_no_token(cloud: Cloud) -> None:
    (state,) = cloud.ask("GET", "/api/v1/devices", token=None, device_type="FRESNEL_SA1").json["data"]
    everything = cloud.ask("GET", "/api/v1/devices", token=None).json["data"]

    assert (state["status"], state["availability"]) == ("DOWN", "INACTIVE")
    assert {each["device_type"]: each["status"] for each in everything}["EMU_FREE"] == "UP"
    assert cloud.ask("GET", "/api/v1/devices", device_type="NONSUCH").status == 422


# --- the results host -------------------------------------------------------------------------------------------------


def link_of(cloud: Cloud) -> str:
    made = cloud.create()
    cloud.at(made["id"])
    found: str = cloud.get("GET", f"/api/v1/jobs/{made['jobs'][0]['id']}/results_link")["results_link"]
    return found


def test_a_link_is_of_another_host_and_refuses_a_second_credential(cloud: Cloud) -> None:
    link = link_of(cloud)

    good = fetch(link)
    with_token = request(link, "GET", "", None, {"authorization": f"Bearer {cloud.token}"})

    assert urlsplit(link).netloc != urlsplit(cloud.url).netloc
    assert (good.status, good.headers["content-type"]) == (200, "application/json")
    assert with_token.status == 400
    assert b"Only one auth mechanism allowed" in with_token.content


def test_a_link_expires(cloud: Cloud) -> None:
    link = link_of(cloud)
    cloud.faults("GET /emulator-jobs/*: expired x1")

    first, second = fetch(link), fetch(link)

    assert (first.status, second.status) == (403, 200)
    assert b"Request has expired" in first.content


def test_a_link_that_was_changed_is_refused(cloud: Cloud) -> None:
    assert fetch(link_of(cloud).replace("Signature=", "Signature=x")).status == 403


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_batch_is_created_although_the_answer_is_a_gateway_timeout(slow: Cloud) -> None:
    slow.faults("POST /api/v1/batches: 504-after x1")

    reply = slow.ask("POST", "/api/v1/batches", slow.draft(tags=["qr1lost"]))

    assert (reply.status, told(reply)) == (504, "A fault that was asked for")
    assert [row["tags"] for row in slow.get("GET", "/api/v1/batches", tag="qr1lost")] == [["qr1lost"]]
    assert slow.books()["created_by_tag"] == {"qr1lost": 1}


def test_each_part_of_the_cloud_words_a_fault_in_its_own_way(cloud: Cloud) -> None:
    cloud.faults(
        "GET /api/v1/batches: 429 retry-after=7 x1",
        "POST /oauth/token: 429 message=slow x1",
        "GET /emulator-jobs/*: 404 x1",
        "GET /api/v1/batches: 503 body=html x1",
    )

    core, page = cloud.ask("GET", "/api/v1/batches"), cloud.ask("GET", "/api/v1/batches")
    login = cloud.login()
    storage = fetch(link_of(cloud))

    assert (core.status, core.headers["retry-after"], core.json["code"]) == (429, "7", "429")
    assert (page.status, page.headers["content-type"]) == (503, "text/html")
    assert (login.status, login.json) == (429, {"error": "emulator_fault", "error_description": "slow"})
    assert b"NoSuchKey" in storage.content


@pytest.mark.parametrize("path", ["/api/v1/batches", "/api/v2/jobs"])
def test_lists_may_lag_behind(slow: Cloud, path: str) -> None:
    slow.faults("POST /api/v1/batches: lag=3600")

    made = slow.create(tags=["x"])

    assert slow.get("GET", path) == []
    assert slow.batch(made["id"])["id"] == made["id"]


def test_jobs_that_were_added_may_be_missing_from_lists(slow: Cloud) -> None:
    made = slow.create(open=True)
    slow.faults("POST /api/v2/batches/*/jobs: lag=3600")

    added = slow.get("POST", f"/api/v2/batches/{made['id']}/jobs", [{"runs": 1, "variables": {"omega": 0.5}}])

    assert len(added["jobs"]) == 2
    assert len(slow.jobs(made["id"])) == 1


def test_jobs_fail_or_hang_as_they_are_told(cloud: Cloud) -> None:
    cloud.faults(
        "POST /api/v1/batches: fail=broken x1",
        "POST /api/v1/batches: fail-before=unready x1 skip=1",
        "POST /api/v1/batches: stuck x1 skip=2",
    )
    first, second, third = (cloud.create()["id"] for _ in range(3))

    ends = [cloud.at(first), cloud.at(second), cloud.at(third, "RUNNING")]

    assert [end["status"] for end in ends] == ["DONE", "DONE", "RUNNING"]
    assert [cloud.jobs(each)[0]["errors"] for each in (first, second)] == [["broken"], ["unready"]]
    assert [batch["jobs"][0]["starts"] for batch in cloud.books()["batches"][:2]] == [1, 0]
    cloud.get("PATCH", f"/api/v2/jobs/{cloud.jobs(third)[0]['id']}/cancel")
    assert cloud.at(third)["status"] == "DONE"


def test_a_stuck_job_holds_nobody_up(cloud: Cloud) -> None:
    cloud.faults("POST /api/v1/batches: stuck x1")
    stuck = cloud.create(device_type="FRESNEL")["id"]
    other = cloud.create(device_type="FRESNEL")["id"]

    assert cloud.at(other)["status"] == "DONE"
    assert cloud.batch(stuck)["status"] == "RUNNING"


def test_a_replayed_request_makes_two(slow: Cloud) -> None:
    slow.faults("POST /api/v1/workloads: replay x1")
    body = {"workload_type": "a", "backend": "digital", "config": {}, "project_id": slow.project}

    slow.get("POST", "/api/v1/workloads", body)

    assert len(slow.books()["workloads"]) == 2


# --- books ------------------------------------------------------------------------------------------------------------


def test_the_books_tell_what_was_created_asked_and_begun(cloud: Cloud) -> None:
    mark = "qr1" + "a" * 26
    jobs = [{"runs": 5, "variables": {"omega": 0.5}}, {"runs": 5, "variables": {"omega": -1.0}}]
    made = cloud.create(tags=[mark, "team"], jobs=jobs)
    cloud.at(made["id"])
    cloud.at(cloud.get("POST", f"/api/v1/batches/{made['id']}/rebatch")["id"])
    cloud.get("PATCH", f"/api/v1/batches/{made['id']}/tags", [mark])

    books = cloud.books()

    assert books["created_by_tag"] == {mark: 1, "team": 1}
    assert [len(batch["jobs"]) for batch in books["batches"]] == [2, 2]
    assert (books["live"], books["starts"], books["empty_cancels"]) == (0, 4, 0)
    assert books["routes"]["POST /api/v1/batches"] == {"asked": 1, "done": 1}
    assert cloud.markers() == {mark: {"batches": 1, "copies": 1, "jobs": 4, "started": 4}}


def test_an_account_that_is_closed_leaves_nothing() -> None:
    account = shared().new_account()
    link = link_of(account)

    account.close()

    assert fetch(link).status == 404
    assert account.ask("GET", "/api/v1/batches").status == 401


# --- the whole --------------------------------------------------------------------------------------------------------


def test_requests_beyond_the_rate_are_refused_by_core_and_tokens() -> None:
    with without_physics(rate=0.001, retry_after="3") as cloud:
        first = cloud.ask("GET", "/api/v1/batches")
        second = cloud.ask("GET", "/api/v1/batches")
        login = cloud.login()

    assert (first.status, second.status, second.headers["retry-after"]) == (200, 429, "3")
    assert (login.status, login.json["error"]) == (429, "too_many_attempts")


def test_accounts_can_be_given() -> None:
    with without_physics(accounts=(("a", "one.secret"), ("b", "two.secret"))) as cloud:
        other: Reply = cloud.login(username="b", password="two.secret")

    assert (cloud.username, other.status) == ("a", 200)


@pytest.mark.skipif(missing() is None, reason="the extra pulser is installed")
def test_without_the_simulator_it_refuses_to_start() -> None:
    with pytest.raises(SettingsError) as caught:
        stand_in(Options())

    assert str(caught.value) == (
        "the stand-in of pasqal needs pulser, which is not installed; pip install 'qrun-quantum[emulator,pulser]'"
    )
