"""OpenQASM 2 and 3 read into a Circuit: registers and gates resolved, loops unrolled, inputs bound.

The program is carried out statement by statement, so that what is known before anything is measured (constants, loops,
conditions on them) is gone afterwards. What is left over and depends on measured bits becomes `If` and `Assign`.
docs/local.md lists what is understood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from qrun.providers.local import gates
from qrun.providers.local.circuit import Assign, Circuit, Gate, If, Measure, Operation, Reset, Runtime
from qrun.providers.local.expressions import CONSTANTS, Node, Reader, evaluate, shown
from qrun.providers.local.gates import Body, Known
from qrun.providers.local.tokens import Text, Token, check_includes

OPERATIONS: Final = 20_000_000  # more is a loop that went wrong
TURNS: Final = 200_000
QUBITS: Final = 100_000
DEPTH: Final = 50

NUMBERS: Final = frozenset({"int", "uint", "float", "angle", "bool"})
ASSIGNING: Final = frozenset({"[", "=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="})
# fmt: off
UNSUPPORTED: Final = frozenset({
    "def", "defcal", "defcalgrammar", "cal", "extern", "box", "switch", "array",
    "complex", "duration", "stretch", "return", "end", "break", "continue",
})
# fmt: on


class Qubits(NamedTuple):
    """A quantum register, an alias, or one qubit; `scalar` tells a single one from a register of one."""

    numbers: tuple[int, ...]
    scalar: bool = False


class Clbits(NamedTuple):
    numbers: tuple[int, ...]
    scalar: bool = False


class Value:
    """A number, truth or bit string that is known before the circuit runs."""

    __slots__ = ("constant", "kind", "value", "width")

    def __init__(self, kind: str, value: Any, width: int | None, constant: bool) -> None:
        self.kind = kind
        self.value = value
        self.width = width
        self.constant = constant


class Call(NamedTuple):
    """One line of a gate's definition; `qubits` are the numbers of the definition's own."""

    callee: Callee
    modifiers: tuple[tuple[str, Node | None, Token], ...]
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


Callee = Known | Defined


def parse(text: Text, params: Mapping[str, Any] | None = None) -> Circuit:
    """The circuit that the program describes with its inputs bound to `params`; raises ProgramError."""
    check_includes(text)
    return Program(text, params or {}).run()


class Program(Reader):
    """One program while it is carried out; `scopes` hold what names stand for, innermost last."""

    def __init__(self, text: Text, params: Mapping[str, Any]) -> None:
        super().__init__(text)
        self.params = params
        self.scopes: list[dict[str, Any]] = [{}]
        self.gates: dict[str, Callee] = {}
        self.own: set[str] = set()
        self.qubit_names: list[str] = []
        self.bit_names: list[str] = []
        self.hidden = 0
        self.out: list[Operation] = []
        self.emitted = 0
        self.turns = 0
        self.conditional = 0
        self.expanded: dict[Any, Body] = {}
        self.statements: dict[str, Callable[[Token], None]] = {
            "include": self._include,
            "qreg": self._old_register,
            "creg": self._old_register,
            "qubit": self._qubit,
            "bit": self._bit,
            "const": self._const,
            "input": self._input,
            "output": self._output,
            "let": self._let,
            "gate": self._gate,
            "opaque": self._opaque,
            "barrier": self._ignored,
            "delay": self._ignored,
            "reset": self._reset,
            "measure": self._measure,
            "if": self._if,
            "for": self._for,
            "while": self._while,
            **dict.fromkeys(NUMBERS, self._number_declaration),
        }

    def run(self) -> Circuit:
        self._version()
        while self.token.kind != "end":
            self.statement()
        operations = (
            tuple(_renumbered(each, len(self.bit_names)) for each in self.out) if self.hidden else tuple(self.out)
        )
        return Circuit(
            qubits=tuple(self.qubit_names), bits=tuple(self.bit_names), operations=operations, hidden=self.hidden
        )

    def _version(self) -> None:
        while self.token.kind == "pragma":
            self.at += 1
        if not self.accept("OPENQASM"):
            self.gates.update(gates.BUILTIN_3)
            return
        token = self.take()
        major = token.text.partition(".")[0]
        if token.kind != "number" or major not in ("2", "3"):
            raise self.text.error(f"OpenQASM {token.text} is not known", token, "write OPENQASM 2.0 or OPENQASM 3.0")
        self.version = int(major)
        self.expect(";")
        self.gates.update(gates.BUILTIN_2 if self.version == 2 else gates.BUILTIN_3)

    # --- statements -------------------------------------------------------------------------------------------------

    def statement(self) -> None:
        token = self.token
        if token.kind == "name":
            known = self.statements.get(token.text)
            if known is not None:
                self.at += 1
                known(token)
            elif token.text in UNSUPPORTED:
                raise self.text.error(f'"{token.text}" is not supported', token)
            elif token.text == "pragma":
                self._skip_line()
            else:
                self._call_or_assignment(token)
        elif token.kind == "pragma":
            self.at += 1
        elif token.text == "@":
            self._skip_line()
        elif token.text == "{":
            with self.scope():
                self.block()
        elif token.text == ";":
            self.at += 1
        else:
            raise self.text.error(f"expected a statement and found {shown(token)}", token)

    def block(self) -> None:
        """The statements up to the closing brace, or only one."""
        if len(self.scopes) > DEPTH:
            raise self.text.error("blocks are nested too deeply", self.token)
        if not self.accept("{"):
            self.statement()
            return
        while not self.accept("}"):
            if self.token.kind == "end":
                raise self.text.error('expected "}" and found the end of the program', self.token)
            self.statement()

    @contextmanager
    def scope(self) -> Iterator[dict[str, Any]]:
        self.scopes.append({})
        yield self.scopes[-1]
        self.scopes.pop()

    def skip(self) -> None:
        """Passes over one statement or block without carrying it out."""
        token = self.token
        if self.accept("{"):
            depth = 1
            while depth:
                following = self.take()
                if following.kind == "end":
                    raise self.text.error('expected "}" and found the end of the program', following)
                if following.kind == "mark":
                    depth += (following.text == "{") - (following.text == "}")
        elif token.text in ("if", "while"):
            self.at += 1
            self._skip_parentheses()
            self.skip()
            if token.text == "if" and self.accept("else"):
                self.skip()
        elif token.text == "for":
            while self.token.text != "]" and self.token.text not in ("}", ";", "{") and self.token.kind != "end":
                self.at += 1
            self.at += 1
            if self.token.text == "]":
                self.at += 1
            self.skip()
        else:
            while not self.accept(";"):
                if self.take().kind == "end":
                    raise self.text.error('expected ";" and found the end of the program', self.tokens[-1])

    def _skip_parentheses(self) -> None:
        self.expect("(")
        depth = 1
        while depth:
            token = self.take()
            if token.kind == "end":
                raise self.text.error('expected ")" and found the end of the program', token)
            if token.kind == "mark":
                depth += (token.text == "(") - (token.text == ")")

    def _skip_line(self) -> None:
        line = self.text.text.find("\n", self.token.offset)
        end = len(self.text.text) if line < 0 else line
        while self.token.kind != "end" and self.token.offset < end:
            self.at += 1

    def _include(self, token: Token) -> None:
        del token
        self.take()
        self.expect(";")
        self.gates.update({name: known for name, known in gates.LIBRARY.items() if name not in self.own})

    def _ignored(self, token: Token) -> None:
        """Barriers and delays change no state; their qubits are still checked."""
        if token.text == "delay":
            self.expect("[")
            while not self.accept("]"):
                if self.take().kind == "end":
                    raise self.text.error('expected "]" and found the end of the program', self.tokens[-1])
        if self.accept(";"):
            return
        self.qubits()
        while self.accept(","):
            self.qubits()
        self.expect(";")

    # --- declarations -----------------------------------------------------------------------------------------------

    def declare(self, token: Token, symbol: Any) -> None:
        if token.text in self.scopes[-1] or (len(self.scopes) == 1 and token.text in self.own):
            raise self.text.error(f'"{token.text}" is declared twice', token)
        self.scopes[-1][token.text] = symbol

    def _old_register(self, token: Token) -> None:
        name = self.name("a name")
        size = self._size() if self.token.text == "[" else None
        self.expect(";")
        if token.text == "qreg":
            self._declare_qubits(name, size)
        else:
            self._declare_bits(name, size)

    def _qubit(self, token: Token) -> None:
        del token
        size = self._size() if self.token.text == "[" else None
        self._declare_qubits(self.name("a name"), size)
        self.expect(";")

    def _bit(self, token: Token) -> None:
        del token
        size = self._size() if self.token.text == "[" else None
        name = self.name("a name")
        if self.token.text == "=" and self.tokens[self.at + 1].text != "measure":
            self.at += 1
            value = self.expression()
            self.expect(";")
            self._assign(self._declare_bits(name, size), value, name)
            return
        bits = self._declare_bits(name, size)
        if self.accept("="):
            self.expect("measure")
            self._measured(self.qubits(), bits, name)
        self.expect(";")

    def _size(self) -> int:
        self.expect("[")
        token = self.token
        size = self.constant(self.expression(), "a size")
        self.expect("]")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise self.text.error(f"a register's size is a whole number above 0, not {size}", token)
        if size > QUBITS:
            raise self.text.error(f"a register of {size} is too large", token, f"at most {QUBITS} are understood")
        return size

    def _declare_qubits(self, name: Token, size: int | None) -> None:
        if len(self.scopes) > 1:
            raise self.text.error("qubits are declared outside of all blocks", name)
        first = len(self.qubit_names)
        self.declare(name, Qubits(tuple(range(first, first + (size or 1))), size is None))
        self.qubit_names += _names(name.text, size)

    def _declare_bits(self, name: Token, size: int | None) -> Clbits:
        """Bits of blocks are numbered from -1 downwards until their place behind the others is known."""
        count = size or 1
        if len(self.scopes) > 1:
            bits = Clbits(tuple(-1 - self.hidden - place for place in range(count)), size is None)
            self.hidden += count
        else:
            first = len(self.bit_names)
            bits = Clbits(tuple(range(first, first + count)), size is None)
            self.bit_names += _names(name.text, size)
        self.declare(name, bits)
        return bits

    def _type(self, token: Token) -> tuple[str, int | None]:
        if token.text not in NUMBERS | {"bit"}:
            raise self.text.error(f'"{token.text}" is not a type that is supported here', token)
        return token.text, self._size() if self.token.text == "[" else None

    def _const(self, token: Token) -> None:
        kind, width = self._type(self.take())
        name = self.name("a name")
        self.expect("=")
        value = self.constant(self.expression(), "a constant")
        self.expect(";")
        self.declare(name, Value(kind, self._fit(kind, width, value, token), width, constant=True))

    def _number_declaration(self, token: Token) -> None:
        kind, width = self._type(token)
        name = self.name("a name")
        value = self.constant(self.expression(), "a value") if self.accept("=") else 0
        self.expect(";")
        self.declare(name, Value(kind, self._fit(kind, width, value, name), width, constant=False))

    def _fit(self, kind: str, width: int | None, value: Any, token: Token) -> Any:
        """The value as its declared type holds it."""
        number = int(value, 2) if isinstance(value, str) and kind != "bit" else value
        match kind:
            case "bool":
                return bool(number)
            case "float" | "angle":
                return float(number)
            case "bit":
                return value if isinstance(value, str) else format(int(value), f"0{width or 1}b")
        if isinstance(number, float) and not number.is_integer():
            raise self.text.error(f"{number} is not a whole number", token)
        whole = int(number)
        low = 0 if kind == "uint" else -(2 ** ((width or 64) - 1))
        if not low <= whole < 2 ** ((width or 64) - (kind == "int")):
            raise self.text.error(f"{whole} does not fit {kind}{f'[{width}]' if width else ''}", token)
        return whole

    def _input(self, token: Token) -> None:
        kind, width = self._type(self.take())
        name = self.name("a name")
        self.expect(";")
        if len(self.scopes) > 1:
            raise self.text.error("inputs are declared outside of all blocks", token)
        if name.text not in self.params:
            raise self.text.error(f'input "{name.text}" has no value', name, f"give it under params: {name.text}")
        value = bound(kind, width, self.params[name.text])
        if value is None:
            shape = f"{kind}[{width}]" if width else kind
            given = self.params[name.text]
            shown_value = f'"{given}"' if isinstance(given, str) else str(given).lower()
            raise self.text.error(f"params.{name.text} is {shown_value}; {WANTED[kind]} is needed for {shape}", name)
        self.declare(name, Value(kind, value, width, constant=True))

    def _output(self, token: Token) -> None:
        following = self.token
        if following.text != "bit":
            raise self.text.error("only bits can be output", token)
        self.at += 1
        self._bit(following)

    def _let(self, token: Token) -> None:
        del token
        name = self.name("a name")
        self.expect("=")
        numbers = self.qubits().numbers
        while self.accept("++"):
            numbers += self.qubits().numbers
        self.expect(";")
        self.declare(name, Qubits(numbers))

    # --- gates ------------------------------------------------------------------------------------------------------

    def _gate(self, token: Token) -> None:
        if len(self.scopes) > 1:
            raise self.text.error("gates are defined outside of all blocks", token)
        name = self.name("a name")
        if name.text in self.own or name.text in self.scopes[0]:
            raise self.text.error(f'"{name.text}" is declared twice', name)
        names = self._parameters(")") if self.accept("(") else ()
        qubits = self._parameters("{")
        if not qubits:
            raise self.text.error(f'gate "{name.text}" has no qubits', name)
        gate = Defined(name, names, len(qubits))
        places = {qubit: place for place, qubit in enumerate(qubits)}
        while not self.accept("}"):
            self._definition_line(gate, places)
        self.gates[name.text] = gate
        self.own.add(name.text)

    def _opaque(self, token: Token) -> None:
        """A declaration harms nobody; who uses the gate is told that it is unknown."""
        del token
        self.skip()

    def _parameters(self, close: str) -> tuple[str, ...]:
        found: list[str] = []
        while not self.accept(close):
            if found:
                self.expect(",")
            name = self.name("a name")
            if name.text in found:
                raise self.text.error(f'"{name.text}" is declared twice', name)
            found.append(name.text)
        return tuple(found)

    def _definition_line(self, gate: Defined, places: Mapping[str, int]) -> None:
        token = self.token
        if token.text in ("barrier", "delay"):
            self.skip()
            return
        modifiers = self._modifiers()
        name = self.name("a gate")
        callee = self._callee(name)
        params = self._arguments(callee, name)
        qubits: list[int] = []
        while not self.accept(";"):
            if qubits:
                self.expect(",")
            qubit = self.name("a qubit")
            if qubit.text not in places:
                raise self.text.error(f'"{qubit.text}" is not a qubit of gate "{gate.token.text}"', qubit)
            qubits.append(places[qubit.text])
        self._check_count(callee, modifiers, len(qubits), name)
        if len(set(qubits)) < len(qubits):
            raise self.text.error(f'gate "{name.text}" is given one qubit twice', name)
        gate.calls.append(Call(callee, modifiers, params, tuple(qubits), name))

    def _modifiers(self) -> tuple[tuple[str, Node | None, Token], ...]:
        found: list[tuple[str, Node | None, Token]] = []
        while self.token.text in ("ctrl", "negctrl", "inv", "pow"):
            token = self.take()
            argument = None
            if self.accept("("):
                argument = self.expression()
                self.expect(")")
            elif token.text == "pow":
                raise self.text.error('"pow" needs an exponent in parentheses', token)
            self.expect("@")
            found.append((token.text, argument, token))
        return tuple(found)

    def _callee(self, name: Token) -> Callee:
        callee = self.gates.get(name.text)
        if callee is None:
            needs = "qelib1.inc" if self.version == 2 else "stdgates.inc"
            hint = f'add include "{needs}";' if name.text in gates.LIBRARY else None
            raise self.text.error(f'unknown gate "{name.text}"', name, hint)
        return callee

    def _arguments(self, callee: Callee, name: Token) -> tuple[Node, ...]:
        params: list[Node] = []
        if self.accept("(") and not self.accept(")"):
            params.append(self.expression())
            while self.accept(","):
                params.append(self.expression())
            self.expect(")")
        if len(params) != callee.params:
            raise self.text.error(
                f'gate "{name.text}" takes {_count(callee.params, "parameter")}, not {len(params)}', name
            )
        return tuple(params)

    def _check_count(
        self, callee: Callee, modifiers: Sequence[tuple[str, Node | None, Token]], given: int, name: Token
    ) -> None:
        controls = sum(
            1 if argument is None else self._whole(argument, token)
            for kind, argument, token in modifiers
            if kind in ("ctrl", "negctrl")
        )
        needed = callee.qubits + controls
        if given != needed:
            raise self.text.error(f'gate "{name.text}" takes {_count(needed, "qubit")}, not {given}', name)

    def _whole(self, node: Node, token: Token) -> int:
        value = self.constant(node, "a number of controls")
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= QUBITS:
            raise self.text.error(f"the number of controls is a whole number above 0, not {value}", token)
        return value

    def _call_or_assignment(self, token: Token) -> None:
        symbol = self.find(token.text)
        if token.text in self.gates and self.tokens[self.at + 1].text not in ASSIGNING:
            symbol = None  # a register may have the name of a gate
        if isinstance(symbol, Clbits):
            self._bit_assignment(token)
        elif isinstance(symbol, Value):
            self._assignment(token, symbol)
        elif isinstance(symbol, Qubits):
            raise self.text.error(f'expected a statement and found the qubits "{token.text}"', token)
        else:
            self._call()

    def _call(self) -> None:
        modifiers = self._modifiers()
        name = self.name("a gate")
        callee = self._callee(name)
        nodes = self._arguments(callee, name)
        params = tuple(self._angle(node, name) for node in nodes)
        operands: list[Qubits] = []
        if not self.accept(";"):
            operands.append(self.qubits())
            while self.accept(","):
                operands.append(self.qubits())
            self.expect(";")
        self._check_count(callee, modifiers, len(operands), name)
        body = self._expand(callee, params, name, 0)
        for modifier in reversed(modifiers):
            body = self._modified(body, modifier)
        for qubits in self._broadcast(operands, name):
            self.emit(gates.placed(body, qubits), name)

    def _angle(self, node: Node, name: Token) -> float:
        value = self.constant(node, "an angle")
        number = int(value, 2) if isinstance(value, str) else value
        try:
            angle = float(number)
        except OverflowError:
            angle = math.inf
        if not math.isfinite(angle):
            raise self.text.error(f'a parameter of gate "{name.text}" is not a finite number', node.token)
        return angle

    def _expand(self, callee: Callee, params: tuple[float, ...], name: Token, depth: int) -> Body:
        key = (id(callee), params)
        body = self.expanded.get(key)
        if body is not None:
            return body
        body = callee.body(*params) if isinstance(callee, Known) else self._expand_own(callee, params, depth)
        if len(body) > OPERATIONS:
            raise self.text.error(f'gate "{name.text}" is too long', name)
        self.expanded[key] = body
        return body

    def _expand_own(self, gate: Defined, params: tuple[float, ...], depth: int) -> Body:
        if depth > DEPTH:
            raise self.text.error(f'gate "{gate.token.text}" is nested too deeply', gate.token)
        kept = self.scopes
        self.scopes = [kept[0], {n: Value("angle", v, None, True) for n, v in zip(gate.names, params, strict=True)}]
        body: list[Gate] = []
        for call in gate.calls:
            inner = tuple(self._angle(node, call.token) for node in call.params)
            part = self._expand(call.callee, inner, call.token, depth + 1)
            for modifier in reversed(call.modifiers):
                part = self._modified(part, modifier)
            body += [_moved(each, call.qubits) for each in part]
            if len(body) > OPERATIONS:
                raise self.text.error(f'gate "{gate.token.text}" is too long', gate.token)
        self.scopes = kept
        return tuple(body)

    def _modified(self, body: Body, modifier: tuple[str, Node | None, Token]) -> Body:
        kind, argument, token = modifier
        match kind:
            case "inv":
                return gates.inverse(body)
            case "ctrl" | "negctrl":
                count = 1 if argument is None else self._whole(argument, token)
                return gates.controlled(body, (kind == "ctrl",) * count)
        assert argument is not None
        exponent = self._angle(argument, token)
        if abs(exponent) * len(body) > OPERATIONS:
            raise self.text.error(f"a power of {exponent:g} is too large", token)
        powered = gates.power(body, exponent)
        if powered is None:
            raise self.text.error(f"pow({exponent:g}) of this gate is not supported", token, "write its gates out")
        return powered

    def _broadcast(self, operands: Sequence[Qubits], name: Token) -> Iterator[tuple[int, ...]]:
        sizes = {len(operand.numbers) for operand in operands if not operand.scalar}
        if len(sizes) > 1:
            listed = " and ".join(str(size) for size in sorted(sizes))
            raise self.text.error(f'gate "{name.text}" is given registers of {listed} qubits', name)
        for place in range(sizes.pop() if sizes else 1):
            qubits = tuple(operand.numbers[0 if operand.scalar else place] for operand in operands)
            if len(set(qubits)) < len(qubits):
                twice = next(self.qubit_names[qubit] for qubit in qubits if qubits.count(qubit) > 1)
                raise self.text.error(f'gate "{name.text}" is given {twice} twice', name)
            yield qubits

    def emit(self, operations: Sequence[Operation], token: Token) -> None:
        self.emitted += len(operations)
        if self.emitted > OPERATIONS:
            raise self.text.error(f"the program has more than {OPERATIONS} operations", token)
        self.out += operations

    # --- what is not unitary ----------------------------------------------------------------------------------------

    def _reset(self, token: Token) -> None:
        numbers = self.qubits().numbers
        while self.accept(","):
            numbers += self.qubits().numbers
        self.expect(";")
        self.emit([Reset(qubit) for qubit in numbers], token)

    def _measure(self, token: Token) -> None:
        qubits = self.qubits()
        if self.accept("->"):
            self._measured(qubits, self.bits(), token)
        else:
            self.emit([Measure(qubit, None) for qubit in qubits.numbers], token)
        self.expect(";")

    def _measured(self, qubits: Qubits, bits: Clbits, token: Token) -> None:
        count, places = len(qubits.numbers), len(bits.numbers)
        if count != places:
            raise self.text.error(f"{_count(count, 'qubit')} cannot be measured into {_count(places, 'bit')}", token)
        self.emit([Measure(qubit, bit) for qubit, bit in zip(qubits.numbers, bits.numbers, strict=True)], token)

    def _bit_assignment(self, token: Token) -> None:
        target = self.bits()
        operator = self.take()
        if operator.text in ("&=", "|=", "^="):
            current = Runtime("bits", target.numbers)
            value = evaluate(self.expression(), self)
            self.expect(";")
            number = int(value, 2) if isinstance(value, str) else value
            self.emit([Assign(target.numbers, Runtime(operator.text[0], (current, number)))], token)
            return
        if operator.text != "=":
            raise self.text.error(f'expected "=" and found {shown(operator)}', operator)
        if self.accept("measure"):
            self._measured(self.qubits(), target, token)
            self.expect(";")
            return
        value_node = self.expression()
        self.expect(";")
        self._assign(target, value_node, token)

    def _assign(self, target: Clbits, node: Node, token: Token) -> None:
        value = evaluate(node, self)
        if isinstance(value, str):
            if len(value) != len(target.numbers):
                raise self.text.error(f"{len(target.numbers)} bits cannot hold {len(value)}", token)
            value = int(value, 2)
        if isinstance(value, Runtime) and self.width(node) > len(target.numbers):
            raise self.text.error(f"{len(target.numbers)} bits cannot hold {self.width(node)}", token)
        if isinstance(value, float) or (isinstance(value, int) and not 0 <= value < 2 ** len(target.numbers)):
            raise self.text.error(f"{_count(len(target.numbers), 'bit')} cannot hold {value}", token)
        self.emit([Assign(target.numbers, value)], token)

    def _assignment(self, token: Token, symbol: Value) -> None:
        self.at += 1
        if symbol.constant:
            raise self.text.error(f'"{token.text}" is constant', token)
        if self.conditional:
            raise self.text.error(f'"{token.text}" cannot depend on measured bits', token)
        operator = self.take()
        if operator.text == "=":
            value = self.constant(self.expression(), "a value")
        elif operator.text in ("+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="):
            right = self.expression()
            left = Node("name", token, ())
            value = self.constant(Node("binary", operator, (operator.text[0], left, right)), "a value")
        else:
            raise self.text.error(f'expected "=" and found {shown(operator)}', operator)
        self.expect(";")
        symbol.value = self._fit(symbol.kind, symbol.width, value, token)

    # --- flow -------------------------------------------------------------------------------------------------------

    def _if(self, token: Token) -> None:
        self.expect("(")
        node = self.expression()
        self.expect(")")
        condition = self._condition(node)
        if not isinstance(condition, Runtime):
            self._either(bool(condition))
            return
        then = self._branch()
        otherwise = self._branch() if self.accept("else") else ()
        self.emit([If(condition, then, otherwise)], token)

    def _condition(self, node: Node) -> Any:
        """OpenQASM 2 compares a register with a number, also one that it cannot hold."""
        value = evaluate(node, self)
        return int(value, 2) if isinstance(value, str) else value

    def _either(self, condition: bool) -> None:
        for wanted in (condition, not condition):
            if wanted:
                with self.scope():
                    self.block()
            else:
                self.skip()
            if wanted is condition and not self.accept("else"):
                return

    def _branch(self) -> tuple[Operation, ...]:
        kept, self.out = self.out, []
        self.conditional += 1
        with self.scope():
            self.block()
        self.conditional -= 1
        branch, self.out = tuple(self.out), kept
        return branch

    def _for(self, token: Token) -> None:
        kind, width = self._type(self.take())
        name = self.name("a name")
        self.expect("in")
        values = self._loop_values(token)
        body = self.at
        if not values:
            self.skip()
        for value in values:
            self.at = body
            with self.scope() as scope:
                scope[name.text] = Value(kind, self._fit(kind, width, value, name), width, constant=True)
                with self.scope():
                    self.block()
            self._tick(token)

    def _loop_values(self, token: Token) -> Sequence[Any]:
        if self.accept("{"):
            values = [self.constant(self.expression(), "a value")]
            while self.accept(","):
                values.append(self.constant(self.expression(), "a value"))
            self.expect("}")
            return values
        if self.token.text != "[":
            raise self.text.error(f"expected a range or a set and found {shown(self.token)}", self.token)
        found = self.index()
        if found[0] != "range" or found[1] is None or found[3] is None:
            raise self.text.error("a loop needs a range with both its ends", token)
        start, step, stop = (None if part is None else self.constant(part, "a range") for part in found[1:])
        return self._range(start, step, stop, token)

    def _range(self, start: Any, step: Any, stop: Any, token: Token) -> range:
        """Both ends belong to a range of OpenQASM."""
        step = 1 if step is None else step
        if any(isinstance(part, bool) or not isinstance(part, int) for part in (start, step, stop)) or step == 0:
            raise self.text.error("a range is made of whole numbers, with a step other than 0", token)
        return range(start, stop + (1 if step > 0 else -1), step)

    def _while(self, token: Token) -> None:
        condition_at = self.at
        while True:
            self.at = condition_at
            self.expect("(")
            condition = self._condition(self.expression())
            self.expect(")")
            if isinstance(condition, Runtime):
                raise self.text.error("a loop whose end depends on measured bits is not supported", token)
            if not condition:
                self.skip()
                return
            with self.scope():
                self.block()
            self._tick(token)

    def _tick(self, token: Token) -> None:
        self.turns += 1
        if self.turns > TURNS:
            raise self.text.error(f"the loops of the program take more than {TURNS} turns", token)

    # --- names ------------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Any:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def look_up(self, token: Token) -> Any:
        symbol = self.find(token.text)
        match symbol:
            case Value():
                return symbol.value
            case Clbits():
                return Runtime("bits", symbol.numbers)
            case Qubits():
                raise self.text.error(f'"{token.text}" is a quantum register, not a value', token)
        if token.text in CONSTANTS:
            return CONSTANTS[token.text]
        raise self.text.error(f'unknown name "{token.text}"', token)

    def element(self, node: Node) -> Any:
        symbol = self.find(node.token.text)
        if symbol is None:
            raise self.text.error(f'unknown name "{node.token.text}"', node.token)
        if isinstance(symbol, Value):
            return self._value_bits(symbol, node)
        if isinstance(symbol, Qubits):
            raise self.text.error(f'"{node.token.text}" is a quantum register, not a value', node.token)
        return Runtime(
            "bits", tuple(symbol.numbers[place] for place in self._places(symbol, node.parts[0], node.token))
        )

    def _value_bits(self, symbol: Value, node: Node) -> str:
        width = len(symbol.value) if isinstance(symbol.value, str) else symbol.width
        if symbol.kind not in ("bit", "uint", "int") or width is None:
            raise self.text.error(f'"{node.token.text}" has no bits to choose from', node.token)
        number = int(symbol.value, 2) if isinstance(symbol.value, str) else symbol.value
        places = self._places(Clbits(tuple(range(width))), node.parts[0], node.token)
        return "".join(str(number >> place & 1) for place in reversed(places))

    def width(self, node: Node) -> int:
        """How many bits an expression of measured bits has."""
        match node.kind:
            case "name" | "index":
                found = self.look_up(node.token) if node.kind == "name" else self.element(node)
                return len(found.arguments) if isinstance(found, Runtime) else 1
            case "unary":
                return self.width(node.parts[1]) if node.parts[0] == "~" else 1
            case "binary" if node.parts[0] in ("&", "|", "^", "<<", ">>", "+", "-", "*", "%"):
                return max(self.width(node.parts[1]), self.width(node.parts[2]))
            case "cast":
                return 1 if node.parts[0] == "bool" else self.width(node.parts[2])
            case _:
                return 1

    def constant(self, node: Node, what: str) -> Any:
        value = evaluate(node, self)
        if isinstance(value, Runtime):
            raise self.text.error(f"{what} cannot depend on measured bits", node.token)
        return value

    def qubits(self) -> Qubits:
        token = self.token
        if token.kind == "hardware":
            raise self.text.error("physical qubits are not supported", token, "declare a register")
        name = self.name("a qubit")
        symbol = self.find(name.text)
        if symbol is None:
            raise self.text.error(f'unknown quantum register "{name.text}"', name)
        if not isinstance(symbol, Qubits):
            raise self.text.error(f'"{name.text}" is not a quantum register', name)
        numbers, scalar = self._chosen(symbol, name)
        return Qubits(numbers, scalar)

    def bits(self) -> Clbits:
        name = self.name("a bit")
        symbol = self.find(name.text)
        if symbol is None:
            raise self.text.error(f'unknown classical register "{name.text}"', name)
        if not isinstance(symbol, Clbits):
            raise self.text.error(f'"{name.text}" is not a classical register', name)
        numbers, scalar = self._chosen(symbol, name)
        return Clbits(numbers, scalar)

    def _chosen(self, symbol: Qubits | Clbits, name: Token) -> tuple[tuple[int, ...], bool]:
        if self.token.text != "[" or self.token.kind != "mark":
            return symbol.numbers, symbol.scalar
        after = self.tokens[self.at + 1], self.tokens[self.at + 2]
        if after[0].kind == "number" and after[1].text == "]" and after[0].text.isdigit() and not symbol.scalar:
            place = int(after[0].text)
            if place < len(symbol.numbers):
                self.at += 3
                return (symbol.numbers[place],), True
        index = self.index()
        places = self._places(symbol, index, name)
        return tuple(symbol.numbers[place] for place in places), index[0] == "at"

    def _places(self, symbol: Qubits | Clbits, index: tuple[Any, ...], name: Token) -> Sequence[int]:
        if symbol.scalar:
            raise self.text.error(f'"{name.text}" is not a register', name)
        size = len(symbol.numbers)
        kind, *parts = index
        values = [None if part is None else self.constant(part, "an index") for part in parts]
        if kind == "range":
            start, step, stop = values
            down = isinstance(step, int) and step < 0
            start = (size - 1 if down else 0) if start is None else self._wrapped(start, size)
            stop = (0 if down else size - 1) if stop is None else self._wrapped(stop, size)
            values = list(self._range(start, step, stop, name))
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int) or not -size <= value < size:
                raise self.text.error(f'"{name.text}" has {size}: there is no [{value}]', name)
        places = [value % size for value in values if isinstance(value, int)]
        if len(set(places)) < len(places):
            raise self.text.error(f'an index of "{name.text}" is given twice', name)
        return places

    @staticmethod
    def _wrapped(value: Any, size: int) -> Any:
        return value + size if isinstance(value, int) and -size <= value < 0 else value


WANTED: Final = {
    "int": "a whole number",
    "uint": "a whole number from 0",
    "float": "a number",
    "angle": "a number",
    "bool": "true or false",
    "bit": "a bit string",
}


def bound(kind: str, width: int | None, value: Any) -> Any:
    """The value of a parameter as an input of this type takes it; None where it does not fit."""
    match kind, value:
        case "bool", bool():
            return value
        case _, bool():
            return ("1" if value else "0") if kind == "bit" and width in (None, 1) else None
        case (("float" | "angle"), int() | float()):
            return float(value) if math.isfinite(value) else None
        case "bit", str():
            return value if len(value) == (width or 1) and not set(value) - {"0", "1"} else None
        case "bit", 0 | 1:
            return str(value) if width in (None, 1) else None
        case (("int" | "uint"), float()) if value.is_integer():
            return bound(kind, width, int(value))
        case "int", int():
            limit = 2 ** ((width or 64) - 1)
            return value if -limit <= value < limit else None
        case "uint", int():
            return value if 0 <= value < 2 ** (width or 64) else None
    return None


def _names(name: str, size: int | None) -> list[str]:
    return [name] if size is None else [f"{name}[{place}]" for place in range(size)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _moved(gate: Gate, qubits: tuple[int, ...]) -> Gate:
    return gate._replace(
        controls=tuple((qubits[qubit], needed) for qubit, needed in gate.controls),
        targets=tuple(qubits[qubit] for qubit in gate.targets),
    )


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
