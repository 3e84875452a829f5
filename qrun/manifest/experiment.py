"""What a load gives: experiments with their jobs; and what is filled in from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qrun.job import NOTHING, Job

__all__ = ["Experiment", "Values"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """What the command line puts in place of a manifest's `vars`: `texts` from --var, `typed` from the other two.

    Where both name a variable, `texts` is taken.
    """

    texts: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    typed: Mapping[str, Any] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """One document of a manifest. `file` is as the user typed it, `path` relative to the root with forward slashes.

    `jobs` are in the manifest's order, those of a matrix or of runs at their key's place. `sha256` is of the whole
    file's bytes; `variables` are the values that templates saw.
    """

    name: str
    file: str
    path: str
    sha256: str
    line: int
    jobs: Sequence[Job] = field(repr=False)
    variables: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    budget: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
