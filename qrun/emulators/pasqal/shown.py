"""What a Pasqal cloud shows of its rows. Times come in three forms, as they do there: all of them mean UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from qrun.emulators.pasqal.devices import DEVICES
from qrun.emulators.pasqal.filters import PRIORITY
from qrun.emulators.pasqal.rows import Batch, Job, Workload


def exact(instant: float | None) -> str | None:
    """With an offset."""
    return None if instant is None else datetime.fromtimestamp(instant, UTC).isoformat(timespec="microseconds")


def bare(instant: float | None) -> str | None:
    """Without an offset."""
    text = exact(instant)
    return None if text is None else text.removesuffix("+00:00")


def whole(instant: float | None) -> str | None:
    """Without a fraction, with a Z."""
    return None if instant is None else datetime.fromtimestamp(int(instant), UTC).isoformat().replace("+00:00", "Z")


def batch(row: Batch) -> dict[str, Any]:
    """As it stands in lists: neither its sequence nor its jobs."""
    return {
        "id": row.id,
        "parent_id": row.parent_id,
        "status": row.status,
        "open": row.open,
        "complete": not row.open,
        "device_type": row.device_type,
        "device_status": DEVICES[row.device_type].status,
        "user_id": row.user_id,
        "project_id": row.project_id,
        "created_at": exact(row.created),
        "updated_at": exact(row.updated),
        "start_datetime": exact(row.started),
        "end_datetime": exact(row.finished),
        "tags": list(row.tags),
        "jobs_count": len(row.jobs),
        "jobs_count_per_status": row.counts(),
        "webhook": row.webhook,
        "configuration": row.configuration,
        "backend_configuration": row.backend_configuration,
        "queue_priority": PRIORITY,
        "priority": 10,
    }


def batch_with_jobs(row: Batch) -> dict[str, Any]:
    return batch(row) | {"jobs": [job(each) for each in row.jobs]}


def batch_in_full(row: Batch) -> dict[str, Any]:
    return batch(row) | {"sequence_builder": row.sequence, "job_ids": [each.id for each in row.jobs]}


def batch_status(row: Batch) -> dict[str, Any]:
    return {"id": row.id, "status": row.status, "open": row.open, "jobs_count_per_status": row.counts()}


def job(row: Job) -> dict[str, Any]:
    return {
        "id": row.id,
        "batch_id": row.batch_id,
        "parent_id": row.parent_id,
        "project_id": row.project_id,
        "user_id": row.user_id,
        "status": row.status,
        "runs": row.runs,
        "variables": row.variables,
        "errors": row.errors,
        "created_at": bare(row.created),
        "updated_at": bare(row.updated),
        "start_timestamp": bare(row.started),
        "end_timestamp": bare(row.finished),
        "creation_order": row.order,
    }


def job_in_full(row: Job) -> dict[str, Any]:
    return job(row) | {"sequence": row.sequence}


def workload(row: Workload, link: str | None = None) -> dict[str, Any]:
    return {
        "id": row.id,
        "project_id": row.project_id,
        "user_id": row.user_id,
        "status": row.status,
        "workload_type": row.workload_type,
        "backend": row.backend,
        "config": row.config,
        "errors": row.errors,
        "created_at": whole(row.created),
        "updated_at": whole(row.updated),
        "start_timestamp": whole(row.started),
        "end_timestamp": whole(row.finished),
        "result": None,
        "result_link": link,
    }
