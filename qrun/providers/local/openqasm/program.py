"""OpenQASM 2 and 3 read into a Circuit: registers and gates resolved, loops unrolled, inputs bound.

The program is carried out statement by statement, so that what is known before anything is measured (constants, loops,
conditions on them) is gone afterwards. What is left over and depends on measured bits becomes `If` and `Assign`.

Each kind of statement has a file of its own: *declarations*, *definitions* and *calls* of gates, *assignments*, *flow*.
They read through one `Operands` (the next tokens, and *names* for what they mean) and write to one `Draft`.
docs/local.md lists what is understood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from qrun.providers.local.openqasm.assignments import ASSIGNING, Assignments
from qrun.providers.local.openqasm.calls import Calls
from qrun.providers.local.openqasm.circuit import Circuit
from qrun.providers.local.openqasm.declarations import Declarations
from qrun.providers.local.openqasm.definitions import Definitions
from qrun.providers.local.openqasm.draft import Draft
from qrun.providers.local.openqasm.flow import Flow
from qrun.providers.local.openqasm.names import Clbits, Names, Qubits, Value
from qrun.providers.local.openqasm.operands import Operands
from qrun.providers.local.openqasm.reader import Reader, shown
from qrun.providers.local.openqasm.skipping import skip_line, skip_nested
from qrun.providers.local.openqasm.tokens import Text, Token, check_includes
from qrun.providers.local.openqasm.values import NUMBERS

# fmt: off
UNSUPPORTED: Final = frozenset({
    "def", "defcal", "defcalgrammar", "cal", "extern", "box", "switch", "array",
    "complex", "duration", "stretch", "return", "end", "break", "continue",
})
# fmt: on


def parse(text: Text, params: Mapping[str, Any] | None = None) -> Circuit:
    """The circuit that the program describes with its inputs bound to `params`; raises ProgramError."""
    check_includes(text)
    reader = Reader(text)
    reader.version = _version(reader)
    return Program(reader, params or {}).run()


def _version(reader: Reader) -> int:
    while reader.token.kind == "pragma":
        reader.at += 1
    if not reader.accept("OPENQASM"):
        return 3
    token = reader.take()
    major = token.text.partition(".")[0]
    if token.kind != "number" or major not in ("2", "3"):
        raise reader.error(f"OpenQASM {token.text} is not known", token, "write OPENQASM 2.0 or OPENQASM 3.0")
    reader.expect(";")
    return int(major)


class Program:
    """One program while it is carried out; `statements` are those that begin with a word or mark of the language."""

    def __init__(self, reader: Reader, params: Mapping[str, Any]) -> None:
        self.reader = reader
        self.names = Names(reader)
        self.operands = Operands(reader, self.names)
        self.draft = Draft(reader.text)
        self.definitions = Definitions(self.operands)
        self.calls = Calls(self.operands, self.definitions, self.draft)
        self.assignments = Assignments(self.operands, self.draft)
        declarations = Declarations(self.operands, self.draft, self.assignments, params)
        flow = Flow(self.operands, self.draft, self.statement)
        self.statements: dict[str, Callable[[Token], None]] = {
            "include": self.definitions.include,
            "qreg": declarations.qreg,
            "creg": declarations.creg,
            "qubit": declarations.qubit,
            "bit": declarations.bit,
            "const": declarations.const,
            **dict.fromkeys(NUMBERS, declarations.number),
            "input": declarations.input,
            "output": declarations.output,
            "let": declarations.alias,
            "gate": self.definitions.gate,
            "opaque": self.definitions.opaque,
            "measure": self.assignments.measure,
            "reset": self.assignments.reset,
            "if": flow.condition,
            "for": flow.loop,
            "while": flow.repetition,
            "{": flow.block,
            "barrier": self._barrier,
            "delay": self._delay,
            "pragma": self._annotation,
            "@": self._annotation,
            ";": self._nothing,
            **dict.fromkeys(UNSUPPORTED, self._unsupported),
        }

    def run(self) -> Circuit:
        while self.reader.token.kind != "end":
            self.statement()
        return self.draft.circuit()

    def statement(self) -> None:
        """OpenQASM 2 leaves many words of OpenQASM 3 to gates, which therefore come first."""
        token = self.reader.token
        known = self.statements.get(token.text)
        if known is not None and token.text not in self.names.gates:
            self.reader.at += 1
            known(token)
        elif token.kind == "name":
            self._call_or_assignment(token)
        elif token.kind == "pragma":
            self.reader.at += 1
        else:
            raise self.reader.error(f"expected a statement and found {shown(token)}", token)

    def _call_or_assignment(self, token: Token) -> None:
        symbol = self.names.find(token.text)
        if token.text in self.definitions.known and self.reader.tokens[self.reader.at + 1].text not in ASSIGNING:
            symbol = None  # a register may have the name of a gate
        match symbol:
            case None:
                self.calls.call()
            case Clbits():
                self.assignments.to_bits(token)
            case Value():
                self.assignments.to_number(token, symbol)
            case Qubits():
                raise self.reader.error(f'expected a statement and found the qubits "{token.text}"', token)

    def _barrier(self, token: Token) -> None:
        """Changes no state; its qubits are still checked."""
        del token
        if not self.reader.accept(";"):
            self.reader.several(self.operands.qubits)
            self.reader.expect(";")

    def _delay(self, token: Token) -> None:
        skip_nested(self.reader, "[")
        self._barrier(token)

    def _annotation(self, token: Token) -> None:
        skip_line(self.reader, token)

    def _nothing(self, token: Token) -> None:
        pass

    def _unsupported(self, token: Token) -> None:
        raise self.reader.error(f'"{token.text}" is not supported', token)
