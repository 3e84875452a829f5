"""Looking at one job: its status, its document, and what lies behind the document's links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrun.errors import Missing
from qrun.http import Http, segment
from qrun.providers.oqtopus import wire
from qrun.providers.oqtopus.asking import read, unpacked
from qrun.providers.oqtopus.listing import FOUND, Document, pages
from qrun.record import Handle


async def status(http: Http, handle: Handle) -> str:
    """The service's word; also for jobs whose whole document it cannot show."""
    told = await read(http, f"/jobs/{segment(handle)}/status")
    word: str = wire.member(told, "status", of=f'job "{handle}"')
    return word


async def document(http: Http, handle: Handle) -> Document:
    """The whole document, with links made afresh. Only for a job that was submitted."""
    told: Document = await read(http, f"/jobs/{segment(handle)}")
    wire.member(told, "status", of=f'job "{handle}"')
    return told


async def known(http: Http, handle: Handle) -> Document:
    """All that can be shown of a job, also of one that was never submitted."""
    word = await status(http, handle)
    if word == "registered":
        return {"job_id": handle, "status": word}
    if word == "cancelled" and (never := await _never_submitted(http, handle)) is not None:
        return never
    return await document(http, handle)


async def _never_submitted(http: Http, handle: Handle) -> Document | None:
    """The document of a job that was cancelled before it was submitted: only a list shows it, and only in part."""
    async for listed in pages(http, FOUND, {"order": "DESC", "q": handle}):
        for each in listed:
            if each.get("job_id") == handle:
                return None if wire.submitted(each) else each
    return None


async def content(http: Http, handle: Handle, told: Document) -> Mapping[str, Any] | None:
    """`input.json` as it was sent; None where there is none, or none any more."""
    data = await output(http, handle, told, "input") if wire.submitted(told) else None
    if data is None:
        return None
    found = wire.parsed(data, of=f'what was sent as "{handle}"')
    return found if isinstance(found, Mapping) else None


async def output(http: Http, handle: Handle, told: Document, name: str) -> bytes | None:
    """What a link of the document leads to, unpacked; None where there is no such link, or nothing behind it.

    Links expire within the hour, so one that is refused is asked for anew, once.
    """
    link = linked(told, name)
    if link is None:
        return None
    try:
        return await unpacked(http, link)
    except Missing:
        link = linked(await document(http, handle), name)
    if link is None:
        return None
    try:
        return await unpacked(http, link)
    except Missing:
        return None


def linked(told: Document, name: str) -> str | None:
    """The document's link of this name; None where it has none."""
    links = told.get("job_info")
    link = links.get(name) if isinstance(links, Mapping) else None
    return link if isinstance(link, str) and link else None
