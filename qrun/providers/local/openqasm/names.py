"""What the names of a program stand for: its registers, its values, and the scopes in which they are seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from qrun.providers.local.openqasm.circuit import Runtime
from qrun.providers.local.openqasm.expressions import CONSTANTS, evaluate
from qrun.providers.local.openqasm.reader import Node, Reader
from qrun.providers.local.openqasm.tokens import ProgramError, Token
from qrun.providers.local.openqasm.values import Type, number, shortened


class Qubits(NamedTuple):
    """A quantum register, an alias, or one qubit; `scalar` tells a single one from a register of one."""

    numbers: tuple[int, ...]
    scalar: bool = False


class Clbits(NamedTuple):
    numbers: tuple[int, ...]
    scalar: bool = False


@dataclass(kw_only=True, slots=True)
class Value:
    """A number, truth or bit string that is known before the circuit runs.

    `branch` counts the branches on measured bits around its declaration; only in the innermost may it change.
    """

    type: Type
    value: Any
    constant: bool = True
    branch: int = 0


Symbol: TypeAlias = Qubits | Clbits | Value


class Names:
    """`scopes` hold what names stand for, innermost last; `gates` are the names that gates of the program took."""

    def __init__(self, reader: Reader) -> None:
        self.text = reader.text
        self.whole_division = reader.version == 3
        self.defining = False
        self.scopes: list[dict[str, Symbol]] = [{}]
        self.gates: set[str] = set()

    def error(self, message: str, token: Token, hint: str | None = None) -> ProgramError:
        return self.text.error(message, token, hint)

    @property
    def outermost(self) -> bool:
        return len(self.scopes) == 1

    @contextmanager
    def scope(self) -> Iterator[None]:
        self.scopes.append({})
        yield
        self.scopes.pop()

    @contextmanager
    def definition(self, params: Mapping[str, Symbol]) -> Iterator[None]:
        """The lines of a gate's definition see its parameters and the constants of the outermost scope."""
        kept = self.scopes, self.defining
        self.scopes, self.defining = [self.scopes[0], dict(params)], True
        yield
        self.scopes, self.defining = kept

    @contextmanager
    def real_division(self) -> Iterator[None]:
        kept, self.whole_division = self.whole_division, False
        yield
        self.whole_division = kept

    def declare(self, token: Token, symbol: Symbol) -> None:
        if token.text in self.scopes[-1] or (self.outermost and token.text in self.gates):
            raise self.error(f'"{token.text}" is declared twice', token)
        self.scopes[-1][token.text] = symbol

    def declare_gate(self, token: Token) -> None:
        if token.text in self.gates or token.text in self.scopes[0]:
            raise self.error(f'"{token.text}" is declared twice', token)
        self.gates.add(token.text)

    def find(self, name: str) -> Symbol | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def constant(self, node: Node, what: str) -> Any:
        value = evaluate(node, self)
        if isinstance(value, Runtime):
            raise self.error(f"{what} cannot depend on measured bits", node.token)
        return value

    def look_up(self, token: Token) -> Any:
        """What a name is worth in an expression."""
        symbol = self.find(token.text)
        match symbol:
            case Value():
                self._check_constant(symbol, token)
                return symbol.value
            case Clbits():
                return Runtime("bits", symbol.numbers)
            case Qubits():
                raise self.error(f'"{token.text}" is a quantum register, not a value', token)
        if token.text in CONSTANTS:
            return CONSTANTS[token.text]
        raise self.error(f'unknown name "{token.text}"', token)

    def element(self, node: Node) -> Any:
        """What a name with an index is worth in an expression."""
        symbol = self.find(node.token.text)
        match symbol:
            case Value():
                self._check_constant(symbol, node.token)
                return self._value_bits(symbol, node)
            case Clbits():
                places = self.places(symbol, node.parts[0], node.token)
                return Runtime("bits", tuple(symbol.numbers[place] for place in places))
            case Qubits():
                raise self.error(f'"{node.token.text}" is a quantum register, not a value', node.token)
        raise self.error(f'unknown name "{node.token.text}"', node.token)

    def _check_constant(self, symbol: Value, token: Token) -> None:
        if self.defining and not symbol.constant:
            raise self.error(f'a gate cannot use "{token.text}", which may change', token, "declare it as const")

    def _value_bits(self, symbol: Value, node: Node) -> str:
        width = len(symbol.value) if isinstance(symbol.value, str) else symbol.type.width
        if symbol.type.kind not in ("bit", "uint", "int") or width is None:
            raise self.error(f'"{node.token.text}" has no bits to choose from', node.token)
        whole = number(symbol.value)
        places = self.places(Clbits(tuple(range(width))), node.parts[0], node.token)
        return "".join(str(whole >> place & 1) for place in reversed(places))

    def width(self, node: Node) -> int:
        """How many bits an expression of measured bits has."""
        match node.kind:
            case "name" | "index":
                found = self.look_up(node.token) if node.kind == "name" else self.element(node)
                return len(found.arguments) if isinstance(found, Runtime) else 1
            case "unary":
                return self.width(node.parts[1]) if node.parts[0] == "~" else 1
            case "binary" if node.parts[0] in ("<<", ">>"):
                return self.width(node.parts[1])
            case "binary" if node.parts[0] in ("&", "|", "^", "+", "-", "*", "%"):
                return max(self.width(node.parts[1]), self.width(node.parts[2]))
            case "cast":
                kind, size, inner = node.parts
                if kind != "bool" and size is not None:
                    return int(self.constant(size, "a width"))
                return 1 if kind == "bool" else self.width(inner)
            case _:
                return 1

    def places(self, symbol: Qubits | Clbits, index: tuple[Any, ...], name: Token) -> Sequence[int]:
        """The places that an index (Reader.index) chooses; negative ones count from the end."""
        if symbol.scalar:
            raise self.error(f'"{name.text}" is not a register', name)
        size = len(symbol.numbers)
        kind, *parts = index
        values: Sequence[Any] = [None if part is None else number(self.constant(part, "an index")) for part in parts]
        if kind == "range":
            values = self._slice(size, *values, name=name)
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or not -size <= value < size:
                raise self.error(f'"{name.text}" has {size}: there is no [{shortened(value)}]', name)
        places = [value % size for value in values]
        if len(set(places)) < len(places):
            raise self.error(f'an index of "{name.text}" is given twice', name)
        return places

    def _slice(self, size: int, start: Any, step: Any, stop: Any, *, name: Token) -> range:
        down = isinstance(step, int) and step < 0
        start = (size - 1 if down else 0) if start is None else _from_start(start, size)
        stop = (0 if down else size - 1) if stop is None else _from_start(stop, size)
        return self.range(start, step, stop, name)

    def range(self, start: Any, step: Any, stop: Any, token: Token) -> range:
        """Both ends belong to a range of OpenQASM."""
        step = 1 if step is None else step
        if any(isinstance(part, bool) or not isinstance(part, int) for part in (start, step, stop)) or step == 0:
            raise self.error("a range is made of whole numbers, with a step other than 0", token)
        return range(start, stop + (1 if step > 0 else -1), step)


def _from_start(value: Any, size: int) -> Any:
    return value + size if isinstance(value, int) and -size <= value < 0 else value
