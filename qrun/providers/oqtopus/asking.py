"""Questions whose answer has a form of its own: JSON, or an archive. What changes nothing may be asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qrun.archive import entry
from qrun.errors import Unexpected
from qrun.http import Call, Http

AGAIN: Final = 2  # times that an answer which cannot be read is asked for again


async def read(http: Http, path: str, query: Mapping[str, str] | None = None, *, method: str = "GET") -> Any:
    """A page that somebody else put in the answer's place, with 200 for a status, is gone the next time as a rule."""
    for _ in range(AGAIN):
        reply = await http.ask(Call.READ, method, path, query=query)
        try:
            return reply.json()
        except Unexpected:
            continue
    return (await http.ask(Call.READ, method, path, query=query)).json()


async def unpacked(http: Http, link: str) -> bytes:
    """The one entry of the archive that a link leads to; the same may happen to that."""
    for _ in range(AGAIN):
        data = await http.download(link)
        try:
            return entry(data)
        except Unexpected:
            continue
    return entry(await http.download(link))
