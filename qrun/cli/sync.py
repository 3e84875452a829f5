"""`qrun sync`: look at what runs and fetch what is ready; it never submits and never cancels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from qrun.cli.imported import imported
from qrun.cli.options import duration, given_values, manifests, output
from qrun.cli.reading import read_all
from qrun.cli.running import Orders, carry_out, typed
from qrun.cli.selection import keys
from qrun.cli.status import in_reach
from qrun.plan import Policy

if TYPE_CHECKING:
    from qrun.cli.reading import Reading
    from qrun.manifest import Experiment


@click.command("sync")
@manifests
@click.option("--wait", is_flag=True, help="wait until every job rests, instead of looking once")
@click.option("--timeout", callback=duration, metavar="DURATION", help="wait, and how long at most")
@click.option("--only", multiple=True, metavar="GLOB", help="only these jobs")
@output("table", "json", "jsonl")
def command(
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    wait: bool,
    timeout: float | None,
    only: Sequence[str],
    output: str,
) -> int:
    """Look at the jobs that were sent and fetch the results that are ready."""
    seen, values = in_reach(manifests), given_values(var, var_json, var_files)
    reading = read_all(seen, values)
    others = _imported(reading) if not manifests else []
    chosen = keys(only, [*reading.experiments, *others])
    unsent = [replace(experiment, jobs=()) for experiment in others]
    reading = replace(reading, experiments=[*reading.experiments, *unsent])
    orders = Orders(
        command=typed(),
        output=output,
        policy=Policy(submit=False, wait=wait or timeout is not None),
        timeout=timeout,
    )
    return carry_out(reading, orders.only_for(chosen))


def _imported(reading: Reading) -> list[Experiment]:
    """What `import` took in, that may still run; its jobs are nobody's to send."""
    return imported(reading.settings, {experiment.name for experiment in reading.experiments})
