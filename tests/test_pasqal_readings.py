"""Where the wire of Pasqal Cloud may be read in several ways, each of them is understood."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
import pytest

from qrun.errors import Denied, Rejected, Uncertain, Unexpected
from qrun.provider import Filters, Found, Marks
from qrun.providers.pasqal import envelope
from qrun.providers.pasqal.core import following
from qrun.providers.pasqal.provider import Pasqal
from qrun.providers.pasqal.results import normal
from qrun.record import Handle
from tests.pasqal import (
    MARK,
    MARKER,
    SEQUENCE,
    Basket,
    Cloud,
    Fault,
    Pen,
    answer,
    beside,
    cloud,
    good,
    job,
    query,
    refuses,
    sent,
    submission,
    then,
)
from tests.virtual import VirtualClock

HTML = "<!DOCTYPE HTML><html><body>gateway</body></html>"


def ask(clock: VirtualClock, there: Cloud, what: Callable[[Pasqal], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        return await what(beside(there, token="ready"))

    return clock.run(go())


def told(change: Callable[[Any], Any]) -> Fault:
    """Done, and the data of the answer is written in another way."""

    def fault(cloud: Cloud, request: httpx.Request) -> httpx.Response:
        whole = json.loads(cloud.done(request).content)
        return httpx.Response(200, json={**whole, "data": change(whole["data"])})

    return fault


def without(*names: str, backwards: bool = False, **other: Any) -> Callable[[Any], Any]:
    """Each job of a batch lacks these members, or has others."""

    def change(batch: Any) -> Any:
        jobs = sorted(batch["jobs"], key=lambda each: each["creation_order"], reverse=backwards)
        written = [{**each, **{name: how(each) for name, how in other.items()}} for each in jobs]
        return {**batch, "jobs": [{k: v for k, v in each.items() if k not in names} for each in written]}

    return change


def pages(size: int, **how: Any) -> Fault:
    """A list that has its own idea of a page; `how` says what is told of its length."""

    def fault(cloud: Cloud, request: httpx.Request) -> httpx.Response:
        start = int(dict(query(request))["offset"])
        found = [{**cloud.shown(each)} for each in cloud.batches.values()]
        shown, total = found[start : start + size], len(found)
        if how.get("stuck"):
            shown = found[:size]
        end = start + len(shown)
        numbers = {"total": total, "start": start, "end": end}
        pagination = {name: how["form"](numbers[name]) for name in how.get("names", ())}
        reply = good(shown, **({"pagination": pagination} if pagination else {}))
        if "range" in how:
            reply.headers["content-range"] = how["range"].format(first=start, last=max(end - 1, 0), total=total)
        return reply

    return fault


def omegas(there: Cloud, handles: Sequence[Handle]) -> list[float]:
    return [there.jobs[handle.rpartition("/")[2]]["variables"]["omega"] for handle in handles]


# --- lists ------------------------------------------------------------------------------------------------------------

WAYS: dict[str, dict[str, Any]] = {
    "numbers": {"names": ("total", "start", "end"), "form": int},
    "text": {"names": ("total", "start", "end"), "form": str},
    "only a total": {"names": ("total",), "form": int},
    "a header": {"range": "{first}-{last}/{total}"},
    "a header with a unit": {"range": "items {first}-{last}/{total}"},
    "a header without a total": {"range": "{first}-{last}/*"},
    "nothing": {},
}


@pytest.mark.parametrize("how", WAYS)
def test_pages_smaller_than_asked_for_are_read_to_the_end(how: str) -> None:
    there, clock = cloud()
    for _ in range(7):
        there.new("PENDING")
    there.script["GET batches"] = [pages(3, **WAYS[how])] * 9

    found = ask(clock, there, lambda pasqal: pasqal.find(Marks(mark=MARK)))

    assert {hit.handle.partition("/")[0] for hit in found} == set(there.batches)


def test_a_list_of_untold_length_ends_where_a_page_brings_nothing_new() -> None:
    there, clock = cloud()
    there.new("PENDING")
    there.script["GET batches"] = [pages(100, stuck=True)] * 9

    assert len(ask(clock, there, lambda pasqal: pasqal.find(Marks(mark=MARK)))) == 1
    assert there.asked("GET batches") == 2


def test_an_empty_list_is_asked_for_once() -> None:
    there, clock = cloud()
    there.script["GET batches"] = [pages(100)] * 9

    assert ask(clock, there, lambda pasqal: pasqal.find(Marks(mark=MARK))) == []
    assert there.asked("GET batches") == 1


def test_the_next_pages_begin_where_a_page_ends_however_few_it_shows() -> None:
    of_hundred = envelope.Page(documents=[{}] * 97, begin=0, end=100, total=350)

    assert following([of_hundred], most=8) == [100, 200, 300]


def test_tags_that_a_list_leaves_out_are_looked_up() -> None:
    there, clock = cloud()
    there.new("PENDING")
    bare = told(lambda listed: [{k: v for k, v in each.items() if k != "tags"} for each in listed])
    there.script["GET batches"] = [bare, bare]

    assert [hit.marker for hit in ask(clock, there, lambda pasqal: pasqal.find(Marks(mark=MARK)))] == [MARKER]
    there.batches[next(iter(there.batches))]["tags"].append("theirs")
    assert len(ask(clock, there, lambda pasqal: tagged(pasqal, "theirs"))) == 1


async def tagged(pasqal: Pasqal, tag: str) -> list[Found]:
    return [each async for each in pasqal.list(Filters(tags=(tag,)))]


def test_jobs_that_do_not_name_their_batch_are_those_of_the_batch_that_was_asked_for() -> None:
    there, clock = cloud()
    handles = there.new("DONE", "DONE")
    there.script["GET jobs"] = [told(lambda jobs: [{**each, "batch_id": None} for each in jobs])]
    there.script["GET job"] = [told(lambda one: {**one, "batch_id": None})]

    contents = ask(clock, there, lambda pasqal: pasqal.contents(Handle(handles[0].partition("/")[0])))

    assert [each.handle for each in contents] == handles
    assert ask(clock, there, lambda pasqal: pasqal.inspect(handles[0])).handle == handles[0]


# --- what was made ----------------------------------------------------------------------------------------------------

SHOWN = {
    "newest first": without("creation_order", backwards=True),
    "values in lists": without(
        "creation_order", backwards=True, variables=lambda each: {k: [v] for k, v in each["variables"].items()}
    ),
    "no runs": without("creation_order", "runs", backwards=True),
    "no variables": without("creation_order", "variables", backwards=True),
    "only ids": without("creation_order", "variables", "runs", "status", "batch_id", backwards=True),
}


@pytest.mark.parametrize("shown", SHOWN)
def test_each_job_gets_its_own_handle_however_the_answer_shows_them(shown: str) -> None:
    there, clock = cloud()
    there.script["POST batches"] = [told(SHOWN[shown])]
    jobs = [job(str(at), params={"omega": float(at)}) for at in range(5)]

    handles = clock.run(sent(beside(there), *jobs))

    assert omegas(there, handles) == [0, 1, 2, 3, 4]


def test_an_answer_and_a_list_that_do_not_tell_which_job_is_which_leave_it_open() -> None:
    there, clock = cloud()
    there.script["POST batches"] = [told(SHOWN["no variables"])]
    there.script["GET jobs"] = [good_list() for _ in range(9)]

    with pytest.raises(Uncertain, match="the order of its jobs is not told"):
        clock.run(sent(beside(there), job("a", params={"omega": 1.0}), job("b", params={"omega": 2.0})))


def good_list() -> Fault:
    return answer(200, {"status": "success", "data": [], "pagination": {"total": 0, "start": 0, "end": 0}})


@pytest.mark.parametrize("shown", SHOWN)
def test_of_an_open_batch_only_those_that_were_not_there_have_joined(shown: str) -> None:
    there, clock = cloud()
    batch = there.new("DONE", "DONE", open_=True)[0].partition("/")[0]
    there.script["POST batch/jobs"] = [told(SHOWN[shown])]
    jobs = [job("c", params={"omega": 7.0}), job("d", params={"omega": 8.0})]

    handles = clock.run(sent(beside(there), *jobs, container=batch, pen=Pen()))

    assert omegas(there, handles) == [7, 8]


def test_a_batch_whose_jobs_are_listed_only_a_moment_later_is_waited_for() -> None:
    there, clock = cloud()

    def bare(cloud: Cloud, request: httpx.Request) -> httpx.Response:
        whole = json.loads(cloud.done(request).content)
        return good({"id": whole["data"]["id"]})

    there.script["POST batches"] = [bare]
    there.script["GET jobs"] = [good_list(), refuses(404, "no such batch"), None]

    assert len(clock.run(sent(beside(there), job("a"), job("b")))) == 2
    assert len(there.creates) == 1


def test_a_value_in_a_list_is_the_same_payload() -> None:
    there, clock = cloud()
    there.new("PENDING", device_type="EMU_FREE")
    prepared = ask(clock, there, lambda pasqal: pasqal.prepare(submission(job("a", params={"omega": 0.0}))))
    for each in there.jobs.values():
        each["variables"] = {"omega": [0]}

    hits = ask(clock, there, lambda pasqal: pasqal.find(Marks(mark=MARK, marker=MARKER)))

    assert tuple(hit.payload for hit in hits) == prepared.payloads


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["", "{}", '{"detail": "Unauthorized"}', '{"message": "no", "data": null}'])
def test_a_token_that_is_refused_in_other_words_is_renewed(said: str) -> None:
    there, clock = cloud()
    there.script["POST batches"] = [answer(401, said)]

    clock.run(sent(beside(there)))

    assert len(there.creates) == 1
    assert len(there.tokens) == 2


@pytest.mark.parametrize("said", ["", HTML, '{"detail": "slow down"}'])
def test_a_limit_of_requests_is_one_whoever_says_it(said: str) -> None:
    there, clock = cloud()
    there.script["POST batches"] = [answer(429, said, {"Retry-After": "7"})]

    clock.run(sent(beside(there)))

    times = [at for at, route, _, _ in there.seen if route == "POST batches"]
    assert times[1] - times[0] >= 7
    assert len(there.creates) == 1


def test_a_project_that_is_forbidden_is_named() -> None:
    there, clock = cloud()
    there.script["POST batches"] = [refuses(403, "not a member")]

    with pytest.raises(Rejected) as caught:
        clock.run(sent(beside(there)))

    assert 'check project_id of connection "atoms"' in str(caught.value)
    assert caught.value.words == "not a member"


@pytest.mark.parametrize("said", ["0.5 is out of range", "1: a sequence too many", ["0. too long"]])
def test_a_refusal_whose_text_begins_with_a_number_names_no_job(said: Any) -> None:
    there, clock = cloud()
    there.script["POST batches"] = [refuses(422, said)]

    with pytest.raises(Rejected) as caught:
        clock.run(sent(beside(there), job("a"), job("b")))

    assert caught.value.members == ()


@pytest.mark.parametrize("status", [400, 403, 404, 410, 422])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_cancel_that_comes_too_late_is_judged_by_the_jobs_whatever_it_answers(status: int, count: int) -> None:
    there, clock = cloud()
    handles = there.new("RUNNING", "RUNNING", "RUNNING")

    def too_late(cloud: Cloud, request: httpx.Request) -> httpx.Response:
        cloud.set("DONE", *handles)
        return refuses(status, "too late")(cloud, request)

    there.script = {f"PATCH {name}": [too_late] for name in ("job/cancel", "batch/cancel/jobs", "batches/cancel")}

    answers = ask(clock, there, lambda pasqal: pasqal.cancel(handles[:count]))

    assert set(answers.values()) == {'it is "DONE"'}


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_workload_that_has_just_ended_is_judged_by_its_state(status: int) -> None:
    there, clock = cloud()
    there.workloads["w1"] = {"id": "w1", "status": "RUNNING"}

    def too_late(cloud: Cloud, request: httpx.Request) -> httpx.Response:
        cloud.workloads["w1"]["status"] = "DONE"
        return refuses(status, "too late")(cloud, request)

    there.script["PUT workload/cancel"] = [too_late]

    answers = ask(clock, there, lambda pasqal: pasqal.cancel([Handle("w1")]))

    assert answers == {Handle("w1"): 'it is "DONE"'}


def test_who_may_not_cancel_is_told_so_with_what_to_check() -> None:
    there, clock = cloud()
    (handle,) = there.new("RUNNING")
    there.script["PATCH batches/cancel"] = [refuses(403, "not yours")]

    answers = ask(clock, there, lambda pasqal: pasqal.cancel([handle]))

    assert '403 "not yours"' in answers[handle]
    assert 'what the credentials of connection "atoms" permit' in answers[handle]


@pytest.mark.parametrize("fault", [refuses(400, "closed"), refuses(403, "closed"), answer(403, HTML), then(404, HTML)])
def test_a_close_that_is_refused_is_judged_by_the_batch(fault: Fault) -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE")
    there.script["PATCH batch/complete"] = [fault]

    ask(clock, there, lambda pasqal: pasqal.close(Handle(handle.partition("/")[0])))

    assert there.asked("PATCH batch/complete") == 1


@pytest.mark.parametrize(("fault", "kind"), [(refuses(403, "not yours"), Denied), (refuses(400, "not now"), Rejected)])
def test_an_open_batch_that_is_paused_is_not_closed_by_a_refusal(fault: Fault, kind: type[Exception]) -> None:
    there, clock = cloud()
    (handle,) = there.new("RUNNING", open_=True, status="PAUSED")
    there.script["PATCH batch/complete"] = [fault]

    with pytest.raises(kind):
        ask(clock, there, lambda pasqal: pasqal.close(Handle(handle.partition("/")[0])))


# --- what comes back --------------------------------------------------------------------------------------------------


def test_a_link_has_expired_whoever_says_so() -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE")
    there.results[handle.rpartition("/")[2]] = {"counter": {"10": 1}}
    there.script["GET link"] = [answer(403, HTML, {"content-type": "text/html"})]
    basket = Basket()

    ask(clock, there, lambda pasqal: pasqal.fetch([handle], basket))

    assert json.loads(basket.files[handle]["result.json"]) == {"counter": {"10": 1}}
    assert there.asked("GET job/results_link") == 2


def test_a_link_that_leads_to_somebody_else_is_not_taken_for_an_expired_one() -> None:
    there, clock = cloud()
    (handle,) = there.new("DONE")
    there.results[handle.rpartition("/")[2]] = {"counter": {"10": 1}}
    there.script["GET link"] = [answer(400, HTML, {"content-type": "text/html"})]

    with pytest.raises(Unexpected):
        ask(clock, there, lambda pasqal: pasqal.fetch([handle], Basket()))


def test_counts_that_are_written_as_fractions_of_nothing_are_whole() -> None:
    assert normal({"counter": {"10": 5.0, "01": 3}}, params={}, program=None)["counts"] == {"01": 3, "10": 5}


@pytest.mark.parametrize("device", ['"MockDevice"', '{"name": "MockDevice"}'])
def test_a_batch_that_names_no_device_type_ran_on_that_of_its_sequence(device: str) -> None:
    there, clock = cloud()
    text = SEQUENCE.replace('"device": "MockDevice"', f'"device": {device}')
    (handle,) = there.new("DONE", device_type=None, sequence_builder=text)

    recalled = ask(clock, there, lambda pasqal: pasqal.recall(handle))

    assert recalled.fields["device"] == "MockDevice"
