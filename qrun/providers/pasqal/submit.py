"""What costs money: a batch, jobs that join one, a batch made from another, a workload.

Each is one request. Its answer names what was made; where there is no usable answer, the outcome is unknown and is
looked up by the core (`Look.find`): a batch by its marker, the rest by what is there more than before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from qrun.canonical import canonical
from qrun.errors import Missing, ProviderError, Rejected, Unavailable, Unexpected
from qrun.http import Reply
from qrun.job import Job
from qrun.provider import Sending
from qrun.providers.pasqal import WORKLOAD, envelope, sending, wire
from qrun.providers.pasqal.core import Core, Document
from qrun.providers.pasqal.looking import Look
from qrun.providers.pasqal.places import Route, lacking
from qrun.record import Handle

PATIENCE: Final = (0.5, 1.0, 2.0, 4.0)  # seconds to wait for a list to show what was made


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """What is sent. Of jobs that join a batch only they themselves."""

    content: Mapping[str, Any] = field(repr=False)
    container: Handle | None = None


async def submit(core: Core, look: Look, body: Body, jobs: Sequence[Job], pen: Sending) -> Sequence[Handle]:
    try:
        if jobs[0].kind == WORKLOAD:
            return [wire.handle(_data(await core.send(Route.NEW_WORKLOAD, json=body.content)))]
        if body.container is not None:
            return await _join(core, look, body.container, jobs, pen)
        return await _create(core, look, body, jobs, pen)
    except Rejected as error:
        raise _accusing(_placed(error, core, body), jobs) from error


async def _create(core: Core, look: Look, body: Body, jobs: Sequence[Job], pen: Sending) -> Sequence[Handle]:
    tags = sending.tags([pen.marker, pen.mark], jobs)
    reply = await core.send(Route.BATCHES, json={**body.content, "tags": tags})
    batch = _data(reply)
    made = await _jobs(reply, look, batch, least=len(jobs))
    return await _paired(reply, look, wire.identity(batch), jobs, made)


async def _join(core: Core, look: Look, batch: Handle, jobs: Sequence[Job], pen: Sending) -> Sequence[Handle]:
    """The jobs that are there are counted and the number is noted: what lies beyond it afterwards is ours."""
    try:
        count, known = await _count(look, batch)
    except (Missing, Unexpected) as error:
        raise Unavailable(f'the jobs of "{batch}" cannot be counted, nothing was sent: {error}') from error
    await pen.note(count=str(count))
    reply = await core.send(Route.ADD, batch, json=[sending.runs(job) for job in jobs])
    made = await _jobs(reply, look, _data(reply), least=count + len(jobs))
    if len(known) == count:
        fresh = [job for job in made if job.get("id") not in known]
    else:
        fresh = [*await _ordered(reply, look, batch, made)][count:]
    return await _paired(reply, look, batch, jobs, fresh)


async def _count(look: Look, batch: Handle) -> tuple[int, set[str]]:
    """Of what the list shows and what the batch counts itself the larger: one of them may lag behind. And the ids."""
    jobs, status = await asyncio.gather(look.jobs(batch), look.core.one(Route.BATCH_STATUS, batch))
    return max(len(jobs), sum((wire.counts(status) or {}).values())), set(map(wire.identity, jobs))


async def again(core: Core, look: Look, handles: Sequence[Handle], pen: Sending) -> Sequence[Handle]:
    """These jobs of one closed batch once more, in a new one: each one's new handle, in their order.

    What was made from the batch before is noted: a batch that is there more afterwards is ours. The jobs are always
    named, because a request that names none means all.
    """
    if core.ovh:
        raise lacking("batches made from others")
    parent, ids = handles[0].partition("/")[0], [handle.rpartition("/")[2] for handle in handles]
    try:
        known = [wire.identity(each) for each in await look.children(parent)]
    except (Missing, Unexpected) as error:
        raise Unavailable(f'what was made from "{parent}" cannot be seen, nothing was sent: {error}') from error
    await pen.note(known=" ".join(known))
    reply = await core.send(Route.REBATCH, parent, query=[("id", name) for name in ids])
    batch = _data(reply)
    jobs = await _jobs(reply, look, batch, least=len(ids))
    made = {wire.said(job, "parent_id"): wire.handle({**job, "batch_id": batch["id"]}) for job in jobs}
    if set(made) != set(ids) or len(jobs) != len(ids):
        raise reply.malformed(f'"{batch["id"]}" was made, and its jobs are not those that were to run once more')
    return [made[name] for name in ids]


def _data(reply: Reply) -> Document:
    """What was made; where the answer does not say it, it may have been made all the same."""
    try:
        data: Document = envelope.held(envelope.opened(reply), dict, of="the answer")
        wire.identity(data)
    except Unexpected as error:
        raise reply.malformed(str(error)) from error
    return data


async def _jobs(reply: Reply, look: Look, batch: Document, *, least: int) -> Sequence[Document]:
    """All jobs of the batch, from the answer, or else from a list that shows at least so many, or soon will."""
    told = batch.get("jobs")
    if isinstance(told, list) and told and all(isinstance(job, Mapping) for job in told):
        return wire.in_order(told)
    try:
        return await _listed(look, wire.identity(batch), least=least)
    except ProviderError as error:
        raise reply.malformed(f'"{batch["id"]}" was made, and its jobs cannot be seen: {error}') from error


async def _listed(look: Look, batch: str, *, least: int) -> Sequence[Document]:
    for pause in PATIENCE:
        with suppress(Missing):
            if len(jobs := await look.jobs(batch)) >= least:
                return jobs
        await look.core.clock.sleep(pause)
    return await look.jobs(batch)


async def _paired(
    reply: Reply, look: Look, batch: str, jobs: Sequence[Job], made: Sequence[Document]
) -> Sequence[Handle]:
    """Each job's handle, by what they hold; where that does not tell, they were made in the order in which they were
    sent, and an answer that does not say which that is is put in order by the list.
    """
    if len(made) != len(jobs):
        raise reply.malformed(f'{len(jobs)} jobs were sent, and "{batch}" has {len(made)} that are new')
    try:
        matched = _matched([sending.runs(job) for job in jobs], made)
        if matched is None:
            matched = await _ordered(reply, look, batch, made)
        return [wire.handle({**job, "batch_id": batch}) for job in matched]
    except Unexpected as error:
        raise reply.malformed(str(error)) from error


async def _ordered(reply: Reply, look: Look, batch: str, made: Sequence[Document]) -> Sequence[Document]:
    """In the order of their creation, which the list keeps where it is not told."""
    if len(made) < 2 or wire.ordered(made):
        return made
    try:
        places = {job.get("id"): place for place, job in enumerate(await _listed(look, batch, least=len(made)))}
    except ProviderError as error:
        raise reply.malformed(f'the order of the jobs of "{batch}" cannot be seen: {error}') from error
    if any(job.get("id") not in places for job in made):
        raise reply.malformed(f'"{batch}" was made, and the order of its jobs is not told')
    return sorted(made, key=lambda job: places[job.get("id")])


def _matched(sent: Sequence[Document], made: Sequence[Document]) -> Sequence[Document] | None:
    """For each job that was sent one that was made and holds the same; None where they do not hold the same."""
    wanted, contents = list(map(_content, sent)), list(map(_content, made))
    if sorted(wanted) != sorted(contents):
        return None
    left: dict[bytes, list[Document]] = {}
    for content, job in zip(contents, made, strict=True):
        left.setdefault(content, []).append(job)
    return [left[content].pop(0) for content in wanted]


def _content(job: Document) -> bytes:
    try:
        return canonical([job.get("runs"), sending.plain(job.get("variables"))])
    except (ValueError, TypeError):
        return b""


def _placed(error: Rejected, core: Core, body: Body) -> Rejected:
    """What is not found, or forbidden, where something new is made is the project."""
    if error.status not in (403, 404) or body.container is not None:
        return error
    hint = f'check project_id of connection "{core.name}"'
    if error.status == 403:
        hint = f"{hint}, and what its credentials permit there"
    return Rejected(*[replace(each, hint=hint) for each in error.problems], **_facts(error))


def _accusing(error: Rejected, jobs: Sequence[Job]) -> Rejected:
    """A refusal names jobs by their places in the request."""
    places = [place for place in sorted(envelope.accused(error.words)) if place < len(jobs)]
    if not places:
        return error
    problems = [replace(each, field=jobs[places[0]].key) for each in error.problems]
    return Rejected(*problems, members=tuple(jobs[place].key for place in places), **_facts(error))


def _facts(error: Rejected) -> dict[str, Any]:
    return {"provider_code": error.provider_code, "words": error.words, "status": error.status}
