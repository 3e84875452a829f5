"""Reading the list of an account's jobs, page by page.

The server has no cursor and no total: pages are numbered, and a page past the end is empty or, by the service's own
words, the last one again. `job_type` and `shots` are asked for only where they are needed, and only once
it is seen that they can be shown: one registered job that was cancelled makes a whole page that holds them fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from qrun.clock import instant
from qrun.errors import Unexpected
from qrun.http import Http
from qrun.provider import Filters, Found
from qrun.providers.oqtopus.asking import read
from qrun.providers.oqtopus.wire import WORDS, submitted

SIZE: Final = 100  # jobs on a page; the server takes no more
SEARCH: Final = 1024  # characters of a text to search for
AHEAD: Final = 8  # pages that are asked for at the same time
FOUND: Final = "job_id,name,description,status,submitted_at,device_id"
SHOWN: Final = f"{FOUND},job_type,shots"
WATCHED: Final = "job_id,status,device_id,submitted_at,ready_at,running_at,ended_at,execution_time"

Document = Mapping[str, Any]


async def pages(
    http: Http,
    fields: str,
    query: Mapping[str, str],
    expected: Callable[[], int] | None = None,
) -> AsyncGenerator[Sequence[Document], None]:
    """Each page's jobs that no page before it had, to the end of the list.

    `expected` tells how many pages are still wanted; without it more and more are read ahead.
    """
    known: set[Any] = set()
    number, ahead = 1, 1
    while True:
        wanted = ahead if expected is None else min(AHEAD, max(1, expected()))
        numbers = range(number, number + (1 if number == 1 else wanted))
        for documents in await asyncio.gather(*(page(http, fields, query, each) for each in numbers)):
            fresh = [each for each in documents if each.get("job_id") not in known]
            known.update(each.get("job_id") for each in fresh)
            if fresh:
                yield fresh
            if not fresh or len(documents) < SIZE:
                return
        number, ahead = numbers.stop, min(AHEAD, ahead * 2)


def narrowed(filters: Filters) -> dict[str, str]:
    """What the service can leave out by itself; times leave out what was never submitted."""
    told = {"order": "DESC"}
    if filters.text:
        told["q"] = filters.text[:SEARCH]
    if len(filters.words) == 1 and filters.words[0] in WORDS:
        told["status"] = filters.words[0]
    for name, bound in (("start_time", filters.since), ("end_time", filters.until)):
        if bound is not None:
            told[name] = datetime.fromtimestamp(instant(bound), UTC).isoformat()
    return told


def meant(found: Found, filters: Filters) -> bool:
    """Every filter, exactly: the service takes `%` and `_` in a text for wildcards, and knows no device or kind."""
    created = None if found.created is None else instant(found.created)
    return (
        (not filters.words or found.word in filters.words)
        and filters.device in (None, found.device)
        and filters.kind in (None, found.kind)
        and not filters.tags
        and any((filters.text or "") in part for part in (found.handle, found.name, found.description))
        and (filters.since is None or (created is not None and created >= instant(filters.since)))
        and (filters.until is None or (created is not None and created <= instant(filters.until)))
    )


async def page(http: Http, fields: str, query: Mapping[str, str], number: int) -> Sequence[Document]:
    """One page; where all is wanted, it is first seen whether all can be shown, else it is done without."""
    if fields == SHOWN:
        documents = await page(http, FOUND, query, number)
        if not documents or any(each.get("status") == "cancelled" and not submitted(each) for each in documents):
            return documents
    asked = {"fields": fields, "size": str(SIZE), "page": str(number), **query}
    told = await read(http, "/jobs", asked)
    if not isinstance(told, list) or not all(isinstance(each, dict) for each in told):
        raise Unexpected("the list of jobs is not a list", hint="the service may be newer than this qrun")
    return told
