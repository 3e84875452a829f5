"""What to ask, and the plain functions around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from qrun.canonical import canonical
from qrun.errors import Rejected
from qrun.http import hosts
from qrun.http.hosts import Target
from qrun.http.outcome import Outcome
from qrun.http.policy import Call, Limits
from qrun.http.reply import Reply, Words, cleaned

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What to ask, as often as the policy allows. `secrets` are what it carries beside the connection's own."""

    call: Call
    method: str
    target: Target
    place: str
    limits: Limits
    size: int
    words: Callable[[Reply], Words | None]
    content: bytes | None = None
    kind: str = JSON  # of the content
    form: tuple[Mapping[str, str], tuple[str, bytes, str]] | None = None
    secrets: tuple[str, ...] = ()

    @property
    def link(self) -> bool:
        return self.call in (Call.UPLOAD, Call.DOWNLOAD)


def query(values: Mapping[str, str] | None) -> str:
    """The end of a path, with its question mark; everything but letters, digits and `_.-~` is encoded."""
    pairs = [f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in (values or {}).items()]
    return f"?{'&'.join(pairs)}" if pairs else ""


def written(json: Any, place: str) -> bytes:
    """A body as digests are made of it, so that what is sent is what was hashed."""
    try:
        return canonical(json)
    except ValueError as error:
        words = cleaned(str(error), ())
    raise Rejected(f"{place}: the request cannot be written as JSON, and was not sent: {words}")


def encoded(form: Mapping[str, str]) -> bytes:
    return urlencode(form).encode()


def values(url: str) -> list[str]:
    """What stands in a link's query: its signature and more."""
    return [value for _, value in parse_qsl(urlsplit(url).query)]


def followed(question: Question, outcome: Outcome) -> Target | None:
    """Where a redirect leads, if it may be followed: a question that changes nothing, to the very same server."""
    location = outcome.reply.headers.get("location") if outcome.reply else None
    if question.method != "GET" or not location:
        return None
    try:
        aim = hosts.parse(urljoin(question.target.url, location).partition("#")[0], encoded=True)
    except ValueError:
        return None
    return aim if aim.origin == question.target.origin else None


def traced(question: Question, outcome: Outcome, seconds: float) -> str:
    path, _, query = question.target.path.partition("?")
    names = "&".join(f"{part.partition('=')[0]}=" for part in query.split("&")) if query else ""
    where = (
        f"{question.target.scheme}://{question.target.authority}/…"
        if question.link
        else f"{path}{'?' if names else ''}{names}"
    )
    answer = outcome.status or outcome.what
    return f"{question.method} {where} {answer} {seconds * 1000:.0f} ms"
