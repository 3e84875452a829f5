"""`qrun validate`: are the manifests right; without network, secret or results."""

from __future__ import annotations

from collections.abc import Sequence

import click

from qrun.cli.options import given_values, manifests, output
from qrun.cli.out import say, say_json
from qrun.cli.reading import read
from qrun.render.safe import safe
from qrun.render.words import columns, count


@click.command("validate")
@manifests
@output("table", "json")
def command(
    manifests: Sequence[str], var: Sequence[str], var_json: Sequence[str], var_files: Sequence[str], output: str
) -> int:
    """Check manifests, with everything that they name; all problems are told together."""
    reading = read(manifests, given_values(var, var_json, var_files))
    if output == "json":
        experiments = [
            {"experiment": e.name, "manifest": e.path, "summary": {"jobs": len(e.jobs)}} for e in reading.experiments
        ]
        say_json({"version": 1, "experiments": experiments, "errors": []})
        return 0
    rows = [(safe(e.file), safe(e.name), count(len(e.jobs), "job")) for e in reading.experiments]
    jobs = sum(len(e.jobs) for e in reading.experiments)
    say("\n".join([*columns(rows), f"valid: {count(len(reading.files), 'manifest')}, {count(jobs, 'job')}"]))
    return 0
