"""A server behind httpx that answers from a script, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import httpx

from qrun.connection import Access
from qrun.errors import ProviderError
from qrun.http import Http, Reply, Words
from tests.virtual import VirtualClock

T = TypeVar("T")
Answer: TypeAlias = "httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]"


def own(status: int, message: str = "no", **headers: str) -> httpx.Response:
    """In the provider's own format where it is an error."""
    return httpx.Response(status, json={"code": f"E{status}", "message": message}, headers=_named(headers))


def page(status: int, **headers: str) -> httpx.Response:
    """What a proxy says."""
    return httpx.Response(status, html=f"<html><h1>{status}</h1></html>", headers=_named(headers))


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def words(reply: Reply) -> Words | None:
    told = reply.json()
    return (
        Words(code=told.get("code"), message=told["message"]) if isinstance(told, dict) and "message" in told else None
    )


@dataclass
class Cloud:
    """Gives its answers in order, the last one for ever, and keeps what it was asked and when."""

    answers: list[Answer]
    clock: VirtualClock = field(default_factory=VirtualClock)
    asked: list[tuple[float, httpx.Request]] = field(default_factory=list)
    takes: float = 0.0  # seconds that each answer takes

    def __post_init__(self) -> None:
        self.began = self.clock.now()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((self.clock.now() - self.began, request))
        if self.takes:
            await self.clock.sleep(self.takes)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            stream = httpx.ByteStream(answer.content)
            return httpx.Response(answer.status_code, headers=answer.headers.raw, stream=stream)
        return answer(request)

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.asked]

    @property
    def requests(self) -> list[httpx.Request]:
        return [request for _, request in self.asked]

    def http(self, url: str = "https://cloud.example", **given: Any) -> Http:
        """`chance` is 0.5 unless given: half of each longest wait."""
        trusted = given.pop("trusted", frozenset())
        setup: dict[str, Any] = {
            "name": "hub",
            "url": url,
            "access": Access(clock=self.clock, trusted_hosts=trusted),
            "headers": lambda: {"q-api-token": "id.secret-of-mine"},
            "words": words,
            "secrets": lambda: ["id.secret-of-mine"],
            "transport": httpx.MockTransport(self.answer),
            "chance": lambda: 0.5,
        }
        return Http(**(setup | given))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.clock.run(work)

    def fails(self, work: Coroutine[Any, Any, object]) -> ProviderError:
        """The error that the work ends with."""
        try:
            self.clock.run(work)
        except ProviderError as error:
            return error
        raise AssertionError("it did not fail")


def cloud(*answers: Answer) -> Cloud:
    return Cloud(list(answers))
