"""A submit to an OQTOPUS cloud in its three steps: whatever is lost on the way, one job runs (RELIABILITY §2.4, A')."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qrun.connection import Access, Connection
from qrun.errors import Denied, ProviderError, Rejected, SettingsError, Unavailable, Uncertain
from qrun.http import Call
from qrun.providers.oqtopus import connect
from qrun.providers.oqtopus.provider import Oqtopus
from qrun.record import Handle
from tests.oqtopus import (
    API,
    BELL,
    MARK,
    MARKER,
    STORAGE,
    Cloud,
    Fault,
    Pen,
    answer,
    beside,
    cloud,
    content,
    device,
    lost,
    sent,
    submission,
    swallowed,
    then,
    unsent,
    unzipped,
)
from tests.virtual import VirtualClock

HTML = "<html><body>502 Bad Gateway</body></html>"


def run(clock: VirtualClock, there: Cloud, pen: Pen | None = None, **wanted: Any) -> Handle:
    async def go() -> Handle:
        oqtopus = beside(there)
        try:
            return await sent(oqtopus, pen, submission(**wanted))
        finally:
            await oqtopus.aclose()

    return clock.run(go())


def fails(kind: type[ProviderError], clock: VirtualClock, there: Cloud, pen: Pen | None = None, **wanted: Any) -> str:
    with pytest.raises(kind) as caught:
        run(clock, there, pen, **wanted)
    assert type(caught.value) is kind
    return str(caught.value)


def steps(there: Cloud) -> list[str]:
    return [route for _, route, _ in there.seen if route != "GET devices"]


# --- the plain way ----------------------------------------------------------------------------------------------------


def test_a_job_is_registered_noted_uploaded_noted_and_submitted() -> None:
    there, clock = cloud()
    pen = Pen()

    handle = run(clock, there, pen, description="a bell state", options={"name": "bell"})

    assert steps(there) == ["POST jobs", "POST upload", "POST submit"]
    assert pen.steps == [{"job_id": handle}, {"uploaded": "yes"}]
    assert there.submits == [handle]
    job = there.jobs[handle]
    assert job["name"] == "bell"
    assert job["description"] == f"a bell state {MARKER} {MARK}"
    assert unzipped(there.files[f"{handle}/input"]) == (
        ["input.json"],
        json.dumps({"program": [BELL]}, separators=(",", ":")).encode(),
    )


def test_what_the_upload_form_holds_goes_back_as_it_came_and_the_token_goes_to_the_api_alone() -> None:
    there, clock = cloud()

    run(clock, there)

    assert there.tokens == {"id.secret"}  # and the storage, which was asked too, saw none


def test_the_devices_are_asked_for_once_for_many_jobs_and_again_after_a_minute() -> None:
    there, clock = cloud()

    async def go() -> None:
        oqtopus = beside(there)
        for _ in range(5):
            await oqtopus.prepare(submission())
        await clock.sleep(61)
        await oqtopus.prepare(submission())

    clock.run(go())

    assert there.asked("GET devices") == 2


def test_what_was_prepared_is_what_the_service_gives_back() -> None:
    there, clock = cloud()

    async def go() -> tuple[str, str | None, Any]:
        oqtopus = beside(there)
        prepared = await oqtopus.prepare(submission(BELL, BELL, kind="multi"))
        (handle,) = await oqtopus.submit(prepared, Pen())
        return prepared.payloads[0], (await oqtopus.inspect(handle)).payload, content(prepared)

    payload, given_back, body = clock.run(go())

    assert payload == given_back
    assert body == {"program": [BELL, BELL]}


def test_the_record_s_snapshot_says_what_the_device_is_and_not_how_busy() -> None:
    info = {"qubits": [{"id": 0, "meas_error": {"prob_meas1_prep0": 0.01}}]}
    there, clock = cloud(
        devices=[device("qpu", device_info=json.dumps(info), calibrated_at="2026-01-02T03:04:05Z"), device("qulacs")]
    )

    async def go() -> Any:
        return (await beside(there).prepare(submission(device="qpu"))).device

    snapshot = clock.run(go())

    assert snapshot == {
        "device_id": "qpu",
        "device_type": "simulator",
        "status": "available",
        "n_qubits": 39,
        "basis_gates": ["x", "cx"],
        "supported_instructions": ["measure"],
        "calibrated_at": "2026-01-02T03:04:05Z",
        "description": "a simulator",
        "device_info": info,
    }


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_a_device_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    there, clock = cloud(devices=[device("qulacs"), device("qpu")])

    words = fails(Rejected, clock, there, device="quIacs")

    assert words == 'job.device: there is no device "quIacs"; this account may use qpu, qulacs'
    assert steps(there) == []


def test_a_device_that_is_not_available_is_refused_with_the_time_of_its_return() -> None:
    there, clock = cloud(devices=[device("qpu", status="unavailable", available_at="2026-01-02T12:00:00+09:00")])

    words = fails(Rejected, clock, there, device="qpu")

    assert words == (
        'job.device: device "qpu" is unavailable; it is expected back at 2026-01-02T03:00:00Z: run again then'
    )


REFUSALS = [
    (400, {"message": "device qulacs is not available"}, "device qulacs is not available"),
    (403, {"message": "device is not granted"}, "device is not granted"),
    (422, {"detail": [{"loc": ["body", "shots"], "msg": "too many"}]}, "shots: too many"),
]


@pytest.mark.parametrize(("status", "body", "words"), REFUSALS)
def test_a_refusal_keeps_the_service_s_words_and_leaves_an_id_that_never_ran(
    status: int, body: Any, words: str
) -> None:
    there, clock = cloud(script={"POST submit": [answer(status, body)]})

    with pytest.raises(Rejected) as caught:
        run(clock, there)

    assert (caught.value.status, caught.value.words) == (status, words)
    assert there.submits == []
    assert [job["status"] for job in there.jobs.values()] == ["registered"]


def test_a_token_that_is_refused_is_the_operator_s_matter() -> None:
    there, clock = cloud(script={"POST jobs": [answer(401, {"message": "Unauthorized"})]})

    assert "Unauthorized" in fails(Denied, clock, there)


# --- the older service ------------------------------------------------------------------------------------------------


def test_a_service_that_takes_everything_in_one_request_is_recognised_and_refused() -> None:
    body = {"detail": [{"type": "missing", "loc": ["body"], "msg": "Field required"}]}
    there, clock = cloud(script={"POST jobs": [answer(422, body)]})
    pen = Pen()

    words = fails(Rejected, clock, there, pen)

    assert words == (
        '"cloud" does not register jobs; '
        "it speaks the older inline API, which qrun does not; ask for an update of the service"
    )
    assert (pen.steps, steps(there)) == ([], ["POST jobs"])


def test_an_id_without_a_place_for_the_program_is_the_older_service_too() -> None:
    there, clock = cloud(script={"POST jobs": [answer(200, {"job_id": "j1"})]})

    assert "older inline API" in fails(Rejected, clock, there)
    assert there.submits == []


# --- before the last step nothing runs --------------------------------------------------------------------------------

BEFORE: list[tuple[str, list[Fault | None], int]] = [
    ("POST jobs", [lost, lost, None], 3),
    ("POST jobs", [answer(500, {"message": "no"}), answer(503, HTML), None], 1),
    ("POST upload", [lost, swallowed, answer(500, ""), None], 1),
]


@pytest.mark.parametrize(("step", "faults", "registered"), BEFORE)
def test_registering_and_uploading_are_repeated_because_they_start_nothing(
    step: str, faults: list[Fault | None], registered: int
) -> None:
    there, clock = cloud(script={step: faults})

    handle = run(clock, there)

    assert there.submits == [handle]
    assert len(there.jobs) == registered


HOPELESS: list[tuple[str, Fault]] = [
    ("POST jobs", unsent),
    ("POST jobs", answer(500, {"message": "no"})),
    ("POST jobs", answer(200, HTML)),
    ("POST jobs", answer(200, {"job_id": "../x", "presigned_url": {"url": f"{STORAGE}/", "fields": {}}})),
    ("POST jobs", answer(200, {"job_id": "j1", "presigned_url": {"url": "file:///etc/passwd", "fields": {}}})),
    ("POST jobs", answer(200, {"job_id": "j1", "presigned_url": {"url": "http://10.0.0.1/", "fields": {}}})),
    ("POST jobs", answer(200, {"job_id": "j1", "presigned_url": {"url": f"{STORAGE}/"}})),
    ("POST jobs", answer(404, HTML)),
    ("POST upload", swallowed),
]


@pytest.mark.parametrize(("step", "fault"), HOPELESS)
def test_what_fails_before_the_last_step_is_proof_that_nothing_was_started(step: str, fault: Fault) -> None:
    there, clock = cloud(script={step: [fault] * 10})
    pen = Pen()

    fails(Unavailable, clock, there, pen)

    assert there.submits == []
    assert "uploaded" not in pen.noted
    assert there.asked("POST submit") == 0


def test_an_upload_that_the_storage_refuses_is_told_with_its_words() -> None:
    refusal = "<Error><Code>EntityTooLarge</Code><Message>Your proposed upload is too big</Message></Error>"
    there, clock = cloud(script={"POST upload": [answer(400, refusal)]})

    assert "Your proposed upload is too big" in fails(Rejected, clock, there)
    assert there.submits == []


# --- the last step ----------------------------------------------------------------------------------------------------

UNCLEAR: list[list[Fault | None]] = [
    [lost],
    [swallowed, None],
    [answer(500, {"message": "no"}), None],
    [answer(502, HTML), None],
    [then(500, {"message": "no"})],
    [then(504, HTML)],
    [then(200, HTML)],
    [answer(200, HTML), None],
    [answer(200, []), None],
    [answer(202, ""), None],
    [then(404, HTML)],
    [swallowed, lost],
    [swallowed, swallowed, swallowed, None],
    [answer(429, {"message": "Too Many Requests"}), None],
    [unsent, unsent, None],
    # a load balancer that says the same twice lets the second answer through
    [then(400, {"message": "job is not in valid status for submission"})],
]


@pytest.mark.parametrize("faults", UNCLEAR)
def test_a_lost_answer_is_cleared_up_by_the_status_and_one_job_runs(faults: list[Fault | None]) -> None:
    there, clock = cloud(script={"POST submit": faults})
    pen = Pen()

    handle = run(clock, there, pen)

    assert there.submits == [handle]
    assert len(there.jobs) == 1
    assert pen.noted == {"job_id": handle, "uploaded": "yes"}


def test_a_submit_that_is_swallowed_again_and_again_ends_as_uncertain() -> None:
    there, clock = cloud(script={"POST submit": [swallowed] * 9})

    fails(Uncertain, clock, there)

    assert there.asked("POST submit") == 4
    assert there.submits == []


DARK: list[tuple[list[Fault | None], list[Fault | None]]] = [
    ([lost], [answer(500, {"message": "no"})] * 9),
    ([lost], [answer(401, {"message": "Unauthorized"})]),
    ([lost], [answer(200, {"job_id": "j1"})]),
    ([lost], [answer(404, {"message": "job not found with the given id"})]),
    ([then(400, {"message": "job is not in valid status for submission"})], [unsent] * 9),
    ([swallowed, unsent, unsent, unsent], []),
    ([swallowed, answer(401, {"message": "Unauthorized"})], []),
]


@pytest.mark.parametrize(("submits", "looks"), DARK)
def test_where_nobody_can_see_what_became_of_it_the_outcome_is_unknown(
    submits: list[Fault | None], looks: list[Fault | None]
) -> None:
    there, clock = cloud(script={"POST submit": submits, "GET status": looks})

    words = fails(Uncertain, clock, there)

    (job_id,) = there.jobs
    assert f'whether "{job_id}" was started is not known' in words


def test_a_service_that_cannot_be_reached_with_the_first_request_has_started_nothing() -> None:
    there, clock = cloud(script={"POST submit": [unsent] * 9})

    fails(Unavailable, clock, there)

    assert there.submits == []


# --- going on where an earlier run was stopped ------------------------------------------------------------------------


def left(there: Cloud, clock: VirtualClock, status: str, **members: Any) -> Handle:
    """A job that an earlier run uploaded, in this state."""

    async def go() -> Handle:
        oqtopus = beside(there)
        prepared = await oqtopus.prepare(submission())
        told = (await oqtopus.http.ask(Call.READ, "POST", "/jobs")).json()
        form = told["presigned_url"]
        await oqtopus.http.upload(form["url"], form["fields"], ("input.zip", prepared.body.packed, "application/zip"))
        return Handle(told["job_id"])

    handle = clock.run(go())
    there.jobs[handle] |= {"status": status, **members}
    there.seen.clear()
    return handle


def test_an_id_that_was_only_noted_is_forgotten() -> None:
    there, clock = cloud()
    old = left(there, clock, "registered")
    pen = Pen({"job_id": old})

    handle = run(clock, there, pen)

    assert handle != old
    assert there.submits == [handle]
    assert pen.noted["job_id"] == handle


def test_an_uploaded_job_is_submitted_under_the_id_that_it_has() -> None:
    there, clock = cloud()
    old = left(there, clock, "registered")

    handle = run(clock, there, Pen({"job_id": old, "uploaded": "yes"}))

    assert (handle, there.submits) == (old, [old])
    assert steps(there) == ["GET status", "POST submit"]


@pytest.mark.parametrize("status", ["submitted", "ready", "running", "succeeded", "failed", "paused"])
def test_an_uploaded_job_that_was_started_is_taken_as_it_is(status: str) -> None:
    there, clock = cloud()
    old = left(there, clock, status, submitted_at="2026-01-02T03:04:05Z")

    assert run(clock, there, Pen({"job_id": old, "uploaded": "yes"})) == old
    assert there.asked("POST submit") == 0
    assert len(there.jobs) == 1


def test_a_job_that_was_cancelled_after_its_submit_is_taken_as_it_is() -> None:
    there, clock = cloud()
    old = left(there, clock, "cancelled", submitted_at="2026-01-02T03:04:05Z", name="bell")

    assert run(clock, there, Pen({"job_id": old, "uploaded": "yes"})) == old
    assert there.asked("POST submit") == 0


def test_a_job_that_was_cancelled_before_its_submit_is_deleted_and_another_is_registered() -> None:
    there, clock = cloud()
    old = left(there, clock, "cancelled")
    pen = Pen({"job_id": old, "uploaded": "yes"})

    handle = run(clock, there, pen)

    assert handle != old
    assert there.submits == [handle]
    assert list(there.jobs) == [handle]
    assert pen.steps == [{"job_id": handle, "uploaded": ""}, {"uploaded": "yes"}]


def test_a_deletion_that_answers_500_after_the_job_is_gone_is_done() -> None:
    there, clock = cloud(script={"DELETE job": [then(500, {"message": "storage"})]})
    old = left(there, clock, "cancelled")

    handle = run(clock, there, Pen({"job_id": old, "uploaded": "yes"}))

    assert list(there.jobs) == [handle]
    assert there.asked("DELETE job") == 2


def test_an_id_that_the_service_knows_no_more_is_replaced() -> None:
    there, clock = cloud()

    handle = run(clock, there, Pen({"job_id": "gone", "uploaded": "yes"}))

    assert there.submits == [handle]


def test_a_new_id_is_never_taken_for_uploaded_because_the_old_one_was() -> None:
    there, clock = cloud(script={"POST upload": [swallowed] * 9})
    pen = Pen({"job_id": "gone", "uploaded": "yes"})

    fails(Unavailable, clock, there, pen)

    assert pen.noted["uploaded"] == ""
    assert run(clock, there, Pen(pen.noted)) in there.jobs
    assert len(there.submits) == 1


@pytest.mark.parametrize(
    "looks", [[answer(500, {"message": "no"})] * 9, [answer(401, {"message": "Unauthorized"})], [unsent] * 9]
)
def test_no_second_id_is_asked_for_while_the_first_cannot_be_seen(looks: list[Fault | None]) -> None:
    there, clock = cloud()
    old = left(there, clock, "registered")
    there.script["GET status"] = looks

    words = fails(Uncertain, clock, there, Pen({"job_id": old, "uploaded": "yes"}))

    assert f'whether "{old}" was started cannot be seen' in words
    assert (len(there.jobs), there.submits) == (1, [])


# --- every step, killed or not ----------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def killed(before: bool) -> Fault:
    def fault(there: Cloud, request: Any) -> Any:
        if not before:
            there.done(request)
        raise Killed

    return fault


@pytest.mark.parametrize("step", ["POST jobs", "POST upload", "POST submit"])
@pytest.mark.parametrize("before", [True, False])
def test_a_run_that_is_killed_at_any_step_is_followed_by_one_that_starts_the_job_once(step: str, before: bool) -> None:
    there, clock = cloud(script={step: [killed(before)]})
    first = Pen()
    with pytest.raises(Killed):
        run(clock, there, first)

    handle = run(clock, there, Pen(first.noted))

    assert there.submits == [handle]


@pytest.mark.parametrize("note", [0, 1])
def test_a_run_that_is_killed_while_it_notes_a_step_is_followed_by_one_that_starts_the_job_once(note: int) -> None:
    there, clock = cloud()

    class Dying(Pen):
        async def note(self, **facts: str) -> None:
            if len(self.steps) == note:
                raise Killed
            await super().note(**facts)

    first = Dying()
    with pytest.raises(Killed):
        run(clock, there, first)

    handle = run(clock, there, Pen(first.noted))

    assert there.submits == [handle]


# --- settings ---------------------------------------------------------------------------------------------------------


def test_no_secret_is_fetched_before_the_first_request() -> None:
    asked: list[Any] = []
    there, clock = cloud()

    def reveal(source: Any) -> str:
        asked.append(source)
        return "a.b"

    connection = Connection(name="cloud", provider="oqtopus", settings={"url": API, "api_token": 1})
    oqtopus = Oqtopus(connection, Access(reveal=reveal, clock=clock), there)
    before = list(asked)
    clock.run(prepare_twice(oqtopus))

    assert (before, asked) == ([], [1])


def test_a_connection_without_an_address_is_the_operator_s_matter() -> None:
    with pytest.raises(SettingsError, match=r'connection "cloud" has no url; give it in qrun\.toml'):
        connect(Connection(name="cloud", provider="oqtopus"), Access())


async def prepare_twice(oqtopus: Oqtopus) -> None:
    await oqtopus.prepare(submission())
    await oqtopus.devices()
