"""`qrun schema`: the JSON Schemas of all that people or programs read and write."""

from __future__ import annotations

import click

from qrun.cli.options import debug
from qrun.cli.out import say

NAMES = ("manifest", "lock", "record", "event", "project")


@click.command("schema")
@click.argument("name", type=click.Choice(NAMES), default="manifest", metavar="[SCHEMA]")
@debug
def command(name: str) -> int:
    """Print a schema: manifest, lock, record, event (a line of `apply -o jsonl`) or project (qrun.toml)."""
    from qrun.manifest import schema

    say(schema.text(name))
    return 0
