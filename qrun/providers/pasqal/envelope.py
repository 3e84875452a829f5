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


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """`end` is where the next page begins, None where there is none; `total` may change from page to page."""

    documents: Sequence[Document]
    end: int | None = None
    total: int = 0

    @property
    def size(self) -> int:
        return len(self.documents)


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


def page(envelope: Document, *, offset: int, most: int) -> Page:
    documents = held(envelope, list, of="a list")
    if not all(isinstance(each, Mapping) for each in documents):
        raise Unexpected("a list holds something else than objects", hint="the service may be newer than this qrun")
    told = envelope.get("pagination")
    end, total = (whole(told.get(name)) if isinstance(told, Mapping) else None for name in ("end", "total"))
    if end is None or total is None:
        full = len(documents) >= most
        return Page(documents=documents, end=offset + len(documents) if full else None)
    return Page(documents=documents, end=end if end < total else None, total=total)


def words(reply: Reply) -> Words | None:
    """The service's own error; None for anything else, such as a page that a proxy made."""
    try:
        told = json.loads(reply.content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.get("status") not in ("fail", "error"):
        return None
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
    where = ".".join(str(part) for part in place if part != "body") if isinstance(place, list) else ""
    return f"{where}: {told.get('msg')}" if where else str(told.get("msg"))


PLACE: Final = re.compile(r"(?:^|; )(?:jobs\.)?([0-9]{1,5})(?=[.:])")


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
