"""What follows from what happened: the policy table, redirects, and what the errors say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

import httpcore
import httpx
import pytest

from qrun.connection import Access
from qrun.errors import Denied, Missing, ProviderError, Rejected, Unavailable, Uncertain, Unexpected
from qrun.http import Call, Http, segment
from qrun.http.policy import FOREIGN, LIMITS, OWN, Happened, happened, judge
from qrun.http.wire import UNSENT, failure
from tests.answers import Answer, cloud, own, page

SUBMIT, READ, CANCEL, AUTH = Call.SUBMIT, Call.READ, Call.CANCEL, Call.AUTH
METHOD = {SUBMIT: "POST", READ: "GET", CANCEL: "POST", AUTH: "POST"}
LOST = httpx.ReadError("connection reset by peer")
REFUSED = httpx.ConnectError("connection refused")

# For one answer, given again and again: the error of each class of call, and after how many requests.
End = tuple[type[ProviderError], int]
STRANGE: tuple[End, End, End] = ((Unexpected, 1), (Unexpected, 1), (Unexpected, 1))
AGAIN: tuple[End, End, End] = ((Unavailable, 6), (Unavailable, 4), (Unavailable, 3))
TABLE: dict[str, tuple[Answer, tuple[End, End, End, End]]] = {
    "refused": (REFUSED, ((Unavailable, 3), *AGAIN)),
    "lost": (LOST, ((Uncertain, 1), *AGAIN)),
    "cut short": (httpx.RemoteProtocolError("incomplete message body"), ((Uncertain, 1), *AGAIN)),
    "timed out": (httpx.ReadTimeout(""), ((Uncertain, 1), *AGAIN)),
    "301": (page(301, location="https://other.example/"), ((Rejected, 1), *STRANGE)),
    "303": (page(303, location="/jobs/7"), ((Uncertain, 1), (Unexpected, 4), (Unexpected, 1), (Unexpected, 1))),
    "304": (page(304), ((Uncertain, 1), *STRANGE)),
    "400": (own(400), ((Rejected, 1), (Unexpected, 1), (Rejected, 1), (Denied, 1))),
    "400 of a proxy": (page(400), ((Uncertain, 1), *STRANGE)),
    "401": (own(401), ((Denied, 1), (Denied, 1), (Denied, 1), (Denied, 1))),
    "401 of a proxy": (page(401), ((Uncertain, 1), (Denied, 1), (Denied, 1), (Denied, 1))),
    "403": (own(403), ((Rejected, 1), (Denied, 1), (Denied, 1), (Denied, 1))),
    "403 of a proxy": (page(403), ((Uncertain, 1), *STRANGE)),
    "404": (own(404), ((Rejected, 1), (Missing, 1), (Missing, 1), (Unexpected, 1))),
    "404 of a proxy": (page(404), ((Uncertain, 1), *STRANGE)),
    "408": (own(408), ((Uncertain, 1), *AGAIN)),
    "409": (own(409), ((Uncertain, 1), (Unexpected, 1), (Rejected, 1), (Unexpected, 1))),
    "410": (own(410), ((Rejected, 1), (Missing, 1), (Missing, 1), (Unexpected, 1))),
    "421": (own(421), ((Unavailable, 3), *AGAIN)),
    "421 of a proxy": (page(421), ((Uncertain, 1), *AGAIN)),
    "422": (own(422), ((Rejected, 1), (Unexpected, 1), (Rejected, 1), (Denied, 1))),
    "425": (own(425), ((Unavailable, 3), *AGAIN)),
    "500": (own(500), ((Uncertain, 1), *AGAIN)),
    "501": (own(501), ((Rejected, 1), *STRANGE)),
    "501 of a proxy": (page(501), ((Uncertain, 1), *STRANGE)),
    "502": (page(502), ((Uncertain, 1), *AGAIN)),
    "503": (own(503), ((Uncertain, 1), *AGAIN)),
    "504": (page(504), ((Uncertain, 1), *AGAIN)),
    "505": (own(505), ((Rejected, 1), *STRANGE)),
    "524": (page(524), ((Uncertain, 1), *AGAIN)),
    "a number that HTTP does not know": (page(777), ((Uncertain, 1), *STRANGE)),
}


def cases() -> Iterator[tuple[str, Answer, Call, type[ProviderError], int]]:
    for name, (answer, four) in TABLE.items():
        for call, (error, times) in zip((SUBMIT, READ, CANCEL, AUTH), four, strict=True):
            yield name, answer, call, error, times


@pytest.mark.parametrize(
    ("answer", "call", "error", "times"), [pytest.param(*case[1:], id=f"{case[0]}-{case[2]}") for case in cases()]
)
def test_each_answer_ends_as_the_table_says(answer: Answer, call: Call, error: type[ProviderError], times: int) -> None:
    server = cloud(answer)

    raised = server.fails(server.http().ask(call, METHOD[call], "/jobs", deadline=1000))

    # five failures in a row close the line for a while; a read goes on after that, so its number is the table's
    assert (type(raised), len(server.asked)) == (error, times)
    assert raised.__cause__ is None
    assert raised.__context__ is None


def test_every_row_and_column_has_its_verdict() -> None:
    assert set(OWN) == set(Happened)
    assert set(FOREIGN) < set(OWN)
    assert {len(row) for row in (*OWN.values(), *FOREIGN.values())} == {len(Call)}
    assert set(LIMITS) == set(Call)
    assert all(happened(status) in OWN for status in range(1000))


def test_a_submit_is_sent_again_only_where_nothing_was_sent_or_nothing_was_processed() -> None:
    again = {
        what
        for what in Happened
        for own in (True, False)
        if judge(SUBMIT, what, own=own, limited=True) in ("again", "wait")
    }

    assert again == {Happened.UNSENT, Happened.MISDIRECTED, Happened.LIMITED}


def foreign_exceptions() -> list[type[Exception]]:
    """All that httpcore, httpx and the system beneath them can raise."""
    found: list[type[Exception]] = [httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict, OSError]
    found += [each for each in vars(httpcore).values() if isinstance(each, type) and issubclass(each, Exception)]
    seen: list[type[Exception]] = []
    while found:
        kind = found.pop()
        seen.append(kind)
        if kind is not OSError:
            found += kind.__subclasses__()
    return [
        *dict.fromkeys(seen),
        TimeoutError,
        ConnectionResetError,
        BrokenPipeError,
        ssl.SSLError,
        ssl.SSLCertVerificationError,
    ]


def made(kind: type[Exception]) -> Exception:
    try:
        return kind("words")
    except TypeError:
        return (
            kind("words", request=httpx.Request("GET", "https://x"), response=httpx.Response(500))
            if kind is httpx.HTTPStatusError
            else kind()
        )


@pytest.mark.parametrize("kind", foreign_exceptions(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_each_foreign_exception_is_one_of_ours(kind: type[Exception]) -> None:
    proof = issubclass(kind, UNSENT)
    assert failure(made(kind)).what is (Happened.UNSENT if proof else Happened.LOST)

    for call, expected in ((SUBMIT, Unavailable if proof else Uncertain), (READ, Unavailable), (CANCEL, Unavailable)):
        server = cloud(made(kind))
        raised = server.fails(server.http().ask(call, METHOD[call], "/jobs"))
        assert type(raised) is expected
        assert raised.__context__ is None


def test_the_proofs_that_nothing_was_sent_are_these_and_no_others() -> None:
    proofs = {kind.__name__ for kind in foreign_exceptions() if failure(made(kind)).what is Happened.UNSENT}

    assert proofs == {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
        "InvalidURL",
    }


def test_what_is_sent_and_what_comes_back() -> None:
    server = cloud(own(200, "fine", date="Fri, 15 Jan 2027 08:00:07 GMT"))

    reply = server.run(
        server.http("https://cloud.example/v1/").ask(
            SUBMIT,
            "POST",
            f"/jobs/{segment('a b/c+%ü')}",
            json={"b": 1.0, "a": "ü"},
            query={"q": "1+2 &=", "order": "DESC"},
        )
    )

    (request,) = server.requests
    assert request.method == "POST"
    assert str(request.url) == "https://cloud.example/v1/jobs/a%20b%2Fc%2B%25%C3%BC?q=1%2B2%20%26%3D&order=DESC"
    assert request.content == '{"a":"ü","b":1}'.encode()
    headers = dict(request.headers)
    assert headers.pop("user-agent").startswith("qrun/")
    assert headers == {
        "host": "cloud.example",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": "16",
        "q-api-token": "id.secret-of-mine",
    }
    assert reply.json() == {"code": "E200", "message": "fine"}
    assert (reply.status, reply.date(), reply.received) == (200, 1_800_000_007.0, server.clock.now())


def test_a_request_without_a_body_has_none_and_null_is_one() -> None:
    server = cloud(own(200))
    http = server.http()

    server.run(http.ask(READ, "POST", "/jobs"))
    server.run(http.ask(READ, "POST", "/jobs", json=None))

    assert [(request.content, request.headers["content-length"]) for request in server.requests] == [
        (b"", "0"),
        (b"null", "4"),
    ]


@pytest.mark.parametrize("text", ["", ".", ".."])
def test_a_part_of_a_path_that_is_a_direction_is_refused(text: str) -> None:
    with pytest.raises(Unexpected, match="cannot be a part of an address"):
        segment(text)


def test_what_cannot_be_written_as_json_is_not_sent() -> None:
    server = cloud(own(200))

    raised = server.fails(server.http().ask(SUBMIT, "POST", "/jobs", json={"shots": float("nan")}))

    assert isinstance(raised, Rejected)
    assert not server.asked


def test_no_cookie_is_ever_kept() -> None:
    server = cloud(own(200, set_cookie="session=abc; Path=/"))
    http = server.http()

    for _ in range(2):
        server.run(http.ask(READ, "GET", "/jobs"))

    assert all("cookie" not in request.headers for request in server.requests)


def test_a_redirect_of_a_question_is_followed_on_the_same_server() -> None:
    server = cloud(
        page(307, location="/v2/jobs?page=1"), page(302, location="https://cloud.example/v3/jobs#x"), own(200)
    )

    server.run(server.http().ask(READ, "GET", "/jobs"))

    assert [str(request.url) for request in server.requests] == [
        "https://cloud.example/jobs",
        "https://cloud.example/v2/jobs?page=1",
        "https://cloud.example/v3/jobs",
    ]
    assert all(request.headers["q-api-token"] == "id.secret-of-mine" for request in server.requests)


@pytest.mark.parametrize(
    "location",
    [
        "https://other.example/jobs",
        "https://cloud.example:444/jobs",
        "http://cloud.example/jobs",
        "//other.example/jobs",
        "https://user@cloud.example/jobs",
        "https://cloud.example.other.example/",
        "https://cloud.example@other.example/",
        "javascript:alert(1)",
        "http://[",
        "",
    ],
)
def test_a_redirect_to_anywhere_else_is_refused(location: str) -> None:
    server = cloud(page(302, location=location), own(200))

    raised = server.fails(server.http().ask(READ, "GET", "/jobs"))

    assert isinstance(raised, Unexpected)
    assert "a redirect" in str(raised)
    assert len(server.asked) == 1


def test_a_question_that_is_posted_is_not_led_elsewhere() -> None:
    server = cloud(page(307, location="/v2/jobs"), own(200))

    assert isinstance(server.fails(server.http().ask(READ, "POST", "/jobs")), Unexpected)


def test_redirects_end() -> None:
    server = cloud(page(302, location="/jobs"))

    assert isinstance(server.fails(server.http().ask(READ, "GET", "/jobs")), Unexpected)
    assert len(server.asked) == 4


def test_an_error_says_what_where_and_what_to_do() -> None:
    server = cloud(own(400, "device <x> is not available"))

    raised = server.fails(server.http().ask(SUBMIT, "POST", "/jobs/7/submit", query={"secret": "no"}))

    assert str(raised) == '"hub", POST /jobs/7/submit: 400 E400 "device <x> is not available"'
    assert (raised.status, raised.provider_code, raised.words) == (400, "E400", "device <x> is not available")

    lost = cloud(LOST)
    assert str(lost.fails(lost.http().ask(SUBMIT, "POST", "/jobs"))) == (
        '"hub", POST /jobs: sent, but the answer did not come ("connection reset by peer"); '
        "whether it was carried out is looked up before anything is sent again"
    )
    refused = cloud(REFUSED)
    assert str(refused.fails(refused.http().ask(SUBMIT, "POST", "/jobs"))) == (
        '"hub", POST /jobs: no connection, nothing was sent ("connection refused"); '
        'check the network and the url of connection "hub", then run again'
    )
    proxy = cloud(page(502))
    assert "502, in a form that is not the provider's own" in str(proxy.fails(proxy.http().ask(READ, "GET", "/jobs")))


@pytest.mark.parametrize(
    "told",
    ["id.secret-of-mine", "aWQuc2VjcmV0LW9mLW1pbmU=", "id%2Esecret-of-mine and id.secret-of-mine"],
)
def test_words_of_others_are_short_plain_and_without_secrets(told: str) -> None:
    server = cloud(own(400, f"\x1b[31mbad\r\n token {told} \u2028" + "x" * 1000))

    raised = server.fails(server.http().ask(SUBMIT, "POST", "/jobs"))

    text = raised.words or ""
    assert text.startswith("[31mbad token ")
    assert "secret-of-mine" not in text.replace("id%2Esecret-of-mine", "")
    assert told not in text
    assert len(text) == 300
    assert text.isprintable()


def test_a_credential_that_cannot_be_sent_is_named_not_shown() -> None:
    server = cloud(own(200))

    raised = server.fails(server.http(headers=lambda: {"q-api-token": "secret\r\nx: y"}).ask(READ, "GET", "/jobs"))

    assert isinstance(raised, Denied)
    assert "secret" not in str(raised)
    assert not server.asked


def test_the_trace_has_names_and_no_values() -> None:
    server = cloud(own(200))
    http = server.http()
    lines: list[str] = []
    http.trace = lines.append

    server.run(http.ask(READ, "GET", "/jobs", query={"q": "private", "size": "3"}))
    server.run(http.download("https://cloud.example/secret/path?signature=abcdef"))

    assert lines == ["GET /jobs?q=&size= 200 0 ms", "GET https://cloud.example/… 200 0 ms"]


def test_nothing_is_loaded_or_opened_before_the_first_request() -> None:
    http = Http(name="hub", url="https://cloud.example", access=Access(), headers=dict, words=lambda _: None)

    asyncio.run(http.aclose())

    assert "_wire" not in vars(http)


def test_a_form_is_sent_as_a_browser_does_and_its_values_stand_in_no_error() -> None:
    server = cloud(own(200), own(403, "no such user: p&ssw0rd-of-mine"))
    http = server.http()

    server.run(http.ask(Call.AUTH, "POST", "/token", form={"user": "a b", "password": "p&ssw0rd-of-mine"}))
    raised = server.fails(http.ask(Call.AUTH, "POST", "/token", form={"password": "p&ssw0rd-of-mine"}))

    assert server.asked[0][1].content == b"user=a+b&password=p%26ssw0rd-of-mine"
    assert server.asked[0][1].headers["content-type"] == "application/x-www-form-urlencoded"
    assert "p&ssw0rd" not in str(raised)
