"""Which jobs wait for which: the names and patterns of `needs` become the keys of jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import translate
from typing import Final

from qrun.job import Job
from qrun.manifest.build import Draft
from qrun.manifest.expand import circles
from qrun.manifest.flaws import Flaws
from qrun.manifest.programs import HINTS
from qrun.manifest.schema import Path, Verdict
from qrun.manifest.words import did_you_mean, show

EDGES: Final = 1_000_000  # jobs that all needs of an experiment may stand for
WORK: Final = 10_000_000  # names with which all its patterns may be compared


def resolve(jobs: list[Job], needs: Sequence[tuple[int | None, Draft]], flaws: Flaws) -> None:
    """Completes, in place, the jobs that need others; nothing may wait for itself.

    Each draft comes with the place of its job, None where it is not kept; its needs are looked at all the same.
    """
    if not needs:
        return None
    names = _Names((*(job.key for job in jobs), *flaws.failed))
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    edges = 0
    for place, draft in needs:
        if flaws.source.enough:
            return flaws.source.leave(draft.line)
        found = tuple(_found(draft, names, flaws))
        edges += len(found)
        if edges > EDGES or names.work > WORK:
            message = "with this one, the needs of all jobs stand for too many others"
            verdict = Verdict(path=("needs",), message=message, hint="name fewer jobs, or fewer patterns")
            return flaws.fail(draft, [verdict])
        if place is not None:
            conduct = replace(jobs[place].conduct, needs=shared.setdefault(found, found))
            jobs[place] = replace(jobs[place], conduct=conduct)
    return _check_circles(jobs, {draft.key: draft for _, draft in needs}, flaws)


def _found(draft: Draft, names: _Names, flaws: Flaws) -> Iterable[str]:
    """The jobs that one job needs, each once; words that mean none are told."""
    found: dict[str, None] = {}
    for path, word in _wanted(draft.fields["needs"]):
        meant = names.meant(word)
        if not meant:
            hint = did_you_mean(word, names.bases, "there are") if len(flaws.source.flaws) < HINTS else None
            flaws.fail(draft, [Verdict(path=path, message=f"{show(word)} is not a job here", hint=hint)])
        lenient = "needs" not in draft.own or word not in names.groups
        found |= dict.fromkeys(key for key in meant if not (lenient and key == draft.key))
    return found


class _Names:
    """What may be needed: a job's own key, the key of a matrix, and patterns; `work` counts comparisons with them."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.groups: dict[str, list[str]] = {}
        for key in keys:
            self.groups.setdefault(key, []).append(key)
            if ":" in key:
                self.groups.setdefault(key.partition(":")[0], []).append(key)
        self.keys = [key for key, own in self.groups.items() if key in own]
        self.bases = sorted({name.partition(":")[0] for name in self.groups})
        self.work = 0
        self._known: dict[str, Sequence[str]] = {}

    def meant(self, word: str) -> Sequence[str]:
        if word in self.groups:
            return self.groups[word]
        if word not in self._known:
            self._known[word] = self._matching(word)
        return self._known[word]

    def _matching(self, pattern: str) -> Sequence[str]:
        if not any(sign in pattern for sign in "*?["):
            return ()
        self.work += len(self.keys)
        return tuple(filter(re.compile(translate(pattern)).match, self.keys))


def _wanted(needs: str | Sequence[str]) -> Iterator[tuple[Path, str]]:
    if isinstance(needs, str):
        yield ("needs",), needs
        return
    for number, word in enumerate(needs):
        yield ("needs", number), word


def _check_circles(jobs: Sequence[Job], drafts: Mapping[str, Draft], flaws: Flaws) -> None:
    for circle in circles({job.key: job.conduct.needs for job in jobs if job.conduct.needs}):
        shown = circle if len(circle) < 9 else [*circle[:4], "…", *circle[-4:]]
        message = f"the jobs wait for each other in a circle: {' → '.join(shown)}"
        verdict = Verdict(path=("needs",), message=message, hint="take one of these needs out")
        flaws.fail(drafts[circle[0]], [verdict])
