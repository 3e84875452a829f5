"""What statements are made of, read and looked up in one go: qubits, bits, types and constants."""

from __future__ import annotations

from typing import Any, Final

from qrun.providers.local.openqasm.names import Clbits, Names, Qubits
from qrun.providers.local.openqasm.reader import Reader
from qrun.providers.local.openqasm.tokens import Token
from qrun.providers.local.openqasm.values import NUMBERS, Type, fit, shortened

SIZE: Final = 100_000  # of a register; more is a slip


class Operands:
    def __init__(self, reader: Reader, names: Names) -> None:
        self.reader = reader
        self.names = names

    def qubits(self) -> Qubits:
        reader = self.reader
        token = reader.token
        if token.kind == "hardware":
            raise reader.error("physical qubits are not supported", token, "declare a register")
        name = reader.name("a qubit")
        symbol = self.names.find(name.text)
        if symbol is None:
            raise reader.error(f'unknown quantum register "{name.text}"', name)
        if not isinstance(symbol, Qubits):
            raise reader.error(f'"{name.text}" is not a quantum register', name)
        return Qubits(*self._chosen(symbol, name))

    def bits(self) -> Clbits:
        name = self.reader.name("a bit")
        symbol = self.names.find(name.text)
        if symbol is None:
            raise self.reader.error(f'unknown classical register "{name.text}"', name)
        if not isinstance(symbol, Clbits):
            raise self.reader.error(f'"{name.text}" is not a classical register', name)
        return Clbits(*self._chosen(symbol, name))

    def _chosen(self, symbol: Qubits | Clbits, name: Token) -> tuple[tuple[int, ...], bool]:
        reader = self.reader
        bracket = reader.token
        if bracket.text != "[" or bracket.kind != "mark":
            return symbol.numbers, symbol.scalar
        place = self._plain_index()
        if place is not None and not symbol.scalar and place < len(symbol.numbers):
            reader.at += 3
            return (symbol.numbers[place],), True
        index = reader.index()
        places = self.names.places(symbol, index, name)
        return tuple(symbol.numbers[place] for place in places), index[0] == "at"

    def _plain_index(self) -> int | None:
        """The number in `[3]`, by far the most frequent index, without a tree for it."""
        reader = self.reader
        digits = reader.tokens[reader.at + 1]
        if digits.kind != "number" or reader.tokens[reader.at + 2].text != "]":
            return None
        return int(digits.text) if digits.text.isdigit() and len(digits.text) < 10 else None

    def constant(self, what: str) -> Any:
        return self.names.constant(self.reader.expression(), what)

    def type(self, token: Token) -> Type:
        """The type that begins with this token, which has been read."""
        if token.text not in NUMBERS | {"bit"}:
            raise self.reader.error(f'"{token.text}" is not a type that is supported here', token)
        return Type(token.text, self.size())

    def size(self) -> int | None:
        """The size in brackets, or None where there is none."""
        reader = self.reader
        if reader.token.text != "[":
            return None
        reader.expect("[")
        token = reader.token
        size = self.constant("a size")
        reader.expect("]")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise reader.error(f"a register's size is a whole number above 0, not {shortened(size)}", token)
        if size > SIZE:
            raise reader.error(f"a register of {shortened(size)} is too large", token, f"at most {SIZE} are understood")
        return size

    def fit(self, type_: Type, value: Any, token: Token) -> Any:
        """The value as its declared type holds it."""
        try:
            return fit(type_, value)
        except ValueError as error:
            raise self.reader.error(str(error), token) from error
