"""`python -m benchmarks.transports`: ways to send many small requests at once, and what qrun's own adds to the best.

A minimal server answers from another process; every way takes its turn in every round, and the median counts. Ways
whose packages are not installed are left out (`pip install httpx-aiohttp` for two of them). Seen with Python 3.11 on
two cores, requests a second with 8, 32 and 200 at once:

    one AsyncClient                      1 500    400    210
    an AsyncClient for each connection   1 900  2 100  1 900
    a transport for each connection      2 300  2 700  2 500
    httpx over aiohttp                   4 900  5 500  5 400
    bare aiohttp                         9 200  9 700 10 500
    qrun.http                            2 000  2 200  2 100

Without the package sniffio, httpcore looks for it anew four times a request: qrun.http 1 450.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.measure import Figure
from qrun.connection import Access
from qrun.http import Call, Http

REQUESTS: Final = 2_000
ROUNDS: Final = 3
HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "x", "q-api-token": "a.b"}
TIMES: Final = {"timeout": {"connect": 10, "read": 30, "write": 30, "pool": 10}}

SERVER: Final = r"""
import asyncio
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{"status":"running"}'
class Server(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.read = transport, b""
    def data_received(self, data):
        *whole, self.read = (self.read + data).split(b"\r\n\r\n")
        self.transport.write(ANSWER * len(whole))
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

Ask = Callable[[], Awaitable[object]]
Way = Callable[[int, int], Any]  # port, requests at once → an asynchronous context that gives an Ask


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/jobs/1/status"


@asynccontextmanager
async def one_client(port: int, together: int) -> AsyncIterator[Ask]:
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=together), trust_env=False) as client:

        async def ask() -> object:
            return (await client.get(url(port), headers=HEADERS)).json()

        yield ask


@asynccontextmanager
async def many_clients(port: int, together: int) -> AsyncIterator[Ask]:
    context, limits = ssl.create_default_context(), httpx.Limits(max_connections=1)
    free = [httpx.AsyncClient(limits=limits, trust_env=False, verify=context) for _ in range(together)]

    async def ask() -> object:
        client = free.pop()
        try:
            return (await client.get(url(port), headers=HEADERS)).json()
        finally:
            free.append(client)

    yield ask
    for client in free:
        await client.aclose()


async def bare(transport: httpx.AsyncBaseTransport, port: int) -> object:
    response = await transport.handle_async_request(
        httpx.Request("GET", url(port), headers=HEADERS, extensions=dict(TIMES))
    )
    assert isinstance(response.stream, httpx.AsyncByteStream)
    content = b"".join([part async for part in response.stream])
    await response.aclose()
    return json.loads(content)


@asynccontextmanager
async def many_transports(port: int, together: int) -> AsyncIterator[Ask]:
    context, limits = ssl.create_default_context(), httpx.Limits(max_connections=1)
    free = [httpx.AsyncHTTPTransport(limits=limits, trust_env=False, verify=context) for _ in range(together)]

    async def ask() -> object:
        transport = free.pop()
        try:
            return await bare(transport, port)
        finally:
            free.append(transport)

    yield ask
    for transport in free:
        await transport.aclose()


@asynccontextmanager
async def over_aiohttp(port: int, together: int) -> AsyncIterator[Ask]:
    module = importlib.import_module("httpx_aiohttp")
    transport = module.AiohttpTransport(limits=httpx.Limits(max_connections=together), trust_env=False)
    yield lambda: bare(transport, port)
    await transport.aclose()


@asynccontextmanager
async def aiohttp_alone(port: int, together: int) -> AsyncIterator[Ask]:
    module = importlib.import_module("aiohttp")
    connector = module.TCPConnector(limit=together)
    async with module.ClientSession(connector=connector, cookie_jar=module.DummyCookieJar()) as session:

        async def ask() -> object:
            async with session.get(url(port), headers=HEADERS) as response:
                return json.loads(await response.read())

        yield ask


@asynccontextmanager
async def ours(port: int, together: int) -> AsyncIterator[Ask]:
    http = Http(
        name="bench",
        url=f"http://127.0.0.1:{port}",
        access=Access(),
        headers=lambda: {"q-api-token": "a.b"},
        words=lambda _: None,
        settings={"max_in_flight": together},
    )

    async def ask() -> object:
        return (await http.ask(Call.READ, "GET", "/jobs/1/status")).json()

    yield ask
    await http.aclose()


WAYS: Final[dict[str, Way]] = {
    "one AsyncClient": one_client,
    "an AsyncClient for each connection": many_clients,
    "a transport for each connection": many_transports,
    "httpx over aiohttp": over_aiohttp,
    "bare aiohttp": aiohttp_alone,
    "qrun.http": ours,
}
NEEDS: Final = {"httpx over aiohttp": "httpx_aiohttp", "bare aiohttp": "aiohttp"}


async def timed(way: Way, port: int, together: int) -> tuple[float, float]:
    """Milliseconds a request, by the clock and by this process's processor time."""
    async with way(port, together) as ask:
        left = REQUESTS

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await ask()

        await asyncio.gather(*(ask() for _ in range(together)))
        wall, busy = time.perf_counter(), time.process_time()
        await asyncio.gather(*(worker() for _ in range(together)))
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        return wall / REQUESTS * 1000, busy / REQUESTS * 1000


def measured(port: int, together: int) -> dict[str, tuple[float, float]]:
    """The medians of every way that is installed, each having had its turn in every round."""
    ways = {name: way for name, way in WAYS.items() if importlib.util.find_spec(NEEDS.get(name, "httpx"))}
    runs = [{name: asyncio.run(timed(way, port, together)) for name, way in ways.items()} for _ in range(ROUNDS)]
    return {
        name: (statistics.median(run[name][0] for run in runs), statistics.median(run[name][1] for run in runs))
        for name in ways
    }


def transports(_folder: Path) -> Iterator[Figure]:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            for together in (8, 32, 200):
                yield from figures(together, measured(port, together))
        finally:
            server.kill()


def figures(together: int, times: dict[str, tuple[float, float]]) -> Iterator[Figure]:
    for name, (wall, busy) in times.items():
        print(f"  {together:4} at once, {name:36}{1000 / wall:7.0f} requests/s {busy:7.3f} ms of processor each")
    wall, busy = times["qrun.http"]  # processor time: others on this machine do not lengthen it
    detail = f"{1000 / wall:.0f} a second here and now"
    yield Figure(name=f"a request of {together} at once", value=busy, limit=1.0, unit="ms of processor", detail=detail)
    bare_busy = times["a transport for each connection"][1]
    yield Figure(
        name="the same against the transport alone",
        value=busy / bare_busy,
        limit=1.5,
        unit="x",
        detail=f"one AsyncClient {times['one AsyncClient'][1] / bare_busy:.1f} x",
    )


if __name__ == "__main__":
    for figure in transports(Path()):
        sign = "ok  " if figure.met else "OVER"
        print(f"{sign} {figure.name:40}{figure.value:10.2f} {figure.unit} (limit {figure.limit:g}; {figure.detail})")
