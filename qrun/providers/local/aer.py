"""The device `aer`: Qiskit Aer, for dense circuits, matrix product states, stabilizers, and noise.

The circuit is handed over gate by gate; Qiskit never sees the program's text. All bits lie in one register, in the
order of declaration.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import qiskit
import qiskit_aer
from qiskit.circuit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit.classical import expr
from qiskit.circuit.library import standard_gates
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerError, AerSimulator
from qiskit_aer.noise import NoiseModel, ReadoutError, depolarizing_error

from qrun.providers.local.normal import Observable
from qrun.providers.local.openqasm.circuit import (
    Assign,
    Circuit,
    Gate,
    If,
    Measure,
    Operation,
    Reset,
    Runtime,
    read,
    value,
)
from qrun.providers.local.openqasm.circuit import sources as final_sources
from qrun.providers.local.size import size

LIBRARIES: Final = {"qiskit": qiskit.__version__, "qiskit-aer": qiskit_aer.__version__}

GATES: Final[Mapping[str, Any]] = {
    "id": standard_gates.IGate,
    "x": standard_gates.XGate,
    "y": standard_gates.YGate,
    "z": standard_gates.ZGate,
    "h": standard_gates.HGate,
    "s": standard_gates.SGate,
    "sdg": standard_gates.SdgGate,
    "t": standard_gates.TGate,
    "tdg": standard_gates.TdgGate,
    "sx": standard_gates.SXGate,
    "sxdg": standard_gates.SXdgGate,
    "rx": standard_gates.RXGate,
    "ry": standard_gates.RYGate,
    "rz": standard_gates.RZGate,
    "p": standard_gates.PhaseGate,
    "u": standard_gates.UGate,
    "swap": standard_gates.SwapGate,
    "rxx": standard_gates.RXXGate,
    "ryy": standard_gates.RYYGate,
    "rzz": standard_gates.RZZGate,
}
ONE_QUBIT: Final = ("id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "rx", "ry", "rz", "p", "u")
TWO_QUBIT: Final = ("cx", "cy", "cz", "cp", "swap", "rxx", "ryy", "rzz")
STANDARD: Final = frozenset(standard_gates.get_standard_gate_name_mapping())
EXACT_WITH_NOISE: Final = frozenset({"automatic", "density_matrix"})
TABLE: Final = 10  # a condition on so many bits is spelled out case by case


class Simulator:
    """Refuses at once what cannot fit into `memory` bytes (0: no limit)."""

    def __init__(self, circuit: Circuit, options: Mapping[str, Any], memory: int) -> None:
        self.circuit = circuit
        self.method = options.get("method", "automatic")
        self.noise: Mapping[str, float] = options.get("noise", {})
        self.memory = memory
        self._check(self.method)

    def sample(self, shots: int, seed: int) -> Mapping[str, int]:
        """Counts by the values of all named bits."""
        simulator = self._simulator(self.method, seed)
        circuit = build(self.circuit, self._known(simulator), measure_all=not self.circuit.bits)
        shown = len(self.circuit.bits or self.circuit.qubits)
        counts: Counter[str] = Counter()
        for key, number in _run(simulator, circuit, shots).get_counts().items():
            counts[key.replace(" ", "")[-shown:]] += number
        return counts

    def expectation(self, observable: Observable) -> list[float]:
        """Exact values; noise is averaged over by the density matrix, and a flip of readout shrinks each factor."""
        if final_sources(self.circuit) is None:
            raise ValueError("an exact value of a circuit with measurements or resets inside; try device: ddsim")
        method = self.method
        if self.noise:
            if method not in EXACT_WITH_NOISE:
                raise ValueError(f"an exact value with noise needs method density_matrix, not {method}")
            method = "density_matrix"
            self._check(method)
        simulator = self._simulator(method, 1)
        circuit = build(self.circuit.without_final_measurements(), self._known(simulator))
        for place, (paulis, _) in enumerate(observable):
            if paulis:
                operator = SparsePauliOp("".join(paulis[qubit] for qubit in sorted(paulis, reverse=True)))
                circuit.save_expectation_value(operator, sorted(paulis), label=str(place))
        data = _run(simulator, circuit, 1).data() if any(paulis for paulis, _ in observable) else {}
        flip = 1 - 2 * self.noise.get("readout", 0.0)
        return [
            float(data[str(place)]) * flip ** len(paulis) if paulis else 1.0
            for place, (paulis, _) in enumerate(observable)
        ]

    def _simulator(self, method: str, seed: int) -> AerSimulator:
        return AerSimulator(
            method=method,
            noise_model=noise_model(self.noise) if self.noise else None,
            seed_simulator=seed % (2**31 - 1) + 1,
            max_parallel_threads=1,
            max_memory_mb=self.memory // 2**20,
            # with branches, Aer 0.18 loses count of the qubits that it leaves out as unused
            enable_truncation=not _has(self.circuit.operations, lambda each: isinstance(each, If)),
        )

    def _known(self, simulator: AerSimulator) -> frozenset[str]:
        """The gates that are handed over as they are; others are taken apart."""
        return frozenset({*ONE_QUBIT, *TWO_QUBIT} if self.noise else STANDARD & set(simulator.operation_names))

    def _check(self, method: str) -> None:
        count = len(self.circuit.qubits)
        needed = 16 * 2 ** (2 * count if method == "density_matrix" else count)
        if method in ("statevector", "density_matrix") and self.memory and needed > self.memory:
            raise ValueError(_too_large(count, needed, method, self.memory))


def _run(simulator: AerSimulator, circuit: QuantumCircuit, shots: int) -> Any:
    try:
        result = simulator.run(circuit, shots=shots).result()
    except AerError as error:
        raise ValueError(f"qiskit-aer: {error.message}") from error
    if not result.success:
        words = _reason(result)
        if "insufficient memory" in words.lower():
            limit = simulator.options.max_memory_mb * 2**20
            raise ValueError(_too_large(circuit.num_qubits, 16 * 2**circuit.num_qubits, "statevector", limit))
        raise ValueError(f"qiskit-aer: {words}")
    return result


def _too_large(count: int, needed: int, method: str, limit: int) -> str:
    share = f", and a worker may take {size(limit)}" if limit else ", more than there is"
    return (
        f"{count} qubits need about {size(needed)} with method {method}{share}; "
        "try device: aer with method: matrix_product_state"
    )


def _reason(result: Any) -> str:
    words = {str(each.status) for each in result.results if not each.success} or {str(result.status)}
    return "; ".join(sorted(words))


def noise_model(noise: Mapping[str, float]) -> NoiseModel:
    """Depolarizing errors on all gates as they are written; gates on more qubits are taken apart first."""
    model = NoiseModel(basis_gates=[*ONE_QUBIT, *TWO_QUBIT])
    if noise.get("one_qubit"):
        model.add_all_qubit_quantum_error(depolarizing_error(noise["one_qubit"], 1), list(ONE_QUBIT))
    if noise.get("two_qubit"):
        model.add_all_qubit_quantum_error(depolarizing_error(noise["two_qubit"], 2), list(TWO_QUBIT))
    if flip := noise.get("readout"):
        model.add_all_qubit_readout_error(ReadoutError([[1 - flip, flip], [flip, 1 - flip]]))
    return model


def build(circuit: Circuit, known: frozenset[str], *, measure_all: bool = False) -> QuantumCircuit:
    qubits = QuantumRegister(len(circuit.qubits), "q")
    bits = ClassicalRegister(len(circuit.bits) + circuit.hidden, "c")
    shown = [ClassicalRegister(len(qubits), "shown")] if measure_all else []
    # what is declared first is written on the right, where we read
    built = QuantumCircuit(qubits, *shown, *([bits] if len(bits) else []))
    Builder(built, list(qubits), list(bits), circuit.operations, known).append(circuit.operations)
    if shown:
        built.measure(qubits, shown[0])
        return built
    if bits and not _has(circuit.operations, lambda each: isinstance(each, Measure)):
        _measure_nothing(built)
    return built


def _measure_nothing(built: QuantumCircuit) -> None:
    """Aer counts only where something is measured: a bit on the far left, which nobody reads."""
    spare = ClassicalRegister(1, "spare")
    built.add_register(spare)
    built.measure(0, spare)


@functools.lru_cache(maxsize=4096)
def _parts(
    name: str, params: tuple[float, ...], needed: tuple[bool, ...], known: frozenset[str]
) -> Sequence[tuple[Any, tuple[int, ...]]]:
    """The gate, or those that it is made of, each with the places of its qubits among the gate's own."""
    gate = GATES[name](*params)
    if needed:
        state = sum(1 << place for place, value in enumerate(needed) if value)
        gate = gate.control(len(needed), ctrl_state=state, annotated=False)
    count = gate.num_qubits
    if gate.name in known:
        return [(gate, tuple(range(count)))]
    alone = QuantumCircuit(count)
    alone.append(gate, range(count))
    taken_apart = qiskit.transpile(alone, basis_gates=sorted(known), optimization_level=0)
    return [(each.operation, tuple(taken_apart.find_bit(qubit).index for qubit in each.qubits)) for each in taken_apart]


class Builder:
    """Adds operations to a circuit.

    Aer 0.18 carries out a `store` inside a branch even where the branch is not taken. So the condition of a branch that
    assigns is kept in a bit of its own, and the assignment keeps the old value where that bit is 0.
    """

    def __init__(
        self,
        built: QuantumCircuit,
        qubits: list[Any],
        bits: list[Any],
        operations: Sequence[Operation],
        known: frozenset[str],
    ) -> None:
        self.known = known
        self.built = built
        self.qubits = qubits
        self.bits = bits
        self.scratch = self._register("scratch", 1 if _has(operations, _is_bare) else 0)
        self.guards = iter(self._register("guards", _guards(operations)))

    def _register(self, name: str, size: int) -> list[Any]:
        if not size:
            return []
        register = ClassicalRegister(size, name)
        self.built.add_register(register)
        return list(register)

    def append(self, operations: Sequence[Operation], guard: Any = None) -> None:
        built, qubits = self.built, self.qubits
        for operation in operations:
            match operation:
                case Gate(name, params, controls, targets):
                    places = [qubits[qubit] for qubit, _ in controls] + [qubits[qubit] for qubit in targets]
                    for part, own in _parts(name, params, tuple(needed for _, needed in controls), self.known):
                        built.append(part, [places[place] for place in own])
                case Measure(qubit, bit):
                    built.measure(qubits[qubit], self.scratch[0] if bit is None else self.bits[bit])
                case Reset(qubit):
                    built.reset(qubits[qubit])
                case Assign():
                    self._assign(operation, guard)
                case If():
                    self._either(operation, guard)

    def _either(self, operation: If, guard: Any) -> None:
        condition = truth(operation.condition, self.bits)
        if isinstance(condition, bool):
            self.append(operation.then if condition else operation.otherwise, guard)
            return
        yes = no = None
        if _has((operation,), _is_assignment):
            bit = next(self.guards)
            self.built.store(bit, condition if guard is None else expr.logic_and(guard, condition))
            yes = expr.lift(bit)
            no = expr.logic_not(bit) if guard is None else expr.logic_and(guard, expr.logic_not(bit))
            condition = yes
        with self.built.if_test(condition) as otherwise:
            self.append(operation.then, yes)
        if operation.otherwise:
            with otherwise:
                self.append(operation.otherwise, no)

    def _assign(self, operation: Assign, guard: Any) -> None:
        """All new values are made of those before the assignment."""
        targets, expression = operation
        if len(targets) > 1 and read(expression) & set(targets) and not _in_place(targets, expression):
            raise ValueError("an assignment of several bits that reads them is not supported on this device")
        for place, target in enumerate(targets):
            bit = self.bits[target]
            wanted = truth(Runtime("&", (Runtime(">>", (expression, place)), 1)), self.bits)
            if isinstance(wanted, bool):
                wanted = _constant(bit, wanted)
            if guard is not None:
                wanted = expr.logic_or(
                    expr.logic_and(guard, wanted), expr.logic_and(expr.logic_not(guard), expr.lift(bit))
                )
            self.built.store(bit, wanted)


def _has(operations: Sequence[Operation], wanted: Callable[[Operation], bool]) -> bool:
    return any(
        wanted(each) or (isinstance(each, If) and (_has(each.then, wanted) or _has(each.otherwise, wanted)))
        for each in operations
    )


def _is_bare(operation: Operation) -> bool:
    return isinstance(operation, Measure) and operation.bit is None


def _is_assignment(operation: Operation) -> bool:
    return isinstance(operation, Assign)


def _guards(operations: Sequence[Operation]) -> int:
    """How many branches assign, at every depth."""
    return sum(
        _has((each,), _is_assignment) + _guards(each.then) + _guards(each.otherwise)
        for each in operations
        if isinstance(each, If)
    )


def _constant(bit: Any, wanted: bool) -> Any:
    """A truth as an expression of a bit, so that it can stand where an expression is needed."""
    opposite = expr.logic_not(bit)
    return expr.logic_or(bit, opposite) if wanted else expr.logic_and(bit, opposite)


def _in_place(targets: Sequence[int], expression: Any) -> bool:
    """Whether each bit depends on no other target than itself: true of bitwise operators on the same register."""
    match expression:
        case Runtime("bits", numbers):
            return tuple(numbers) == tuple(targets) or not set(numbers) & set(targets)
        case Runtime("&" | "|" | "^" | "~", arguments):
            return all(_in_place(targets, argument) for argument in arguments)
        case Runtime():
            return not read(expression) & set(targets)
        case _:
            return True


def truth(condition: Any, bits: Sequence[Any]) -> Any:
    """The condition as an expression on single bits; a plain truth where it depends on none."""
    match condition:
        case Runtime(("==" | "!=") as operator, (Runtime("bits", numbers), int(number))) if len(numbers) > TABLE:
            if number >> len(numbers):
                return operator == "!="
            terms = [_literal(bits[bit], bool(number >> place & 1)) for place, bit in enumerate(numbers)]
            same = functools.reduce(expr.logic_and, terms)
            return same if operator == "==" else expr.logic_not(same)
    needed = sorted(read(condition))
    if len(needed) > TABLE:
        raise ValueError(f"a condition on {len(needed)} bits is supported only as a comparison with a number")
    return _cases(condition, needed, {}, bits)


def _cases(condition: Any, left: Sequence[int], known: dict[int, int], bits: Sequence[Any]) -> Any:
    if not left:
        places = [known.get(bit, 0) for bit in range(max(known, default=-1) + 1)]
        return bool(value(condition, places))
    bit, *rest = left
    zero = _cases(condition, rest, {**known, bit: 0}, bits)
    one = _cases(condition, rest, {**known, bit: 1}, bits)
    if isinstance(zero, bool) and isinstance(one, bool):
        return zero if zero is one else _literal(bits[bit], one)
    return _choose(bits[bit], one, zero)


def _choose(bit: Any, one: Any, zero: Any) -> Any:
    parts = [
        _literal(bit, needed) if case is True else expr.logic_and(_literal(bit, needed), case)
        for needed, case in ((True, one), (False, zero))
        if case is not False
    ]
    return functools.reduce(expr.logic_or, parts)


def _literal(bit: Any, needed: bool) -> Any:
    return expr.lift(bit) if needed else expr.logic_not(bit)
