"""What clients ask a Pasqal cloud to create, read as its server reads it; what is wrong is told together, as 422."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from qrun.emulators.pasqal import fields
from qrun.emulators.pasqal.devices import Device
from qrun.emulators.pasqal.envelope import problem, refuse
from qrun.emulators.pasqal.fields import Problems
from qrun.emulators.pasqal.sequence import Declared, declared, wrong_variables
from qrun.emulators.wire import Call

LARGEST: Final = 64 * 2**20  # bytes of a body, unpacked
BACKENDS: Final = ("pyqtorch", "pyq", "digital", "emu_c")


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedJob:
    runs: int | None
    variables: Mapping[str, Any] | None
    sequence: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedBatch:
    project_id: str
    device: Device
    sequence: str | None = field(repr=False)
    jobs: tuple[AskedJob, ...]
    open: bool
    tags: tuple[str, ...]
    webhook: str | None
    configuration: Mapping[str, Any] | None
    backend_configuration: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedWorkload:
    project_id: str
    workload_type: str
    backend: str
    config: Mapping[str, Any]


def body(call: Call) -> Any:
    """The JSON of a request, which may come packed with gzip."""
    data = call.body
    if call.headers.get("content-encoding", "").lower() == "gzip":
        unpacker = zlib.decompressobj(wbits=31)
        try:
            data = unpacker.decompress(data, LARGEST)
        except zlib.error:
            refuse(400, "The body is not packed with gzip, as its header says")
        if unpacker.unconsumed_tail or not unpacker.eof:
            refuse(413 if unpacker.unconsumed_tail else 400, "The body is too large, or not complete")
    try:
        return json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError):
        refuse(422, [problem("The body is not valid JSON", "body", kind="json_invalid")])


def _no_number(word: str) -> NoReturn:
    """NaN and the infinities are no JSON."""
    raise ValueError(word)


# --- batches ----------------------------------------------------------------------------------------------------------


def batch(given: Any, *, project: str | None = None) -> AskedBatch:
    """`project` stands where the body names none, as it does for customers of another cloud."""
    if not isinstance(given, dict):
        refuse(422, [problem("The body is not an object", "body", kind="type_error.dict")])
    problems: Problems = []
    text = fields.sequence(given.get("sequence_builder"), problems, "body", "sequence_builder")
    device = fields.device(given.get("device_type"), text, problems)
    opened = fields.flag(given.get("open"), problems)
    jobs = _jobs(given.get("jobs"), text, device, problems, "body", "jobs")
    if not jobs and not opened and not problems:
        problems.append(problem("A closed batch needs at least one job", "body", "jobs"))
    owner = project or fields.uuid(given.get("project_id"), problems, "body", "project_id")
    labels = fields.tags(given.get("tags"), problems, "body", "tags")
    webhook = fields.webhook(given.get("webhook"), problems)
    configuration = fields.configuration(given.get("configuration"), problems)
    backend_configuration = fields.backend_configuration(given.get("backend_configuration"), device, problems)
    fields.done(problems)
    assert device is not None
    return AskedBatch(
        project_id=owner,
        device=device,
        sequence=text,
        jobs=jobs,
        open=opened,
        tags=labels,
        webhook=webhook,
        configuration=configuration,
        backend_configuration=backend_configuration,
    )


def more_jobs(given: Any, sequence: str | None, device: Device) -> tuple[AskedJob, ...]:
    problems: Problems = []
    jobs = _jobs(given, sequence, device, problems, "body")
    if not jobs and not problems:
        problems.append(problem("At least one job is needed", "body"))
    fields.done(problems)
    return jobs


def tags(given: Any) -> tuple[str, ...]:
    problems: Problems = []
    if given is None:
        problems.append(problem("A list of texts is needed", "body", kind="type_error.list"))
    found = fields.tags(given, problems, "body")
    fields.done(problems)
    return found


def batch_ids(given: Any) -> list[str] | None:
    """Which batches are to be cancelled; None where a request names none at all."""
    ids = given.get("batch_ids") if isinstance(given, dict) else None
    if ids is None or ids == []:
        return None
    problems: Problems = []
    if not isinstance(ids, list):
        problems.append(problem("A list is needed", "body", "batch_ids", kind="type_error.list"))
        ids = []
    found = [fields.uuid(each, problems, "body", "batch_ids", place) for place, each in enumerate(ids)]
    fields.done(problems)
    return found


def workload(given: Any) -> AskedWorkload:
    if not isinstance(given, dict):
        refuse(422, [problem("The body is not an object", "body", kind="type_error.dict")])
    problems: Problems = []
    kind, backend, config = (given.get(name) for name in ("workload_type", "backend", "config"))
    if not isinstance(kind, str) or not kind:
        problems.append(problem("A text is needed", "body", "workload_type", kind="type_error.str"))
    if backend not in BACKENDS:
        problems.append(problem(f"One of {', '.join(BACKENDS)} is needed", "body", "backend", kind="type_error.enum"))
    if not isinstance(config, dict):
        problems.append(problem("An object is needed", "body", "config", kind="type_error.dict"))
    project = fields.uuid(given.get("project_id"), problems, "body", "project_id")
    fields.done(problems)
    assert isinstance(config, dict)
    return AskedWorkload(project_id=project, workload_type=str(kind), backend=str(backend), config=config)


# --- jobs -------------------------------------------------------------------------------------------------------------


def _jobs(given: Any, text: str | None, device: Device | None, problems: Problems, *place: str) -> tuple[AskedJob, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        problems.append(problem("A list of jobs is needed", *place, kind="type_error.list"))
        return ()
    if problems:
        return ()  # without a sequence and a device there is nothing to hold the jobs against
    found = [_job(each, text, device, problems, *place, number) for number, each in enumerate(given)]
    return tuple(job for job in found if job is not None)


def _job(given: Any, text: str | None, device: Device | None, problems: Problems, *place: str | int) -> AskedJob | None:
    if not isinstance(given, dict):
        problems.append(problem("A job is an object", *place, kind="type_error.dict"))
        return None
    variables = given.get("variables")
    if variables is not None and not isinstance(variables, dict):
        problems.append(problem("Variables are an object", *place, "variables", kind="type_error.dict"))
        return None
    own = fields.sequence(given.get("sequence"), problems, *place, "sequence")
    if own is not None and variables:
        problems.append(problem("A job with a sequence of its own has no variables", *place, "variables"))
        return None
    used = own if own is not None else text
    if used is None:
        if given.get("sequence") is None:
            problems.append(problem("The batch has no sequence, so the job needs one", *place, "sequence"))
        return None
    sequence = declared(used)
    wrong = wrong_variables(variables, sequence)
    if wrong is not None:
        problems.append(problem(wrong, *place, "variables"))
    assert device is not None
    _check_atoms(sequence, device, problems, *place)
    runs = _runs(given.get("runs"), device, problems, *place, "runs")
    return AskedJob(runs=runs, variables=variables, sequence=own)


def _runs(given: Any, device: Device, problems: Problems, *place: str | int) -> int | None:
    if given is None:
        if device.qpu:
            problems.append(problem(f"{device.name} needs the number of runs", *place, kind="value_error.missing"))
        return None
    if isinstance(given, bool) or not isinstance(given, int):
        problems.append(problem("A whole number is needed", *place, kind="type_error.integer"))
        return None
    if given < 1:
        problems.append(problem("A number above 0 is needed", *place, kind="value_error.number.not_gt"))
    most = device.spec["max_runs"] if device.spec else None
    if most is not None and given > most:
        problems.append(problem(f"{device.name} takes {most} runs at most", *place, kind="value_error.number.not_le"))
    return given


def _check_atoms(sequence: Declared, device: Device, problems: Problems, *place: str | int) -> None:
    most = device.spec["max_atom_num"] if device.spec else None
    if most is not None and sequence.atoms > most:
        problems.append(problem(f"{device.name} has {most} atoms at most, not {sequence.atoms}", *place))
