"""What is to be done: `match` pairs jobs with records, `decide` names a pair's next step, `arrange` orders the steps.

All three are pure. `plan` shows the first step of every job; `apply` takes steps until every job rests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from qrun.budget import Budget
from qrun.clock import instant
from qrun.errors import Problem
from qrun.job import Job
from qrun.provider import Capabilities, Recovery
from qrun.record import Phase, Record, Records

AGREE: Final = 5.0  # seconds between the two searches that together prove absence (RELIABILITY §2.2)
MEMBERS: Final = 100  # jobs in one submission at most
ELSEWHERE: Final = "another machine may have sent it, and nobody can look: if none has, --not-sent-elsewhere sends it"
LOCKED: Final = "would have to be sent, which --locked forbids"


class Action(StrEnum):
    SUBMIT = "submit"
    FIND = "find"
    ADOPT = "adopt"
    WAIT = "wait"
    FETCH = "fetch"
    RELABEL = "relabel"
    CLOSE = "close"
    CANCEL = "cancel"
    HOLD = "hold"
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How this command behaves; everything that is neither the manifest's nor the record's."""

    submit: bool = True  # False: sync, which only watches and fetches
    wait: bool = True
    superseded: str | None = None  # "keep" or "cancel"; None holds
    new_site: bool = False
    not_sent_elsewhere: bool = True  # no other machine sent what nobody can search: the journal or the user says so
    locked: bool = False  # nothing may be sent; what would be is held
    only: frozenset[str] | None = None  # keys whose steps are taken
    once_more: frozenset[str] = frozenset()  # keys that `retry` allows one more attempt
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)  # what this command was refused already
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A wanted job and what is known of it. Without `job`, a record that nobody wants any more."""

    job: Job | None
    record: Record | None
    formerly: str | None = None  # the key under which the record stands until it is renamed
    elsewhere: str | None = None  # the site of a record that differs in nothing else
    older: tuple[Record, ...] = ()  # records of the same key with another digest
    missing: bool = False  # the outputs that the record names are not in this results directory

    @property
    def key(self) -> str:
        if self.job is not None:
            return self.job.key
        assert self.record is not None
        return self.record.key

    @property
    def way(self) -> str:
        """Whose capabilities hold, as `providers.capabilities` takes it; a record does not tell the variant."""
        if self.job is not None:
            return self.job.target.way
        assert self.record is not None
        return self.record.provider

    @property
    def digest(self) -> str:
        if self.job is not None:
            return self.job.digest
        assert self.record is not None
        return self.record.digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What to do next for one pair. `attempt` is the number that a submit would have; `not_before` is a wall time."""

    pair: Pair
    action: Action
    reason: str
    attempt: int = 0
    not_before: float | None = None

    @property
    def rests(self) -> bool:
        return self.action in (Action.NONE, Action.HOLD)

    @property
    def sends(self) -> bool:
        """Whether the job is sent: at once, or as soon as what it replaces is cancelled."""
        return self.action in (Action.SUBMIT, Action.CANCEL)


# --- match ------------------------------------------------------------------------------------------------------------


def match(jobs: Sequence[Job], records: Records) -> list[Pair]:
    """One pair a job, in the jobs' order, then one for each record that no job claims, sorted by key and digest.

    Renaming is free: a record that no (key, digest) claims and whose digest is wanted elsewhere is taken over, in key
    order. A record that differs only in its site is named, not taken.
    """
    if not records.by_key:
        return [Pair(job=job, record=None) for job in jobs]
    claimed: dict[str, Record | None] = {job.key: _claim(job, records) for job in jobs}
    taken = {(r.key, r.digest) for r in claimed.values() if r is not None}
    free = [record for record in records if (record.key, record.digest) not in taken]
    renamed = _renamed([job for job in jobs if claimed[job.key] is None], free)
    left = [r for r in free if (r.key, r.digest) not in {(f.key, f.digest) for f in renamed.values()}] if free else []
    older: dict[str, list[Record]] = {}
    for record in left:
        older.setdefault(record.key, []).append(record)
    pairs = []
    for job in jobs:
        found, former = claimed[job.key], renamed.get(job.key)
        pairs.append(
            Pair(
                job=job,
                record=found or former,
                formerly=former.key if former is not None else None,
                elsewhere=_elsewhere(job, older.get(job.key, ())) if not (found or former) else None,
                older=tuple(older.get(job.key, ())),
            )
        )
    return pairs + [Pair(job=None, record=record) for record in left]


def _claim(job: Job, records: Records) -> Record | None:
    lines = records.by_key.get(job.key)
    if lines is None:
        return None
    exact = lines.get(job.digest)
    if exact is not None or not _siteless(job):
        return exact
    return next((r for r in lines.values() if r.digest_without_site == job.digest), None)


def _siteless(job: Job) -> bool:
    """Whether the site could not be known here; a stored line may have one."""
    return job.target.site is None


def _renamed(wanting: Sequence[Job], free: Sequence[Record]) -> dict[str, Record]:
    by_digest: dict[str, list[Record]] = {}
    for record in free:
        by_digest.setdefault(record.digest, []).append(record)
    found = {}
    for job in sorted(wanting, key=lambda job: job.key):
        if candidates := by_digest.get(job.digest):
            found[job.key] = candidates.pop(0)
    return found


def _elsewhere(job: Job, older: Iterable[Record]) -> str | None:
    if job.target.site is None:
        return None
    same = (r for r in older if r.digest_without_site == job.digest_without_site and r.site and r.attempts)
    return next((r.site for r in same if not (_loopback(r.site) or _loopback(job.target.site))), None)


def _loopback(site: str | None) -> bool:
    """A stand-in cloud and a real one are never the same place, so nothing is held between them."""
    host = (site or "").split("/")[0].rpartition(":")[0] or (site or "").split("/")[0]
    return host in {"localhost", "[::1]", "::1"} or host.startswith("127.")


# --- decide -----------------------------------------------------------------------------------------------------------


def decide(pair: Pair, can: Capabilities, policy: Policy, now: float) -> Step:
    """The next step of one pair; every choice with its reason. `now` is wall time in seconds."""
    phase = pair.record.phase if pair.record is not None else Phase.ABSENT
    last = pair.record.last if pair.record is not None else None
    number = last.n if last is not None else 0

    def step(action: Action, reason: str, *, attempt: int = number, not_before: float | None = None) -> Step:
        return Step(pair=pair, action=action, reason=reason, attempt=attempt, not_before=not_before)

    if policy.only is not None and pair.key not in policy.only and not (last and _unclear(phase)):
        return step(Action.NONE, "not asked for")
    match phase:
        case Phase.ABSENT:
            return _submit(pair, can, policy, number)
        case Phase.INTENT | Phase.UNCERTAIN:
            assert last is not None
            return _clear_up(pair, can, policy, now)
        case Phase.LIVE if can.recover("") is Recovery.LOCAL:
            if pair.job is None:
                return step(Action.NONE, "interrupted and no longer wanted")
            return _submit(pair, can, policy, number, reason="interrupted")
        case Phase.LIVE:
            return step(Action.WAIT, "no longer in the manifest" if pair.job is None else "not finished")
        case Phase.SUCCEEDED:
            assert pair.record is not None
            if not pair.record.accepted and (pair.missing or pair.record.outputs is None):
                return _get_again(pair, can, policy, number)
            return _labels(pair) or step(Action.NONE, "done")
        case Phase.FAILED if pair.job is not None and number < pair.job.conduct.attempts:
            return _submit(
                pair, can, policy, number + 1, reason=f"failed, attempt {number + 1} of {pair.job.conduct.attempts}"
            )
        case _ if pair.job is not None and pair.key in policy.once_more:
            return _submit(pair, can, policy, number + 1, reason=f"{phase}, once more")
        case _:
            return step(Action.NONE, str(phase))


def _unclear(phase: Phase) -> bool:
    return phase in (Phase.INTENT, Phase.UNCERTAIN)


def _submit(pair: Pair, can: Capabilities, policy: Policy, number: int, *, reason: str | None = None) -> Step:
    """A submit, unless something stands against it."""
    number = max(number, 1)

    def held(reason: str) -> Step:
        return Step(pair=pair, action=Action.HOLD, reason=reason, attempt=number)

    if pair.job is None:
        return Step(pair=pair, action=Action.NONE, reason="no longer in the manifest")
    if not policy.submit:
        return Step(pair=pair, action=Action.NONE, reason="not submitted yet", attempt=number)
    if (words := policy.refused.get((pair.key, pair.digest))) is not None:
        return held(f"rejected: {words}")
    if policy.locked:
        return held(LOCKED)
    if pair.elsewhere is not None and not policy.new_site:
        return held(f"site changed from {pair.elsewhere}: set site in the connection, or buy anew with --new-site")
    older = [r for r in pair.older if r.provider != "local"]  # what ran in a process of ours has ended with it
    live = [r for r in older if r.phase is Phase.LIVE]
    if any(_unclear(r.phase) for r in older):
        return held("what it replaces has an unknown outcome")
    if live and policy.superseded is None:
        return held("supersedes a job that still runs: --prune cancels it first, --keep pays for both")
    if not policy.not_sent_elsewhere and can.recover(pair.job.kind) is Recovery.NOTHING:
        return held(ELSEWHERE)
    if live and policy.superseded == "cancel":
        return Step(pair=pair, action=Action.CANCEL, reason="supersedes a job that still runs", attempt=number)
    why = reason or ("changed" if any(r.attempts for r in pair.older) else "new")
    return Step(pair=pair, action=Action.SUBMIT, reason=why, attempt=number)


def _clear_up(pair: Pair, can: Capabilities, policy: Policy, now: float) -> Step:
    """After a crash or a lost answer (RELIABILITY §2.4, rows 3 to 6)."""
    record = pair.record
    assert record is not None
    last = record.last
    assert last is not None
    kind = pair.job.kind if pair.job is not None else ""

    def step(action: Action, reason: str, *, not_before: float | None = None) -> Step:
        return Step(pair=pair, action=action, reason=reason, attempt=last.n, not_before=not_before)

    match can.recover(kind, last.step):
        case Recovery.LOCAL:
            if pair.job is None:
                return step(Action.NONE, "interrupted and no longer wanted")
            return _submit(pair, can, policy, last.n, reason="interrupted")
        case Recovery.KEY if pair.job is not None and policy.submit:
            return step(Action.SUBMIT, "interrupted; the provider knows our key")
        case Recovery.ID_FIRST if not last.noted.get("uploaded") and last.phase is Phase.INTENT:
            return step(Action.FIND, "interrupted before it was started")
        case Recovery.NOTHING:
            return step(Action.HOLD, "outcome unknown, and the provider cannot be searched: qrun resolve")
        case _:
            sent = instant(last.sent) if last.sent else now
            return step(Action.FIND, "outcome unknown", not_before=sent + can.settle)


def _get_again(pair: Pair, can: Capabilities, policy: Policy, number: int) -> Step:
    """Succeeded, but the outputs are not here; a local run is made again with the seed that it had."""
    reason = "outputs are not here" if pair.missing else "succeeded, not fetched"
    if can.recover("") is not Recovery.LOCAL:
        return Step(pair=pair, action=Action.FETCH, reason=reason, attempt=number)
    return _submit(pair, can, policy, number, reason=reason)


def _labels(pair: Pair) -> Step | None:
    job, record = pair.job, pair.record
    if job is None or record is None or (job.tags == record.tags and job.description == record.description):
        return None
    return Step(pair=pair, action=Action.RELABEL, reason="labels changed", attempt=record.last.n if record.last else 0)


# --- needs ------------------------------------------------------------------------------------------------------------


class Need(StrEnum):
    MET = "met"
    WAITING = "waiting"
    BROKEN = "broken"


def need(job: Job, phases: Mapping[str, Phase | None]) -> tuple[Need, str]:
    """Whether what a job needs is there. `phases` maps each key to its phase, None where it is held for good."""
    waiting = ""
    for key in job.conduct.needs:
        phase = phases.get(key, Phase.ABSENT)
        if phase is None or phase in (Phase.FAILED, Phase.CANCELLED, Phase.LOST, Phase.UNCERTAIN):
            return Need.BROKEN, f'needs "{key}", which is {phase or "held"}'
        if phase is not Phase.SUCCEEDED:
            waiting = waiting or key
    return (Need.WAITING, f'waits for "{waiting}"') if waiting else (Need.MET, "")


# --- arrange ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """Steps that may be taken at the same time; `groups` are the submits, each group one submission."""

    groups: tuple[tuple[Step, ...], ...] = ()
    others: tuple[Step, ...] = ()


def arrange(steps: Sequence[Step]) -> list[Round]:
    """Rounds in the order of `needs`; in each, submits packed by connection, device, kind and `submit.with`.

    Steps other than submits stand in the first round. Steps that rest are left out.
    """
    depth = _depths([s for s in steps if s.action in (Action.SUBMIT, Action.CANCEL)])
    others = tuple(s for s in steps if not s.rests and s.action is not Action.SUBMIT)
    submits = [s for s in steps if s.action is Action.SUBMIT]
    if not submits:
        return [Round(others=others)] if others else []
    last = max(depth[s.pair.key] for s in submits)
    return [
        Round(groups=packed([s for s in submits if depth[s.pair.key] == level]), others=others if level == 0 else ())
        for level in range(last + 1)
    ]


def _depths(steps: Sequence[Step]) -> dict[str, int]:
    """How many rounds must come before each job; the manifest has been checked for cycles."""
    jobs = {s.pair.key: s.pair.job for s in steps if s.pair.job is not None}
    depths: dict[str, int] = {}
    for root in jobs:
        stack = [root]
        while stack:
            key = stack[-1]
            job = jobs[key]
            open_needs = [n for n in job.conduct.needs if n in jobs and n not in depths]
            if open_needs:
                stack.extend(open_needs)
                continue
            depths[key] = max((depths[n] + 1 for n in job.conduct.needs if n in depths), default=0)
            stack.pop()
    return depths


def packed(steps: Sequence[Step], unasked: Callable[[str], bool] = lambda _: False) -> tuple[tuple[Step, ...], ...]:
    """Submits in groups that may share a submission; without `submit.with` or `runs` each goes alone, but where a
    provider packs `unasked` what is alike.
    """
    groups: dict[object, list[list[Step]]] = {}
    for step in steps:
        job = step.pair.job
        assert job is not None
        word = job.conduct.together
        shared = word is not None or unasked(job.target.provider)
        alone = (job.target, job.kind, word, step.attempt > 1) if shared else object()
        filled = groups.setdefault(alone, [[]])
        if len(filled[-1]) >= min(job.conduct.pack or MEMBERS, MEMBERS):
            filled.append([])
        filled[-1].append(step)
    return tuple(tuple(group) for filled in groups.values() for group in filled)


def over_budget(steps: Sequence[Step], budget: Budget, *, spent: tuple[int, int] = (0, 0)) -> list[Problem]:
    """What this apply would send against what may be sent; `spent` is (jobs, shots) over all attempts so far.

    Local jobs cost nothing and are not counted.
    """
    sent = [s.pair.job for s in steps if s.sends and s.pair.job and s.pair.job.target.provider != "local"]
    jobs, shots = len(sent), sum(job.shots or 0 for job in sent)
    asked = (
        ("max_jobs", jobs, "jobs to send"),
        ("max_shots", shots, "shots to send"),
        ("total_jobs", spent[0] + jobs, "jobs in all"),
        ("total_shots", spent[1] + shots, "shots in all"),
    )
    problems = []
    for name, amount, what in asked:
        limit = getattr(budget, name)
        if limit is not None and amount > limit:
            problems.append(
                Problem(message=f"{amount} {what}, but budget.{name} is {limit}", hint=f"raise {name} or use --only")
            )
    cost_limited = budget.max_cost is not None or budget.total_cost is not None
    if cost_limited and jobs and not budget.allow_unknown_cost:
        problems.append(
            Problem(
                message=f"the cost of {jobs} jobs is unknown, and a cost budget is set", hint="set allow_unknown_cost"
            )
        )
    return problems
