"""`qrun status`: each job's phase as it is recorded; asks nobody."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from qrun.cli import glance
from qrun.cli.exits import OK, Ends, exit_code, uncertain
from qrun.cli.options import given_values, manifests, output
from qrun.cli.out import say, say_json
from qrun.cli.reading import look, read_all
from qrun.render import table
from qrun.render.words import phases

if TYPE_CHECKING:
    from qrun.cli.reading import Look, Reading
    from qrun.manifest import Values
    from qrun.render.jobs import Standing


@click.command("status")
@manifests
@click.option("--only", multiple=True, metavar="GLOB", help="only these jobs")
@click.option("--exit-code", "with_code", is_flag=True, help="exit as apply would with jobs in these phases")
@output("table", "json")
def command(
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    only: Sequence[str],
    with_code: bool,
    output: str,
) -> int:
    """Show each job's phase, as the results directory has it."""
    seen, values = look(manifests), given_values(var, var_json, var_files)
    if not only and output == "table" and (done := glance.recall(seen, values, details=True)) is not None:
        _tell(done["rows"], done["counts"])
        return OK
    return _status(seen, values, only, with_code, output)


def _status(seen: Look, values: Values, only: Sequence[str], with_code: bool, output: str) -> int:
    from qrun.cli.project import view
    from qrun.cli.proposal import standings
    from qrun.cli.selection import keys
    from qrun.render.jobs import counts, rows

    reading = read_all(seen, values)
    chosen = keys(only, reading.experiments)
    views = [view(reading.settings, experiment) for experiment in reading.experiments]
    found = [
        standings(experiment, shown, only=chosen.get(experiment.name, frozenset()) if chosen is not None else None)
        for experiment, shown in zip(reading.experiments, views, strict=True)
    ]
    every = [standing for group in found for standing in group]
    if output == "json":
        say_json(_document(reading, found))
    else:
        _tell(rows(every), counts(every))
    return exit_code(_ends(every, any(uncertain(shown.records) for shown in views))) if with_code else OK


def _ends(every: Sequence[Standing], unclear: bool) -> Ends:
    from qrun.cli.conclusion import unsatisfied_standing

    unfinished = any(s.job is not None and s.phase in ("absent", "live") for s in every)
    return Ends(uncertain=unclear, unsatisfied=any(map(unsatisfied_standing, every)), waiting=unfinished)


def _document(reading: Reading, found: Sequence[Sequence[Standing]]) -> Mapping[str, object]:
    from qrun.render.jobs import counts, job_json

    experiments = [
        {
            "experiment": experiment.name,
            "manifest": experiment.path,
            "jobs": [job_json(standing) for standing in group],
            "summary": counts(group),
        }
        for experiment, group in zip(reading.experiments, found, strict=True)
    ]
    return {"version": 1, "experiments": experiments, "errors": []}


def _tell(rows: Sequence[Sequence[str]], counts: Mapping[str, int]) -> None:
    summary = phases(counts) or "no jobs"
    if not _drawn(rows):
        say("\n".join(table.lines(table.HEADERS, rows)))
    say(summary)


def _drawn(rows: Sequence[Sequence[str]]) -> bool:
    """Whether there is a terminal that takes a table."""
    if not sys.stdout.isatty() or len(rows) > table.MANY:
        return False
    from qrun.render.live import draw

    return draw(sys.stdout, table.HEADERS, rows)
