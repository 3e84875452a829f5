"""Places in the text of a TOML file: where each key stands, and where the parser gave up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from qrun.settings.words import Path

KEY: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
KEYS: Final = rf"{KEY}(?:[ \t]*\.[ \t]*{KEY})*"
HEAD: Final = re.compile(rf"[ \t]*\[\[?[ \t]*({KEYS})[ \t]*\]")
PAIR: Final = re.compile(rf"[ \t]*({KEYS})[ \t]*=")


@lru_cache(maxsize=2)
def places(text: str) -> Mapping[Path, tuple[int, int]]:
    """Line and column of each key, found in the text again, because the parser does not tell."""
    found: dict[Path, tuple[int, int]] = {}
    table: Path = ()
    for number, line in _outside(text):
        if head := HEAD.match(line):
            table = _steps(head[1])
            found.setdefault(table, (number, head.start(1) + 1))
        elif pair := PAIR.match(line):
            steps = _steps(pair[1])
            for length in range(1, len(steps) + 1):
                found.setdefault((*table, *steps[:length]), (number, pair.start(1) + 1))
    return found


def _outside(text: str) -> Iterator[tuple[int, str]]:
    """The lines that do not begin inside a text of several lines, with their numbers."""
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if not quote:
            yield number, line
        for mark in re.findall(r'"""|\'\'\'', line):
            quote = "" if mark == quote else quote or mark


def _steps(keys: str) -> Path:
    return tuple(key[1:-1] if key[0] in "\"'" else key for key in re.findall(KEY, keys))


def complaint(text: str, said: str) -> tuple[int, int | None, str]:
    """What the parser said about this text: its line and column apart from its words."""
    words, _, place = said.rstrip(")").rpartition(" (at ")
    found = re.fullmatch(r"line (\d+), column (\d+)", place)
    line, column = (int(found[1]), int(found[2])) if found else (text.count("\n") + 1, None)
    message = (words or said).rstrip(".").replace("'", '"')
    return line, column, message[:1].lower() + message[1:]
