"""What goes wrong on purpose: each kind of fault as a client's socket sees it, and what the books say afterwards."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from qrun.emulators.faults import FaultError, Faults, Kind, When, of, read
from tests.emulator import Emulator, fetch, request, shared, stand_in, until
from tests.test_emulator import PROGRAM, SUBMIT, listed

MARKER = "qr1" + "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def cloud() -> Iterator[Emulator]:
    account = shared().new_account()
    yield account
    account.close()


def raw(cloud: Emulator, method: str = "GET", path: str = "/devices/down") -> tuple[bytes, str]:
    """What comes back over a bare socket, and how the connection ends: closed or reset."""
    parts = urlsplit(cloud.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
        head = f"{method} {path} HTTP/1.1\r\nhost: test\r\nq-api-token: {cloud.token}\r\ncontent-length: 0\r\n"
        connection.sendall(f"{head}connection: close\r\n\r\n".encode())
        got = b""
        try:
            while piece := connection.recv(65536):
                got += piece
        except ConnectionResetError:
            return got, "reset"
        return got, "closed"


def split(got: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = got.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


def registered(cloud: Emulator) -> int:
    return len(listed(cloud))


# --- how rules are written --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("POST /jobs/*/submit: 503-after x1", {"kind": Kind.STATUS, "status": 503, "when": When.AFTER, "count": 1}),
        (
            "GET /jobs: 429 retry-after=2 body=empty",
            {"status": 429, "retry_after": "2", "body": "empty", "count": None},
        ),
        ("* *: latency=0.5 p=0.25 skip=3", {"method": "*", "seconds": 0.5, "probability": 0.25, "skip": 3}),
        ("GET /a:b: hang-after=7", {"path": "/a:b", "kind": Kind.HANG, "seconds": 7.0, "when": When.AFTER}),
        ("POST /jobs/*/submit: fail='no luck'", {"kind": Kind.FAIL, "message": "no luck", "when": When.AFTER}),
        ("POST /jobs: reset account=me", {"kind": Kind.RESET, "when": When.BEFORE, "account": "me"}),
        ("GET /x: truncated", {"kind": Kind.TRUNCATED, "when": When.AFTER}),
    ],
)
def test_a_rule_is_read(text: str, parts: dict[str, Any]) -> None:
    fault = read(text)

    assert {name: getattr(fault, name) for name in parts} == parts


@pytest.mark.parametrize(
    "text",
    [
        "POST /jobs 503",
        "POST /jobs: nonsense",
        "POST /jobs: 700",
        "POST /jobs: 503 twice",
        "POST /jobs: 503 body=loud",
        "POST /jobs: hang=soon",
        "POST /jobs: fail='open",
        "POST /jobs: 503 colour=red",
    ],
)
def test_a_rule_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(FaultError):
        read(text)


def test_a_rule_strikes_as_often_as_it_says_after_those_it_lets_pass() -> None:
    faults = Faults()
    faults.add([read("GET /a: 503 x2 skip=1")])

    struck = [len(faults.strike("GET", "/a", None)) for _ in range(5)]

    assert struck == [0, 1, 1, 0, 0]


def test_of_several_rules_one_spoils_the_answer_and_the_others_wait() -> None:
    faults = Faults()
    faults.add([read("GET *: latency=1"), read("GET *: 500 x1"), read("GET *: 503 x1")])

    struck = [[fault.status for fault in faults.strike("GET", "/a", None)] for _ in range(3)]

    assert struck == [[503, 500], [503, 503], [503]]


def test_a_rule_for_an_account_is_for_no_other() -> None:
    faults = Faults()
    faults.add([read("* *: 500")], account="me")

    assert faults.strike("GET", "/a", "you") == []
    assert faults.strike("GET", "/a", None) == []
    assert len(faults.strike("GET", "/a", "me")) == 1


def test_chance_strikes_sometimes() -> None:
    faults = Faults()
    faults.add([of({"kind": "status", "probability": 0.5})])

    assert 20 < sum(bool(faults.strike("GET", "/", None)) for _ in range(100)) < 80


# --- on the wire ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("kind", "end"), [("reset", (b"", "reset")), ("close", (b"", "closed")), ("hang{}=0.01", (b"", "closed"))]
)
def test_a_connection_ends_without_an_answer(cloud: Emulator, kind: str, end: tuple[bytes, str], when: str) -> None:
    word = kind.format(f"-{when}") if "{}" in kind else f"{kind}-{when}"
    cloud.faults(f"POST /jobs: {word} x1")

    assert raw(cloud, "POST", "/jobs") == end

    assert registered(cloud) == (when == "after")
    assert raw(cloud, "POST", "/jobs")[0].startswith(b"HTTP/1.1 200")


def test_a_truncated_answer_promises_more_than_it_brings(cloud: Emulator) -> None:
    cloud.faults("GET /devices/down: truncated x1")

    (cut, end), (whole, _) = raw(cloud), raw(cloud)

    status, headers, body = split(cut)
    assert (status, end) == (200, "closed")
    assert int(headers["content-length"]) == len(split(whole)[2])
    assert body == split(whole)[2][: len(body)]
    assert 0 < len(body) < len(split(whole)[2])


def test_an_answer_drips_byte_by_byte_and_is_whole_in_the_end(cloud: Emulator) -> None:
    cloud.faults("GET /devices/down: drip=0.0001 x1")

    assert json.loads(split(raw(cloud)[0])[2])["device_id"] == "down"
    assert cloud.struck() == [1]


@pytest.mark.parametrize(
    ("rule", "status", "headers", "body"),
    [
        ("503", 503, {"content-type": "application/json"}, b'{"message":'),
        ("503 body=html", 503, {"content-type": "text/html"}, b"<html>"),
        ("502 body=empty", 502, {"content-length": "0"}, b""),
        ("429 retry-after=7", 429, {"retry-after": "7"}, b'{"message":'),
        ("html", 200, {"content-type": "text/html"}, b"<html>"),
        ("wrong", 200, {"content-type": "application/json"}, b'{"unexpected":true}'),
        ("wrong='{\"a\": NaN}'", 200, {}, b'{"a": NaN}'),
        ("500 message=words", 500, {}, b'{"message":"words"}'),
    ],
)
def test_another_answer_comes(cloud: Emulator, rule: str, status: int, headers: dict[str, str], body: bytes) -> None:
    cloud.faults(f"GET /devices/down: {rule} x1")

    found = split(raw(cloud)[0])

    assert found[0] == status
    assert headers.items() <= found[1].items()
    assert found[2].startswith(body)


@pytest.mark.parametrize(("word", "submits"), [("503-before", 0), ("503-after", 1), ("html-after", 1)])
def test_an_error_comes_before_or_after_acceptance(cloud: Emulator, word: str, submits: int) -> None:
    job = cloud.register()
    cloud.upload(job, PROGRAM)
    cloud.faults(f"POST /jobs/*/submit: {word} x1")

    cloud.ask("POST", f"/jobs/{job['job_id']}/submit", SUBMIT)

    (entry,) = cloud.books()["jobs"]
    assert entry["submits"] == submits
    route = cloud.books()["routes"]["POST /jobs/{job_id}/submit"]
    assert route == {"asked": 1, "done": submits}


def test_a_replayed_request_is_done_twice(cloud: Emulator) -> None:
    job = cloud.register()
    cloud.upload(job, PROGRAM)
    cloud.faults("POST /jobs: replay x1", "POST /jobs/*/submit: replay x1")

    cloud.ask("POST", "/jobs")
    second = cloud.ask("POST", f"/jobs/{job['job_id']}/submit", SUBMIT)

    assert registered(cloud) == 3
    assert (second.status, "not in valid status for submission" in second.json["message"]) == (400, True)
    assert sum(entry["submits"] for entry in cloud.books()["jobs"]) == 1


def test_the_storage_has_faults_too(cloud: Emulator) -> None:
    link = cloud.rest(cloud.submit(PROGRAM))["job_info"]["result"]
    cloud.faults(
        "GET /emulator-jobs/*/result.zip: 404 x1",
        "GET /emulator-jobs/*/result.zip: expired x1",
        "GET /emulator-jobs/*/result.zip: wrong x1",
        "POST /emulator-jobs: 503-after x1",
    )

    replies = [fetch(link) for _ in range(3)]

    assert [reply.status for reply in replies] == [404, 403, 200]
    assert b"NoSuchKey" in replies[0].content
    assert b"expired" in replies[1].content
    assert replies[2].content == b"this is no archive"
    job = cloud.register()
    assert cloud.upload(job, PROGRAM).status == 503
    assert cloud.ask("POST", f"/jobs/{job['job_id']}/submit", SUBMIT).status == 200


def test_faults_of_one_account_leave_the_others_alone(cloud: Emulator) -> None:
    other = shared().new_account()
    cloud.faults("* *: 500")

    assert cloud.ask("GET", "/devices").status == 500
    assert other.ask("GET", "/devices").status == 200
    assert other.rest(other.submit(PROGRAM))["status"] == "succeeded"
    other.close()


def test_faults_are_counted_and_taken_away(cloud: Emulator) -> None:
    cloud.faults({"method": "GET", "path": "/devices", "kind": "status", "status": 418})

    assert cloud.ask("GET", "/devices").status == 418
    assert cloud.struck() == [1]
    cloud.clear()

    assert cloud.ask("GET", "/devices").status == 200
    assert cloud.struck() == []


def test_latency_makes_an_answer_late_and_leaves_it_as_it_is(cloud: Emulator) -> None:
    cloud.faults("GET /devices/down: latency=0.05 x1", "GET /devices/down: 418 x1")
    before = time.monotonic()

    assert cloud.ask("GET", "/devices/down").status == 418

    assert time.monotonic() - before >= 0.05


# --- what the work itself heeds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["POST /jobs", "POST /jobs/*/submit"])
def test_a_new_job_may_be_missing_from_lists_for_a_while(cloud: Emulator, route: str) -> None:
    cloud.faults(f"{route}: lag=3600 x1", f"{route}: lag=0.01 x1 skip=1")
    late, soon = (cloud.submit(PROGRAM, description=MARKER) for _ in "ab")

    until(lambda: [job["job_id"] for job in listed(cloud, q=MARKER)] == [soon])

    assert cloud.rest(late)["description"] == MARKER


def test_a_stuck_job_never_leaves_running_and_holds_nobody_up(cloud: Emulator) -> None:
    cloud.faults("POST /jobs/*/submit: stuck x1")
    stuck, other = (cloud.submit(PROGRAM, device_id="qpu") for _ in "ab")

    assert cloud.rest(other)["status"] == "succeeded"

    assert cloud.status(stuck) == "running"
    assert cloud.ask("POST", f"/jobs/{stuck}/cancel").status == 200


@pytest.mark.parametrize(("word", "ran"), [("fail='no luck'", True), ("fail-before='no luck'", False)])
def test_a_job_can_be_made_to_fail(cloud: Emulator, word: str, ran: bool) -> None:
    cloud.faults(f"POST /jobs/*/submit: {word} x1")

    job = cloud.rest(cloud.submit(PROGRAM))

    assert (job["status"], job["job_info"]["message"], "running_at" in job) == ("failed", "no luck", ran)
    assert "result" not in job["job_info"]


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "status"), [((), 429), (("--quota-status", "400"), 400)])
def test_an_account_has_so_many_unfinished_jobs(options: tuple[str, ...], status: int) -> None:
    with stand_in("--max-live", "1", "--queue-delay", "1h", *options) as cloud:
        first, second = cloud.submit(PROGRAM), cloud.register()
        cloud.upload(second, PROGRAM)
        path = f"/jobs/{second['job_id']}/submit"

        refused = cloud.ask("POST", path, SUBMIT)
        cloud.ask("POST", f"/jobs/{first}/cancel")
        accepted = cloud.ask("POST", path, SUBMIT)

    assert (refused.status, accepted.status) == (status, 200)


@pytest.mark.parametrize("retry_after", [None, "3"])
def test_beyond_the_rate_there_is_429(retry_after: str | None) -> None:
    options = [] if retry_after is None else ["--retry-after", retry_after]
    with stand_in("--rate", "0.001", *options) as cloud:
        first, second = (cloud.ask("GET", "/devices") for _ in "ab")

    assert (first.status, second.status) == (200, 429)
    assert second.json == {"message": "Too Many Requests"}
    assert second.headers.get("retry-after") == retry_after


# --- the control routes -----------------------------------------------------------------------------------------------


def test_the_books_tell_by_marker_how_often_a_job_was_started(cloud: Emulator) -> None:
    for _ in "ab":
        cloud.rest(cloud.submit(PROGRAM, description=f"text {MARKER} qrx"))
    cloud.submit(PROGRAM, description="none")
    cloud.register()

    assert cloud.markers() == {MARKER: {"jobs": 2, "submitted": 2, "started": 2}}


def test_the_books_are_complete(cloud: Emulator) -> None:
    job_id = cloud.submit(PROGRAM, name="bell")
    cloud.rest(job_id)

    books = cloud.books()

    (job,) = books["jobs"]
    assert (job["job_id"], job["status"], job["submits"], job["starts"]) == (job_id, "succeeded", 1, 1)
    assert job["created"] <= job["submitted"] <= job["ready"] <= job["running"] <= job["ended"]
    assert books["routes"]["POST storage form"] == {"asked": 1, "done": 1}
    requests = [each["route"] for each in cloud.pull("GET", "requests")]
    assert requests[:3] == ["POST /jobs", "POST storage form", "POST /jobs/{job_id}/submit"]


def test_the_control_routes_need_their_token_and_to_be_asked_for(cloud: Emulator) -> None:
    wrong = request(cloud.url, "GET", "/_emulator/books", None, {"q-control-token": cloud.token})

    assert wrong.status == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "faults", {"kind": "html"}, 400),
        ("POST", "faults", ["nonsense"], 400),
        ("POST", "faults", [{"kind": "html", "colour": "red"}], 400),
        ("POST", "accounts", {"name": "default"}, 400),
        ("POST", "accounts", {"token": "no-dot"}, 400),
        ("POST", "accounts", {"colour": "red"}, 400),
        ("DELETE", "accounts", None, 404),
        ("GET", "nothing", None, 404),
        ("PUT", "books", None, 405),
    ],
)
def test_the_control_routes_say_what_is_wrong(method: str, path: str, body: Any, status: int) -> None:
    everybody = shared()
    data = None if body is None else json.dumps(body).encode()

    reply = request(everybody.url, method, f"/_emulator/{path}", data, {"q-control-token": everybody.control})

    assert (reply.status, bool(reply.json["message"])) == (status, True)


def test_a_closed_account_is_gone(cloud: Emulator) -> None:
    other = shared().new_account(queue_delay=3600)
    other.submit(PROGRAM)

    other.close()

    assert other.ask("GET", "/jobs").status == 401
    assert cloud.books()["jobs"] == []
