"""`qrun import`: take in a job that was submitted elsewhere, as a manifest's job or as one that no manifest names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import click

from qrun.cli.adoption import conclude, standing, take_in
from qrun.cli.imported import KEY, experiment_of, key_of, shown_job
from qrun.cli.options import given_values, manifest_option, output
from qrun.cli.origin import origin
from qrun.cli.out import say, tell
from qrun.cli.reading import Reading, manifests_or_none, project, read
from qrun.cli.recalled import compared, programs_of, recalled_job
from qrun.cli.remote import ask, cloud, known, views
from qrun.cli.remote import handle as handle_of
from qrun.cli.running import Orders, prepared, typed
from qrun.cli.selection import Name, select
from qrun.clock import Clock, stamp
from qrun.errors import Problem, UsageError
from qrun.fact import Intended, Reached
from qrun.job import Job, rendered
from qrun.manifest import Experiment, content
from qrun.marks import marker
from qrun.plan import Policy
from qrun.record import Handle, Member, Phase, Record
from qrun.render.safe import safe
from qrun.render.words import job_name, listed

if TYPE_CHECKING:
    from qrun.cli.running import Work
    from qrun.connection import Connection
    from qrun.manifest import Values
    from qrun.provider import Recalled
    from qrun.settings import Settings

ALIKE: Final = 0.85  # of a name that is probably a job's, written wrongly
CUT: Final = 80  # characters of a value in a message


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a job is to be recorded. Without `job` no manifest names it."""

    reading: Reading
    experiment: Experiment
    key: str
    job: Job | None = None

    @property
    def name(self) -> Name:
        return (self.experiment.name, self.key)

    @property
    def orders(self) -> Orders:
        only = {self.experiment.name: frozenset({self.key})}
        return Orders(command=typed(), policy=Policy(submit=False, wait=False), only=only)


@click.command("import")
@click.argument("connection")
@click.argument("id")
@click.option("--as", "name", metavar="NAME", help="the job that it is: one of a manifest, or a name for it")
@manifest_option
@output("table", "json")
def command(
    connection: str,
    id: str,  # noqa: A002 (as it is called in the usage line)
    name: str | None,
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    output: str,
) -> int:
    """Take in the job that CONNECTION calls ID; nothing is submitted."""
    handle = handle_of(id)
    reading = _reading(manifests, given_values(var, var_json, var_files), name)
    there = cloud(reading.settings, connection)
    place = _place(reading, there, handle, name)
    ours = known(there, views(reading.settings))
    if names := ours.handles.get(handle):
        return _known_already(place, handle, _same(place, there, names, handle, name), output)
    recalled = ask(reading.settings, there.name, lambda provider: provider.recall(handle))
    if not recalled.found.started:
        raise UsageError(f'"{handle}" is registered and was never started: there is nothing to take in')
    if place.job is not None:
        _compare(place, place.job, recalled, there)
        return _take(place, place.job, {}, recalled, output)
    job = recalled_job(recalled, there, place.experiment.name, place.key)
    return _take(place, job, programs_of(recalled), recalled, output)


# --- where it is to be recorded ---------------------------------------------------------------------------------------


def _reading(manifests: Sequence[str], values: Values, name: str | None) -> Reading:
    """Manifests are read only where a name may be one of theirs."""
    if manifests or (name is not None and manifests_or_none() is not None):
        return read(manifests, values)
    return Reading(settings=project(), experiments=(), files=())


def _place(reading: Reading, there: Connection, handle: Handle, name: str | None) -> Place:
    if name is not None and (found := _wanted(reading.experiments, name)) is not None:
        experiment, job = found
        return Place(reading=replace(reading, experiments=[experiment]), experiment=experiment, key=job.key, job=job)
    collection = experiment_of(there.name)
    key = key_of(handle) if name is None else name.removeprefix(f"{collection}.")
    if not KEY.fullmatch(key):
        hint = 'use letters, digits, ".", "_" and "-", at most 64, the first one a letter or digit'
        raise UsageError(f'"{safe(key)[:CUT]}" is not a name for a job', hint=hint)
    experiment = Experiment(name=collection, file="", path="", sha256="", line=0, jobs=())
    return Place(reading=replace(reading, experiments=[experiment]), experiment=experiment, key=key)


def _wanted(experiments: Sequence[Experiment], name: str) -> tuple[Experiment, Job] | None:
    """The one job of the manifests that this is the name of. What looks like one and is none is a UsageError."""
    jobs = {(e.name, job.key): (e, job) for e in experiments for job in e.jobs}
    forms = {form for experiment, key in jobs for form in (key, f"{experiment}.{key}")}
    forms |= {form.partition(":")[0] for form in forms}  # a matrix
    meant = name in forms or any(name.startswith(f"{experiment.name}.") for experiment in experiments)
    if not meant and not get_close_matches(name, forms, n=1, cutoff=ALIKE):
        return None
    found = select([name], jobs)
    if len(found) > 1:
        words = f'"{safe(name)}" means {len(found)} jobs: {listed([job_name(*one) for one in found])}'
        raise UsageError(Problem(message=words, hint="name one"))
    return jobs[found[0]]


def _same(place: Place, there: Connection, names: Sequence[Name], handle: Handle, name: str | None) -> Name:
    """The name under which this very job is here already; a UsageError where it would be another one."""
    if place.name in names:
        return place.name
    collected = [one for one in names if one[0] == experiment_of(there.name)]
    if name is None and collected:
        return collected[0]
    raise UsageError(
        f'"{handle}" is known already, as "{job_name(*names[0])}"', hint="a job of a provider is one job here"
    )


def _known_already(place: Place, handle: Handle, name: Name, output: str) -> int:
    """Nothing is recorded once more; one that still runs is looked at again."""
    place = replace(place, key=name[1])
    with ExitStack() as stack:
        [work] = prepared(stack, place.reading, place.orders)
        record = _with_handle(work, name[1], handle)
        errors = take_in(work, (), place.reading, place.orders) if record.phase is Phase.LIVE else []
        end = standing(work, _job(work, record, place.job), record.key, record.digest)
        if output == "table":
            say(f'{job_name(*name)}: "{handle}" is here already, {end.phase}')
        return conclude([end], place.reading, errors, output)


def _with_handle(work: Work, key: str, handle: Handle) -> Record:
    records = work.store.records.by_key.get(key, {}).values()
    return next(r for r in records if any(attempt.handle == handle for attempt in r.attempts))


def _job(work: Work, record: Record, wanted: Job | None) -> Job | None:
    """What the record is of: the manifest's job where it is still that one, or what was imported."""
    if wanted is not None:
        return wanted if wanted.digest == record.digest else None
    return shown_job(work.name, record, work.store.job(record.key, record.digest))


def _compare(place: Place, job: Job, recalled: Recalled, there: Connection) -> None:
    """A UsageError names every difference. What the provider cannot give back is told."""
    different, unknown = compared(job, recalled, there)
    if different:
        file, line = place.experiment.file, job.line
        raise UsageError(*[Problem(file=file, line=line, message=message) for message in different])
    if unknown:
        tell(f"not compared, since {safe(there.name)} does not give it back: {', '.join(map(safe, unknown))}")


# --- recording it -----------------------------------------------------------------------------------------------------


def _take(place: Place, job: Job, programs: Mapping[str, bytes], recalled: Recalled, output: str) -> int:
    settings = place.reading.settings
    with ExitStack() as stack:
        [work] = prepared(stack, place.reading, place.orders)
        attempt = _attempt(place, work, job, recalled.found.handle)
        for program in job.programs:
            data = programs[program.sha256] if program.sha256 in programs else content(settings.root, program)
            work.store.keep_program(program, data)
        facts = _facts(place, job, attempt, recalled, settings)
        errors = take_in(work, facts, place.reading, place.orders)
        end = standing(work, job, job.key, job.digest)
        if output == "table":
            say(f'{job_name(*place.name)}: "{recalled.found.handle}" taken in, {end.phase}')
        return conclude([end], place.reading, errors, output)


def _attempt(place: Place, work: Work, job: Job, handle: Handle) -> int:
    """The number that it gets, looked up while the results are held; a UsageError where its place is taken."""
    records = list(work.store.records.by_key.get(job.key, {}).values())
    if place.job is None and any(record.attempts for record in records):
        words = f'"{job_name(*place.name)}" is "{records[0].handle}" already'
        raise UsageError(words, hint="choose another name with --as")
    record = work.store.records.get(job.key, job.digest)
    name = job_name(*place.name)
    match record.phase if record is not None else Phase.ABSENT:
        case Phase.LIVE | Phase.SUCCEEDED as phase:
            assert record is not None
            raise UsageError(f'"{name}" is {phase} as "{record.handle}"', hint="one job is enough for it")
        case Phase.INTENT | Phase.UNCERTAIN:
            hint = f"qrun resolve {name} --adopt {handle}"
            raise UsageError(f'"{name}" was sent and its outcome is not known; this may be it', hint=hint)
        case _:
            return record.last.n + 1 if record is not None and record.last is not None else 1


def _facts(place: Place, job: Job, attempt: int, recalled: Recalled, settings: Settings) -> tuple[Intended, Reached]:
    """As if we had sent it, under the marker that it carries or would have got."""
    found = recalled.found
    member = Member(key=job.key, digest=job.digest, attempt=attempt, payload=found.payload)
    mine = found.marker or marker(settings.project or "", job.experiment, [member])
    manifest = {"manifest": place.experiment.path} if place.experiment.path else {}
    connection = job.target.connection
    return (
        Intended(
            marker=mine,
            connection=connection,
            step="create",
            members=(member,),
            jobs=(rendered(job),),
            digests_without_site=(job.digest_without_site,),
            sent=found.created or stamp(Clock().now()),
            origin={**manifest, **origin(settings.root)},
        ),
        Reached(
            key=job.key,
            digest=job.digest,
            attempt=attempt,
            phase=Phase.LIVE,
            marker=mine,
            handle=found.handle,
            connection=connection,
            found="user",
        ),
    )
