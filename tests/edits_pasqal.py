"""What an author makes of a manifest between a command that died and the next one, and what is wanted from then on.

It is always the job "b" that is edited; a job's runs, by which the books know it, are kept in its program or as shots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.booked_pasqal import Jobs, Wanted, runs_of, workload

B: Final = "b"
NEW: Final = "newer"  # a tag that no job has before


def renamed(jobs: Jobs) -> Wanted:
    return Wanted(jobs={"second" if name == B else name: job for name, job in jobs.items()})


def changed(jobs: Jobs) -> Wanted:
    """The old one may have run already."""
    return Wanted(jobs={**jobs, B: _with(jobs[B], runs_of(jobs[B]) + 4)}, perhaps=frozenset({runs_of(jobs[B])}))


def relabelled(jobs: Jobs) -> Wanted:
    return Wanted(jobs={name: {**job, "tags": [NEW]} for name, job in jobs.items()})


def removed(jobs: Jobs) -> Wanted:
    """Where it was the only one, another takes its place."""
    left = {name: job for name, job in jobs.items() if name != B}
    return Wanted(jobs=left or {"other": _with(jobs[B], 56)}, perhaps=frozenset({runs_of(jobs[B])}))


def added(jobs: Jobs) -> Wanted:
    return Wanted(jobs={**jobs, "d": _with(jobs[B], 52)})


def _with(job: Mapping[str, Any], runs: int) -> Mapping[str, Any]:
    """The same with other runs, which makes it another job."""
    other = {"program": workload(runs)["program"]} if "shots" not in job else {"shots": runs}
    return {**job, **other}


EDITS: Final[Mapping[str, Callable[[Jobs], Wanted]]] = {
    edit.__name__: edit for edit in (renamed, changed, relabelled, removed, added)
}
