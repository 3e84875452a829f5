"""Which jobs a command means: globs over `experiment.key` or `key`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches
from fnmatch import translate
from typing import TYPE_CHECKING, TypeAlias

from qrun.errors import Problem, UsageError
from qrun.render.safe import safe

if TYPE_CHECKING:
    from qrun.manifest import Experiment

Name: TypeAlias = tuple[str, str]  # (experiment, key)


def select(patterns: Sequence[str], known: Iterable[Name]) -> list[Name]:
    """The names that any pattern means, in the order of `known`; UsageError for each pattern that means none.

    A pattern is a name, a glob over names, or the key of a matrix, which means all its jobs.
    """
    names = list(dict.fromkeys(known))
    found: set[Name] = set()
    problems = []
    for pattern in patterns:
        meant = _meant(pattern, names)
        if not meant:
            problems.append(_unknown(pattern, names))
        found.update(meant)
    if problems:
        raise UsageError(*problems)
    return [name for name in names if name in found]


def exactly(patterns: Sequence[str], known: Iterable[Name]) -> set[Name]:
    """Those that a pattern spells out."""
    return {name for name in known if not set(patterns).isdisjoint(_spellings(name))}


def _meant(pattern: str, names: Collection[Name]) -> list[Name]:
    spelled = {name: _spellings(name) for name in names}
    exact = [name for name, forms in spelled.items() if pattern in forms]
    if exact:
        return exact
    family = [name for name, forms in spelled.items() if any(form.startswith(pattern + ":") for form in forms)]
    if family:
        return family
    matches = re.compile(translate(pattern)).fullmatch
    return [name for name, forms in spelled.items() if any(map(matches, forms))]


def _spellings(name: Name) -> tuple[str, str]:
    experiment, key = name
    return (key, f"{experiment}.{key}")


def _unknown(pattern: str, names: Collection[Name]) -> Problem:
    message = f'no job is called "{safe(pattern)[:80]}"'
    forms = [form for name in names for form in _spellings(name)]
    near = get_close_matches(pattern, forms, n=1)
    if near:
        return Problem(message=message, hint=f'did you mean "{safe(near[0])}"?')
    return Problem(message=message, hint='"qrun status" lists the jobs' if names else "there are no jobs")


def keys(patterns: Sequence[str], experiments: Sequence[Experiment]) -> dict[str, frozenset[str]] | None:
    """For each experiment that is meant the keys of its jobs; None where no pattern limits anything."""
    if not patterns:
        return None
    found: dict[str, set[str]] = {}
    for experiment, key in select(patterns, [(e.name, job.key) for e in experiments for job in e.jobs]):
        found.setdefault(experiment, set()).add(key)
    return {name: frozenset(chosen) for name, chosen in found.items()}
