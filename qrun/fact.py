"""What happened to a job, one journal line each, and how it changes the records.

The lock and the record files are pure functions of the facts, so any of the three restores the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from qrun.errors import StoreError
from qrun.job import NOTHING
from qrun.record import (
    Attempt,
    Handle,
    Member,
    Output,
    Phase,
    Record,
    Records,
    made,
    to_json,
    union,
    with_attempt,
    without_attempt,
)


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
    """The user accepts the outcome of this attempt as it is."""

    key: str
    digest: str
    attempt: int


Fact = Intended | Noted | Reached | Fetched | Renamed | Labelled | Taken


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
            record = _known(records, fact.key, fact.digest)
            accepted = record.last is not None and record.last.n == fact.attempt
            records.put(replace(record, accepted=record.accepted or accepted))


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


def fact_to_json(fact: Fact) -> dict[str, Any]:
    return {"ev": WORD_OF[type(fact)], **to_json(fact)}


def fact_from_json(raw: Mapping[str, Any]) -> Fact:
    """Raises StoreError for a word or a shape that this version does not know."""
    kind = FACTS.get(raw.get("ev", ""))
    if kind is None:
        raise StoreError(f'an entry of unknown kind "{raw.get("ev")}"', hint="it was written by a newer qrun")
    fact: Fact = made(kind, raw)
    return fact
