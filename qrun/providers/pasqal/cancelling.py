"""Cancelling jobs: one, several of a batch, or whole batches, and never by a request that names none.

What the service answers about objects that have ended is not documented, so whatever it refuses is judged by what is
seen afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from qrun.errors import Denied, Missing, Rejected, Unexpected
from qrun.providers.pasqal import wire
from qrun.providers.pasqal.core import Document, named
from qrun.providers.pasqal.looking import Look
from qrun.providers.pasqal.places import Route, lacking
from qrun.providers.pasqal.wire import WORDS
from qrun.record import Handle, Phase

Answers = Mapping[Handle, str | None]  # why it was not cancelled; None where it is, or soon will be

UNKNOWN: Final = "the service does not know it any more"
BATCHES: Final = 50  # batches that are cancelled by one request


async def cancel(look: Look, handles: Collection[Handle]) -> Answers:
    if look.core.ovh:
        return dict.fromkeys(handles, str(lacking("way to cancel")))
    batches: dict[str, list[Handle]] = {}
    for handle in dict.fromkeys(handles):
        batches.setdefault(handle.partition("/")[0], []).append(handle)
    alone = [name for name in batches if name in handles]
    plans = await asyncio.gather(*(_plan(look, name, batches[name]) for name in batches if name not in alone))
    whole = [plan for plan in plans if plan.whole]
    done = await asyncio.gather(
        _whole(look, whole),
        *(_some(look, plan) for plan in plans if plan.live and not plan.whole),
        *(_workload(look, Handle(name)) for name in alone),
    )
    answers = {handle: words for answer in (*(plan.ended for plan in plans), *done) for handle, words in answer.items()}
    return {handle: answers.get(handle) for handle in handles}


class _Plan:
    """What is to be done about the wanted jobs of one batch, by what is seen of it."""

    def __init__(self, batch: str, wanted: Sequence[Handle], jobs: Sequence[Document]) -> None:
        self.batch = batch
        self.words = words = {wire.handle({**job, "batch_id": batch}): wire.word(job) for job in jobs}
        self.ended: dict[Handle, str | None] = {
            handle: judged(words.get(handle)) for handle in wanted if not running(words.get(handle))
        }
        self.live = [handle for handle in wanted if handle not in self.ended]
        self.whole = bool(self.live) and words.keys() <= set(wanted)
        self.runs = any(words.get(handle) == "RUNNING" for handle in self.live)


async def _plan(look: Look, batch: str, wanted: Sequence[Handle]) -> _Plan:
    try:
        return _Plan(batch, wanted, await look.jobs(batch))
    except Missing:
        return _Plan(batch, wanted, [])


async def _whole(look: Look, plans: Sequence[_Plan]) -> Answers:
    """All that is left of these batches, in one call, which gives a reason for each that it refuses."""
    answers: dict[Handle, str | None] = {}
    for at in range(0, len(plans), BATCHES):
        part = plans[at : at + BATCHES]
        ids = {"batch_ids": [plan.batch for plan in part]}
        told, refusal = await _change(look, "PATCH", Route.CANCEL_BATCHES, json=ids)
        refused = {plan.batch: refusal for plan in part} if refusal else told.get("errors")
        for plan in part:
            reason = refused.get(plan.batch) if isinstance(refused, Mapping) else None
            if reason is not None or _runs_on(plan, told):
                answers |= await _left(look, plan, str(reason or ""))
            else:
                answers |= dict.fromkeys(plan.live)
    return answers


def _runs_on(plan: _Plan, told: Document) -> bool:
    """Whether jobs of a cancelled batch run on: by its own counts in the answer, else by what was seen before."""
    batches = told.get("batches")
    listed = [each for each in batches if isinstance(each, Mapping)] if isinstance(batches, list) else []
    counts = next((wire.counts(each) for each in listed if each.get("id") == plan.batch), None)
    return plan.runs if counts is None else "RUNNING" in counts


async def _left(look: Look, plan: _Plan, reason: str) -> Answers:
    """A cancelled batch takes along what waits; what runs comes to its end, unless it is cancelled by itself.

    So it is in a batch that was cancelled before, which is why it is refused now.
    """
    left = _Plan(plan.batch, plan.live, await look.jobs(plan.batch))
    if left.live and (not reason or (left.runs and await _cancelling(look, plan.batch))):
        return {**left.ended, **(await _some(look, left))}
    return {handle: judged(left.words.get(handle), reason) for handle in plan.live}


async def _cancelling(look: Look, batch: str) -> bool:
    return wire.word(await look.core.one(Route.BATCH_STATUS, batch)) == "CANCELING"


async def _some(look: Look, plan: _Plan) -> Answers:
    ids = [handle.rpartition("/")[2] for handle in plan.live]
    refused: dict[str, Any] = {}
    if len(ids) == 1:
        _, reason = await _change(look, "PATCH", Route.CANCEL_JOB, ids[0])
        return await _seen(look, plan, reason) if reason else {plan.live[0]: None}
    for part in named("id", ids):
        told, reason = await _change(look, "PATCH", Route.CANCEL_JOBS, plan.batch, query=part)
        if reason:
            return await _seen(look, plan, reason)
        errors = told.get("errors")
        refused |= errors if isinstance(errors, Mapping) else {}
    if not refused:
        return dict.fromkeys(plan.live)
    seen = await _seen(look, plan, "")
    return {h: seen[h] and str(refused.get(h.rpartition("/")[2]) or seen[h]) for h in plan.live}


async def _workload(look: Look, handle: Handle) -> Answers:
    try:
        word = wire.word(await look.named_by_person(Route.WORKLOAD, handle))
    except Missing:
        return await _batch(look, handle)
    if not running(word):
        return {handle: judged(word)}
    _, reason = await _change(look, "PUT", Route.CANCEL_WORKLOAD, handle)
    if reason:
        return {handle: judged(wire.word(await look.core.one(Route.WORKLOAD, handle)), reason)}
    return {handle: None}


async def _batch(look: Look, name: Handle) -> Answers:
    """A batch that a person names by its id: all of its jobs, and the batch itself where it stays open for more."""
    try:
        told = await look.named_by_person(Route.BATCH, name)
    except Missing:
        return {name: UNKNOWN}
    plan = await _plan(look, name, [wire.handle({**job, "batch_id": name}) for job in await look.jobs(name)])
    opens = wire.stays_open(told)
    if not plan.words and not opens:
        return {name: judged(wire.word(told))}
    answers = {**plan.ended, **await _whole(look, [plan] if plan.live or opens else [])}
    reasons = dict.fromkeys(words for words in answers.values() if words is not None)
    done = opens and not plan.live and not wire.stays_open(await look.batch(name))
    return {name: None if done or (plan.live and None in answers.values()) else "; ".join(reasons) or None}


async def _change(look: Look, method: str, route: Route, *names: str, **rest: Any) -> tuple[Document, str]:
    """What is answered, and why it is refused: what has ended may be refused by any number, 403 among them."""
    try:
        return await look.core.change(method, route, *names, **rest), ""
    except (Rejected, Missing, Unexpected) as error:
        return {}, error.words or str(error)
    except Denied as error:
        if error.status != 403:
            raise
        return {}, str(error)


async def _seen(look: Look, plan: _Plan, reason: str) -> Answers:
    """How the jobs stand after a refusal; the reason is for those that still run."""
    jobs = await look.jobs(plan.batch)
    words = {wire.handle({**job, "batch_id": plan.batch}): wire.word(job) for job in jobs}
    return {handle: judged(words.get(handle), reason) for handle in plan.live}


def running(word: str | None) -> bool:
    """A word that we do not know may be one of a job that runs."""
    return word is not None and WORDS.get(word, Phase.LIVE) is Phase.LIVE


def judged(word: str | None, reason: str = "") -> str | None:
    if word is None:
        return UNKNOWN
    if word in ("CANCELED", "CANCELING"):
        return None
    return reason if reason and running(word) else f'it is "{word}"'
