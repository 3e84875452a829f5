"""Parts of a program that are passed over without being carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from qrun.providers.local.openqasm.reader import Reader
from qrun.providers.local.openqasm.tokens import Token

DEPTH: Final = 50
CLOSING: Final[Mapping[str, str]] = {"(": ")", "[": "]", "{": "}"}


def skip(reader: Reader, depth: int = 0) -> None:
    """Passes over one statement or block."""
    if depth > DEPTH:
        raise reader.error("blocks are nested too deeply", reader.token)
    while reader.accept("if"):
        skip_nested(reader, "(")
        skip(reader, depth + 1)
        if not reader.accept("else"):
            return
    if reader.accept("while"):
        skip_nested(reader, "(")
        skip(reader, depth + 1)
    elif reader.accept("for"):
        _skip_past(reader, "in")
        skip_nested(reader, "{" if reader.token.text == "{" else "[")
        skip(reader, depth + 1)
    elif reader.token.text == "{":
        skip_nested(reader, "{")
    else:
        _skip_past(reader, ";")


def skip_nested(reader: Reader, opening: str) -> None:
    """Passes over the opening mark and everything up to the one that closes it."""
    reader.expect(opening)
    closing, depth = CLOSING[opening], 1
    while depth:
        token = reader.take()
        if token.kind == "end":
            raise reader.error(f'expected "{closing}" and found the end of the program', token)
        if token.kind == "mark":
            depth += (token.text == opening) - (token.text == closing)


def skip_line(reader: Reader, token: Token) -> None:
    """Passes over what follows the token on its line."""
    text = reader.text.text
    line = text.find("\n", token.offset)
    end = len(text) if line < 0 else line
    while reader.token.kind != "end" and reader.token.offset < end:
        reader.at += 1


def _skip_past(reader: Reader, mark: str) -> None:
    while not reader.accept(mark):
        if reader.take().kind == "end":
            raise reader.error(f'expected "{mark}" and found the end of the program', reader.tokens[-1])
