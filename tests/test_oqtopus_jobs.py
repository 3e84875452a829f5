"""Finding, taking in, fetching and cancelling the jobs of an OQTOPUS cloud, with all that its answers may hold."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from qrun.archive import archive
from qrun.clock import stamp
from qrun.errors import Denied, Missing, ProviderError, Unavailable, Unexpected
from qrun.provider import Filters, Found, Log, Marks
from qrun.providers.oqtopus import listing
from qrun.providers.oqtopus.provider import Oqtopus
from qrun.record import Handle, Phase
from tests.oqtopus import (
    BELL,
    MARK,
    MARKER,
    STORAGE,
    Basket,
    Cloud,
    Fault,
    answer,
    beside,
    cloud,
    device,
    sent,
    submission,
    swallowed,
    then,
)
from tests.virtual import EPOCH, VirtualClock

OTHER = "qr1" + "c" * 26
RESULT = {"sampling": {"counts": {"00": 60, "11": 40}, "divided_counts": None}, "estimation": None}


def ask(clock: VirtualClock, there: Cloud, question: Callable[[Oqtopus], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        oqtopus = beside(there)
        try:
            return await question(oqtopus)
        finally:
            await oqtopus.aclose()

    return clock.run(go())


def ids(found: Sequence[Found]) -> list[str]:
    return [str(each.handle) for each in found]


async def listed(oqtopus: Oqtopus, **filters: Any) -> list[Found]:
    return [found async for found in oqtopus.list(Filters(**filters))]


# --- finding again ----------------------------------------------------------------------------------------------------


def test_all_jobs_of_an_experiment_are_found_on_as_many_pages_as_there_are() -> None:
    there, clock = cloud()
    handles = [there.new("running", description=f"{MARKER} {MARK}") for _ in range(250)]
    there.new("running", description="somebody else's")

    found = ask(clock, there, lambda oqtopus: oqtopus.find(Marks(mark=MARK)))

    assert sorted(ids(found)) == sorted(handles)
    assert {each.mark for each in found} == {MARK}
    assert {each.created for each in found} == {"2027-01-15T08:00:00Z"}


def test_only_what_ends_with_exactly_the_marks_is_found() -> None:
    there, clock = cloud()
    mine = there.new("running", description=f"see {OTHER} {MARK} {MARKER} {MARK}")
    there.new("running", description=f"{MARKER}")
    there.new("running", description=f"{MARKER}a {MARK}")
    there.new("running", description=f"{MARKER.upper()} {MARK}")
    there.new("running", description=f"copied from {MARKER} {MARK} by hand")
    there.new("running", name=f"{MARKER} {MARK}")
    other = there.new("running", description=f"{OTHER} {MARK}")

    assert ids(ask(clock, there, lambda oqtopus: oqtopus.find(Marks(mark=MARK, marker=MARKER)))) == [mine]
    assert ids(ask(clock, there, lambda oqtopus: oqtopus.find(Marks(mark=MARK, marker=OTHER)))) == [other]
    assert sorted(ids(ask(clock, there, lambda oqtopus: oqtopus.find(Marks(mark=MARK))))) == sorted([mine, other])


def test_an_id_that_was_noted_is_looked_at_though_no_list_shows_it() -> None:
    there, clock = cloud()
    handle = there.new("registered", submitted_at="")
    del there.jobs[handle]["submitted_at"]
    marks = Marks(mark=MARK, marker=MARKER, noted={"job_id": handle})

    (found,) = ask(clock, there, lambda oqtopus: oqtopus.find(marks))

    assert (found.handle, found.started, found.word) == (handle, False, "registered")
    gone = Marks(mark=MARK, marker=MARKER, noted={"job_id": "gone"})
    assert ask(clock, there, lambda oqtopus: oqtopus.find(gone)) == []


def test_a_search_is_whole_or_fails() -> None:
    there, clock = cloud(script={"GET jobs": [None, *[answer(503, "<html>")] * 30]})
    for _ in range(150):
        there.new("running", description=f"{MARKER} {MARK}")

    with pytest.raises(Unavailable):
        ask(clock, there, lambda oqtopus: oqtopus.find(Marks(mark=MARK)))


def test_a_last_page_that_comes_again_ends_the_search() -> None:
    there, clock = cloud(last_page_again=True)
    for _ in range(200):
        there.new("running", description=f"{MARKER} {MARK}")

    found = ask(clock, there, lambda oqtopus: oqtopus.find(Marks(mark=MARK)))

    assert len(set(ids(found))) == len(found) == 200


def trapped(there: Cloud) -> Handle:
    """A job that was cancelled while it was only registered."""
    handle = there.new("cancelled")
    there.jobs[handle] = {"job_id": handle, "status": "cancelled"}
    return handle


def test_a_cancelled_registration_breaks_no_search_and_is_told_as_never_started() -> None:
    there, clock = cloud()
    orphan = trapped(there)
    handle = there.new("running", description=f"{MARKER} {MARK}")

    assert ids(ask(clock, there, lambda oqtopus: oqtopus.find(Marks(mark=MARK)))) == [handle]
    assert there.asked("GET jobs") == 1
    found = ask(clock, there, lambda oqtopus: oqtopus.inspect(orphan))
    assert (found.word, found.started, found.payload) == ("cancelled", False, None)
    assert there.asked("GET job") == 0


# --- looking at one job -----------------------------------------------------------------------------------------------


def test_a_job_that_was_cancelled_after_its_submit_is_told_whole() -> None:
    there, clock = cloud()
    handle = there.new("cancelled", description=f"{MARKER} {MARK}", name="bell")
    there.output(handle, "input", {"program": [BELL]})

    found = ask(clock, there, lambda oqtopus: oqtopus.inspect(handle))

    assert (found.started, found.phase, found.kind, found.shots) == (True, Phase.CANCELLED, "sampling", 100)
    assert found.payload is not None


@pytest.mark.parametrize("question", ["inspect", "recall"])
def test_a_job_that_does_not_exist_is_missing(question: str) -> None:
    there, clock = cloud()

    with pytest.raises(Missing, match="job not found with the given id"):
        ask(clock, there, lambda oqtopus: getattr(oqtopus, question)(Handle("gone")))


def test_a_job_whose_input_is_gone_is_told_without_its_payload() -> None:
    there, clock = cloud()
    handle = there.new("running")

    found = ask(clock, there, lambda oqtopus: oqtopus.inspect(handle))

    assert (found.payload, found.started) == (None, True)


def test_an_id_from_a_damaged_record_leads_nowhere_else() -> None:
    there, clock = cloud()

    with pytest.raises(Missing):
        ask(clock, there, lambda oqtopus: oqtopus.inspect(Handle("../devices")))

    assert there.seen[0][1] == "GET status"


def test_a_job_is_recalled_with_its_programs_and_payload() -> None:
    there, clock = cloud()
    wanted = submission(BELL, BELL + "//\n", kind="multi", description="two", options={"transpiler_info": {}})

    async def go(oqtopus: Oqtopus) -> Any:
        handle = await sent(oqtopus, wanted=wanted)
        return (await oqtopus.prepare(wanted)).payloads[0], await oqtopus.recall(handle)

    payload, recalled = ask(clock, there, go)

    assert recalled.fields == {"device": "qulacs", "kind": "multi", "shots": 100, "description": "two"}
    assert recalled.programs == (("program-0.qasm", BELL.encode()), ("program-1.qasm", (BELL + "//\n").encode()))
    assert (recalled.found.payload, recalled.found.name) == (payload, "tests.job")


def test_what_the_service_cannot_tell_any_more_is_not_told_as_empty() -> None:
    there, clock = cloud()
    handle = there.new("succeeded", job_type="estimation")

    recalled = ask(clock, there, lambda oqtopus: oqtopus.recall(handle))

    assert recalled.programs == ()
    assert recalled.fields == {"device": "qulacs", "kind": "estimation", "shots": 100, "observable": None}


def test_a_registration_is_nothing_to_recall() -> None:
    there, clock = cloud()
    handle = trapped(there)

    with pytest.raises(Missing, match="was registered and never submitted"):
        ask(clock, there, lambda oqtopus: oqtopus.recall(handle))


# --- the account's jobs -----------------------------------------------------------------------------------------------


def test_the_account_s_jobs_come_newest_first_with_kind_and_shots() -> None:
    there, clock = cloud()
    first = there.new("succeeded", job_type="multi_manual")
    second = there.new("running", job_type="sse", shots=1)
    third = there.new("registered")
    there.jobs[third] = {"job_id": third, "status": "registered"}

    found = ask(clock, there, listed)

    assert ids(found) == [third, second, first]
    assert [(each.kind, each.shots) for each in found] == [(None, None), ("sse", None), ("multi", 100)]
    assert [each.started for each in found] == [False, True, True]


def test_a_cancelled_registration_costs_its_page_the_kinds_and_nothing_else() -> None:
    there, clock = cloud()
    handles = [there.new("running") for _ in range(150)]
    orphan = trapped(there)

    found = ask(clock, there, listed)

    assert sorted(ids(found)) == sorted([*handles, orphan])
    assert [each.kind for each in found] == [None] * 100 + ["sampling"] * 51
    assert {each.device for each in found} == {"qulacs", None}
    assert there.asked("GET jobs") == 4  # one page too many is read ahead


FILTERS: list[tuple[dict[str, Any], set[str]]] = [
    ({"words": ("running",)}, {"b", "c"}),
    ({"words": ("running", "failed")}, {"b", "c", "d"}),
    ({"words": ("paused",)}, set()),
    ({"device": "qpu"}, {"c"}),
    ({"kind": "multi"}, {"d"}),
    ({"text": "100%"}, {"a"}),
    ({"text": "a_b"}, {"b"}),
    ({"text": "Alpha"}, {"c"}),
    ({"tags": ("x",)}, set()),
    ({"since": "2027-01-15T08:00:00Z"}, {"c", "d"}),
    ({"until": "2027-01-15T07:00:00Z"}, {"a"}),
    ({"since": "2027-01-15T08:30:00+01:00", "until": "2027-01-15T08:00:00Z"}, {"b", "c"}),
    ({"device": "qulacs", "words": ("running",)}, {"b"}),
]


@pytest.mark.parametrize(("filters", "names"), FILTERS)
def test_every_filter_is_heeded_exactly(filters: dict[str, Any], names: set[str]) -> None:
    there, clock = cloud()
    times = [EPOCH - 3600, EPOCH - 1800, EPOCH, EPOCH + 3600]
    jobs: list[dict[str, Any]] = [
        {"status": "succeeded", "description": "100%"},
        {"status": "running", "description": "a_b"},
        {"status": "running", "description": "Alpha 1000 axb", "device_id": "qpu"},
        {"status": "failed", "description": "alpha", "job_type": "multi_manual"},
    ]
    for name, when, job in zip("abcd", times, jobs, strict=True):
        there.new(name=name, submitted_at=stamp(when), **job)

    found = ask(clock, there, lambda oqtopus: listed(oqtopus, **filters))

    assert {each.name for each in found} == names


def test_a_status_is_left_to_the_service_only_where_it_knows_the_word() -> None:
    assert listing.narrowed(Filters(words=("running",))) == {"order": "DESC", "status": "running"}
    assert listing.narrowed(Filters(words=("paused",))) == {"order": "DESC"}
    assert listing.narrowed(Filters(words=("running", "failed"))) == {"order": "DESC"}
    assert listing.narrowed(Filters(since="2026-01-02T12:00:00+09:00")) == {
        "order": "DESC",
        "start_time": "2026-01-02T03:00:00+00:00",
    }
    assert len(listing.narrowed(Filters(text="x" * 2000))["q"]) == 1024


# --- fetching ---------------------------------------------------------------------------------------------------------


def done(there: Cloud, **outputs: Any) -> Handle:
    handle = there.new("succeeded", ended_at=stamp(EPOCH), execution_time=1.5)
    for name, content in ({"result": RESULT, "input": {"program": [BELL]}} | outputs).items():
        there.output(handle, name, content)
    return handle


def fetched(clock: VirtualClock, there: Cloud, *handles: Handle) -> Basket:
    basket = Basket()
    ask(clock, there, lambda oqtopus: oqtopus.fetch(handles, basket))
    return basket


def test_outputs_are_kept_as_they_came_unpacked_and_without_a_link() -> None:
    there, clock = cloud()
    raw = b'{ "sampling": {"counts": {"00":60, "11":40}},  "estimation": null }'
    handle = done(there, result=raw, transpile_result={"stats": {}}, combined_program=b"OPENQASM 3.0;", sse_log=b"log")

    files = fetched(clock, there, handle).files[handle]

    assert list(files) == ["job.json", "result.json", "transpile_result.json", "combined_program.qasm", "sse_log.txt"]
    assert files["result.json"] == raw
    assert files["combined_program.qasm"] == b"OPENQASM 3.0;"
    assert b"signature" not in b"".join(files.values())
    document = json.loads(files["job.json"])
    assert (document["execution_time"], document["job_info"]) == (1.5, {})
    assert there.asked("GET job") == 1


def test_two_fetches_of_one_job_bring_the_same_bytes() -> None:
    there, clock = cloud()
    handle = done(there, transpile_result={"stats": {}})

    assert fetched(clock, there, handle).files == fetched(clock, there, handle).files


def test_a_link_that_has_expired_is_asked_for_anew() -> None:
    there, clock = cloud()
    handle = done(there)
    there.script["GET file"] = [
        answer(403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
    ]

    basket = fetched(clock, there, handle)

    assert json.loads(basket.files[handle]["result.json"]) == RESULT
    assert there.asked("GET job") == 2


def test_a_result_that_is_there_no_more_is_gone_and_what_is_there_is_kept() -> None:
    there, clock = cloud()
    expired, removed = done(there, transpile_result={"stats": {}}), done(there)
    del there.files[f"{removed}/result"]
    there.refused = {f"{expired}/result"}

    basket = fetched(clock, there, expired, removed, Handle("gone"))

    assert set(basket.lost) == {expired, removed, "gone"}
    assert "job not found" in basket.lost[Handle("gone")]
    assert list(basket.files[expired]) == ["job.json", "transpile_result.json"]
    assert list(basket.files[removed]) == ["job.json"]


def test_a_script_that_ran_no_job_has_a_log_and_no_result() -> None:
    there, clock = cloud()
    handle = there.new("succeeded", job_type="sse", shots=1)
    there.output(handle, "sse_log", b"hello\n")

    basket = fetched(clock, there, handle)

    assert basket.lost == {}
    assert basket.files[handle]["sse_log.txt"] == b"hello\n"


BOMBS: list[bytes] = [b"no zip", archive("x", b"0" * 60_000_000)[:-30], archive("x", b"0" * 300_000_000)]


@pytest.mark.parametrize("data", BOMBS, ids=["text", "cut", "bomb"])
def test_an_archive_that_is_none_or_too_large_stops_that_job_alone(data: bytes) -> None:
    there, clock = cloud()
    good, bad = done(there), done(there)
    there.files[f"{bad}/result"] = data
    basket = Basket()

    with pytest.raises(Unexpected, match="a zip archive"):
        ask(clock, there, lambda oqtopus: oqtopus.fetch([bad, good], basket))

    assert "result.json" in basket.files[good]
    assert "result.json" not in basket.files[bad]
    assert basket.lost == {}


LINKS = ["file:///etc/passwd", "http://169.254.169.254/latest", "http://10.0.0.1/x", "ftp://127.0.0.1:2/x", "nonsense"]


@pytest.mark.parametrize("link", LINKS)
def test_a_link_that_leads_where_it_should_not_is_not_followed(link: str) -> None:
    there, clock = cloud()
    handle = done(there)
    there.jobs[handle]["job_info"] = {"result": link}

    with pytest.raises(Unexpected):
        fetched(clock, there, handle)

    assert there.asked("GET file") == 0


def test_an_outage_while_fetching_is_no_loss() -> None:
    there, clock = cloud()
    handle = done(there)
    there.script["GET file"] = [swallowed] * 50

    with pytest.raises(Unavailable):
        fetched(clock, there, handle)


# --- reading ----------------------------------------------------------------------------------------------------------


def read(oqtopus: Oqtopus, kind: str, programs: Sequence[str], files: dict[str, Any]) -> Any:
    job = {"kind": kind, "shots": 100, "program": [{"path": "x.qasm", "sha256": sha, "size": 1} for sha in programs]}
    raw = {name: data if isinstance(data, bytes) else json.dumps(data).encode() for name, data in files.items()}
    return oqtopus.read(job, raw)


def test_bits_are_named_by_the_program_where_it_is_at_hand_else_by_the_transpiled_one() -> None:
    there, _ = cloud()
    files = {
        "job.json": {"shots": 100},
        "result.json": RESULT,
        "transpile_result.json": {"transpiled_program": "OPENQASM 3.0;\nbit[2] meas;\n"},
    }

    assert read(beside(there), "sampling", ["s"], files)["bits"] == ["meas[1]", "meas[0]"]
    files["s"] = b"OPENQASM 3.0;\nbit a;\nbit b;\n"
    assert read(beside(there), "sampling", ["s"], files) == {
        "bits": ["b", "a"],
        "counts": {"00": 60, "11": 40},
        "shots": 100,
    }


@pytest.mark.parametrize("result", [b'{"sampling": NaN}', b"<html>", b'{"sampling": {}, "sampling": {}}', b"[1]", b"3"])
def test_a_result_that_is_not_strict_json_is_an_answer_of_unknown_shape(result: bytes) -> None:
    there, _ = cloud()

    with pytest.raises(Unexpected):
        read(beside(there), "sampling", ["s"], {"job.json": {"shots": 100}, "result.json": result})


def test_a_script_without_a_result_has_an_empty_one() -> None:
    there, _ = cloud()

    assert read(beside(there), "sse", ["s"], {"job.json": {"shots": 1}, "sse_log.txt": b"hello\n"}) == {}


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_running_jobs_are_cancelled_and_the_others_are_told() -> None:
    there, clock = cloud()
    live = [there.new(word) for word in ("submitted", "ready", "running")]
    over, cancelled, orphan = there.new("succeeded"), there.new("cancelled"), there.new("registered")

    answers = ask(clock, there, lambda oqtopus: oqtopus.cancel([*live, over, cancelled, orphan, Handle("gone")]))

    expected: dict[str, str | None] = {
        **{str(handle): None for handle in live},
        over: 'it is "succeeded"',
        cancelled: None,
        orphan: "it was registered and never submitted, so there is nothing to cancel",
        "gone": "the service does not know it any more",
    }
    assert answers == expected
    assert [there.jobs[handle]["status"] for handle in live] == ["cancelled"] * 3
    assert there.jobs[orphan]["status"] == "registered"


CANCELS: list[tuple[Fault, str | None]] = [
    (then(500, {"message": "no"}), None),
    (swallowed, None),
    (then(404, {"message": "job not found with the given id"}), None),
    (then(200, "<html>"), None),
]


@pytest.mark.parametrize(("fault", "words"), CANCELS)
def test_a_cancel_whose_answer_is_lost_is_cleared_up(fault: Fault, words: str | None) -> None:
    there, clock = cloud(script={"POST cancel": [fault]})
    handle = there.new("running")

    assert ask(clock, there, lambda oqtopus: oqtopus.cancel([handle])) == {handle: words}
    assert there.jobs[handle]["status"] == "cancelled"


def test_a_cancel_that_a_proxy_answered_is_not_taken_for_done() -> None:
    there, clock = cloud(script={"POST cancel": [answer(200, "<html>")]})
    handle = there.new("running")

    assert ask(clock, there, lambda oqtopus: oqtopus.cancel([handle])) == {handle: 'it is "running"'}


def test_a_job_that_ends_while_it_is_cancelled_is_told_as_it_ended() -> None:
    there, clock = cloud()
    handle = there.new("running")

    def ends(cloud: Cloud, request: Any) -> Any:
        there.jobs[handle]["status"] = "succeeded"
        return cloud.done(request)

    there.script["POST cancel"] = [ends]

    assert ask(clock, there, lambda oqtopus: oqtopus.cancel([handle])) == {handle: 'it is "succeeded"'}


def test_one_cancel_that_fails_keeps_none_of_the_others_from_being_made() -> None:
    there, clock = cloud(script={"GET status": [answer(401, {"message": "Unauthorized"})]})
    handles = [there.new("running") for _ in range(3)]

    with pytest.raises(Denied):
        ask(clock, there, lambda oqtopus: oqtopus.cancel(handles))

    assert [there.jobs[handle]["status"] for handle in handles].count("cancelled") == 2


# --- logs and devices -------------------------------------------------------------------------------------------------


async def logs(oqtopus: Oqtopus, handle: Handle) -> list[Log]:
    return [log async for log in oqtopus.logs(handle)]


def test_a_script_s_log_is_unpacked_under_a_name_of_ours() -> None:
    there, clock = cloud()
    handle = there.new("succeeded", job_type="sse")
    there.files[f"{handle}/sse_log"] = archive("../../../etc/cron.d/x", b"hello\n")

    assert ask(clock, there, lambda oqtopus: logs(oqtopus, handle)) == [Log(name="sse_log.txt", data=b"hello\n")]


@pytest.mark.parametrize(
    ("kind", "words"),
    [("sampling", "is no job of kind sse; only those write a log"), ("sse", "has no log; there is one once")],
)
def test_a_job_without_a_log_says_so(kind: str, words: str) -> None:
    there, clock = cloud()
    handle = there.new("failed", job_type=kind)

    with pytest.raises(Missing, match=words):
        ask(clock, there, lambda oqtopus: logs(oqtopus, handle))


def test_devices_are_told_with_all_their_facts_and_without_a_link() -> None:
    info = {"qubits": [{"id": 0}]}
    link = f"{STORAGE}/devices/qpu?signature=s"
    there, clock = cloud(
        devices=[
            device("qpu", device_info=link, calibrated_at="2026-01-02T03:04:05", device_type="QPU"),
            device("gone", device_info=f"{STORAGE}/nowhere", status="unavailable", available_at="2026-01-03T00:00:00Z"),
            device("text", device_info=json.dumps(info)),
            device("odd", device_info="{", n_qubits=None, n_pending_jobs=None),
            device("local", device_info="file:///etc/passwd"),
        ]
    )
    there.files["devices/qpu"] = archive("x", json.dumps(info).encode())

    found = {each.device: each for each in ask(clock, there, lambda oqtopus: oqtopus.devices())}

    qpu = found["qpu"]
    assert (qpu.status, qpu.qubits, qpu.pending, qpu.calibrated_at) == ("available", 39, 3, "2026-01-02T03:04:05Z")
    assert qpu.facts["device_type"] == "QPU"
    assert qpu.facts["basis_gates"] == ["x", "cx"]
    assert [found[name].facts.get("device_info") for name in found] == [info, None, info, None, None]
    assert found["gone"].facts["available_at"] == "2026-01-03T00:00:00Z"
    assert (found["odd"].qubits, found["odd"].pending) == (None, None)


@pytest.mark.parametrize("body", [{"devices": []}, [{"name": "qpu"}], [1]])
def test_devices_of_another_shape_are_an_answer_of_unknown_shape(body: Any) -> None:
    there, clock = cloud(script={"GET devices": [answer(200, body)]})

    with pytest.raises(Unexpected):
        ask(clock, there, lambda oqtopus: oqtopus.devices())


SHAPES: list[Any] = [{"jobs": []}, [1], [{"status": "running"}], [{"job_id": "a/b", "status": "x"}]]
STRANGE = [answer(200, body) for body in SHAPES]


@pytest.mark.parametrize("fault", STRANGE)
def test_a_list_of_another_shape_is_no_proof_of_absence(fault: Fault) -> None:
    there, clock = cloud(script={"GET jobs": [fault]})

    with pytest.raises(ProviderError) as caught:
        ask(clock, there, lambda oqtopus: oqtopus.find(Marks(mark=MARK)))

    assert type(caught.value) is Unexpected
