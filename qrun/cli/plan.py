"""`qrun plan`: what apply would do, job by job, with the reason; no network, no secret."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from qrun.cli.exits import CHANGES, OK
from qrun.cli.opened import Opened, open_json, opened, tell_open
from qrun.cli.options import given_values, manifests, not_sent_elsewhere, output, superseded
from qrun.cli.out import say, say_json, tell
from qrun.cli.project import held_elsewhere, view
from qrun.cli.proposal import Proposal, propose
from qrun.cli.reading import Reading, read
from qrun.cli.selection import keys
from qrun.clock import Clock
from qrun.plan import Action, Pair, Policy
from qrun.render import plan as render
from qrun.render.safe import safe


@click.command("plan")
@manifests
@click.option("--only", multiple=True, metavar="GLOB", help="only these jobs")
@superseded
@click.option("--new-site", is_flag=True, help="buy anew what was run at another site")
@not_sent_elsewhere
@click.option("--out", metavar="FILE", help="save the plan, for `qrun apply FILE`")
@click.option("--detailed-exitcode", is_flag=True, help="exit 2 where there is something to do")
@output("table", "json")
def command(
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    only: Sequence[str],
    superseded: str | None,
    new_site: bool,
    not_sent_elsewhere: bool,
    out: str | None,
    detailed_exitcode: bool,
    output: str,
) -> int:
    """Show the first step of every job: what apply would do, and why."""
    values = given_values(var, var_json, var_files)
    reading = read(manifests, values)
    superseded = superseded or reading.settings.superseded
    policy = Policy(superseded=superseded, new_site=new_site, not_sent_elsewhere=not_sent_elsewhere)
    found = list(proposed(reading, policy, only))
    proposals = [proposal for proposal, _ in found]
    if out is not None:
        from qrun.cli.saved import save

        save(out, reading, values, proposals, only=only, policy=policy)
        tell(f'saved; "qrun apply {safe(out)}" does this, as long as nothing has changed')
    _show(found, output)
    _tell_siteless(proposals)
    changes = any(step.action is not Action.NONE or step.pair.formerly for p in proposals for step in p.steps)
    return CHANGES if detailed_exitcode and changes else OK


def proposed(reading: Reading, policy: Policy, only: Sequence[str] = ()) -> Iterator[tuple[Proposal, Sequence[Opened]]]:
    """What would be done, in the order of the manifests, and which batches are open; reads results, writes nothing."""
    from dataclasses import replace

    chosen = keys(only, reading.experiments)
    held = held_elsewhere(reading.settings, reading.experiments)
    now = Clock().now()
    for experiment in reading.experiments:
        limit = chosen.get(experiment.name, frozenset()) if chosen is not None else None
        seen = view(reading.settings, experiment)
        own = replace(policy, only=limit, not_sent_elsewhere=policy.not_sent_elsewhere or seen.ran_here)
        proposal = propose(experiment, seen, own, now, held=held.get(experiment.name))
        yield proposal, opened(experiment.name, seen.records, only=limit)


def _tell_siteless(proposals: Sequence[Proposal]) -> None:
    """Where no address is known, nobody can say whether results came from the same place."""
    jobs = (s.pair.job for proposal in proposals for s in proposal.steps if s.pair.job and _elsewhere_perhaps(s.pair))
    for name in sorted({job.target.connection for job in jobs}):
        tell(f'no address of "{safe(name)}" is known here, so its jobs are compared without it')


def _elsewhere_perhaps(pair: Pair) -> bool:
    recorded = [record for record in (pair.record, *pair.older) if record is not None and record.site is not None]
    return pair.job is not None and pair.job.target.site is None and bool(recorded)


def _show(found: Sequence[tuple[Proposal, Sequence[Opened]]], output: str) -> None:
    proposals = [proposal for proposal, _ in found]
    if output == "table":
        for piece in render.texts([(p.experiment.name, p.experiment.path, p.steps) for p in proposals]):
            say(piece)
        tell_open([batch for _, batches in found for batch in batches])
        return
    experiments = [
        {
            "experiment": p.experiment.name,
            "manifest": p.experiment.path,
            "steps": [render.step_json(step) for step in p.told],
            "summary": render.summary_json(p.told),
            **open_json(batches),
        }
        for p, batches in found
    ]
    say_json({"version": 1, "experiments": experiments, "errors": []})
