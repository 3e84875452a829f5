"""A request and its answer as values, and the table that leads from one to the other; nothing here touches a socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NoReturn, TypeVar
from urllib.parse import parse_qsl

from qrun.emulators.faults import Fault

Target = TypeVar("Target")

JSON: Final = b"application/json"
HTML: Final = b"text/html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request, read to its end. `host` is 0 for the API's port and 1 for the storage's; header names are lower.

    `faults` are those that the work itself has to heed; what goes wrong on the wire is none of its business.
    """

    host: int
    method: str
    path: str
    headers: Mapping[str, str]
    raw_query: bytes = b""
    body: bytes = b""
    faults: Sequence[Fault] = ()

    @property
    def query(self) -> dict[str, str]:
        if not self.raw_query:
            return {}
        return dict(parse_qsl(self.raw_query.decode("latin-1"), keep_blank_values=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    status: int
    body: bytes = b""
    type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Refusal(Exception):
    """An answer that ends a request early."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def said(value: Any, status: int = 200) -> Answer:
    return Answer(status=status, body=_ENCODE(value).encode("utf-8", "backslashreplace"))


def refuse(status: int, value: Any) -> NoReturn:
    raise Refusal(said(value, status))


@dataclass(kw_only=True)
class Routes(Generic[Target]):
    """Paths by their number of parts; `{name}` stands for any one part."""

    _known: dict[int, list[tuple[tuple[str, ...], dict[str, Target]]]] = field(default_factory=dict)

    def add(self, method: str, pattern: str, target: Target) -> None:
        parts = tuple(pattern.strip("/").split("/"))
        row = self._known.setdefault(len(parts), [])
        for there, methods in row:
            if there == parts:
                methods[method] = target
                return
        row.append((parts, {method: target}))

    def find(self, method: str, path: str) -> tuple[str, Target | None, list[str]]:
        """The route's name, its target (None: there is no such method) and what stands in the pattern's places.

        Without any such path the name is empty.
        """
        given = path.strip("/").split("/")
        for parts, methods in self._known.get(len(given), ()):
            if all(part == have or part[0] == "{" for part, have in zip(parts, given, strict=True)):
                values = [have for part, have in zip(parts, given, strict=True) if part[0] == "{"]
                return f"{method} /{'/'.join(parts)}", methods.get(method), values
        return "", None, []

    def __iter__(self) -> Iterator[str]:
        for row in self._known.values():
            for parts, methods in row:
                yield from (f"{method} /{'/'.join(parts)}" for method in methods)


Handler = Callable[..., Answer]
