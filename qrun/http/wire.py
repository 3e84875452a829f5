"""One request, one answer, over httpx: the only importer of httpx.

Each connection to a server is an httpx transport of its own, and the idle ones stand in a list here. Measured
(`python -m benchmarks.transports`): one AsyncClient slows down with the square of its connections; this does not. httpx
over aiohttp is faster still, and was not taken: it reports a connection that broke after the request was written as
httpx.ConnectTimeout, which reads as proof that nothing was sent. A transport keeps no cookies, follows nothing, repeats
nothing, and reads no environment.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from qrun.failpoint import failpoint
from qrun.http.hosts import Address, Target
from qrun.http.policy import CONNECT, KEEP, LONGEST, PACE, Happened

UNSENT: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,  # the proxy refused the tunnel, so nothing went through it
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
FOREIGN: Final = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict, OSError)


class Failed(Exception):
    """No answer, or none that can be read; `words` are the library's."""

    def __init__(self, what: Happened, words: str) -> None:
        super().__init__(words)
        self.what = what
        self.words = words


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A request. `address` is where its host was found to be, when that was checked: no second look-up decides."""

    method: str
    target: Target
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    form: tuple[Mapping[str, str], tuple[str, bytes, str]] | None = field(default=None, repr=False)
    address: Address | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """`size` in bytes, also when unpacked; the times in seconds. `lengthens`: see policy.Limits."""

    size: int
    seconds: float
    read: float
    lengthens: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)


class Wire:
    """The connections of one `Http`; at most `idle` of them are kept open while nothing is asked."""

    def __init__(
        self, *, idle: int, proxy: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._proxy = proxy
        self._given = transport
        self._most = idle
        self._idle: dict[object, list[httpx.AsyncBaseTransport]] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def exchange(self, outgoing: Outgoing, bounds: Bounds) -> Answer:
        """Raises Failed; nothing of httpx leaves here, not even as a cause: its errors hold the request's headers."""
        key = (outgoing.target.origin, outgoing.address)
        transport = self._take(key, outgoing.target.scheme)
        whole = False
        try:
            async with asyncio.timeout(bounds.seconds) as allowance:
                answer = await _exchange(transport, outgoing, bounds, allowance)
            whole = True
            return answer
        except Failed as error:
            failed = error
        except FOREIGN as error:
            failed = failure(error)
        finally:
            await (self._put(key, transport) if whole else self._drop(transport))
        raise failed.with_traceback(None)

    async def open(self, target: Target) -> None:
        """Opens a connection and closes it again, without a request; raises Failed."""
        if self._given is not None:
            return
        host, port, scheme = target.host, target.port, target.scheme
        if self._proxy is not None:
            proxy = httpx.URL(self._proxy)
            host, port, scheme = proxy.host, proxy.port or 80, proxy.scheme
        try:
            async with asyncio.timeout(CONNECT):
                context = self._context(scheme) if scheme == "https" else None
                _, writer = await asyncio.open_connection(host, port, ssl=context)
        except (OSError, UnicodeError) as error:
            failed = Failed(Happened.UNSENT, _words(error))
        else:
            writer.transport.abort()
            return
        raise failed

    async def aclose(self) -> None:
        idle, self._idle = self._idle, {}
        for transports in idle.values():
            for transport in transports:
                await transport.aclose()

    def _take(self, key: object, scheme: str) -> httpx.AsyncBaseTransport:
        if self._given is not None:
            return self._given
        if idle := self._idle.get(key):
            return idle.pop()
        return httpx.AsyncHTTPTransport(
            verify=self._context(scheme),
            trust_env=False,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=KEEP),
            proxy=None if self._proxy is None else httpx.Proxy(self._proxy, ssl_context=self._proxy_context()),
        )

    async def _put(self, key: object, transport: httpx.AsyncBaseTransport) -> None:
        if transport is self._given:
            return
        self._idle.setdefault(key, []).append(transport)
        if sum(map(len, self._idle.values())) > self._most:
            oldest = next(iter(self._idle))
            spare = self._idle[oldest].pop(0)
            if not self._idle[oldest]:
                del self._idle[oldest]
            await spare.aclose()

    async def _drop(self, transport: httpx.AsyncBaseTransport) -> None:
        if transport is not self._given:
            await transport.aclose()

    def _proxy_context(self) -> ssl.SSLContext | None:
        return self._context("https") if self._proxy and self._proxy.lower().startswith("https:") else None

    def _context(self, scheme: str) -> ssl.SSLContext:
        """The system's trust store, read once; where nothing is encrypted, one that trusts nobody and costs nothing."""
        if scheme not in self._contexts:
            plain = scheme == "http"
            self._contexts[scheme] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else ssl.create_default_context()
        return self._contexts[scheme]


async def look_up(host: str, port: int) -> list[Address]:
    """The addresses of a name, the preferred one first; raises Failed."""
    try:
        async with asyncio.timeout(CONNECT):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if addresses := [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]:
            return list(dict.fromkeys(addresses))
        failed = Failed(Happened.UNSENT, "the name has no address")
    except (OSError, UnicodeError) as error:
        failed = Failed(Happened.UNSENT, _words(error))
    raise failed


def failure(error: Exception) -> Failed:
    """What a library's exception tells of the request. A raw OSError tells nothing about how far it came."""
    what = Happened.UNSENT if isinstance(error, UNSENT) else Happened.LOST
    return Failed(what, _words(error))


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, httpx.TimeoutException):
        return "timed out while connecting" if isinstance(error, UNSENT) else "no answer in time"
    return str(error) or type(error).__name__


async def _exchange(
    transport: httpx.AsyncBaseTransport, outgoing: Outgoing, bounds: Bounds, allowance: asyncio.Timeout
) -> Answer:
    failpoint("sending")
    response = await transport.handle_async_request(_request(outgoing, bounds))
    failpoint("answered")
    try:
        headers = dict(response.headers)  # names come in lower case
        content = await _content(response, headers, bounds, allowance)
        return Answer(status=response.status_code, headers=headers, content=content)
    finally:
        await response.aclose()


def _request(outgoing: Outgoing, bounds: Bounds) -> httpx.Request:
    target = outgoing.target
    extensions: dict[str, Any] = {
        "timeout": {"connect": CONNECT, "read": bounds.read, "write": bounds.read, "pool": CONNECT}
    }
    host = target.host
    if outgoing.address is not None:
        host = str(outgoing.address)
        extensions["sni_hostname"] = target.host
    url = Target(target.scheme, host, target.port, target.path).url
    headers = {"host": target.authority, **outgoing.headers}
    if outgoing.form is None:
        return httpx.Request(outgoing.method, url, headers=headers, content=outgoing.content, extensions=extensions)
    fields, file = outgoing.form
    return httpx.Request(
        outgoing.method, url, headers=headers, data=dict(fields), files={"file": file}, extensions=extensions
    )


async def _content(
    response: httpx.Response, headers: Mapping[str, str], bounds: Bounds, allowance: asyncio.Timeout
) -> bytes:
    """The body, read as far as `bounds` allow: what the server announces first, then what really comes."""
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > bounds.size:
        raise Failed(Happened.UNREADABLE, f"an answer of {announced[:20]} bytes; at most {bounds.size} are read")
    parts, size = [], 0
    started = allowance.when()
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for part in response.stream:
        parts.append(part)
        size += len(part)
        if size > bounds.size:
            raise Failed(Happened.UNREADABLE, f"an answer of more than {bounds.size} bytes")
        if bounds.lengthens and started is not None:
            allowance.reschedule(started + min(LONGEST, size / PACE))
    return _unpacked(b"".join(parts), headers.get("content-encoding", "identity").strip().lower(), bounds.size)


def _unpacked(content: bytes, encoding: str, limit: int) -> bytes:
    """Some storage hosts send what they keep packed, whatever was asked for."""
    if encoding in ("", "identity") or not content:
        return content
    if encoding not in ("gzip", "x-gzip"):
        raise Failed(Happened.UNREADABLE, f'an answer packed as "{encoding[:40]}"')
    unpacking = zlib.decompressobj(wbits=31)
    try:
        plain = unpacking.decompress(content, limit + 1)
    except zlib.error as error:
        raise Failed(Happened.UNREADABLE, f"an answer whose packing is damaged: {error}") from None
    if len(plain) > limit:
        raise Failed(Happened.UNREADABLE, f"an answer of more than {limit} bytes when unpacked")
    if not unpacking.eof:
        raise Failed(Happened.LOST, "the answer was cut short")
    return plain
