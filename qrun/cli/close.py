"""`qrun close`: close batches that stay open for more jobs.

Everything is looked at while the results are held, so that no apply lets a job join at the same time. A batch that was
closed and whose note was lost is closed once more, which is no error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias, cast

import click

from qrun.apply.joining import SHUT
from qrun.cli.adoption import standing
from qrun.cli.exits import ERROR, OK
from qrun.cli.opened import Opened, counted, opened, tell_open
from qrun.cli.options import given_values, manifest_option, output
from qrun.cli.out import say, say_json, tell_problems
from qrun.cli.project import kept, stored, view
from qrun.cli.publish import publisher
from qrun.cli.reading import Reading, project
from qrun.cli.remote import connections
from qrun.cli.running import Orders, prepared, typed
from qrun.cli.selection import Name, select
from qrun.cli.show import readable
from qrun.cli.status import document
from qrun.errors import Problem, ProviderError, SettingsError, UsageError
from qrun.fact import Noted
from qrun.manifest import Experiment
from qrun.plan import Policy
from qrun.provider import Containers
from qrun.render.safe import safe
from qrun.render.words import job_name

if TYPE_CHECKING:
    from qrun.cli.course import Connections
    from qrun.cli.running import Work
    from qrun.manifest import Values
    from qrun.render.jobs import Standing

Meant: TypeAlias = "tuple[Work, Opened]"  # a batch, and the results in which it is noted


@click.command("close")
@click.argument("jobs", nargs=-1, metavar="[JOB]...")
@click.option(
    "--all", "every", is_flag=True, help="all open batches, of the manifests that are named or of the project"
)
@manifest_option
@output("table", "json")
def command(
    jobs: Sequence[str],
    every: bool,
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    output: str,
) -> int:
    """Close the batches that hold these jobs, so that no more jobs join them; what they hold goes on."""
    if bool(jobs) == every:
        if jobs:
            raise UsageError("jobs are named beside --all", hint="use one of both")
        raise UsageError("no job is named", hint="name some, or use --all")
    reading = _everything(manifests, given_values(var, var_json, var_files), alone=every and bool(manifests))
    chosen = list(_open_names(reading)) if every else select(jobs, _names(reading))
    orders = Orders(command=typed(), policy=Policy(submit=False, wait=False), only=_only(chosen))
    with ExitStack() as stack:
        works = prepared(stack, reading, orders)
        if not every:
            _check(works, chosen)
        meant = [(work, batch) for work in works for batch in work.opened]
        closed, errors = asyncio.run(_close(meant, reading))
        for error in errors:
            tell_problems(error)
        left = [opened(work.name, work.store.records) for work in works]
        if output == "json":
            experiments = [work.proposal.experiment for work in works]
            say_json(document(experiments, [_standings(work, meant) for work in works], left, errors))
        elif closed:
            say("\n".join(f"closed {batch} {counted(batch)}" for _, batch in closed))
        elif not errors:
            say("nothing to close: no batch is open")
        if output == "table" and not errors:
            tell_open([batch for batches in left for batch in batches])
    return ERROR if errors else OK


# --- which batches ----------------------------------------------------------------------------------------------------


def _everything(arguments: Sequence[str], values: Values, *, alone: bool) -> Reading:
    """The manifests' experiments and, unless they are meant `alone`, those of which only results are left."""
    reading = readable(arguments, values)
    settings = reading.settings if reading is not None else project()
    wanted = list(reading.experiments) if reading is not None else []
    named = {experiment.name for experiment in wanted}
    left = [
        Experiment(name=name, file="", path=stored(settings, name).manifest, sha256="", line=0, jobs=())
        for name in (kept(settings) if not alone else ())
        if name not in named
    ]
    return Reading(settings=settings, experiments=[*wanted, *left], files=reading.files if reading is not None else ())


def _names(reading: Reading) -> Iterator[Name]:
    for experiment in reading.experiments:
        yield from ((experiment.name, job.key) for job in experiment.jobs)
        yield from ((experiment.name, record.key) for record in view(reading.settings, experiment).records)


def _open_names(reading: Reading) -> Iterator[Name]:
    for experiment in reading.experiments:
        for batch in opened(experiment.name, view(reading.settings, experiment).records):
            yield from ((experiment.name, key) for key in batch.jobs)


def _only(chosen: Sequence[Name]) -> Mapping[str, frozenset[str]]:
    return {name: frozenset(key for other, key in chosen if other == name) for name, _ in chosen}


def _check(works: Sequence[Work], chosen: Sequence[Name]) -> None:
    """A UsageError names each job that is in no open batch."""
    inside = {(work.name, key) for work in works for batch in work.opened for key in batch.jobs}
    problems = [
        Problem(message=f'"{job_name(*name)}" is in no open batch', hint="qrun status shows which are open")
        for name in chosen
        if name not in inside
    ]
    if problems:
        raise UsageError(*problems)


# --- closing ----------------------------------------------------------------------------------------------------------


async def _close(meant: Sequence[Meant], reading: Reading) -> tuple[list[Meant], list[ProviderError]]:
    """What was closed, each noted before the next is asked for, and what went wrong with the others."""
    connect = connections(reading.settings)
    closed: list[Meant] = []
    errors: list[ProviderError] = []
    try:
        for work, batch in meant:
            try:
                await _containers(connect, batch.connection).close(batch.container)
            except ProviderError as error:
                errors.append(error)
                continue
            work.store.note(*[Noted(marker=marker, facts=SHUT) for marker in batch.markers])
            closed.append((work, batch))
    finally:
        await connect.aclose()
    if closed:
        await _publish([work for work, _ in closed], reading)
    return closed, errors


def _containers(connect: Connections, connection: str) -> Containers:
    """Raises ProviderError or SettingsError."""
    provider = connect(connection)
    if not provider.capabilities.opens:
        words = f'the connection "{safe(connection)}" has no batches to close any more'
        raise SettingsError(words, hint="set it back in qrun.toml to what it was")
    return cast(Containers, provider)


async def _publish(works: Sequence[Work], reading: Reading) -> None:
    """Other machines must not let jobs join what was closed here."""
    for work in {work.name: work for work in works}.values():
        work.store.publish(rest=True)
    carry = publisher(reading.settings)
    if carry is not None:
        await carry()


def _standings(work: Work, meant: Sequence[Meant]) -> list[Standing]:
    """How the jobs of the batches stand."""
    names = {(r.key, r.digest): None for other, batch in meant if other is work for r, _ in batch.members}
    jobs = {(job.key, job.digest): job for job in work.proposal.experiment.jobs}
    return [standing(work, jobs.get(name), *name) for name in names]
