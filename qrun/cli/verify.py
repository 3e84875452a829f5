"""`qrun verify`: hash everything that is kept once more, and rebuild what can be rebuilt."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import click

from qrun.cli.exits import OK, STORE, UNSATISFIED
from qrun.cli.options import output
from qrun.cli.out import SHOWN, near, problems_json, say, say_json, tell, told
from qrun.cli.project import kept
from qrun.cli.reading import project
from qrun.cli.running import typed
from qrun.errors import Problem, UsageError
from qrun.render.safe import safe, shown
from qrun.render.words import count
from qrun.store import check
from qrun.store.paths import RESULTS

if TYPE_CHECKING:
    from qrun.settings import Settings


@click.command("verify")
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--repair", is_flag=True, help="rebuild what other files still know; damaged ones are put aside")
@output("table", "json")
def command(experiments: Sequence[str], repair: bool, output: str) -> int:
    """Compare everything under results/ with its hashes, offline. Exits 5 where something is damaged."""
    found = project()
    names = _chosen(kept(found), experiments)
    done = [words for name in names for words in _repaired(found, name)] if repair else []
    looks = [check.verify(found.root, name, project=found.project, journal=found.journal) for name in names]
    problems = [problem for look in looks for problem in look.problems]
    notes = [problem for look in looks for problem in look.notes]
    files = sum(look.files for look in looks)
    code = STORE if problems else UNSATISFIED if notes else OK
    if output == "json":
        _document(names, done, problems, notes, files, code)
        return code
    for words in done:
        say(shown(words))
    _tell([told("store", problem) for problem in problems] + [told("missing", note) for note in notes])
    if not names:
        say(f"nothing to verify: there are no results in {safe(near(os.path.join(found.root, RESULTS)))}")
        return code
    hint = "; qrun verify --repair rebuilds what it can" if problems and not repair else ""
    say(f"{count(len(names), 'experiment')}, {count(files, 'file')}: {_verdict(problems, notes)}{hint}")
    return code


def _chosen(known: Sequence[str], patterns: Sequence[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            there = ", ".join(f'"{name}"' for name in known[:5])
            hint = f"there are {there}" if known else "nothing was run here yet"
            raise UsageError(Problem(message=f'no results are called "{safe(pattern)}"', hint=hint))
    return [name for name in known if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)]


def _repaired(found: Settings, name: str) -> list[str]:
    repairs = check.repair(found.root, name, project=found.project, journal=found.journal, command=typed())
    return repairs.done


def _tell(lines: Sequence[str]) -> None:
    for line in lines[:SHOWN]:
        tell(line)
    if len(lines) > SHOWN:
        tell(f"... and {len(lines) - SHOWN} more")


def _verdict(problems: Sequence[Problem], notes: Sequence[Problem]) -> str:
    if problems:
        return f"{count(len(problems), 'problem')}"
    return f"intact, {count(len(notes), 'thing')} not here" if notes else "all intact"


def _document(
    names: Sequence[str],
    done: Sequence[str],
    problems: Sequence[Problem],
    notes: Sequence[Problem],
    files: int,
    code: int,
) -> None:
    say_json(
        {
            "version": 1,
            "experiments": list(names),
            "files": files,
            "repaired": list(done),
            "errors": [*problems_json("store", problems), *problems_json("missing", notes)],
            "exit": code,
        }
    )
