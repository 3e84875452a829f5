"""Bringing results home from Pasqal Cloud, and reading them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from qrun.errors import Unexpected
from qrun.job import rendered
from qrun.providers.pasqal.fetching import DOCUMENT, RESULT
from qrun.record import Handle
from tests.pasqal import SEQUENCE, Basket, Cloud, answer, beside, cloud, job, sequence
from tests.programs import Waiting
from tests.virtual import VirtualClock

COUNTS = {"counter": {"10": 60, "01": 40}, "raw": None}


def bring(clock: VirtualClock, there: Cloud, *handles: Handle) -> Basket:
    basket = Basket()
    clock.run(beside(there, token="ready").fetch(handles, basket))
    return basket


def ended(there: Cloud, count: int = 1, result: Any = COUNTS) -> Sequence[Handle]:
    handles = there.new(*["DONE"] * count)
    for handle in handles:
        there.results[handle.partition("/")[2]] = result
    return handles


def read(result: Any, *, program: str | None = SEQUENCE, **rest: Any) -> Any:
    there, _ = cloud()
    asked = job(**({} if program is None else {"program": program}), **rest)
    raw = {RESULT: json.dumps(result).encode(), DOCUMENT: b"{}"}
    if program is not None:
        raw[hashlib.sha256(program.encode()).hexdigest()] = program.encode()
    return beside(there).read(rendered(asked), raw)


# --- fetching ---------------------------------------------------------------------------------------------------------


def test_each_job_brings_its_document_and_its_result_as_they_are() -> None:
    there, clock = cloud()
    exact = b'{"counter": {"10": 60,  "01": 40}}'
    (handle,) = ended(there, result=exact)
    there.set("DONE", handle, result_link="https://secret", start_timestamp="2027-01-15T08:00:01Z")

    basket = bring(clock, there, handle)

    assert list(basket.files[handle]) == [DOCUMENT, RESULT]
    assert basket.files[handle][RESULT] == exact
    told = json.loads(basket.files[handle][DOCUMENT])
    assert told["status"] == "DONE"
    assert told["variables"] == {"omega": 0}
    assert "secret" not in basket.files[handle][DOCUMENT].decode()


def test_the_jobs_of_a_batch_are_listed_once_and_their_results_fetched_together() -> None:
    there, clock = cloud()
    handles = ended(there, 100)

    basket = bring(clock, there, *handles)

    assert len(basket.files) == 100
    assert there.asked("GET jobs") == 1
    assert (there.asked("GET job/results_link"), there.asked("GET link")) == (100, 100)
    together = [when for when, route, _, _ in there.seen if route == "GET job/results_link"]
    assert len(together) == 100


def test_what_the_watch_has_seen_is_not_asked_for_again_and_gives_the_same_bytes() -> None:
    there, clock = cloud()
    handles = ended(there, 3)
    basket, waiting = Basket(), Waiting()
    waiting.add(*handles)

    async def go() -> None:
        pasqal = beside(there, token="ready")
        news = pasqal.watch(waiting)
        for _ in handles:
            await anext(news)
        there.seen.clear()
        await pasqal.fetch(handles, basket)

    clock.run(go())
    elsewhere = bring(clock, there, *handles)

    assert there.asked("GET jobs") == 1
    assert basket.files == elsewhere.files


def test_a_link_that_has_expired_is_asked_for_anew_and_never_tried_twice() -> None:
    there, clock = cloud()
    (handle,) = ended(there)
    there.refused = {f"http://127.0.0.1:2/{handle.partition('/')[2]}?signature=s1"}

    basket = bring(clock, there, handle)

    assert RESULT in basket.files[handle]
    assert (there.asked("GET job/results_link"), there.asked("GET link")) == (2, 2)


def test_a_result_that_is_gone_is_said_to_be() -> None:
    there, clock = cloud()
    one, two = ended(there, 2)
    there.refused = {"*"}
    refused = bring(clock, there, one)
    there.refused = set()
    there.script["GET link"] = [answer(404, "<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>")]
    missing = bring(clock, there, two)

    assert "expired" in refused.lost[one]
    assert "gone" in missing.lost[two]
    assert "signature" not in refused.lost[one] + missing.lost[two]


def test_a_job_without_a_link_has_no_result() -> None:
    there, clock = cloud()
    failed, done = there.new("ERROR", "DONE")

    basket = bring(clock, there, failed, done)

    assert basket.lost == {
        failed: 'the service has no result of this job, which is "ERROR"',
        done: 'the service has no result of this job, which is "DONE"',
    }
    assert list(basket.files[failed]) == [DOCUMENT]


def test_a_link_that_comes_a_moment_after_the_end_is_waited_for() -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE")
    basket = Basket()

    async def go() -> None:
        fetching = asyncio.ensure_future(beside(there, token="ready").fetch([handle], basket))
        await asyncio.sleep(2)
        there.results[handle.partition("/")[2]] = COUNTS
        await fetching

    clock.run(go())

    assert RESULT in basket.files[handle]


def test_a_job_that_the_service_does_not_know_any_more_is_gone() -> None:
    there, clock = cloud()
    (handle,) = ended(there)
    gone = Handle(f"{handle.partition('/')[0]}/j9999999")

    basket = bring(clock, there, handle, gone, Handle("w1"))

    assert basket.lost[gone] == "the service does not know the job any more"
    assert "workload not found" in basket.lost[Handle("w1")]
    assert RESULT in basket.files[handle]


def test_a_workload_brings_the_object_behind_its_link() -> None:
    there, clock = cloud()
    there.workloads["w1"] = {"id": "w1", "status": "DONE", "config": {"depth": 3}, "backend": "pyq"}
    there.results["w1"] = {"energy": -1.5}

    basket = bring(clock, there, Handle("w1"))

    assert json.loads(basket.files[Handle("w1")][RESULT]) == {"energy": -1.5}
    assert json.loads(basket.files[Handle("w1")][DOCUMENT])["config"] == {"depth": 3}


# --- reading ----------------------------------------------------------------------------------------------------------


def test_counts_stay_in_the_order_of_the_register_and_the_atoms_are_named() -> None:
    assert read({"counter": {"10": 60, "01": 40}}) == {
        "bits": ["left", "right"],
        "counts": {"01": 40, "10": 60},
        "shots": 100,
    }


def test_of_a_layout_only_the_atoms_are_named_that_were_put_onto_it() -> None:
    program = sequence(register=[{"qid": "q0"}, {"qid": "q1"}, {"qid": "q2"}])

    found = read({"counter": {"10": 1}}, program=program, params={"omega": 1.0, "qubits": {"q2": 0, "q0": 5}})

    assert found["bits"] == ["q0", "q2"]


def test_where_the_sequence_is_not_known_the_result_or_the_place_names_the_atoms() -> None:
    serialised = json.dumps({"atom_order": ["x", "y"], "tagmap": {"energy": "u"}, "total_duration": 1})

    named = read({"counter": {"10": 1}, "serialised_results": serialised}, program="not json")
    numbered = read({"counter": {"101": 1}})

    assert named["bits"] == ["x", "y"]
    assert numbered["bits"] == ["atom 0", "atom 1", "atom 2"]


def test_other_forms_stay_in_the_file_and_are_named() -> None:
    serialised = json.dumps({"atom_order": ["left", "right"], "tagmap": {"energy": "u", "bitstrings": "v"}})
    result = {"counter": {"10": 1}, "raw": ["10"], "serialised_results": serialised, "novelty": 7}

    assert read(result)["other"] == {
        "novelty": "a member that this qrun does not know (7)",
        "observed": ["bitstrings", "energy"],
        "raw": "the outcome of each run, in order",
        "serialised_results": "Pulser's Results, as JSON",
    }


def test_where_nobody_has_counted_the_single_outcomes_are() -> None:
    found = read({"counter": None, "raw": ["10", "01", "10"]})

    assert (found["counts"], found["shots"]) == ({"01": 1, "10": 2}, 3)


def test_a_result_without_counts_is_what_it_holds() -> None:
    assert read({"serialised_results": "{}"}) == {"other": {"serialised_results": "Pulser's Results, as JSON"}}


@pytest.mark.parametrize(
    "result",
    [{}, {"counter": {"10": 1, "1": 1}}, {"counter": {"2": 1}}, {"counter": {"10": 1.5}}, {"counter": [1]}, [1]],
)
def test_a_shape_that_nobody_knows_is_an_error(result: Any) -> None:
    with pytest.raises(Unexpected):
        read(result)


def test_the_result_of_a_workload_is_its_object() -> None:
    found = read({"energy": -1.5}, program="{}", kind="workload", options={"workload_type": "x"})

    assert found == {"result": {"energy": -1.5}}
