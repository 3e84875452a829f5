"""Blocks, conditions and loops: what is known beforehand is decided here, the rest becomes `If`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from qrun.providers.local.openqasm.circuit import If, Operation, Runtime
from qrun.providers.local.openqasm.draft import Draft
from qrun.providers.local.openqasm.expressions import evaluate
from qrun.providers.local.openqasm.names import Value
from qrun.providers.local.openqasm.operands import Operands
from qrun.providers.local.openqasm.reader import shown
from qrun.providers.local.openqasm.skipping import DEPTH, skip
from qrun.providers.local.openqasm.tokens import Token
from qrun.providers.local.openqasm.values import number

TURNS: Final = 200_000


class Flow:
    """`statement` carries out the next statement."""

    def __init__(self, operands: Operands, draft: Draft, statement: Callable[[], None]) -> None:
        self.operands = operands
        self.reader = operands.reader
        self.names = operands.names
        self.draft = draft
        self.statement = statement
        self.turns = 0

    def block(self, token: Token) -> None:
        """A block of its own, whose brace has been read."""
        with self.names.scope():
            self._check_depth(token)
            self._rest_of_block()

    def _body(self) -> None:
        """What belongs to a condition or a loop: a block, or one statement."""
        with self.names.scope():
            self._check_depth(self.reader.token)
            if self.reader.accept("{"):
                self._rest_of_block()
            else:
                self.statement()

    def _rest_of_block(self) -> None:
        while not self.reader.accept("}"):
            if self.reader.token.kind == "end":
                raise self.reader.error('expected "}" and found the end of the program', self.reader.token)
            self.statement()

    def _check_depth(self, token: Token) -> None:
        if len(self.names.scopes) > DEPTH:
            raise self.reader.error("blocks are nested too deeply", token)

    def condition(self, token: Token) -> None:
        condition = self._condition()
        if not isinstance(condition, Runtime):
            self._decided(bool(condition))
            return
        then = self._branch()
        otherwise = self._branch() if self.reader.accept("else") else ()
        self.draft.emit([If(condition, then, otherwise)], token)

    def _condition(self) -> Any:
        """OpenQASM 2 compares a register with a number, also one that it cannot hold."""
        self.reader.expect("(")
        node = self.reader.expression()
        self.reader.expect(")")
        return number(evaluate(node, self.names))

    def _decided(self, condition: bool) -> None:
        if condition:
            self._body()
        else:
            skip(self.reader)
        if not self.reader.accept("else"):
            return
        if condition:
            skip(self.reader)
        else:
            self._body()

    def _branch(self) -> tuple[Operation, ...]:
        with self.draft.branch() as operations:
            self._body()
        return tuple(operations)

    def loop(self, token: Token) -> None:
        """`for`: its variable lives in a scope around that of the body, which may hide it."""
        type_ = self.operands.type(self.reader.take())
        name = self.reader.name("a name")
        self.reader.expect("in")
        values = self._values(token)
        body = self.reader.at
        if not values:
            skip(self.reader)
        for value in values:
            self.reader.at = body
            with self.names.scope():
                self.names.declare(name, Value(type=type_, value=self.operands.fit(type_, value, name)))
                self._body()
            self._count_turn(token)

    def _values(self, token: Token) -> Sequence[Any]:
        reader = self.reader
        if reader.accept("{"):
            values = reader.several(lambda: self.operands.constant("a value"))
            reader.expect("}")
            return values
        if reader.token.text != "[":
            raise reader.error(f"expected a range or a set and found {shown(reader.token)}", reader.token)
        kind, *parts = reader.index()
        if kind != "range" or parts[0] is None or parts[2] is None:
            raise reader.error("a loop needs a range with both its ends", token)
        start, step, stop = (None if part is None else self.names.constant(part, "a range") for part in parts)
        return self.names.range(start, step, stop, token)

    def repetition(self, token: Token) -> None:
        """`while`."""
        start = self.reader.at
        while True:
            self.reader.at = start
            condition = self._condition()
            if isinstance(condition, Runtime):
                raise self.reader.error("a loop whose end depends on measured bits is not supported", token)
            if not condition:
                skip(self.reader)
                return
            self._body()
            self._count_turn(token)

    def _count_turn(self, token: Token) -> None:
        self.turns += 1
        if self.turns > TURNS:
            raise self.reader.error(f"the loops of the program take more than {TURNS} turns", token)
