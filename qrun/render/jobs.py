"""Jobs with their phases: the rows of `status`, and the entries of every document that tells how jobs stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from qrun.job import Job
from qrun.record import Phase, Record
from qrun.render.safe import safe, shown
from qrun.render.words import job_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How one job stands now. `remark` says what is held or missing, or why it ended as it did."""

    experiment: str
    key: str
    job: Job | None
    record: Record | None
    held: str | None = None
    missing: bool = False

    @property
    def phase(self) -> Phase:
        return self.record.phase if self.record is not None else Phase.ABSENT

    @property
    def remark(self) -> str:
        last = self.record.last if self.record is not None else None
        if self.held is not None:
            return f"held: {self.held}"
        if self.missing:
            return "its outputs are not here"
        if self.job is None:
            return "no longer in the manifest"
        return (last.message or "") if last is not None and self.phase is not Phase.SUCCEEDED else ""


def rows(standings: Iterable[Standing]) -> list[tuple[str, ...]]:
    return [_row(standing) for standing in standings]


def _row(standing: Standing) -> tuple[str, ...]:
    job, record = standing.job, standing.record
    last = record.last if record is not None else None
    where = f"{job.target.connection}/{job.target.device}" if job is not None else _place(record)
    return (
        job_name(standing.experiment, standing.key),
        _phase(standing, last.word if last is not None else None),
        safe(where),
        str(job.shots) if job is not None and job.shots is not None else "",
        str(last.n) if last is not None else "",
        safe(last.handle) if last is not None and last.handle and not _local(standing) else "",
        shown(standing.remark) if standing.remark else "",
    )


def _phase(standing: Standing, word: str | None) -> str:
    """With the provider's own word where that adds something; of what has succeeded the lock keeps none."""
    adds = word and standing.phase is not Phase.SUCCEEDED and word.lower() not in {str(phase) for phase in Phase}
    return f"{standing.phase} ({safe(word)})" if adds else str(standing.phase)


def _local(standing: Standing) -> bool:
    record = standing.record
    return record is not None and record.provider == "local"


def _place(record: Record | None) -> str:
    return f"{record.provider}/{record.device}" if record is not None else ""


def counts(standings: Iterable[Standing]) -> dict[str, int]:
    """How many wanted jobs are in each phase, those that are held apart, in the order of a job's life; all jobs where
    none is wanted, as of what was imported.
    """
    every = list(standings)
    counted = [s for s in every if s.job is not None] or every
    found = Counter("held" if s.held is not None else str(s.phase) for s in counted)
    order = [*(str(phase) for phase in Phase), "held"]
    return {word: found[word] for word in order if found[word]}


def job_json(standing: Standing) -> dict[str, Any]:
    """One entry of `jobs`."""
    job, record = standing.job, standing.record
    last = record.last if record is not None else None
    entry: dict[str, Any] = {
        "job": standing.key,
        "phase": str(standing.phase),
        "word": last.word if last is not None else None,
        "provider": job.target.provider if job is not None else record.provider if record is not None else "",
        "device": job.target.device if job is not None else record.device if record is not None else "",
        "handle": last.handle if last is not None else None,
        "attempt": last.n if last is not None else 0,
        "digest": job.digest if job is not None else record.digest if record is not None else "",
        "outputs": outputs_json(record),
    }
    return entry | _remarks(standing)


def _remarks(standing: Standing) -> dict[str, Any]:
    last = standing.record.last if standing.record is not None else None
    remarks: dict[str, Any] = {
        "message": last.message if last is not None else None,
        "held": standing.held,
        "missing": standing.missing or None,
        "wanted": False if standing.job is None else None,
    }
    return {name: value for name, value in remarks.items() if value is not None}


def outputs_json(record: Record | None) -> list[Mapping[str, Any]]:
    found = record.outputs if record is not None else None
    return [{"name": output.name, "sha256": output.sha256, "size": output.size} for output in found or ()]
