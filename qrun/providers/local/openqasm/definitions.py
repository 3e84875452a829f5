"""The gates that a program may call: what it includes, what it defines, and how the call of one is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from qrun.providers.local.openqasm import gates
from qrun.providers.local.openqasm.gates import Known
from qrun.providers.local.openqasm.operands import SIZE, Operands
from qrun.providers.local.openqasm.reader import Node
from qrun.providers.local.openqasm.skipping import skip
from qrun.providers.local.openqasm.tokens import Token
from qrun.providers.local.openqasm.values import shortened

WITHOUT_EFFECT: Final = frozenset({"barrier", "delay"})
MODIFIERS: Final = frozenset({"ctrl", "negctrl", "inv", "pow"})


class Modifier(NamedTuple):
    kind: str
    argument: Node | None
    token: Token


class Call(NamedTuple):
    """One line of a gate's definition; `qubits` are the numbers of the definition's own."""

    callee: Callee
    modifiers: tuple[Modifier, ...]
    params: tuple[Node, ...]
    qubits: tuple[int, ...]
    token: Token


class Defined:
    """A gate of the program."""

    def __init__(self, token: Token, names: tuple[str, ...], qubits: int) -> None:
        self.token = token
        self.names = names
        self.params = len(names)
        self.qubits = qubits
        self.calls: list[Call] = []


Callee: TypeAlias = Known | Defined


class Definitions:
    """The program's own gates hide those of the library, whichever comes first."""

    def __init__(self, operands: Operands) -> None:
        self.reader = operands.reader
        self.names = operands.names
        builtin = gates.BUILTIN_2 if self.reader.version == 2 else gates.BUILTIN_3
        self.known: dict[str, Callee] = dict(builtin)

    def include(self, token: Token) -> None:
        """Both libraries are one; tokens.check_includes has seen to the path."""
        del token
        self.reader.take()
        self.reader.expect(";")
        own = self.names.gates
        self.known.update({name: known for name, known in gates.LIBRARY.items() if name not in own})

    def opaque(self, token: Token) -> None:
        """A declaration harms nobody; who uses the gate is told that it is unknown."""
        del token
        skip(self.reader)

    def gate(self, token: Token) -> None:
        if not self.names.outermost:
            raise self.reader.error("gates are defined outside of all blocks", token)
        name = self.reader.name("a name")
        self.names.declare_gate(name)
        params = self._names(")") if self.reader.accept("(") else ()
        qubits = self._names("{")
        if not qubits:
            raise self.reader.error(f'gate "{name.text}" has no qubits', name)
        gate = Defined(name, params, len(qubits))
        places = {qubit: place for place, qubit in enumerate(qubits)}
        while not self.reader.accept("}"):
            self._line(gate, places)
        self.known[name.text] = gate

    def _names(self, closing: str) -> tuple[str, ...]:
        found: list[str] = []
        while not self.reader.accept(closing):
            if found:
                self.reader.expect(",")
            name = self.reader.name("a name")
            if name.text in found:
                raise self.reader.error(f'"{name.text}" is declared twice', name)
            found.append(name.text)
        return tuple(found)

    def _line(self, gate: Defined, places: Mapping[str, int]) -> None:
        if self._next_is(WITHOUT_EFFECT):
            skip(self.reader)
            return
        modifiers = self.modifiers()
        name = self.reader.name("a gate")
        callee = self.callee(name)
        params = self.arguments(callee, name)
        qubits = self._own_qubits(gate, places)
        self.check_count(callee, modifiers, len(qubits), name)
        if len(set(qubits)) < len(qubits):
            raise self.reader.error(f'gate "{name.text}" is given one qubit twice', name)
        gate.calls.append(Call(callee, modifiers, params, qubits, name))

    def _own_qubits(self, gate: Defined, places: Mapping[str, int]) -> tuple[int, ...]:
        qubits: list[int] = []
        while not self.reader.accept(";"):
            if qubits:
                self.reader.expect(",")
            qubit = self.reader.name("a qubit")
            if qubit.text not in places:
                raise self.reader.error(f'"{qubit.text}" is not a qubit of gate "{gate.token.text}"', qubit)
            qubits.append(places[qubit.text])
        return tuple(qubits)

    def modifiers(self) -> tuple[Modifier, ...]:
        reader = self.reader
        found: list[Modifier] = []
        while self._next_is(MODIFIERS):
            token = reader.take()
            argument = None
            if reader.accept("("):
                argument = reader.expression()
                reader.expect(")")
            elif token.text == "pow":
                raise reader.error('"pow" needs an exponent in parentheses', token)
            reader.expect("@")
            found.append(Modifier(token.text, argument, token))
        return tuple(found)

    def _next_is(self, words: frozenset[str]) -> bool:
        """Whether one of the words of the language comes next, and not a gate with such a name."""
        word = self.reader.token.text
        return word in words and word not in self.names.gates

    def callee(self, name: Token) -> Callee:
        callee = self.known.get(name.text)
        if callee is None:
            needs = "qelib1.inc" if self.reader.version == 2 else "stdgates.inc"
            hint = f'add include "{needs}";' if name.text in gates.LIBRARY else None
            raise self.reader.error(f'unknown gate "{name.text}"', name, hint)
        return callee

    def arguments(self, callee: Callee, name: Token) -> tuple[Node, ...]:
        reader = self.reader
        params: list[Node] = []
        if reader.accept("(") and not reader.accept(")"):
            params = reader.several(reader.expression)
            reader.expect(")")
        if len(params) != callee.params:
            wanted = counted(callee.params, "parameter")
            raise reader.error(f'gate "{name.text}" takes {wanted}, not {len(params)}', name)
        return tuple(params)

    def check_count(self, callee: Callee, modifiers: Sequence[Modifier], given: int, name: Token) -> None:
        needed = callee.qubits + sum(self.controls(each) for each in modifiers if each.kind in ("ctrl", "negctrl"))
        if given != needed:
            raise self.reader.error(f'gate "{name.text}" takes {counted(needed, "qubit")}, not {given}', name)

    def controls(self, modifier: Modifier) -> int:
        """How many qubits a `ctrl` or `negctrl` puts before those of the gate."""
        if modifier.argument is None:
            return 1
        value = self.names.constant(modifier.argument, "a number of controls")
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= SIZE:
            raise self.reader.error(
                f"the number of controls is a whole number above 0, not {shortened(value)}", modifier.token
            )
        return value


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
