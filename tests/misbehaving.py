"""A server on this machine, on real sockets, that behaves as badly as it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

Behaviour: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter, "Seen"], Awaitable[None]]


@dataclass
class Seen:
    """What came in: connections, and whole requests as their bytes."""

    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    port: int = 0


async def request(reader: asyncio.StreamReader, seen: Seen) -> bytes:
    """One whole request; its head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    body = b""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            body = await reader.readexactly(int(line.partition(b":")[2]))
    seen.requests.append(head + body)
    seen.came.set()
    return head + body


def answer(content: bytes = b"{}", status: int = 200, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Word", f"content-length: {len(content)}", "content-type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def says(data: bytes) -> Behaviour:
    """Answers each request with these bytes and keeps the connection."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        while True:
            await request(reader, seen)
            writer.write(data)
            await writer.drain()

    return behave


def says_and_closes(data: bytes) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await request(reader, seen)
        writer.write(data)
        await writer.drain()

    return behave


async def speaks_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Seen) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def resets_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: Seen) -> None:
    writer.transport.abort()


async def resets_after_reading(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
    await request(reader, seen)
    writer.transport.abort()


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter, seen: Seen) -> None:
    await request(reader, seen)
    await seen.done.wait()


def drips(head: bytes) -> Behaviour:
    """One byte after the other, for ever."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await request(reader, seen)
        writer.write(head)
        while not seen.done.is_set():
            writer.write(b"x")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(seen.done.wait(), 0.01)

    return behave


def first(one: Behaviour, then: Behaviour, after: int = 1) -> Behaviour:
    """Behaves one way for so many connections, and another way from then on."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: Seen) -> None:
        await (one if seen.connections <= after else then)(reader, writer, seen)

    return behave


@asynccontextmanager
async def server(behaviour: Behaviour, context: ssl.SSLContext | None = None) -> AsyncIterator[Seen]:
    seen = Seen()

    at_work: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        at_work.add(task)
        seen.connections += 1
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await behaviour(reader, writer, seen)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()
            at_work.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    seen.port = listening.sockets[0].getsockname()[1]
    seen.url = f"{'https' if context else 'http'}://127.0.0.1:{seen.port}"
    try:
        yield seen
    finally:
        seen.done.set()
        listening.close()
        left = list(at_work)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
