"""One request, one answer: the only user of httpx and httpcore.

Each connection to a server is one of httpcore's, and the idle ones stand in a list here. Measured
(`python -m benchmarks.transports`): one AsyncClient of httpx slows down with the square of its connections, and a
transport of httpx for each connection costs twice as much. httpx over aiohttp is fast too, and was not taken: it
reports a connection that broke after the request was written as httpx.ConnectTimeout, which reads as proof that
nothing was sent. A connection keeps no cookies, follows nothing, repeats nothing, and reads no environment. httpx
itself writes the forms, and is the shape in which a test hands in a transport of its own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import zlib
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import httpcore
import httpx

from qrun.failpoint import failpoint
from qrun.http.hosts import PORT, Address, Target
from qrun.http.policy import CONNECT, KEEP, LONGEST, PACE, Happened
from qrun.http.sockets import Network

UNSENT: Final = (
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProxyError,  # the proxy refused the tunnel, so nothing went through it
    httpcore.UnsupportedProtocol,
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
FOREIGN: Final = (
    httpcore.ConnectionNotAvailable,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpx.CookieConflict,
    OSError,
)
ENCODED: Final = str.maketrans({sign: f"%{ord(sign):02X}" for sign in '"<>`{}'})  # no address holds these


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


class Given:
    """A transport of httpx in a connection's place."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        content = b"".join([part async for part in cast("AsyncIterable[bytes]", request.stream)])
        scheme, host, port, path = request.url.scheme, request.url.host, request.url.port, request.url.target
        asked = httpx.Request(
            request.method.decode(),
            Target(scheme.decode(), host.decode(), port or PORT[scheme.decode()], path.decode()).url,
            headers=request.headers,
            content=content,
            extensions=dict(request.extensions),
        )
        given = await self._transport.handle_async_request(asked)
        stream = cast("AsyncIterable[bytes]", given.stream)
        return httpcore.Response(given.status_code, headers=given.headers.raw, content=stream)

    async def aclose(self) -> None:
        """It is used again, and closed by whoever made it."""


Line: TypeAlias = "httpcore.AsyncConnectionInterface | Given"


class Wire:
    """The connections of one `Http`; at most `idle` of them are kept open while nothing is asked."""

    def __init__(
        self, *, idle: int, proxy: str | None = None, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._proxy = proxy
        self._given = None if transport is None else Given(transport)
        self._most = idle
        self._idle: dict[object, list[httpcore.AsyncConnectionInterface]] = {}
        self._makers: dict[str, httpcore.AsyncConnectionPool] = {}
        self._trusted: ssl.SSLContext | None = None

    async def exchange(self, outgoing: Outgoing, bounds: Bounds) -> Answer:
        """Raises Failed; nothing of httpx leaves here, not even as a cause: its errors hold the request's headers."""
        key = (outgoing.target.origin, outgoing.address)
        line: Line | None = None
        whole = False
        try:
            async with asyncio.timeout(bounds.seconds) as allowance:
                request = await _request(outgoing, bounds)
                line = await self._take(key, request.url.origin)
                answer = await _exchange(line, request, bounds, allowance)
            whole = True
            return answer
        except Failed as error:
            failed = error
        except FOREIGN as error:
            failed = failure(error)
        finally:
            if line is not None:
                await (self._put(key, line) if whole else line.aclose())
        raise failed.with_traceback(None)

    async def open(self, target: Target) -> None:
        """Opens a connection and closes it again, without a request; raises Failed."""
        if self._given is not None:
            return
        host, port, scheme = target.host, target.port, target.scheme
        if self._proxy is not None:
            proxy = urlsplit(self._proxy)
            host, port, scheme = proxy.hostname or "", proxy.port or PORT[proxy.scheme], proxy.scheme
        try:
            async with asyncio.timeout(CONNECT):
                context = self._context() if scheme == "https" else None
                _, writer = await asyncio.open_connection(host, port, ssl=context)
        except (OSError, UnicodeError) as error:
            failed = Failed(Happened.UNSENT, _words(error))
        else:
            writer.transport.abort()
            return
        raise failed

    async def aclose(self) -> None:
        idle, self._idle = self._idle, {}
        for lines in idle.values():
            for line in lines:
                await line.aclose()

    async def _take(self, key: object, origin: httpcore.Origin) -> Line:
        if self._given is not None:
            return self._given
        while idle := self._idle.get(key):
            line = idle.pop()
            if line.is_idle() and not line.has_expired():
                return line
            await line.aclose()
        return self._maker(origin.scheme.decode()).create_connection(origin)

    async def _put(self, key: object, line: Line) -> None:
        if isinstance(line, Given):
            return
        self._idle.setdefault(key, []).append(line)
        if sum(map(len, self._idle.values())) > self._most:
            oldest = next(iter(self._idle))
            spare = self._idle[oldest].pop(0)
            if not self._idle[oldest]:
                del self._idle[oldest]
            await spare.aclose()

    def _maker(self, scheme: str) -> httpcore.AsyncConnectionPool:
        """Opens connections, itself or through the proxy; none of them stays with it."""
        if scheme not in self._makers:
            self._makers[scheme] = httpcore.AsyncConnectionPool(
                ssl_context=self._context() if scheme == "https" else None,
                proxy=None if self._proxy is None else self._way(self._proxy),
                keepalive_expiry=KEEP,
                network_backend=Network(),
            )
        return self._makers[scheme]

    def _way(self, proxy: str) -> httpcore.Proxy:
        parts = urlsplit(proxy)
        user, password = (unquote(text or "").encode() for text in (parts.username, parts.password))
        return httpcore.Proxy(
            httpcore.URL(scheme=parts.scheme, host=parts.hostname or "", port=parts.port, target="/"),
            auth=(user, password) if user or password else None,
            ssl_context=self._context() if parts.scheme == "https" else None,
        )

    def _context(self) -> ssl.SSLContext:
        """The system's trust store, read once."""
        if self._trusted is None:
            self._trusted = ssl.create_default_context()
        return self._trusted


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
    if isinstance(error, (TimeoutError, httpcore.TimeoutException, httpx.TimeoutException)):
        return "timed out while connecting" if isinstance(error, UNSENT) else "no answer in time"
    return str(error) or type(error).__name__


async def _exchange(line: Line, request: httpcore.Request, bounds: Bounds, allowance: asyncio.Timeout) -> Answer:
    failpoint("sending")
    response = await line.handle_async_request(request)
    failpoint("answered")
    try:
        headers = _headers(response.headers)
        content = await _content(cast("AsyncIterable[bytes]", response.stream), headers, bounds, allowance)
        return Answer(status=response.status, headers=headers, content=content)
    finally:
        await response.aclose()


async def _request(outgoing: Outgoing, bounds: Bounds) -> httpcore.Request:
    target = outgoing.target
    times = {"connect": CONNECT, "read": bounds.read, "write": bounds.read, "pool": CONNECT}
    extensions: dict[str, Any] = {"timeout": times}
    host = target.host
    if outgoing.address is not None:
        host = str(outgoing.address)
        extensions["sni_hostname"] = target.host
    content, kind = (outgoing.content, {}) if outgoing.form is None else await _multipart(*outgoing.form)
    headers = {"host": target.authority, **outgoing.headers, **kind}
    if content is not None or outgoing.method in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(content or b""))
    path = target.path if target.path.startswith("/") else f"/{target.path}"
    return httpcore.Request(
        outgoing.method,
        httpcore.URL(scheme=target.scheme, host=host, port=target.port, target=path.translate(ENCODED)),
        headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        content=content or b"",
        extensions=extensions,
    )


async def _multipart(fields: Mapping[str, str], file: tuple[str, bytes, str]) -> tuple[bytes, Mapping[str, str]]:
    """A form as browsers send it, and the header that tells where its parts end."""
    form = httpx.Request("POST", "http://form", data=dict(fields), files={"file": file})
    return await form.aread(), {"content-type": form.headers["content-type"]}


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """By their names in lower case; what comes twice is one list, as HTTP reads it."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def _content(
    stream: AsyncIterable[bytes], headers: Mapping[str, str], bounds: Bounds, allowance: asyncio.Timeout
) -> bytes:
    """The body, read as far as `bounds` allow: what the server announces first, then what really comes."""
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > bounds.size:
        raise Failed(Happened.UNREADABLE, f"an answer of {announced[:20]} bytes; at most {bounds.size} are read")
    parts, size = [], 0
    started = allowance.when()
    async for part in stream:
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
