"""The provider `oqtopus`: jobs of one account of an OQTOPUS cloud, over its API with presigned storage.

The unit of work is a job, whose id is given out before anything is started (`wire` tells the steps). Quirks:

- A refused or lost submit leaves the job registered, which costs nothing and may be submitted again under its id.
- To cancel a job that was only registered breaks every list that shows it; such a job is left alone or deleted at once.
- Results lie behind links that expire within the hour: they are made afresh with each look at the job.
- An id that somebody else owns, or that was deleted, is 404. DELETE may answer 500 after the job is gone.
- The older API, which takes everything in one request, answers 422 where this one registers; it is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final

from qrun.archive import archive
from qrun.canonical import canonical
from qrun.connection import Access, Connection
from qrun.errors import Missing, Problem, Rejected, SettingsError, Unexpected
from qrun.http import Call, Http, segment
from qrun.job import Job
from qrun.provider import (
    Capabilities,
    Device,
    Filters,
    Found,
    Labels,
    LiveSet,
    Log,
    Marks,
    Prepared,
    Recalled,
    Sending,
    Sink,
    Status,
    Submission,
)
from qrun.providers.oqtopus import CAPABILITIES, looking, recalled, wire
from qrun.providers.oqtopus.devices import Devices
from qrun.providers.oqtopus.listing import FOUND, SHOWN, Document, meant, narrowed, pages
from qrun.providers.oqtopus.results import normal
from qrun.providers.oqtopus.submit import Body, submit
from qrun.providers.oqtopus.watch import Watch
from qrun.providers.oqtopus.wire import WORDS
from qrun.record import Handle, Phase

INPUT: Final = "input.json"
DOCUMENT: Final = "job.json"
RESULT: Final = "result.json"
TRANSPILED: Final = "transpile_result.json"
LOG: Final = "sse_log.txt"
OUTPUTS: Final[Mapping[str, str]] = {  # a link's name and the file's
    "result": RESULT,
    "transpile_result": TRANSPILED,
    "combined_program": "combined_program.qasm",
    "sse_log": LOG,
}
TOGETHER: Final = 32  # jobs that are fetched or cancelled at the same time


class Oqtopus:
    def __init__(self, connection: Connection, access: Access, transport: Any = None) -> None:
        """`transport` is a test's own in place of the network."""
        self.connection = connection
        self.access = access
        self._token: str | None = None
        url, _ = _needed(connection, "url"), _needed(connection, "api_token")
        self.http = Http(
            name=connection.name,
            url=url,
            access=access,
            headers=lambda: {"q-api-token": self._revealed()},
            words=wire.words,
            settings=connection.settings,
            secrets=lambda: () if self._token is None else (self._token,),
            limited=True,  # 429 comes from the gateway, before any work
            transport=transport,
        )
        self.known = Devices(self.http, access.clock)
        self.watching = Watch(self.http, access.clock)

    def _revealed(self) -> str:
        """Fetched with the first request, and kept in memory."""
        if self._token is None:
            self._token = self.access.reveal(_needed(self.connection, "api_token"))
        return self._token

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    def pack(self, jobs: Sequence[Job]) -> Sequence[Sequence[Job]]:
        return [[job] for job in jobs]

    async def prepare(self, submission: Submission) -> Prepared:
        (job,) = submission.jobs
        wire.check(job)
        content, metadata = wire.payload(job, submission.programs), wire.metadata(job)
        payload = wire.fingerprint(metadata, content)
        if payload is None:
            raise wire.refused(job, "a number in it is too large to be sent", hint="give it with fewer digits")
        packed = archive(INPUT, canonical(content))
        if len(packed) > wire.UPLOAD:
            message = f"packed, it has {len(packed)} bytes; {wire.UPLOAD} are the most that can be uploaded"
            raise wire.refused(job, message, field="program")
        device = await self.known.usable(job)
        await self.http.ready()
        return Prepared(
            submission=submission, payloads=(payload,), body=Body(packed=packed, metadata=metadata), device=device
        )

    def slot(self) -> AbstractAsyncContextManager[None]:
        """To register and to submit; what is uploaded goes to another server."""
        return self.http.slot(2)

    async def submit(self, prepared: Prepared, sending: Sending) -> Sequence[Handle]:
        (job,) = prepared.submission.jobs
        return [await submit(self.http, self.access.clock, prepared.body, job.description, sending)]

    # --- looking ------------------------------------------------------------------------------------------------------

    async def find(self, marks: Marks) -> Sequence[Found]:
        """The service searches for a part of the text, whatever its case; what is exactly meant is chosen here."""
        text = marks.marker or marks.mark
        seen = [wire.found(each) async for some in pages(self.http, FOUND, _newest(text)) for each in some]
        hits = [found for found in seen if text == (found.marker if marks.marker else found.mark)]
        noted = marks.noted.get("job_id")
        if noted and all(found.handle != noted for found in hits):
            with suppress(Missing):
                hits.append(wire.found(await looking.known(self.http, Handle(noted))))
        return hits

    async def inspect(self, handle: Handle) -> Found:
        told = await looking.known(self.http, handle)
        return _found(told, await looking.content(self.http, handle, told))

    async def recall(self, handle: Handle) -> Recalled:
        told = await looking.known(self.http, handle)
        if not wire.submitted(told):
            raise Missing(f'"{handle}" was registered and never submitted', hint="there is nothing to take in")
        content = await looking.content(self.http, handle, told)
        fields = recalled.fields(told, content)
        programs = () if content is None else recalled.programs(content, fields["kind"])
        return Recalled(found=_found(told, content), fields=fields, programs=programs)

    async def list(self, filters: Filters) -> AsyncIterator[Found]:
        """The service keeps no tags, and searches in a way of its own: it only narrows down."""
        if filters.tags:
            return
        async for some in pages(self.http, SHOWN, narrowed(filters)):
            for each in some:
                if meant(found := wire.found(each), filters):
                    yield found

    async def devices(self) -> Sequence[Device]:
        return await self.known.all()

    def watch(self, live: LiveSet) -> AsyncIterator[tuple[Handle, Status]]:
        return self.watching.news(live)

    # --- bringing home ------------------------------------------------------------------------------------------------

    async def fetch(self, handles: Sequence[Handle], sink: Sink) -> None:
        await self._each(handles, lambda handle: self._fetch(handle, sink))

    async def _fetch(self, handle: Handle, sink: Sink) -> None:
        try:
            told = self.watching.documents.pop(handle, None) or await looking.document(self.http, handle)
        except Missing as error:
            await sink.gone(handle, str(error))
            return
        links = [link for link in OUTPUTS if looking.linked(told, link)]
        asked = (looking.output(self.http, handle, told, link) for link in links)
        found = await asyncio.gather(*asked, return_exceptions=True)
        outputs = {OUTPUTS[link]: data for link, data in zip(links, found, strict=True) if isinstance(data, bytes)}
        kept = {DOCUMENT: wire.kept(told), **outputs}  # also where another could not be had
        await asyncio.gather(*(sink.raw(handle, name, data) for name, data in kept.items()))  # one round to the disk
        for each in found:
            if isinstance(each, BaseException):
                raise each
        if not outputs.keys() & {RESULT, LOG}:
            await sink.gone(handle, "the service has no result of this job any more")

    def read(self, job: Mapping[str, Any], raw: Mapping[str, bytes]) -> Mapping[str, Any]:
        """Bits are named by the programs, which `raw` holds by their SHA-256, else by what the service made of one."""
        told = _read(raw, DOCUMENT)
        programs = [raw.get(program["sha256"]) for program in job.get("program", ())]
        if programs == [None] and TRANSPILED in raw:
            text = _read(raw, TRANSPILED).get("transpiled_program")
            programs = [text.encode() if isinstance(text, str) else None]
        result = _read(raw, RESULT) if RESULT in raw else {}
        return normal(result, kind=str(job.get("kind")), shots=told.get("shots"), programs=programs)

    async def logs(self, handle: Handle) -> AsyncIterator[Log]:
        told = await looking.known(self.http, handle)
        if wire.found(told).kind not in (None, "sse"):
            raise Missing(f'"{handle}" is no job of kind sse', hint="only those write a log")
        data = await looking.output(self.http, handle, told, "sse_log")
        if data is None:
            raise Missing(f'"{handle}" has no log', hint="there is one once an sse job has succeeded")
        yield Log(name=LOG, data=data)

    # --- changing -----------------------------------------------------------------------------------------------------

    async def cancel(self, handles: Collection[Handle]) -> Mapping[Handle, str | None]:
        answers: dict[Handle, str | None] = {}

        async def ask(handle: Handle) -> None:
            answers[handle] = await cancel(self.http, handle)

        await self._each(handles, ask)
        return answers

    async def relabel(self, container: Handle, labels: Labels) -> None:
        """The service takes a name and a description once; later changes are kept in our own records."""
        del container, labels

    async def _each(self, handles: Collection[Handle], ask: Callable[[Handle], Awaitable[None]]) -> None:
        """Some at a time; one that fails keeps none of the others from its end."""
        room = asyncio.Semaphore(TOGETHER)

        async def one(handle: Handle) -> None:
            async with room:
                await ask(handle)

        ended = await asyncio.gather(*map(one, handles), return_exceptions=True)
        for each in ended:
            if isinstance(each, BaseException):
                raise each

    async def aclose(self) -> None:
        await self.http.aclose()


async def cancel(http: Http, handle: Handle) -> str | None:
    """Why it was not cancelled; None where it is. One that was only registered is left alone: it costs nothing."""
    try:
        word = await looking.status(http, handle)
        if word == "registered":
            return "it was registered and never submitted, so there is nothing to cancel"
        if WORDS.get(word) is Phase.LIVE:
            with suppress(Rejected, Missing):
                reply = await http.ask(Call.CANCEL, "POST", f"/jobs/{segment(handle)}/cancel")
                if wire.words(reply) is not None:
                    return None
            word = await looking.status(http, handle)
    except Missing:
        return "the service does not know it any more"
    return None if word == "cancelled" else f'it is "{word}"'


def _found(told: Document, content: Mapping[str, Any] | None) -> Found:
    return wire.found(told, None if content is None else wire.fingerprint(told, content))


def _read(raw: Mapping[str, bytes], name: str) -> Mapping[str, Any]:
    told = wire.parsed(raw[name], of=f'"{name}"')
    if not isinstance(told, Mapping):
        raise Unexpected(f'"{name}" is not an object')
    return told


def _newest(text: str) -> dict[str, str]:
    return {"q": text, "order": "DESC"}


def _needed(connection: Connection, key: str) -> Any:
    value = connection.settings.get(key)
    if value is None:
        hint = "give it in qrun.toml, or url and api_token in ~/.oqtopus, or OQTOPUS_URL and OQTOPUS_API_TOKEN"
        raise SettingsError(Problem(message=f'connection "{connection.name}" has no {key}', hint=hint))
    return value
