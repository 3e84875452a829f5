"""The normal form of results (DESIGN §6), the same for every device."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qrun.providers.local.openqasm.circuit import Circuit

Observable = Sequence[tuple[Mapping[int, str], float]]

FACTOR: Final = re.compile(r"([XYZI])([0-9]{1,6})?")


class ObservableError(ValueError):
    """What is wrong with an observable."""


def key(bits: Sequence[int]) -> str:
    """Bit 0 is the rightmost character."""
    return "".join(map(str, reversed(bits)))


def names(circuit: Circuit) -> list[str]:
    """What the characters of a key stand for, from left to right; without bits all qubits are measured."""
    return list(reversed(circuit.bits or circuit.qubits))


def sampled(bits: Sequence[str], counts: Mapping[str, int]) -> dict[str, Any]:
    return {"bits": list(bits), "counts": dict(sorted(counts.items())), "shots": sum(counts.values())}


def parse_observable(terms: Sequence[tuple[str, float]]) -> Observable:
    """Pauli products such as "X0 Z1", the identity being "I", with their coefficients."""
    return [(_product(text), float(coefficient)) for text, coefficient in terms]


def _product(text: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for factor in text.split():
        match = FACTOR.fullmatch(factor)
        if match is None or (match[2] is None and match[1] != "I"):
            raise ObservableError(f'"{text}" is not a product of Pauli matrices such as "X0 Z1" or "I"')
        if match[2] is None:
            continue
        qubit = int(match[2])
        if qubit in found:
            raise ObservableError(f'"{text}" names qubit {qubit} twice')
        found[qubit] = match[1]
    if not text.split():
        raise ObservableError('a term is empty; the identity is "I"')
    return found


def check_qubits(observable: Observable, count: int) -> None:
    for paulis, _ in observable:
        for qubit in paulis:
            if qubit >= count:
                raise ObservableError(f"the observable names qubit {qubit}, and the program has {count}")


def without_identities(observable: Observable) -> Observable:
    return [({q: letter for q, letter in paulis.items() if letter != "I"}, c) for paulis, c in observable]


def estimated(observable: Observable, values: Sequence[float], shots: int | None, seed: int) -> dict[str, Any]:
    """The value of the whole observable from those of its terms.

    With shots each term is estimated from its own runs: in the term's own basis a run shows +1 or -1, with the
    probability that the exact value gives, so the number of +1 is drawn from that law.
    """
    pairs = [
        (coefficient, min(1.0, max(-1.0, value))) for (_, coefficient), value in zip(observable, values, strict=True)
    ]
    if shots is None:
        return {"value": math.fsum(c * v for c, v in pairs), "std_error": 0.0, "shots": None}
    draws = random.Random(seed)  # noqa: S311 - physics, not secrets
    weights = [abs(coefficient) if paulis else 0.0 for paulis, coefficient in observable]
    total, variance = 0.0, 0.0
    for (paulis, coefficient), (_, exact), runs in zip(observable, pairs, allotted(shots, weights), strict=True):
        if not paulis:
            total += coefficient
            continue
        if not runs:
            continue
        mean = 2 * binomial(runs, (1 + exact) / 2, draws) / runs - 1
        total += coefficient * mean
        variance += coefficient**2 * (1 - mean**2) / runs
    return {"value": total, "std_error": math.sqrt(variance), "shots": shots}


def allotted(shots: int, weights: Sequence[float]) -> list[int]:
    """The shots shared in proportion to the weights, at least one for each that is not zero."""
    wanted = [place for place, weight in enumerate(weights) if weight > 0]
    if not wanted:
        return [0] * len(weights)
    if shots < len(wanted):
        raise ObservableError(f"{shots} shots are too few for {len(wanted)} terms; at least one for each is needed")
    whole = math.fsum(weights)
    spare = shots - len(wanted)
    shares = [spare * weight / whole for weight in weights]
    given = [int(share) + (weight > 0) for share, weight in zip(shares, weights, strict=True)]
    by_rest = sorted(wanted, key=lambda place: (int(shares[place]) - shares[place], place))
    for place in by_rest[: shots - sum(given)]:
        given[place] += 1
    return given


def binomial(number: int, chance: float, draws: random.Random) -> int:
    """How many of so many independent trials succeed.

    Large numbers are halved by drawing the middle one of the sorted uniform numbers, which follows a beta law
    (Devroye, Non-Uniform Random Variate Generation, 1986, X.4.3).
    """
    ones = 0
    while number > 32:
        middle = number // 2 + 1
        edge = draws.betavariate(middle, number + 1 - middle)
        if edge <= chance:
            ones += middle
            number -= middle
            chance = (chance - edge) / (1 - edge)
        else:
            number = middle - 1
            chance /= edge
    return ones + sum(draws.random() < chance for _ in range(number))
