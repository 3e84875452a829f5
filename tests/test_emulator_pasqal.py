"""The stand-in of Pasqal Cloud, asked as its clients ask it: what is created, refused and listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.emulator import fetch, request
from tests.emulator_pasqal import FIXED, PARAMETRIZED, Cloud, packed, shared, told


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


def jobs(*omegas: float, runs: int = 10) -> list[dict[str, Any]]:
    return [{"runs": runs, "variables": {"omega": omega}} for omega in omegas]


# --- create, wait, read -----------------------------------------------------------------------------------------------


def test_a_batch_runs_and_each_job_has_its_own_result(cloud: Cloud) -> None:
    made = cloud.create(jobs=jobs(0.25, 0.5, runs=100), tags=["a", "b"])

    done = cloud.at(made["id"])
    first, second = cloud.jobs(made["id"])

    assert made["status"] == "PENDING"
    assert [job["creation_order"] for job in made["jobs"]] == [0, 1]
    assert (done["status"], done["tags"], done["jobs_count_per_status"]) == ("DONE", ["a", "b"], {"DONE": 2})
    assert done["job_ids"] == [first["id"], second["id"]]
    assert done["sequence_builder"] == PARAMETRIZED
    assert cloud.result(first["id"])["counter"] == {"00": 75, "11": 25}
    assert cloud.result(second["id"])["counter"] == {"00": 50, "11": 50}


def test_each_route_shows_what_it_shows_and_no_more(cloud: Cloud) -> None:
    made = cloud.create()
    cloud.at(made["id"])
    (job,) = made["jobs"]

    listed = cloud.get("GET", "/api/v1/batches")[0]
    full = cloud.batch(made["id"])
    status = cloud.get("GET", f"/api/v1/batches/{made['id']}/status")
    shown = cloud.get("GET", f"/api/v2/jobs/{job['id']}")

    assert full.keys() - listed.keys() == {"sequence_builder", "job_ids"}
    assert made.keys() - listed.keys() == {"jobs"}
    assert (status["status"], status["jobs_count_per_status"]) == ("DONE", {"DONE": 1})
    assert shown.keys() - job.keys() == {"sequence"}
    assert cloud.get("GET", f"/api/v1/jobs/{job['id']}/status")["status"] == "DONE"
    assert "result" not in shown


def test_the_code_of_an_envelope_is_a_number_here_and_text_there(cloud: Cloud) -> None:
    batch_id = cloud.create()["id"]

    one = cloud.ask("GET", f"/api/v1/batches/{batch_id}/status").json
    two = cloud.ask("GET", f"/api/v2/batches/{batch_id}").json

    assert (one["code"], two["code"]) == (200, "200")
    assert (one["status"], one["message"]) == ("success", "OK.")


def test_times_come_with_an_offset_and_without(cloud: Cloud) -> None:
    made = cloud.create()

    done = cloud.at(made["id"])
    (job,) = cloud.jobs(made["id"])

    assert done["created_at"].endswith("+00:00")
    assert "+" not in job["created_at"]
    assert done["end_datetime"] is not None
    assert job["start_timestamp"] <= job["end_timestamp"]


def test_a_body_may_be_packed(cloud: Cloud) -> None:
    made = cloud.get("POST", "/api/v1/batches", packed(cloud.draft(tags=["packed"])))

    assert made["tags"] == ["packed"]
    assert told(cloud.ask("POST", "/api/v1/batches", b"\x1f\x8bnonsense")).startswith("The body is not packed")
    assert told(cloud.ask("POST", "/api/v1/batches", packed({})[:-4])).startswith("The body is too large, or not")


def test_a_body_that_unpacks_to_too_much_is_refused(cloud: Cloud) -> None:
    assert cloud.ask("POST", "/api/v1/batches", packed("x" * (65 * 2**20))).status == 413


def test_a_job_may_bring_its_own_sequence(cloud: Cloud) -> None:
    made = cloud.create(sequence_builder=None, jobs=[{"runs": 10, "sequence": FIXED}])

    (job,) = made["jobs"]

    assert cloud.at(made["id"])["status"] == "DONE"
    assert cloud.get("GET", f"/api/v2/jobs/{job['id']}")["sequence"] == FIXED
    assert cloud.result(job["id"])["counter"] == {"00": 10}


def test_an_emulator_needs_no_number_of_runs(cloud: Cloud) -> None:
    made = cloud.create(sequence_builder=FIXED, jobs=[{}], device_type="EMU_MPS", backend_configuration="{}")
    cloud.at(made["id"])

    (job,) = cloud.jobs(made["id"])

    assert (job["runs"], job["variables"]) == (None, None)
    assert cloud.result(job["id"]) == {
        "counter": {"00": 1000},
        "raw": ["00"] * 1000,
        "serialised_results": '{"rule": true}',
    }


def test_a_qpu_gives_a_counter_and_nothing_else(cloud: Cloud) -> None:
    made = cloud.create(device_type="FRESNEL", jobs=jobs(0.5))
    cloud.at(made["id"])

    assert cloud.result(made["jobs"][0]["id"]) == {"counter": {"00": 5, "11": 5}}


def test_without_a_device_type_that_of_the_sequence_counts(cloud: Cloud) -> None:
    own = json.dumps(json.loads(PARAMETRIZED) | {"device": {"name": "FRESNEL_CAN1"}})

    assert cloud.create(sequence_builder=own, device_type=None)["device_type"] == "FRESNEL_CAN1"
    assert cloud.problems(device_type=None)[0][0] == ["body", "device_type"]


def test_all_results_of_a_batch_come_together(cloud: Cloud) -> None:
    made = cloud.create(jobs=jobs(0.5, -1.0))
    cloud.at(made["id"])

    found = cloud.get("GET", f"/api/v1/batches/{made['id']}/full_results")

    assert {job: result["counter"] for job, result in found.items()} == {made["jobs"][0]["id"]: {"00": 5, "11": 5}}


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ({"tags": ["a", "a"]}, ["body", "tags"], "The tags are not unique"),
        ({"tags": "a"}, ["body", "tags"], "A list of texts is needed"),
        ({"jobs": []}, ["body", "jobs"], "A closed batch needs at least one job"),
        ({"jobs": None}, ["body", "jobs"], "A closed batch needs at least one job"),
        ({"jobs": {}}, ["body", "jobs"], "A list of jobs is needed"),
        ({"jobs": ["x"]}, ["body", "jobs", 0], "A job is an object"),
        ({"jobs": [{"runs": 1}]}, ["body", "jobs", 0, "variables"], "Missing variables: omega"),
        ({"jobs": [{"runs": 0, "variables": {"omega": 1}}]}, ["body", "jobs", 0, "runs"], "A number above 0 is needed"),
        ({"jobs": [{"runs": "5", "variables": {"omega": 1}}]}, ["body", "jobs", 0, "runs"], "A whole number is needed"),
        (
            {"jobs": [{"runs": 1, "variables": {"omega": 1, "phi": 2}}]},
            ["body", "jobs", 0, "variables"],
            "The sequence does not declare: phi",
        ),
        (
            {"jobs": [{"runs": 1, "variables": {"omega": [1, 2]}}]},
            ["body", "jobs", 0, "variables"],
            "The variable omega has 1 values, not 2",
        ),
        (
            {"sequence_builder": FIXED},
            ["body", "jobs", 0, "variables"],
            "The sequence is not parametrized, so a job cannot have variables",
        ),
        (
            {"jobs": [{"sequence": FIXED, "variables": {"omega": 1}}]},
            ["body", "jobs", 0, "variables"],
            "A job with a sequence of its own has no variables",
        ),
        (
            {"sequence_builder": None, "jobs": [{"runs": 1}]},
            ["body", "jobs", 0, "sequence"],
            "The batch has no sequence, so the job needs one",
        ),
        ({"sequence_builder": "no"}, ["body", "sequence_builder"], "The sequence is not valid JSON"),
        ({"sequence_builder": {}}, ["body", "sequence_builder"], "The sequence is a JSON document as a text"),
        ({"sequence_builder": "{}"}, ["body", "sequence_builder"], "The sequence has no version, name, register"),
        (
            {"device_type": "FRESNEL", "jobs": [{"variables": {"omega": 1}}]},
            ["body", "jobs", 0, "runs"],
            "FRESNEL needs the number of runs",
        ),
        (
            {"device_type": "FRESNEL_CAN1", "jobs": jobs(1, runs=1001)},
            ["body", "jobs", 0, "runs"],
            "FRESNEL_CAN1 takes",
        ),
        ({"device_type": "NONSUCH"}, ["body", "device_type"], "'NONSUCH' is not a device type"),
        ({"project_id": "mine"}, ["body", "project_id"], "A UUID is needed"),
        ({"webhook": "nowhere"}, ["body", "webhook"], "A URL is needed"),
        ({"configuration": []}, ["body", "configuration"], "An object is needed"),
        ({"backend_configuration": "no"}, ["body", "backend_configuration"], "A JSON object as a text is needed"),
        ({"open": "yes"}, ["body", "open"], "A truth is needed"),
    ],
)
def test_what_is_wrong_with_a_batch_is_told_with_its_place(
    cloud: Cloud, given: dict[str, Any], place: list[str | int], words: str
) -> None:
    ((where, what),) = cloud.problems(**given)

    assert where == place
    assert what.startswith(words)
    assert cloud.books()["batches"] == []


def test_all_that_is_wrong_is_told_together(cloud: Cloud) -> None:
    found = cloud.problems(tags=["a", "a"], jobs=[*jobs(1.0), {"runs": -1, "variables": {}}], project_id=None)

    assert [place for place, _ in found] == [
        ["body", "jobs", 1, "variables"],
        ["body", "jobs", 1, "runs"],
        ["body", "project_id"],
        ["body", "tags"],
    ]


def test_what_is_no_json_or_no_object_is_refused(cloud: Cloud) -> None:
    assert cloud.ask("POST", "/api/v1/batches", b"{").json["data"]["description"][0]["type"] == "json_invalid"
    assert cloud.ask("POST", "/api/v1/batches", b'{"jobs": NaN}').status == 422
    assert cloud.ask("POST", "/api/v1/batches", []).status == 422
    assert cloud.ask("POST", "/api/v1/workloads", []).status == 422


def test_a_project_of_somebody_else_is_unknown(cloud: Cloud) -> None:
    reply = cloud.ask("POST", "/api/v1/batches", cloud.draft(project_id=shared().project))

    assert (reply.status, told(reply)) == (404, "The project does not exist, or you are not one of its members")


def test_rows_of_somebody_else_are_unknown(cloud: Cloud) -> None:
    other = shared().new_account()
    made = other.create()

    replies = [
        cloud.ask("GET", f"/api/v2/batches/{made['id']}"),
        cloud.ask("PATCH", f"/api/v2/batches/{made['id']}/cancel"),
        cloud.ask("GET", f"/api/v2/jobs/{made['jobs'][0]['id']}"),
        cloud.ask("GET", f"/api/v2/jobs/{uuid4()}"),
    ]

    assert [reply.status for reply in replies] == [404] * 4
    assert cloud.get("GET", "/api/v2/jobs", batch_id=made["id"]) == []
    other.close()


def test_an_id_that_is_none_and_a_route_that_is_not_there(cloud: Cloud) -> None:
    assert cloud.ask("GET", "/api/v2/batches/mine").status == 422
    assert cloud.ask("GET", "/api/v3/batches").status == 404
    assert cloud.ask("DELETE", "/api/v1/batches").status == 405
    assert fetch(f"{cloud.url}/api/v1/batches").status == 404


def test_a_private_device_is_for_those_to_whom_it_was_granted(cloud: Cloud) -> None:
    friend = shared().new_account(granted=["FRESNEL_RD"])

    reply = cloud.ask("POST", "/api/v1/batches", cloud.draft(device_type="FRESNEL_RD"))
    made = friend.create(device_type="FRESNEL_RD")

    assert (reply.status, told(reply)) == (403, "The project may not use FRESNEL_RD")
    assert friend.at(made["id"])["status"] == "DONE"
    friend.close()


def test_unfinished_jobs_may_be_limited() -> None:
    account = shared().new_account(max_live=2, queue_delay=3600.0)
    account.create(jobs=jobs(0.1, 0.2))

    reply = account.ask("POST", "/api/v1/batches", account.draft())

    assert reply.status == 429
    assert len(account.books()["batches"]) == 1
    account.close()


# --- lists ------------------------------------------------------------------------------------------------------------


def test_lists_come_in_pages_newest_first(slow: Cloud) -> None:
    made = [slow.create(tags=[f"t{place}"])["id"] for place in range(5)]

    first = slow.ask("GET", "/api/v1/batches", limit=2)
    last = slow.ask("GET", "/api/v1/batches", limit=2, offset=4)
    past = slow.ask("GET", "/api/v1/batches", offset=7)

    assert [row["id"] for row in first.json["data"]] == [made[4], made[3]]
    assert first.json["pagination"] == {"total": 5, "start": 0, "end": 2}
    assert first.headers["content-range"] == "0-1/5"
    assert last.json["pagination"] == {"total": 5, "start": 4, "end": 5}
    assert past.json["data"] == []
    assert past.headers["content-range"] == "*/5"


def test_a_batch_of_many_jobs_is_read_page_by_page(slow: Cloud) -> None:
    made = slow.create(jobs=jobs(*(place / 1000 for place in range(150))))
    order = {"batch_id": made["id"], "order_by": "creation_order", "order_by_direction": "ASC"}

    first = slow.ask("GET", "/api/v2/jobs", **order).json
    rest = slow.ask("GET", "/api/v2/jobs", **order, offset=first["pagination"]["end"]).json

    assert [job["id"] for job in first["data"] + rest["data"]] == [job["id"] for job in made["jobs"]]
    assert rest["pagination"] == {"total": 150, "start": 100, "end": 150}


def test_batches_are_found_by_every_filter(slow: Cloud) -> None:
    second = slow.get("GET", "/api/v1/batches")
    other = next(p for p in _projects(slow) if p != slow.project)
    one = slow.create(tags=["qr1a", "team"], jobs=jobs(0.1, 0.2))["id"]
    two = slow.create(tags=["team"], project_id=other, device_type="FRESNEL", open=True)["id"]
    slow.get("PATCH", f"/api/v2/batches/{one}/cancel")

    def found(**query: Any) -> set[str]:
        return {row["id"] for row in slow.get("GET", "/api/v1/batches", **query)}

    assert second == []
    assert found() == {one, two}
    assert found(tag="qr1a") == {one}
    assert found(tag="qr1") == set()
    assert found(tag="team") == {one, two}
    assert found(tag="team", project_id=other) == {two}
    assert found(project_id=[other, slow.project]) == {one, two}
    assert found(id=[one]) == {one}
    assert found(id__starts_with=two[:8]) == {two}
    assert found(status="PENDING") == {two}
    assert found(status=["PENDING", "CANCELED"]) == {one, two}
    assert found(device_type="FRESNEL") == {two}
    assert found(open="true") == {two}
    assert found(open="True") == {two}
    assert found(open="false") == {one}
    assert found(min_jobs=2) == {one}
    assert found(max_jobs=1) == {two}
    assert found(user_id=f"auth0|{slow.username}") == {one, two}
    assert found(user_id="nobody") == set()
    assert found(queue_priority="HIGH") == set()
    assert found(queue_priority=["HIGH", "MEDIUM"]) == {one, two}


def test_jobs_are_found_by_every_filter(cloud: Cloud) -> None:
    made = cloud.create(jobs=[*jobs(0.1, runs=10), *jobs(-1.0, runs=20), *jobs(0.3, runs=30)])
    other = cloud.create(sequence_builder=FIXED, jobs=[{}])
    cloud.at(made["id"])
    cloud.at(other["id"])
    one, two, three = (job["id"] for job in made["jobs"])
    four = other["jobs"][0]["id"]

    def found(**query: Any) -> set[str]:
        return {row["id"] for row in cloud.get("GET", "/api/v2/jobs", **query)}

    assert found() == {one, two, three, four}
    assert found(batch_id=made["id"]) == {one, two, three}
    assert found(batch_id=[made["id"], other["id"]]) == {one, two, three, four}
    assert found(status="ERROR") == {two}
    assert found(errors="true") == {two}
    assert found(errors="false", batch_id=made["id"]) == {one, three}
    assert found(min_runs=20) == {two, three}
    assert found(min_runs=15, max_runs=25) == {two}
    assert found(id=[one, four]) == {one, four}
    assert found(project_id=cloud.project) == {one, two, three, four}


def test_dates_are_about_the_execution_not_the_creation(slow: Cloud) -> None:
    long_ago = "2020-01-01T00:00:00+00:00"
    waiting = slow.create(tags=["x"])["id"]

    assert [row["id"] for row in slow.get("GET", "/api/v1/batches", tag="x")] == [waiting]
    assert slow.get("GET", "/api/v1/batches", tag="x", start_date=long_ago) == []
    assert slow.ask("GET", "/api/v1/batches?start_date=2020-01-01T00:00:00+00:00").status == 422


def test_dates_find_what_has_run(cloud: Cloud) -> None:
    done = cloud.create()["id"]
    cloud.at(done)

    found = cloud.get("GET", "/api/v1/batches", start_date="2020-01-01", end_date="2100-01-01T00:00:00+02:00")
    none = cloud.get("GET", "/api/v2/jobs", end_date="2020-01-01")

    assert [row["id"] for row in found] == [done]
    assert none == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 101},
        {"offset": -1},
        {"status": "FINISHED"},
        {"id": "mine"},
        {"open": "perhaps"},
        {"order_by": "colour"},
        {"order_by_direction": "UP"},
        {"min_jobs": "few"},
    ],
)
def test_a_query_that_cannot_be_read_is_refused(cloud: Cloud, query: dict[str, Any]) -> None:
    (name,) = query

    (problem,) = cloud.ask("GET", "/api/v1/batches", **query).json["data"]["description"]

    assert problem["loc"][:2] == ["query", name]


def test_filters_that_are_not_known_are_passed_over(slow: Cloud) -> None:
    made = slow.create()

    assert [row["id"] for row in slow.get("GET", "/api/v1/batches", colour="red")] == [made["id"]]


def _projects(cloud: Cloud) -> list[str]:
    reply = request(
        f"{cloud.url}/account",
        "GET",
        "/api/v1/projects?project_status=ACTIVE",
        None,
        {"authorization": f"Bearer {cloud.token}"},
    )
    return [project["id"] for project in reply.json["data"]]
