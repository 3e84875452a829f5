"""`qrun lock merge`: the merge driver that Git calls for lock and record files; `qrun init` sets it up."""

from __future__ import annotations

import click

from qrun.cli.options import debug


@click.group("lock")
def command() -> None:
    """Merge lock files, as Git's merge driver."""


@command.command("merge")
@click.argument("base")
@click.argument("ours")
@click.argument("theirs")
@debug
def merge(base: str, ours: str, theirs: str) -> int:
    """Merge OURS and THEIRS, which both come from BASE, into OURS. Exits 1 where both sides contradict."""
    from qrun.store import merge as merging

    return merging.main([base, ours, theirs])
