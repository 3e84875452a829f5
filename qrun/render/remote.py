"""The jobs of an account, as its provider tells them, beside what this project knows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from qrun.provider import Found
from qrun.render.safe import safe, shown
from qrun.render.words import job_name

HEADERS: Final = ("ID", "STATUS", "DEVICE", "KIND", "SHOTS", "CREATED", "OPEN", "NAME", "JOB")
OF_BATCHES: Final = ("ID", "STATUS", "DEVICE", "JOBS", "CREATED", "OPEN", "TAGS", "JOB")
CUT: Final = 40  # characters of a name
FEW: Final = 3  # jobs of a batch that are named

Name = tuple[str, str]  # (experiment, key)


def rows(jobs: Iterable[tuple[Found, Name | None]]) -> list[tuple[str, ...]]:
    return [_row(found, name) for found, name in jobs]


def _row(found: Found, name: Name | None) -> tuple[str, ...]:
    title = found.name if len(found.name) <= CUT else found.name[:CUT] + "…"
    return (
        safe(found.handle),
        safe(found.word or found.phase or ""),
        safe(found.device or ""),
        safe(found.kind or ""),
        str(found.shots) if found.shots is not None else "",
        safe(found.created or ""),
        "open" if found.open else "",
        shown(title),
        job_name(*name) if name is not None else "",
    )


def job_json(found: Found, name: Name | None) -> dict[str, Any]:
    """One entry of `jobs`; `phase` is null where we do not know the provider's word."""
    return {
        "handle": found.handle,
        "word": found.word,
        "phase": str(found.phase) if found.phase is not None else None,
        "device": found.device,
        "kind": found.kind,
        "shots": found.shots,
        "created": found.created,
        "name": found.name,
        "job": _job(name),
        **({"open": found.open} if found.open is not None else {}),
    }


def batch_rows(batches: Iterable[tuple[Found, Sequence[Name]]]) -> list[tuple[str, ...]]:
    return [_batch_row(found, names) for found, names in batches]


def _batch_row(found: Found, names: Sequence[Name]) -> tuple[str, ...]:
    first = [job_name(*name) for name in names[:FEW]]
    more = [f"and {len(names) - FEW} more"] if len(names) > FEW else []
    return (
        safe(found.handle),
        safe(found.word or ""),
        safe(found.device or ""),
        str(found.members),
        safe(found.created or ""),
        "open" if found.open else "",
        shown(" ".join(found.tags)),
        " ".join([*first, *more]),
    )


def batch_json(found: Found, names: Sequence[Name]) -> dict[str, Any]:
    """One entry of `batches`; `jobs` are those of this project."""
    return {
        "container": found.handle,
        "word": found.word,
        "phase": str(found.phase) if found.phase is not None else None,
        "open": found.open,
        "device": found.device,
        "size": found.members,
        "created": found.created,
        "tags": found.tags,
        "jobs": [_job(name) for name in names],
    }


def answer_json(handle: str, words: str | None, name: Name | None) -> Mapping[str, Any]:
    """What became of one request to cancel; `message` is the provider's own where it did not agree."""
    return {"handle": handle, "cancelled": words is None, "message": words, "job": _job(name)}


def answer(handle: str, words: str | None) -> str:
    return f"{safe(handle)}: cancelled" if words is None else f"{safe(handle)}: not cancelled: {shown(words)}"


def _job(name: Name | None) -> str | None:
    """As one types it."""
    if name is None:
        return None
    experiment, key = name
    return key if key == experiment else f"{experiment}.{key}"
