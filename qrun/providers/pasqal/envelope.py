"""What every answer of Pasqal Cloud stands in: an envelope around an object, a page of a list, or an error.

Its `code` is a number on some routes and text on others, so only the HTTP status counts. There are no codes of errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qrun.errors import Unexpected
from qrun.http import Reply, Words, parse

Document = Mapping[str, Any]

UNDONE: Final = {401: "Unauthorized", 429: "Too Many Requests"}  # as HTTP calls them
DIGITS: Final = re.compile("[0-9]{1,15}")
SPAN: Final = re.compile(r"/\s*([0-9]{1,15})\s*$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """`end` is where the next page begins, None where there is none; `total` may change from page to page.

    Where nobody tells a total, it is None, and only an empty page, or one that brings nothing new, ends the list.
    """

    documents: Sequence[Document]
    begin: int = 0
    end: int | None = None
    total: int | None = None


def opened(reply: Reply) -> Document:
    """The envelope of a success."""
    told = reply.json()
    if not isinstance(told, Mapping) or "data" not in told:
        raise reply.malformed('the answer has no "data"')
    return told


def held(envelope: Document, shape: type[Any], *, of: str) -> Any:
    """The data, which must be of this shape; raises Unexpected."""
    data = envelope["data"]
    if not isinstance(data, shape):
        raise Unexpected(f"{of} is not as it should be", hint="the service may be newer than this qrun")
    return data


def page(envelope: Document, *, offset: int, spans: str | None = None) -> Page:
    """`spans` is the header Content-Range, which tells the total where the envelope does not."""
    documents = held(envelope, list, of="a list")
    if not all(isinstance(each, Mapping) for each in documents):
        raise Unexpected("a list holds something else than objects", hint="the service may be newer than this qrun")
    told = envelope.get("pagination")
    end, total = (_number(told.get(name)) if isinstance(told, Mapping) else None for name in ("end", "total"))
    if total is None and (found := SPAN.search(spans or "")):
        total = int(found[1])
    if end is None:
        end = offset + len(documents)
    last = not documents if total is None else end >= total
    return Page(documents=documents, begin=offset, end=None if last else end, total=total)


def _number(value: Any) -> int | None:
    """Some services write numbers as text."""
    return int(value) if isinstance(value, str) and DIGITS.fullmatch(value) else whole(value)


def words(reply: Reply) -> Words | None:
    """The service's own error; None for anything else, such as a page that a proxy made.

    Two numbers count by themselves, since nothing was carried out: too many requests, whoever says so, and a refused
    token, unless a page for people says it, which may have come from anywhere.
    """
    try:
        told = json.loads(reply.content or b"{}")
    except (ValueError, RecursionError):
        return Words(code=None, message=UNDONE[429]) if reply.status == 429 else None
    if not isinstance(told, dict) or told.get("status") not in ("fail", "error"):
        told = {"message": UNDONE.get(reply.status)}
    message = told.get("message")
    data = told.get("data")
    said = data.get("description") if isinstance(data, Mapping) else None
    text = "; ".join(map(_flaw, said)) if isinstance(said, list) else said
    text = text if isinstance(text, str) and text else message
    return Words(code=None, message=text) if isinstance(text, str) and text else None


def _flaw(told: Any) -> str:
    """One entry of a 422: where in the request, and what."""
    if not isinstance(told, Mapping):
        return str(told)
    place = told.get("loc")
    parts = [str(part) for part in place if part != "body"] if isinstance(place, list) else []
    if parts and DIGITS.fullmatch(parts[0]):
        parts.insert(0, "jobs")  # where the body is the list of jobs itself
    return f"{'.'.join(parts)}: {told.get('msg')}" if parts else str(told.get("msg"))


PLACE: Final = re.compile(r"(?:^|; )jobs\.([0-9]{1,5})(?=[.:])")


def accused(text: str | None) -> frozenset[int]:
    """Which of the jobs that were sent a refusal names, by their places; none where it speaks of something else."""
    if not text or not PLACE.match(text):
        return frozenset()
    return frozenset(int(number) for number in PLACE.findall(text))


def parsed(data: bytes, *, of: str) -> Any:
    """JSON by the same strict rules as an answer; raises Unexpected."""
    try:
        return parse(data)
    except (ValueError, RecursionError) as error:
        words = str(error)[:200]
    raise Unexpected(f"{of} is not usable JSON: {words}")


def whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
