"""`qrun status`: each job's phase as it is recorded; asks nobody. With `--remote` the jobs of an account."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from qrun.cli import glance
from qrun.cli.account import account, limited, refuse_beside_remote
from qrun.cli.exits import OK, Ends, exit_code, uncertain
from qrun.cli.imported import imported, some_imported
from qrun.cli.options import given_values, manifests, output
from qrun.cli.out import errors_json, say, say_json, tell_problems
from qrun.cli.reading import Look, look, project, read_all
from qrun.errors import UsageError
from qrun.render import table
from qrun.render.words import phases

if TYPE_CHECKING:
    from qrun.cli.account import Account
    from qrun.cli.opened import Opened
    from qrun.errors import QrunError
    from qrun.manifest import Experiment, Values
    from qrun.render.jobs import Standing


@click.command("status")
@manifests
@click.option("--only", multiple=True, metavar="GLOB", help="only these jobs")
@click.option("--exit-code", "with_code", is_flag=True, help="exit as apply would with jobs in these phases")
@account
@limited
@output("table", "json")
def command(
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    only: Sequence[str],
    with_code: bool,
    account: Account | None,
    output: str,
) -> int:
    """Show each job's phase, as the results directory has it; with --remote the jobs of an account."""
    if account is not None:
        from qrun.cli.remote import show_account

        refuse_beside_remote({"a manifest": manifests, "--only": only, "--exit-code": with_code})
        return show_account(account, output)
    seen, values = in_reach(manifests), given_values(var, var_json, var_files)
    quick = not only and output == "table" and not some_imported(seen.settings.root)
    if quick and (done := glance.recall(seen, values, details=True)) is not None:
        _tell(done["rows"], done["counts"])
        return OK
    return _status(seen, values, only, with_code, output)


def in_reach(arguments: Sequence[str]) -> Look:
    """The manifests; none, where none is in reach and something was imported that can be looked at without one."""
    try:
        return look(arguments)
    except UsageError as error:
        settings = project()
        if arguments or not some_imported(settings.root):
            raise
        tell_problems(error)
        return Look(settings=settings, files=())


def _status(seen: Look, values: Values, only: Sequence[str], with_code: bool, output: str) -> int:
    from qrun.cli.opened import opened, tell_open
    from qrun.cli.project import view
    from qrun.cli.proposal import standings
    from qrun.cli.selection import keys
    from qrun.render.jobs import counts, rows

    reading = read_all(seen, values)
    wanted = len(reading.experiments)
    others = imported(reading.settings, {e.name for e in reading.experiments}) if not reading.arguments else []
    experiments = [*reading.experiments, *others]
    chosen = keys(only, experiments)
    views = [view(reading.settings, experiment) for experiment in experiments]
    limits = [chosen.get(e.name, frozenset()) if chosen is not None else None for e in experiments]
    looked = list(zip(experiments, views, limits, strict=True))
    found = [standings(experiment, shown, only=limit) for experiment, shown, limit in looked]
    batches = [opened(experiment.name, shown.records, only=limit) for experiment, shown, limit in looked]
    every = [standing for group in found for standing in group]
    if output == "json":
        say_json(document(experiments, found, batches))
    else:
        _tell(rows(every), counts(every))
        tell_open([batch for group in batches for batch in group])
    mine = [standing for group in found[:wanted] for standing in group]
    return exit_code(_ends(mine, any(uncertain(shown.records) for shown in views[:wanted]))) if with_code else OK


def _ends(every: Sequence[Standing], unclear: bool) -> Ends:
    from qrun.cli.conclusion import unsatisfied_standing

    unfinished = any(s.job is not None and s.phase in ("absent", "live") for s in every)
    return Ends(uncertain=unclear, unsatisfied=any(map(unsatisfied_standing, every)), waiting=unfinished)


def document(
    experiments: Sequence[Experiment],
    found: Sequence[Sequence[Standing]],
    batches: Sequence[Sequence[Opened]],
    errors: Sequence[QrunError] = (),
) -> Mapping[str, object]:
    """How the jobs of each experiment stand, and which of its batches are open."""
    from qrun.cli.opened import open_json
    from qrun.render.jobs import counts, job_json

    entries = [
        {
            "experiment": experiment.name,
            "manifest": experiment.path or None,
            "jobs": [job_json(standing) for standing in group],
            "summary": counts(group),
            **open_json(held),
        }
        for experiment, group, held in zip(experiments, found, batches, strict=True)
    ]
    return {"version": 1, "experiments": entries, "errors": errors_json(errors)}


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
