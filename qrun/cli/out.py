"""Where words leave the process: data on stdout, everything else on stderr.

A reader that went away (`qrun status | head`) ends nothing: what would follow is dropped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from qrun.errors import Problem, QrunError
from qrun.render.safe import shown

SHOWN = 20  # problems that are told one by one


def say(text: str) -> None:
    """Data: one write, ended by a line's end."""
    _write(sys.stdout, text)


def tell(text: str) -> None:
    """Progress, hints and errors."""
    _write(sys.stderr, text)


def say_json(document: Mapping[str, Any]) -> None:
    say(to_json(document, indent=2))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """ASCII only, so that nothing in it steers a terminal."""
    import json

    return json.dumps(value, ensure_ascii=True, indent=indent, allow_nan=False)


def tell_problems(error: QrunError) -> None:
    """One line a problem, the first twenty, and how many more there are."""
    lines = [shown(problem) for problem in error.problems[:SHOWN]]
    if len(error.problems) > SHOWN:
        lines.append(f"... and {len(error.problems) - SHOWN} more")
    tell("\n".join(lines))


def errors_json(errors: Sequence[QrunError]) -> list[dict[str, Any]]:
    """The `errors` of a document."""
    return [entry for error in errors for entry in problems_json(error.code, error.problems)]


def problems_json(code: str, problems: Sequence[Problem]) -> list[dict[str, Any]]:
    return [_problem(code, problem) for problem in problems]


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


def near(path: str) -> str:
    """A path as one would type it from here."""
    found = os.path.relpath(path)
    return path if found.startswith("..") else found


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text if text.endswith("\n") else text + "\n")
        stream.flush()
    except BrokenPipeError:
        mute(stream)


def mute(stream: TextIO) -> None:
    """Let the stream's descriptor lead nowhere, so that later writes and the interpreter's last flush are quiet."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
