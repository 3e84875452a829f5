"""Expressions of OpenQASM worked out where they are used.

What depends on measured bits comes out as circuit.Runtime, everything else as a Python number, truth or bit string.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from qrun.providers.local.openqasm.circuit import OPERATORS, Runtime
from qrun.providers.local.openqasm.reader import Node
from qrun.providers.local.openqasm.tokens import ProgramError, Token
from qrun.providers.local.openqasm.values import number, shortened

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

WIDTH: Final = 4096  # bits of a number; more is a slip
SHIFT: Final = 1024
TERMS: Final = 300  # of measured bits; a circuit holds them as a tree as deep as that


class Names(Protocol):
    """What the names of a program stand for where the expression is worked out.

    `whole_division`: whether whole numbers divide as whole numbers, as in OpenQASM 3.
    """

    whole_division: bool

    def error(self, message: str, token: Token, hint: str | None = None) -> ProgramError: ...
    def look_up(self, token: Token) -> Any: ...
    def width(self, node: Node) -> int: ...
    def element(self, node: Node) -> Any: ...


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
        return _unary_runtime(node, found, names)
    if mark == "~" and isinstance(found, str):
        return "".join("1" if bit == "0" else "0" for bit in found)
    found = number(found)
    match mark:
        case "-":
            return -found
        case "+":
            return found
        case "!":
            return not found
    if isinstance(found, float) and not math.isfinite(found):
        raise names.error(f"~{found} has no value", node.token)
    return ~int(found)


def _unary_runtime(node: Node, found: Runtime, names: Names) -> Runtime:
    mark, operand = node.parts
    match mark:
        case "!":
            return Runtime("!", (found,))
        case "~":
            return Runtime("~", (found, names.width(operand)))
        case "+":
            return found
        case _:
            raise names.error("a sign before measured bits is not supported", node.token)


def _binary(node: Node, names: Names) -> Any:
    """A long sum leans to the left and is followed in a loop, since it may have more terms than Python has frames."""
    terms = [node]
    while terms[-1].parts[1].kind == "binary":
        terms.append(terms[-1].parts[1])
    value = evaluate(terms[-1].parts[1], names)
    for term in reversed(terms):
        value = _combined(term, value, evaluate(term.parts[2], names), names)
    if isinstance(value, Runtime) and len(terms) > TERMS:
        raise names.error(f"an expression of measured bits has more than {TERMS} terms", node.token)
    return value


def _combined(node: Node, left: Any, right: Any, names: Names) -> Any:
    mark = node.parts[0]
    both = isinstance(left, str) and isinstance(right, str)
    if both and mark in ("==", "!=") and len(left) != len(right):
        raise names.error("the bit strings differ in length", node.token)
    a, b = number(left), number(right)
    if isinstance(a, Runtime) or isinstance(b, Runtime):
        return _combined_runtime(node, a, b, names)
    try:
        value = _operate(mark, a, b, names.whole_division)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise names.error(f"{shortened(a)} {mark} {shortened(b)} has no value", node.token) from error
    return value & _ones(len(left)) if mark == "<<" and isinstance(left, str) else value


def _combined_runtime(node: Node, a: Any, b: Any, names: Names) -> Runtime:
    """Bits that are shifted beyond their register are gone."""
    mark, left, _ = node.parts
    if mark not in OPERATORS:
        raise names.error(f'"{mark}" on measured bits is not supported', node.token)
    if not isinstance(b, Runtime) and ((mark == "%" and b == 0) or (mark in ("<<", ">>") and not 0 <= b <= SHIFT)):
        raise names.error(f'"{mark} {shortened(b)}" on measured bits has no value', node.token)
    combined = Runtime(mark, (a, b))
    if mark == "<<" and isinstance(a, Runtime):
        return Runtime("&", (combined, _ones(names.width(left))))
    return combined


def _ones(count: int) -> int:
    return (1 << count) - 1


def _operate(mark: str, a: Any, b: Any, whole_division: bool) -> Any:
    match mark:
        case "**":
            if isinstance(a, int) and isinstance(b, int) and 0 <= b <= 64 and abs(a) < 2**64:
                return a**b
            found = float(a) ** float(b)
            if isinstance(found, complex):
                raise ValueError
            return found
        case "/":
            whole = whole_division and isinstance(a, int) and isinstance(b, int)
            return (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1) if whole else a / b
        case "<<" if int(b) > SHIFT or int(a).bit_length() > WIDTH:
            raise ValueError
        case "*" if isinstance(a, int) and isinstance(b, int) and max(abs(a), abs(b)).bit_length() > WIDTH:
            raise ValueError
        case _:
            return OPERATORS[mark](a, b)


def _cast(node: Node, names: Names) -> Any:
    kind, width, inner = node.parts
    found = evaluate(inner, names)
    size = None if width is None else evaluate(width, names)
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= WIDTH):
        raise names.error(f"a width is a whole number from 1 to {WIDTH}", node.token)
    if isinstance(found, Runtime):
        return _cast_runtime(node, found, size, names)
    try:
        return _converted(kind, size, number(found))
    except (OverflowError, ValueError) as error:
        raise names.error(f"{kind}({shortened(found)}) has no value", node.token) from error


def _converted(kind: str, size: int | None, value: Any) -> Any:
    match kind:
        case "bool":
            return bool(value)
        case "float" | "angle":
            return float(value)
        case _:
            whole = int(value)
            return whole if size is None or kind == "int" else whole & _ones(size)


def _cast_runtime(node: Node, found: Runtime, size: int | None, names: Names) -> Runtime:
    kind, _, inner = node.parts
    if kind == "bool":
        return Runtime("bool", (found,))
    if kind == "int" and size is not None and size <= names.width(inner):
        raise names.error(f"int[{size}] of measured bits is not supported", node.token, "use uint")
    if kind in ("int", "uint", "bit"):
        return found if size is None else Runtime("&", (found, _ones(size)))
    raise names.error(f"{kind} of measured bits is not supported", node.token)


def _call(node: Node, names: Names) -> Any:
    function = FUNCTIONS.get(node.token.text)
    if function is None:
        raise names.error(f'unknown function "{node.token.text}"', node.token)
    arguments = [evaluate(part, names) for part in node.parts]
    if any(isinstance(argument, Runtime) for argument in arguments):
        raise names.error(f'"{node.token.text}" of measured bits is not supported', node.token)
    try:
        return function(*arguments)
    except TypeError:
        raise names.error(f'"{node.token.text}" does not take these arguments', node.token) from None
    except (ArithmeticError, ValueError):
        listed = ", ".join(shortened(argument) for argument in arguments)
        raise names.error(f"{node.token.text}({listed}) has no value", node.token) from None
