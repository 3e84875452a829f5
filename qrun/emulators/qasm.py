"""Circuits written as OpenQASM 3: what a transpiler or a combiner gives back, on numbered qubits `q` and bits `c`.

Every gate is written with what `stdgates.inc` and the language itself have, so that any reader of OpenQASM 3 takes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, assert_never

from qrun.providers.local.openqasm.circuit import Assign, Circuit, Gate, If, Measure, Operation, Reset, Runtime

STANDARD: Final = frozenset({"id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "rx", "ry", "rz", "p", "swap"})
CONTROLLED: Final = frozenset({"cx", "cy", "cz", "ch", "cp", "crx", "cry", "crz", "cswap", "ccx"})
DEFINED: Final = {
    "sxdg": "gate sxdg a { inv @ sx a; }",
    "rzz": "gate rzz(t) a, b { cx a, b; rz(t) b; cx a, b; }",
    "rxx": "gate rxx(t) a, b { h a; h b; cx a, b; rz(t) b; cx a, b; h a; h b; }",
    "ryy": "gate ryy(t) a, b { rx(pi/2) a; rx(pi/2) b; cx a, b; rz(t) b; cx a, b; rx(-pi/2) a; rx(-pi/2) b; }",
    "u": "gate u(t, f, l) a { gphase(-t/2); U(t, f, l) a; }",
}


class Unwritten(Exception):
    """Bits that are computed from bits, which nobody transpiles."""


def written(circuits: Sequence[Circuit]) -> str:
    """One program with the circuits side by side, the first on the lowest qubits and bits; may raise Unwritten."""
    lines: list[str] = []
    used: set[str] = set()
    qubits = bits = 0
    for circuit in circuits:
        lines += _Writer(qubits, bits, used).lines(circuit.operations if circuit.bits else measured(circuit), "")
        qubits += len(circuit.qubits)
        bits += len(circuit.bits) + circuit.hidden if circuit.bits else len(circuit.qubits)
    head = ["OPENQASM 3.0;", 'include "stdgates.inc";', *(text for name, text in DEFINED.items() if name in used)]
    return "\n".join([*head, f"qubit[{qubits}] q;", f"bit[{bits}] c;", *lines, ""])


def measured(circuit: Circuit) -> tuple[Operation, ...]:
    """The operations, and at their end a measurement of every qubit."""
    return (*circuit.operations, *(Measure(qubit, qubit) for qubit in range(len(circuit.qubits))))


def counted(circuits: Sequence[Circuit]) -> dict[str, Any]:
    """How many gates of which name there are, and how many one after the other."""
    names: Counter[str] = Counter()
    depth = 0
    for circuit in circuits:
        level = [0] * len(circuit.qubits)
        for operation in circuit.operations:
            if isinstance(operation, Gate):
                names["c" * len(operation.controls) + operation.name] += 1
                touched = [*operation.targets, *(qubit for qubit, _ in operation.controls)]
                reached = 1 + max((level[qubit] for qubit in touched), default=0)
                for qubit in touched:
                    level[qubit] = reached
        depth = max(depth, *level, 0)
    return {"n_gates": dict(sorted(names.items())), "depth": depth}


class _Writer:
    def __init__(self, qubit: int, bit: int, used: set[str]) -> None:
        self.first_qubit = qubit
        self.first_bit = bit
        self.used = used

    def lines(self, operations: Sequence[Operation], indent: str) -> Iterator[str]:
        for operation in operations:
            match operation:
                case Gate():
                    yield f"{indent}{self.gate(operation)};"
                case Measure(qubit, None):
                    yield f"{indent}measure {self.qubit(qubit)};"
                case Measure(qubit, bit):
                    assert bit is not None
                    yield f"{indent}{self.bit(bit)} = measure {self.qubit(qubit)};"
                case Reset(qubit):
                    yield f"{indent}reset {self.qubit(qubit)};"
                case Assign():
                    raise Unwritten("an assignment to bits")
                case If(condition, then, otherwise):
                    yield f"{indent}if ({self.expression(condition)}) {{"
                    yield from self.lines(then, indent + "  ")
                    if otherwise:
                        yield f"{indent}}} else {{"
                        yield from self.lines(otherwise, indent + "  ")
                    yield f"{indent}}}"
                case _:
                    assert_never(operation)

    def gate(self, gate: Gate) -> str:
        if gate.name in DEFINED:
            self.used.add(gate.name)
        else:
            assert gate.name in STANDARD
        params = f"({', '.join(repr(float(value)) for value in gate.params)})" if gate.params else ""
        short = "c" * len(gate.controls) + gate.name
        if short in CONTROLLED and all(needed for _, needed in gate.controls):
            name = short
        else:
            name = "".join("ctrl @ " if needed else "negctrl @ " for _, needed in gate.controls) + gate.name
        qubits = [self.qubit(qubit) for qubit, _ in gate.controls] + [self.qubit(qubit) for qubit in gate.targets]
        return f"{name}{params} {', '.join(qubits)}"

    def qubit(self, number: int) -> str:
        return f"q[{self.first_qubit + number}]"

    def bit(self, number: int) -> str:
        return f"c[{self.first_bit + number}]"

    def expression(self, given: Any) -> str:
        match given:
            case Runtime("bits", numbers):
                first, *rest = (f"uint({self.bit(number)})" for number in numbers)
                return "(" + " | ".join([first, *(f"({term} << {place})" for place, term in enumerate(rest, 1))]) + ")"
            case Runtime("!", (operand,)):
                return f"!({self.expression(operand)})"
            case Runtime("~", (operand, width)):
                return f"({self.expression(operand)} ^ {(1 << width) - 1})"
            case Runtime("bool", (operand,)):
                return f"bool({self.expression(operand)})"
            case Runtime(operator, (left, right)):
                return f"({self.expression(left)} {operator} {self.expression(right)})"
            case bool():
                return "true" if given else "false"
            case _:
                return repr(given)
