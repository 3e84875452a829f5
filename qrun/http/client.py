"""The HTTP of one configured connection: every request is judged by the policy table, and sent at the agreed pace."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from qrun import __version__
from qrun.clock import stamp
from qrun.connection import Access
from qrun.errors import Denied, ProviderError, Unavailable
from qrun.http import hosts
from qrun.http.breaker import Breaker
from qrun.http.hosts import Address, Target
from qrun.http.outcome import SICK, Outcome, fault, storage_words
from qrun.http.policy import (
    KEEP,
    LIMITS,
    LONGEST,
    PACE,
    Call,
    Happened,
    Verdict,
    happened,
    judge,
    pause,
    retry_after,
    spoken,
)
from qrun.http.question import FORM, JSON, Question, encoded, followed, traced, values, written
from qrun.http.question import query as tail
from qrun.http.reply import Reply, Words, cleaned
from qrun.job import NOTHING
from qrun.pace import Pace

if TYPE_CHECKING:
    import httpx

    from qrun.http.wire import Outgoing, Wire

MiB: Final = 1024 * 1024
ABSENT: Final = object()  # no body at all; null is one
AGENT: Final = f"qrun/{__version__}"
TOGETHER: Final = 32
RATE: Final = 20.0  # requests a second to a server that is not on this machine
REDIRECTS: Final = 3

Resolve: TypeAlias = Callable[[str, int], Awaitable[Iterable[Address]]]


class Http:
    """`headers` are those that prove who we are, asked for at every request; links never get them.

    `words` reads the provider's own error from an answer, None where its format is not recognised. `secrets` are
    values that may stand in no message. `limited`: the provider's contract says that what gets a 429 was not
    processed. `settings` are the connection's: `max_in_flight`, `requests_per_second`, `proxy`. `trace` is told one
    line about each request, without credentials.
    """

    def __init__(
        self,
        *,
        name: str,
        url: str,
        access: Access,
        headers: Callable[[], Mapping[str, str]],
        words: Callable[[Reply], Words | None],
        settings: Mapping[str, Any] = NOTHING,
        secrets: Callable[[], Iterable[str]] = tuple,
        limited: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.own = hosts.base(name, url, access.trusted_hosts)
        self.trace: Callable[[str], None] | None = None
        self._access = access
        self._clock = access.clock
        self._headers = headers
        self._words = words
        self._limited = limited
        self._transport = transport
        self._resolve = resolve
        self._chance = chance
        self._proxy = hosts.proxy(name, settings.get("proxy"))
        self._secrets = secrets
        self._together = settings.get("max_in_flight", TOGETHER)
        rate = settings.get("requests_per_second", None if self.own.loopback else RATE)
        self._pace = Pace(access.clock, together=self._together, rate=rate)
        self._breakers: dict[tuple[str, str, int], Breaker] = {}
        self._answered = float("-inf")  # when this server last answered

    async def ask(
        self,
        call: Call,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: Any = ABSENT,
        form: Mapping[str, str] | None = None,
        limit: int = 32 * MiB,
        deadline: float | None = None,
    ) -> Reply:
        """The answer where it is a success, else an error that says who acts (see the table in `policy`).

        `path` begins with a slash and is encoded already (`segment`). `deadline` in seconds is for the request, its
        repetitions and the waits between them, not for the line of `max_in_flight` and `requests_per_second`. `form` is
        sent as a browser does, in place of `json`; its values count as secrets.
        """
        limits = LIMITS[call] if deadline is None else replace(LIMITS[call], seconds=deadline, lengthens=False)
        place = f'"{self.name}", {method} {path.partition("?")[0]}'
        return await self._pursue(
            Question(
                call=call,
                method=method,
                target=replace(self.own, path=f"{self.own.path}{path}{tail(query)}"),
                place=place,
                limits=limits,
                size=limit,
                words=self._words,
                content=encoded(form) if form is not None else None if json is ABSENT else written(json, place),
                kind=FORM if form is not None else JSON,
                secrets=tuple(form.values()) if form is not None else (),
            )
        )

    async def upload(self, url: str, fields: Mapping[str, str], file: tuple[str, bytes, str]) -> Reply:
        """Sends a form to a link: the fields as they are, and last the part `file` (its name, content and type).

        Repeated where it is unclear whether it came through: it replaces itself. Rejected where the storage refuses.
        """
        link = self._link(Call.UPLOAD, "POST", url, 1 * MiB)
        seconds = link.limits.seconds + min(LONGEST, len(file[1]) / PACE)
        return await self._pursue(
            replace(
                link,
                limits=replace(link.limits, seconds=seconds),
                form=(fields, file),
                secrets=(*values(url), *fields.values()),
            )
        )

    async def download(self, url: str, *, limit: int = 256 * MiB) -> bytes:
        """What a link leads to. Missing, with its `status`: 404 and 410 are gone; else the link is no longer good."""
        reply = await self._pursue(self._link(Call.DOWNLOAD, "GET", url, limit))
        return reply.content

    async def ready(self) -> None:
        """Returns when a submit may be sent: the server has just answered, or a connection to it can be opened.

        Unavailable is proof that nothing was sent.
        """
        if self._clock.monotonic() - self._answered < KEEP:
            return
        breaker = self._breaker(self.own)
        for attempt in range(LIMITS[Call.SUBMIT].attempts):
            if attempt:
                await self._clock.sleep(pause(attempt - 1, self._chance))
            if breaker.open and breaker.wait(self._clock.monotonic()):
                raise self._shut(breaker, f'"{self.name}"')
            outcome = await self._try_open()
            if outcome.what is None:
                return
            breaker.failed(sent=self._clock.monotonic(), now=self._clock.monotonic())
        raise fault(Verdict.AGAIN, outcome, name=self.name, place=f'"{self.name}"', wait=None)

    @asynccontextmanager
    async def slot(self, requests: int = 1) -> AsyncIterator[None]:
        """Waits here instead of in the requests that are made inside: so many of them go out at once.

        For a submit: first the slot, then the intent, then the request, with nothing to wait for in between.
        """
        async with self._pace.slot(requests):
            yield

    async def aclose(self) -> None:
        if "_wire" in self.__dict__:
            await self._wire.aclose()

    @cached_property
    def _wire(self) -> Wire:
        from qrun.http.wire import Wire  # httpx is loaded with the first request

        return Wire(idle=self._together, proxy=self._proxy, transport=self._transport)

    async def _pursue(self, question: Question) -> Reply:
        """Asks until there is an answer, or until the policy says that it is over."""
        left, attempt, redirects = question.limits.seconds, 0, 0
        while True:
            outcome, spent = await self._turn(question, left, attempt)
            left -= spent
            if outcome.what is None:
                assert outcome.reply is not None
                return outcome.reply
            verdict = judge(question.call, outcome.what, own=outcome.words is not None, limited=self._limited)
            if verdict is Verdict.FOLLOW and redirects < REDIRECTS and (target := followed(question, outcome)):
                redirects += 1
                question = replace(question, target=target)
                continue
            least = self._asked_to_wait(outcome)
            wait = pause(attempt, self._chance, least)
            attempt += 1
            again = verdict is Verdict.WAIT or (verdict is Verdict.AGAIN and attempt < question.limits.attempts)
            if not again or wait > left:
                raise fault(verdict, outcome, name=self.name, place=question.place, wait=least)
            await self._clock.sleep(wait)
            left -= wait

    async def _turn(self, question: Question, left: float, attempt: int) -> tuple[Outcome, float]:
        """One attempt, once there is a place for it and the server may be asked; and the seconds that it took."""
        breaker = self._breaker(question.target)
        spent = 0.0
        while True:
            spent += await self._calm(breaker, question, left - spent)
            async with self._pace.place(counts=question.target.origin == self.own.origin):
                sent = self._clock.monotonic()
                if breaker.wait(sent):
                    continue  # it has closed while this request stood in line
                breaker.begin(sent)
                outcome = await self._once(question, left - spent, attempt)
                now = self._clock.monotonic()
                self._learn(breaker, question, outcome, attempt, sent, now)
                return outcome, spent + now - sent

    async def _calm(self, breaker: Breaker, question: Question, left: float) -> float:
        """Seconds waited until the server may be asked. A submit waits for no server that does not answer."""
        wait = breaker.wait(self._clock.monotonic())
        if not wait:
            return 0.0
        if wait > left or (breaker.open and question.call is Call.SUBMIT):
            raise self._shut(breaker, question.place)
        wait = pause(0, self._chance, wait)
        await self._clock.sleep(wait)
        return wait

    def _shut(self, breaker: Breaker, place: str) -> Unavailable:
        wait = breaker.wait(self._clock.monotonic())
        until = stamp(math.ceil(self._clock.now() + wait)).replace(".000", "")
        reason = f"it failed {breaker.failures} times in a row" if breaker.open else "the server asks to wait"
        text = f"{place}: not asked before {until}, in {spoken(wait)}: {reason}"
        return Unavailable(text, hint="run again later", retry_after=None if breaker.open else wait)

    async def _once(self, question: Question, left: float, attempt: int) -> Outcome:
        """A submit has its whole time, whatever was waited before: one that is cut off has an unclear outcome."""
        from qrun.http.wire import Bounds, Failed

        limits = question.limits
        seconds = limits.seconds if question.call is Call.SUBMIT else max(0.1, left)
        bounds = Bounds(size=question.size, seconds=seconds, read=limits.read, lengthens=limits.lengthens)
        try:
            answer = await self._wire.exchange(await self._outgoing(question, attempt), bounds)
        except Failed as failed:
            return Outcome(what=failed.what, told=self._clean(failed.words, question))
        reply = Reply(
            status=answer.status,
            headers=answer.headers,
            content=answer.content,
            received=self._clock.now(),
            call=question.call,
            place=question.place,
        )
        if 200 <= reply.status < 300:
            return Outcome(what=None, reply=reply)
        return Outcome(what=happened(reply.status), reply=reply, words=self._own_words(question, reply))

    async def _outgoing(self, question: Question, attempt: int) -> Outgoing:
        from qrun.http.wire import Outgoing

        headers = {"accept-encoding": "identity", "user-agent": AGENT}
        if question.link:
            headers |= {"accept": "*/*"}
        else:
            headers |= {"accept": "application/json", **self._proof()}
            if question.method != "GET":
                headers["content-type"] = question.kind
        return Outgoing(
            method=question.method,
            target=question.target,
            headers=headers,
            content=question.content,
            form=question.form,
            address=await self._checked(question.target, attempt) if question.link else None,
        )

    def _proof(self) -> Mapping[str, str]:
        headers = self._headers()
        for header, value in headers.items():
            if not (value.isascii() and value.isprintable()):
                hint = f'check the credentials of connection "{self.name}"'
                raise Denied(f'"{self.name}": "{header}" has characters that cannot be sent', hint=hint)
        return headers

    async def _checked(self, target: Target, attempt: int) -> Address | None:
        """The address to connect to, None where any will do.

        What was checked is what is connected to, so a name that is looked up twice with two answers gains nothing.
        A proxy looks names up itself: there only an address that stands in the link is checked.
        """
        if hosts.free(target, self.own, self._access.trusted_hosts):
            return None
        if self._proxy is not None:
            hosts.public(target, [target.address] if target.address else [])
            return None
        addresses = [target.address] if target.address else list(await self._look_up(target))
        hosts.public(target, addresses)
        return addresses[attempt % len(addresses)]

    async def _look_up(self, target: Target) -> Iterable[Address]:
        from qrun.http.wire import look_up

        return await (self._resolve or look_up)(target.host, target.port)

    async def _try_open(self) -> Outcome:
        from qrun.http.wire import Failed

        try:
            await self._wire.open(self.own)
        except Failed as failed:
            return Outcome(what=failed.what, told=cleaned(failed.words, self._secrets()))
        return Outcome(what=None)

    def _learn(
        self, breaker: Breaker, question: Question, outcome: Outcome, attempt: int, sent: float, now: float
    ) -> None:
        """What this outcome says of the server's health and pace.

        A server that explains its 500 itself is there: one request that always ends so counts once.
        """
        if question.target.origin == self.own.origin and outcome.reply is not None:
            self._answered = now
        if outcome.what not in SICK:
            breaker.answered()
        elif not (attempt and outcome.status == 500 and outcome.words):
            breaker.failed(sent=sent, now=now)
        if outcome.what is Happened.LIMITED:
            self._pace.slower(sent=sent)
        if least := self._asked_to_wait(outcome):
            breaker.hold(now + least)
        if self.trace is not None:
            self.trace(traced(question, outcome, now - sent))

    def _asked_to_wait(self, outcome: Outcome) -> float | None:
        if outcome.reply is None or outcome.what not in (Happened.LIMITED, Happened.BROKEN):
            return None
        reply = outcome.reply
        return retry_after(reply.headers.get("retry-after"), reply.date() or reply.received)

    def _own_words(self, question: Question, reply: Reply) -> Words | None:
        try:
            words = question.words(reply)
        except ProviderError:  # it reads JSON where there is none
            return None
        if words is None:
            return None
        code = None if words.code is None else self._clean(words.code, question)
        return Words(code=code, message=self._clean(words.message, question))

    def _clean(self, text: str, question: Question) -> str:
        password = urlsplit(self._proxy or "").password
        return cleaned(text, [*self._secrets(), *question.secrets, *([password] if password else [])])

    def _link(self, call: Call, method: str, url: str, size: int) -> Question:
        target = hosts.link(url, self.own, self._access.trusted_hosts)
        return Question(
            call=call,
            method=method,
            target=target,
            place=f'"{self.name}", {call} at {target.authority}',
            limits=LIMITS[call],
            size=size,
            words=storage_words,
            secrets=tuple(values(url)),
        )

    def _breaker(self, target: Target) -> Breaker:
        return self._breakers.setdefault(target.origin, Breaker())
