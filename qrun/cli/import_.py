"""`qrun import`: take in a job that was submitted elsewhere, as a manifest's job or as one that no manifest names.

The jobs of a batch that is named as a whole are taken in together, each as one of its own that no manifest names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import click

from qrun.cli.imported import KEY, experiment_of, key_of
from qrun.cli.intake import Place, known_already, take
from qrun.cli.options import given_values, manifest_option, output
from qrun.cli.out import tell
from qrun.cli.reading import Reading, manifests_or_none, project, read
from qrun.cli.recalled import compared, meaning, recalled_job
from qrun.cli.remote import ask, cloud, known, views
from qrun.cli.remote import handle as handle_of
from qrun.cli.selection import Name, select
from qrun.errors import Problem, UsageError
from qrun.job import Job
from qrun.manifest import Experiment, content
from qrun.record import Handle
from qrun.render.safe import safe
from qrun.render.words import job_name, listed

if TYPE_CHECKING:
    from qrun.cli.recalled import Meant
    from qrun.cli.remote import Known
    from qrun.connection import Connection
    from qrun.manifest import Values
    from qrun.provider import Recalled

ALIKE: Final = 0.85  # of a name that is probably a job's, written wrongly
CUT: Final = 80  # characters of a value in a message
ALONE: Final = 32  # characters of an id that says by itself which job is meant, as a UUID does


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
    """Take in the job that CONNECTION calls ID, or all jobs of a batch; nothing is submitted."""
    handle = handle_of(id)
    reading = _reading(manifests, given_values(var, var_json, var_files), name)
    there = cloud(reading.settings, connection)
    place = _place(reading, there, handle, name)
    ours = known(there, views(reading.settings))
    if names := ours.handles.get(handle):
        return known_already(place, handle, _same(place, there, names, handle, name), output)
    meant = ask(reading.settings, there.name, lambda provider: meaning(provider, handle, ours.handles))
    if len(meant.handles) != 1:
        _check_batch(handle, meant, name)
        return _take_batch(place, there, meant, ours, output)
    [handle] = meant.handles
    place = place if name is not None else replace(place, key=_key(handle))
    if names := ours.handles.get(handle):  # it was named by less than its whole name
        return known_already(place, handle, _same(place, there, names, handle, name), output)
    recalled = meant.recalled[handle]
    _check_started(recalled)
    if place.job is not None:
        _compare(place, place.job, recalled, there)
    job = place.job or recalled_job(recalled, there, place.experiment.name, place.key)
    return take(place, [(job, recalled)], [], opens=meant.open, output=output)


def _check_started(recalled: Recalled) -> None:
    if not recalled.found.started:
        handle = recalled.found.handle
        raise UsageError(f'"{handle}" is registered and was never started: there is nothing to take in')


def _check_batch(handle: Handle, meant: Meant, name: str | None) -> None:
    if not meant.handles:
        raise UsageError(f'"{handle}" is a batch without jobs: there is nothing to take in')
    if name is not None:
        hint = f"leave --as out to take in all of them, or name one, such as {meant.handles[0]}"
        raise UsageError(f'"{handle}" is a batch of {len(meant.handles)} jobs, and --as names one job', hint=hint)


def _take_batch(place: Place, there: Connection, meant: Meant, ours: Known, output: str) -> int:
    """All that no manifest's job is; what was imported before is looked at again."""
    here = []
    for handle in meant.handles:
        if names := ours.handles.get(handle):
            collected = next((key for experiment, key in names if experiment == place.experiment.name), None)
            if collected is None:
                tell(f'"{handle}" is known already, as "{job_name(*names[0])}"')
            else:
                here.append((collected, handle))
    found = list(meant.recalled.values())
    for recalled in found:
        _check_started(recalled)
    experiment = place.experiment.name
    jobs = [recalled_job(recalled, there, experiment, _key(recalled.found.handle)) for recalled in found]
    return take(place, list(zip(jobs, found, strict=True)), here, opens=meant.open, output=output)


def _key(handle: Handle) -> str:
    """The job's own id where that alone says which it is, however it was named."""
    own = handle.rpartition("/")[2]
    return own if len(own) >= ALONE and KEY.fullmatch(own) else key_of(handle)


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
    key = _key(handle) if name is None else name.removeprefix(f"{collection}.")
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


def _compare(place: Place, job: Job, recalled: Recalled, there: Connection) -> None:
    """A UsageError names every difference. What the provider cannot give back is told."""
    root = place.reading.settings.root
    different, unknown = compared(job, recalled, there, lambda program: content(root, program))
    if different:
        file, line = place.experiment.file, job.line
        raise UsageError(*[Problem(file=file, line=line, message=message) for message in different])
    if unknown:
        tell(f"not compared, since {safe(there.name)} does not give it back: {', '.join(map(safe, unknown))}")
