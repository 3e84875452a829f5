"""Real sockets and servers that misbehave: what each does to a submit, a question and a link."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import shutil
import socket
import ssl
import subprocess
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from qrun.clock import Clock
from qrun.connection import Access
from qrun.errors import Missing, ProviderError, Rejected, Unavailable, Uncertain, Unexpected
from qrun.http import Call, Http
from qrun.http.hosts import Target
from qrun.http.policy import Happened
from qrun.http.wire import Bounds, Failed, Outgoing, Wire
from tests.answers import words
from tests.misbehaving import (
    Behaviour,
    Seen,
    answer,
    drips,
    first,
    hangs,
    request,
    resets_after_reading,
    resets_at_once,
    says,
    says_and_closes,
    server,
    speaks_no_tls,
)

SUBMIT, READ, CANCEL = Call.SUBMIT, Call.READ, Call.CANCEL
PAGE = b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>"


class Hasty(Clock):
    """What is slept has passed at once; everything else takes the time that it takes."""

    def __init__(self) -> None:
        self.slept = 0.0

    def now(self) -> float:
        return super().now() + self.slept

    def monotonic(self) -> float:
        return super().monotonic() + self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def http(url: str, **given: Any) -> AsyncIterator[Http]:
    setup: dict[str, Any] = {
        "name": "hub",
        "url": url,
        "access": Access(clock=Hasty()),
        "headers": lambda: {"q-api-token": "id.secret"},
        "words": words,
    }
    made = Http(**(setup | given))
    try:
        yield made
    finally:
        await made.aclose()


def ended(
    behaviour: Behaviour, work: Callable[[Http, Seen], Awaitable[object]], **given: Any
) -> tuple[object, list[bytes]]:
    """What the work gives or raises, and the requests that came in whole."""

    async def main() -> tuple[object, list[bytes]]:
        async with server(behaviour) as seen, http(seen.url, **given) as made:
            try:
                return await work(made, seen), seen.requests
            except ProviderError as error:
                assert error.__context__ is None
                return error, seen.requests

    return asyncio.run(main())


def asking(call: Call, **given: Any) -> Callable[[Http, Seen], Awaitable[object]]:
    method = "GET" if call is READ else "POST"
    return lambda made, _: made.ask(call, method, "/jobs", **given)


LOSSES: Mapping[str, Behaviour] = {
    "reset after reading": resets_after_reading,
    "closed without an answer": says_and_closes(b""),
    "closed within the head": says_and_closes(b"HTTP/1.1 200 OK\r\ncontent-"),
    "closed within the body": says_and_closes(b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"job_id": '),
    "closed within a chunk": says_and_closes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\n{}"),
    "no HTTP": says_and_closes(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "a head that is no head": says_and_closes(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n{}"),
    "an endless head": says_and_closes(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000),
    "a proxy's page": says_and_closes(PAGE),
    "damaged packing": says(answer(b"not gzip", content_encoding="gzip")),
    "a cut stream": says(answer(zlib.compress(b"{}" * 999, wbits=31)[:-20], content_encoding="gzip")),
    "another packing": says(answer(b"{}", content_encoding="br")),
    "too much": says(answer(b"[" + b" " * 5000 + b"]")),
    "too much by its own words": says(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n{}"),
    "too much in chunks": says_and_closes(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"400\r\n" + b" " * 1024 + b"\r\n" + b"ffffff\r\n   "
    ),
}


@pytest.mark.parametrize("behaviour", LOSSES.values(), ids=LOSSES)
def test_a_submit_whose_answer_is_lost_is_sent_once_and_uncertain(behaviour: Behaviour) -> None:
    raised, requests = ended(behaviour, asking(SUBMIT, json={"shots": 1}, limit=1000))

    assert type(raised) is Uncertain
    assert len(requests) == 1


@pytest.mark.parametrize("behaviour", LOSSES.values(), ids=LOSSES)
def test_a_question_whose_answer_is_lost_is_asked_again(behaviour: Behaviour) -> None:
    raised, requests = ended(first(behaviour, says(answer(b"[]"))), asking(READ, limit=1000))

    if isinstance(raised, Unexpected):  # an answer that cannot be read now cannot be read the next time
        assert "at most" in str(raised) or "more than" in str(raised) or "pack" in str(raised)
        assert len(requests) == 1
    else:
        assert not isinstance(raised, Exception)
        assert len(requests) == 2


@pytest.mark.parametrize("behaviour", [hangs, drips(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n")])
@pytest.mark.parametrize(("call", "kind"), [(SUBMIT, Uncertain), (READ, Unavailable), (CANCEL, Unavailable)])
def test_a_server_that_hangs_or_drips_holds_nobody(behaviour: Behaviour, call: Call, kind: type) -> None:
    raised, requests = ended(behaviour, asking(call, deadline=0.2))

    assert type(raised) is kind
    assert len(requests) == 1


def test_a_head_that_drips_holds_nobody() -> None:
    raised, _ = ended(drips(b"HTTP/1.1 200 OK\r\nx: "), asking(SUBMIT, deadline=0.2))

    assert type(raised) is Uncertain


def unused() -> int:
    """A port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("call", list(Call)[:4])
def test_where_nobody_listens_nothing_was_sent(call: Call) -> None:
    async def main() -> ProviderError:
        async with http(f"http://127.0.0.1:{unused()}") as made:
            with pytest.raises(Unavailable) as raised:
                await made.ask(call, "POST", "/jobs")
            return raised.value

    assert "no connection, nothing was sent" in str(asyncio.run(main()))


def test_a_name_that_nobody_has_is_proof_too() -> None:
    async def main() -> ProviderError:
        async with http("https://no-such-host.invalid") as made:
            with pytest.raises(Unavailable) as raised:
                await made.ask(SUBMIT, "POST", "/jobs")
            return raised.value

    assert "nothing was sent" in str(asyncio.run(main()))


def test_a_server_that_speaks_no_tls_is_proof_too() -> None:
    async def main() -> ProviderError:
        async with server(speaks_no_tls) as seen:
            async with http(f"https://127.0.0.1:{seen.port}") as made:
                with pytest.raises(Unavailable) as raised:
                    await made.ask(SUBMIT, "POST", "/jobs", json={})
            assert not seen.requests
            return raised.value

    assert "nothing was sent" in str(asyncio.run(main()))


def test_a_reset_before_a_byte_was_read_is_uncertain_because_nobody_can_know() -> None:
    raised, requests = ended(resets_at_once, asking(SUBMIT, json={"shots": 1}))

    assert type(raised) is Uncertain
    assert not requests


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
@pytest.mark.parametrize("ending", [resets_after_reading, says_and_closes(b"")], ids=["reset", "closed"])
def test_nothing_is_sent_twice_on_a_connection_that_was_open_before(method: str, ending: Behaviour) -> None:
    async def one_then(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await says_and_closes(answer())(reader, writer, seen)
        await ending(reader, writer, seen)

    async def work(made: Http, _: Seen) -> object:
        await made.ask(READ, "GET", "/warm")
        return await made.ask(SUBMIT, method, "/jobs", json={"shots": 1})

    raised, requests = ended(one_then, work)

    assert type(raised) is Uncertain
    assert len(requests) == 2


def test_a_connection_that_the_server_has_closed_is_not_used_for_a_submit() -> None:
    async def work(made: Http, seen: Seen) -> object:
        for number in range(1, 6):
            await made.ask(SUBMIT, "POST", "/jobs", json={"shots": number})
        return seen.connections

    connections, requests = ended(says_and_closes(answer()), work)

    assert connections == len(requests) == 5


def test_connections_are_used_again_and_their_number_stays_bounded() -> None:
    async def work(made: Http, seen: Seen) -> object:
        for _ in range(5):
            await asyncio.gather(*(made.ask(READ, "GET", "/jobs") for _ in range(40)))
        return seen.connections

    connections, requests = ended(says(answer()), work, settings={"max_in_flight": 8})

    assert connections == 8
    assert len(requests) == 200


def test_a_cancelled_request_leaves_no_connection_that_another_could_read_from() -> None:
    async def slow_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await says(answer(b'"mine"'))(reader, writer, seen)

    async def work(made: Http, seen: Seen) -> object:
        asked = asyncio.create_task(made.ask(READ, "GET", "/first"))
        await seen.came.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        return (await made.ask(READ, "GET", "/second")).json()

    told, _ = ended(first(hangs, slow_once), work)

    assert told == "mine"


@pytest.mark.parametrize("listening", [True, False])
def test_ready_says_whether_a_submit_could_be_sent(listening: bool) -> None:
    async def main() -> tuple[int, int] | None:
        async with server(says(answer())) as seen:
            url = seen.url if listening else f"http://127.0.0.1:{unused()}"
            async with http(url) as made:
                try:
                    await made.ready()
                    await made.ask(READ, "GET", "/jobs")
                    await made.ready()  # it has just answered: no connection is opened for that
                    return seen.connections, len(seen.requests)
                except Unavailable as error:
                    assert "no connection, nothing was sent" in str(error)
                    return None

    assert asyncio.run(main()) == ((2, 1) if listening else None)


def test_a_packed_answer_is_unpacked() -> None:
    reply, _ = ended(says(answer(zlib.compress(b'{"a": 1}', wbits=31), content_encoding="gzip")), asking(READ))

    assert getattr(reply, "content", reply) == b'{"a": 1}'


def test_a_packed_bomb_is_refused() -> None:
    bomb = zlib.compress(bytes(50_000_000), wbits=31)

    raised, _ = ended(says(answer(bomb, content_encoding="gzip")), asking(READ, limit=1_000_000))

    assert type(raised) is Unexpected
    assert "more than 1000000 bytes when unpacked" in str(raised)


def test_a_download_is_what_the_server_has_byte_for_byte() -> None:
    content = bytes(range(256)) * 40_000

    got, requests = ended(
        says(answer(content)), lambda made, seen: made.download(f"{seen.url}/a%2Fb?X=1%2B2&sig=a/b+c")
    )

    assert got == content
    (head,) = requests
    assert head.startswith(b"GET /a%2Fb?X=1%2B2&sig=a/b+c HTTP/1.1\r\n")
    assert b"q-api-token" not in head.lower()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, Missing), (410, Missing), (403, Missing), (400, Missing), (302, Unexpected), (503, Unavailable)],
)
def test_a_link_that_leads_nowhere_says_how(status: int, kind: type[ProviderError]) -> None:
    xml = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
    answered = answer(xml, status, location="/elsewhere")

    raised, _ = ended(says(answered), lambda made, seen: made.download(f"{seen.url}/x?signature=abcdefgh"))

    assert isinstance(raised, kind)
    assert raised.status == status
    assert "abcdefgh" not in str(raised)
    if kind is Missing:
        assert (raised.provider_code, raised.words) == ("AccessDenied", "Request has expired")


def test_a_page_for_people_does_not_mean_that_a_result_is_gone() -> None:
    page = b"HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>"

    raised, _ = ended(says(page), lambda made, seen: made.download(f"{seen.url}/x"))

    assert type(raised) is Unexpected


def test_a_download_that_breaks_off_is_begun_again() -> None:
    broken = says_and_closes(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    got, _ = ended(first(broken, says(answer(b"whole")), after=3), lambda made, seen: made.download(f"{seen.url}/x"))

    assert got == b"whole"


def test_an_upload_is_a_form_with_every_field_and_the_file_last() -> None:
    fields = {"key": "7/input.zip", "policy": "abc==", "x-amz-security-token": "to/ken+", "Ünusual": 'va"lue'}

    reply, requests = ended(
        first(resets_after_reading, says(answer(b"", 204))),
        lambda made, seen: made.upload(f"{seen.url}/bucket", fields, ("input.zip", b"PK\x00\xff", "application/zip")),
    )

    assert getattr(reply, "status", reply) == 204
    once, again = requests
    head, _, body = again.partition(b"\r\n\r\n")
    assert once.partition(b"\r\n\r\n")[2].count(b"form-data") == body.count(b"form-data") == 5
    assert b"content-type: multipart/form-data; boundary=" in head.lower()
    assert b"q-api-token" not in head.lower()
    names = [part.split(b'"')[1].decode() for part in body.split(b"form-data; name=")[1:]]
    assert names == [*fields, "file"]
    assert body.endswith(b'filename="input.zip"\r\nContent-Type: application/zip\r\n\r\nPK\x00\xff\r\n' + body[-38:])


def test_a_storage_that_refuses_an_upload_says_why() -> None:
    xml = b"<Error><Code>EntityTooLarge</Code><Message>too large, policy is abcdefghij</Message></Error>"

    raised, requests = ended(
        says(answer(xml, 400)),
        lambda made, seen: made.upload(f"{seen.url}/b", {"policy": "abcdefghij"}, ("i.zip", b"", "application/zip")),
    )

    assert isinstance(raised, Rejected)
    assert (raised.status, raised.provider_code) == (400, "EntityTooLarge")
    assert "abcdefghij" not in str(raised)
    assert len(requests) == 1


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    """A server's side of TLS as `storage.example`, which this process trusts while the fixture lives."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=storage.example", "-addext", "subjectAltName=DNS:storage.example"]
    subprocess.run([*made, "-keyout", key, "-out", certificate, *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificate))
        yield context


async def encrypted(context: ssl.SSLContext, host: str) -> object:
    """What a request to `host` gives that is sent to this machine."""
    async with server(says(answer(b"true")), context) as seen:
        target = Target("https", host, seen.port, "/x")
        outgoing = Outgoing(method="GET", target=target, headers={}, address=ipaddress.ip_address("127.0.0.1"))
        wire = Wire(idle=1)
        try:
            got = await wire.exchange(outgoing, Bounds(size=100, seconds=10, read=10))
        except Failed as failed:
            assert not seen.requests
            return failed.what, failed.words
        finally:
            await wire.aclose()
        assert f"host: {host}:{seen.port}".encode() in seen.requests[0].lower()
        return got.content


def test_an_address_that_was_checked_is_connected_to_and_the_name_is_what_is_certified(
    certified: ssl.SSLContext,
) -> None:
    assert asyncio.run(encrypted(certified, "storage.example")) == b"true"


def test_a_certificate_for_another_name_is_proof_that_nothing_was_sent(certified: ssl.SSLContext) -> None:
    what, told = cast("tuple[Happened, str]", asyncio.run(encrypted(certified, "other.example")))

    assert what is Happened.UNSENT
    assert "CERTIFICATE_VERIFY_FAILED" in told


def test_what_goes_through_a_tunnel_is_encrypted_for_the_server_behind_it(certified: ssl.SSLContext) -> None:
    async def main() -> tuple[bytes, bytes, list[bytes]]:
        async with server(says(answer(b"true")), certified) as behind:

            async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
                await request(reader, seen)
                back, forth = await asyncio.open_connection("127.0.0.1", behind.port)
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                try:
                    await asyncio.gather(piped(reader, forth), piped(back, writer))
                finally:
                    forth.transport.abort()

            async with server(tunnel) as proxy:
                wire = Wire(idle=1, proxy=f"http://someone:pass%20word@127.0.0.1:{proxy.port}")
                target = Target("https", "storage.example", 443, "/x")
                bounds = Bounds(size=100, seconds=10, read=10)
                try:
                    for _ in range(2):
                        got = await wire.exchange(Outgoing(method="GET", target=target, headers={}), bounds)
                finally:
                    await wire.aclose()
                return got.content, proxy.requests[0], behind.requests

    content, connect, requests = asyncio.run(main())

    assert content == b"true"
    assert connect.startswith(b"CONNECT storage.example:443 HTTP/1.1\r\n")
    assert b"authorization: Basic " + base64.b64encode(b"someone:pass word") in connect.replace(b"Auth", b"auth")
    assert [each.split(b"\r\n")[0] for each in requests] == [b"GET /x HTTP/1.1"] * 2


async def piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def test_a_connection_that_was_closed_while_nobody_looked_is_not_used() -> None:
    """The loop has no turn between the end of the connection and the next request."""
    closed = threading.Event()
    heads: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listening.accept()
            with connection:
                heads.append(connection.recv(65536))
                connection.sendall(answer(b"true"))
            closed.set()

    async def main(port: int) -> list[bytes]:
        wire, bounds = Wire(idle=1), Bounds(size=100, seconds=10, read=10)
        outgoing = Outgoing(method="POST", target=Target("http", "127.0.0.1", port, "/x"), headers={})
        try:
            return [await once(wire, outgoing, bounds) for _ in range(2)]
        finally:
            await wire.aclose()

    async def once(wire: Wire, outgoing: Outgoing, bounds: Bounds) -> bytes:
        got = await wire.exchange(outgoing, bounds)
        closed.wait(10)
        return got.content

    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=serve, args=(listening,))
        serving.start()
        contents = asyncio.run(main(listening.getsockname()[1]))
        serving.join()

    assert contents == [b"true", b"true"]
    assert len(heads) == 2


def test_a_large_body_arrives_whole() -> None:
    content = bytes(range(256)) * 20_000

    _, requests = ended(
        says(answer(b"", 204)), lambda made, seen: made.upload(seen.url, {}, ("i.zip", content, "application/zip"))
    )

    (whole,) = requests
    assert content in whole


def test_a_server_that_takes_no_more_of_a_large_body_holds_nobody() -> None:
    async def reads_nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter, seen: Seen) -> None:
        await seen.done.wait()

    async def main() -> Failed:
        async with server(reads_nothing) as seen:
            wire = Wire(idle=1)
            target = Target("http", "127.0.0.1", seen.port, "/x")
            outgoing = Outgoing(method="POST", target=target, headers={}, content=bytes(20_000_000))
            with pytest.raises(Failed) as raised:
                await wire.exchange(outgoing, Bounds(size=100, seconds=30, read=0.1))
            await wire.aclose()
            return raised.value

    failed = asyncio.run(main())

    assert (failed.what, failed.words) == (Happened.LOST, "no answer in time")


def test_characters_that_no_address_holds_are_encoded_on_their_way() -> None:
    _, requests = ended(says(answer(b"x")), lambda made, seen: made.download(f'{seen.url}/a"b<c>{{d}}?e=`f`'))

    assert requests[0].startswith(b"GET /a%22b%3Cc%3E%7Bd%7D?e=%60f%60 HTTP/1.1\r\n")
