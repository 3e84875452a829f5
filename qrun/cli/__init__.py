"""The command line: a table of commands, each imported when it is used, and the outermost line of every error.

This file and click are all that `qrun --help` and `qrun --version` load.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from importlib import import_module
from io import TextIOWrapper
from typing import Any, Final, NoReturn

import click

from qrun import __version__

COMMANDS: Final[Mapping[str, str]] = {
    "init": "make a working folder: a manifest, qrun.toml, Git settings",
    "validate": "check manifests; nothing is read from the network",
    "render": "print the jobs after templates, defaults and matrix",
    "plan": "show what apply would do",
    "apply": "submit what is missing, wait, and fetch the results",
    "sync": "look at what runs and fetch what is ready; submits nothing",
    "status": "show each job's phase",
    "show": "show one job: its record and its results",
    "why": "name the fields that make a job differ from what was run",
    "logs": "print or save the log of a job",
    "devices": "list the devices of connections",
    "cancel": "ask the provider to cancel jobs",
    "close": "close batches that stay open for more jobs",
    "retry": "run failed jobs once more",
    "resolve": "say what became of a job, or accept how it ended",
    "import": "take in a job that was submitted elsewhere",
    "verify": "hash everything that is kept once more, offline",
    "gc": "list, or remove, results that no manifest wants any more",
    "lock": "merge lock files, as Git's merge driver",
    "schema": "print a JSON Schema",
    "doctor": "check this machine and this project",
    "emulator": "run stand-ins of the quantum clouds on this machine",
}
MODULES: Final[Mapping[str, str]] = {"import": "import_"}  # of commands whose names Python keeps for itself


class State:
    """What the outermost line must know of a command that failed before it came to its work."""

    output = "table"
    debug = False
    given: Sequence[str] = ()
    root: str | None = None  # of the project, once it is known
    unwritten: str | None = None  # why what was said could not be written


current: Final[ContextVar[State]] = ContextVar("current")  # of the command that runs, to its last word


class Commands(click.Group):
    """A group whose commands live in modules of their own; what goes wrong in any of them ends here."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        if cmd_name not in COMMANDS:
            return None
        module: Any = import_module(f"qrun.cli.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f'there is no command "{args[0]}"{_meant(args[0], COMMANDS)}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *_: Any, **extra: Any) -> NoReturn:
        """Run one command and leave with its exit code."""
        given = list(sys.argv[1:] if args is None else args)
        state = State()
        state.given = given
        current.set(state)
        extra |= {"standalone_mode": False, "obj": state}
        try:
            code = super().main(given, prog_name, **extra)
        except Exception as error:
            from qrun.cli.ending import failed

            code = failed(error, state, given)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            code = 130
        _flush(state)
        if state.unwritten is not None:
            from qrun.cli.out import tell

            tell(f"what was to be printed could not be written: {state.unwritten}")
            code = code or 1
        sys.exit(code if isinstance(code, int) else 0)


def _meant(word: str, known: Mapping[str, str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def _flush(state: State) -> None:
    """What is still buffered goes out; a reader that went away is no reason to complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            from qrun.cli.out import unwritten

            unwritten(stream, error, state)


@click.group(
    cls=Commands,
    invoke_without_command=False,
    context_settings={"auto_envvar_prefix": "QRUN", "help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="qrun", message="%(prog)s %(version)s", allow_from_autoenv=False)
@click.option("--failpoint", hidden=True, help="For tests: end as if killed at this place.")
def cli(failpoint: str | None) -> None:
    """A declarative runner for quantum jobs: manifests say which jobs should have been run, qrun runs what is missing.

    Every option can be given by an environment variable: --parallel of apply is QRUN_APPLY_PARALLEL.
    """
    if failpoint is not None:
        from qrun.failpoint import arm

        try:
            arm(failpoint)
        except ValueError as error:
            raise click.UsageError(str(error)) from error


def _open_streams() -> None:
    """A stream that the caller closed leads nowhere, and its number cannot become that of a file of ours."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - it stays open to the end


def main() -> NoReturn:
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    cli.main(prog_name="qrun")
