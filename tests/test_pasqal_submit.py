"""What is sent to Pasqal Cloud, and what becomes of it when an answer is lost: one batch, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from qrun.errors import Denied, ProviderError, Rejected, Unavailable, Uncertain, Unexpected
from qrun.job import Job, rendered
from qrun.provider import Found, Marks, Recovery
from qrun.providers.pasqal import CAPABILITIES
from qrun.record import Handle
from tests.pasqal import (
    MARK,
    MARKER,
    PROJECT,
    SEQUENCE,
    Cloud,
    Fault,
    Pen,
    answer,
    beside,
    cloud,
    job,
    lost,
    refuses,
    sent,
    sequence,
    submission,
    swallowed,
    then,
    unsent,
)
from tests.virtual import VirtualClock

HTML = "<html><body>502 Bad Gateway</body></html>"


def run(clock: VirtualClock, there: Cloud, *jobs: Job, **rest: Any) -> Sequence[Handle]:
    settings = rest.pop("settings", {})
    return clock.run(sent(beside(there, **settings), *jobs, **rest))


def fails(kind: type[ProviderError], clock: VirtualClock, there: Cloud, *jobs: Job, **rest: Any) -> Any:
    with pytest.raises(kind) as caught:
        run(clock, there, *jobs, **rest)
    assert type(caught.value) is kind
    return caught.value


def found(clock: VirtualClock, there: Cloud, marks: Marks) -> Sequence[Found]:
    async def go() -> Sequence[Found]:
        return await beside(there).find(marks)

    return clock.run(go())


def payloads(clock: VirtualClock, there: Cloud, *jobs: Job) -> tuple[str, ...]:
    async def go() -> tuple[str, ...]:
        return (await beside(there).prepare(submission(*jobs))).payloads

    return clock.run(go())


# --- a batch ----------------------------------------------------------------------------------------------------------


def test_jobs_go_out_as_one_batch_with_both_marks_and_the_tags_that_all_share() -> None:
    there, clock = cloud()
    jobs = [
        job("a", params={"omega": 6.0}, shots=20, tags=("team", "slow")),
        job("b", params={"omega": 10.5}, shots=50, tags=("fast", "team")),
    ]

    handles = run(clock, there, *jobs)

    assert there.bodies("POST batches") == [
        {
            "sequence_builder": SEQUENCE,
            "webhook": None,
            "jobs": [{"runs": 20, "variables": {"omega": 6}}, {"runs": 50, "variables": {"omega": 10.5}}],
            "open": False,
            "device_type": "EMU_FREE",
            "tags": [MARKER, MARK, "team"],
            "project_id": PROJECT,
        }
    ]
    (batch,) = there.batches
    assert handles == [f"{batch}/{name}" for name in there.jobs]


def test_a_configuration_is_sent_as_a_map_and_one_of_a_backend_as_a_text() -> None:
    there, clock = cloud()
    options = {
        "configuration": {"with_noise": True},
        "backend_configuration": {"observables": [], "dt": 10.0},
        "webhook": "https://example.org/mine",
    }

    run(clock, there, job(options=options), settings={"webhook": "https://example.org/all"})

    (body,) = there.bodies("POST batches")
    assert body["configuration"] == {"with_noise": True}
    assert body["backend_configuration"] == '{"dt":10,"observables":[]}'
    assert body["webhook"] == "https://example.org/mine"


def test_the_webhook_of_the_connection_serves_jobs_that_name_none() -> None:
    there, clock = cloud()

    run(clock, there, settings={"webhook": "https://example.org/all"})

    assert there.bodies("POST batches")[0]["webhook"] == "https://example.org/all"


def test_a_batch_stays_open_where_its_jobs_say_so() -> None:
    there, clock = cloud()

    run(clock, there, job(open=True))

    assert there.bodies("POST batches")[0]["open"] is True


def test_handles_follow_the_order_of_creation_whatever_the_order_of_the_answer() -> None:
    there, clock = cloud()
    jobs = [job(str(at), params={"omega": float(at)}) for at in range(20)]

    handles = run(clock, there, *jobs)

    omegas = [there.jobs[handle.partition("/")[2]]["variables"]["omega"] for handle in handles]
    assert omegas == list(range(20))


def test_a_service_that_creates_in_another_order_is_seen_through() -> None:
    there, clock = cloud()

    def backwards(cloud: Cloud, request: Any) -> Any:
        reply = cloud.done(request)
        told = json.loads(reply.content)
        for at, each in enumerate(sorted(told["data"]["jobs"], key=lambda one: -one["creation_order"])):
            each["creation_order"] = at
        return answer(200, told)(cloud, request)

    there.script["POST batches"] = [backwards]
    jobs = [job(str(at), params={"omega": float(at)}) for at in range(5)]

    handles = run(clock, there, *jobs)

    assert [there.jobs[handle.partition("/")[2]]["variables"]["omega"] for handle in handles] == [0, 1, 2, 3, 4]


def test_an_answer_without_jobs_is_completed_by_looking_at_the_batch() -> None:
    there, clock = cloud()

    def bare(cloud: Cloud, request: Any) -> Any:
        told = json.loads(cloud.done(request).content)
        return answer(200, {**told, "data": {"id": told["data"]["id"]}})(cloud, request)

    there.script["POST batches"] = [bare]

    assert len(run(clock, there, job("a"), job("b"))) == 2


def test_the_devices_are_asked_for_once_for_many_submissions() -> None:
    there, clock = cloud()

    async def go() -> None:
        pasqal = beside(there)
        for _ in range(5):
            await pasqal.prepare(submission())
        await clock.sleep(61)
        await pasqal.prepare(submission())

    clock.run(go())

    assert there.asked("GET devices/specs") == 2


def test_what_was_prepared_is_good_until_its_token_is_renewed_and_holds_what_the_device_is() -> None:
    there, clock = cloud(lifetime=3600)

    async def go() -> tuple[float | None, Any]:
        prepared = await beside(there).prepare(submission(job(device="FRESNEL")))
        return prepared.good_until, prepared.device

    until, device = clock.run(go())

    assert until == 3540
    assert device["device"] == "FRESNEL"
    assert device["specs"]["max_runs"] == 500


def test_where_nobody_may_see_the_devices_the_public_ones_serve() -> None:
    there, clock = cloud()
    there.script["GET devices/specs"] = [refuses(403, "not for you")]

    error = fails(Rejected, clock, there, job(device="FRESNEL", shots=501))

    assert there.asked("GET devices/public-specs") == 1
    assert "501 runs are too many for FRESNEL, which takes 500" in str(error)


# --- what is refused before it is sent --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"program": "{"}, "job.program: the program is not JSON: "),
        ({"program": "[1]"}, "job.program: the program is no sequence in Pulser's abstract representation"),
        ({"program": '{"version": "1"}'}, 'it has no "name" and no "register"'),
        ({"program": sequence(device="Fresnel")}, 'its device is "Fresnel"; a description of the device, or one of'),
        ({"program": sequence(register=[])}, "its register is not a list of atoms"),
        ({"program": sequence(a=float("nan"))}, "NaN is no JSON number"),
        ({"params": {}}, "job.params.omega: the sequence needs a value for it"),
        ({"params": {"omega": 1, "phi": 2}}, "job.params.phi: the sequence has no such variable; it has omega"),
        ({"params": {"omega": [1.0, 2.0]}}, "job.params.omega: it is [1.0, 2.0]; a number is needed"),
        ({"params": {"omega": "fast"}}, 'job.params.omega: it is "fast"; a number is needed'),
        ({"params": {"omega": True}}, "job.params.omega: it is true; a number is needed"),
        ({"program": sequence(variables={})}, "job.params.omega: the sequence has no such variable; it has none"),
        ({"shots": None}, "job.shots: a number of runs is needed"),
        ({"shots": None, "device": "FRESNEL", "options": {"backend_configuration": {}}}, "a number of runs is needed"),
        ({"shots": 501, "device": "FRESNEL"}, "job.shots: 501 runs are too many for FRESNEL, which takes 500"),
        ({"program": sequence(*"abcd"), "device": "FRESNEL"}, "4 atoms are too many for FRESNEL, which takes 3"),
        ({"tags": ("qr1abc",)}, 'job.tags[0]: "qr1abc" begins as the marks of qrun do'),
        ({"tags": ("two words",)}, 'job.tags[0]: "two words" cannot be a tag there'),
        ({"tags": ("x" * 65,)}, "cannot be a tag there; use letters"),
    ],
)
def test_what_is_wrong_is_told_with_its_job_and_field_before_anything_is_sent(wrong: Any, words: str) -> None:
    there, clock = cloud()

    good = job("good", device=wrong.get("device", "EMU_FREE"))

    error = fails(Rejected, clock, there, good, job(**wrong))

    assert words in str(error)
    assert error.members == ("job",)
    assert there.asked("POST batches") == 0


def test_all_that_is_wrong_is_told_at_once() -> None:
    there, clock = cloud()

    error = fails(Rejected, clock, there, job("a", shots=None, params={}), job("b"), job("c", tags=("qrx",)))

    assert error.members == ("a", "c")
    assert [problem.field for problem in error.problems] == ["a.shots", "a.params.omega", "c.tags[0]"]


def test_an_emulator_with_a_configuration_of_its_own_needs_no_number_of_runs() -> None:
    there, clock = cloud()

    run(clock, there, job(shots=None, options={"backend_configuration": {"observables": []}}))

    assert there.bodies("POST batches")[0]["jobs"] == [{"variables": {"omega": 1}}]


def test_values_are_held_against_the_type_and_size_of_their_variable() -> None:
    there, clock = cloud()
    variables = {"omega": {"type": "float", "value": [0.0]}, "n": {"type": "int", "value": [0, 0]}}
    program = sequence(variables=variables)

    assert run(clock, there, job(program=program, params={"omega": 1, "n": [1, 2.0]}))
    error = fails(Rejected, clock, there, job(program=program, params={"omega": 1, "n": [1, 2.5]}))

    assert "job.params.n: it is [1, 2.5]; a list of 2 whole numbers is needed" in str(error)


def test_a_register_that_is_chosen_by_each_run_needs_the_places_of_its_atoms() -> None:
    there, clock = cloud()
    program = sequence(
        register=[{"qid": "q0"}, {"qid": "q1"}], layout={"coordinates": [[8 * at, 0] for at in range(6)]}
    )

    assert run(clock, there, job(program=program, params={"omega": 1.0, "qubits": {"q0": 1}}))
    none = fails(Rejected, clock, there, job(program=program))
    other = fails(Rejected, clock, there, job(program=program, params={"omega": 1.0, "qubits": {"q7": 1}}))

    assert "job.params.qubits: the register is chosen by each run: say where atoms are, as in {q0: 3}" in str(none)
    assert 'job.params.qubits: there is no atom "q7"; there are q0, q1' in str(other)


# --- what the service refuses -----------------------------------------------------------------------------------------


def test_a_refusal_that_names_jobs_refuses_these_and_no_others() -> None:
    there, clock = cloud()

    error = fails(Rejected, clock, there, job("a"), job("b", shots=2000), job("c"), job("d", shots=3000))

    assert error.members == ("b", "d")
    assert error.words == "jobs.1.runs: must be at most 1000; jobs.3.runs: must be at most 1000"
    assert there.creates == []


def test_a_refusal_that_names_no_job_refuses_all() -> None:
    there, clock = cloud()
    flaw = [{"loc": ["body", "jobs"], "msg": "3 jobs are too many", "type": "value_error"}]
    there.script["POST batches"] = [refuses(422, flaw), refuses(400, "2 jobs. No more")]

    assert fails(Rejected, clock, there, job("a"), job("b"), job("c"), job("d")).members == ()
    assert fails(Rejected, clock, there, job("a"), job("b"), job("c"), job("d")).members == ()


@pytest.mark.parametrize(
    ("fault", "kind", "made"),
    [
        (refuses(400, "no"), Rejected, 0),
        (refuses(403, "not your project"), Rejected, 0),
        (unsent, Unavailable, 0),
        (lost, Uncertain, 1),
        (swallowed, Uncertain, 0),
        (then(504, "gateway timeout"), Uncertain, 1),
        (answer(502, HTML), Uncertain, 0),
        (refuses(500, "oops"), Uncertain, 0),
        (refuses(503, "busy"), Uncertain, 0),
        (refuses(408, "slow"), Uncertain, 0),
        (answer(400, HTML), Uncertain, 0),
        (then(200, HTML), Uncertain, 1),
        (then(200, {"status": "success", "data": None}), Uncertain, 1),
        (then(200, {"status": "success", "data": {"id": "../x"}}), Uncertain, 1),
        (then(200, {"status": "success", "data": {"id": "b1", "jobs": [{}, {}]}}), Uncertain, 1),
    ],
)
def test_a_create_is_sent_once_whatever_its_answer(fault: Fault, kind: type[ProviderError], made: int) -> None:
    there, clock = cloud()
    there.script["POST batches"] = [fault] * 3 if fault is unsent else [fault]

    fails(kind, clock, there)

    assert len(there.creates) == made
    assert there.asked("POST batches") == (3 if fault is unsent else 1)


def test_a_limit_of_requests_is_waited_out_since_nothing_was_done() -> None:
    there, clock = cloud()
    there.script["POST batches"] = [answer(429, {"status": "fail", "message": "slow down"}, {"retry-after": "7"})]

    assert run(clock, there)

    assert len(there.creates) == 1
    times = [when for when, route, _, _ in there.seen if route == "POST batches"]
    assert times[1] - times[0] >= 7


def test_a_lost_batch_is_found_by_its_marker_with_what_was_sent() -> None:
    there, clock = cloud()
    jobs = [job("a", params={"omega": 1.0}), job("b", params={"omega": 2.5}, shots=7)]
    options = {"configuration": {"with_noise": False}, "backend_configuration": {"b": 1.0, "a": [2e-3]}}
    jobs = [job(each.key, params=each.params, shots=each.shots, options=options) for each in jobs]
    there.script["POST batches"] = [lost]
    fails(Uncertain, clock, there, *jobs)

    hits = found(clock, there, Marks(mark=MARK, marker=MARKER))

    assert [hit.payload for hit in hits] == list(payloads(clock, there, *jobs))
    assert [(hit.marker, hit.mark, hit.device, hit.shots) for hit in hits] == [
        (MARKER, MARK, "EMU_FREE", 100),
        (MARKER, MARK, "EMU_FREE", 7),
    ]


def test_what_the_cloud_writes_otherwise_is_the_same_job() -> None:
    there, clock = cloud()
    wanted = payloads(clock, there, job())
    spread = json.dumps(json.loads(SEQUENCE), indent=2, sort_keys=True)
    usual = {"strict_validation": False, "with_noise": False, "result_types": None}
    there.new("PENDING", sequence_builder=spread, configuration=usual)
    there.set("PENDING", *there.jobs, variables={"omega": 1})

    (hit,) = found(clock, there, Marks(mark=MARK, marker=MARKER))

    assert (hit.payload,) == wanted


@pytest.mark.parametrize(
    "other",
    [
        job(shots=99),
        job(params={"omega": 1.5}),
        job(device="EMU_SV"),
        job(program=sequence("a", "b")),
        job(options={"configuration": {"with_noise": True}}),
        job(options={"backend_configuration": {"dt": 1}}),
    ],
)
def test_another_job_has_another_payload(other: Job) -> None:
    there, clock = cloud()

    assert payloads(clock, there, job()) != payloads(clock, there, other)


def test_tags_webhook_and_names_do_not_change_the_payload() -> None:
    there, clock = cloud()
    other = job("other", tags=("x",), options={"webhook": "https://example.org/"}, open=True)

    assert payloads(clock, there, job()) == payloads(clock, there, other)


# --- joining ----------------------------------------------------------------------------------------------------------


def opened(there: Cloud, count: int = 2) -> str:
    return there.new(*["PENDING"] * count, open_=True)[0].partition("/")[0]


def test_jobs_that_join_are_counted_first_and_added_without_a_new_batch() -> None:
    there, clock = cloud()
    batch, pen = opened(there), Pen()

    handles = run(clock, there, job("c", shots=7), job("d"), container=batch, pen=pen)

    assert pen.steps == [{"count": "2"}]
    assert there.bodies("POST batch/jobs") == [
        [{"runs": 7, "variables": {"omega": 1}}, {"runs": 100, "variables": {"omega": 1}}]
    ]
    assert [there.jobs[handle.partition("/")[2]]["runs"] for handle in handles] == [7, 100]
    assert there.creates == [batch]


def test_the_number_is_noted_before_the_request_goes_out() -> None:
    there, clock = cloud()
    batch = opened(there)

    class Broken(Pen):
        async def note(self, **facts: str) -> None:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        run(clock, there, job("c"), container=batch, pen=Broken())

    assert there.asked("POST batch/jobs") == 0


@pytest.mark.parametrize(("fault", "made"), [(lost, 2), (swallowed, 0), (then(504, HTML), 2)])
def test_jobs_whose_answer_is_lost_are_those_beyond_the_number(fault: Fault, made: int) -> None:
    there, clock = cloud()
    batch, pen = opened(there), Pen()
    there.script["POST batch/jobs"] = [fault]
    jobs = [job("c", shots=7), job("d")]

    fails(Uncertain, clock, there, *jobs, container=batch, pen=pen)
    hits = found(clock, there, Marks(mark=MARK, step="join", container=Handle(batch), noted=pen.noted))

    assert len(hits) == made
    assert [hit.payload for hit in hits] == list(payloads(clock, there, *jobs))[:made]
    assert {hit.marker for hit in hits} <= {None}


def test_where_no_number_was_noted_nothing_was_sent() -> None:
    there, clock = cloud()
    batch = opened(there)

    assert found(clock, there, Marks(mark=MARK, step="join", container=Handle(batch))) == []


def test_a_count_that_cannot_be_had_is_proof_that_nothing_was_sent() -> None:
    there, clock = cloud()

    there.script["GET jobs"] = [refuses(404, "no")]

    fails(Unavailable, clock, there, job("c"), container=opened(there), pen=Pen())

    assert there.asked("POST batch/jobs") == 0


def test_a_batch_whose_list_lags_behind_is_counted_by_its_own_count() -> None:
    there, clock = cloud()
    batch, pen = opened(there), Pen()
    there.unlisted.update(there.jobs)

    (handle,) = run(clock, there, job("c", shots=7), container=batch, pen=pen)

    assert pen.steps == [{"count": "2"}]
    assert there.jobs[handle.partition("/")[2]]["runs"] == 7


def test_a_batch_that_has_closed_takes_no_more() -> None:
    there, clock = cloud()
    (handle,) = there.new("PENDING")

    error = fails(Rejected, clock, there, job("c"), container=handle.partition("/")[0])

    assert error.words == "the batch is closed"


def test_a_refused_member_of_those_that_join_is_named() -> None:
    there, clock = cloud()

    error = fails(Rejected, clock, there, job("c"), job("d", shots=2000), container=opened(there))

    assert error.members == ("d",)


def test_only_a_batch_that_is_open_and_not_ended_takes_more_jobs() -> None:
    there, clock = cloud()

    async def go() -> list[bool]:
        pasqal = beside(there)
        names = [
            opened(there),
            there.new("PENDING")[0].partition("/")[0],
            there.new("DONE", open_=True, status="TIMED_OUT")[0].partition("/")[0],
            "b9999999",
        ]
        return [await pasqal.opened(Handle(name)) for name in names]

    assert clock.run(go()) == [True, False, False, False]


def test_jobs_may_share_a_batch_where_all_that_belongs_to_the_batch_is_the_same() -> None:
    there, _ = cloud()
    pasqal = beside(there)
    one = rendered(job("a", shots=1, params={"omega": 9.0}, tags=("x",), options={"webhook": "https://example.org/"}))

    assert pasqal.alike(job("b"), one)
    others = [
        job(device="EMU_SV"),
        job(program=sequence("a")),
        job(options={"configuration": {"with_noise": True}}),
        job(options={"backend_configuration": {"dt": 1}}),
        job(kind="workload", program="{}", options={"workload_type": "x"}),
    ]
    assert not any(pasqal.alike(other, one) for other in others)


# --- together or not --------------------------------------------------------------------------------------------------


def keys(groups: Sequence[Sequence[Job]]) -> list[list[str]]:
    return [[each.key for each in group] for group in groups]


def test_what_is_alike_goes_out_together_in_its_order_and_workloads_go_alone() -> None:
    there, _ = cloud()
    workload: dict[str, Any] = {"kind": "workload", "program": "{}", "options": {"workload_type": "x"}}
    jobs = [
        job("a"),
        job("b", device="EMU_SV"),
        job("c", shots=3, params={"omega": 2.0}),
        job("d", options={"webhook": "https://example.org/"}),
        job("e", together="extra"),
        job("f", open=True),
        job("g", **workload),
        job("h", **workload),
        job("i", tags=("x",)),
    ]

    assert keys(beside(there).pack(jobs)) == [["a", "c", "i"], ["b"], ["d"], ["e"], ["f"], ["g"], ["h"]]


def test_a_batch_holds_a_hundred_jobs_or_as_many_as_they_say() -> None:
    there, _ = cloud()
    pasqal = beside(there)

    assert [len(group) for group in pasqal.pack([job(str(at)) for at in range(250)])] == [100, 100, 50]
    assert [len(group) for group in pasqal.pack([job(str(at), pack=2) for at in range(5)])] == [2, 2, 1]
    assert [len(group) for group in pasqal.pack([job(str(at), pack=500) for at in range(300)])] == [300]


# --- once more --------------------------------------------------------------------------------------------------------


def once_more(clock: VirtualClock, there: Cloud, pen: Pen, *handles: str) -> Sequence[Handle]:
    async def go() -> Sequence[Handle]:
        return await beside(there).again([Handle(handle) for handle in handles], pen)

    return clock.run(go())


def test_failed_jobs_run_once_more_in_a_batch_of_their_own() -> None:
    there, clock = cloud()
    handles = there.new("DONE", "ERROR", "ERROR", tags=[])
    pen = Pen()

    (made,) = once_more(clock, there, pen, handles[1])

    queries = [query for _, route, query, _ in there.seen if route == "POST batch/rebatch"]
    assert queries == [[("id", handles[1].partition("/")[2])]]
    assert pen.steps == [{"known": ""}]
    copy = there.jobs[made.partition("/")[2]]
    assert (copy["variables"], copy["parent_id"]) == ({"omega": 1}, handles[1].partition("/")[2])


@pytest.mark.parametrize(("fault", "made"), [(lost, 1), (swallowed, 0)])
def test_a_lost_batch_that_was_made_from_another_is_the_one_that_was_not_there_before(fault: Fault, made: int) -> None:
    there, clock = cloud()
    (handle,) = there.new("ERROR")
    parent, pen = handle.partition("/")[0], Pen()
    once_more(clock, there, Pen(), handle)
    there.script["POST batch/rebatch"] = [fault]

    with pytest.raises(Uncertain):
        once_more(clock, there, pen, handle)
    hits = found(clock, there, Marks(mark=MARK, step="rebatch", container=Handle(parent), noted=pen.noted))

    assert len(pen.noted["known"].split()) == 1
    assert [hit.handle.partition("/")[0] for hit in hits] == there.creates[2:]
    assert len(hits) == made


def test_a_batch_that_was_made_from_another_is_not_one_that_we_sent() -> None:
    there, clock = cloud()
    (handle,) = there.new("ERROR")
    once_more(clock, there, Pen(), handle)

    hits = found(clock, there, Marks(mark=MARK, marker=MARKER))

    assert [hit.handle for hit in hits] == [handle]


# --- workloads --------------------------------------------------------------------------------------------------------

WORKLOAD: dict[str, Any] = {
    "kind": "workload",
    "device": "pyqtorch",
    "program": '{"depth": 3.0}',
    "options": {"workload_type": "qadence_circuit"},
}


def test_a_workload_is_sent_as_it_is_and_named_by_its_id() -> None:
    there, clock = cloud()

    (handle,) = run(clock, there, job(**WORKLOAD))

    assert there.bodies("POST workloads") == [
        {
            "workload_type": "qadence_circuit",
            "backend": "pyqtorch",
            "config": {"depth": 3},
            "project_id": PROJECT,
        }
    ]
    assert handle == there.creates[0]


def test_a_workload_whose_answer_is_lost_cannot_be_looked_up() -> None:
    there, clock = cloud()
    there.script["POST workloads"] = [lost]

    fails(Uncertain, clock, there, job(**WORKLOAD))

    assert CAPABILITIES.recover("workload") is Recovery.NOTHING
    assert found(clock, there, Marks(mark=MARK, marker=MARKER)) == []


@pytest.mark.parametrize("program", ["[1]", "{", '{"n": 123456789012345678901}'])
def test_the_program_of_a_workload_is_an_object(program: str) -> None:
    there, clock = cloud()

    error = fails(Rejected, clock, there, job(**{**WORKLOAD, "program": program}))

    assert "job.program: the program cannot be used: " in str(error)
    assert there.seen == []


def test_each_step_is_recovered_in_its_own_way() -> None:
    steps = [("pulse", "create"), ("pulse", "join"), ("pulse", "rebatch"), ("workload", "create")]

    assert [CAPABILITIES.recover(*step).value for step in steps] == ["B", "C", "C", "D"]


# --- by way of OVH ----------------------------------------------------------------------------------------------------


def test_by_way_of_ovh_batches_are_created_under_other_addresses_and_an_unknown_outcome_stays_unknown() -> None:
    there, clock = cloud()
    settings = {"variant": "ovh", "token": "ready", "project_id": None}

    handles = run(clock, there, job("a"), job("b"), settings=settings)

    assert len(handles) == 2
    assert there.bodies("POST batches")[0]["project_id"] == ""
    pasqal = beside(there, **settings)
    assert pasqal.capabilities.recover("pulse") is Recovery.NOTHING
    assert clock.run(_nothing(pasqal)) == []


async def _nothing(pasqal: Any) -> Any:
    return await pasqal.find(Marks(mark=MARK))


@pytest.mark.parametrize(
    ("asked", "what"),
    [(job(open=True), "batches that stay open"), (job(**WORKLOAD), "workloads")],
)
def test_what_ovh_does_not_offer_is_refused_before_anything_is_sent(asked: Job, what: str) -> None:
    there, clock = cloud()

    error = fails(Rejected, clock, there, asked, settings={"variant": "ovh", "token": "ready"})

    assert f"access by way of OVH offers no {what}; use a connection of your own" in str(error)
    assert there.seen == []


def test_a_login_that_is_refused_sends_nothing() -> None:
    there, clock = cloud()

    fails(Denied, clock, there, settings={"password": "wrong"})

    assert there.routes() == ["POST token"]


def test_a_listing_that_does_not_show_all_jobs_of_a_batch_proves_nothing() -> None:
    there, clock = cloud()
    handles = there.new("PENDING", "PENDING")
    there.unlisted.add(handles[1].partition("/")[2])

    with pytest.raises(Unexpected, match="has 2 jobs, and the list shows 1"):
        found(clock, there, Marks(mark=MARK, marker=MARKER))
