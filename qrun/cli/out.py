"""Where words leave the process: data on stdout, everything else on stderr, and no secret that was revealed on either.

A reader that went away (`qrun status | head`) ends nothing: what would follow is dropped.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TextIO

from qrun.cli import State, current
from qrun.errors import Problem, QrunError
from qrun.redact import redacted, redacted_values
from qrun.render import safe
from qrun.render.safe import shown

SHOWN = 20  # problems that are told one by one
GONE = (errno.EPIPE, errno.EIO)  # the reader went away, or the terminal was closed
OF_RESULTS: Final = ("store", "missing")  # problems whose files the store names from the project's root
PLAIN: Final = str.maketrans({"█": "#", **dict.fromkeys("▏▎▍▌▋▊▉"), "…": "...", "±": "+-", "→": "->"})


class Json(str):
    """JSON whose values were redacted one by one: in its text, the digits of a number might look like a secret."""

    __slots__ = ()


def say(text: str) -> None:
    """Data: one write, ended by a line's end."""
    _write(sys.stdout, text if isinstance(text, Json) else redacted(text))


def tell(text: str) -> None:
    """Progress, hints and errors."""
    _write(sys.stderr, redacted(text))


def say_json(document: Mapping[str, Any]) -> None:
    say(to_json(document, indent=2))


def to_json(value: Any, *, indent: int | None = None) -> Json:
    """ASCII only, so that nothing in it steers a terminal."""
    import json

    return Json(json.dumps(redacted_values(value), ensure_ascii=True, indent=indent, allow_nan=False))


def tell_problems(error: QrunError) -> None:
    """One line a problem, the first twenty, and how many more there are."""
    lines = [told(error.code, problem) for problem in error.problems[:SHOWN]]
    if len(error.problems) > SHOWN:
        lines.append(f"... and {len(error.problems) - SHOWN} more")
    tell("\n".join(lines))


def told(code: str, problem: Problem) -> str:
    """One line; `code` is the error's."""
    return safe.told(_from_here(code, problem))


def errors_json(errors: Sequence[QrunError]) -> list[dict[str, Any]]:
    """The `errors` of a document."""
    return [entry for error in errors for entry in problems_json(error.code, error.problems)]


def problems_json(code: str, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [_problem(code, _from_here(code, problem)) for problem in problems]


def _problem(code: str, problem: Problem) -> dict[str, Any]:
    return {
        "code": code,
        "message": shown(problem.message),
        "field": problem.field,
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "hint": shown(problem.hint) if problem.hint is not None else None,
    }


def _from_here(code: str, problem: Problem) -> Problem:
    root = state().root
    if code not in OF_RESULTS or root is None or problem.file is None:
        return problem
    return replace(problem, file=near(os.path.join(root, problem.file)))


def near(path: str) -> str:
    """A path as one would type it from here."""
    return min(path, os.path.relpath(path), key=len)


def state() -> State:
    """Of the command that runs; one of its own where none does."""
    return current.get(State())


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(_spelled(text if text.endswith("\n") else text + "\n", stream))
        stream.flush()
    except OSError as error:
        unwritten(stream, error, state())


def _spelled(text: str, stream: TextIO) -> str:
    """Bars and dots as ASCII where the stream has no others."""
    if text.isascii() or (stream.encoding or "").lower().replace("-", "") == "utf8":
        return text
    return text.translate(PLAIN)


def unwritten(stream: TextIO, error: OSError, noted: State) -> None:
    """Nothing more is written there. It ends no command; one that has data to print exits 1 at its end."""
    mute(stream)
    if stream is sys.stdout and error.errno not in GONE:
        noted.unwritten = (error.strerror or "unknown").lower()


def mute(stream: TextIO) -> None:
    """Let the stream's descriptor lead nowhere, so that later writes and the interpreter's last flush are quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
