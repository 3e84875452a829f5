"""Calls of gates: definitions written out as primitives, modifiers applied, registers gone through."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

from qrun.providers.local.openqasm import gates
from qrun.providers.local.openqasm.circuit import Gate
from qrun.providers.local.openqasm.definitions import Callee, Defined, Definitions, Modifier
from qrun.providers.local.openqasm.draft import OPERATIONS, Draft
from qrun.providers.local.openqasm.gates import Body, Known
from qrun.providers.local.openqasm.names import Qubits, Value
from qrun.providers.local.openqasm.operands import Operands
from qrun.providers.local.openqasm.reader import Node
from qrun.providers.local.openqasm.tokens import Token
from qrun.providers.local.openqasm.values import Type, number

DEPTH: Final = 50


class Calls:
    """`bodies` keeps what each gate is with each set of parameters."""

    def __init__(self, operands: Operands, definitions: Definitions, draft: Draft) -> None:
        self.operands = operands
        self.reader = operands.reader
        self.names = operands.names
        self.definitions = definitions
        self.draft = draft
        self.bodies: dict[Any, Body] = {}

    def call(self) -> None:
        reader, definitions = self.reader, self.definitions
        modifiers = definitions.modifiers()
        name = reader.name("a gate")
        callee = definitions.callee(name)
        nodes = definitions.arguments(callee, name)
        params = tuple(self._angle(node, name) for node in nodes)
        operands: list[Qubits] = []
        if not reader.accept(";"):
            operands = reader.several(self.operands.qubits)
            reader.expect(";")
        definitions.check_count(callee, modifiers, len(operands), name)
        body = self._modified(self._body(callee, params, name, 0), modifiers)
        for qubits in self._broadcast(operands, name):
            self.draft.emit(gates.placed(body, qubits), name)

    def _angle(self, node: Node, name: Token) -> float:
        value = number(self.names.constant(node, "an angle"))
        try:
            angle = float(value)
        except OverflowError:
            angle = math.inf
        if not math.isfinite(angle):
            raise self.reader.error(f'a parameter of gate "{name.text}" is not a finite number', node.token)
        return angle

    def _body(self, callee: Callee, params: tuple[float, ...], name: Token, depth: int) -> Body:
        key = (id(callee), params)
        body = self.bodies.get(key)
        if body is not None:
            return body
        body = callee.body(*params) if isinstance(callee, Known) else self._written_out(callee, params, depth)
        if len(body) > OPERATIONS:
            raise self.reader.error(f'gate "{name.text}" is too long', name)
        self.bodies[key] = body
        return body

    def _written_out(self, gate: Defined, params: tuple[float, ...], depth: int) -> Body:
        if depth > DEPTH:
            raise self.reader.error(f'gate "{gate.token.text}" is nested too deeply', gate.token)
        body: list[Gate] = []
        angles = {n: Value(type=Type("angle", None), value=v) for n, v in zip(gate.names, params, strict=True)}
        with self.names.definition(angles):
            for call in gate.calls:
                inner = tuple(self._angle(node, call.token) for node in call.params)
                part = self._modified(self._body(call.callee, inner, call.token, depth + 1), call.modifiers)
                body += [_moved(each, call.qubits) for each in part]
                if len(body) > OPERATIONS:
                    raise self.reader.error(f'gate "{gate.token.text}" is too long', gate.token)
        return tuple(body)

    def _modified(self, body: Body, modifiers: Sequence[Modifier]) -> Body:
        """The modifier next to the gate comes first."""
        for modifier in reversed(modifiers):
            match modifier.kind:
                case "inv":
                    body = gates.inverse(body)
                case "pow":
                    body = self._power(body, modifier)
                case kind:
                    body = gates.controlled(body, (kind == "ctrl",) * self.definitions.controls(modifier))
        return body

    def _power(self, body: Body, modifier: Modifier) -> Body:
        assert modifier.argument is not None
        token = modifier.token
        with self.names.real_division():  # stdgates.inc defines s, t and sx by pow(1/2)
            exponent = self._angle(modifier.argument, token)
        if abs(exponent) * len(body) > OPERATIONS:
            raise self.reader.error(f"a power of {exponent:g} is too large", token)
        powered = gates.power(body, exponent)
        if powered is None:
            raise self.reader.error(f"pow({exponent:g}) of this gate is not supported", token, "write its gates out")
        return powered

    def _broadcast(self, operands: Sequence[Qubits], name: Token) -> Iterator[tuple[int, ...]]:
        """The qubits of each call that a call with registers stands for; single qubits take part in all of them."""
        sizes = {len(operand.numbers) for operand in operands if not operand.scalar}
        if len(sizes) > 1:
            listed = " and ".join(str(size) for size in sorted(sizes))
            raise self.reader.error(f'gate "{name.text}" is given registers of {listed} qubits', name)
        for place in range(sizes.pop() if sizes else 1):
            qubits = tuple(operand.numbers[0 if operand.scalar else place] for operand in operands)
            if len(set(qubits)) < len(qubits):
                twice = next(self.draft.qubits[qubit] for qubit in qubits if qubits.count(qubit) > 1)
                raise self.reader.error(f'gate "{name.text}" is given {twice} twice', name)
            yield qubits


def _moved(gate: Gate, qubits: tuple[int, ...]) -> Gate:
    return gate._replace(
        controls=tuple((qubits[qubit], needed) for qubit, needed in gate.controls),
        targets=tuple(qubits[qubit] for qubit in gate.targets),
    )
