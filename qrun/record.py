"""What did run: records of attempts, the facts that change them, and the two marks by which they are found again.

A record belongs to one (key, digest). Facts are what the journal holds, one line each; `fold` applies one to a record.
The lock and the record files are pure functions of the facts, so any of the three restores the others.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final, NewType

from qrun.canonical import canonical
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


# --- facts: one journal line each -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Intended:
    """About to send. `jobs` holds each member's rendered job, in the order of `members`."""

    marker: str
    connection: str
    step: str
    members: tuple[Member, ...]
    jobs: tuple[Mapping[str, Any], ...]
    digests_without_site: tuple[str, ...]
    sent: str
    container: Handle | None = None
    origin: Mapping[str, Any] = NOTHING  # manifest, commit, dirty, qrun version at submit


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """A durable step on the way of one submission."""

    marker: str
    facts: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """An attempt came to a phase. `provided` are provider facts for the record: times, device snapshot, seed."""

    key: str
    digest: str
    attempt: int
    phase: Phase
    marker: str
    handle: Handle | None = None
    word: str | None = None
    message: str | None = None
    provided: Mapping[str, Any] = NOTHING
    connection: str = ""
    found: str | None = None  # how a lost handle came back: marker, payload, list, user


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """The outputs of an attempt are durable. `results` is the normal form where it is small enough for the record."""

    key: str
    digest: str
    attempt: int
    outputs: tuple[Output, ...]
    results: Mapping[str, Any] | None = None
    diverged: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Renamed:
    """A record goes on under another key."""

    old: str
    key: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    key: str
    digest: str
    tags: tuple[str, ...]
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """The user accepts the outcome as it is."""

    key: str
    digest: str


Fact = Intended | Noted | Reached | Fetched | Renamed | Labelled | Taken


# --- the two marks ----------------------------------------------------------------------------------------------------


def marker(project: str, experiment: str, members: Iterable[Member]) -> str:
    """`qr1` and 26 base32 characters: one submission, the same for whoever would send it (DESIGN §4)."""
    listed = sorted([m.key, m.digest, m.attempt] for m in members)
    return "qr1" + _short([project, experiment, listed])


def mark(project: str, experiment: str) -> str:
    """`qrx` and 26 base32 characters: all submissions of one experiment."""
    return "qrx" + _short([project, experiment])


def _short(value: Any) -> str:
    return b32encode(hashlib.sha256(canonical(value)).digest()).decode().lower()[:26]


# --- fold -------------------------------------------------------------------------------------------------------------


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


def fold(records: Records, fact: Fact) -> None:
    """Apply one fact; applying it twice changes nothing more. Raises StoreError where two facts contradict."""
    match fact:
        case Intended():
            for member, job, without in zip(fact.members, fact.jobs, fact.digests_without_site, strict=True):
                _intend(records, fact, member, job, without)
        case Noted():
            for record in records.sharing(fact.marker):
                records.put(_changed(record, fact.marker, lambda a: replace(a, noted={**a.noted, **fact.facts})))
        case Reached():
            record = _known(records, fact.key, fact.digest)
            if fact.phase is Phase.ABSENT:
                records.put(without_attempt(record, fact.attempt))
                return
            attempt = Attempt(
                n=fact.attempt,
                marker=fact.marker,
                phase=fact.phase,
                handle=fact.handle,
                connection=fact.connection,
                word=fact.word,
                message=fact.message,
            )
            records.put(with_attempt(record, attempt))
        case Fetched():
            record = _known(records, fact.key, fact.digest)
            if record.last is not None and fact.attempt < record.last.n:
                return
            records.put(replace(record, outputs=_first_stand(record.outputs or (), fact.outputs)))
        case Renamed():
            if former := records.get(fact.old, fact.digest):
                records.drop(fact.old, fact.digest)
                renamed = replace(former, key=fact.key, formerly=tuple(dict.fromkeys((*former.formerly, fact.old))))
                known = records.get(fact.key, fact.digest)
                records.put(renamed if known is None else union(renamed, known))
        case Labelled():
            record = _known(records, fact.key, fact.digest)
            records.put(replace(record, tags=fact.tags, description=fact.description))
        case Taken():
            records.put(replace(_known(records, fact.key, fact.digest), accepted=True))


def _intend(records: Records, fact: Intended, member: Member, job: Mapping[str, Any], without: str) -> None:
    attempt = Attempt(
        n=member.attempt,
        marker=fact.marker,
        phase=Phase.INTENT,
        connection=fact.connection,
        sent=fact.sent,
        step=fact.step,
        container=fact.container,
        payload=member.payload,
    )
    if known := records.get(member.key, member.digest):
        records.put(with_attempt(known, attempt))
        return
    records.put(
        Record(
            key=member.key,
            digest=member.digest,
            digest_without_site=without,
            provider=job["provider"],
            device=job["device"],
            site=job.get("site"),
            attempts=(attempt,),
            tags=tuple(job.get("tags", ())),
            description=job.get("description", ""),
        )
    )


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
            hint="qrun resolve --adopt chooses one",
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


def _known(records: Records, key: str, digest: str) -> Record:
    record = records.get(key, digest)
    if record is None:
        raise StoreError(f'"{key}" has no record with digest {digest[:12]}, but a later entry speaks of one')
    return record


def _first_stand(first: tuple[Output, ...], later: tuple[Output, ...]) -> tuple[Output, ...]:
    """What was fetched is never replaced; a later fetch only adds names."""
    names = {output.name for output in first}
    return (*first, *(output for output in later if output.name not in names))


def _changed(record: Record, marker: str, change: Callable[[Attempt], Attempt]) -> Record:
    return replace(record, attempts=tuple(change(a) if a.marker == marker else a for a in record.attempts))


# --- JSON -------------------------------------------------------------------------------------------------------------

FACTS: Final[Mapping[str, type[Any]]] = {
    "intended": Intended,
    "noted": Noted,
    "reached": Reached,
    "fetched": Fetched,
    "renamed": Renamed,
    "labelled": Labelled,
    "taken": Taken,
}
WORD_OF: Final[Mapping[type[Any], str]] = {kind: word for word, kind in FACTS.items()}


def to_json(value: Any) -> dict[str, Any]:
    """A record, attempt, output, member or fact as plain JSON, with everything that equals its default left out."""
    whole = {}
    for item in fields(value):
        content = getattr(value, item.name)
        if content != item.default:
            whole[item.name] = _plain(content)
    return whole


def fact_to_json(fact: Fact) -> dict[str, Any]:
    return {"ev": WORD_OF[type(fact)], **to_json(fact)}


def fact_from_json(raw: Mapping[str, Any]) -> Fact:
    """Raises StoreError for a word or a shape that this version does not know."""
    kind = FACTS.get(raw.get("ev", ""))
    if kind is None:
        raise StoreError(f'an entry of unknown kind "{raw.get("ev")}"', hint="it was written by a newer qrun")
    fact: Fact = _made(kind, raw)
    return fact


def record_from_json(raw: Mapping[str, Any]) -> Record:
    """Raises StoreError where a field is missing or of the wrong kind; unknown fields are left to the store to keep."""
    record: Record = _made(Record, raw)
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
TEXTS: Final = frozenset({"key", "digest", "digest_without_site", "provider", "device", "marker", "name", "sha256"})


def _made(kind: type[Any], raw: Mapping[str, Any]) -> Any:
    known = {}
    for item in fields(kind):
        if item.name not in raw:
            continue
        value = raw[item.name]
        if item.name in TEXTS and not isinstance(value, str):
            raise StoreError(f'"{item.name}" is not text')
        if item.name in PARTS and isinstance(value, list):
            value = tuple(_made(PARTS[item.name], part) for part in value)
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
