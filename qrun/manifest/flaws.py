"""What is wrong with the jobs of one document, noted with all places where it may be written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from qrun.errors import Problem
from qrun.manifest import words
from qrun.manifest.build import Draft
from qrun.manifest.schema import Path, Verdict
from qrun.manifest.source import Flaw, Source
from qrun.manifest.yaml import Document

TOLD: Final = 1000  # flaws of one file that are told in full; nobody reads more, and each takes its time
NONE: Final[frozenset[Any]] = frozenset()


class Flaws:
    """`failed` are the jobs that are not kept, `fields` those of a wrong form by their job's key in the manifest."""

    def __init__(self, source: Source, document: Document, short: bool) -> None:
        self.source = source
        self.document = document
        self.short = short
        self.inherited = False  # whether the jobs have defaults
        self.failed: dict[str, None] = {}
        self.fields: dict[str, frozenset[Any]] = {}
        self._told: set[tuple[Path, str | None]] = set()

    @property
    def many(self) -> bool:
        return len(self.source.flaws) >= TOLD

    def add(self, path: Path, message: str, hint: str | None = None, *, at_key: bool = False) -> None:
        self._add((path,), Verdict(path=path, message=message, hint=hint, at_key=at_key))

    def roughly(self, path: Path, line: int, message: str, hint: str | None = None) -> None:
        """At the line of the job, without a search for the place."""
        self.source.found.append(
            Problem(file=self.source.file, line=line, field=words.field(path) or None, message=message, hint=hint)
        )

    def spoil(self, key: str, fields: frozenset[Any]) -> None:
        """Notes the fields of a job that cannot be used, so that it is looked at further but not kept."""
        self.fields[key] = self.fields.get(key, NONE) | fields

    def fail(self, draft: Draft, verdicts: Sequence[Verdict]) -> None:
        """Notes what is wrong with a job, which is then not kept."""
        self.failed[draft.key] = None
        for verdict in verdicts:
            if draft.base in self.fields and not verdict.path:
                continue  # what is missing may be what is misspelt
            cause = (self._origin(draft, verdict.path), verdict.message if verdict.at_key else None)
            if cause in self._told:
                continue
            self._told.add(cause)
            if self.many:
                path = (*self._base(draft), *verdict.path)
                self.roughly(path, draft.line, verdict.message, verdict.hint)
            else:
                self._add(self._paths(draft, verdict.path), verdict)

    def _paths(self, draft: Draft, path: Path) -> tuple[Path, ...]:
        """Where this may be written, the most specific place first."""
        base = self._base(draft)
        paths: list[Path] = [(*base, *path)]
        if draft.run is not None and path:
            paths.insert(0, (*base, "runs", draft.run, *path))
        if self.inherited and path:
            paths.append(("defaults", *path))
        return tuple(paths)

    def _origin(self, draft: Draft, path: Path) -> Path:
        """Where the cause is written: several jobs may have it from one place."""
        match path:
            case ("options", name, *_):
                inherited = self.inherited and name not in draft.own_options
            case (name, *_):
                inherited = self.inherited and name not in draft.own
            case _:
                inherited = False
        if draft.run is not None and not inherited:
            return (*self._base(draft), "runs", draft.run, *path)
        return ("defaults", *path) if inherited else (*self._base(draft), *path)

    def _base(self, draft: Draft) -> Path:
        return () if self.short else ("jobs", draft.base)

    def _add(self, paths: tuple[Path, ...], verdict: Verdict) -> None:
        self.source.flaws.append(
            Flaw(
                document=self.document.index,
                paths=paths,
                message=verdict.message,
                hint=verdict.hint,
                at_key=verdict.at_key,
            )
        )
