"""What happened, told as it happens: small frozen values that renderers fold into text, JSON lines or a live table.

Each class is one `type` of `apply -o jsonl`; its fields are the line's fields and a public interface.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """The first line of a stream."""

    version: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """An experiment was opened: how many steps there are to take, how many jobs rest already."""

    experiment: str
    steps: int
    resting: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """The provider took the job."""

    experiment: str
    job: str
    attempt: int
    handle: str
    marker: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Adopted:
    """A job that exists already was found and taken in instead of a second submit."""

    experiment: str
    job: str
    attempt: int
    handle: str
    found: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """The provider refused the job: proof that nothing was started."""

    experiment: str
    job: str
    attempt: int
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Unclear:
    """Sent, and the answer was lost, or an earlier run ended between its intent and the answer."""

    experiment: str
    job: str
    attempt: int
    marker: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Searching:
    """The provider is searched for a marker; `again_in` is for how many seconds at most it is searched now and then."""

    experiment: str
    job: str
    marker: str
    again_in: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Absent:
    """It is proven that the attempt made no job."""

    experiment: str
    job: str
    attempt: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A job went from the queue to the machine."""

    experiment: str
    job: str
    word: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rested:
    """A job came to a final phase."""

    experiment: str
    job: str
    attempt: int
    phase: str
    word: str
    message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """The outputs of a job are on disk."""

    experiment: str
    job: str
    outputs: tuple[str, ...]
    counts: tuple[tuple[str, int], ...] = ()  # the most frequent outcomes, at most eight


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrying:
    experiment: str
    job: str
    attempt: int
    of: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """A job for which nothing is done, and why."""

    experiment: str
    job: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Renamed:
    """A job goes on under a new name; nothing is run again."""

    experiment: str
    job: str
    formerly: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Relabelled:
    experiment: str
    job: str
    where: str  # "provider and record", or "record" where the provider cannot


@dataclass(frozen=True, kw_only=True, slots=True)
class Cancelling:
    experiment: str
    job: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Warned:
    """Something to know that stops nothing: an unknown word of the provider, a job that no record knows."""

    experiment: str
    message: str
    job: str | None = None
    word: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """An error that stops the jobs of one connection, or one request that failed."""

    experiment: str
    message: str
    code: str
    connection: str | None = None
    job: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The last line of a stream: how many jobs are in each phase, and the exit code."""

    exit: int
    phases: tuple[tuple[str, int], ...]


Event: TypeAlias = (
    Version
    | Started
    | Sent
    | Adopted
    | Refused
    | Unclear
    | Searching
    | Absent
    | Running
    | Rested
    | Fetched
    | Retrying
    | Held
    | Renamed
    | Relabelled
    | Cancelling
    | Warned
    | Failed
    | Summary
)
Emit: TypeAlias = Callable[[Event], None]

PAIRS: Final = frozenset({"phases", "counts"})  # tuples of pairs that are a map in JSON


def word(event: Event) -> str:
    """The event's `type` in JSON."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


def to_json(event: Event) -> dict[str, Any]:
    """One line of the stream; what is None is left out."""
    line: dict[str, Any] = {"type": word(event)}
    for item in fields(event):
        value = getattr(event, item.name)
        if value is not None:
            line[item.name] = dict(value) if item.name in PAIRS else value
    return line
