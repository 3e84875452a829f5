"""What was found by convention, and the addresses in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from qrun.errors import Problem, SettingsError
from qrun.job import NOTHING
from qrun.settings.hosts import ADDRESS, LOOPBACK
from qrun.settings.shape import Walk, project_schema
from qrun.settings.words import masked, show


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """`said` is where, in words, None where nobody says who asks. `problem` is why something is not here; what is here
    counts all the same.
    """

    said: str | None
    settings: Mapping[str, Any] = field(default_factory=lambda: NOTHING, repr=False)
    problem: Problem | None = None


def gathered(said: str | None, settings: Iterator[tuple[str, Any]]) -> Found:
    """All up to the first problem."""
    kept: dict[str, Any] = {}
    try:
        kept.update(settings)
    except SettingsError as error:
        return Found(said=said, settings=kept, problem=error.problems[0])
    return Found(said=said, settings=kept)


def address(value: str, place: Problem) -> str:
    """The address of a cloud as the settings files may hold it; `place` is where it is said, for a SettingsError."""
    value = value.strip()
    form = project_schema()["$defs"]["url"]
    found = re.fullmatch(ADDRESS, value) if Walk(project_schema(), own=True).fits(form, value) else None
    if found is None or not 0 < int(found[3] or 1) < 65536:
        raise SettingsError(replace(place, message=f"{masked(value)} is not {form['x-means']}"))
    if found[1] == "http" and not re.fullmatch(LOOPBACK, found[2].lower()):
        message = f"{show(found[2])} may only be reached over https"
        raise SettingsError(replace(place, message=message, hint="write https://"))
    return value
