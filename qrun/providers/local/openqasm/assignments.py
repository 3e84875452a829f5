"""Measurements and resets, and values given to bits and to numbers."""

from __future__ import annotations

from typing import Any, Final

from qrun.providers.local.openqasm.circuit import Assign, Measure, Reset, Runtime
from qrun.providers.local.openqasm.definitions import counted
from qrun.providers.local.openqasm.draft import Draft
from qrun.providers.local.openqasm.expressions import evaluate
from qrun.providers.local.openqasm.names import Clbits, Qubits, Value
from qrun.providers.local.openqasm.operands import Operands
from qrun.providers.local.openqasm.reader import Node
from qrun.providers.local.openqasm.tokens import Token
from qrun.providers.local.openqasm.values import number, shortened

# what an assignment to a number or to bits may do on the way
WITH_NUMBERS: Final = frozenset({"+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="})
WITH_BITS: Final = frozenset({"&=", "|=", "^="})
ASSIGNING: Final = WITH_NUMBERS | {"[", "="}


class Assignments:
    def __init__(self, operands: Operands, draft: Draft) -> None:
        self.operands = operands
        self.reader = operands.reader
        self.names = operands.names
        self.draft = draft

    def reset(self, token: Token) -> None:
        registers = self.reader.several(self.operands.qubits)
        self.reader.expect(";")
        self.draft.emit([Reset(qubit) for register in registers for qubit in register.numbers], token)

    def measure(self, token: Token) -> None:
        qubits = self.operands.qubits()
        if self.reader.accept("->"):
            self.measured(qubits, self.operands.bits(), token)
        else:
            self.draft.emit([Measure(qubit, None) for qubit in qubits.numbers], token)
        self.reader.expect(";")

    def measured(self, qubits: Qubits, bits: Clbits, token: Token) -> None:
        sources, targets = qubits.numbers, bits.numbers
        if len(sources) != len(targets):
            given, taking = counted(len(sources), "qubit"), counted(len(targets), "bit")
            raise self.reader.error(f"{given} cannot be measured into {taking}", token)
        self.draft.emit([Measure(qubit, bit) for qubit, bit in zip(sources, targets, strict=True)], token)

    def to_bits(self, token: Token) -> None:
        reader = self.reader
        target = self.operands.bits()
        operator = reader.token
        if operator.text in WITH_BITS:
            reader.at += 1
            self._change_bits(target, operator, token)
            return
        reader.expect("=")
        if reader.accept("measure"):
            self.measured(self.operands.qubits(), target, token)
            reader.expect(";")
            return
        node = reader.expression()
        reader.expect(";")
        self.give(target, node, token)

    def _change_bits(self, target: Clbits, operator: Token, token: Token) -> None:
        """Whole numbers may have more bits than the target: `c &= ~1` is the usual way to clear one."""
        node = self.reader.expression()
        self.reader.expect(";")
        value = evaluate(node, self.names)
        if not isinstance(value, int):
            self._check_size(value, node, len(target.numbers), token)
        changed = Runtime(operator.text[0], (Runtime("bits", target.numbers), number(value)))
        self.draft.emit([Assign(target.numbers, changed)], token)

    def give(self, target: Clbits, node: Node, token: Token) -> None:
        """The bits take the value of the expression."""
        value = evaluate(node, self.names)
        self._check_size(value, node, len(target.numbers), token)
        self.draft.emit([Assign(target.numbers, number(value))], token)

    def _check_size(self, value: Any, node: Node, size: int, token: Token) -> None:
        match value:
            case str() if len(value) != size:
                raise self.reader.error(f"{size} bits cannot hold {len(value)}", token)
            case Runtime() if self.names.width(node) > size:
                raise self.reader.error(f"{size} bits cannot hold {self.names.width(node)}", token)
            case float():
                fits = False
            case int():
                fits = 0 <= value < 1 << size
            case _:
                fits = True
        if not fits:
            raise self.reader.error(f"{counted(size, 'bit')} cannot hold {shortened(value)}", token)

    def to_number(self, token: Token, symbol: Value) -> None:
        reader = self.reader
        reader.at += 1
        if symbol.constant:
            raise reader.error(f'"{token.text}" is constant', token)
        if self.draft.conditional > symbol.branch:
            raise reader.error(f'"{token.text}" cannot depend on measured bits', token)
        operator = reader.token
        if operator.text in WITH_NUMBERS:
            reader.at += 1
            parts = (operator.text[0], Node("name", token, ()), reader.expression())
            value = self.names.constant(Node("binary", operator, parts), "a value")
        else:
            reader.expect("=")
            value = self.operands.constant("a value")
        reader.expect(";")
        symbol.value = self.operands.fit(symbol.type, value, token)
