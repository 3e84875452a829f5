"""`qrun gc`: list what changed jobs left behind, and remove it when told so."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from qrun.cli.exits import OK
from qrun.cli.options import given_values, manifests, output
from qrun.cli.out import near, say, say_json, tell
from qrun.cli.project import view
from qrun.cli.reading import Reading, read
from qrun.cli.running import typed
from qrun.render.safe import safe
from qrun.render.words import columns, count, size
from qrun.store import Store
from qrun.store.gc import Garbage, garbage, remove

if TYPE_CHECKING:
    from qrun.manifest import Experiment


@click.command("gc")
@manifests
@click.option("--yes", is_flag=True, help="remove what is listed")
@output("table", "json")
def command(
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    yes: bool,
    output: str,
) -> int:
    """List results that a changed job replaced and programs that nothing refers to; with --yes remove them."""
    reading = read(manifests, given_values(var, var_json, var_files))
    found = [(e, garbage(view(reading.settings, e), _wanted(e))) for e in reading.experiments]
    if yes:
        found = [(e, _removed(reading, e)) if listed else (e, listed) for e, listed in found]
    every = [item for _, listed in found for item in listed]
    if output == "json":
        _document(found, yes)
        return OK
    amount = size(sum(item.size for item in every))
    if not every:
        say("nothing to remove")
        return OK
    root = reading.settings.root
    say("\n".join(columns([(safe(near(os.path.join(root, i.path))), size(i.size), i.reason) for i in every])))
    say(f"{'removed' if yes else 'could be removed'}: {count(len(every), 'item')}, {amount}")
    if not yes:
        tell('"qrun gc --yes" removes them; Git still has what was committed')
    return OK


def _wanted(experiment: Experiment) -> list[tuple[str, str]]:
    return [(job.key, job.digest) for job in experiment.jobs]


def _removed(reading: Reading, experiment: Experiment) -> list[Garbage]:
    """Looked at once more under the mutex, and removed."""
    settings = reading.settings
    with Store.open(
        settings.root,
        experiment.name,
        project=settings.project,
        manifest=experiment.path,
        command=typed(),
        journal=settings.journal,
    ) as store:
        store.offer(experiment.jobs)
        listed = garbage(store, _wanted(experiment))
        remove(store, listed)
    return listed


def _document(found: Sequence[tuple[Experiment, Sequence[Garbage]]], removed: bool) -> None:
    experiments: list[dict[str, Any]] = [
        {
            "experiment": experiment.name,
            "manifest": experiment.path,
            "items": [
                {"path": item.path, "size": item.size, "reason": item.reason, "job": item.key or None}
                for item in listed
            ],
        }
        for experiment, listed in found
    ]
    say_json({"version": 1, "experiments": experiments, "removed": removed, "errors": []})
