"""A plan as text and as JSON: one line, or one object, a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final

from qrun.plan import Action, Step
from qrun.record import Phase
from qrun.render.safe import safe, shown
from qrun.render.words import blocks, job_name

SIGNS: Final[Mapping[Action, str]] = {
    Action.SUBMIT: "+",
    Action.FIND: "?",
    Action.ADOPT: "?",
    Action.WAIT: "~",
    Action.FETCH: "<",
    Action.RELABEL: "=",
    Action.CLOSE: "-",
    Action.CANCEL: "-",
    Action.HOLD: "!",
}
TOLD: Final[Mapping[Action, str]] = {
    Action.SUBMIT: "to submit",
    Action.FIND: "to look up",
    Action.ADOPT: "to adopt",
    Action.WAIT: "to wait for",
    Action.FETCH: "to fetch",
    Action.RELABEL: "to relabel",
    Action.CLOSE: "to close",
    Action.CANCEL: "to cancel",
    Action.HOLD: "held",
}


def texts(parts: Sequence[tuple[str, str, Sequence[Step]]]) -> Iterator[str]:
    """Pieces of a plan, each of some lines; a plan of 100 000 jobs is never whole in memory.

    `parts` are (experiment, manifest, steps). Steps with nothing to do are only counted, but for renamed jobs.
    """
    for experiment, manifest, steps in parts:
        rows = partial(_rows, experiment, steps)
        if next(rows(), None) is not None:
            yield f"{safe(experiment)} ({safe(manifest)})"
            yield from blocks(rows)
            yield ""
    yield summary(step for _, _, steps in parts for step in steps)


def _rows(experiment: str, steps: Sequence[Step]) -> Iterator[tuple[str, ...]]:
    return (_row(experiment, step) for step in steps if step.action is not Action.NONE or step.pair.formerly)


def _row(experiment: str, step: Step) -> tuple[str, ...]:
    job = step.pair.job
    name = job_name(experiment, step.pair.key)
    if step.action is Action.NONE:
        return ("  ~ rename", f"{job_name(experiment, step.pair.formerly or '')} → {name}", "", "", "")
    sign = f"  {SIGNS[step.action]} {step.action}"
    if job is None:
        record = step.pair.record
        target = f"{record.provider}/{record.device}" if record is not None else ""
        return (sign, name, safe(target), "", f"({_shown(reason(step))})")
    shots = f"{job.shots} shots" if job.shots is not None else ""
    return (sign, name, _target(job.target.connection, job.target.device), shots, f"({_shown(reason(step))})")


def reason(step: Step) -> str:
    """Why, for people; a renamed job says what it was called."""
    formerly = step.pair.formerly
    return step.reason if formerly is None else f'{step.reason}, renamed from "{formerly}"'


@lru_cache
def _target(connection: str, device: str) -> str:
    return safe(f"{connection}/{device}")


@lru_cache
def _shown(words: str) -> str:
    return shown(words)


def summary(steps: Iterable[Step]) -> str:
    """`3 to submit, 2 done`."""
    counts = Counter(_class(step) for step in steps)
    order = [
        *TOLD.values(),
        "renamed",
        "done",
        *(phase for phase in Phase if phase is not Phase.SUCCEEDED),
        "no longer wanted",
    ]
    return ", ".join(f"{counts[word]} {word}" for word in order if counts[word]) or "no jobs"


def _class(step: Step) -> str:
    if step.action is not Action.NONE:
        return TOLD[step.action]
    if step.pair.formerly is not None:
        return "renamed"
    if step.pair.job is None:
        return "no longer wanted"
    phase = step.pair.record.phase if step.pair.record is not None else Phase.ABSENT
    return "done" if phase is Phase.SUCCEEDED else str(phase)


def step_json(step: Step) -> dict[str, Any]:
    """One entry of `steps`. `price` is 0 for what runs here, None where it is not known."""
    job, record = step.pair.job, step.pair.record
    provider = job.target.provider if job is not None else record.provider if record is not None else ""
    return {
        "job": step.pair.key,
        "action": str(step.action),
        "reason": reason(step),
        "provider": provider,
        "device": job.target.device if job is not None else record.device if record is not None else "",
        "shots": job.shots if job is not None else None,
        "digest": step.pair.digest if job is not None else record.digest if record is not None else "",
        "price": 0 if provider == "local" else None,
    }


def summary_json(steps: Iterable[Step]) -> dict[str, int]:
    """How many steps of each action; `none` are the jobs at rest."""
    counts = Counter(str(step.action) for step in steps)
    return {str(action): counts[action] for action in Action if counts[action]}
