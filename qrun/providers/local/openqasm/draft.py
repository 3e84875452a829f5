"""The circuit while the program is carried out: its qubits, its bits, and the operations so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from qrun.providers.local.openqasm.circuit import Assign, Circuit, If, Measure, Operation, Runtime
from qrun.providers.local.openqasm.tokens import Text, Token

OPERATIONS: Final = 20_000_000  # more is a loop that went wrong


class Draft:
    """Bits of blocks are numbered from -1 downwards until their place behind the named ones is known.

    `conditional` counts the branches around what is emitted, each taken only where measured bits want it.
    """

    def __init__(self, text: Text) -> None:
        self.text = text
        self.qubits: list[str] = []
        self.bits: list[str] = []
        self.hidden = 0
        self.operations: list[Operation] = []
        self.emitted = 0
        self.conditional = 0

    def new_qubits(self, name: str, size: int | None) -> tuple[int, ...]:
        first = len(self.qubits)
        self.qubits += _named(name, size)
        return tuple(range(first, len(self.qubits)))

    def new_bits(self, name: str, size: int | None) -> tuple[int, ...]:
        first = len(self.bits)
        self.bits += _named(name, size)
        return tuple(range(first, len(self.bits)))

    def new_hidden_bits(self, count: int) -> tuple[int, ...]:
        first = self.hidden
        self.hidden += count
        return tuple(-1 - place for place in range(first, self.hidden))

    def emit(self, operations: Sequence[Operation], token: Token) -> None:
        self.emitted += len(operations)
        if self.emitted > OPERATIONS:
            raise self.text.error(f"the program has more than {OPERATIONS} operations", token)
        self.operations += operations

    @contextmanager
    def branch(self) -> Iterator[list[Operation]]:
        """What is emitted meanwhile, in a list of its own."""
        kept, self.operations = self.operations, []
        self.conditional += 1
        yield self.operations
        self.conditional -= 1
        self.operations = kept

    def circuit(self) -> Circuit:
        operations = tuple(self.operations)
        if self.hidden:
            operations = tuple(_renumbered(each, len(self.bits)) for each in operations)
        return Circuit(qubits=tuple(self.qubits), bits=tuple(self.bits), operations=operations, hidden=self.hidden)


def _named(name: str, size: int | None) -> list[str]:
    return [name] if size is None else [f"{name}[{place}]" for place in range(size)]


def _renumbered(operation: Operation, named: int) -> Operation:
    """The bits of blocks take their places behind the named ones."""

    def place(bit: int) -> int:
        return bit if bit >= 0 else named - 1 - bit

    def inside(expression: Any) -> Any:
        match expression:
            case Runtime("bits", numbers):
                return Runtime("bits", tuple(place(number) for number in numbers))
            case Runtime(operator, arguments):
                return Runtime(operator, tuple(inside(argument) for argument in arguments))
            case _:
                return expression

    match operation:
        case Measure(qubit, bit) if bit is not None:
            return Measure(qubit, place(bit))
        case Assign(bits, value):
            return Assign(tuple(place(bit) for bit in bits), inside(value))
        case If(condition, then, otherwise):
            return If(
                inside(condition),
                tuple(_renumbered(each, named) for each in then),
                tuple(_renumbered(each, named) for each in otherwise),
            )
        case _:
            return operation
