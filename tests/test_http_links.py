"""Where a request may go: the connection's own address, links, redirects of neither, proxies."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest

from qrun.connection import Access
from qrun.errors import ProviderError, SettingsError, Unavailable, Unexpected
from qrun.http import Call, Http
from qrun.http.hosts import Address, base, link
from tests.answers import cloud, own
from tests.misbehaving import Seen, answer, request, server


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://cloud.example", "https://cloud.example"),
        ("https://Cloud.Example:443/v1//", "https://cloud.example/v1"),
        ("https://cloud.example:8443/a b", None),
        ("https://cloud.example:8443/a%20b/", "https://cloud.example:8443/a%20b"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.1.2.3", "http://127.1.2.3"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://lab.example:8080", "http://lab.example:8080"),  # trusted
        ("http://lab.example:8081", None),
        ("http://cloud.example", None),
        ("http://localhost.example", None),
        ("http://127.0.0.1.example", None),
        ("http://127.1", None),
        ("http://0x7f000001", None),
        ("http://2130706433", None),
        ("http://0.0.0.0", None),
        ("https://user:pass@cloud.example", None),
        ("https://user@cloud.example", None),
        ("https://cloud.example?x=1", None),
        ("https://cloud.example/#x", None),
        ("https://cloud.example:0x50", None),
        ("https://cloud.example:99999", None),
        ("https://", None),
        ("https:///x", None),
        ("https://[::1", None),
        ("https://cloud..example", None),
        ("https://-cloud.example", None),
        ("https://" + "a" * 64 + ".example", None),
        ("https://cloud.example\\@other.example", None),
        ("https://cloud.example\n", None),
        ("https://clöud.example", None),
        ("ftp://cloud.example", None),
        ("file:///etc/passwd", None),
        ("cloud.example", None),
        ("", None),
    ],
)
def test_the_connections_own_address(url: str, shown: str | None) -> None:
    if shown is None:
        with pytest.raises(SettingsError, match=r'connection "hub": ') as raised:
            base("hub", url, {"lab.example:8080"})
        assert "pass" not in str(raised.value).replace("passwd", "")
    else:
        assert base("hub", url, {"lab.example:8080"}).url == shown


@pytest.mark.parametrize(
    ("url", "mine", "fine"),
    [
        ("https://storage.example/x?sig=secret", "https://cloud.example", True),
        ("https://storage.example:9000/x", "https://cloud.example", True),
        ("http://storage.example/x", "https://cloud.example", False),
        ("http://127.0.0.1:9000/x", "https://cloud.example", False),
        ("http://cloud.example/x", "https://cloud.example", False),
        ("http://127.0.0.1:9000/x", "http://127.0.0.1:8080", True),
        ("http://localhost:9000/x", "http://[::1]:8080", True),
        ("http://192.168.1.7:9000/x", "http://127.0.0.1:8080", False),
        ("http://lab.example:9000/x", "http://lab.example:8080", True),  # both trusted
        ("http://127.0.0.1:9000/x", "http://lab.example:8080", False),
        ("http://lab.example:9001/x", "http://lab.example:8080", False),
        ("https://user:secret@storage.example/x", "https://cloud.example", False),
        ("file:///srv/results/7.zip", "http://127.0.0.1:8080", False),
        ("FILE:///srv/results/7.zip", "http://127.0.0.1:8080", False),
        ("ftp://storage.example/x", "https://cloud.example", False),
        ("//storage.example/x", "https://cloud.example", False),
        ("/x", "https://cloud.example", False),
        ("https://storage.example/\r\nx: y", "https://cloud.example", False),
        ("", "https://cloud.example", False),
    ],
)
def test_a_link_is_checked_before_anybody_is_asked(url: str, mine: str, fine: bool) -> None:
    trusted = {"lab.example:8080", "lab.example:9000"}
    own_address = base("hub", mine, trusted)

    if fine:
        assert link(url, own_address, trusted).url == url
    else:
        with pytest.raises(Unexpected, match="a link") as raised:
            link(url, own_address, trusted)
        assert "secret" not in str(raised.value)


def test_a_link_to_a_file_is_refused_with_a_sentence() -> None:
    server = cloud(own(200))

    raised = server.fails(server.http("http://127.0.0.1:8080").download("file:///srv/results/7.zip"))

    assert str(raised) == (
        "the provider gave a link to a file on its own machine, which is never opened here; "
        "have the service hand out links to a storage host"
    )


PRIVATE = (
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:db8::1",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "52.216.0.1", "2600:9000::1", "::ffff:8.8.8.8", "64:ff9b::808:808")


def resolving(*answers: str) -> Any:
    async def resolve(host: str, port: int) -> list[Address]:
        assert (host, port) == ("storage.example", 443)
        return [ipaddress.ip_address(text) for text in answers]

    return resolve


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("beside", [(), ("8.8.8.8",)], ids=["alone", "beside a public one"])
def test_a_link_never_leads_into_a_private_network(address: str, beside: tuple[str, ...]) -> None:
    server = cloud(own(200))
    http = server.http(resolve=resolving(*beside, address))

    raised = server.fails(http.download("https://storage.example/x?sig=secret"))

    assert isinstance(raised, Unexpected)
    assert not server.asked
    assert str(raised) == (
        'the provider gave a link to "storage.example", which is no public address; '
        "if it is yours, name storage.example:443 in QRUN_TRUSTED_HOSTS"
    )


@pytest.mark.parametrize("address", PRIVATE)
def test_nor_does_an_address_that_stands_in_the_link(address: str) -> None:
    server = cloud(own(200))
    host = f"[{address}]" if ":" in address else address

    for settings in ({}, {"proxy": "http://proxy.example:3128"}):
        raised = server.fails(server.http(settings=settings).download(f"https://{host}/x"))
        assert isinstance(raised, Unexpected)
    assert not server.asked


@pytest.mark.parametrize("address", PUBLIC)
def test_the_address_that_was_checked_is_the_one_that_is_connected_to(address: str) -> None:
    server = cloud(own(200))

    server.run(server.http(resolve=resolving(address)).download("https://storage.example/x"))

    (sent,) = server.requests
    assert ipaddress.ip_address(sent.url.host) == ipaddress.ip_address(address)
    assert sent.headers["host"] == "storage.example"
    assert sent.extensions["sni_hostname"] == "storage.example"


def test_where_one_address_does_not_answer_the_next_one_is_tried() -> None:
    server = cloud(own(503), own(200))

    server.run(server.http(resolve=resolving("8.8.8.8", "8.8.4.4")).download("https://storage.example/x"))

    assert [sent.url.host for sent in server.requests] == ["8.8.8.8", "8.8.4.4"]


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("https://cloud.example/x", {}),
        ("https://cloud.example:9000/x", {}),
        ("https://10.0.0.7:9000/x", {"trusted": frozenset({"10.0.0.7:9000"})}),
        ("https://storage.example/x", {"trusted": frozenset({"storage.example"})}),
        ("https://storage.example/x", {"settings": {"proxy": "http://proxy.example:3128"}}),
    ],
)
def test_the_connections_own_host_and_trusted_ones_are_not_looked_up(url: str, given: dict[str, Any]) -> None:
    server = cloud(own(200))

    server.run(server.http(resolve=resolving("10.0.0.1"), **given).download(url))

    assert str(server.requests[0].url) == url


def test_a_link_gets_none_of_our_headers() -> None:
    server = cloud(own(200))
    http = server.http()

    server.run(http.download("https://cloud.example/x"))
    server.run(http.upload("https://cloud.example/x", {}, ("input.zip", b"", "application/zip")))

    for sent in server.requests:
        assert set(sent.headers) <= {
            "host",
            "accept",
            "accept-encoding",
            "user-agent",
            "content-type",
            "content-length",
        }


@pytest.mark.parametrize(
    "proxy", ["proxy.example:3128", "socks5://proxy.example", "http://", "http://x:99999", "http://x:0"]
)
def test_a_proxy_that_is_none_is_refused_without_showing_it(proxy: str) -> None:
    with pytest.raises(SettingsError, match="the proxy cannot be used") as raised:
        cloud().http(settings={"proxy": proxy})

    assert proxy not in str(raised.value).replace("http://host:port", "")


def through_proxy(url: str, refused: bool) -> tuple[object, list[bytes]]:
    """What a submit gives whose proxy is on this machine, and what the proxy was asked."""

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await request(reader, seen)
        writer.write(
            b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n" if refused else answer()
        )

    async def main() -> tuple[object, list[bytes]]:
        async with server(proxy) as seen:
            http = Http(
                name="hub",
                url=url,
                access=Access(trusted_hosts=frozenset({"lab.example"})),
                headers=lambda: {"q-api-token": "id.secret"},
                words=lambda _: None,
                settings={"proxy": f"http://someone:password@127.0.0.1:{seen.port}"},
                chance=lambda: 0.0,
            )
            try:
                await http.ready()
                return (await http.ask(Call.SUBMIT, "POST", "/jobs", json={})).status, seen.requests
            except ProviderError as error:
                return error, seen.requests
            finally:
                await http.aclose()

    return asyncio.run(main())


def test_a_proxy_that_refuses_the_tunnel_is_proof_that_nothing_was_sent() -> None:
    raised, requests = through_proxy("https://cloud.example", refused=True)

    assert isinstance(raised, Unavailable)
    assert len(requests) == 3
    assert requests[0].startswith(b"CONNECT cloud.example:443 HTTP/1.1\r\n")
    assert b"proxy-authorization: basic" in requests[0].lower()
    assert b"q-api-token" not in requests[0].lower()
    assert "password" not in str(raised)


def test_a_request_that_is_not_encrypted_goes_to_the_proxy_whole() -> None:
    status, requests = through_proxy("http://lab.example:8080", refused=False)

    assert status == 200
    assert requests[0].startswith(b"POST http://lab.example:8080/jobs HTTP/1.1\r\n")
