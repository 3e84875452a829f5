"""What a device can take, held against a job before it is sent.

The device's own description gives the largest number of runs and atoms. How long a sequence lasts is known once its
variables have values, which takes Pulser: it is asked where it is installed, as the extra `pulser` does.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from qrun.errors import Problem
from qrun.job import Job
from qrun.providers.pasqal.sending import Programs, problem
from qrun.providers.pasqal.sequence import names

NEWLINE: Final = "\n"
UPDATE: Final = "if it is right, the Pulser that is installed here may be too old for it"

Specs = Mapping[str, Any]


def beyond(jobs: Sequence[Job], programs: Programs, specs: Specs | None) -> Iterator[tuple[Job, Problem]]:
    """All that the device, or Pulser, would refuse. Without `specs` only what Pulser finds wrong by itself."""
    library = pulser()
    for job in jobs:
        program = programs[job.programs[0].sha256]
        wrong = list(_too_much(job, program, specs or {}))
        if not wrong and library is not None:
            wrong = list(_not_built(library, job, program, specs or {}))
        yield from ((job, each) for each in wrong)


def _too_much(job: Job, program: bytes, specs: Specs) -> Iterator[Problem]:
    runs, atoms = limit(specs, "max_runs"), limit(specs, "max_atom_num")
    device = job.target.device
    if runs is not None and (job.shots or 0) > runs:
        message = f"{job.shots} runs are too many for {device}, which takes {runs:.0f}"
        yield problem(job, message, field="shots", hint="make several jobs of it, for example with matrix: repeat")
    count = len(names(program, job.params))
    if atoms is not None and count > atoms:
        message = f"{count} atoms are too many for {device}, which takes {atoms:.0f}"
        yield problem(job, message, field="program", file=job.programs[0].path)


def _not_built(library: ModuleType, job: Job, program: bytes, specs: Specs) -> Iterator[Problem]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice for whoever writes the sequence in Python
            lasts = _loaded(library, program.decode()).build(**job.params).get_duration()
    except _refusals() as error:
        words = f"Pulser refuses the sequence: {str(error).strip().partition(NEWLINE)[0]}"
        yield problem(job, words, field="program", file=job.programs[0].path, hint=UPDATE)
        return
    longest = limit(specs, "max_sequence_duration")
    if longest is not None and lasts > longest:
        message = f"it lasts {lasts} ns with these params, and {job.target.device} takes {longest:.0f} ns"
        yield problem(job, message, field="program", file=job.programs[0].path)


def limit(specs: Specs, name: str) -> float | None:
    value = specs.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


@lru_cache(maxsize=1)
def pulser() -> ModuleType | None:
    try:
        return import_module("pulser")
    except ImportError:
        return None


@lru_cache(maxsize=1)
def _refusals() -> tuple[type[Exception], ...]:
    """What Pulser raises for a sequence that it does not accept; the first comes from the library it validates with."""
    own = import_module("pulser.exceptions.serialization")
    invalid: type[Exception] = import_module("jsonschema").ValidationError
    usual = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, RuntimeError)
    return (invalid, own.AbstractReprError, own.DeserializeDeviceError, *usual)


@lru_cache(maxsize=4)
def _loaded(library: ModuleType, text: str) -> Any:
    return library.Sequence.from_abstract_repr(text)
