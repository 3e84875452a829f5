"""A program's tokens taken one by one, and its expressions read into small trees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from qrun.providers.local.openqasm.tokens import ProgramError, Text, Token

One = TypeVar("One")

CASTS: Final = frozenset({"int", "uint", "float", "bool", "bit", "angle"})

# binding strength, weakest first
LEVELS: Final[tuple[frozenset[str], ...]] = (
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"|"}),
    frozenset({"^"}),
    frozenset({"&"}),
    frozenset({"==", "!="}),
    frozenset({"<", ">", "<=", ">="}),
    frozenset({"<<", ">>"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
DEPTH: Final = 100  # of an expression
DIGITS: Final = 1000  # of a number
STRENGTH: Final = {mark: level for level, marks in enumerate(LEVELS) for mark in marks}


class Node(NamedTuple):
    kind: str  # value, name, unary, binary, call, cast, index
    token: Token
    parts: tuple[Any, ...]


class Reader:
    """Reads expressions from a list of tokens; `at` is the number of the next one."""

    def __init__(self, text: Text, version: int = 3) -> None:
        self.text = text
        self.tokens = text.tokens
        self.version = version
        self.at = 0

    def error(self, message: str, token: Token, hint: str | None = None) -> ProgramError:
        return self.text.error(message, token, hint)

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.tokens[self.at]
        self.at += 1
        return token

    def accept(self, mark: str) -> bool:
        token = self.tokens[self.at]
        if token.text == mark and token.kind != "string":
            self.at += 1
            return True
        return False

    def expect(self, mark: str) -> Token:
        token = self.tokens[self.at]
        if token.text != mark or token.kind == "string":
            raise self.error(f'expected "{mark}" and found {shown(token)}', token)
        self.at += 1
        return token

    def name(self, what: str) -> Token:
        token = self.tokens[self.at]
        if token.kind != "name":
            raise self.error(f"expected {what} and found {shown(token)}", token)
        self.at += 1
        return token

    def several(self, one: Callable[[], One]) -> list[One]:
        """One or more, with commas between them."""
        found = [one()]
        while self.accept(","):
            found.append(one())
        return found

    def expression(self, weakest: int = 0, depth: int = 0) -> Node:
        left = self._unary(depth)
        while True:
            token = self.tokens[self.at]
            if token.kind != "mark":
                return left
            level = STRENGTH.get(token.text, -1)
            if level < weakest:
                return left
            self.at += 1
            left = Node("binary", token, (token.text, left, self.expression(level + 1, depth + 1)))

    def _unary(self, depth: int) -> Node:
        token = self.tokens[self.at]
        if depth > DEPTH:
            raise self.error("the expression is nested too deeply", token)
        if token.kind == "mark" and token.text in ("-", "+", "!", "~"):
            self.at += 1
            operand = self._power(self._unary(depth + 1), depth)
            return Node("unary", token, (token.text, operand))
        return self._power(self._primary(depth), depth)

    def _power(self, base: Node, depth: int) -> Node:
        """Powers bind more tightly than a sign before them, and to the right."""
        token = self.tokens[self.at]
        if token.kind == "mark" and (token.text == "**" or (token.text == "^" and self.version == 2)):
            self.at += 1
            return Node("binary", token, ("**", base, self._unary(depth + 1)))
        return base

    def _primary(self, depth: int) -> Node:
        token = self.take()
        if token.kind == "number":
            return Node("value", token, (self._number(token),))
        if token.kind == "string":
            return Node("value", token, (self._bits(token),))
        if token.kind == "name":
            return self._named(token, depth)
        if token.text == "(" and token.kind == "mark":
            inner = self.expression(depth=depth + 1)
            self.expect(")")
            return inner
        raise self.error(f"expected a value and found {shown(token)}", token)

    def _named(self, token: Token, depth: int) -> Node:
        if token.text in CASTS and (self.version == 3 or self.token.text in ("(", "[")):
            width = None
            if self.accept("["):
                width = self.expression(depth=depth + 1)
                self.expect("]")
            self.expect("(")
            inner = self.expression(depth=depth + 1)
            self.expect(")")
            return Node("cast", token, (token.text, width, inner))
        following = self.token
        if following.text == "(" and following.kind == "mark":
            self.at += 1
            arguments = self._members(depth + 1)
            self.expect(")")
            return Node("call", token, tuple(arguments))
        if following.text == "[" and following.kind == "mark":
            return Node("index", token, (self.index(depth),))
        return Node("name", token, ())

    def _members(self, depth: int) -> list[Node]:
        found = [self.expression(depth=depth)]
        while self.accept(","):
            found.append(self.expression(depth=depth))
        return found

    def index(self, depth: int = 0) -> tuple[Any, ...]:
        """What stands in brackets: ("at", node), ("range", start, step, stop) or ("set", nodes)."""
        self.expect("[")
        if self.accept("{"):
            members = self._members(depth + 1)
            self.expect("}")
            self.expect("]")
            return ("set", *members)
        found = self.span(depth)
        self.expect("]")
        return found

    def span(self, depth: int = 0) -> tuple[Any, ...]:
        parts: list[Node | None] = []
        while True:
            ends = self.token.text in (":", "]")
            parts.append(None if ends else self.expression(depth=depth + 1))
            if not self.accept(":"):
                break
        if len(parts) == 1 and parts[0] is not None:
            return ("at", parts[0])
        if len(parts) == 2:
            return ("range", parts[0], None, parts[1])
        if len(parts) == 3:
            return ("range", *parts)
        raise self.error("expected an index", self.token)

    def _number(self, token: Token) -> int | float:
        text = token.text.replace("_", "").lower()
        following = self.token
        if following.kind == "name" and following.offset == token.offset + len(token.text):
            raise self.error(f'"{token.text}{following.text}" is not a number that is understood here', token)
        if len(text) > DIGITS:
            raise self.error(f'"{token.text[:40]}" is too long a number', token)
        if text.startswith(("0x", "0b", "0o")):
            return int(text, 0)
        return int(text) if text.isdigit() else float(text)

    def _bits(self, token: Token) -> str:
        inner = token.text[1:-1].replace("_", "")
        if not inner or set(inner) - {"0", "1"}:
            raise self.error(f"expected a bit string and found {token.text}", token)
        return inner


def shown(token: Token) -> str:
    match token.kind:
        case "end":
            return "the end of the program"
        case "string":
            return token.text
        case _:
            return f'"{token.text}"'
