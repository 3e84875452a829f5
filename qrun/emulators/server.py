"""The sockets of an HTTP stand-in: uvicorn reads requests, the cloud answers, and faults spoil what is sent.

A handler is a plain function of a whole request, so what goes wrong on the wire is decided here and nowhere else: an
answer can be lost before or after the work was done, cut, slowed down or replaced. uvicorn's protocol is extended by
one line, so that a connection can be reset or cut, which ASGI has no word for.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, Final, Protocol

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from qrun.emulators import Options
from qrun.emulators.accounts import Account, Accounts, Log
from qrun.emulators.control import PREFIX, Control
from qrun.emulators.faults import OF_THE_WORK, Fault, Faults, Kind, When, read
from qrun.emulators.storage import error
from qrun.emulators.wire import HTML, Answer, Call, said

LARGEST: Final = 64 * 2**20  # bytes of a request
PAGE: Final = b"<html><head><title>%d</title></head><body><h1>Bad gateway</h1></body></html>"
RESET: Final = struct.pack("ii", 1, 0)  # linger no second: close sends RST
CUT: Final = frozenset({Kind.RESET, Kind.CLOSE, Kind.HANG})

Scope = Any  # ASGI's own, of which mypy knows three shapes
Receive = Callable[[], Any]
Send = Callable[[Any], Any]


class Cloud(Protocol):
    """What a stand-in is, without sockets. The storage host's requests have `host` 1."""

    accounts: Accounts

    @property
    def name(self) -> str: ...
    def owner(self, call: Call) -> Account | None: ...
    def route(self, call: Call) -> str: ...
    def answer(self, call: Call, account: Account | None, now: float) -> Answer: ...
    def add_account(self, **given: Any) -> Account: ...
    def close_account(self, name: str) -> None: ...
    def truth(self, account: str | None = None) -> dict[str, Any]: ...
    def brief(self, account: str | None = None) -> dict[str, Any]: ...
    async def aclose(self) -> None: ...


class Line(HttpToolsProtocol):
    """A connection whose transport can be seen by whoever answers."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {"line": {"transport": self.transport}}


class Quiet(uvicorn.Server):
    """Signals are the stage's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    up: asyncio.Event


class Server:
    """One stand-in: an API on one port, its storage on another."""

    def __init__(self, options: Options, build: Callable[[Options, str], Cloud]) -> None:
        self.options = options
        self.sockets = [listener(options.host, options.port), listener(options.host, 0)]
        self.urls = [url(each) for each in self.sockets]
        self.storage_port = self.sockets[1].getsockname()[1]
        self.cloud = build(options, self.urls[1])
        self.faults = Faults(dice=random.Random(options.seed))  # noqa: S311 - mishaps, not secrets
        self.faults.add(read(text) for text in options.faults)
        self.log = Log()
        self.control = Control(self.cloud, self.faults, self.log) if options.control else None
        self.ending = asyncio.Event()

    async def start(self) -> dict[str, Any]:
        """What to tell whoever asked for it: where it is, and with which token."""
        config = uvicorn.Config(
            self.app,
            http=Line,
            ws="none",
            interface="asgi3",
            proxy_headers=False,
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
            backlog=2048,
        )
        self.server = Quiet(config)
        self.server.up = asyncio.Event()
        self.serving = asyncio.create_task(self.server.serve(sockets=self.sockets))
        await self.server.up.wait()
        account = next(iter(self.cloud.accounts))
        found: dict[str, Any] = {"emulator": self.cloud.name, "url": self.urls[0], "storage": self.urls[1]}
        found["token"] = account.token
        found["control"] = None if self.control is None else self.control.token
        return found

    async def aclose(self) -> None:
        self.ending.set()
        self.server.should_exit = True
        await self.serving
        await self.cloud.aclose()

    # --- one request ----------------------------------------------------------------------------------------------

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = await _whole(scope, receive, int(scope["server"][1] == self.storage_port))
        if call is None:
            return
        if self.control is not None and call.host == 0 and call.path.startswith(PREFIX):
            await _send(send, self.control.answer(call))
            return
        exchange = Exchange(self, call, scope["extensions"]["line"]["transport"], receive, send)
        await exchange.run()

    async def pause(self, seconds: float) -> None:
        """Sleeps, but not beyond the end of the server."""
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.ending.wait(), seconds)


class Exchange:
    """A request from its last byte to the last byte of its answer, or to the end of its connection."""

    def __init__(self, server: Server, call: Call, transport: asyncio.Transport, receive: Receive, send: Send) -> None:
        self.server = server
        self.call = call
        self.transport = transport
        self.receive = receive
        self.send = send
        self.account = server.cloud.owner(call)
        self.who = "" if self.account is None else self.account.name
        self.route = server.cloud.route(call)

    async def run(self) -> None:
        server, call = self.server, self.call
        server.log.asked[self.who, self.route] += 1
        struck = server.faults.strike(call.method, call.path, self.who or None)
        if struck:
            call = self.call = replace(call, faults=[fault for fault in struck if fault.kind in OF_THE_WORK])
        if server.options.latency or struck:
            late = sum(fault.seconds for fault in struck if fault.kind is Kind.LATENCY)
            await server.pause(server.options.latency + late)
        spoilt = next((fault for fault in struck if fault.kind not in OF_THE_WORK | {Kind.LATENCY}), None)
        if spoilt is None:
            await self._finish(self._done())
        else:
            await self._spoil(spoilt)

    def _done(self) -> Answer:
        self.server.log.done[self.who, self.route] += 1
        return self.server.cloud.answer(self.call, self.account, time.monotonic())

    async def _spoil(self, fault: Fault) -> None:
        answer = None if fault.when is When.BEFORE else self._done()
        if fault.kind is Kind.REPLAY:
            answer = self._done()
        if fault.kind in CUT:
            await self._cut(fault)
        elif fault.kind is Kind.TRUNCATED:
            assert answer is not None
            await self._truncate(answer)
        elif fault.kind is Kind.DRIP:
            assert answer is not None
            await self._drip(answer, fault.seconds)
        else:
            await self._finish(_other(fault, self.call, answer))

    async def _finish(self, answer: Answer) -> None:
        self._note(answer.status)
        await _send(self.send, answer)

    def _note(self, status: int) -> None:
        self.server.log.last.append((time.time(), self.who, self.route, status))

    # --- answers that do not arrive -------------------------------------------------------------------------------

    async def _cut(self, fault: Fault) -> None:
        if fault.kind is Kind.HANG:
            await _first(self._gone(), self.server.pause(fault.seconds))
        self._note(0)
        if fault.kind is Kind.RESET:
            _linger_not(self.transport)
            self.transport.abort()
        else:
            self.transport.close()
        await self._gone()

    async def _truncate(self, answer: Answer) -> None:
        self._note(0)
        await self.send(_start(answer))
        await self.send(_body(answer.body[: len(answer.body) // 2], more=True))
        self.transport.close()
        await self._gone()

    async def _drip(self, answer: Answer, seconds: float) -> None:
        await self.send(_start(answer))
        for place in range(len(answer.body)):
            await self.server.pause(seconds)
            if self.transport.is_closing():
                break
            await self.send(_body(answer.body[place : place + 1], more=True))
        self._note(answer.status)
        await self.send(_body(b"", more=False))

    async def _gone(self) -> None:
        """Returns once the connection is no more, so that uvicorn does not answer in our place."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _other(fault: Fault, call: Call, answer: Answer | None) -> Answer:
    match fault.kind:
        case Kind.STATUS:
            return _refusal(fault, call)
        case Kind.HTML:
            return Answer(status=200, type=HTML, body=PAGE % 200)
        case Kind.WRONG:
            return _wrong(fault, call)
        case _:
            assert answer is not None
            return answer


def _refusal(fault: Fault, call: Call) -> Answer:
    words = fault.message or "a fault that was asked for"
    if fault.body == "html":
        answer = Answer(status=fault.status, type=HTML, body=PAGE % fault.status)
    elif fault.body == "empty":
        answer = Answer(status=fault.status)
    elif call.host == 1:
        answer = error(fault.status, "NoSuchKey" if fault.status == 404 else "EmulatorFault", words)
    else:
        answer = said({"message": words}, fault.status)
    if fault.retry_after is None:
        return answer
    return replace(answer, headers=((b"retry-after", fault.retry_after.encode("latin-1", "replace")),))


def _wrong(fault: Fault, call: Call) -> Answer:
    """A good answer of a shape that nobody expects."""
    if call.host == 1:
        return Answer(status=200, type=b"application/zip", body=fault.message.encode() or b"this is no archive")
    return Answer(status=200, body=fault.message.encode()) if fault.message else said({"unexpected": True})


async def _first(*ways: Coroutine[Any, Any, None]) -> None:
    """Returns with whichever ends first; the others are broken off."""
    tasks = [asyncio.create_task(way) for way in ways]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- ASGI -------------------------------------------------------------------------------------------------------------


async def _whole(scope: Scope, receive: Receive, host: int) -> Call | None:
    """The request with its body; None where the client went away or sends too much."""
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        more = message["more_body"]
        pieces.append(message["body"])
        size += len(message["body"])
        if size > LARGEST:
            scope["extensions"]["line"]["transport"].abort()
            return None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Call(
        host=host,
        method=scope["method"],
        path=scope["path"],
        headers=headers,
        raw_query=scope["query_string"],
        body=b"".join(pieces),
    )


async def _send(send: Send, answer: Answer) -> None:
    await send(_start(answer))
    await send(_body(answer.body, more=False))


def _start(answer: Answer) -> dict[str, Any]:
    headers: list[tuple[bytes, bytes]] = list(answer.headers)
    if answer.status != 204:
        headers += [(b"content-type", answer.type), (b"content-length", b"%d" % len(answer.body))]
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


def _body(piece: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.response.body", "body": piece, "more_body": more}


# --- sockets ----------------------------------------------------------------------------------------------------------


def listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio leaves Nagle on
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError:
        found.close()
        raise
    return found


def url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _linger_not(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
