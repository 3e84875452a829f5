"""A results directory in memory: facts survive the process, and nothing else does."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from qrun.errors import StoreError
from qrun.fact import Fact, Fetched, Intended, fact_from_json, fact_to_json, fold
from qrun.job import Program
from qrun.record import Download, Output, Record, Records


class Killed(BaseException):
    """The process died here."""


class Shelf:
    """Every fact goes through JSON and back, as the journal does it. `reopened` is what the next process sees."""

    def __init__(self, project: str | None = "p1", experiment: str = "exp") -> None:
        self.facts: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.snapshots: dict[str, bytes] = {}
        self.records = Records(project=project, experiment=experiment)
        self.rescued: list[Fact] = []
        self.published = 0
        self.full_after: int | None = None
        self.kill_at: int | None = None  # the process dies at this write, counted from now
        self.kill_after_write = False

    def note(self, *facts: Fact) -> None:
        dies = self.kill_at == 0
        if self.kill_at is not None:
            self.kill_at -= 1
        if dies and not self.kill_after_write:
            raise Killed
        if self.full_after is not None and len(self.facts) + len(facts) > self.full_after:
            raise StoreError("no space left on the disk", hint="free some and run again")
        for fact in facts:
            raw = fact_to_json(fact)
            self.facts.append(copy.deepcopy(raw))
            fold(self.records, fact_from_json(raw))
        if dies:
            raise Killed

    def reopened(self) -> Shelf:
        fresh = Shelf(self.records.project, self.records.experiment)
        fresh.facts, fresh.files = list(self.facts), dict(self.files)
        for raw in fresh.facts:
            fold(fresh.records, fact_from_json(raw))
        return fresh

    def keep_snapshot(self, data: bytes) -> str:
        sha = sha256(data).hexdigest()
        self.snapshots[sha] = data
        return sha

    def keep_program(self, program: Program, data: bytes) -> None:
        assert sha256(data).hexdigest() == program.sha256
        self.files[f"programs/{program.sha256}"] = data

    def keep_outputs(self, downloads: Sequence[Download]) -> list[Output]:
        for d in downloads:
            self.files.setdefault(f"{d.key}/{d.digest}/{d.attempt}/{d.name}", d.data)
        return [Output(name=d.name, sha256=sha256(d.data).hexdigest(), size=len(d.data)) for d in downloads]

    def missing(self, record: Record) -> bool:
        last = record.last
        assert last is not None
        return record.outputs is not None and any(
            output.name != "results.json" and f"{record.key}/{record.digest}/{last.n}/{output.name}" not in self.files
            for output in record.outputs
        )

    def job(self, key: str, digest: str) -> Mapping[str, Any]:
        for raw in reversed(self.facts):
            fact = fact_from_json(raw)
            if isinstance(fact, Intended):
                for member, job in zip(fact.members, fact.jobs, strict=True):
                    if member.digest == digest:
                        return job
        raise StoreError(f'no job for "{key}"')

    def programs(self, key: str, digest: str) -> Mapping[str, bytes]:
        named = (program["sha256"] for program in self.job(key, digest).get("program", ()))
        return {sha: self.files[f"programs/{sha}"] for sha in named}

    def results(self, key: str) -> Mapping[str, Any] | None:
        found = [f for f in map(fact_from_json, self.facts) if isinstance(f, Fetched) and f.key == key]
        return found[-1].results if found else None

    def publish(self, *, rest: bool, now: bool = False) -> None:
        self.published += rest

    def rescue(self, facts: Sequence[Fact]) -> str:
        self.rescued.extend(facts)
        return "qrun-errored-test.json"
