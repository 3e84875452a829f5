"""What did run: the attempts of each (key, digest), what came of them, and how two views of them become one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final, NewType

from qrun.clock import instant
from qrun.errors import StoreError
from qrun.job import NOTHING

Handle = NewType("Handle", str)  # the provider's name for one job: `<id>`, `<batch>/<job>` or `<job>#<i>`


class Phase(StrEnum):
    ABSENT = "absent"
    INTENT = "intent"
    UNCERTAIN = "uncertain"
    LIVE = "live"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL: Final = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.LOST})

# Within one attempt number, what is further along stands (DESIGN §6).
RANK: Final[Mapping[Phase, int]] = {
    Phase.ABSENT: 0,
    Phase.INTENT: 1,
    Phase.UNCERTAIN: 2,
    Phase.LIVE: 3,
    Phase.SUCCEEDED: 4,
    Phase.FAILED: 4,
    Phase.CANCELLED: 4,
    Phase.LOST: 4,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One submission of one job. `sent` is the wall time of the intent (RFC 3339, UTC).

    `step` and `container` say how it went out, `payload` is the SHA-256 of this member's part of what was sent; with
    the marker they are all that recovery needs. `noted` holds what a submit of several steps made durable on its way.
    """

    n: int
    marker: str
    phase: Phase
    handle: Handle | None = None
    connection: str = ""
    sent: str | None = None
    step: str = "create"
    container: Handle | None = None
    payload: str | None = None
    noted: Mapping[str, str] = NOTHING
    word: str | None = None  # the provider's own word for the phase
    message: str | None = None  # the provider's own words, or why we ended it


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """One file of a result; `name` is ours, never the server's."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """The bytes of one output of an attempt, on their way to disk."""

    key: str
    digest: str
    attempt: int
    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """All attempts of one (key, digest), in the order of their numbers."""

    key: str
    digest: str
    digest_without_site: str
    provider: str
    device: str
    site: str | None = None
    attempts: tuple[Attempt, ...] = ()
    outputs: tuple[Output, ...] | None = None  # None until fetched
    formerly: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str = ""
    accepted: bool = False  # the user takes the outcome as it is

    @property
    def phase(self) -> Phase:
        return self.attempts[-1].phase if self.attempts else Phase.ABSENT

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def handle(self) -> Handle | None:
        return self.attempts[-1].handle if self.attempts else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One job inside a submission."""

    key: str
    digest: str
    attempt: int
    payload: str | None = None


@dataclass(kw_only=True, slots=True)
class Records:
    """All records of one experiment: every digest that a key ever had. Only `fold` and the store change it."""

    project: str | None
    experiment: str
    by_key: dict[str, dict[str, Record]] = field(default_factory=dict)
    _members: dict[str, set[tuple[str, str]]] | None = field(default=None, repr=False)  # marker -> (key, digest)

    def get(self, key: str, digest: str) -> Record | None:
        return self.by_key.get(key, {}).get(digest)

    def put(self, record: Record) -> None:
        self.by_key.setdefault(record.key, {})[record.digest] = record
        if self._members is not None:
            for attempt in record.attempts:
                self._members.setdefault(attempt.marker, set()).add((record.key, record.digest))

    def drop(self, key: str, digest: str) -> None:
        lines = self.by_key.get(key, {})
        lines.pop(digest, None)
        if not lines:
            self.by_key.pop(key, None)

    def __iter__(self) -> Iterator[Record]:
        return (record for key in sorted(self.by_key) for _, record in sorted(self.by_key[key].items()))

    def __len__(self) -> int:
        return sum(map(len, self.by_key.values()))

    def sharing(self, marker: str) -> list[Record]:
        """The records that have an attempt in the submission of this marker, sorted by key."""
        if self._members is None:
            self._members = {}
            for record in self:
                for attempt in record.attempts:
                    self._members.setdefault(attempt.marker, set()).add((record.key, record.digest))
        found = (self.get(key, digest) for key, digest in sorted(self._members.get(marker, ())))
        return [r for r in found if r is not None and any(attempt.marker == marker for attempt in r.attempts)]


def with_attempt(record: Record, attempt: Attempt) -> Record:
    """The record with this attempt taken in (DESIGN §6); a new number above all others forgets the outputs."""
    others = tuple(a for a in record.attempts if a.n != attempt.n)
    same = next((a for a in record.attempts if a.n == attempt.n), None)
    if same is not None:
        attempt = combined(record.key, same, attempt)
    fresh = same is None and all(a.n < attempt.n for a in others)
    return replace(
        record,
        attempts=tuple(sorted((*others, attempt), key=lambda a: a.n)),
        outputs=None if fresh else record.outputs,
        accepted=record.accepted and not fresh,
    )


def without_attempt(record: Record, n: int) -> Record:
    """The record after proof that attempt `n` made no job; a job that is known to exist stays."""
    return replace(record, attempts=tuple(a for a in record.attempts if a.n != n or RANK[a.phase] >= RANK[Phase.LIVE]))


def combined(key: str, one: Attempt, two: Attempt) -> Attempt:
    """Two views of the same attempt number: the one further along, completed from the other."""
    if one.handle and two.handle and one.handle != two.handle:
        raise StoreError(
            f'"{key}" attempt {one.n} is told by two handles, "{one.handle}" and "{two.handle}"',
            hint="keep the version of the file that tells the right one",
        )
    if one.phase.final and two.phase.final and one.phase is not two.phase:
        raise StoreError(f'"{key}" attempt {one.n} is told to have ended as {one.phase} and as {two.phase}')
    ahead, behind = (two, one) if RANK[two.phase] >= RANK[one.phase] else (one, two)
    return replace(
        ahead,
        handle=ahead.handle or behind.handle,
        connection=ahead.connection or behind.connection,
        sent=ahead.sent or behind.sent,
        step=ahead.step if ahead.step != "create" else behind.step,
        container=ahead.container or behind.container,
        payload=ahead.payload or behind.payload,
        noted=ahead.noted or behind.noted,
        word=ahead.word if ahead.word is not None else behind.word if ahead.phase is behind.phase else None,
        message=ahead.message if ahead.message is not None else behind.message if ahead.phase is behind.phase else None,
    )


def union(one: Record, two: Record) -> Record:
    """Two records of the same (key, digest) from two places, as one (DESIGN §6)."""
    merged = one
    for attempt in two.attempts:
        merged = with_attempt(merged, attempt)
    later = two if (two.last.n if two.last else 0) >= (one.last.n if one.last else 0) else one
    same_last = (one.last.n if one.last else 0) == (two.last.n if two.last else 0)
    outputs = (one.outputs if one.outputs is not None else two.outputs) if same_last else later.outputs
    return replace(
        merged,
        outputs=outputs,
        formerly=tuple(dict.fromkeys((*one.formerly, *two.formerly))),
        tags=two.tags,
        description=two.description,
        accepted=(one.accepted or two.accepted) if same_last else later.accepted,
    )


# --- JSON -------------------------------------------------------------------------------------------------------------


def to_json(value: Any) -> dict[str, Any]:
    """A record, attempt, output, member or fact as plain JSON, with everything that equals its default left out."""
    whole = {}
    for item in fields(value):
        content = getattr(value, item.name)
        if content != item.default:
            whole[item.name] = _plain(content)
    return whole


def record_from_json(raw: Mapping[str, Any]) -> Record:
    """Raises StoreError where a field is missing or of the wrong kind; unknown fields are left to the store to keep."""
    record: Record = made(Record, raw)
    return record


def _plain(value: Any) -> Any:
    match value:
        case Attempt() | Output() | Member():
            return to_json(value)
        case tuple() | list():
            return [_plain(item) for item in value]
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case _:
            return value


PARTS: Final[Mapping[str, type[Any]]] = {"attempts": Attempt, "outputs": Output, "members": Member}
HANDLE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}([/#][A-Za-z0-9][A-Za-z0-9._-]{0,127})?")
ATTEMPTS: Final = 1_000_000  # no attempt has a number above


def numbered(value: Any) -> bool:
    """Whether this is an attempt's number."""
    return type(value) is int and 0 < value <= ATTEMPTS


def named(value: Any) -> bool:
    """Whether this is a handle; its parts become parts of addresses and of paths, so it may hold nothing else."""
    return isinstance(value, str) and HANDLE.fullmatch(value) is not None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _time(value: Any) -> bool:
    try:
        return isinstance(value, str) and instant(value) > 0
    except ValueError:
        return False


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _maps(value: Any) -> bool:
    return isinstance(value, list) and all(map(_map, value))


def _or_none(shape: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or shape(value)


_REQUIRED: Final = ("key", "digest", "digest_without_site", "provider", "device", "marker", "name", "sha256", "old")
_OPTIONAL: Final = ("site", "payload", "word", "message", "connection", "step", "description", "found")
SHAPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(_REQUIRED, _text),
    **dict.fromkeys(_OPTIONAL, _or_none(_text)),
    **dict.fromkeys(("handle", "container"), _or_none(named)),
    **dict.fromkeys(("n", "attempt"), numbered),
    **dict.fromkeys(("tags", "formerly", "digests_without_site", "diverged"), _texts),
    **dict.fromkeys(("jobs", "attempts", "members"), _maps),
    **dict.fromkeys(("noted", "facts", "origin", "provided"), _map),
    "outputs": _or_none(_maps),
    "results": _or_none(_map),
    "sent": _or_none(_time),
    "size": lambda value: type(value) is int and value >= 0,
    "accepted": lambda value: isinstance(value, bool),
}


def made(kind: type[Any], raw: Mapping[str, Any]) -> Any:
    """A value of this kind from plain JSON; StoreError where a field is missing or of the wrong kind.

    Fields are untrusted: a pull request may have changed them.
    """
    known = {}
    for item in fields(kind):
        if item.name not in raw:
            continue
        value = raw[item.name]
        if item.name in SHAPES and not SHAPES[item.name](value):
            raise StoreError(f'"{item.name}" is of the wrong kind')
        if item.name in PARTS and value is not None:
            value = tuple(made(PARTS[item.name], part) for part in value)
        elif item.name == "phase":
            value = _phase(value)
        elif isinstance(value, list):
            value = tuple(value)
        known[item.name] = value
    try:
        return kind(**known)
    except TypeError as error:
        raise StoreError(f"an entry lacks a field: {error}") from error


def _phase(word: Any) -> Phase:
    try:
        return Phase(word)
    except ValueError as error:
        raise StoreError(f'"{word}" is not a phase that this qrun knows') from error
