"""Jobs with a matrix or runs: each becomes the drafts that it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qrun.manifest import schema
from qrun.manifest.build import Draft
from qrun.manifest.expand import MOST, Combination, Conflict, combinations, filled, job_name, merged
from qrun.manifest.filling import Filler, templates
from qrun.manifest.flaws import Flaws
from qrun.manifest.schema import Path, Verdict
from qrun.manifest.words import show


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A job whose matrix, runs or templates wait until the document is read."""

    key: str
    line: int
    fields: dict[str, Any]
    own: frozenset[str]
    own_options: frozenset[str]

    @property
    def matrix(self) -> dict[str, Any]:
        found: dict[str, Any] = self.fields.get("matrix", {})
        return found

    def draft(self) -> Draft:
        """The entry as a whole, for what is wrong with it."""
        return Draft(key=self.key, base=self.key, line=self.line, fields=self.fields, own=self.own)


class Unfolder:
    """Unfolds the entries of one document and counts what they make, since that has a limit."""

    def __init__(self, filler: Filler, flaws: Flaws) -> None:
        self.filler = filler
        self.flaws = flaws
        self.made = 0

    def drafts(self, entries: Sequence[Draft | Waiting]) -> Iterator[Draft]:
        """The drafts of all entries in order."""
        matrices = self._matrices([entry for entry in entries if isinstance(entry, Waiting)])
        for entry in entries:
            if self.flaws.source.enough:
                return
            if isinstance(entry, Draft):
                yield entry
            elif entry.key in matrices:
                yield from self._unfolded(entry, matrices[entry.key])

    def _matrices(self, entries: Sequence[Waiting]) -> dict[str, dict[str, Any]]:
        """The matrix of each entry, filled in; an entry whose matrix is wrong is left out."""
        values = self.filler.values([({}, templates(entry.matrix)) for entry in entries])
        found: dict[str, dict[str, Any]] = {}
        for entry, known in zip(entries, values, strict=True):
            if self.filler.faults(entry.draft(), {"matrix": entry.matrix}, known, lambda _: {}):
                continue
            matrix = filled(entry.matrix, known)
            verdicts = schema.shapes().matrix.verdicts(matrix, ("matrix",)) if "matrix" in entry.fields else []
            if verdicts:
                self.flaws.fail(entry.draft(), verdicts)
            else:
                found[entry.key] = matrix
        return found

    def _unfolded(self, entry: Waiting, matrix: Mapping[str, Any]) -> Iterator[Draft]:
        fields = {name: value for name, value in entry.fields.items() if name not in ("matrix", "runs")}
        seen: set[str] = set()
        for combination in self._combinations(entry, matrix):
            name = job_name(entry.key, combination)
            if name in seen:
                self._fail(entry, ("matrix",), f"makes {show(name)} twice", "give each a value of its own")
                continue
            seen.add(name)
            draft = Draft(
                key=name,
                base=entry.key,
                line=entry.line,
                fields=fields,
                own=entry.own,
                own_options=entry.own_options,
                combination=combination,
            )
            yield from self._runs(draft, entry) if "runs" in entry.fields else (draft,)

    def _combinations(self, entry: Waiting, matrix: Mapping[str, Any]) -> Sequence[Combination]:
        """None where the matrix is wrong."""
        runs = len(entry.fields.get("runs", " "))
        try:
            found = combinations(matrix, most=(MOST - self.made) // runs) if matrix else [{}]
        except Conflict as conflict:
            self._fail(entry, ("matrix", *conflict.path), conflict.message, conflict.hint)
            return []
        if not found:
            self._fail(entry, ("matrix",), "leaves no job", 'take something out of "exclude"')
        self.made += len(found) * runs
        return found

    def _runs(self, draft: Draft, entry: Waiting) -> Iterator[Draft]:
        """`runs` is one more axis, named run and counted from 1, whose jobs go out together."""
        if "run" in draft.combination:
            self._fail(entry, ("matrix", "run"), '"run" counts the runs', "give the axis another name")
            return
        for place, run in enumerate(entry.fields["runs"]):
            combination = {**draft.combination, "run": place + 1}
            yield replace(
                draft,
                key=job_name(entry.key, combination),
                combination=combination,
                fields=merged(draft.fields, run),
                own=entry.own | run.keys(),
                run=place,
                together=draft.key,
            )

    def _fail(self, entry: Waiting, path: Path, message: str, hint: str | None) -> None:
        self.flaws.fail(entry.draft(), [Verdict(path=path, message=message, hint=hint)])
