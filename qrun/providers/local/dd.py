"""The device `ddsim`: decision diagrams by mqt-core, which stay small where a circuit has structure.

Where every measurement can wait until the end, the library simulates once and samples. Otherwise the circuit is walked
here: at a measurement the shots that have come so far part in two by a binomial draw, and each part goes on with its
own collapsed state. That costs one simulation for each *different* course of events, never more than one for each shot.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import mqt.core
from mqt.core import dd
from mqt.core.ir import QuantumComputation
from mqt.core.ir.operations import Control, Operation, OpType, StandardOperation

from qrun.providers.local.normal import Observable, binomial, key
from qrun.providers.local.openqasm.circuit import Assign, Circuit, Gate, If, Measure, Reset, sources, value
from qrun.providers.local.openqasm.gates import PRIMITIVES

LIBRARIES: Final = {"mqt-core": mqt.core.__version__}
COURSES: Final = 100_000  # different courses of events that an exact value adds up at most
CERTAIN: Final = 1e-10  # a probability this close to 0 or 1 is rounding

TYPES: Final[Mapping[str, OpType]] = {
    name: OpType.i if name == "id" else getattr(OpType, name) for name in PRIMITIVES if name != "gphase"
}


class Simulator:
    """`memory` needs no look beforehand: a diagram that outgrows it ends in MemoryError."""

    def __init__(self, circuit: Circuit, options: Mapping[str, Any], memory: int) -> None:
        del options, memory
        self.circuit = circuit

    def sample(self, shots: int, seed: int) -> Mapping[str, int]:
        """Counts by the values of all bits, as the normal form writes a key."""
        shown = sources(self.circuit)
        if shown is None:
            return _walk_shots(self.circuit, shots, seed)
        return _sample_end(self.circuit, shown, shots, seed)

    def expectation(self, observable: Observable) -> list[float]:
        """The exact expectation value of each Pauli product; measurements count as events of unknown outcome."""
        totals = [0.0] * len(observable)
        walk = Walk(self.circuit.without_final_measurements())
        terms = [walk.pauli(paulis) for paulis, _ in observable]
        for course, (weight, state, _) in enumerate(walk.courses(1.0, _part_exactly)):
            if course == COURSES:
                raise ValueError(f"the measurements inside the circuit have more than {COURSES} courses of outcomes")
            for place, term in enumerate(terms):
                totals[place] += weight * (1.0 if term is None else walk.package.expectation_value(term, state))
        return totals


def _sample_end(circuit: Circuit, shown: Mapping[int, int], shots: int, seed: int) -> Mapping[str, int]:
    count = len(circuit.qubits)
    computation = QuantumComputation(count)
    for operation in circuit.operations:
        if isinstance(operation, Gate):
            computation.append(native(operation))
    sampled: Mapping[str, int] = dd.sample(computation, shots, seed)
    if not circuit.bits:
        return sampled
    # a sampled string begins with the last qubit, a key with the last bit
    picks = [count - 1 - shown[bit] if bit in shown else None for bit in reversed(range(len(circuit.bits)))]
    counts: Counter[str] = Counter()
    for string, number in sampled.items():
        counts["".join("0" if pick is None else string[pick] for pick in picks)] += number
    return counts


def _walk_shots(circuit: Circuit, shots: int, seed: int) -> Mapping[str, int]:
    draws = random.Random(seed)  # noqa: S311 - physics, not secrets

    def part(number: int, chance: float) -> tuple[int, int]:
        ones = binomial(number, chance, draws)
        return number - ones, ones

    counts: Counter[str] = Counter()
    for number, _, bits in Walk(circuit, measure_all=not circuit.bits).courses(shots, part):
        counts[key(bits[: len(circuit.bits)] or bits[-len(circuit.qubits) :])] += number
    return counts


def _part_exactly(weight: float, chance: float) -> tuple[float, float]:
    return weight * (1 - chance), weight * chance


class Walk:
    """Follows a circuit through every course of events that a rule for parting leaves any weight."""

    def __init__(self, circuit: Circuit, *, measure_all: bool = False) -> None:
        self.count = len(circuit.qubits)
        self.package = dd.DDPackage(self.count)
        self.operations: tuple[Any, ...] = circuit.operations
        self.bits = len(circuit.bits) + circuit.hidden
        if measure_all:
            shift = self.bits
            self.bits += self.count
            self.operations += tuple(Measure(qubit, shift + qubit) for qubit in range(self.count))
        self.natives: dict[Gate, Operation] = {}
        self.z: dict[int, Any] = {}

    def courses(
        self, weight: Any, part: Callable[[Any, float], tuple[Any, Any]]
    ) -> Iterator[tuple[Any, dd.VectorDD, list[int]]]:
        """Each course's weight, final state and bits. A state is valid until the next course is asked for."""
        start = self.package.zero_state(self.count)
        waiting: list[tuple[Any, dd.VectorDD, list[int], Any]] = [
            (weight, start, [0] * self.bits, _chain(self.operations))
        ]
        while waiting:
            weight, state, bits, rest = waiting.pop()
            while rest is not None:
                (block, at), rest = rest
                operation = block[at]
                if at + 1 < len(block):
                    rest = ((block, at + 1), rest)
                match operation:
                    case Gate():
                        state = self.apply(operation, state)
                    case Measure(qubit, _) | Reset(qubit):
                        chance = self.chance(qubit, state)
                        zero, one = part(weight, chance) if 0 < chance < 1 else _certain(weight, chance)
                        if one and zero:
                            other = self.collapse(state, qubit, 0)
                            waiting.append((zero, *self._after(operation, other, bits, 0), rest))
                        outcome = 1 if one else 0
                        if 0 < chance < 1:
                            collapsed = self.collapse(state, qubit, outcome)
                            self.package.dec_ref_vec(state)
                            state = collapsed
                        weight = one or zero
                        state, bits = self._after(operation, state, bits, outcome)
                    case Assign(targets, expression):
                        number = int(value(expression, bits))
                        bits = list(bits)
                        for place, bit in enumerate(targets):
                            bits[bit] = number >> place & 1
                    case If(condition, then, otherwise):
                        chosen = then if value(condition, bits) else otherwise
                        rest = ((chosen, 0), rest) if chosen else rest
            yield weight, state, bits
            self.package.dec_ref_vec(state)

    def _after(
        self, operation: Measure | Reset, state: dd.VectorDD, bits: list[int], outcome: int
    ) -> tuple[dd.VectorDD, list[int]]:
        if isinstance(operation, Reset):
            return (self.apply(Gate("x", (), (), (operation.qubit,)), state) if outcome else state), bits
        if operation.bit is None:
            return state, bits
        bits = list(bits)
        bits[operation.bit] = outcome
        return state, bits

    def apply(self, gate: Gate, state: dd.VectorDD) -> dd.VectorDD:
        """Takes the state over and gives back another."""
        operation = self.natives.get(gate)
        if operation is None:
            operation = self.natives[gate] = native(gate)
        return self.package.apply_unitary_operation(state, operation)

    def chance(self, qubit: int, state: dd.VectorDD) -> float:
        """The probability of measuring 1."""
        z = self.z.get(qubit)
        if z is None:
            z = self.z[qubit] = self.package.from_operation(native(Gate("z", (), (), (qubit,))))
            self.package.inc_ref_mat(z)
        chance = (1 - self.package.expectation_value(z, state)) / 2
        return 0.0 if chance < CERTAIN else 1.0 if chance > 1 - CERTAIN else chance

    def collapse(self, state: dd.VectorDD, qubit: int, outcome: int) -> dd.VectorDD:
        """A new state in which the qubit has that outcome; the given one stays.

        The library only measures at random, so copies are measured until one shows it. An outcome is wanted about as
        often as it is likely, so that in total this takes fewer tries than there are shots.
        """
        wanted = str(outcome)
        same = native(Gate("id", (), (), (qubit,)))
        while True:
            self.package.inc_ref_vec(state)
            copy = self.package.apply_unitary_operation(state, same)
            if self.package.measure_collapsing(copy, qubit) == wanted:
                return copy
            self.package.dec_ref_vec(copy)

    def pauli(self, paulis: Mapping[int, str]) -> dd.MatrixDD | None:
        """The product as a matrix; None for the identity."""
        product: dd.MatrixDD | None = None
        for qubit, letter in sorted(paulis.items()):
            factor = self.package.from_operation(native(Gate(letter.lower(), (), (), (qubit,))))
            product = factor if product is None else self.package.matrix_multiply(factor, product)
        if product is not None:
            self.package.inc_ref_mat(product)
        return product


def _chain(operations: Sequence[Any]) -> Any:
    return ((operations, 0), None) if operations else None


def _certain(weight: Any, chance: float) -> tuple[Any, Any]:
    return (0, weight) if chance else (weight, 0)


def native(gate: Gate) -> Operation:
    controls = {Control(qubit, Control.Type.Pos if needed else Control.Type.Neg) for qubit, needed in gate.controls}
    return StandardOperation(controls, list(gate.targets), TYPES[gate.name], list(gate.params))
