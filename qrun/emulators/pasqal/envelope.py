"""How a Pasqal cloud words its answers: an envelope around data, another around refusals, and OAuth's for tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NoReturn

from qrun.emulators.wire import Answer, Refusal, said

FIRST_TEXT: Final = "/api/v2/"  # from here on the envelope's `code` is text, before it is a number


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A piece of a list: the rows from `start` on, of `total`."""

    rows: Sequence[Any]
    start: int
    total: int


def enveloped(data: Any, path: str) -> Answer:
    """A good answer; of a page also where it stands, in the body and in a header."""
    whole: dict[str, Any] = {
        "status": "success",
        "message": "OK.",
        "code": "200" if path.startswith(FIRST_TEXT) else 200,
        "data": data,
    }
    if not isinstance(data, Page):
        return said(whole)
    end = data.start + len(data.rows)
    whole["data"] = list(data.rows)
    whole["pagination"] = {"total": data.total, "start": data.start, "end": end}
    place = f"{data.start}-{end - 1}" if data.rows else "*"
    answer = said(whole)
    header = (b"content-range", f"{place}/{data.total}".encode())
    return Answer(status=200, body=answer.body, headers=(header,))


def refused(status: int, description: str | Sequence[Mapping[str, Any]]) -> Answer:
    body = {
        "status": "fail" if status < 500 else "error",
        "message": phrase(status),
        "code": str(status),
        "data": {"description": description},
    }
    return said(body, status)


def refuse(status: int, description: str | Sequence[Mapping[str, Any]]) -> NoReturn:
    raise Refusal(refused(status, description))


def problem(words: str, *place: str | int, kind: str = "value_error") -> dict[str, Any]:
    """One thing that is wrong with a request, and where."""
    return {"loc": list(place), "msg": words, "type": kind}


def too_many(retry_after: str | None) -> Answer:
    answer = refused(429, "Too many requests.")
    headers = () if retry_after is None else ((b"retry-after", retry_after.encode("latin-1", "replace")),)
    return Answer(status=429, body=answer.body, headers=headers)


def oauth(status: int, error: str, description: str) -> Answer:
    return said({"error": error, "error_description": description}, status)


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
