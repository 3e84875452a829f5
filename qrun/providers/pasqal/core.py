"""Asking the core of Pasqal Cloud: with a token that is good, and with answers taken out of their envelope."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from qrun.connection import Access, Connection
from qrun.errors import Denied, ProviderError, Rejected, Unavailable, Unexpected
from qrun.http import ABSENT, Call, Http, Reply
from qrun.providers.pasqal import envelope, wire
from qrun.providers.pasqal.places import Place, Route, path
from qrun.providers.pasqal.tokens import Tokens

SIZE: Final = 100  # objects on a page; the service takes no more
AHEAD: Final = 8  # pages that are asked for at the same time, in the end
AGAIN: Final = 2  # times that an answer which cannot be read is asked for again
NAMED: Final = 25  # ids in one address

Document = Mapping[str, Any]
Query = Iterable[tuple[str, str]]


class Core:
    """`ovh`: this connection goes by way of OVH, where some routes are others and most are missing."""

    def __init__(self, connection: Connection, access: Access, place: Place, transport: Any = None) -> None:
        self.name = connection.name
        self.clock = access.clock
        self.ovh = connection.settings.get("variant") == "ovh"
        self.tokens = Tokens(connection, access, place, transport)
        self.http = Http(
            name=connection.name,
            url=place.core,
            access=access,
            headers=self.tokens.headers,
            words=envelope.words,
            settings=connection.settings,
            secrets=self.tokens.secrets,
            limited=True,  # 429 comes before any work
            transport=transport,
        )

    # --- one request --------------------------------------------------------------------------------------------------

    async def read(self, route: Route, *names: str, query: Query = (), anonymous: bool = False) -> Document:
        """The whole envelope."""
        return (await self._read(route, *names, query=query, anonymous=anonymous))[1]

    async def _read(
        self, route: Route, *names: str, query: Query = (), anonymous: bool = False
    ) -> tuple[Reply, Document]:
        """A page that somebody else put in its place, with 200 for a status, is soon gone."""
        address = path(route, names, ovh=self.ovh) + tail(query)
        for left in reversed(range(AGAIN + 1)):
            try:
                reply = await self._ask(Call.READ, "GET", address, anonymous=anonymous)
                return reply, envelope.opened(reply)
            except Unexpected as error:
                if not left or error.status is None or not 200 <= error.status < 300:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def one(self, route: Route, *names: str) -> Document:
        """An object."""
        found: Document = envelope.held(await self.read(route, *names), dict, of=f'"{"/".join(names)}"')
        return found

    async def change(self, method: str, route: Route, *names: str, query: Query = (), json: Any = ABSENT) -> Document:
        """What may be repeated, its effect being the same: to cancel, to close, to tag. The data of the answer."""
        address = path(route, names, ovh=self.ovh) + tail(query)
        reply = await self._ask(Call.CANCEL, method, address, json=json)
        found: Document = envelope.held(envelope.opened(reply), dict, of="the answer")
        return found

    async def send(self, route: Route, *names: str, query: Query = (), json: Any = ABSENT) -> Reply:
        """What may cost money: once."""
        address = path(route, names, ovh=self.ovh) + tail(query)
        return await self._ask(Call.SUBMIT, "POST", address, json=json)

    async def _ask(
        self, call: Call, method: str, address: str, *, json: Any = ABSENT, anonymous: bool = False
    ) -> Reply:
        if anonymous:
            return await self.http.ask(call, method, address, json=json)
        token = await self._token(call)
        try:
            return await self.http.ask(call, method, address, json=json)
        except Denied as error:
            if error.status != 401:
                raise
            await self._renew(call, token, error)
        return await self.http.ask(call, method, address, json=json)

    async def _token(self, call: Call) -> str:
        try:
            return await self.tokens.ready()
        except ProviderError as error:
            raise self._unsent(call, error) from error

    async def _renew(self, call: Call, token: str, refused: Denied) -> None:
        try:
            await self.tokens.renew(token, refused)
        except ProviderError as error:
            raise self._unsent(call, error) from error

    def _unsent(self, call: Call, error: ProviderError) -> ProviderError:
        """Without a token nothing was done, whatever it was that kept us from it."""
        if call is not Call.SUBMIT or isinstance(error, (Unavailable, Denied, Rejected)):
            return error
        return Unavailable(f"no token was to be had, nothing was sent: {error}", words=error.words)

    # --- lists --------------------------------------------------------------------------------------------------------

    async def pages(self, route: Route, query: Query = ()) -> AsyncGenerator[Sequence[Document], None]:
        """Each page's objects that no page before it had, to the end of the list; raises Unexpected for a list that
        does not advance, since nothing is proven by a part of one.
        """
        asked = list(query)
        known: set[str] = set()
        offsets, ahead = [0], 1
        while offsets:
            listed = await asyncio.gather(*(self._page(route, asked, offset) for offset in offsets))
            for page in listed:
                fresh = [each for each in page.documents if wire.identity(each) not in known]
                known.update(map(wire.identity, fresh))
                if page.documents and not fresh and page.total is not None:
                    raise Unexpected(f'"{self.name}": the list at {route} does not advance', hint="run again later")
                if fresh:
                    yield fresh
            ahead = min(AHEAD, ahead * 2)
            offsets = following(listed, most=ahead) if fresh else []

    async def _page(self, route: Route, query: Sequence[tuple[str, str]], offset: int) -> envelope.Page:
        reply, told = await self._read(route, query=[*query, ("limit", str(SIZE)), ("offset", str(offset))])
        return envelope.page(told, offset=offset, spans=reply.headers.get("content-range"))

    async def all(self, route: Route, query: Query = ()) -> list[Document]:
        return [each async for page in self.pages(route, query) for each in page]

    async def aclose(self) -> None:
        await self.http.aclose()
        await self.tokens.aclose()


def following(pages: Sequence[envelope.Page], *, most: int) -> list[int]:
    """Where the next pages begin; none after the last. As far as one page reaches, the next ones will too."""
    first, last = pages[0], pages[-1]
    if last.end is None or not last.documents:
        return []
    step = (first.end or last.end) - first.begin
    return list(range(last.end, max(last.total or 0, last.end + 1), max(step, 1))[:most])


def tail(query: Query) -> str:
    """The end of an address: a name may stand in it several times."""
    pairs = [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query]
    return f"?{'&'.join(pairs)}" if pairs else ""


def named(name: str, values: Sequence[str]) -> list[list[tuple[str, str]]]:
    """The same filter with many values, in parts that an address can hold; nothing for nothing."""
    return [[(name, value) for value in values[at : at + NAMED]] for at in range(0, len(values), NAMED)]
