"""OpenQASM text cut into tokens, and what can be said of a program before it is parsed.

No parser of a library ever sees a program: some of them open the paths that an `include` names.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

INCLUDES: Final = ("qelib1.inc", "stdgates.inc")

PATTERN: Final = re.compile(
    r"""
      (?P<blank>[ \t\r\n\f\v]+ | //[^\n]* | /\*.*?\*/)
    | (?P<open>/\*)
    | (?P<name>[^\W\d]\w*)
    | (?P<number>0[xX]_*[0-9a-fA-F][0-9a-fA-F_]* | 0[bB]_*[01][01_]* | 0[oO]_*[0-7][0-7_]*
                | (?: [0-9][0-9_]*\.[0-9_]* | \.[0-9][0-9_]* | [0-9][0-9_]* ) (?:[eE][+-]?[0-9]+)? )
    | (?P<string>"[^"\r\n]*" | '[^'\r\n]*')
    | (?P<mark>-> | == | != | <= | >= | && | \|\| | \+\+ | \*\* | << | >> | [-+*/%^&|]= | [][(){},;:=<>@+*/%^&|~!.-])
    | (?P<pragma>\#[^\n]*)
    | (?P<hardware>\$[0-9]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class ProgramError(Exception):
    """What is wrong with a program and where; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None, hint: str | None = None):
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.hint = hint


class Token(NamedTuple):
    kind: str
    text: str
    offset: int


class Text:
    """A program's text and its tokens; positions are worked out only where somebody asks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = []
        append = self.tokens.append
        for found in PATTERN.finditer(text):
            kind = found.lastgroup
            if kind == "blank":
                continue
            assert kind is not None
            append(Token(kind, found.group(), found.start()))
            if kind in ("other", "open"):
                raise self.error(_unreadable(found.group()), self.tokens[-1])
        append(Token("end", "", len(text)))

    def position(self, offset: int) -> tuple[int, int]:
        before = self.text[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1

    def error(self, message: str, token: Token, hint: str | None = None) -> ProgramError:
        return ProgramError(message, *self.position(token.offset), hint)


def _unreadable(text: str) -> str:
    if text == "/*":
        return "this comment is never closed"
    if text in "\"'":
        return "this string is never closed"
    return f"unexpected character {text!r}" if text.isprintable() else f"unexpected character U+{ord(text):04X}"


def decode(data: bytes) -> str:
    """The text of a program; raises ProgramError where it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        raise ProgramError("the program is not UTF-8 text", before.count(b"\n") + 1, column) from None


def check_includes(text: Text) -> None:
    """Refuses every include but the two whose gates are built in: nothing is read from disk."""
    for token, after in zip(text.tokens, text.tokens[1:], strict=False):
        if token.kind == "name" and token.text == "include":
            path = after.text[1:-1] if after.kind == "string" else ""
            if path not in INCLUDES:
                shown = after.text if after.kind == "string" else "what is not a string"
                hint = "only qelib1.inc and stdgates.inc are known; put the gates into the program itself"
                raise text.error(f"include of {shown} is refused", token, hint)


def inputs(text: Text) -> dict[str, Token]:
    """The names that the program declares as `input`, where they stand."""
    found: dict[str, Token] = {}
    tokens = iter(text.tokens)
    for token in tokens:
        if token.kind == "name" and token.text == "input":
            last = token
            for part in tokens:
                if part.text == ";" or part.kind == "end":
                    break
                last = part
            if last is not token and last.kind == "name":
                found[last.text] = last
    return found
