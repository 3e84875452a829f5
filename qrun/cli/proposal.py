"""What a command would do to one experiment: the first step of every job, as `apply` will take it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, overload

from qrun.budget import Budget
from qrun.cli.reading import capabilities
from qrun.errors import BudgetError, Problem, StoreError
from qrun.job import Job
from qrun.manifest import Experiment
from qrun.plan import Action, Need, Pair, Policy, Step, decide, match, need, over_budget
from qrun.provider import Recovery
from qrun.providers import MODULES
from qrun.record import Phase, Record, Records
from qrun.render.jobs import Standing
from qrun.store.records import Page


class Shelf(Protocol):
    """What a proposal needs to know of the results of one experiment."""

    @property
    def records(self) -> Records: ...
    def missing(self, record: Record) -> bool: ...
    def page(self, key: str, digest: str) -> Page | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """`steps` are in the manifest's order, then those of records that no job wants. `held` is not for the loop."""

    experiment: Experiment
    steps: Sequence[Step]
    held: Mapping[str, str]

    @property
    def told(self) -> Sequence[Step]:
        """The steps without those of records that nobody wants and that rest."""
        return [step for step in self.steps if step.pair.job is not None or step.action is not Action.NONE]

    @property
    def jobs(self) -> Sequence[Job]:
        """What is handed to the loop."""
        return [job for job in self.experiment.jobs if job.key not in self.held] if self.held else self.experiment.jobs

    @property
    def submits(self) -> Sequence[Step]:
        return [step for step in self.steps if step.sends]

    @property
    def remote(self) -> Sequence[Step]:
        """Submits that cost something, those of jobs that replace others among them."""
        return [step for step in self.submits if step.pair.job and capabilities(step.pair.job.target.provider).remote]

    @property
    def rests(self) -> bool:
        """Whether the loop would find nothing to do and nothing to tidy up."""
        return all(
            step.action is Action.NONE and step.pair.formerly is None and not _unfinished(step.pair)
            for step in self.steps
        )


def _unfinished(pair: Pair) -> bool:
    return pair.record is not None and pair.record.phase in (Phase.INTENT, Phase.UNCERTAIN)


def propose(
    experiment: Experiment,
    shelf: Shelf,
    policy: Policy,
    now: float,
    *,
    held: Mapping[str, str] | None = None,
) -> Proposal:
    """`held` names jobs that are not to be sent, and why."""
    withheld = held or {}
    if not withheld and not shelf.records.by_key and not any(job.conduct.needs for job in experiment.jobs):
        return Proposal(experiment=experiment, steps=Fresh(experiment.jobs, policy, now), held=withheld)
    steps = []
    for pair in match(experiment.jobs, shelf.records):
        record = pair.record
        if record is not None and record.phase is Phase.SUCCEEDED and shelf.missing(record):
            pair = replace(pair, missing=True)
        step = decide(pair, capabilities(pair.way), policy, now)
        if pair.job is not None and step.sends and pair.key in withheld:
            step = replace(step, action=Action.HOLD, reason=withheld[pair.key])
        steps.append(step)
    return Proposal(experiment=experiment, steps=_with_needs(steps), held=withheld)


class Fresh(Sequence[Step]):
    """The steps of jobs that were never run, made when they are looked at, so that only the jobs are in memory."""

    def __init__(self, jobs: Sequence[Job], policy: Policy, now: float) -> None:
        self._jobs = jobs
        self._policy = policy
        self._now = now

    def __len__(self) -> int:
        return len(self._jobs)

    @overload
    def __getitem__(self, place: int) -> Step: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Step]: ...
    def __getitem__(self, place: int | slice) -> Step | Sequence[Step]:
        if isinstance(place, slice):
            return Fresh(self._jobs[place], self._policy, self._now)
        job = self._jobs[place]
        return decide(Pair(job=job, record=None), capabilities(job.target.way), self._policy, self._now)


def _with_needs(steps: list[Step]) -> list[Step]:
    """A submit is held where what it needs will not come."""
    waiting = [step for step in steps if step.sends and step.pair.job and step.pair.job.conduct.needs]
    if not waiting:
        return steps
    phases = {step.pair.key: _expected(step) for step in steps if step.pair.job is not None}
    broken: dict[str, str] = {}
    found = True
    while found:
        found = False
        for step in waiting:
            job = step.pair.job
            assert job is not None
            if job.key in broken:
                continue
            met, why = need(job, phases)
            if met is Need.BROKEN:
                broken[job.key], phases[job.key], found = why, None, True
    return [
        replace(step, action=Action.HOLD, reason=broken[step.pair.key])
        if step.pair.job is not None and step.pair.key in broken
        else step
        for step in steps
    ]


def _expected(step: Step) -> Phase | None:
    """The phase as `need` sees it: None for what will not run, live for what may still come to something."""
    if step.action is Action.HOLD:
        return None
    if step.action is not Action.NONE:
        return Phase.LIVE
    phase = step.pair.record.phase if step.pair.record is not None else Phase.ABSENT
    return None if phase is Phase.ABSENT else phase


# --- looking at a whole project ---------------------------------------------------------------------------------------


def check_budget(proposals: Sequence[Proposal], budget: Budget, spent: tuple[int, int]) -> None:
    """All experiments of a command count together; raises BudgetError."""
    problems: list[Problem] = over_budget([s for p in proposals for s in p.steps], budget, spent=spent)
    if problems:
        raise BudgetError(*problems)


def standings(
    experiment: Experiment,
    shelf: Shelf,
    *,
    held: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
) -> list[Standing]:
    """How the experiment's jobs stand; records that no job wants are told while they are not settled."""
    pairs = (pair for pair in match(experiment.jobs, shelf.records) if _is_told(pair, only))
    return [_standing(experiment, pair, shelf, held or {}, missing=_missing(pair.record, shelf)) for pair in pairs]


def rested(proposal: Proposal, shelf: Shelf, *, only: Collection[str] | None = None) -> list[Standing]:
    """The same where nothing was to be done, from what the proposal has looked at already."""
    pairs = (step.pair for step in proposal.steps if _is_told(step.pair, only))
    return [_standing(proposal.experiment, pair, shelf, proposal.held, missing=pair.missing) for pair in pairs]


def _is_told(pair: Pair, only: Collection[str] | None) -> bool:
    if only is not None and pair.key not in only:
        return False
    record = pair.record
    return pair.job is not None or not (record is None or record.phase.final or _gone(record))


def _standing(experiment: Experiment, pair: Pair, shelf: Shelf, held: Mapping[str, str], *, missing: bool) -> Standing:
    return Standing(
        experiment=experiment.name,
        key=pair.key,
        job=pair.job,
        record=_explained(pair.record, shelf) if pair.record is not None else None,
        held=held.get(pair.key) if pair.job is not None else None,
        missing=missing,
    )


def _explained(record: Record, shelf: Shelf) -> Record:
    """With the provider's words about a bad end, which only the record file keeps."""
    last = record.last
    if last is None or last.message is not None or not last.phase.final or last.phase is Phase.SUCCEEDED:
        return record
    with suppress(StoreError):  # damage there is no reason not to tell the phase
        page = shelf.page(record.key, record.digest)
        for attempt in page.record.attempts if page is not None else ():
            if attempt.n == last.n:
                told = replace(last, word=attempt.word, message=attempt.message)
                return replace(record, attempts=(*record.attempts[:-1], told))
    return record


def _missing(record: Record | None, shelf: Shelf) -> bool:
    if record is None or record.phase is not Phase.SUCCEEDED or record.accepted:
        return False
    return record.outputs is None or shelf.missing(record)


def _gone(record: Record) -> bool:
    """A local attempt that did not end never ran."""
    return capabilities(record.provider).recover("") is Recovery.LOCAL if record.provider in MODULES else False
