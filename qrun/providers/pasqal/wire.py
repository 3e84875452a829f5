"""What Pasqal Cloud says and how it is understood; nothing here asks anybody.

A batch holds one sequence and many jobs, each with its runs and variables. Quirks:

- A batch is DONE even if its jobs failed: what became of a job is said by the job.
- Times may lack their offset, then they are UTC; those of old records may be seconds since 1970, as text.
- Only tags of a batch can be searched for, one at a time.
- Members may be missing or null.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from qrun.canonical import canonical
from qrun.clock import instant
from qrun.errors import Unexpected
from qrun.provider import Found, Status
from qrun.providers.pasqal import PULSE, WORKLOAD
from qrun.providers.pasqal.envelope import whole
from qrun.record import Handle, Phase

WORDS: Final[Mapping[str, Phase]] = {  # of jobs and workloads
    "PENDING": Phase.LIVE,
    "RUNNING": Phase.LIVE,
    "PAUSED": Phase.LIVE,
    "CANCELING": Phase.LIVE,
    "DONE": Phase.SUCCEEDED,
    "ERROR": Phase.FAILED,
    "TIMED_OUT": Phase.FAILED,
    "CANCELED": Phase.CANCELLED,
}
JOINABLE: Final = frozenset({"PENDING", "RUNNING"})  # an open batch that takes more jobs
TIMES: Final[Mapping[str, str]] = {
    "created": "created_at",
    "started": "start_timestamp",
    "ended": "end_timestamp",
}
KEPT: Final = (  # of a job's or workload's document; links, which are credentials, and sequences stay out
    "id",
    "batch_id",
    "parent_id",
    "project_id",
    "status",
    "runs",
    "variables",
    "errors",
    "created_at",
    "start_timestamp",
    "end_timestamp",
    "creation_order",
    "backend",
    "workload_type",
    "config",
)
LONGEST: Final = 2000  # characters of a message about a failed job

ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MARKER: Final = re.compile(r"qr1[a-z2-7]{26}")
MARK: Final = re.compile(r"qrx[a-z2-7]{26}")

Document = Mapping[str, Any]


def identity(document: Any) -> str:
    """An id becomes a part of addresses and of paths, so it may hold nothing that means something there."""
    found = document.get("id") if isinstance(document, Mapping) else None
    if not isinstance(found, str):
        raise Unexpected("an object has no id", hint="the service may be newer than this qrun")
    if ID.fullmatch(found) is None:
        raise Unexpected(f"an id is {json.dumps(found[:80])}, which is not of the form that ids have")
    return found


def handle(job: Document) -> Handle:
    """`<batch>/<job>`, and a workload's id alone."""
    batch = job.get("batch_id")
    return Handle(identity(job)) if batch is None else Handle(f"{identity({'id': batch})}/{identity(job)}")


def word(document: Document) -> str:
    found = document.get("status")
    if not isinstance(found, str):
        raise Unexpected("an object has no status", hint="the service may be newer than this qrun")
    return found


def ordered(jobs: Sequence[Document]) -> bool:
    """Whether it is told in which order they were created."""
    return all(whole(job.get("creation_order")) is not None for job in jobs)


def stays_open(batch: Document) -> bool:
    """Whether it takes more jobs, or will again."""
    told = batch.get("open")
    opens = told is True or (told is None and batch.get("complete") is False)
    return opens and not WORDS.get(word(batch), Phase.LIVE).final


def in_order(jobs: Sequence[Document]) -> list[Document]:
    """As they were created, where that is told; else as they came."""
    return sorted(jobs, key=lambda job: int(job["creation_order"])) if ordered(jobs) else list(jobs)


def counted(jobs: Sequence[Document]) -> dict[str, int]:
    """How many have which status."""
    found: dict[str, int] = {}
    for job in jobs:
        found[word(job)] = found.get(word(job), 0) + 1
    return found


def counts(batch: Document) -> dict[str, int] | None:
    """The same by the batch's own count; None where it has none."""
    told = batch.get("jobs_count_per_status")
    if not isinstance(told, Mapping):
        return None
    numbers = {str(name): whole(number) for name, number in told.items()}
    return None if None in numbers.values() else {name: number for name, number in numbers.items() if number}


def tags(batch: Document) -> tuple[str, ...]:
    told = batch.get("tags")
    return tuple(tag for tag in told if isinstance(tag, str)) if isinstance(told, list) else ()


def marks(batch: Document) -> tuple[tuple[str, ...], str | None]:
    """All markers, and the experiment's mark."""
    found = tags(batch)
    mark = next((tag for tag in found if MARK.fullmatch(tag)), None)
    return tuple(tag for tag in found if MARKER.fullmatch(tag)), mark


def unmarked(batch: Document) -> tuple[str, ...]:
    return tuple(tag for tag in tags(batch) if not MARKER.fullmatch(tag) and not MARK.fullmatch(tag))


def found(job: Document, batch: Document, *, marker: str | None = None, payload: str | None = None) -> Found:
    """A job of a batch; `marker` is the one that was looked for, where the batch has several."""
    markers, mark = marks(batch)
    status = word(job)
    return Found(
        handle=handle(job),
        marker=marker if marker in markers else next(iter(markers), None),
        mark=mark,
        device=said(batch, "device_type") or None,
        shots=whole(job.get("runs")),
        created=moment(job.get("created_at")) or moment(batch.get("created_at")),
        payload=payload,
        word=status,
        phase=WORDS.get(status),
        kind=PULSE,
        tags=unmarked(batch),
        open=stays_open(batch) if batch else None,
    )


def found_batch(batch: Document) -> Found:
    """The batch itself, however many jobs it has."""
    markers, mark = marks(batch)
    status = word(batch)
    return Found(
        handle=Handle(identity(batch)),
        marker=next(iter(markers), None),
        mark=mark,
        device=said(batch, "device_type") or None,
        created=moment(batch.get("created_at")),
        word=status,
        phase=WORDS.get(status),
        kind=PULSE,
        tags=unmarked(batch),
        open=stays_open(batch),
        members=whole(batch.get("jobs_count")) or 0,
    )


def found_workload(workload: Document, payload: str | None = None) -> Found:
    status = word(workload)
    return Found(
        handle=Handle(identity(workload)),
        device=said(workload, "backend") or None,
        created=moment(workload.get("created_at")),
        payload=payload,
        word=status,
        phase=WORDS.get(status),
        kind=WORKLOAD,
    )


def status(document: Document) -> Status:
    """Of a job or a workload."""
    told = word(document)
    phase = WORDS.get(told)
    if phase is None or not phase.final:
        return live(told)
    message = problems(document.get("errors")) if phase is Phase.FAILED else None
    return Status(phase=phase, word=told, message=message, provided=provided(document))


def live(told: str) -> Status:
    """By its word alone."""
    return Status(phase=WORDS.get(told), word=told, running=told in ("RUNNING", "CANCELING"))


def problems(errors: Any) -> str | None:
    """Why it failed, in the service's words."""
    listed = errors if isinstance(errors, list) else [errors]
    texts = [_problem(each) for each in listed if each]
    return "; ".join(texts)[:LONGEST] or None


def _problem(error: Any) -> str:
    if isinstance(error, str):
        return error
    if isinstance(error, Mapping):
        parts = [str(error[name]) for name in ("code", "message", "description", "detail") if error.get(name)]
        if parts:
            return ": ".join(parts)
    return json.dumps(error, ensure_ascii=False)


def provided(document: Document) -> dict[str, Any]:
    """What is recorded of a job that has ended: times in UTC."""
    times = {name: moment(document.get(field)) for name, field in TIMES.items()}
    return {name: time for name, time in times.items() if time is not None}


def moment(told: Any) -> str | None:
    """A time as RFC 3339 in UTC; None where there is none, or none that can be read."""
    try:
        if isinstance(told, str) and re.fullmatch(r"[0-9]{9,11}(\.[0-9]{1,9})?", told):
            read = datetime.fromtimestamp(float(told), UTC)
        else:
            read = datetime.fromisoformat(told)
        aware = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return aware.isoformat().replace("+00:00", "Z")


def seconds(told: Any) -> float | None:
    """The same time in seconds since 1970."""
    read = moment(told)
    return None if read is None else instant(read)


def kept(document: Document) -> bytes:
    """The document as it is recorded: the same bytes whichever route showed it, and whenever after its end."""
    try:
        return canonical({name: document[name] for name in KEPT if document.get(name) is not None})
    except ValueError as error:
        raise Unexpected(f"a job's document cannot be kept: {error}") from error


def said(document: Any, name: str) -> str:
    value = document.get(name) if isinstance(document, Mapping) else None
    return value if isinstance(value, str) else ""
