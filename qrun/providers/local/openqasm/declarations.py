"""Declarations of registers, aliases, constants, variables, inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrun.providers.local.openqasm.assignments import Assignments
from qrun.providers.local.openqasm.draft import Draft
from qrun.providers.local.openqasm.names import Clbits, Qubits, Value
from qrun.providers.local.openqasm.operands import Operands
from qrun.providers.local.openqasm.tokens import Token
from qrun.providers.local.openqasm.values import WANTED, bound, shortened


class Declarations:
    """`params` are the values of the program's inputs."""

    def __init__(self, operands: Operands, draft: Draft, assignments: Assignments, params: Mapping[str, Any]) -> None:
        self.operands = operands
        self.reader = operands.reader
        self.names = operands.names
        self.draft = draft
        self.assignments = assignments
        self.params = params

    def qreg(self, token: Token) -> None:
        del token
        name = self.reader.name("a name")
        size = self.operands.size()
        self.reader.expect(";")
        self._declare_qubits(name, size)

    def creg(self, token: Token) -> None:
        del token
        name = self.reader.name("a name")
        size = self.operands.size()
        self.reader.expect(";")
        self._declare_bits(name, size)

    def qubit(self, token: Token) -> None:
        del token
        size = self.operands.size()
        self._declare_qubits(self.reader.name("a name"), size)
        self.reader.expect(";")

    def bit(self, token: Token) -> None:
        """Also with a measurement, or with a value, which cannot mention the new bits."""
        del token
        reader = self.reader
        size = self.operands.size()
        name = reader.name("a name")
        if not reader.accept("="):
            self._declare_bits(name, size)
        elif reader.accept("measure"):
            bits = self._declare_bits(name, size)
            self.assignments.measured(self.operands.qubits(), bits, name)
        else:
            node = reader.expression()
            reader.expect(";")
            self.assignments.give(self._declare_bits(name, size), node, name)
            return
        reader.expect(";")

    def _declare_qubits(self, name: Token, size: int | None) -> None:
        if not self.names.outermost:
            raise self.reader.error("qubits are declared outside of all blocks", name)
        self.names.declare(name, Qubits(self.draft.new_qubits(name.text, size), size is None))

    def _declare_bits(self, name: Token, size: int | None) -> Clbits:
        draft = self.draft
        numbers = draft.new_bits(name.text, size) if self.names.outermost else draft.new_hidden_bits(size or 1)
        bits = Clbits(numbers, size is None)
        self.names.declare(name, bits)
        return bits

    def const(self, token: Token) -> None:
        type_ = self.operands.type(self.reader.take())
        name = self.reader.name("a name")
        self.reader.expect("=")
        value = self.operands.constant("a constant")
        self.reader.expect(";")
        self.names.declare(name, Value(type=type_, value=self.operands.fit(type_, value, token)))

    def number(self, token: Token) -> None:
        type_ = self.operands.type(token)
        name = self.reader.name("a name")
        value = self.operands.constant("a value") if self.reader.accept("=") else 0
        self.reader.expect(";")
        fitting = self.operands.fit(type_, value, name)
        branch = self.draft.conditional
        self.names.declare(name, Value(type=type_, value=fitting, constant=False, branch=branch))

    def input(self, token: Token) -> None:
        type_ = self.operands.type(self.reader.take())
        name = self.reader.name("a name")
        self.reader.expect(";")
        if not self.names.outermost:
            raise self.reader.error("inputs are declared outside of all blocks", token)
        if name.text not in self.params:
            hint = f"give it under params: {name.text}"
            raise self.reader.error(f'input "{name.text}" has no value', name, hint)
        given = self.params[name.text]
        value = bound(type_, given)
        if value is None:
            shown = f'"{given}"' if isinstance(given, str) else shortened(given).lower()
            wanted = f"{WANTED[type_.kind]} is needed for {type_}"
            raise self.reader.error(f"params.{name.text} is {shown}; {wanted}", name)
        self.names.declare(name, Value(type=type_, value=value))

    def output(self, token: Token) -> None:
        following = self.reader.token
        if not self.reader.accept("bit"):
            raise self.reader.error("only bits can be output", token)
        self.bit(following)

    def alias(self, token: Token) -> None:
        del token
        name = self.reader.name("a name")
        self.reader.expect("=")
        numbers = self.operands.qubits().numbers
        while self.reader.accept("++"):
            numbers += self.operands.qubits().numbers
        self.reader.expect(";")
        self.names.declare(name, Qubits(numbers))
