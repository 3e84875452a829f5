"""Expressions of OpenQASM: read once into a small tree, worked out where they are used.

What depends on measured bits comes out as circuit.Runtime, everything else as a Python number, truth or bit string.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from qrun.providers.local.circuit import OPERATORS, Runtime
from qrun.providers.local.tokens import Text, Token

CONSTANTS: Final[Mapping[str, Any]] = {
    "pi": math.pi,
    "π": math.pi,
    "tau": math.tau,
    "τ": math.tau,
    "euler": math.e,
    "ℇ": math.e,
    "true": True,
    "false": False,
}

FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "arcsin": math.asin,
    "arccos": math.acos,
    "arctan": math.atan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "exp": math.exp,
    "ln": math.log,
    "log": math.log,
    "sqrt": math.sqrt,
    "pow": math.pow,
    "mod": lambda a, b: a % b,
    "floor": math.floor,
    "ceiling": math.ceil,
    "abs": abs,
    "popcount": lambda a: (int(a, 2) if isinstance(a, str) else int(a)).bit_count(),
}

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
STRENGTH: Final = {mark: level for level, marks in enumerate(LEVELS) for mark in marks}


class Node(NamedTuple):
    kind: str  # value, name, unary, binary, call, cast, index
    token: Token
    parts: tuple[Any, ...]


class Names(Protocol):
    """What the names of a program stand for where the expression is worked out."""

    @property
    def text(self) -> Text: ...
    @property
    def version(self) -> int: ...
    def look_up(self, token: Token) -> Any: ...
    def width(self, node: Node) -> int: ...
    def element(self, node: Node) -> Any: ...


class Reader:
    """Reads expressions from a list of tokens; `at` is the number of the next one."""

    def __init__(self, text: Text, version: int = 3) -> None:
        self.text = text
        self.tokens = text.tokens
        self.version = version
        self.at = 0

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
            raise self.text.error(f'expected "{mark}" and found {shown(token)}', token)
        self.at += 1
        return token

    def name(self, what: str) -> Token:
        token = self.tokens[self.at]
        if token.kind != "name":
            raise self.text.error(f"expected {what} and found {shown(token)}", token)
        self.at += 1
        return token

    def expression(self, weakest: int = 0, depth: int = 0) -> Node:
        if depth > 100:
            raise self.text.error("the expression is nested too deeply", self.token)
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
        if token.kind == "mark" and token.text in ("-", "+", "!", "~"):
            self.at += 1
            if depth > 100:
                raise self.text.error("the expression is nested too deeply", token)
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
        raise self.text.error(f"expected a value and found {shown(token)}", token)

    def _named(self, token: Token, depth: int) -> Node:
        if token.text in CASTS:
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
            arguments = [self.expression(depth=depth + 1)]
            while self.accept(","):
                arguments.append(self.expression(depth=depth + 1))
            self.expect(")")
            return Node("call", token, tuple(arguments))
        if following.text == "[" and following.kind == "mark":
            return Node("index", token, (self.index(depth),))
        return Node("name", token, ())

    def index(self, depth: int = 0) -> tuple[Any, ...]:
        """What stands in brackets: ("at", node), ("range", start, step, stop) or ("set", nodes)."""
        self.expect("[")
        if self.accept("{"):
            members = [self.expression(depth=depth + 1)]
            while self.accept(","):
                members.append(self.expression(depth=depth + 1))
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
        raise self.text.error("expected an index", self.token)

    def _number(self, token: Token) -> int | float:
        text = token.text.replace("_", "").lower()
        following = self.token
        if following.kind == "name" and following.offset == token.offset + len(token.text):
            raise self.text.error(f'"{token.text}{following.text}" is not a number that is understood here', token)
        if text.startswith(("0x", "0b", "0o")):
            return int(text, 0)
        try:
            return int(text) if text.isdigit() else float(text)
        except ValueError:
            raise self.text.error(f'"{token.text[:40]}" is too long a number', token) from None

    def _bits(self, token: Token) -> str:
        inner = token.text[1:-1].replace("_", "")
        if not inner or set(inner) - {"0", "1"}:
            raise self.text.error(f"expected a bit string and found {token.text}", token)
        return inner


def shown(token: Token) -> str:
    match token.kind:
        case "end":
            return "the end of the program"
        case "string":
            return token.text
        case _:
            return f'"{token.text}"'


def evaluate(node: Node, names: Names) -> Any:
    """The value of the expression; raises ProgramError that points at the part that has none."""
    match node.kind:
        case "value":
            return node.parts[0]
        case "name":
            return names.look_up(node.token)
        case "index":
            return names.element(node)
        case "unary":
            return _unary(node, names)
        case "binary":
            return _binary(node, names)
        case "cast":
            return _cast(node, names)
        case _:
            return _call(node, names)


def _unary(node: Node, names: Names) -> Any:
    mark, operand = node.parts
    found = evaluate(operand, names)
    if isinstance(found, Runtime):
        if mark == "!":
            return Runtime("!", (found,))
        if mark == "~":
            return Runtime("~", (found, names.width(operand)))
        if mark == "+":
            return found
        raise names.text.error("a sign before measured bits is not supported", node.token)
    if mark == "~" and isinstance(found, str):
        return "".join("1" if bit == "0" else "0" for bit in found)
    found = _plain(found)
    match mark:
        case "-":
            return -found
        case "+":
            return found
        case "!":
            return not found
        case _:
            return ~int(found)


def _binary(node: Node, names: Names) -> Any:
    mark, left, right = node.parts
    a, b = evaluate(left, names), evaluate(right, names)
    if isinstance(a, str) and isinstance(b, str) and mark in ("==", "!=") and len(a) != len(b):
        raise names.text.error("the bit strings differ in length", node.token)
    a, b = _plain(a), _plain(b)
    if isinstance(a, Runtime) or isinstance(b, Runtime):
        if mark not in OPERATORS:
            raise names.text.error(f'"{mark}" on measured bits is not supported', node.token)
        return Runtime(mark, (a, b))
    try:
        return _operate(mark, a, b, names.version)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise names.text.error(f"{_amount(a)} {mark} {_amount(b)} has no value", node.token) from error


def _amount(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _operate(mark: str, a: Any, b: Any, version: int) -> Any:
    match mark:
        case "**":
            if isinstance(a, int) and isinstance(b, int) and 0 <= b <= 64 and abs(a) < 2**64:
                return a**b
            found = float(a) ** float(b)
            if isinstance(found, complex):
                raise ValueError
            return found
        case "/":
            whole = version == 3 and isinstance(a, int) and isinstance(b, int)
            return (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1) if whole else a / b
        case "<<" if int(b) > 1024:
            raise ValueError
        case "*" if isinstance(a, int) and isinstance(b, int) and max(abs(a), abs(b)).bit_length() > 4096:
            raise ValueError
        case _:
            return OPERATORS[mark](a, b)


def _plain(value: Any) -> Any:
    """Bit strings count as the number that they spell."""
    return int(value, 2) if isinstance(value, str) else value


def _cast(node: Node, names: Names) -> Any:
    kind, width, inner = node.parts
    found = evaluate(inner, names)
    size = None if width is None else evaluate(width, names)
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 4096):
        raise names.text.error("a width is a whole number from 1 to 4096", node.token)
    if isinstance(found, Runtime):
        return _cast_runtime(node, found, size, names)
    plain = _plain(found)
    match kind:
        case "bool":
            return bool(plain)
        case "float" | "angle":
            return float(plain)
        case _:
            whole = int(plain)
            return whole if size is None or kind == "int" else whole & ((1 << size) - 1)


def _cast_runtime(node: Node, found: Runtime, size: int | None, names: Names) -> Runtime:
    kind, _, inner = node.parts
    if kind == "bool":
        return Runtime("bool", (found,))
    if kind == "int" and size is not None and size <= names.width(inner):
        raise names.text.error(f"int[{size}] of measured bits is not supported", node.token, "use uint")
    if kind in ("int", "uint", "bit"):
        return found if size is None else Runtime("&", (found, (1 << size) - 1))
    raise names.text.error(f"{kind} of measured bits is not supported", node.token)


def _call(node: Node, names: Names) -> Any:
    function = FUNCTIONS.get(node.token.text)
    if function is None:
        raise names.text.error(f'unknown function "{node.token.text}"', node.token)
    arguments = [evaluate(part, names) for part in node.parts]
    if any(isinstance(argument, Runtime) for argument in arguments):
        raise names.text.error(f'"{node.token.text}" of measured bits is not supported', node.token)
    try:
        return function(*arguments)
    except TypeError:
        raise names.text.error(f'"{node.token.text}" does not take these arguments', node.token) from None
    except (ArithmeticError, ValueError):
        listed = ", ".join(_amount(argument) for argument in arguments)
        raise names.text.error(f"{node.token.text}({listed}) has no value", node.token) from None
