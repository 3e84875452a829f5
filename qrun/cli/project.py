"""Looking over a whole project: results that other manifests left, and what was spent so far."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from qrun.budget import LIMITS
from qrun.cli.files import plain_file
from qrun.errors import ManifestError, Problem, QrunError, StoreError
from qrun.manifest import Experiment, Values, load
from qrun.providers import MODULES, capabilities
from qrun.render.safe import safe
from qrun.store import Store
from qrun.store.paths import LOCK, PRIVATE, RESULTS, SAFE

if TYPE_CHECKING:
    from qrun.job import Job
    from qrun.record import Record
    from qrun.settings import Settings
    from qrun.store.view import View


def view(settings: Settings, experiment: Experiment) -> View:
    """The results of an experiment as they stand, read without changing anything."""
    check_moved(settings, [experiment])
    found = Store.read(settings.root, experiment.name, project=settings.project, journal=settings.journal)
    found.offer(experiment.jobs)
    return found


def kept(settings: Settings) -> list[str]:
    """The names of all experiments that have results here."""
    folder = os.path.join(settings.root, RESULTS)
    try:
        if os.path.islink(folder):
            raise NotADirectoryError
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(_unread(error)) from error
    return [name for name in names if SAFE.fullmatch(name) and _holds_results(os.path.join(folder, name))]


def _unread(error: OSError) -> Problem:
    if isinstance(error, NotADirectoryError):
        return Problem(file=RESULTS, message="a link or file stands where a folder is due", hint="move it away")
    reason = (error.strerror or "unknown").lower()
    return Problem(file=RESULTS, message=f"cannot be read: {reason}", hint="make it readable for you")


def _holds_results(folder: str) -> bool:
    return any(os.path.exists(os.path.join(folder, name)) for name in (LOCK, PRIVATE))


def stored(settings: Settings, name: str) -> View:
    return Store.read(settings.root, name, project=settings.project, journal=settings.journal)


# --- experiments that moved -------------------------------------------------------------------------------------------


def check_moved(settings: Settings, experiments: Iterable[Experiment]) -> None:
    """Results go with the experiment's name to another file, unless the file they belong to still names it."""
    problems = []
    for experiment in experiments:
        manifest = _owner(settings, experiment.name)
        if not manifest or manifest == experiment.path or experiment.name not in _names(settings, manifest):
            continue
        words = f'the experiment "{experiment.name}" is also in "{safe(manifest)}", to which its results belong'
        hint = "give one of them another name"
        problems.append(Problem(file=experiment.file, line=experiment.line, column=1, message=words, hint=hint))
    if problems:
        raise ManifestError(*problems)


def _owner(settings: Settings, experiment: str) -> str:
    """The manifest that the results were made from, as the lock's first line has it; damage is the store's to tell."""
    try:
        with plain_file(os.path.join(settings.root, RESULTS, experiment, LOCK)) as file:
            header = json.loads(file.readline(65536))
    except (OSError, ValueError, RecursionError):
        return ""
    manifest = header.get("manifest") if isinstance(header, dict) else None
    return manifest if isinstance(manifest, str) else ""


def held_elsewhere(settings: Settings, experiments: Iterable[Experiment]) -> dict[str, dict[str, str]]:
    """For each experiment the jobs whose very digests stand under an experiment that no manifest names any more.

    Only experiments without results of their own are asked about, and only jobs that cost something: running a local
    one again is free.
    """
    fresh = [e for e in experiments if any(map(_costs, e.jobs)) and e.name not in kept(settings)]
    if not fresh:
        return {}
    named = {e.name for e in experiments}
    left: dict[str, str] = {}
    for name in kept(settings):
        if name in named:
            continue
        found = stored(settings, name)
        if name not in _names(settings, found.manifest):
            left |= {record.digest: name for record in found.records if record.attempts}
    held = {}
    for experiment in fresh:
        reasons = {
            job.key: f'was run as part of "{left[job.digest]}": set `name: {left[job.digest]}` to keep its results'
            for job in experiment.jobs
            if job.digest in left and _costs(job)
        }
        if reasons:
            held[experiment.name] = reasons
    return held


def _costs(job: Job) -> bool:
    return capabilities(job.target.provider).remote


def _names(settings: Settings, manifest: str) -> set[str]:
    """The experiments that a manifest of the project names; none where it is gone or does not read."""
    path = os.path.normpath(os.path.join(settings.root, manifest))
    if not manifest or os.path.isabs(manifest) or manifest.startswith("..") or not os.path.isfile(path):
        return set()
    try:
        found = load([path], Values(), root=settings.root, connections=settings.connections, capabilities=capabilities)
    except QrunError:
        return set()
    return {experiment.name for experiment in found}


# --- budgets ----------------------------------------------------------------------------------------------------------


def spent(settings: Settings, limits: Iterable[Mapping[str, object]] = ()) -> tuple[int, int]:
    """Jobs and shots of all remote attempts that the project's results know; counted only where a budget asks."""
    asked = [name for name in LIMITS if name.startswith("total_")]
    budgets = [{name: getattr(settings.budget, name) for name in asked}, *limits]
    if all(budget.get(name) is None for budget in budgets for name in asked):
        return (0, 0)
    sums = [_spent(stored(settings, name)) for name in kept(settings)]
    return (sum(jobs for jobs, _ in sums), sum(shots for _, shots in sums))


def _spent(found: View) -> tuple[int, int]:
    paid = [record for record in found.records if record.attempts and not _free(record)]
    shots = (found.job(record.key, record.digest).get("shots") or 0 for record in paid)
    attempts = [len(record.attempts) for record in paid]
    return (sum(attempts), sum(number * each for number, each in zip(attempts, shots, strict=True)))


def _free(record: Record) -> bool:
    return record.provider in MODULES and not capabilities(record.provider).remote
