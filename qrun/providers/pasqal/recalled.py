"""A job of the cloud as a manifest would say it: the way back from what was sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qrun.errors import Unexpected
from qrun.foreign import parse
from qrun.providers.pasqal import PULSE, WORKLOAD
from qrun.providers.pasqal.sending import plain
from qrun.providers.pasqal.wire import said, unmarked

Document = Mapping[str, Any]


def fields(job: Document, batch: Document) -> dict[str, Any]:
    """The fields of a manifest."""
    options: dict[str, Any] = {}
    if isinstance(batch.get("configuration"), Mapping):
        options["configuration"] = {k: v for k, v in batch["configuration"].items() if v is not None}
    if batch.get("backend_configuration"):
        options["backend_configuration"] = _backend(batch["backend_configuration"])
    told = {
        "device": said(batch, "device_type") or _built_in(batch) or _needed(batch, "device_type"),
        "kind": PULSE,
        "shots": job.get("runs"),
        "params": plain(job.get("variables")),
        "options": options,
        "tags": list(unmarked(batch)),
    }
    return {name: value for name, value in told.items() if value not in (None, {}, [])}


def _built_in(batch: Document) -> str:
    """A batch that names no device type runs on the device that its sequence was made for."""
    try:
        device = parse(said(batch, "sequence_builder").encode()).get("device")
    except (ValueError, RecursionError, AttributeError):
        return ""
    return device if isinstance(device, str) else said(device, "name")


def _backend(told: Any) -> Any:
    """It goes out as a text, and stands in a manifest as a map."""
    try:
        return parse(told.encode()) if isinstance(told, str) else told
    except (ValueError, RecursionError) as error:
        raise Unexpected(f"the backend_configuration that was sent is not usable JSON: {error}") from error


def programs(job: Document, batch: Document) -> tuple[tuple[str, bytes], ...]:
    """The bytes that were sent. A job may have a sequence of its own, and has no variables then."""
    own = said(job, "sequence") if not job.get("variables") else ""
    text = own or said(batch, "sequence_builder")
    return (("sequence.json", text.encode()),) if text else ()


def workload(document: Document) -> dict[str, Any]:
    """Its configuration comes back as data, not as the bytes that were written: they cannot be told."""
    return {
        "device": _needed(document, "backend"),
        "kind": WORKLOAD,
        "options": {"workload_type": _needed(document, "workload_type")},
    }


def _needed(document: Document, name: str) -> str:
    found = said(document, name)
    if not found:
        raise Unexpected(f'the job has no "{name}"', hint="the service may be newer than this qrun")
    return found
