"""`qrun cancel`: ask the provider to cancel jobs, and record what comes of it unless a running apply does.

With `--remote` the jobs are those of an account, and nothing is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from qrun.cli.account import Account, account, refuse_beside_remote
from qrun.cli.exits import ERROR, OK
from qrun.cli.imported import imported
from qrun.cli.opened import Opened, open_json, opened, tell_open
from qrun.cli.options import given_values, manifest_option, output
from qrun.cli.out import errors_json, say, say_json, tell, tell_problems, told
from qrun.cli.project import view
from qrun.cli.reading import Reading, read
from qrun.cli.remote import cancel_there, connections
from qrun.cli.running import Orders, prepared, take, typed
from qrun.cli.selection import Name, exactly, select
from qrun.errors import Problem, ProviderError, QrunError, StoreError, UsageError
from qrun.plan import Policy
from qrun.providers import capabilities
from qrun.record import Handle, Phase, Record
from qrun.render.jobs import Standing, counts, job_json
from qrun.render.safe import safe, shown
from qrun.render.words import job_name

if TYPE_CHECKING:
    from qrun.job import Job
    from qrun.manifest import Experiment


@click.command("cancel")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@manifest_option
@account
@click.option("--yes", is_flag=True, help="with --remote and filters: cancel without being asked")
@output("table", "json")
def command(
    jobs: Sequence[str],
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    account: Account | None,
    yes: bool,
    output: str,
) -> int:
    """Ask the provider to cancel jobs that are queued or running; with --remote JOB is the provider's id of one."""
    if account is not None:
        refuse_beside_remote({"a manifest": manifests})
        return cancel_there(account, jobs, yes, output)
    if not jobs:
        raise UsageError('missing argument "JOB..."', hint='see "qrun cancel --help"')
    reading = read(manifests, given_values(var, var_json, var_files))
    known = _known(reading)
    _refuse_imported(jobs, known, reading)
    chosen = select(jobs, known)
    live = _live(chosen, known, named=exactly(jobs, known))
    answers, errors = asyncio.run(_ask(reading, live))
    errors += _recorded(reading, chosen)
    for error in errors:
        tell_problems(error)
    if output == "json":
        _document(reading, chosen, _known(reading), errors)
    else:
        say("\n".join(_line(name, answers.get(name)) for name in chosen if name in answers) or "nothing was cancelled")
        tell_open([batch for experiment in reading.experiments for batch in _opened(reading, experiment, chosen)])
    return ERROR if errors or any(words is not None for words in answers.values()) else OK


def _known(reading: Reading) -> dict[Name, tuple[Job | None, Record | None]]:
    """All jobs of the manifests, and those that were changed since and still run."""
    found: dict[Name, tuple[Job | None, Record | None]] = {}
    for experiment in reading.experiments:
        records = view(reading.settings, experiment).records
        for job in experiment.jobs:
            older = (r for r in records.by_key.get(job.key, {}).values() if r.phase is Phase.LIVE)
            found[experiment.name, job.key] = (job, records.get(job.key, job.digest) or next(older, None))
        for record in records:
            if record.phase is Phase.LIVE:
                found.setdefault((experiment.name, record.key), (None, record))
    return found


def _refuse_imported(patterns: Sequence[str], known: Collection[Name], reading: Reading) -> None:
    """What was imported may be somebody else's, so it is cancelled by its id alone; a UsageError says so."""
    theirs = {(e.name, job.key): job for e in imported(reading.settings, {name for name, _ in known}) for job in e.jobs}
    named = exactly(patterns, theirs) - exactly(patterns, known)
    problems = [
        Problem(
            message=f'"{job_name(*name)}" was imported, and no manifest names it',
            hint=f"qrun cancel --remote {safe(theirs[name].target.connection)} ID, with its handle as the ID",
        )
        for name in sorted(named)
    ]
    if problems:
        raise UsageError(*problems)


def _live(
    chosen: Sequence[Name], known: Mapping[Name, tuple[Job | None, Record | None]], *, named: Collection[Name]
) -> dict[Name, Record]:
    """A UsageError for each that does not live and was named, and for what a pattern means where nothing lives."""
    problems, live, blamed = [], {}, False
    for name in chosen:
        job, record = known[name]
        if job is not None and not capabilities(job.target.provider).remote:
            words = f'"{job_name(*name)}" is a local job, which runs only inside an apply'
            problems.append(Problem(message=words, hint="press Ctrl-C there"))
        elif record is None or record.phase is not Phase.LIVE or record.handle is None:
            phase = record.phase if record is not None else Phase.ABSENT
            problems.append(Problem(message=f'"{job_name(*name)}" is {phase}; only a live job can be cancelled'))
        else:
            live[name] = record
            continue
        blamed = blamed or name in named
    if problems and (blamed or not live):
        raise UsageError(*problems)
    return live


async def _ask(reading: Reading, live: Mapping[Name, Record]) -> tuple[dict[Name, str | None], list[QrunError]]:
    """The provider's answer for each job, None where it agreed; one request a connection."""
    connect = connections(reading.settings)
    groups: dict[str, dict[Handle, Name]] = {}
    for name, record in live.items():
        assert record.last is not None and record.handle is not None
        groups.setdefault(record.last.connection or record.provider, {})[record.handle] = name
    answers: dict[Name, str | None] = {}
    errors: list[QrunError] = []
    try:
        for connection, handles in groups.items():
            try:
                told = await connect(connection).cancel(list(handles))
            except ProviderError as error:
                errors.append(error)
            else:
                answers |= {handles[handle]: words for handle, words in told.items()}
    finally:
        await connect.aclose()
    return answers, errors


def _recorded(reading: Reading, chosen: Sequence[Name]) -> list[QrunError]:
    """Look once at what came of it and record it; where an apply holds the results, it does that."""
    only = {name: frozenset(key for other, key in chosen if other == name) for name, _ in chosen}
    orders = Orders(command=typed(), policy=Policy(submit=False, wait=False), only=only)
    try:
        with ExitStack() as stack:
            return take(prepared(stack, reading, orders), reading, orders, lambda _: None)
    except StoreError as error:
        tell(f"{told(error.code, replace(error.problems[0], hint=None))}; it records what comes of this")
        return []


def _opened(reading: Reading, experiment: Experiment, chosen: Sequence[Name]) -> Sequence[Opened]:
    """The batches of these jobs that may still take more."""
    only = {key for name, key in chosen if name == experiment.name}
    return opened(experiment.name, view(reading.settings, experiment).records, only=only)


def _line(name: Name, words: str | None) -> str:
    return f"{job_name(*name)}: cancelled" if words is None else f"{job_name(*name)}: not cancelled: {shown(words)}"


def _document(
    reading: Reading,
    chosen: Sequence[Name],
    known: Mapping[Name, tuple[Job | None, Record | None]],
    errors: Sequence[QrunError],
) -> None:
    experiments: list[dict[str, Any]] = []
    for experiment in reading.experiments:
        group = [
            Standing(experiment=experiment.name, key=name[1], job=known[name][0], record=known[name][1])
            for name in chosen
            if name[0] == experiment.name
        ]
        if group:
            entry = {"experiment": experiment.name, "manifest": experiment.path, "jobs": [job_json(s) for s in group]}
            held = open_json(_opened(reading, experiment, chosen))
            experiments.append({**entry, "summary": counts(group), **held})
    say_json({"version": 1, "experiments": experiments, "errors": errors_json(errors)})
