"""The provider `pasqal`: jobs of Pasqal Cloud, each one run of a Pulser sequence within a batch.

The unit of work is a batch: one sequence, one device, up to many jobs with their runs and variables. A handle is
`<batch>/<job>`; a workload, which stands alone, is its id. Quirks:

- Only a batch carries marks, among its tags; jobs that join one later have none, and are told by their number.
- A batch is DONE even if its jobs failed; an open one never is, holds the device, and must be closed.
- Results lie behind links that expire and refuse our credentials.
- By way of OVH nothing can be listed, changed or cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import Any

from qrun.connection import Access, Connection
from qrun.errors import Denied, Missing, ProviderError, Rejected, Unexpected
from qrun.http import Call, Http
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
from qrun.providers.pasqal import (
    CAPABILITIES,
    OVH,
    PULSE,
    WORKLOAD,
    cancelling,
    envelope,
    limits,
    listing,
    recalled,
    sending,
    wire,
)
from qrun.providers.pasqal.core import Core
from qrun.providers.pasqal.devices import Devices, snapshot
from qrun.providers.pasqal.fetching import DOCUMENT, RESULT, Fetching
from qrun.providers.pasqal.looking import Look
from qrun.providers.pasqal.places import Route, place
from qrun.providers.pasqal.results import normal
from qrun.providers.pasqal.submit import Body, again, submit
from qrun.providers.pasqal.watch import Watch
from qrun.record import Handle


class Pasqal:
    def __init__(self, connection: Connection, access: Access, transport: Any = None) -> None:
        """`transport` is a test's own in place of the network."""
        self.connection = connection
        self.access = access
        self.transport = transport
        self.place = place(connection.settings)
        self.core = Core(connection, access, self.place, transport)
        self.project = str(connection.settings.get("project_id") or "")
        self.looking = Look(self.core, self.project)
        self.known = Devices(self.core, access.clock)
        self.watching = Watch(self.looking, access.clock)
        self.fetching = Fetching(self.looking, access.clock, self.watching.documents)

    @property
    def capabilities(self) -> Capabilities:
        return OVH if self.core.ovh else CAPABILITIES

    def pack(self, jobs: Sequence[Job]) -> Sequence[Sequence[Job]]:
        return sending.groups(jobs)

    # --- sending ------------------------------------------------------------------------------------------------------

    async def prepare(self, submission: Submission) -> Prepared:
        jobs, programs = submission.jobs, submission.programs
        sending.check(jobs, programs)
        if self.core.ovh:
            _check_ovh(jobs)
        await self.core.tokens.ready()
        await self._check_project()
        body, specs = await self._content(submission)
        await self.core.http.ready()
        until = self.core.tokens.until
        return Prepared(
            submission=submission,
            payloads=_payloads(body.content, jobs),
            body=body,
            good_until=None if until == float("inf") else until,
            device=None if specs is None else snapshot(jobs[0].target.device, specs),
        )

    async def _content(self, submission: Submission) -> tuple[Body, Mapping[str, Any] | None]:
        jobs, programs = submission.jobs, submission.programs
        if jobs[0].kind == WORKLOAD:
            return Body(content=sending.workload(jobs[0], programs, project=self.project)), None
        specs = await self.known.specs(jobs[0].target.device)
        if found := list(limits.beyond(jobs, programs, specs)):
            raise sending.refused(found)
        webhook = self.connection.settings.get("webhook")
        content = sending.batch(jobs, programs, project=self.project, webhook=webhook)
        return Body(content=content, container=submission.container), specs

    def slot(self) -> AbstractAsyncContextManager[None]:
        return self.core.http.slot()

    async def submit(self, prepared: Prepared, sending: Sending) -> Sequence[Handle]:
        return await submit(self.core, self.looking, prepared.body, prepared.submission.jobs, sending)

    async def again(self, handles: Sequence[Handle], sending: Sending) -> Sequence[Handle]:
        """The cloud's own way to run jobs of a closed batch once more, in a new one; their new handles, in order."""
        return await again(self.core, self.looking, handles, sending)

    async def copies(self, handles: Sequence[Handle]) -> Mapping[Handle, Sequence[Handle]]:
        """What was made of each of these jobs of one batch before, whoever asked for it."""
        return await self.looking.copies(handles)

    async def _check_project(self) -> None:
        if self.project or self.core.ovh:
            return
        listed = ", ".join(f"{name} ({id_})" for id_, name in (await self.projects()).items())
        hint = "give it in qrun.toml, or set PASQAL_PROJECT_ID" + (f"; this account has {listed}" if listed else "")
        raise Denied(f'connection "{self.connection.name}" has no project_id', hint=hint)

    async def projects(self) -> Mapping[str, str]:
        """The names of the account's active projects by their ids; none where it may not see them."""
        try:
            reply = await self._account.ask(Call.READ, "GET", "/api/v1/projects", query={"project_status": "ACTIVE"})
            listed = envelope.held(envelope.opened(reply), list, of="the list of projects")
        except (ProviderError, Unexpected):
            return {}
        return {wire.said(each, "project_id") or wire.said(each, "id"): wire.said(each, "name") for each in listed}

    @cached_property
    def _account(self) -> Http:
        tokens = self.core.tokens
        return Http(
            name=self.connection.name,
            url=self.place.account,
            access=self.access,
            headers=tokens.headers,
            words=envelope.words,
            secrets=tokens.secrets,
            transport=self.transport,
        )

    # --- containers ---------------------------------------------------------------------------------------------------

    def alike(self, job: Job, other: Mapping[str, Any]) -> bool:
        return sending.alike(job, other)

    async def opened(self, container: Handle) -> bool:
        try:
            told = await self.looking.batch(container)
        except Missing:
            return False
        return wire.stays_open(told) and wire.word(told) in wire.JOINABLE

    async def close(self, container: Handle) -> None:
        """What a batch that is closed already answers is not documented: then it is looked at."""
        try:
            await self.core.change("PATCH", Route.CLOSE, container)
        except (Rejected, Missing, Unexpected, Denied) as error:
            if self.core.ovh or error.status == 401 or await self._stays_open(container):
                raise

    async def _stays_open(self, container: Handle) -> bool:
        try:
            return wire.stays_open(await self.looking.batch(container))
        except Missing:
            return False

    async def relabel(self, container: Handle, labels: Labels) -> None:
        """Replaces all tags of a batch. A workload has none."""
        tags = list(dict.fromkeys([*labels.markers, labels.mark, *labels.tags]))
        sending.check_tags(labels.tags)
        try:
            await self.core.change("PATCH", Route.TAGS, container, json=tags)
        except Missing:
            await self.core.one(Route.WORKLOAD, container)
        except Unexpected:  # somebody else may have answered in its place: then it is looked at
            if set(wire.tags(await self.looking.batch(container))) != set(tags):
                raise

    async def contents(self, container: Handle) -> Sequence[Found]:
        """The jobs of a batch, whoever made it, for those who take it in as a whole."""
        return await self.looking.contents(container)

    # --- looking ------------------------------------------------------------------------------------------------------

    async def find(self, marks: Marks) -> Sequence[Found]:
        return await self.looking.find(marks)

    async def inspect(self, handle: Handle) -> Found:
        handle = await self.looking.handle(handle)
        if "/" not in handle:
            told = await self.core.one(Route.WORKLOAD, handle)
            return wire.found_workload(told, sending.workload_fingerprint(told))
        job, sent = await self.looking.known(handle)
        return wire.found(job, sent, payload=sending.fingerprint(sent, job))

    async def recall(self, handle: Handle) -> Recalled:
        """A batch's only job may be named by the batch."""
        handle = await self.looking.handle(handle)
        if "/" not in handle:
            told = await self.core.one(Route.WORKLOAD, handle)
            found = wire.found_workload(told, sending.workload_fingerprint(told))
            return Recalled(found=found, fields=recalled.workload(told))
        job, sent = await self.looking.known(handle)
        batch = await self.looking.batch(handle.partition("/")[0])
        found = wire.found(job, batch, payload=sending.fingerprint(sent, job))
        return Recalled(found=found, fields=recalled.fields(job, batch), programs=recalled.programs(job, batch))

    def list(self, filters: Filters) -> AsyncIterator[Found]:
        return listing.account(self.looking, filters)

    def watch(self, live: LiveSet) -> AsyncIterator[tuple[Handle, Status]]:
        return self.watching.news(live)

    async def devices(self) -> Sequence[Device]:
        return await self.known.all()

    # --- the end ------------------------------------------------------------------------------------------------------

    async def fetch(self, handles: Sequence[Handle], sink: Sink) -> None:
        await self.fetching.fetch(handles, sink)

    def read(self, job: Mapping[str, Any], raw: Mapping[str, bytes]) -> Mapping[str, Any]:
        """Characters are named by the job's sequence where `raw` holds it under its SHA-256."""
        result = envelope.parsed(raw[RESULT], of=f'"{RESULT}"') if RESULT in raw else None
        if job.get("kind", PULSE) == WORKLOAD:
            return {"result": result}
        if not isinstance(result, Mapping):
            raise Unexpected(f'"{RESULT}" is not an object' if RESULT in raw else f'there is only "{DOCUMENT}"')
        programs = [raw.get(program["sha256"]) for program in job.get("program", ())]
        return normal(result, params=job.get("params", {}), program=programs[0] if programs else None)

    async def cancel(self, handles: Collection[Handle]) -> Mapping[Handle, str | None]:
        return await cancelling.cancel(self.looking, handles)

    async def logs(self, handle: Handle) -> AsyncIterator[Log]:
        """There are none."""
        del handle
        return
        yield

    async def aclose(self) -> None:
        await self.core.aclose()
        if "_account" in self.__dict__:
            await self._account.aclose()


def _check_ovh(jobs: Sequence[Job]) -> None:
    """What only a connection of one's own offers is refused before anything is sent."""
    for job in jobs:
        if job.kind == WORKLOAD:
            what, field = "workloads", "kind"
        elif job.conduct.open:
            what, field = "batches that stay open", "submit.open"
        else:
            continue
        words = f"access by way of OVH offers no {what}"
        raise sending.refused([(job, sending.problem(job, words, field=field, hint="use a connection of your own"))])


def _payloads(content: Mapping[str, Any], jobs: Sequence[Job]) -> tuple[str, ...]:
    """A digest for each job, of what is compared with what the service gives back."""
    if jobs[0].kind == WORKLOAD:
        found = [sending.workload_fingerprint(content)]
    else:
        sent = {**content, "sequence": sending.spelled(content["sequence_builder"])}
        found = [sending.fingerprint(sent, sending.runs(job)) for job in jobs]
    wrong = [job for job, payload in zip(jobs, found, strict=True) if payload is None]
    if wrong:
        words = "a number in it is too large to be sent"
        raise sending.refused([(job, sending.problem(job, words, field="params")) for job in wrong])
    return tuple(payload for payload in found if payload is not None)
