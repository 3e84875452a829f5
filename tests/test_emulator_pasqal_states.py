"""The stand-in of Pasqal Cloud: how batches, jobs and workloads live and end."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from tests.emulator import fetch, until
from tests.emulator_pasqal import FIXED, Cloud, shared, told


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


@pytest.fixture
def long() -> Iterator[Cloud]:
    """An account whose jobs never end by themselves once they run."""
    account = shared().new_account(run_time=3600.0)
    yield account
    account.close()


def jobs(*omegas: float, runs: int = 10) -> list[dict[str, Any]]:
    return [{"runs": runs, "variables": {"omega": omega}} for omega in omegas]


def patch(cloud: Cloud, path: str, body: Any = None, **query: Any) -> Any:
    return cloud.get("PATCH", path, body, **query)


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_batch_is_done_though_some_of_its_jobs_failed(cloud: Cloud) -> None:
    made = cloud.create(jobs=jobs(0.5, -1.0))

    done = cloud.at(made["id"])
    _, failed = cloud.jobs(made["id"])
    link = cloud.get("GET", f"/api/v1/jobs/{failed['id']}/results_link")

    assert done["status"] == "DONE"
    assert done["jobs_count_per_status"] == {"DONE": 1, "ERROR": 1}
    assert failed["errors"] == ["ValueError: All amplitude values must be greater than or equal to zero"]
    assert link == {"results_link": None}


def test_a_qpu_runs_one_batch_after_the_other_and_one_job_after_the_other() -> None:
    account = shared().new_account(run_time=0.05)
    first = account.create(device_type="FRESNEL", jobs=jobs(0.1, 0.2))["id"]
    second = account.create(device_type="FRESNEL", jobs=jobs(0.3))["id"]

    account.at(second)

    spans = [(job["start_timestamp"], job["end_timestamp"]) for each in (first, second) for job in account.jobs(each)]
    assert [end <= start for (_, end), (start, _) in pairwise(spans)] == [True, True]
    account.close()


def test_an_open_batch_holds_its_qpu_until_it_is_closed(cloud: Cloud) -> None:
    first = cloud.create(device_type="FRESNEL", open=True)["id"]
    second = cloud.create(device_type="FRESNEL")["id"]
    assert cloud.settled(first) == ["DONE"]

    before = (cloud.batch(first)["status"], cloud.batch(second)["status"])
    patch(cloud, f"/api/v2/batches/{first}/complete")

    assert before == ("RUNNING", "PENDING")
    assert cloud.at(second)["status"] == "DONE"
    assert cloud.batch(first)["status"] == "DONE"


def test_a_batch_for_a_device_that_is_down_waits(cloud: Cloud) -> None:
    made = cloud.create(device_type="FRESNEL_SA1")

    assert cloud.at(cloud.create()["id"])["status"] == "DONE"
    assert (cloud.batch(made["id"])["status"], cloud.batch(made["id"])["device_status"]) == ("PENDING", "DOWN")


# --- open batches -----------------------------------------------------------------------------------------------------


def test_jobs_are_added_to_an_open_batch_while_it_runs(cloud: Cloud) -> None:
    batch_id = cloud.create(open=True, jobs=jobs(0.1))["id"]
    cloud.settled(batch_id)

    answer = cloud.get("POST", f"/api/v2/batches/{batch_id}/jobs", jobs(0.2, 0.3))
    cloud.settled(batch_id)
    running = cloud.batch(batch_id)
    closed = patch(cloud, f"/api/v2/batches/{batch_id}/complete")

    assert [job["variables"]["omega"] for job in answer["jobs"]] == [0.1, 0.2, 0.3]
    assert [job["creation_order"] for job in answer["jobs"]] == [0, 1, 2]
    assert (running["status"], running["open"], running["complete"]) == ("RUNNING", True, False)
    assert (closed["status"], closed["open"], closed["complete"]) == ("DONE", False, True)
    assert cloud.settled(batch_id) == ["DONE", "DONE", "DONE"]


def test_an_open_batch_may_be_empty(cloud: Cloud) -> None:
    batch_id = cloud.create(open=True, jobs=[])["id"]

    added = cloud.get("POST", f"/api/v2/batches/{batch_id}/jobs", jobs(0.2))

    assert len(added["jobs"]) == 1
    assert cloud.settled(batch_id) == ["DONE"]


def test_an_open_batch_that_idles_is_timed_out() -> None:
    account = shared().new_account(idle=0.05)
    batch_id = account.create(open=True)["id"]

    done = account.at(batch_id)
    reply = account.ask("POST", f"/api/v2/batches/{batch_id}/jobs", jobs(0.2))

    assert (done["status"], done["open"]) == ("TIMED_OUT", False)
    assert account.words(batch_id) == ["DONE"]
    assert (reply.status, told(reply)) == (400, "The batch is closed, no job can be added")
    account.close()


def test_a_batch_that_works_does_not_idle() -> None:
    account = shared().new_account(idle=0.0, run_time=0.2)
    batch_id = account.create(open=True, jobs=jobs(0.1, 0.2, 0.3))["id"]

    account.at(batch_id)

    assert account.words(batch_id) == ["DONE", "DONE", "DONE"]
    account.close()


def test_a_closed_batch_takes_no_jobs_and_is_closed_once(slow: Cloud) -> None:
    batch_id = slow.create(open=True)["id"]
    patch(slow, f"/api/v2/batches/{batch_id}/complete")

    added = slow.ask("POST", f"/api/v2/batches/{batch_id}/jobs", jobs(0.2))
    again = slow.ask("PATCH", f"/api/v2/batches/{batch_id}/complete")

    assert (added.status, again.status) == (400, 400)
    assert told(again) == "The batch is closed already"
    assert slow.words(batch_id) == ["PENDING"]


def test_added_jobs_are_checked_as_those_of_a_new_batch(slow: Cloud) -> None:
    batch_id = slow.create(open=True)["id"]

    reply = slow.ask("POST", f"/api/v2/batches/{batch_id}/jobs", [{"runs": 1}])
    none = slow.ask("POST", f"/api/v2/batches/{batch_id}/jobs", [])

    assert reply.json["data"]["description"][0]["loc"] == ["body", 0, "variables"]
    assert none.status == 422
    assert slow.words(batch_id) == ["PENDING"]


# --- cancels ----------------------------------------------------------------------------------------------------------


def test_a_job_that_waits_is_cancelled_at_once(slow: Cloud) -> None:
    made = slow.create(jobs=jobs(0.1, 0.2))

    answer = patch(slow, f"/api/v2/jobs/{made['jobs'][0]['id']}/cancel")

    assert answer["status"] == "CANCELED"
    assert slow.words(made["id"]) == ["CANCELED", "PENDING"]
    assert slow.batch(made["id"])["status"] == "PENDING"


def test_a_job_that_runs_is_first_being_cancelled(long: Cloud) -> None:
    made = long.create()
    long.at(made["id"], "RUNNING")
    until(lambda: long.words(made["id"]) == ["RUNNING"])

    answer = patch(long, f"/api/v2/jobs/{made['jobs'][0]['id']}/cancel")
    again = long.ask("PATCH", f"/api/v2/jobs/{made['jobs'][0]['id']}/cancel")

    assert answer["status"] == "CANCELING"
    assert again.status == 400
    assert long.settled(made["id"]) == ["CANCELED"]
    assert long.at(made["id"])["status"] == "DONE"


def test_what_has_ended_cannot_be_cancelled(cloud: Cloud) -> None:
    made = cloud.create()
    cloud.at(made["id"])

    job = cloud.ask("PATCH", f"/api/v2/jobs/{made['jobs'][0]['id']}/cancel")
    batch = cloud.ask("PATCH", f"/api/v2/batches/{made['id']}/cancel")

    assert (job.status, told(job)) == (400, "It is DONE and cannot be cancelled")
    assert (batch.status, told(batch)) == (400, "The batch is DONE and cannot be cancelled")


def test_cancelling_a_batch_leaves_what_runs_to_its_end() -> None:
    account = shared().new_account(run_time=1.0)
    made = account.create(device_type="FRESNEL", jobs=jobs(0.1, 0.2))
    until(lambda: account.words(made["id"]) == ["RUNNING", "PENDING"])

    answer = patch(account, f"/api/v2/batches/{made['id']}/cancel")

    assert answer["status"] == "CANCELING"
    assert [job["status"] for job in answer["jobs"]] == ["RUNNING", "CANCELED"]
    assert account.at(made["id"])["status"] == "CANCELED"
    assert account.words(made["id"]) == ["DONE", "CANCELED"]
    account.close()


def test_some_jobs_of_a_batch_are_cancelled_by_filter(slow: Cloud) -> None:
    made = slow.create(jobs=[*jobs(0.1, runs=10), *jobs(0.2, runs=20), *jobs(0.3, runs=30)])
    path = f"/api/v2/batches/{made['id']}/cancel/jobs"
    one, two, three = (job["id"] for job in made["jobs"])

    few = patch(slow, path, min_runs=25)
    named = patch(slow, path, id=[one, three])
    rest = patch(slow, path)

    assert ([job["id"] for job in few["jobs"]], few["errors"]) == ([three], {})
    assert [job["id"] for job in named["jobs"]] == [one]
    assert named["errors"] == {three: "It is CANCELED and cannot be cancelled"}
    assert [job["id"] for job in rest["jobs"]] == [two]
    assert set(rest["errors"]) == {one, three}
    assert slow.batch(made["id"])["status"] == "DONE"


def test_several_batches_are_cancelled_with_a_reason_for_each_that_was_not(slow: Cloud) -> None:
    one, two = (slow.create()["id"] for _ in range(2))
    patch(slow, f"/api/v2/batches/{two}/cancel")
    nobody = str(uuid4())

    found = patch(slow, "/api/v1/batches/cancel", {"batch_ids": [one, two, nobody]})

    assert [batch["id"] for batch in found["batches"]] == [one]
    assert found["errors"] == {two: "The batch is CANCELED and cannot be cancelled", nobody: "Not found"}
    assert slow.batch(one)["status"] == "CANCELED"


@pytest.mark.parametrize("body", [{"batch_ids": []}, {"batch_ids": None}, {}, []])
def test_cancelling_no_batch_is_refused_and_kept_in_the_books(slow: Cloud, body: Any) -> None:
    made = slow.create()

    reply = slow.ask("PATCH", "/api/v1/batches/cancel", body)

    assert reply.status == 422
    assert slow.batch(made["id"])["status"] == "PENDING"
    assert slow.books()["empty_cancels"] == 1


# --- once more, and tags ----------------------------------------------------------------------------------------------


def test_failed_jobs_are_done_again_in_a_new_batch(cloud: Cloud) -> None:
    made = cloud.create(tags=["qr1old"], jobs=jobs(0.5, -1.0, -2.0))
    cloud.at(made["id"])

    new = cloud.get("POST", f"/api/v1/batches/{made['id']}/rebatch", status=["ERROR", "CANCELED"])
    again = cloud.get("POST", f"/api/v1/batches/{made['id']}/rebatch", id=made["jobs"][0]["id"])

    assert (new["parent_id"], new["open"], new["tags"]) == (made["id"], False, ["qr1old"])
    assert [job["parent_id"] for job in new["jobs"]] == [job["id"] for job in made["jobs"][1:]]
    assert [job["variables"] for job in new["jobs"]] == [{"omega": -1.0}, {"omega": -2.0}]
    assert [job["runs"] for job in again["jobs"]] == [10]
    assert cloud.at(again["id"])["status"] == "DONE"
    assert cloud.books()["created_by_tag"] == {"qr1old": 1}


def test_an_open_batch_is_not_done_again_and_no_job_makes_no_batch(cloud: Cloud) -> None:
    opened = cloud.create(open=True)["id"]
    closed = cloud.create()["id"]
    cloud.at(closed)

    replies = [
        cloud.ask("POST", f"/api/v1/batches/{opened}/rebatch"),
        cloud.ask("POST", f"/api/v1/batches/{closed}/rebatch", status="ERROR"),
    ]

    assert [reply.status for reply in replies] == [400, 400]
    assert len(cloud.books()["batches"]) == 2


def test_setting_tags_replaces_all_of_them(slow: Cloud) -> None:
    made = slow.create(tags=["a", "b"])["id"]

    answer = patch(slow, f"/api/v1/batches/{made}/tags", ["c"])
    refused = [slow.ask("PATCH", f"/api/v1/batches/{made}/tags", body) for body in (["c", "c"], "c", None)]

    assert answer["tags"] == ["c"]
    assert len(answer["jobs"]) == 1
    assert [reply.status for reply in refused] == [422, 422, 422]
    assert [row["id"] for row in slow.get("GET", "/api/v1/batches", tag="c")] == [made]
    assert slow.get("GET", "/api/v1/batches", tag="a") == []


# --- workloads --------------------------------------------------------------------------------------------------------


def workload(cloud: Cloud, **given: Any) -> Any:
    usual = {"workload_type": "qadence_circuit", "backend": "pyqtorch", "config": {"n": 1}}
    return cloud.get("POST", "/api/v1/workloads", usual | {"project_id": cloud.project} | given)


def rested(cloud: Cloud, workload_id: str) -> Any:
    path = f"/api/v2/workloads/{workload_id}"
    until(lambda: cloud.get("GET", path)["status"] in {"DONE", "ERROR", "CANCELED"})
    return cloud.get("GET", path)


def test_a_workload_gives_its_result_behind_a_link(cloud: Cloud) -> None:
    made = workload(cloud)

    done = rested(cloud, made["id"])

    assert (made["status"], made["result_link"], made["backend"]) == ("PENDING", None, "pyqtorch")
    assert (done["status"], done["errors"]) == ("DONE", None)
    assert fetch(done["result_link"]).json == {"workload_type": "qadence_circuit", "config": {"n": 1}}


def test_a_workload_with_a_sequence_runs_it(cloud: Cloud) -> None:
    made = workload(cloud, backend="emu_c", config={"sequence": FIXED, "runs": 20})

    assert fetch(rested(cloud, made["id"])["result_link"]).json == {"counter": {"00": 20}}


def test_a_workload_that_cannot_be_computed_ends_in_error(cloud: Cloud) -> None:
    made = workload(cloud, config={"sequence": FIXED, "runs": "many"})

    done = rested(cloud, made["id"])

    assert done["status"] == "ERROR"
    assert done["errors"] == ["The configuration's variables are an object, and its runs a whole number"]
    assert done["result_link"] is None


def test_workloads_are_listed_and_cancelled(slow: Cloud) -> None:
    one, two = workload(slow), workload(slow, backend="emu_c")

    answer = slow.get("PUT", f"/api/v1/workloads/{one['id']}/cancel")
    again = slow.ask("PUT", f"/api/v1/workloads/{one['id']}/cancel")

    assert (answer["status"], again.status) == ("CANCELED", 400)
    assert [row["id"] for row in slow.get("GET", "/api/v2/workloads")] == [two["id"], one["id"]]
    assert [row["id"] for row in slow.get("GET", "/api/v2/workloads", status="PENDING")] == [two["id"]]
    assert [row["id"] for row in slow.get("GET", "/api/v2/workloads", backend="pyqtorch")] == [one["id"]]


@pytest.mark.parametrize(
    ("given", "place"),
    [({"backend": "abacus"}, "backend"), ({"config": []}, "config"), ({"workload_type": ""}, "workload_type")],
)
def test_what_is_wrong_with_a_workload_is_told(cloud: Cloud, given: dict[str, Any], place: str) -> None:
    usual = {"workload_type": "a", "backend": "digital", "config": {}, "project_id": cloud.project}

    (problem,) = cloud.ask("POST", "/api/v1/workloads", usual | given).json["data"]["description"]

    assert problem["loc"] == ["body", place]


# --- another cloud's customers ----------------------------------------------------------------------------------------


def test_customers_of_another_cloud_have_routes_of_their_own(cloud: Cloud) -> None:
    base = "/api/v1/third-party-access/ovh"
    made = cloud.get("POST", f"{base}/batches", cloud.draft(project_id=""))
    until(lambda: cloud.get("GET", f"{base}/batches/{made['id']}/status")["status"] == "DONE")

    (job,) = cloud.get("GET", f"{base}/jobs", batch_id=made["id"])
    link = cloud.get("GET", f"{base}/jobs/{job['id']}/results_link")["results_link"]
    opened = cloud.ask("POST", f"{base}/batches", cloud.draft(open=True))

    assert cloud.get("GET", f"{base}/batches/{made['id']}")["sequence_builder"]
    assert cloud.get("GET", f"{base}/jobs/{job['id']}/status")["status"] == "DONE"
    assert fetch(link).json["counter"] == {"00": 75, "11": 25}
    assert opened.status == 422
    assert cloud.ask("GET", f"{base}/batches").status == 405
