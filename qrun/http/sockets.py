"""Bytes to a server and back, over asyncio alone: the network as httpcore wants it.

httpcore's own goes over anyio, which costs as much as all else in a request (`python -m benchmarks.transports`).
What httpcore writes bit by bit leaves in one piece, once the answer is waited for.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections.abc import Iterable
from typing import Any, Final, cast

import httpcore

TOGETHER: Final = 64 * 1024  # bytes that are held back at most, and sent at a time
AHEAD: Final = 1024 * 1024  # bytes that may have come before anybody reads them
SECOND_ADDRESS: Final = 0.25  # seconds after which a name's next address is tried beside the first


class Network(httpcore.AsyncNetworkBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,  # noqa: ARG002 - never asked for here
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> Stream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                _, stream = await loop.create_connection(Stream, host, port, happy_eyeballs_delay=SECOND_ADDRESS)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
        return stream


class Stream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One connection. Whoever uses it does one thing at a time."""

    def __init__(self) -> None:
        self._came = bytearray()
        self._over = False
        self._error: Exception | None = None
        self._full = False  # more was written than the system takes at once
        self._held: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None

    # --- what asyncio tells -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._came += data
        if len(self._came) > AHEAD:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._over = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._over, self._error = True, error
        self._wake()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _change(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # --- what httpcore asks -------------------------------------------------------------------------------------------

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        self._transport.writelines(self._held)
        self._held.clear()
        try:
            async with asyncio.timeout(timeout):
                while not self._came and not self._over:
                    await self._change()
        except TimeoutError as error:
            raise httpcore.ReadTimeout from error
        if not self._came and self._error is not None:
            raise httpcore.ReadError(str(self._error)) from self._error
        data = bytes(self._came[:max_bytes])
        del self._came[:max_bytes]
        self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._held.append(buffer)
        if sum(map(len, self._held)) > TOGETHER:
            held = memoryview(b"".join(self._held))
            self._held.clear()
            for start in range(0, len(held), TOGETHER):
                await self._sent(held[start : start + TOGETHER], timeout)

    async def _sent(self, piece: memoryview, timeout: float | None) -> None:  # noqa: ASYNC109
        self._transport.write(piece)
        try:
            async with asyncio.timeout(timeout):
                while self._full and not self._over:
                    await self._change()
        except TimeoutError as error:
            raise httpcore.WriteTimeout from error
        if self._over:
            raise httpcore.WriteError("the server closed the connection") from self._error

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Stream:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                encrypted = await loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except TimeoutError as error:
            self._transport.abort()
            raise httpcore.ConnectTimeout from error
        except OSError as error:
            self._transport.abort()
            raise httpcore.ConnectError(str(error)) from error
        assert encrypted is not None
        self._transport = encrypted
        return self

    async def aclose(self) -> None:
        self._transport.abort()
        await asyncio.sleep(0)  # the socket is closed in the loop's next turn

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return bool(self._came) or self._over or _readable(self._transport.get_extra_info("socket"))
        return self._transport.get_extra_info(info)


def _readable(socket: Any) -> bool:
    """Whether something has come that the loop has not seen yet, such as the end."""
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))
