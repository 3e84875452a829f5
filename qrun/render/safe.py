"""Foreign text on its way to a person: nothing that steers a terminal, nothing that is or looks like a credential.

Every string that qrun did not write itself (a manifest's, a provider's, a file's name) passes `safe` or `shown`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from qrun.errors import Problem
from qrun.redact import hidden, redacted

__all__ = ["STEERING", "hidden", "safe", "shown", "told"]

# C0 and DEL, C1, soft hyphen, Arabic letter mark, zero-width and bidirectional marks, line and paragraph separators,
# invisible operators, interlinear marks, byte order mark, variation selectors, tags, and halves of surrogate pairs.
STEERING: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def safe(text: object) -> str:
    """The text on one line, with everything that a terminal would obey or hide shown as an escape."""
    plain = redacted(str(text))
    return plain if plain.isascii() and plain.isprintable() else STEERING.sub(_escape, plain)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\n":
        return "␤"
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def shown(text: object, secrets: Iterable[str] = ()) -> str:
    """For a message or a cell: safe to print and without credentials."""
    return safe(hidden(str(text), secrets))


def told(problem: Problem) -> str:
    """A problem on one line. Its place is no value of anybody's: `jobs.a.password: …` goes on with our own words."""
    message, hint = hidden(problem.message), problem.hint and hidden(problem.hint)
    return safe(replace(problem, message=message, hint=hint))
