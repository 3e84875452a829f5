"""The end of apply, sync and retry: one exit code, one document or a few last words, and what to type next."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from qrun.cli.exits import BUDGET, Ends, exit_code, uncertain, unsatisfied
from qrun.cli.opened import open_json, tell_open
from qrun.cli.out import SHOWN, errors_json, say, say_json, tell, tell_problems, to_json
from qrun.cli.reading import capabilities
from qrun.errors import QrunError, StaleError, StoreError
from qrun.events import Summary
from qrun.events import to_json as event_json
from qrun.record import Phase
from qrun.render import jobs as render_jobs
from qrun.render.jobs import Standing
from qrun.render.safe import shown
from qrun.render.words import count, job_name, phases

if TYPE_CHECKING:
    from qrun.cli.running import Orders, Work

BAD: Final = (Phase.FAILED, Phase.LOST)
ONE_BY_ONE: Final = 20  # experiments whose ends are told one by one


def conclude(works: Sequence[Work], orders: Orders, errors: Sequence[QrunError]) -> int:
    code = exit_code(ends(works, orders))
    every = [standing for work in works for standing in work.standings()]
    if orders.output == "json":
        say_json(document(works, errors, code))
    elif orders.output == "jsonl":
        found = tuple(render_jobs.counts(every).items())
        say(to_json(event_json(Summary(exit=code, phases=found))))
    else:
        if words := _last_words(works, every, orders):
            say("\n".join(words))
    for error in errors:
        tell_problems(error)
    for hint in _hints(works, every, orders):
        tell(hint)
    if orders.output != "json":
        tell_open([batch for work in works for batch in work.opened])
    return code


def ends(works: Sequence[Work], orders: Orders) -> Ends:
    outcomes = [work.outcome for work in works if work.outcome is not None]
    errors = [work.error for work in works if work.error is not None]
    stops = {outcome.stopped for outcome in outcomes}
    return Ends(
        interrupted="interrupted" in stops,
        store=any(isinstance(error, (StoreError, StaleError)) for error in errors),
        uncertain=any(uncertain(work.store.records) for work in works),
        over_budget=any(outcome.over_budget for outcome in outcomes) or any(e.exit == BUDGET for e in errors),
        error=any(outcome.errors for outcome in outcomes)
        or any(not isinstance(error, (StoreError, StaleError)) and error.exit != BUDGET for error in errors),
        unsatisfied=any(unsatisfied_standing(standing) for work in works for standing in work.standings()),
        waiting="timeout" in stops
        or any(outcome.postponed or (orders.policy.wait and outcome.left) for outcome in outcomes),
    )


def unsatisfied_standing(standing: Standing) -> bool:
    if standing.job is None:
        return False
    return standing.held is not None or unsatisfied(standing.record, missing=standing.missing)


def document(works: Sequence[Work], errors: Sequence[QrunError], code: int) -> dict[str, Any]:
    outcomes = [work.outcome for work in works if work.outcome is not None]
    more = [error for outcome in outcomes for error in (*outcome.errors, *outcome.postponed)]
    return {
        "version": 1,
        "experiments": [
            {
                "experiment": work.name,
                "manifest": work.proposal.experiment.path or None,
                "jobs": [render_jobs.job_json(standing) for standing in work.standings()],
                "summary": render_jobs.counts(work.standings()),
                **open_json(work.opened),
            }
            for work in works
        ],
        "errors": errors_json([*errors, *more]),
        "exit": code,
    }


def _last_words(works: Sequence[Work], every: Sequence[Standing], orders: Orders) -> list[str]:
    if not works and orders.nothing is not None:
        return [f"nothing to do: {orders.nothing}"]
    if all(work.proposal.rests and work.error is None for work in works):
        return [nothing_to_do(every)]
    told = [work for work in works if work.outcome is not None and not work.proposal.rests]
    if len(told) > ONE_BY_ONE:
        folder = os.path.dirname(told[0].folder)
        return [f"{count(len(told), 'experiment')}: {phases(render_jobs.counts(every))}; results in {folder}"]
    return [
        f"{work.name}: {phases(render_jobs.counts(work.standings())) or 'no job waits'}; results in {work.folder}"
        for work in told
    ]


def nothing_to_do(every: Sequence[Standing]) -> str:
    """`nothing to do: 3 jobs are done`; of jobs that no manifest names, only those that wait are looked at."""
    if not every:
        return "nothing to do: no job waits"
    counts = dict(render_jobs.counts(every))
    done = counts.pop(str(Phase.SUCCEEDED), 0)
    parts = [f"{count(done, 'job')} {'is' if done == 1 else 'are'} done"] if done or not counts else []
    if counts:
        parts.append(phases(counts))
    return f"nothing to do: {', '.join(parts)}"


def _hints(works: Sequence[Work], every: Sequence[Standing], orders: Orders) -> list[str]:
    hints = []
    stopped = {work.outcome.stopped for work in works if work.outcome is not None} - {None, "store"}
    if stopped:
        hints.append(how_to_go_on(sorted(filter(None, stopped))[0], every, orders.command))
    failed = Counter(s.phase for s in every if s.job is not None)
    if failed[Phase.FAILED] + failed[Phase.LOST] and not stopped:
        hints += _bad_ends(works)
        hints.append('"qrun retry --failed" runs failed jobs once more')
    return hints


def _bad_ends(works: Sequence[Work]) -> list[str]:
    """Why jobs failed that this command only found so; of the others the progress has told."""
    found = [s for work in works if work.outcome is None for s in work.standings() if s.phase in BAD and s.job]
    lines = [f"{s.phase:<10} {job_name(s.experiment, s.key)}  {shown(s.remark)}".rstrip() for s in found[:SHOWN]]
    return lines if len(found) <= SHOWN else [*lines, f"... and {len(found) - SHOWN} more"]


def how_to_go_on(why: str, every: Sequence[Standing], command: str) -> str:
    """What becomes of the jobs that did not end, and what to type."""
    unfinished = [s for s in every if s.job is not None and not s.phase.final and s.held is None]
    here = [s for s in unfinished if not _is_remote(s)]
    there = [s for s in unfinished if _is_remote(s) and s.phase is not Phase.ABSENT]
    unsent = len(unfinished) - len(here) - len(there)
    parts = []
    if there:
        parts.append(f"{count(len(there), 'job')} {'goes' if len(there) == 1 else 'go'} on")
    if here:
        parts.append(f"{count(len(here), 'local job')} {'starts' if len(here) == 1 else 'start'} again")
    if unsent:
        parts.append(f"{count(unsent, 'job')} {'was' if unsent == 1 else 'were'} not sent")
    told = f"{why}: {', '.join(parts)}" if parts else why
    return f"{told}; run `{command}` to go on"


def _is_remote(standing: Standing) -> bool:
    return standing.job is not None and capabilities(standing.job.target.provider).remote
