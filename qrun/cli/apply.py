"""`qrun apply`: make the jobs that the manifests name exist, wait for them, bring the results home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from qrun.cli import glance
from qrun.cli.exits import OK
from qrun.cli.options import duration, given_values, manifests, not_sent_elsewhere, output, positive, superseded
from qrun.cli.out import say
from qrun.cli.reading import Look, is_plan, look, read_all
from qrun.clock import Clock
from qrun.errors import UsageError

if TYPE_CHECKING:
    from qrun.cli.running import Orders
    from qrun.manifest import Values

CHOICES: Final = ("superseded", "new_site", "not_sent_elsewhere")  # which a saved plan holds


@click.command("apply")
@manifests
@click.option("--no-wait", is_flag=True, help="submit, look once, and leave; local jobs run to their end")
@click.option(
    "--timeout", callback=duration, metavar="DURATION", help="how long to wait; ends the command, never a job"
)
@click.option("--only", multiple=True, metavar="GLOB", help="only these jobs")
@click.option("--parallel", callback=positive, metavar="N", help="submissions at a time, and local workers")
@superseded
@click.option("--new-site", is_flag=True, help="buy anew what was run at another site")
@not_sent_elsewhere
@click.option("--locked", is_flag=True, help="exit 3 where anything would have to be submitted")
@click.option("--yes", is_flag=True, help="send remote jobs without being asked")
@output("table", "json", "jsonl")
def command(
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    only: Sequence[str],
    **given: Any,
) -> int:
    """Submit what is missing, wait until every job rests, fetch the results. The only MANIFEST may be a saved plan."""
    if is_plan(manifests):
        if var or var_json or var_files or only or any(given[name] for name in CHOICES):
            words = f'"{manifests[0]}" is a saved plan, which holds its own values and choices'
            raise UsageError(words, hint="save another plan with others")
        return _apply_plan(manifests[0], given)
    seen, values = look(manifests), given_values(var, var_json, var_files)
    if not only and given["output"] == "table" and (answer := glance.recall(seen, values)) is not None:
        say(answer["apply"])
        return OK
    return _apply(seen, values, only, given)


def _apply(seen: Look, values: Values, only: Sequence[str], given: Mapping[str, Any]) -> int:
    from qrun.cli.running import carry_out
    from qrun.cli.selection import keys

    since = Clock().now()
    reading = read_all(seen, values)
    orders = _orders(given).only_for(keys(only, reading.experiments))
    return carry_out(reading, orders, keep=None if only else partial(glance.keep, seen, values, since))


def _apply_plan(file: str, given: Mapping[str, Any]) -> int:
    from qrun.cli import saved

    return saved.apply(file, _orders(given))


def _orders(given: Mapping[str, Any]) -> Orders:
    from qrun.cli.running import Orders, typed
    from qrun.plan import Policy

    return Orders(
        command=typed(),
        output=given["output"],
        policy=Policy(wait=not given["no_wait"], superseded=given["superseded"], new_site=given["new_site"]),
        timeout=given["timeout"],
        parallel=given["parallel"],
        not_sent_elsewhere=given["not_sent_elsewhere"],
        locked=given["locked"],
        yes=given["yes"],
    )
