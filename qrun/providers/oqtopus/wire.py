"""What is said to an OQTOPUS cloud, and how its answers are understood; nothing here asks anybody.

A job there is a document with a status word. It is registered first, which gives its id and starts nothing; then what
is to be run is uploaded as a zip of one `input.json`; then the rest is submitted under that id, and only now it queues.
Quirks:

- A name and a description are all that a client may write and search for, and only once: the marks end the description.
- `transpiler_info: {}` comes back as the server's default, so the two count as the same.
- Members that are null are left out. Times may lack their offset; they are UTC.
- `shots` of an sse job is 1 and means nothing.
- A registered job that is cancelled has no type, and a document without a time of submission.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from qrun.canonical import canonical, digest
from qrun.clock import instant
from qrun.errors import Problem, Rejected, Unexpected
from qrun.http import Reply, Words, parse
from qrun.job import Job
from qrun.provider import Found, Status
from qrun.providers.oqtopus import NAME
from qrun.record import Handle, Phase

WORDS: Final[Mapping[str, Phase]] = {
    "registered": Phase.LIVE,  # of a job that was submitted; alone it is no job yet (`started`)
    "submitted": Phase.LIVE,
    "ready": Phase.LIVE,
    "running": Phase.LIVE,
    "cancelling": Phase.LIVE,
    "succeeded": Phase.SUCCEEDED,
    "failed": Phase.FAILED,
    "cancelled": Phase.CANCELLED,
}
TYPES: Final[Mapping[str, str]] = {
    "sampling": "sampling",
    "multi": "multi_manual",
    "estimation": "estimation",
    "sse": "sse",
}
KINDS: Final[Mapping[str, str]] = {type_: kind for kind, type_ in TYPES.items()}
INFOS: Final = ("transpiler_info", "simulator_info", "mitigation_info")
TRANSPILED: Final[Mapping[str, Any]] = {"transpiler_lib": "qiskit", "transpiler_options": {"optimization_level": 1}}
TIMES: Final[Mapping[str, str]] = {
    "submitted": "submitted_at",
    "ready": "ready_at",
    "running": "running_at",
    "ended": "ended_at",
}

SHOTS: Final = 10_000_000
DEVICE: Final = 64  # characters of a device's id
DESCRIPTION: Final = 1024  # characters, both marks among them
SCRIPT: Final = 10 * 2**20  # characters of an sse program in base64 stay below this
UPLOAD: Final = 50 * 2**20  # bytes of a zip that every server takes

MARKS: Final = re.compile(r"(?:^|\s)(qr1[a-z2-7]{26}) (qrx[a-z2-7]{26})\s*$")
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


# --- what we say ------------------------------------------------------------------------------------------------------


def check(job: Job) -> None:
    """Raises Rejected for what can be seen to be wrong before anything is sent."""
    if job.kind != "multi" and len(job.programs) > 1:
        raise refused(job, "only one program fits", field="program", hint="use kind: multi")
    if job.kind != "sse" and not 1 <= (job.shots or 0) <= SHOTS:
        raise refused(job, f"{job.shots} is not a number of shots from 1 to {SHOTS}", field="shots")
    if len(job.target.device) > DEVICE:
        raise refused(job, f"a device's id has {DEVICE} characters at most", field="device")
    if job.kind == "sse":
        _check_script(job)


def _check_script(job: Job) -> None:
    (program,) = job.programs
    if program.suffix != "py":
        raise refused(job, f'"{program.path}" is not a Python program', field="program", hint="its name ends in .py")
    if (program.size + 2) // 3 * 4 >= SCRIPT:
        message = f"{program.size} bytes are too many: in base64 they must stay below {SCRIPT // 2**20} MiB"
        raise refused(job, message, file=program.path)


def payload(job: Job, programs: Mapping[str, bytes]) -> dict[str, Any]:
    """`input.json`: what runs, and what is measured."""
    texts = [_text(job, program.path, programs[program.sha256]) for program in job.programs]
    match job.kind:
        case "sse":
            return {"sse_program": texts[0]}
        case "estimation":
            return {"program": texts, "operator": [{"pauli": pauli, "coeff": coeff} for pauli, coeff in job.observable]}
        case _:
            return {"program": texts}


def _text(job: Job, path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise refused(job, "the program is not UTF-8 text", file=path, line=line) from None


def metadata(job: Job) -> dict[str, Any]:
    """The body of the submit, all but the description, whose marks are known later."""
    return {
        "name": str(job.options.get("name", job.name[:NAME])),
        "device_id": job.target.device,
        "job_type": TYPES[job.kind],
        "shots": 1 if job.kind == "sse" else job.shots,
        **{info: job.options.get(info, {}) for info in INFOS},
    }


def described(text: str, marker: str, mark: str) -> str:
    """The user's text, cut where it must be, and both marks."""
    marks = f"{marker} {mark}"
    room = DESCRIPTION - len(marks) - 1
    kept = text.strip() if len(text.strip()) <= room else text.strip()[: room - 1] + "…"
    return f"{kept} {marks}" if kept else marks


def fingerprint(sent: Mapping[str, Any], content: Any) -> str | None:
    """What tells one job from another, of what we send and of what the server gives back: label and name left out.

    None for a job of a shape that we would never send.
    """
    told = {
        "device": sent.get("device_id"),
        "job_type": sent.get("job_type"),
        "shots": sent.get("shots"),
        "payload": content,
        **{info: _info(sent, info) for info in INFOS},
    }
    try:
        return digest({**told, "transpiler_info": told["transpiler_info"] or dict(TRANSPILED)})
    except (ValueError, TypeError, RecursionError):
        return None


def _info(sent: Mapping[str, Any], name: str) -> Any:
    value = sent.get(name)
    return {} if value is None else value


def refused(job: Job, message: str, *, field: str | None = None, hint: str | None = None, **place: Any) -> Rejected:
    where = None if field is None else f"{job.key}.{field}"
    return Rejected(Problem(message=message, field=where, hint=hint, **place), members=(job.key,))


# --- what they say ----------------------------------------------------------------------------------------------------


def words(reply: Reply) -> Words | None:
    """What the cloud says itself, of an error or of what was done; None for anything else, such as a proxy's page."""
    try:
        told = json.loads(reply.content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    code = told.get("message_code")
    said = told.get("message", told.get("detail"))
    text = "; ".join(map(_flaw, said)) if isinstance(said, list) else said
    if not isinstance(text, str) or not text:
        return None
    return Words(code=code if isinstance(code, str) else None, message=text)


def _flaw(told: Any) -> str:
    """One entry of a 422: where in the request, and what."""
    if not isinstance(told, dict):
        return str(told)
    place = ".".join(str(part) for part in told.get("loc") or () if part != "body")
    return f"{place}: {told.get('msg')}" if place else str(told.get("msg"))


def parsed(data: bytes, *, of: str) -> Any:
    """JSON by the same strict rules as an answer; raises Unexpected."""
    try:
        return parse(data)
    except ValueError as error:
        words = str(error)[:200]
    raise Unexpected(f"{of} is not usable JSON: {words}")


def keepable(data: bytes) -> Any:
    """A JSON document that a record can hold; None for anything else."""
    try:
        told = parsed(data, of="a description")
        canonical(told)
    except (Unexpected, ValueError):
        return None
    return told


def member(document: Any, name: str, shape: type[Any] = str, *, of: str) -> Any:
    """A member that must be there; raises Unexpected."""
    value = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(value, shape):
        raise Unexpected(f'{of} has no "{name}" as it should', hint="the service may be newer than this qrun")
    return value


def handle(document: Any) -> Handle:
    found = member(document, "job_id", of="a job")
    if ID.fullmatch(found) is None:
        raise Unexpected(f"a job's id is {json.dumps(found[:80])}, which is not of the form that ids have")
    return Handle(found)


def marks(description: str) -> tuple[str | None, str | None]:
    """Marker and mark, which end the description; what a user wrote before them is never taken for one."""
    found = MARKS.search(description)
    return (found[1], found[2]) if found else (None, None)


def unmarked(description: str) -> str:
    return MARKS.sub("", description)


def submitted(document: Mapping[str, Any]) -> bool:
    """Whether it was ever asked to run. A registered job may be cancelled, and has none of these members then."""
    word = document.get("status")
    never = word == "cancelled" and not any(document.get(name) for name in ("submitted_at", "name", "description"))
    return word != "registered" and not never


def found(document: Mapping[str, Any], payload: str | None = None) -> Found:
    description = said(document, "description")
    marker, mark = marks(description)
    word = member(document, "status", of="a job")
    kind = KINDS.get(said(document, "job_type"))
    shots = document.get("shots")
    return Found(
        handle=handle(document),
        marker=marker,
        mark=mark,
        device=said(document, "device_id") or None,
        shots=shots if isinstance(shots, int) and kind != "sse" else None,
        created=moment(document.get("submitted_at")),
        payload=payload,
        word=word,
        started=submitted(document),
        phase=WORDS.get(word),
        kind=kind,
        name=said(document, "name"),
        description=description,
    )


def status(document: Mapping[str, Any]) -> Status:
    word = member(document, "status", of="a job")
    phase = WORDS.get(word)
    if phase is None or not phase.final:
        return Status(phase=phase, word=word, running=word == "running")
    message = said(document.get("job_info") or {}, "message") or None
    return Status(phase=phase, word=word, message=message, provided=provided(document))


def provided(document: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a job that has ended: times in UTC, and how many seconds it ran."""
    times = {name: moment(document.get(field)) for name, field in TIMES.items()}
    ran = document.get("execution_time")
    told: dict[str, Any] = {name: time for name, time in times.items() if time is not None}
    if isinstance(ran, (int, float)) and not isinstance(ran, bool):
        told["execution_time"] = ran
    return told


def moment(text: Any) -> str | None:
    """A time as RFC 3339 in UTC; None where there is none, or none that can be read."""
    try:
        read = datetime.fromisoformat(text)
        aware = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
    return aware.isoformat().replace("+00:00", "Z")


def seconds(text: Any) -> float | None:
    """The same time in seconds since 1970."""
    read = moment(text)
    return None if read is None else instant(read)


def kept(document: Mapping[str, Any]) -> bytes:
    """The job's document as it is recorded: links are credentials, so of `job_info` only the message stays."""
    told = document.get("job_info")
    info = {"message": told["message"]} if isinstance(told, Mapping) and told.get("message") is not None else {}
    try:
        return canonical({**document, "job_info": info})
    except ValueError as error:
        raise Unexpected(f"a job's document cannot be kept: {error}") from error


def said(document: Any, name: str) -> str:
    value = document.get(name) if isinstance(document, Mapping) else None
    return value if isinstance(value, str) else ""
