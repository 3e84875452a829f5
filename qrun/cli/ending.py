"""How a command that could not do its work ends: one line a problem on stderr, a document on stdout, an exit code."""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

import click

from qrun.cli import COMMANDS, State
from qrun.cli.exits import ERROR, INTERRUPTED, USAGE
from qrun.cli.options import asked
from qrun.cli.out import errors_json, mute, say, say_json, tell, tell_problems, to_json, told, unwritten
from qrun.errors import Problem, QrunError, UsageError
from qrun.events import Event, Failed, Summary, Version
from qrun.events import to_json as line_of
from qrun.render.safe import safe

UNWRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
ALIKE: Final = 0.7  # of an option that was probably meant


def failed(error: Exception, state: State, given: Sequence[str]) -> int:
    """Tell what went wrong and give the exit code. `given` are the command's arguments as typed."""
    match error:
        case BrokenPipeError():
            return _broken_pipe()
        case OSError(filename=None) if error.errno in UNWRITTEN:
            unwritten(sys.stdout, error, state)  # help, which click prints by itself
            return ERROR
        case click.Abort():
            tell("interrupted")
            return INTERRUPTED
        case click.exceptions.NoArgsIsHelpError():
            tell(error.format_message())
            return USAGE
        case click.ClickException():
            return _ended(_usage(error, given), state, asked(given, state))
        case QrunError():
            return _ended(error, state, state.output)
        case ExceptionGroup() if (ours := error.subgroup(QrunError)) is not None and error.split(QrunError)[1] is None:
            return _ended(first(ours), state, state.output)
        case _:
            return _bug(error, state)


def first(group: BaseException) -> QrunError:
    """The first of our errors in a group, which has at least one."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    assert isinstance(group, QrunError)
    return group


def _ended(error: QrunError, state: State, output: str) -> int:
    tell_problems(error)
    _document([error], output, error.exit)
    if state.debug:
        tell(_trace(error))
    return error.exit


def _document(errors: Sequence[QrunError], output: str, code: int) -> None:
    """What stands on stdout in place of the document or the stream that was asked for."""
    if output == "json":
        say_json({"version": 1, "experiments": [], "errors": errors_json(errors), "exit": code})
    elif output == "jsonl":
        events: list[Event] = [Version()]
        for error in errors:
            events += [Failed(experiment="", message=told(error.code, p), code=error.code) for p in error.problems]
        events.append(Summary(exit=code, phases=()))
        say("\n".join(to_json(line_of(event)) for event in events))


def _usage(error: click.ClickException, given: Sequence[str]) -> UsageError:
    """Click's words in our form: lower case, no full stop, and where to read more."""
    ctx = getattr(error, "ctx", None)
    if isinstance(error, click.NoSuchOption) and (near := _near(error.option_name, ctx)) is not None:
        return UsageError(f'no such option "{safe(error.option_name)}"', hint=f'did you mean "{near}"?')
    words = error.message if isinstance(error, click.NoSuchOption) else error.format_message()
    words = words.strip().rstrip(".").replace("'", '"')
    words = re.sub(r"\.\s+(\w)", lambda match: f"; {match[1].lower()}", " ".join(words.split()))
    words = re.sub(r"^Got unexpected extra arguments? \((.*)\)$", r'"\1" is more than the command takes', words)
    hint = None if words.endswith("?") else f'see "{_path(ctx, given)} --help"'
    return UsageError(Problem(message=words[:1].lower() + words[1:], hint=hint))


def _path(ctx: click.Context | None, given: Sequence[str]) -> str:
    if ctx is not None:
        return ctx.command_path
    return f"qrun {given[0]}" if given and given[0] in COMMANDS else "qrun"


def _near(name: str, ctx: click.Context | None) -> str | None:
    """The command's option that was probably meant."""
    known = [option for param in ctx.command.params for option in param.opts] if ctx is not None else []
    return next(iter(get_close_matches(name, known, n=1, cutoff=ALIKE)), None)


def _bug(error: Exception, state: State) -> int:
    tell(
        f"this is a bug of qrun ({type(error).__name__}); nothing that was recorded is lost"
        + ("" if state.debug else "; run again with --debug and report what it prints")
    )
    if state.debug:
        tell(_trace(error))
    _document([QrunError(f"this is a bug of qrun ({type(error).__name__})")], state.output, ERROR)
    return ERROR


def _trace(error: BaseException) -> str:
    """Files, lines and the error's type; no local values, and no words of an exception that is not ours."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f'  "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames]
    inner = [_trace(part) for part in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    cause = error.__cause__
    if cause is not None:
        inner.append(f"because of\n{_trace(cause)}")
    return "\n".join(["traceback, the innermost call last", *places, f"  {type(error).__name__}", *inner])


def _broken_pipe() -> int:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            mute(stream)
    return 0
