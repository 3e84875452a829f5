"""What an OQTOPUS cloud shows of its jobs: which members there are, and which are left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from qrun.emulators.oqtopus.jobs import REGISTERED, Job
from qrun.emulators.wire import refuse

FIELDS: Final = (
    "job_id",
    "name",
    "description",
    "job_type",
    "status",
    "device_id",
    "shots",
    "job_info",
    "transpiler_info",
    "simulator_info",
    "mitigation_info",
    "execution_time",
    "submitted_at",
    "ready_at",
    "running_at",
    "ended_at",
)
BARE: Final = ("job_id", "status")  # all that there is to see of a job that was never submitted
TRAPS: Final = frozenset({"job_type", "shots"})

Link = Callable[[str], str]


def at(instant: float | None) -> str | None:
    """As the database keeps times: whole seconds."""
    return None if instant is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(instant))


def job_info(job: Job, link: Link) -> dict[str, str]:
    """Links to what there is, made afresh."""
    found = {name: link(key(job, name)) for name in ("input", *job.outputs)}
    return found if job.message is None else found | {"message": job.message}


def key(job: Job, name: str) -> str:
    return f"{job.job_id}/{name}.zip"


def keys(job: Job) -> list[str]:
    """Of all that is stored for it."""
    return [key(job, name) for name in ("input", *job.outputs)]


VIEWS: Final[Mapping[str, Callable[[Job, Link], Any]]] = {
    "job_id": lambda job, _: job.job_id,
    "name": lambda job, _: job.name,
    "description": lambda job, _: job.description,
    "job_type": lambda job, _: job.job_type,
    "status": lambda job, _: job.status,
    "device_id": lambda job, _: job.device_id,
    "shots": lambda job, _: job.shots,
    "job_info": job_info,
    "transpiler_info": lambda job, _: job.transpiler_info,
    "simulator_info": lambda job, _: job.simulator_info,
    "mitigation_info": lambda job, _: job.mitigation_info,
    "execution_time": lambda job, _: job.execution_time,
    "submitted_at": lambda job, _: at(job.submitted),
    "ready_at": lambda job, _: at(job.ready),
    "running_at": lambda job, _: at(job.running),
    "ended_at": lambda job, _: at(job.ended),
}


def shown(job: Job, link: Link, fields: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The members that were asked for and that there are.

    A job that was cancelled before it was submitted breaks every answer that would show its type or its shots.
    """
    if job.submitted is None:
        if job.status != REGISTERED and (fields is None or not TRAPS.isdisjoint(fields)):
            refuse(500, {"message": "1 validation error for JobDef: job_type: Input should be a known job type"})
        fields = BARE if fields is None else tuple(name for name in fields if name in BARE)
    found = {}
    for name in FIELDS if fields is None else fields:
        value = VIEWS[name](job, link)
        if value is not None:
            found[name] = value
    return found
