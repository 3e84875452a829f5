"""What is sent to Pasqal Cloud, what is wrong with it, and what tells one job from another; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from qrun.canonical import canonical, digest
from qrun.errors import Problem, Rejected
from qrun.foreign import parse
from qrun.job import Job
from qrun.provider import Flaw
from qrun.providers.pasqal import MEMBERS, WORKLOAD
from qrun.providers.pasqal.flaws import flaws, wrong_tags
from qrun.providers.pasqal.sequence import read

Programs = Mapping[str, bytes]

# What the emulators do anyway; a configuration that says so is the same as one that does not.
USUAL: Final[Mapping[str, Any]] = {
    "strict_validation": False,
    "with_noise": False,
    "dt": 10.0,
    "precision": "normal",
    "max_bond_dim": 500,
}


# --- which jobs go out together ---------------------------------------------------------------------------------------


def groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that may share a batch, in their order, and no more of them together than they say; workloads go alone."""
    found: dict[object, list[list[Job]]] = {}
    for job in jobs:
        alone = (
            object() if job.kind == WORKLOAD else (shared(job), webhook(job), job.conduct.together, job.conduct.open)
        )
        filled = found.setdefault(alone, [[]])
        if len(filled[-1]) >= min([each.conduct.pack or MEMBERS for each in (*filled[-1], job)]):
            filled.append([])
        filled[-1].append(job)
    return [group for filled in found.values() for group in filled if group]


def shared(job: Job) -> str:
    """What is of the batch, and not of its jobs."""
    hashes = [program.sha256 for program in job.programs]
    return _shared(job.kind, job.target.device, hashes, job.options)


def alike(job: Job, other: Mapping[str, Any]) -> bool:
    """Whether a job may join the batch of a recorded one."""
    if job.kind == WORKLOAD:
        return False
    hashes = [str(program.get("sha256")) for program in other.get("program", ())]
    place = (other.get("provider"), other.get("site"))
    same = _shared(str(other.get("kind")), str(other.get("device")), hashes, other.get("options") or {})
    return place == (job.target.provider, job.target.site) and same == shared(job)


def _shared(kind: str, device: str, hashes: Sequence[str], options: Mapping[str, Any]) -> str:
    told = {"configuration": options.get("configuration"), "backend": options.get("backend_configuration")}
    return digest({"kind": kind, "device": device, "program": list(hashes), **told})


def webhook(job: Job) -> str | None:
    return job.options.get("webhook")


# --- what is wrong ----------------------------------------------------------------------------------------------------


def check(jobs: Sequence[Job], programs: Programs) -> None:
    """Raises Rejected that names every job with which something is wrong, and all that is."""
    found = [(job, _told(job, flaw)) for job in jobs for flaw in flaws(job, lambda program: programs[program.sha256])]
    if found:
        raise refused(found)


def refused(found: Sequence[tuple[Job, Problem]]) -> Rejected:
    return Rejected(*[problem for _, problem in found], members=tuple(dict.fromkeys(job.key for job, _ in found)))


def problem(job: Job, message: str, *, field: str | None = None, hint: str | None = None, **place: Any) -> Problem:
    where = job.key if field is None else f"{job.key}.{field}"
    return Problem(message=message, field=where, hint=hint, **place)


def _told(job: Job, flaw: Flaw) -> Problem:
    file = job.programs[0].path if flaw.path == ("program",) and job.programs else None
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in flaw.path)
    return problem(job, flaw.message, field=field[1:], hint=flaw.hint, file=file, line=flaw.line)


def check_tags(tags: Sequence[str]) -> None:
    """Raises Rejected for tags that a batch cannot have."""
    found = list(wrong_tags(tags))
    if found:
        raise Rejected(*[Problem(message=flaw.message, hint=flaw.hint) for flaw in found])


# --- what we say ------------------------------------------------------------------------------------------------------


def batch(jobs: Sequence[Job], programs: Programs, *, project: str, webhook: str | None) -> dict[str, Any]:
    """The body of a new batch, all but its tags: the marker among them is known only when it is sent."""
    first = jobs[0]
    told: dict[str, Any] = {
        "sequence_builder": read(programs[first.programs[0].sha256]).text,
        "webhook": first.options.get("webhook", webhook),
        "jobs": [runs(job) for job in jobs],
        "open": any(job.conduct.open for job in jobs),
        "device_type": first.target.device,
        "project_id": project,
    }
    if "configuration" in first.options:
        told["configuration"] = first.options["configuration"]
    if "backend_configuration" in first.options:
        told["backend_configuration"] = canonical(first.options["backend_configuration"]).decode()
    return told


def runs(job: Job) -> dict[str, Any]:
    """A job within its batch."""
    told = {"runs": job.shots, "variables": dict(job.params)}
    return {name: value for name, value in told.items() if value not in (None, {})}


def workload(job: Job, programs: Programs, *, project: str) -> dict[str, Any]:
    return {
        "workload_type": job.options["workload_type"],
        "backend": job.target.device,
        "config": parse(programs[job.programs[0].sha256]),
        "project_id": project,
    }


def tags(marks: Sequence[str], jobs: Sequence[Job]) -> list[str]:
    """Both marks and the tags that all members share, each once."""
    common = [tag for tag in jobs[0].tags if all(tag in job.tags for job in jobs)]
    return list(dict.fromkeys([*marks, *common]))


# --- what tells one job from another ----------------------------------------------------------------------------------


OF_BATCH: Final = ("device_type", "configuration", "backend_configuration", "tags", "created_at", "parent_id")


def fingerprint(batch: Mapping[str, Any], job: Mapping[str, Any]) -> str | None:
    """Of what we send and of what comes back alike; `batch` holds the hash of its sequence as `sequence`.

    None for what we would never send, and where the sequence is not known.
    """
    backend = batch.get("backend_configuration")
    if not isinstance(batch.get("sequence"), str):
        return None
    try:
        return digest(
            {
                "device": batch.get("device_type"),
                "sequence": batch["sequence"],
                "configuration": _unusual(batch.get("configuration")),
                "backend": backend if not isinstance(backend, str) else spelled(backend),
                "runs": job.get("runs"),
                "variables": plain(job.get("variables")),
            }
        )
    except (ValueError, TypeError, RecursionError):
        return None


def plain(variables: Any) -> Any:
    """A variable of one value may come back as a list of it."""
    if not isinstance(variables, Mapping):
        return variables or {}
    return {
        name: value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
        for name, value in variables.items()
    }


def workload_fingerprint(workload: Mapping[str, Any]) -> str | None:
    try:
        return digest({name: workload.get(name) for name in ("workload_type", "backend", "config")})
    except (ValueError, TypeError, RecursionError):
        return None


def _unusual(configuration: Any) -> Any:
    if not isinstance(configuration, Mapping):
        return None
    left = {
        name: value for name, value in configuration.items() if value is not None and USUAL.get(name, object()) != value
    }
    return left or None


@lru_cache(maxsize=16)
def spelled(text: str) -> str:
    """A hash that does not mind how the JSON is laid out."""
    try:
        return sha256(canonical(parse(text.encode()))).hexdigest()
    except (ValueError, RecursionError):
        return sha256(text.encode(errors="replace")).hexdigest()
