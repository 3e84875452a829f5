"""`qrun retry`: an apply limited to some jobs that ended badly, with one more attempt allowed.

Imported jobs, which no manifest names, are copied by their provider (`--rebatch`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from qrun.cli.options import duration, given_values, manifest_option, not_sent_elsewhere, output, positive
from qrun.cli.project import view
from qrun.cli.reading import Reading, project, read
from qrun.cli.running import Orders, carry_out, typed
from qrun.cli.selection import Name, select
from qrun.errors import Problem, UsageError
from qrun.plan import Policy
from qrun.record import Phase
from qrun.render.words import job_name

if TYPE_CHECKING:
    from qrun.job import Job
    from qrun.record import Record

AGAIN = frozenset({Phase.FAILED, Phase.LOST, Phase.CANCELLED})


@click.command("retry")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option("--failed", is_flag=True, help="all jobs that failed or were lost")
@click.option("--rebatch", is_flag=True, help="imported jobs of a batch: the provider runs them once more in a new one")
@click.option(
    "--status",
    "words",
    multiple=True,
    metavar="WORD",
    help="with --rebatch: those that ended with this word of the provider",
)
@click.option("--min-shots", callback=positive, metavar="N", help="with --rebatch: those with so many shots or more")
@click.option("--max-shots", callback=positive, metavar="N", help="with --rebatch: those with so many shots or fewer")
@manifest_option
@click.option("--no-wait", is_flag=True, help="submit, look once, and leave; local jobs run to their end")
@click.option(
    "--timeout", callback=duration, metavar="DURATION", help="how long to wait; ends the command, never a job"
)
@click.option("--parallel", callback=positive, metavar="N", help="submissions at a time, and local workers")
@not_sent_elsewhere
@click.option("--yes", is_flag=True, help="send remote jobs without being asked")
@output("table", "json", "jsonl")
def command(
    jobs: Sequence[str],
    failed: bool,
    rebatch: bool,
    words: Sequence[str],
    min_shots: int | None,
    max_shots: int | None,
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    **given: Any,
) -> int:
    """Run jobs that failed, were lost or were cancelled once more."""
    if bool(jobs) == failed:
        if jobs:
            raise UsageError("jobs are named beside --failed", hint="use one of both")
        raise UsageError("no job is named", hint="name some, or use --failed")
    filters = {"--status": words, "--min-shots": min_shots, "--max-shots": max_shots}
    if rebatch:
        return _rebatch(None if failed else jobs, filters, manifests, given)
    if asked := [name for name, value in filters.items() if value]:
        raise UsageError(f"{asked[0]} is about imported jobs", hint="add --rebatch, or name the jobs")
    reading = read(manifests, given_values(var, var_json, var_files))
    chosen = _failed(reading) if failed else _named(reading, jobs)
    only: dict[str, frozenset[str]] = {}
    for experiment, key in chosen:
        only[experiment] = only.get(experiment, frozenset()) | {key}
    orders = replace(_orders(given), only=only, once_more=True, nothing="no job failed" if failed else None)
    return carry_out(reading, orders)


def _orders(given: Mapping[str, Any]) -> Orders:
    return Orders(
        command=typed(),
        output=given["output"],
        policy=Policy(wait=not given["no_wait"]),
        timeout=given["timeout"],
        parallel=given["parallel"],
        not_sent_elsewhere=given["not_sent_elsewhere"],
        yes=given["yes"],
    )


def _rebatch(
    jobs: Sequence[str] | None, filters: Mapping[str, Any], manifests: Sequence[str], given: Mapping[str, Any]
) -> int:
    from qrun.cli.rebatch import Which, rebatch

    if manifests:
        raise UsageError("a manifest is given beside --rebatch, which is about imported jobs", hint="leave one out")
    if given["output"] == "jsonl":
        raise UsageError("--rebatch tells its end alone, and no events", hint="use -o json")
    orders = _orders(given)
    looking = replace(orders, policy=replace(orders.policy, submit=False))
    words, least, most = filters.values()
    return rebatch(project(), jobs, Which(words=tuple(words), least=least, most=most), looking.only_for)


def _records(reading: Reading) -> dict[Name, tuple[Job, Record | None]]:
    return {
        (experiment.name, job.key): (job, seen.records.get(job.key, job.digest))
        for experiment in reading.experiments
        for seen in [view(reading.settings, experiment)]
        for job in experiment.jobs
    }


def _failed(reading: Reading) -> list[Name]:
    return [
        name
        for name, (_, record) in _records(reading).items()
        if record is not None and record.phase in (Phase.FAILED, Phase.LOST)
    ]


def _named(reading: Reading, patterns: Sequence[str]) -> list[Name]:
    """The jobs that the patterns mean; a UsageError names each one that cannot run once more."""
    known = _records(reading)
    chosen = select(patterns, known)
    problems = [problem for name in chosen if (problem := _refusal(name, known[name][1])) is not None]
    if problems:
        raise UsageError(*problems)
    return chosen


def _refusal(name: Name, record: Record | None) -> Problem | None:
    shown = job_name(*name)
    match record.phase if record is not None else Phase.ABSENT:
        case phase if phase in AGAIN:
            return None
        case Phase.SUCCEEDED:
            return Problem(message=f'"{shown}" succeeded; to run it again use matrix: {{repeat: [1, 2]}}')
        case Phase.LIVE:
            return Problem(message=f'"{shown}" still runs', hint=f"qrun cancel {shown}")
        case Phase.INTENT | Phase.UNCERTAIN:
            return Problem(message=f'"{shown}" was sent and its outcome is not known', hint="qrun apply looks for it")
        case _:
            return Problem(message=f'"{shown}" was not run yet', hint="qrun apply runs it")
