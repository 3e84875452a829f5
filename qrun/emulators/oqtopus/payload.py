"""What was uploaded for a job and what is given back for it, both ways between OQTOPUS and the engine; pure."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from qrun.emulators.engine import Task
from qrun.emulators.packing import PackingError, unpacked

PAULI: Final = re.compile(r"([IXYZ])\s*([0-9]{1,6})?\s*")
KINDS: Final = {"sampling": "sampling", "multi_manual": "multi", "estimation": "estimation"}
DEFAULT_TRANSPILER: Final = {"transpiler_lib": "qiskit", "transpiler_options": {"optimization_level": 1}}


class PayloadError(Exception):
    """What is wrong with an upload, in words for its author."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload:
    """Either programs, with an observable for estimations, or a script."""

    programs: tuple[str, ...] = ()
    observable: tuple[tuple[str, float], ...] = ()
    script: str | None = None


def payload(data: bytes, job_type: str) -> Payload:
    """Raises PayloadError; nothing of this is looked at before the device takes the job."""
    try:
        given = json.loads(unpacked(data)[1])
    except (PackingError, ValueError, RecursionError) as error:
        raise PayloadError(f"the input cannot be read: {error}") from error
    if not isinstance(given, dict):
        raise PayloadError("the input is not a JSON object")
    if job_type == "sse":
        script = given.get("sse_program")
        if not isinstance(script, str) or not script:
            raise PayloadError("the input has no sse_program")
        return Payload(script=script)
    return of_parts(job_type, given.get("program"), given.get("operator"))


def of_parts(job_type: str, program: Any, operator: Any) -> Payload:
    if not isinstance(program, list) or not program or not all(isinstance(text, str) for text in program):
        raise PayloadError("program is not a list of texts")
    if job_type != "multi_manual" and len(program) != 1:
        raise PayloadError(f"{job_type} takes one program, and there are {len(program)}")
    observable = _observable(operator) if job_type == "estimation" else ()
    return Payload(programs=tuple(program), observable=observable)


def _observable(operator: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(operator, list) or not operator:
        raise PayloadError("operator is not a list of terms")
    return tuple(_term(term) for term in operator)


def _term(term: Any) -> tuple[str, float]:
    if not isinstance(term, dict) or not isinstance(term.get("pauli"), str):
        raise PayloadError("a term of the operator has no pauli")
    coefficient = term.get("coeff", 1.0)
    if isinstance(coefficient, bool) or not isinstance(coefficient, int | float):
        raise PayloadError("a term's coeff is not a real number")
    text = term["pauli"].strip()
    if not text or PAULI.sub("", text):
        raise PayloadError(f'pauli "{text[:80]}" is not understood')
    factors = [letter + number for letter, number in PAULI.findall(text)]
    return (" ".join(factors), float(coefficient))


def task(job_type: str, given: Payload, shots: int, seed: int) -> Task:
    """An estimation measures each of its terms with all the shots."""
    terms = sum(1 for pauli, _ in given.observable if set(pauli) - set("I 0123456789"))
    return Task(
        kind=KINDS[job_type],
        programs=given.programs,
        shots=shots * max(1, terms),
        seed=seed,
        observable=given.observable,
    )


def rewritten(transpiler_info: Mapping[str, Any]) -> dict[str, Any]:
    """What the server makes of `transpiler_info` once it has transpiled."""
    return dict(transpiler_info) if transpiler_info else dict(DEFAULT_TRANSPILER)


def transpiles(transpiler_info: Mapping[str, Any]) -> bool:
    return rewritten(transpiler_info).get("transpiler_lib") is not None


def result(job_type: str, found: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The engine's results as `result.json` has them."""
    if job_type == "estimation":
        return {"sampling": None, "estimation": {"exp_value": found["value"], "stds": found["std_error"]}}
    if job_type == "sampling":
        return {"sampling": {"counts": found["counts"], "divided_counts": None}, "estimation": None}
    parts = [part["counts"] for part in found["parts"]]
    divided = {str(place): counts for place, counts in enumerate(parts)}
    return {"sampling": {"counts": joined(parts, seed), "divided_counts": divided}, "estimation": None}


def joined(parts: Sequence[Mapping[str, int]], seed: int) -> dict[str, int]:
    """Counts over all registers side by side, the first one rightmost.

    The programs know nothing of each other, so any pairing of their shots is as likely as any other: one is drawn.
    """
    dice = random.Random(seed)  # noqa: S311 - physics, not secrets
    columns = []
    for counts in parts:
        column = [bits for bits, number in counts.items() for _ in range(number)]
        dice.shuffle(column)
        columns.append(column)
    return dict(sorted(Counter(map("".join, zip(*reversed(columns), strict=True))).items()))
