"""`qrun show`: one job's record and its results."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from qrun.cli.opened import Opened, open_json, opened, tell_open
from qrun.cli.options import given_values, manifest_option, output
from qrun.cli.out import near, say, say_json, tell, told
from qrun.cli.project import kept, stored, view
from qrun.cli.reading import Reading, manifests_or_none, project, read
from qrun.cli.selection import Name, select
from qrun.errors import ManifestError, Problem, UsageError
from qrun.record import Record, to_json, union
from qrun.render.safe import safe
from qrun.render.show import text
from qrun.render.words import job_name, listed
from qrun.store import records as pages
from qrun.store.records import Page

if TYPE_CHECKING:
    from qrun.job import Job
    from qrun.manifest import Values
    from qrun.settings import Settings
    from qrun.store.view import View


@click.command("show")
@click.argument("job", metavar="JOB")
@manifest_option
@output("table", "json")
def command(
    job: str,
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    output: str,
) -> int:
    """Show what is recorded of one job, with its results drawn as a histogram."""
    shelf = Shelf.of(manifests, given_values(var, var_json, var_files))
    name = one(job, shelf)
    seen = shelf.views[name[0]]
    record = record_of(shelf, name)
    results = seen.results(*record_name(record))
    if output == "json":
        say_json({**_document(seen, record, results), **open_json(_opened(seen, name))})
        return 0
    page = seen.page(*record_name(record))
    record = union(page.record, record) if page is not None else record
    facts = page.provided.get(record.last.n, {}) if page is not None and record.last is not None else {}
    say(
        text(
            job_name(*name),
            record,
            seen.job(*record_name(record)),
            facts=facts,
            folder=near(os.path.join(shelf.root, os.path.dirname(seen.record_file(*record_name(record))))),
            results=results,
        )
    )
    tell_open(_opened(seen, name))
    return 0


def _opened(seen: View, name: Name) -> Sequence[Opened]:
    """The batch that holds the job, where it may take more."""
    return opened(name[0], seen.records, only={name[1]})


@dataclass(frozen=True, kw_only=True, slots=True)
class Shelf:
    """All that can be shown: the manifests' jobs, where they read, and every record."""

    root: str
    jobs: Mapping[Name, Job]
    views: Mapping[str, View]

    @classmethod
    def of(cls, arguments: Sequence[str], values: Values) -> Shelf:
        reading = readable(arguments, values)
        found: Settings = reading.settings if reading is not None else project()
        experiments = reading.experiments if reading is not None else ()
        views = {e.name: view(found, e) for e in experiments}
        for name in kept(found):
            if name not in views:
                views[name] = stored(found, name)
        return cls(root=found.root, jobs={(e.name, job.key): job for e in experiments for job in e.jobs}, views=views)

    @property
    def names(self) -> list[Name]:
        recorded = [(name, key) for name, seen in self.views.items() for key in sorted(seen.records.by_key)]
        return [*self.jobs, *recorded]


def readable(arguments: Sequence[str], values: Values) -> Reading | None:
    """Results can be shown without a manifest, and beside one that is wrong at the moment."""
    if not arguments and manifests_or_none() is None:
        return None
    try:
        return read(arguments, values)
    except ManifestError as error:
        if arguments:
            raise
        tell(f"{told(error.code, error.problems[0])}; what is recorded is shown nevertheless")
        return None


def one(pattern: str, shelf: Shelf) -> Name:
    found = select([pattern], shelf.names)
    if len(found) > 1:
        names = [job_name(*name) for name in found]
        raise UsageError(
            Problem(message=f'"{safe(pattern)}" means {len(found)} jobs: {listed(names)}', hint="name one")
        )
    return found[0]


def record_of(shelf: Shelf, name: Name) -> Record:
    """The record of the job as the manifest has it now, else the latest one of its key."""
    seen, job = shelf.views[name[0]], shelf.jobs.get(name)
    exact = seen.records.get(job.key, job.digest) if job is not None else None
    if exact is not None:
        return exact
    others = list(seen.records.by_key.get(name[1], {}).values())
    if not others:
        raise UsageError(f'"{job_name(*name)}" was not run yet', hint="qrun apply runs it")
    if job is not None:
        tell(f'"{job_name(*name)}" has changed since it was run; "qrun why {job_name(*name)}" says in what')
    return max(others, key=lambda record: (_sent(seen, record), record.digest))


def _sent(seen: View, record: Record) -> str:
    page = seen.page(*record_name(record))
    attempts = [*(page.record.attempts if page is not None else ()), *record.attempts]
    return max((attempt.sent or "" for attempt in attempts), default="")


def record_name(record: Record) -> tuple[str, str]:
    return (record.key, record.digest)


def _document(seen: View, record: Record, results: Mapping[str, Any] | None) -> dict[str, Any]:
    """The record file's content (schemas/record.schema.json) as far as it is known, with the phase and the results."""
    name = record_name(record)
    page = seen.page(*name) or Page(record=record, job=seen.job(*name))
    page = replace(page, record=union(page.record, record))
    whole: dict[str, Any] = json.loads(pages.text(page, seen.records.project, seen.experiment))
    del whole["crc"]
    written = {attempt["n"] for attempt in whole["attempts"]}
    whole["attempts"] += [to_json(attempt) for attempt in record.attempts if attempt.n not in written]
    whole["phase"] = str(record.phase)
    whole["results"] = results
    return whole
