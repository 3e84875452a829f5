"""The API of the OQTOPUS stand-in, as contracts tell it of the real one: jobs, lists, devices, accounts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.emulator import Emulator, fetch, shared, unzipped, zipped

BELL = 'OPENQASM 3;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n'
PROGRAM = {"program": [BELL]}
SUBMIT = {"device_id": "qulacs", "job_type": "sampling", "shots": 100}
SMALL = "job_id,name,description,status,submitted_at"


@pytest.fixture
def cloud() -> Iterator[Emulator]:
    account = shared().new_account()
    yield account
    account.close()


@pytest.fixture
def waiting() -> Iterator[Emulator]:
    """An account whose jobs stay in the queue."""
    account = shared().new_account(queue_delay=3600)
    yield account
    account.close()


def listed(cloud: Emulator, **query: Any) -> list[dict[str, Any]]:
    reply = cloud.ask("GET", "/jobs", **({"fields": SMALL} | query))
    assert reply.status == 200, reply.content
    found: list[dict[str, Any]] = reply.json
    return found


# --- the way of a job -------------------------------------------------------------------------------------------------


def test_a_job_that_was_only_registered_shows_its_id_and_its_status(cloud: Emulator) -> None:
    job_id = cloud.register()["job_id"]

    assert cloud.job(job_id) == {"job_id": job_id, "status": "registered"}
    assert cloud.ask("GET", f"/jobs/{job_id}/status").json == {"job_id": job_id, "status": "registered"}
    assert cloud.ask("GET", "/jobs").json == [{"job_id": job_id, "status": "registered"}]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", job_id)


def test_a_body_at_registration_is_passed_over(cloud: Emulator) -> None:
    reply = cloud.ask("POST", "/jobs", SUBMIT | {"job_info": PROGRAM})

    assert (reply.status, sorted(reply.json)) == (200, ["job_id", "presigned_url"])


def test_a_submitted_job_runs_and_leaves_out_what_it_has_not(cloud: Emulator) -> None:
    job = cloud.rest(cloud.submit(PROGRAM, name="bell", description=None, transpiler_info=None))

    assert {name: value for name, value in job.items() if name not in ("job_id", "job_info", "execution_time")} == {
        "name": "bell",
        "description": "",
        "job_type": "sampling",
        "status": "succeeded",
        "device_id": "qulacs",
        "shots": 100,
        "transpiler_info": {"transpiler_lib": "qiskit", "transpiler_options": {"optimization_level": 1}},
        "simulator_info": {},
        "mitigation_info": {},
        **{name: job[name] for name in ("submitted_at", "ready_at", "running_at", "ended_at")},
    }
    assert sorted(job["job_info"]) == ["input", "result", "transpile_result"]
    assert round(job["execution_time"], 3) == job["execution_time"]
    assert datetime.fromisoformat(job["submitted_at"]) <= datetime.fromisoformat(job["ended_at"])


def test_a_job_waits_as_submitted_then_ready_then_runs() -> None:
    slow = shared().new_account(run_time=3600)
    first, second = (slow.submit(PROGRAM, device_id="qpu") for _ in "ab")

    running = slow.rest(first, "running")

    assert slow.status(second) == "ready"
    assert "running_at" in running
    assert "ended_at" not in running
    assert "running_at" not in slow.job(second)
    slow.close()


def test_pending_jobs_are_counted_on_their_device(waiting: Emulator) -> None:
    before = waiting.ask("GET", "/devices/qpu").json["n_pending_jobs"]

    waiting.submit(PROGRAM, device_id="qpu")

    assert waiting.ask("GET", "/devices/qpu").json["n_pending_jobs"] == before + 1


def test_a_program_that_cannot_be_read_fails_without_ever_running(cloud: Emulator) -> None:
    job = cloud.rest(cloud.submit({"program": ["OPENQASM 3;\nfo q[0];\n"]}))

    assert job["status"] == "failed"
    assert job["job_info"]["message"] == 'program 0:2:1: unknown gate "fo"'
    assert {"running_at", "execution_time"}.isdisjoint(job)
    assert {"ready_at", "ended_at"} <= set(job)
    assert set(job["job_info"]) == {"input", "message"}


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"no archive at all", "the input cannot be read"),
        (zipped("input.json", b"[1, 2"), "the input cannot be read"),
        ({"programs": [BELL]}, "program is not a list of texts"),
        ({"program": [BELL, BELL]}, "sampling takes one program, and there are 2"),
        ({"program": ['include "/etc/passwd";']}, "program 0:"),
    ],
)
def test_a_bad_upload_is_accepted_and_fails_later(cloud: Emulator, payload: Any, words: str) -> None:
    job = cloud.rest(cloud.submit(payload))

    assert (job["status"], words in job["job_info"]["message"]) == ("failed", True), job


def test_a_program_that_is_too_wide_for_the_device_fails(cloud: Emulator) -> None:
    wide = BELL.replace("bit[2]", "bit[9]")

    job = cloud.rest(cloud.submit({"program": [wide]}, device_id="qpu"))

    assert job["job_info"]["message"] == "the program needs 9 qubits, and qpu has 8"


# --- what a submit refuses, in this order -----------------------------------------------------------------------------


def test_a_submit_is_looked_through_in_the_order_of_the_real_one(cloud: Emulator) -> None:
    registered = cloud.register()
    path = f"/jobs/{registered['job_id']}/submit"
    submitted = cloud.submit(PROGRAM)

    def answer(where: str, **changed: Any) -> tuple[int, Any]:
        reply = cloud.ask("POST", where, SUBMIT | changed)
        return reply.status, reply.json.get("message", reply.json.get("detail"))

    assert answer("/jobs/none/submit", shots=0)[0] == 422
    assert answer("/jobs/none/submit", device_id="none") == (404, "job not found with the given id")
    again = f"{submitted} job is not in valid status for submission (valid statuses for submission: 'registered')"
    assert answer(f"/jobs/{submitted}/submit", device_id="none") == (400, again)
    assert answer(path, device_id="none") == (400, "device not found")
    assert answer(path, device_id="down") == (400, "device down is not available")
    assert answer(path, device_id="private")[0] == 403
    missing = f"job information input for {registered['job_id']} job not found"
    assert answer(path) == (400, missing)
    assert cloud.status(registered["job_id"]) == "registered"
    assert cloud.upload(registered, PROGRAM).status == 204
    assert answer(path) == (200, "job submitted")


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ({}, {"device_id": "missing", "job_type": "missing", "shots": "missing"}),
        (SUBMIT | {"shots": 0}, {"shots": "greater_than_equal"}),
        (SUBMIT | {"shots": 10_000_001}, {"shots": "less_than_equal"}),
        (SUBMIT | {"shots": "many"}, {"shots": "int_parsing"}),
        (SUBMIT | {"shots": None, "job_type": "none"}, {"job_type": "enum", "shots": "int_type"}),
        (SUBMIT | {"name": 5, "transpiler_info": "qiskit"}, {"name": "string_type", "transpiler_info": "dict_type"}),
    ],
)
def test_a_submit_with_mistakes_names_all_of_them(cloud: Emulator, body: Any, kinds: dict[str, str]) -> None:
    reply = cloud.ask("POST", f"/jobs/{cloud.register()['job_id']}/submit", body)

    assert reply.status == 422
    assert {each["loc"][1]: each["type"] for each in reply.json["detail"]} == kinds
    assert all(each["loc"][0] == "body" and each["msg"] for each in reply.json["detail"])


def test_a_body_that_is_no_json_is_a_mistake_of_its_own(cloud: Emulator) -> None:
    reply = cloud.ask("POST", "/jobs/any/submit", None)

    assert (reply.status, reply.json["detail"][0]["type"]) == (422, "json_invalid")


def test_numbers_as_text_and_unknown_members_are_taken(cloud: Emulator) -> None:
    job_id = cloud.submit(PROGRAM, shots="50", unknown=True)

    assert cloud.job(job_id)["shots"] == 50


@pytest.mark.parametrize(("name", "most"), [("name", 256), ("description", 1024)])
def test_texts_that_the_database_cannot_hold_break_the_server(cloud: Emulator, name: str, most: int) -> None:
    cloud.submit(PROGRAM, **{name: "x" * most})

    registered = cloud.register()
    cloud.upload(registered, PROGRAM)
    reply = cloud.ask("POST", f"/jobs/{registered['job_id']}/submit", SUBMIT | {name: "x" * (most + 1)})

    assert reply.status == 500
    assert cloud.status(registered["job_id"]) == "registered"


# --- cancel and delete ------------------------------------------------------------------------------------------------


def test_a_cancel_takes_effect_at_once_and_leaves_the_end_empty(waiting: Emulator) -> None:
    job_id = waiting.submit(PROGRAM)

    replies = [waiting.ask("POST", f"/jobs/{job_id}/cancel") for _ in "ab"]

    assert [(each.status, each.json) for each in replies] == [(200, {"message": "cancel request accepted"})] * 2
    job = waiting.job(job_id)
    assert job["status"] == "cancelled"
    assert "ended_at" not in job
    assert set(job["job_info"]) == {"input"}


def test_a_running_job_that_is_cancelled_brings_no_result() -> None:
    slow = shared().new_account(run_time=3600)
    job_id = slow.submit(PROGRAM)
    slow.rest(job_id, "running")

    assert slow.ask("POST", f"/jobs/{job_id}/cancel").status == 200

    assert (slow.status(job_id), "result" in slow.job(job_id)["job_info"]) == ("cancelled", False)
    slow.close()


def test_what_has_ended_cannot_be_cancelled_and_what_lives_cannot_be_deleted(
    cloud: Emulator, waiting: Emulator
) -> None:
    done, live = cloud.submit(PROGRAM), waiting.submit(PROGRAM)
    cloud.rest(done)

    assert cloud.ask("POST", f"/jobs/{done}/cancel").status == 400
    assert waiting.ask("DELETE", f"/jobs/{live}").status == 400
    assert waiting.ask("DELETE", f"/jobs/{waiting.register()['job_id']}").status == 400


def test_a_deleted_job_is_gone_with_its_files(cloud: Emulator) -> None:
    job_id = cloud.submit(PROGRAM)
    link = cloud.rest(job_id)["job_info"]["result"]

    assert cloud.ask("DELETE", f"/jobs/{job_id}").json == {"message": "job deleted"}

    assert cloud.ask("DELETE", f"/jobs/{job_id}").status == 404
    assert cloud.ask("GET", f"/jobs/{job_id}").json == {"message": "job not found with the given id"}
    assert fetch(link).status == 404
    assert listed(cloud) == []


def test_cancelling_a_registered_job_breaks_every_answer_that_would_show_it(cloud: Emulator) -> None:
    job_id = cloud.register()["job_id"]

    assert cloud.ask("POST", f"/jobs/{job_id}/cancel").status == 200

    assert cloud.ask("GET", f"/jobs/{job_id}").status == 500
    assert cloud.ask("GET", "/jobs").status == 500
    assert cloud.ask("GET", "/jobs", fields="job_id,shots").status == 500
    assert listed(cloud) == [{"job_id": job_id, "status": "cancelled"}]
    assert cloud.status(job_id) == "cancelled"
    assert cloud.ask("DELETE", f"/jobs/{job_id}").status == 200
    assert cloud.ask("GET", "/jobs").json == []


# --- lists ------------------------------------------------------------------------------------------------------------


def test_pages_follow_each_other_in_order_and_end_with_an_empty_one(waiting: Emulator) -> None:
    made = [waiting.submit(PROGRAM) for _ in range(5)]

    pages = [[job["job_id"] for job in listed(waiting, page=page, size=2)] for page in (1, 2, 3, 4)]
    newest = [[job["job_id"] for job in listed(waiting, page=page, size=2, order="DESC")] for page in (1, 2, 3, 4)]

    assert pages == [made[:2], made[2:4], made[4:], []]
    assert newest == [made[:2:-1], made[2:0:-1], made[:1], []]
    assert [job["job_id"] for job in listed(waiting, order="sideways")] == made


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"size": "0"}, 500),
        ({"size": "101"}, 500),
        ({"size": "many"}, 500),
        ({"page": "0"}, 500),
        ({"page": "x"}, 500),
        ({"fields": "job_id,owner"}, 400),
        ({"status": "gone"}, 422),
        ({"start_time": "yesterday"}, 500),
        ({"q": "x" * 1025}, 422),
        ({"q": "x" * 1024, "size": "100"}, 200),
    ],
)
def test_a_list_refuses_what_the_real_one_refuses(cloud: Emulator, query: dict[str, str], status: int) -> None:
    assert cloud.ask("GET", "/jobs", **query).status == status


def test_a_list_without_fields_shows_all_members_with_links(waiting: Emulator) -> None:
    job_id = waiting.submit(PROGRAM)

    (job,) = waiting.ask("GET", "/jobs").json

    assert job["job_info"]["input"].startswith(waiting.storage)
    assert {name: value for name, value in job.items() if name != "job_info"} == {
        name: value for name, value in waiting.job(job_id).items() if name != "job_info"
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("qr1abc", ["a", "b"]),
        ("QR1ABCD", ["b"]),
        ("first", ["a"]),
        ("q%d", ["b"]),
        ("qr1_bc", ["a", "b"]),
        ("100%", ["a", "c"]),
        ("qr1xyz", []),
    ],
)
def test_a_search_is_a_like_on_id_name_and_description(waiting: Emulator, text: str, found: list[str]) -> None:
    for name, description in (("a", "first qr1abc 100"), ("b", "qr1abcd"), ("c", "1003")):
        waiting.submit(PROGRAM, name=name, description=description)
    waiting.register()

    assert [job["name"] for job in listed(waiting, q=text)] == found


def test_a_search_finds_a_part_of_an_id_and_no_text_across_two_columns(waiting: Emulator) -> None:
    job_id = waiting.submit(PROGRAM, name="left", description="right")

    assert [job["job_id"] for job in listed(waiting, q=job_id[4:20])] == [job_id]
    assert listed(waiting, q="left%right") == []


def test_times_are_inclusive_and_leave_registered_jobs_out(waiting: Emulator) -> None:
    job_id = waiting.submit(PROGRAM)
    waiting.register()
    exact = waiting.job(job_id)["submitted_at"]
    moment = datetime.fromisoformat(exact)
    later = (moment + timedelta(seconds=1)).astimezone(UTC).isoformat()

    assert [job["job_id"] for job in listed(waiting, start_time=exact, end_time=exact)] == [job_id]
    assert listed(waiting, start_time=later) == []
    assert [job["job_id"] for job in listed(waiting, end_time=later)] == [job_id]
    assert len(listed(waiting)) == 2


def test_a_list_of_one_status_has_no_other(waiting: Emulator) -> None:
    job_id = waiting.submit(PROGRAM)
    waiting.register()

    assert [job["job_id"] for job in listed(waiting, status="submitted")] == [job_id]
    assert listed(waiting, status="succeeded") == []


# --- devices ----------------------------------------------------------------------------------------------------------


def test_devices_show_nulls_and_hide_what_was_not_granted(cloud: Emulator) -> None:
    devices = {device["device_id"]: device for device in cloud.ask("GET", "/devices").json}

    assert sorted(devices) == ["down", "qpu", "qulacs"]
    assert devices["qulacs"]["available_at"] is None
    assert devices["qulacs"]["calibrated_at"] is None
    assert devices["down"]["status"] == "unavailable"
    assert devices["down"]["available_at"] > "2026"
    assert devices["down"]["n_qubits"] is None
    assert devices["qpu"]["device_type"] == "QPU"
    assert "max_shots" in json.loads(devices["qulacs"]["device_info"])


def test_calibration_data_can_be_behind_a_link(cloud: Emulator) -> None:
    device = cloud.ask("GET", "/devices/qpu").json

    told = json.loads(unzipped(fetch(device["device_info"]).content))

    assert [qubit["id"] for qubit in told["qubits"]] == list(range(8))
    assert told["calibrated_at"] == device["calibrated_at"]


def test_a_device_that_is_not_granted_is_403_and_one_that_is_none_404(cloud: Emulator) -> None:
    assert cloud.ask("GET", "/devices/private").status == 403
    assert cloud.ask("GET", "/devices/none").status == 404


def test_a_granted_device_takes_jobs() -> None:
    friend = shared().new_account(granted=["private"])

    assert friend.rest(friend.submit(PROGRAM, device_id="private"))["status"] == "succeeded"
    assert friend.ask("GET", "/devices/private").status == 200
    friend.close()


def test_histories_tell_what_a_device_was_calibrated_to(cloud: Emulator) -> None:
    (entry,) = cloud.ask("GET", "/device_histories", device_id="qpu").json

    assert cloud.ask("GET", f"/device_histories/{entry['uid']}").json["calibrated_at"] == entry["calibrated_at"]
    assert cloud.ask("GET", "/device_histories", device_id="private").status == 403
    assert cloud.ask("GET", "/device_histories", limit=101).status == 422
    assert cloud.ask("GET", "/device_histories/none").status == 404


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_nobody_sees_anothers_jobs(cloud: Emulator, waiting: Emulator) -> None:
    job_id = waiting.submit(PROGRAM)

    for method, path in (("GET", ""), ("GET", "/status"), ("POST", "/cancel"), ("DELETE", "")):
        assert cloud.ask(method, f"/jobs/{job_id}{path}").status == 404
    assert listed(cloud) == []
    assert waiting.status(job_id) == "submitted"


def test_without_a_token_and_with_a_wrong_one_there_is_nothing(cloud: Emulator) -> None:
    none, wrong = cloud.ask("GET", "/jobs", token=None), cloud.ask("GET", "/jobs", token="some.thing")

    assert (none.status, none.json) == (401, {"message": "Unauthorized"})
    assert (wrong.status, wrong.json) == (401, {"detail": "Unauthorized"})


def test_a_token_says_when_it_ends_makes_no_other_and_can_be_revoked() -> None:
    account = shared().new_account()

    assert account.ask("GET", "/api-token/status").json["api_token_expiration"] > "2026"
    assert account.ask("POST", "/api-token").status == 403
    assert account.ask("DELETE", "/api-token").status == 200
    assert account.ask("GET", "/jobs").status == 401
    account.close()


def test_the_account_the_system_and_the_announcements_can_be_read(cloud: Emulator) -> None:
    assert cloud.ask("PATCH", "/users/me", {"organization": "Lab"}).json["organization"] == "Lab"
    assert cloud.ask("GET", "/users/me").json["organization"] == "Lab"
    assert cloud.ask("GET", "/system/settings").json["editable_fields"] == ["name", "organization"]
    assert [each["id"] for each in cloud.ask("GET", "/announcements").json["announcements"]] == [1, 2]
    assert cloud.ask("GET", "/announcements", current_time="2001-01-01T00:00:00Z").json == {"announcements": []}
    assert cloud.ask("GET", "/announcements/1").json["id"] == 1
    assert cloud.ask("GET", "/announcements/9").status == 404
    assert cloud.ask("GET", "/announcements/x").status == 422


def test_an_unknown_path_is_404_and_an_unknown_method_405(cloud: Emulator) -> None:
    assert cloud.ask("GET", "/nowhere").json == {"detail": "Not Found"}
    assert cloud.ask("PUT", "/jobs").json == {"detail": "Method Not Allowed"}


def test_every_answer_has_the_servers_date(cloud: Emulator) -> None:
    assert cloud.ask("GET", "/devices").headers["date"].endswith("GMT")
