"""`HTTPClient`, the layer of pasqal-cloud that knows the routes, one call each; and the same for customers of OVH."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tests.emulator import until
from tests.emulator_pasqal import FIXED, Cloud
from tests.official.surface import runs
from tests.official_pasqal.conftest import where

pytest.importorskip("pasqal_cloud", reason="the official client is not installed")

filters = import_module("pasqal_cloud.utils.filters")
BatchFilters, JobFilters, PaginationParams = filters.BatchFilters, filters.JobFilters, filters.PaginationParams
CancelJobFilters, RebatchFilters = filters.CancelJobFilters, filters.RebatchFilters
HTTPClient: Any = import_module("pasqal_cloud.http_client").HTTPClient
OvhClient: Any = import_module("pasqal_cloud.ovh").OvhClient
retry_http_error: Any = import_module("pasqal_cloud.utils.retry").retry_http_error


@pytest.fixture
def http(cloud: Cloud) -> Any:
    return logged_in(cloud)


def logged_in(account: Cloud) -> Any:
    return HTTPClient(project_id=account.project, username=account.username, password=account.token, **where(account))


def draft(**given: Any) -> dict[str, Any]:
    usual = {"sequence_builder": FIXED, "webhook": None, "jobs": [{"runs": 5}], "open": False, "device_type": "EMU_SV"}
    return usual | given


@runs(
    HTTPClient.user_token,
    HTTPClient.project_id,
    HTTPClient.send_batch,
    HTTPClient.get_batch,
    HTTPClient.get_batch_status,
    HTTPClient.get_batch_jobs,
    HTTPClient.get_job,
    HTTPClient.get_job_status,
    HTTPClient.get_job_results,
    HTTPClient.get_batches,
    HTTPClient.get_jobs,
    HTTPClient.rebatch,
)
def test_a_batch_from_its_creation_to_its_results(http: Any, cloud: Cloud) -> None:
    made = http.send_batch(draft(tags=["t"]))
    cloud.at(made["id"])
    (job,) = http.get_batch_jobs(made["id"])

    results = http.get_job_results(job["id"])
    page = http.get_batches(BatchFilters(tag="t"), PaginationParams())

    assert http.user_token().count(".") == 2
    assert made["project_id"] == http.project_id == cloud.project
    assert http.get_batch(made["id"])["job_ids"] == [job["id"]]
    assert http.get_batch_status(made["id"])["jobs_count_per_status"] == {"DONE": 1}
    assert (http.get_job(job["id"])["status"], http.get_job_status(job["id"])["status"]) == ("DONE", "DONE")
    assert (results["counter"], results["raw"]) == ({"11": 5}, ["11"] * 5)
    assert isinstance(results["serialised_results"], str)
    assert page["pagination"] == {"total": 1, "start": 0, "end": 1}
    assert http.get_jobs(JobFilters(batch_id=made["id"]), PaginationParams())["data"][0]["id"] == job["id"]
    assert http.rebatch(made["id"], RebatchFilters())["parent_id"] == made["id"]


@runs(
    HTTPClient.add_jobs,
    HTTPClient.close_batch,
    HTTPClient.set_batch_tags,
    HTTPClient.cancel_job,
    HTTPClient.cancel_jobs,
    HTTPClient.cancel_batch,
    HTTPClient.cancel_batches,
)
def test_a_batch_that_waits_is_changed_in_every_way(slow: Cloud) -> None:
    http = logged_in(slow)
    batch_id = http.send_batch(draft(open=True))["id"]

    jobs = http.add_jobs(batch_id, [{"runs": 6}, {"runs": 7}])["jobs"]
    closed = http.close_batch(batch_id)
    tagged = http.set_batch_tags(batch_id, ["x"])
    one = http.cancel_job(jobs[0]["id"])
    some = http.cancel_jobs(batch_id, CancelJobFilters(max_runs=6))
    rest = http.cancel_batch(batch_id)
    other = http.cancel_batches([http.send_batch(draft())["id"]])

    assert [job["runs"] for job in jobs] == [5, 6, 7]
    assert (closed["open"], tagged["tags"], one["status"]) == (False, ["x"], "CANCELED")
    assert [job["runs"] for job in some["jobs"]] == [6]
    assert (rest["status"], other["batches"][0]["status"]) == ("CANCELED", "CANCELED")


@runs(HTTPClient.send_workload, HTTPClient.get_workload, HTTPClient.cancel_workload)
def test_a_workload_is_sent_read_and_cancelled(slow: Cloud) -> None:
    http = logged_in(slow)
    made = http.send_workload({"workload_type": "a", "backend": "digital", "config": {}})

    assert http.get_workload(made["id"])["status"] == "PENDING"
    assert http.cancel_workload(made["id"])["status"] == "CANCELED"


@runs(
    HTTPClient.get_device_specs_dict,
    HTTPClient.get_public_device_specs,
    HTTPClient.get_all_active_projects,
    HTTPClient.project_id.fset,
    HTTPClient.unknown_endpoint_message,
)
def test_devices_projects_and_what_is_no_route(http: Any) -> None:
    assert http.get_device_specs_dict() == http.get_public_device_specs()
    projects = http.get_all_active_projects()
    assert [project["name"] for project in projects] == ["main", "second"]
    http.project_id = projects[1]["id"]
    assert http.send_batch(draft())["project_id"] == projects[1]["id"]
    with pytest.raises(ValueError, match="Unknown endpoint: nowhere"):
        http._get_url("nowhere")  # noqa: SLF001 - no public method asks for a route that is not there


def test_bodies_may_be_sent_unpacked(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASQAL_SKIP_GZIP_REQUEST_BODY", "1")

    assert logged_in(cloud).send_batch(draft())["status"] == "PENDING"


@runs(retry_http_error)
def test_a_refusal_for_now_is_waited_out_as_long_as_it_says(http: Any, cloud: Cloud, waits: list[float]) -> None:
    cloud.faults("GET /api/v1/batches: 429 retry-after=7 x2")

    assert http.get_batches(BatchFilters(), PaginationParams())["data"] == []
    assert (cloud.asked("GET /api/v1/batches"), waits) == (3, [7, 7])
    assert retry_http_error(max_retries=0)(lambda: 1)() == 1


@runs(
    OvhClient.project_id, OvhClient.project_id.fset, OvhClient.unknown_endpoint_message, OvhClient.get_device_specs_dict
)
def test_customers_of_ovh_have_no_project_and_few_routes(cloud: Cloud) -> None:
    client = OvhClient(username=cloud.username, password=cloud.token, **where(cloud))

    client.project_id = cloud.project
    made = client.send_batch(draft())
    until(lambda: client.get_batch_status(made["id"])["status"] == "DONE")

    (job,) = client.get_batch_jobs(made["id"])
    assert client.project_id == ""
    assert client.get_job_results(job["id"])["counter"] == {"11": 5}
    assert "FRESNEL" in client.get_device_specs_dict()
    with pytest.raises(ValueError, match="not supported by the OVH client"):
        client.cancel_batch(made["id"])
