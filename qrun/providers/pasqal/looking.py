"""Looking for what is there: the jobs of a batch, what was sent in it, and the batches that carry a mark."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qrun.errors import Missing, Rejected, Unexpected
from qrun.provider import Found, Marks
from qrun.providers.pasqal import sending, wire
from qrun.providers.pasqal.core import Core, Document, Query, named
from qrun.providers.pasqal.places import Route
from qrun.record import Handle

OPENED: Final = 20  # batches that a search opens to see what was sent in them; of more, each job is asked for later
UNFIT: Final = 422
REMEMBERED: Final = 1000  # batches whose sequence need not be fetched again
ORDER: Final = (("order_by", "creation_order"), ("order_by_direction", "ASC"))


class Look:
    """`project` narrows lists, which else show every project that the account belongs to."""

    def __init__(self, core: Core, project: str) -> None:
        self.core = core
        self.project = project
        self._sent: dict[str, Mapping[str, Any]] = {}

    def own(self) -> Query:
        return [("project_id", self.project)] if self.project else []

    # --- one batch ----------------------------------------------------------------------------------------------------

    async def batch(self, batch: str) -> Document:
        """Whole, with its sequence."""
        return await self.core.one(Route.BATCH, batch)

    async def sent(self, batch: str) -> Document:
        """The same of a moment ago: what was sent never changes, its sequence known by a hash alone."""
        if batch not in self._sent:
            told = await self.batch(batch)
            text = told.get("sequence_builder")
            sequence = {"sequence": sending.spelled(text)} if isinstance(text, str) else {}
            if len(self._sent) >= REMEMBERED:
                self._sent.clear()
            self._sent[batch] = {name: told.get(name) for name in sending.OF_BATCH} | sequence
        return self._sent[batch]

    async def jobs(self, batch: str, ids: Sequence[str] = ()) -> list[Document]:
        """All jobs of a batch in the order of their creation, or these."""
        listed = [
            await self.core.all(Route.JOBS, [("batch_id", batch), *part, *ORDER]) for part in (named("id", ids) or [[]])
        ]
        own = [job for some in listed for job in some if job.get("batch_id") in (None, batch)]
        return [{**job, "batch_id": batch} for job in wire.in_order(own)]

    async def known(self, handle: Handle) -> tuple[Document, Document]:
        """A job and what was sent in its batch; raises Missing."""
        batch, _, job = handle.partition("/")
        if self.core.ovh:
            found = next((each for each in await self.jobs(batch) if each.get("id") == job), None)
            if found is None:
                raise Missing(f'"{batch}" has no job "{job}"')
        else:
            found = await self.core.one(Route.JOB, job)
        if found.get("batch_id") not in (None, batch):
            raise Missing(f'"{job}" is a job of another batch, "{found.get("batch_id")}"')
        return {**found, "batch_id": batch}, await self.sent(batch)

    # --- searching ----------------------------------------------------------------------------------------------------

    async def find(self, marks: Marks) -> Sequence[Found]:
        """Nothing where nothing can be searched: by way of OVH, and for workloads."""
        if self.core.ovh:
            return []
        match marks.step:
            case "join":
                return await self._joined(marks)
            case "rebatch":
                return await self._rebatched(marks)
            case _:
                return await self._marked(marks)

    async def _marked(self, marks: Marks) -> Sequence[Found]:
        """Every job of the batches that carry exactly this tag; a batch made from another is not one that we sent."""
        text = marks.marker or marks.mark
        listed = await self.tagged(await self.core.all(Route.BATCHES, [("tag", text), *self.own()]))
        batches = [each for each in listed if text in wire.tags(each) and each.get("parent_id") is None]
        return await self._members(batches, marks.marker, payloads=marks.marker is not None or len(batches) <= OPENED)

    async def tagged(self, batches: Sequence[Document]) -> Sequence[Document]:
        """With their tags, which a list may leave out."""
        bare = [wire.identity(each) for each in batches if not isinstance(each.get("tags"), list)]
        told = dict(zip(bare, await asyncio.gather(*map(self.batch, bare)), strict=True))
        return [{**each, **told.get(wire.identity(each), {})} for each in batches]

    async def _members(self, batches: Sequence[Document], marker: str | None, *, payloads: bool) -> Sequence[Found]:
        jobs = await self._jobs_of(batches)
        names = list(jobs)
        sent = await asyncio.gather(*map(self.sent, names)) if payloads else [{}] * len(names)
        return [
            wire.found(job, batch, marker=marker, payload=sending.fingerprint(told, job))
            for batch, told, name in zip(batches, sent, names, strict=True)
            for job in jobs[name]
        ]

    async def _jobs_of(self, batches: Sequence[Document]) -> Mapping[str, Sequence[Document]]:
        """The jobs of several batches, with few requests; raises Unexpected where the list does not show all."""
        found: dict[str, list[Document]] = {wire.identity(batch): [] for batch in batches}
        for part in named("batch_id", list(found)):
            for job in await self.core.all(Route.JOBS, [*part, *ORDER]):
                found.get(str(job.get("batch_id")), []).append(job)
        for batch in batches:
            name, expected = wire.identity(batch), batch.get("jobs_count")
            if not isinstance(expected, int) or len(found[name]) < expected:
                found[name] = await self.jobs(name)
            if isinstance(expected, int) and len(found[name]) < expected:
                message = f'"{name}" has {expected} jobs, and the list shows {len(found[name])}'
                raise Unexpected(message, hint="run again later")
        return {name: wire.in_order(jobs) for name, jobs in found.items()}

    async def _joined(self, marks: Marks) -> Sequence[Found]:
        """What came into the batch since it was counted, before the jobs were sent. Nothing was sent uncounted."""
        counted = marks.noted.get("count", "")
        if marks.container is None or not counted.isdecimal():
            return []
        batch, jobs = await self.sent(marks.container), await self.jobs(marks.container)
        added = jobs[int(counted) :]
        return [wire.found(job, {}, payload=sending.fingerprint(batch, job)) for job in added]

    async def _rebatched(self, marks: Marks) -> Sequence[Found]:
        """The jobs of the batches that were made from this one, and not known before."""
        if marks.container is None or "known" not in marks.noted:
            return []
        known = marks.noted["known"].split()
        batches = [each for each in await self.children(marks.container) if wire.identity(each) not in known]
        return await self._members(batches, None, payloads=True)

    async def copies(self, handles: Sequence[Handle]) -> Mapping[Handle, Sequence[Handle]]:
        """What was made of each of these jobs of one batch, whoever asked for it. By way of OVH nothing can be made."""
        children = [] if self.core.ovh else await self.children(handles[0].partition("/")[0])
        made: dict[Handle, list[Handle]] = {handle: [] for handle in handles}
        names = {handle.rpartition("/")[2]: handle for handle in handles}
        for batch, jobs in (await self._jobs_of(children)).items():
            for job in jobs:
                if (handle := names.get(str(job.get("parent_id")))) is not None:
                    made[handle].append(wire.handle({**job, "batch_id": batch}))
        return made

    async def children(self, parent: str) -> list[Document]:
        """Batches that were made from this one. Nothing older than it is looked at."""
        born = wire.seconds((await self.sent(parent)).get("created_at"))
        found: list[Document] = []
        async for page in self.core.pages(Route.BATCHES, [*self.own(), *NEWEST]):
            found += [each for each in page if each.get("parent_id") == parent]
            oldest = min((wire.seconds(each.get("created_at")) or 0.0 for each in page), default=0.0)
            if born is not None and 0.0 < oldest < born:
                break
        return found

    # --- names --------------------------------------------------------------------------------------------------------

    async def handle(self, name: Handle) -> Handle:
        """A name as a person may give it: of a batch's only job, of a job without its batch, of a workload."""
        if "/" in name:
            return name
        try:
            jobs = await self.contents(name)
        except Missing:
            return await self._without_batch(name)
        if len(jobs) == 1:
            return jobs[0].handle
        listed = ", ".join(job.handle for job in jobs[:3])
        raise Rejected(f'"{name}" is a batch of {len(jobs)} jobs', hint=f"name one of them, such as {listed}")

    async def contents(self, batch: Handle) -> Sequence[Found]:
        """The jobs of a batch, whoever made it; raises Missing."""
        told = await self.named_by_person(Route.BATCH, batch)
        sent = await self.sent(batch)
        return [wire.found(job, told, payload=sending.fingerprint(sent, job)) for job in await self.jobs(batch)]

    async def _without_batch(self, name: Handle) -> Handle:
        if self.core.ovh:
            raise Missing(f'"{self.core.name}" has no batch "{name}"', hint="a job is named with its batch: BATCH/JOB")
        try:
            return wire.handle(await self.named_by_person(Route.JOB, name))
        except Missing:
            pass
        try:
            await self.named_by_person(Route.WORKLOAD, name)
        except Missing as error:
            hint = "check the id, and that its project is one of this account"
            message = f'"{self.core.name}" has no batch, no job and no workload "{name}"'
            raise Missing(message, hint=hint, status=error.status, words=error.words) from error
        return name

    async def named_by_person(self, route: Route, name: str) -> Document:
        """What a person named: where the service says that this is no id at all, there is none."""
        try:
            return await self.core.one(route, name)
        except Unexpected as error:
            if error.status != UNFIT:
                raise
            raise Missing(str(error), status=error.status, words=error.words) from error


NEWEST: Final = (("order_by", "created_at"), ("order_by_direction", "DESC"))
