"""A program as every simulator takes it: numbered qubits and bits, and a list of operations with no names left.

Bits that blocks declare for themselves come after the `len(bits)` bits that are handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, TypeAlias


class Gate(NamedTuple):
    """A primitive (gates.PRIMITIVES) on `targets`, under controls that are pairs of a qubit and the value it needs."""

    name: str
    params: tuple[float, ...]
    controls: tuple[tuple[int, bool], ...]
    targets: tuple[int, ...]


class Measure(NamedTuple):
    qubit: int
    bit: int | None


class Reset(NamedTuple):
    qubit: int


class Assign(NamedTuple):
    """The bits, least significant first, become the bits of the value."""

    bits: tuple[int, ...]
    value: Any


class If(NamedTuple):
    condition: Any
    then: tuple[Operation, ...]
    otherwise: tuple[Operation, ...]


Operation: TypeAlias = Gate | Measure | Reset | Assign | If


class Runtime(NamedTuple):
    """What is known only once bits are measured: `bits` (their numbers, least significant first) or an operator."""

    operator: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Circuit:
    """`bits` and `qubits` name each one in the order of declaration; `hidden` counts the bits that have no name."""

    qubits: tuple[str, ...]
    bits: tuple[str, ...]
    operations: tuple[Operation, ...]
    hidden: int = 0

    def without_final_measurements(self) -> Circuit:
        """An observable is about the state that the program measures, where that is all that is left to do."""
        if sources(self) is None:
            return self
        gates = tuple(each for each in self.operations if isinstance(each, Gate))
        return replace(self, bits=(), operations=gates, hidden=0)


OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "&&": lambda a, b: bool(a) and bool(b),
    "||": lambda a, b: bool(a) or bool(b),
    "&": lambda a, b: int(a) & int(b),
    "|": lambda a, b: int(a) | int(b),
    "^": lambda a, b: int(a) ^ int(b),
    "<<": lambda a, b: int(a) << int(b),
    ">>": lambda a, b: int(a) >> int(b),
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "%": lambda a, b: a % b,
}


def value(expression: Any, bits: Sequence[int]) -> Any:
    """What the expression is once the bits are these."""
    match expression:
        case Runtime("bits", numbers):
            return sum(bits[number] << place for place, number in enumerate(numbers))
        case Runtime("!", (operand,)):
            return not value(operand, bits)
        case Runtime("~", (operand, width)):
            return ~int(value(operand, bits)) & ((1 << width) - 1)
        case Runtime("bool", (operand,)):
            return bool(value(operand, bits))
        case Runtime(operator, (left, right)):
            return OPERATORS[operator](value(left, bits), value(right, bits))
        case _:
            return expression


def read(expression: Any) -> frozenset[int]:
    """The bits that the expression looks at."""
    match expression:
        case Runtime("bits", numbers):
            return frozenset(numbers)
        case Runtime(_, arguments):
            return frozenset().union(*(read(argument) for argument in arguments))
        case _:
            return frozenset()


def touched(gate: Gate) -> tuple[int, ...]:
    return gate.targets + tuple(qubit for qubit, _ in gate.controls)


def sources(circuit: Circuit) -> dict[int, int] | None:
    """For each bit the qubit that it shows at the very end; None if some measurement cannot wait until then.

    It can wait when nothing but other measurements touches its qubit afterwards and nobody reads its bit.
    """
    found: dict[int, int] = {}
    measured: set[int] = set()
    for operation in circuit.operations:
        match operation:
            case Gate():
                if measured and not measured.isdisjoint(touched(operation)):
                    return None
            case Measure(qubit, bit):
                measured.add(qubit)
                if bit is not None:
                    found[bit] = qubit
            case _:
                return None
    return found
