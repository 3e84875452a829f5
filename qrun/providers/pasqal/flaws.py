"""What is wrong with a job of Pasqal Cloud, as far as its manifest and its program tell; pure, and asks nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from qrun.canonical import canonical
from qrun.foreign import parse
from qrun.job import Job, Program
from qrun.provider import Flaw
from qrun.providers.pasqal import WORKLOAD, sequence

Content = Callable[[Program], bytes]

TAG: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
OURS: Final = re.compile(r"qr[1x]")
EMULATOR: Final = "EMU_"
RUNS: Final = 2**53 - 1
REMEMBERED: Final = 1024  # programs

_READ: Final[dict[str, sequence.Sequence | sequence.SequenceError]] = {}  # by SHA-256


def flaws(job: Job, content: Content) -> Iterator[Flaw]:
    """All of them. `content` gives the bytes of the job's programs."""
    if len(job.programs) > 1:
        yield Flaw(path=("program",), message="only one program fits", hint="make one job of each")
        return
    yield from wrong_tags(job.tags)
    yield from _of_workload(job, content) if job.kind == WORKLOAD else _of_pulse(job, content)


def wrong_tags(tags: Sequence[str]) -> Iterator[Flaw]:
    for place, tag in enumerate(tags):
        path = ("tags", place)
        if OURS.match(tag):
            yield Flaw(path=path, message=f'"{tag}" begins as the marks of qrun do', hint="choose another tag")
        elif not TAG.fullmatch(tag):
            hint = 'use letters, digits, ".", "_" and "-", at most 64'
            yield Flaw(path=path, message=f'"{tag}" cannot be a tag there', hint=hint)


def _of_pulse(job: Job, content: Content) -> Iterator[Flaw]:
    yield from _of_runs(job)
    try:
        found = _sequence(job.programs[0], content)
    except sequence.SequenceError as error:
        hint = "write it with Pulser: sequence.to_abstract_repr()"
        yield Flaw(path=("program",), message=str(error), hint=hint, line=error.line)
        return
    for name, words in sequence.flaws(found, job.params):
        yield Flaw(path=("params", name), message=words, at_key=name not in found.variables)


def _sequence(program: Program, content: Content) -> sequence.Sequence:
    """Read once, also where it cannot be: thousands of jobs may share some programs in any order."""
    found = _READ.get(program.sha256)
    if found is None:
        try:
            found = replace(sequence.read(content(program)), text="")  # which may be long, and nobody here needs it
        except sequence.SequenceError as error:
            found = error
        if len(_READ) >= REMEMBERED:
            _READ.clear()
        _READ[program.sha256] = found
    if isinstance(found, sequence.SequenceError):
        raise found.with_traceback(None)
    return found


def _of_runs(job: Job) -> Iterator[Flaw]:
    if job.shots is None:
        if "backend_configuration" not in job.options or not job.target.device.startswith(EMULATOR):
            hint = "only an emulator with a backend_configuration runs without"
            yield Flaw(path=("shots",), message="a number of runs is needed", hint=hint)
    elif not 1 <= job.shots <= RUNS:
        hint = "a whole number above 0 is due"
        yield Flaw(path=("shots",), message=f"{job.shots} is not a number of runs", hint=hint)


def _of_workload(job: Job, content: Content) -> Iterator[Flaw]:
    try:
        told = parse(content(job.programs[0]))
        if not isinstance(told, Mapping):
            raise ValueError("it is not an object")
        canonical(told)
    except ValueError as error:
        hint = "the program of a workload is its configuration: a JSON object"
        yield Flaw(path=("program",), message=f"the program cannot be used: {error}", hint=hint)
