"""Which jobs wait for which: the names and patterns of `needs` become the keys of jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from qrun.job import Job
from qrun.manifest.build import Draft
from qrun.manifest.expand import circles
from qrun.manifest.flaws import Flaws
from qrun.manifest.programs import HINTS
from qrun.manifest.schema import Path, Verdict
from qrun.manifest.words import did_you_mean, show

Groups = Mapping[str, Sequence[str]]


def resolve(jobs: list[Job], needs: Sequence[tuple[int, Draft]], flaws: Flaws) -> None:
    """Completes, in place, the jobs that need others; nothing may wait for itself."""
    if not needs:
        return
    groups = _groups((*(job.key for job in jobs), *flaws.failed))
    bases = sorted({name.partition(":")[0] for name in groups})
    known: dict[str, tuple[str, ...]] = {}
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    for place, draft in needs:
        names: dict[str, None] = {}
        for path, word in _wanted(draft.fields["needs"]):
            if word not in known:
                known[word] = _matching(word, groups)
            if not known[word]:
                hint = did_you_mean(word, bases, "there are") if len(flaws.source.flaws) < HINTS else None
                flaws.fail(draft, [Verdict(path=path, message=f"{show(word)} is not a job here", hint=hint)])
            lenient = "needs" not in draft.own or word not in groups
            names |= dict.fromkeys(key for key in known[word] if not (lenient and key == draft.key))
        found = shared.setdefault(tuple(names), tuple(names))
        job = jobs[place]
        jobs[place] = replace(job, conduct=replace(job.conduct, needs=found))
    _check_circles(jobs, {draft.key: draft for _, draft in needs}, flaws)


def _groups(keys: Iterable[str]) -> Groups:
    """For each name that may be needed its jobs: a job's own key, and the key of a matrix."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        groups.setdefault(key, []).append(key)
        if ":" in key:
            groups.setdefault(key.partition(":")[0], []).append(key)
    return groups


def _wanted(needs: str | Sequence[str]) -> Iterator[tuple[Path, str]]:
    if isinstance(needs, str):
        yield ("needs",), needs
        return
    for number, word in enumerate(needs):
        yield ("needs", number), word


def _matching(word: str, groups: Groups) -> tuple[str, ...]:
    """The jobs that a name, the key of a matrix, or a pattern stands for."""
    if word in groups:
        return tuple(groups[word])
    if not any(sign in word for sign in "*?["):
        return ()
    return tuple(key for key, own in groups.items() if key in own and fnmatchcase(key, word))


def _check_circles(jobs: Sequence[Job], drafts: Mapping[str, Draft], flaws: Flaws) -> None:
    for circle in circles({job.key: job.conduct.needs for job in jobs if job.conduct.needs}):
        shown = circle if len(circle) < 9 else [*circle[:4], "…", *circle[-4:]]
        message = f"the jobs wait for each other in a circle: {' → '.join(shown)}"
        verdict = Verdict(path=("needs",), message=message, hint="take one of these needs out")
        flaws.fail(drafts[circle[0]], [verdict])
