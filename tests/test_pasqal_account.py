"""What an account of Pasqal Cloud has: found, listed, recalled, cancelled, closed and labelled."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest

from qrun.clock import stamp
from qrun.errors import Missing, Rejected, Unavailable, Unexpected
from qrun.provider import Device, Filters, Found, Labels, Marks, Recalled
from qrun.providers.pasqal.provider import Pasqal
from qrun.record import Handle, Phase
from tests.pasqal import (
    MARK,
    MARKER,
    PROJECT,
    SEQUENCE,
    Cloud,
    Pen,
    answer,
    beside,
    cloud,
    job,
    lost,
    refuses,
    sent,
    submission,
)
from tests.virtual import EPOCH, VirtualClock


def ask(clock: VirtualClock, there: Cloud, what: Callable[[Pasqal], Awaitable[Any]], **settings: Any) -> Any:
    async def go() -> Any:
        return await what(beside(there, **{"token": "ready", **settings}))

    return clock.run(go())


def find(clock: VirtualClock, there: Cloud, **marks: Any) -> Sequence[Found]:
    found: Sequence[Found] = ask(clock, there, lambda pasqal: pasqal.find(Marks(mark=MARK, **marks)))
    return found


def listed(clock: VirtualClock, there: Cloud, **filters: Any) -> list[Found]:
    async def go(pasqal: Pasqal) -> list[Found]:
        return [found async for found in pasqal.list(Filters(**filters))]

    found: list[Found] = ask(clock, there, go)
    return found


def cancel(clock: VirtualClock, there: Cloud, *handles: Handle) -> Mapping[Handle, str | None]:
    found: Mapping[Handle, str | None] = ask(clock, there, lambda pasqal: pasqal.cancel(handles))
    return found


def batch(handle: Handle) -> Handle:
    return Handle(handle.partition("/")[0])


# --- searching --------------------------------------------------------------------------------------------------------


def test_a_search_finds_what_carries_the_very_tag_and_asks_for_this_project_alone() -> None:
    there, clock = cloud()
    (mine,) = there.new("DONE")
    there.new("DONE", tags=["team"])

    hits = find(clock, there)

    assert [hit.handle for hit in hits] == [mine]
    assert dict(there.seen[0][2])["project_id"] == PROJECT
    assert (hits[0].phase, hits[0].word, hits[0].tags) == (Phase.SUCCEEDED, "DONE", ())


def test_a_search_reads_every_page() -> None:
    there, clock = cloud()
    handles = [there.new("DONE")[0] for _ in range(250)]

    hits = find(clock, there)

    assert sorted(hit.handle for hit in hits) == sorted(handles)
    assert there.asked("GET batches") == 3
    assert there.asked("GET batch") == 0  # what was sent in each is asked for where it matters


def test_the_payloads_of_a_few_batches_are_told_at_once() -> None:
    there, clock = cloud()
    there.new("DONE", "DONE")

    hits = find(clock, there)

    assert all(hit.payload for hit in hits)
    assert there.routes() == ["GET batches", "GET jobs", "GET batch"]


def test_a_list_that_does_not_advance_proves_nothing() -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE")
    stuck = {
        "status": "success",
        "data": [{"id": batch(handle), "tags": [MARK], "status": "DONE"}],
        "pagination": {"total": 300, "start": 0, "end": 100},
    }
    there.script["GET batches"] = [answer(200, stuck)] * 20

    with pytest.raises(Unexpected, match="does not advance"):
        find(clock, there)


def test_two_batches_of_one_marker_are_both_found() -> None:
    there, clock = cloud()
    there.new("PENDING")
    there.new("PENDING")

    assert len(find(clock, there, marker=MARKER)) == 2


def test_one_job_is_inspected_with_what_was_sent_of_it() -> None:
    there, clock = cloud()
    prepared = clock.run(beside(there).prepare(submission(job("a"), job("b", shots=7))))
    _, second = clock.run(sent(beside(there), job("a"), job("b", shots=7)))
    there.good_tokens.add("ready")

    found = ask(clock, there, lambda pasqal: pasqal.inspect(second))

    assert found.payload == prepared.payloads[1]
    assert (found.marker, found.shots, found.handle) == (MARKER, 7, second)


def test_the_sequence_of_a_batch_is_fetched_once_for_all_its_jobs() -> None:
    there, clock = cloud()
    handles = there.new(*["DONE"] * 5)

    async def go(pasqal: Pasqal) -> None:
        for handle in handles:
            await pasqal.inspect(handle)

    ask(clock, there, go)

    assert (there.asked("GET job"), there.asked("GET batch")) == (5, 1)


def test_a_job_of_another_batch_is_not_this_one() -> None:
    there, clock = cloud()
    one, two = there.new("DONE")[0], there.new("DONE")[0]

    with pytest.raises(Missing, match="is a job of another batch"):
        ask(clock, there, lambda pasqal: pasqal.inspect(Handle(f"{batch(one)}/{two.partition('/')[2]}")))


# --- the account ------------------------------------------------------------------------------------------------------


def account() -> tuple[Cloud, VirtualClock]:
    there, clock = cloud()
    there.new("DONE", "ERROR", tags=["team"], device_type="FRESNEL")
    there.new("PENDING", tags=[MARKER, MARK])
    for place, one in enumerate(there.jobs.values()):
        one["created_at"] = stamp(EPOCH + 60 * place)
    late = {"status": "DONE", "backend": "pyq", "workload_type": "x", "created_at": stamp(EPOCH + 90)}
    there.workloads["w1"] = {"id": "w1", "project_id": PROJECT, **late}
    return there, clock


def test_jobs_and_workloads_are_listed_together_the_newest_first_with_what_their_batch_says() -> None:
    there, clock = account()

    found = listed(clock, there)

    assert [(one.word, one.device, one.kind, one.tags) for one in found] == [
        ("PENDING", "EMU_FREE", "pulse", ()),
        ("DONE", "pyq", "workload", ()),
        ("ERROR", "FRESNEL", "pulse", ("team",)),
        ("DONE", "FRESNEL", "pulse", ("team",)),
    ]
    assert found[0].marker == MARKER


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({"words": ("DONE",)}, 2),
        ({"words": ("DONE", "ERROR")}, 3),
        ({"words": ("HIBERNATING",)}, 0),
        ({"device": "FRESNEL"}, 2),
        ({"device": "FRESNEL", "words": ("ERROR",)}, 1),
        ({"device": "pyq"}, 1),
        ({"tags": ("team",)}, 2),
        ({"tags": ("team", "other")}, 0),
        ({"kind": "pulse"}, 3),
        ({"kind": "workload"}, 1),
        ({"kind": "sampling"}, 0),
        ({"text": "w1"}, 1),
        ({"since": stamp(EPOCH + 60)}, 3),
        ({"until": stamp(EPOCH + 60)}, 2),
        ({"since": stamp(EPOCH + 61), "until": stamp(EPOCH + 100)}, 1),
    ],
)
def test_every_filter_holds_exactly(filters: dict[str, Any], count: int) -> None:
    there, clock = account()

    assert len(listed(clock, there, **filters)) == count


def test_a_long_list_is_read_page_by_page_with_one_question_for_the_batches_of_each() -> None:
    there, clock = cloud()
    for _ in range(5):
        there.new(*["DONE"] * 50)

    found = listed(clock, there, kind="pulse")

    assert len(found) == 250
    assert (there.asked("GET jobs"), there.asked("GET batches")) == (3, 3)


def test_a_listing_stops_where_all_that_follows_is_too_old() -> None:
    there, clock = cloud()
    for _ in range(10):
        there.new(*["DONE"] * 50)
    for place, one in enumerate(there.jobs.values()):
        one["created_at"] = stamp(EPOCH + place)

    found = listed(clock, there, kind="pulse", since=stamp(EPOCH + 450))

    assert len(found) == 50
    assert there.asked("GET jobs") < 5


# --- recalling --------------------------------------------------------------------------------------------------------


def recall(clock: VirtualClock, there: Cloud, name: str) -> Recalled:
    found: Recalled = ask(clock, there, lambda pasqal: pasqal.recall(Handle(name)))
    return found


def test_a_job_comes_back_as_a_manifest_would_say_it() -> None:
    there, clock = cloud()
    configuration = {"with_noise": True, "result_types": None}
    backend = '{"dt": 10.0, "observables": []}'
    tags = ["team", MARKER, MARK]
    handles = there.new("DONE", "DONE", tags=tags, configuration=configuration, backend_configuration=backend)

    found = recall(clock, there, handles[1])

    assert found.fields == {
        "device": "EMU_FREE",
        "kind": "pulse",
        "shots": 100,
        "params": {"omega": 1},
        "options": {
            "configuration": {"with_noise": True},
            "backend_configuration": {"dt": 10.0, "observables": []},
        },
        "tags": ["team"],
    }
    assert found.programs == (("sequence.json", SEQUENCE.encode()),)
    assert found.found.payload


def test_a_job_may_be_named_without_its_batch_and_the_only_job_of_a_batch_by_the_batch() -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE")

    assert recall(clock, there, batch(handle)).found.handle == handle
    assert recall(clock, there, handle.partition("/")[2]).found.handle == handle


def test_a_batch_of_several_jobs_says_which() -> None:
    there, clock = cloud()
    handles = there.new("DONE", "DONE")

    with pytest.raises(Rejected) as caught:
        recall(clock, there, batch(handles[0]))
    members = ask(clock, there, lambda pasqal: pasqal.contents(batch(handles[0])))

    words = f'"{batch(handles[0])}" is a batch of 2 jobs; name one of them, such as {handles[0]}, {handles[1]}'
    assert str(caught.value) == words
    assert [member.handle for member in members] == list(handles)


def test_a_workload_comes_back_without_the_bytes_that_nobody_can_tell() -> None:
    there, clock = account()

    found = recall(clock, there, "w1")

    assert found.fields == {"device": "pyq", "kind": "workload", "options": {"workload_type": "x"}}
    assert found.programs == ()


def test_what_is_nowhere_is_missing() -> None:
    there, clock = cloud()

    with pytest.raises(Missing):
        recall(clock, there, "x1")


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_one_job_is_cancelled_by_itself() -> None:
    there, clock = cloud()
    handles = there.new("PENDING", "PENDING")

    assert cancel(clock, there, handles[0]) == {handles[0]: None}

    assert [there.jobs[handle.partition("/")[2]]["status"] for handle in handles] == ["CANCELED", "PENDING"]
    assert there.routes() == ["GET jobs", "PATCH job/cancel"]


def test_several_jobs_of_a_batch_are_cancelled_by_one_request_that_names_them() -> None:
    there, clock = cloud()
    handles = there.new("PENDING", "RUNNING", "PENDING", "DONE")

    answers = cancel(clock, there, *handles[1:])

    assert answers == {handles[1]: None, handles[2]: None, handles[3]: 'it is "DONE"'}
    assert there.jobs[handles[0].partition("/")[2]]["status"] == "PENDING"
    assert there.routes() == ["GET jobs", "PATCH batch/cancel/jobs"]


def test_whole_batches_are_cancelled_together() -> None:
    there, clock = cloud()
    handles = [*there.new("PENDING", "PENDING", open_=True), *there.new("PENDING"), *there.new("DONE", "PENDING")]

    answers = cancel(clock, there, *handles)

    assert [words for words in answers.values() if words] == ['it is "DONE"']
    assert there.bodies("PATCH batches/cancel") == [{"batch_ids": list(there.batches)}]
    assert not any(each["open"] for each in there.batches.values())


def test_with_nothing_to_cancel_nothing_is_sent() -> None:
    there, clock = cloud()
    handles = there.new("DONE", "CANCELED")

    answers = cancel(clock, there, *handles, Handle("b9999999/j1"))

    assert answers == {
        handles[0]: 'it is "DONE"',
        handles[1]: None,
        Handle("b9999999/j1"): "the service does not know it any more",
    }
    assert cancel(clock, there) == {}
    assert set(there.routes()) == {"GET jobs"}


def test_a_batch_that_cannot_be_cancelled_says_why_and_hides_no_other() -> None:
    there, clock = cloud()
    one, two = there.new("PENDING")[0], there.new("PENDING")[0]
    told = {"status": "success", "data": {"batches": [], "errors": {batch(one): "it is locked"}}}
    there.script["PATCH batches/cancel"] = [answer(200, told)]

    answers = cancel(clock, there, one, two)

    assert answers == {one: "it is locked", two: None}


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_a_refused_cancel_is_judged_by_how_the_job_stands(status: int) -> None:
    there, clock = cloud()
    handles = there.new("RUNNING", "RUNNING", "RUNNING")

    def too_late(cloud: Cloud, request: Any) -> Any:
        cloud.set("DONE", handles[0])
        cloud.set("CANCELING", handles[1])
        return refuses(status, "too late")(cloud, request)

    there.script["PATCH batches/cancel"] = [too_late]

    assert cancel(clock, there, *handles) == {handles[0]: 'it is "DONE"', handles[1]: None, handles[2]: "too late"}


def test_a_cancel_whose_answer_is_lost_is_repeated() -> None:
    there, clock = cloud()
    handles = there.new("PENDING", "PENDING")
    there.script["PATCH job/cancel"] = [lost]

    assert cancel(clock, there, handles[0]) == {handles[0]: None}
    assert there.asked("PATCH job/cancel") == 2


def test_a_batch_may_be_cancelled_by_its_own_id() -> None:
    there, clock = cloud()
    one, two = there.new("DONE", "PENDING", open_=True), there.new("DONE")

    answers = cancel(clock, there, batch(one[0]), batch(two[0]), Handle("x1"))

    assert answers == {
        batch(one[0]): None,
        batch(two[0]): 'it is "DONE"',
        Handle("x1"): "the service does not know it any more",
    }
    assert there.bodies("PATCH batches/cancel") == [{"batch_ids": [batch(one[0])]}]


def test_a_workload_is_cancelled_by_its_own_route() -> None:
    there, clock = cloud()
    there.workloads["w1"] = {"id": "w1", "status": "PENDING"}
    there.workloads["w2"] = {"id": "w2", "status": "DONE"}

    answers = cancel(clock, there, Handle("w1"), Handle("w2"), Handle("w3"))

    assert answers == {
        Handle("w1"): None,
        Handle("w2"): 'it is "DONE"',
        Handle("w3"): "the service does not know it any more",
    }


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_is_closed_and_to_close_it_again_is_no_error() -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE", open_=True)

    for _ in range(2):
        ask(clock, there, lambda pasqal: pasqal.close(batch(handle)))
    ask(clock, there, lambda pasqal: pasqal.close(Handle("b9999999")))

    assert there.batches[batch(handle)]["open"] is False


def test_a_batch_that_stays_open_in_spite_of_it_is_an_error() -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE", open_=True)
    there.script["PATCH batch/complete"] = [refuses(400, "not now")]

    with pytest.raises(Rejected, match="not now"):
        ask(clock, there, lambda pasqal: pasqal.close(batch(handle)))


def test_labels_replace_all_tags_and_keep_the_marks() -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE", tags=["old", MARKER, MARK])
    labels = Labels(markers=(MARKER, "qr1" + "c" * 26), mark=MARK, tags=("new",))

    ask(clock, there, lambda pasqal: pasqal.relabel(batch(handle), labels))

    assert there.batches[batch(handle)]["tags"] == [MARKER, "qr1" + "c" * 26, MARK, "new"]
    assert [hit.marker for hit in find(clock, there, marker="qr1" + "c" * 26)] == ["qr1" + "c" * 26]


def test_a_label_that_cannot_be_a_tag_is_refused_before_any_is_replaced() -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE")
    labels = Labels(markers=(MARKER,), mark=MARK, tags=("two words",))

    with pytest.raises(Rejected, match='"two words" cannot be a tag there'):
        ask(clock, there, lambda pasqal: pasqal.relabel(batch(handle), labels))

    assert there.seen == []


def test_a_workload_has_no_tags_to_replace() -> None:
    there, clock = account()

    ask(clock, there, lambda pasqal: pasqal.relabel(Handle("w1"), Labels(markers=(MARKER,), mark=MARK, tags=())))

    assert "tags" not in there.workloads["w1"]


# --- devices ----------------------------------------------------------------------------------------------------------


def devices(clock: VirtualClock, there: Cloud, **settings: Any) -> Sequence[Device]:
    found: Sequence[Device] = ask(clock, there, lambda pasqal: pasqal.devices(), **settings)
    return found


def test_devices_are_told_with_their_limits_and_whether_they_are_there() -> None:
    there, clock = cloud()

    (found,) = devices(clock, there)

    assert (found.device, found.status, found.qubits) == ("FRESNEL", "UP", 3)
    assert found.facts["max_sequence_duration"] == 4000
    assert found.facts["availability"] == "ACTIVE"


def test_a_device_that_is_down_says_so_and_one_whose_state_nobody_tells_is_there_all_the_same() -> None:
    there, clock = cloud()
    down = {"status": "success", "data": [{"status": "DOWN", "availability": "INACTIVE"}]}
    there.script["GET devices"] = [answer(200, down), refuses(404, "no")]

    assert devices(clock, there)[0].status == "DOWN INACTIVE"
    assert devices(clock, there)[0].status == "unknown"


def test_a_description_that_cannot_be_read_hides_no_device() -> None:
    there, clock = cloud(devices={"A": "{", "B": json.dumps({"max_atom_num": 7}), "C": "[NaN]"})

    assert [(one.device, one.qubits) for one in devices(clock, there)] == [("A", None), ("B", 7), ("C", None)]


def test_by_way_of_ovh_the_public_descriptions_serve() -> None:
    there, clock = cloud()

    assert [one.device for one in devices(clock, there, variant="ovh")] == ["FRESNEL"]
    assert there.routes() == ["GET devices/public-specs", "GET devices"]


@pytest.mark.parametrize(
    "what",
    [
        lambda pasqal: pasqal.close(Handle("b1")),
        lambda pasqal: pasqal.relabel(Handle("b1"), Labels(markers=(MARKER,), mark=MARK, tags=())),
        lambda pasqal: pasqal.again([Handle("b1/j1")], Pen()),
        lambda pasqal: anext(pasqal.list(Filters())),
    ],
)
def test_what_ovh_lacks_is_refused_with_a_sentence(what: Callable[[Pasqal], Awaitable[Any]]) -> None:
    there, clock = cloud()

    with pytest.raises(Rejected, match="access by way of OVH offers no"):
        ask(clock, there, what, variant="ovh")

    assert there.seen == []


def test_a_service_that_is_down_cannot_be_searched() -> None:
    there, clock = cloud()
    there.script["GET batches"] = [refuses(503, "down")] * 6

    with pytest.raises(Unavailable):
        find(clock, there)
