"""The record file of one job and digest, `record.json`: its provenance, and what came back in the normal form.

It is a pure function of the facts, so that two machines that fetch the same job write the same bytes. It holds
attempts from the moment at which the job is known to exist; what is still unsettled stands in the lock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from zlib import crc32

from qrun.errors import Problem, StoreError
from qrun.fact import Fact, Fetched, Intended, Reached, Renamed
from qrun.job import NOTHING
from qrun.record import RANK, Attempt, Record, record_from_json, to_json, union
from qrun.store.lines import BOM, MARKERS, POINTER, REPAIR, VERSION, finite, plain
from qrun.store.lock import SETTLED, Name
from qrun.store.paths import DIGEST, SAFE

LARGEST: Final = 64 << 20
PAGE: Final = frozenset({"version", "type", "project", "experiment", "crc", "job", "origin", "results", "diverged"})
RECORD: Final = frozenset(Record.__dataclass_fields__)
ENDING: Final = len(b',\n  "crc": "01234567"\n}\n')


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A record, and what the lock has no room for; `provided` and `found` are by attempt number."""

    record: Record
    job: Mapping[str, Any] = NOTHING
    origin: Mapping[str, Any] = NOTHING
    provided: Mapping[int, Mapping[str, Any]] = NOTHING  # type: ignore[assignment]
    found: Mapping[int, str] = NOTHING  # type: ignore[assignment]
    results: Mapping[str, Any] | None = None
    diverged: tuple[str, ...] = ()
    rest: Mapping[str, Any] = NOTHING  # a newer qrun's fields, kept


@dataclass(kw_only=True, slots=True)
class Details:
    """What facts tell beyond the record, until it stands in a record file."""

    job: Mapping[str, Any] = NOTHING
    origin: Mapping[str, Any] = NOTHING
    provided: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    found: dict[int, str] = field(default_factory=dict)
    results: Mapping[str, Any] | None = None
    diverged: tuple[str, ...] = ()


def remember(details: dict[Name, Details], fact: Fact) -> None:
    """Keep what a fact tells beyond its record; twice changes nothing more."""
    match fact:
        case Intended():
            for member, job in zip(fact.members, fact.jobs, strict=True):
                known = details.setdefault((member.key, member.digest), Details())
                known.job, known.origin = job, fact.origin or known.origin
        case Reached() if fact.provided or fact.found:
            known = details.setdefault((fact.key, fact.digest), Details())
            if fact.provided:
                known.provided[fact.attempt] = {**known.provided.get(fact.attempt, {}), **fact.provided}
            if fact.found:
                known.found[fact.attempt] = fact.found
        case Fetched():
            known = details.setdefault((fact.key, fact.digest), Details())
            known.results = fact.results if known.results is None else known.results
            known.diverged = tuple(dict.fromkeys((*known.diverged, *fact.diverged)))
        case Renamed() if (fact.old, fact.digest) in details:
            former = details.pop((fact.old, fact.digest))
            details[fact.key, fact.digest] = former
        case _:
            pass


def page(record: Record, known: Details, older: Page | None) -> Page:
    """The page to write: the record as it stands, with what is known of it and what its file says already."""
    if older is None:
        return Page(
            record=record,
            job=known.job,
            origin=known.origin,
            provided=known.provided,
            found=known.found,
            results=known.results,
            diverged=known.diverged,
        )
    attempts = {*known.provided, *older.provided}
    former = replace(older.record, key=record.key)
    return Page(
        record=replace(union(former, record), formerly=record.formerly, accepted=record.accepted),
        job=older.job or known.job,
        origin=older.origin or known.origin,
        provided={n: {**older.provided.get(n, {}), **known.provided.get(n, {})} for n in attempts},
        found={**known.found, **older.found},
        results=known.results if older.results is None else older.results,
        diverged=tuple(dict.fromkeys((*older.diverged, *known.diverged))),
        rest=older.rest,
    )


def settled(record: Record) -> tuple[Attempt, ...]:
    return tuple(attempt for attempt in record.attempts if RANK[attempt.phase] >= SETTLED)


# --- bytes ------------------------------------------------------------------------------------------------------------


def text(shown: Page, project: str | None, experiment: str) -> bytes:
    record = replace(shown.record, attempts=settled(shown.record))
    whole: dict[str, Any] = {
        **shown.rest,
        "version": VERSION,
        "type": "record",
        "project": project,
        "experiment": experiment,
        **to_json(record),
        "attempts": [_attempt(attempt, shown) for attempt in record.attempts],
    }
    optional = {"job": shown.job, "origin": shown.origin, "results": shown.results, "diverged": shown.diverged}
    whole |= {name: value for name, value in optional.items() if value not in (None, {}, ())}
    return signed(whole)


def signed(whole: Mapping[str, Any]) -> bytes:
    """Indented, sorted, ASCII JSON whose last member is the CRC-32 of the bytes without it."""
    try:
        body = json.dumps(whole, indent=2, sort_keys=True, allow_nan=False, default=plain)
    except ValueError:
        body = json.dumps(finite(whole), indent=2, sort_keys=True, default=plain)
    start = body.encode("ascii").removesuffix(b"\n}")
    return b'%s,\n  "crc": "%08x"\n}\n' % (start, crc32(start))


def read(file: str, data: bytes) -> Page:
    """The page of these bytes; StoreError where they are damaged or not a record of ours. `file` is for messages."""
    raw = checked(file, data)
    try:
        return _page(raw)
    except StoreError as error:
        raise StoreError(*(replace(problem, file=file) for problem in error.problems)) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        words = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise StoreError(Problem(file=file, message=f"is not a record: {words}", hint=REPAIR)) from error


def checked(file: str, data: bytes) -> dict[str, Any]:
    if data.startswith(POINTER):
        raise StoreError(Problem(file=file, message="is a Git LFS pointer: not pulled", hint="git lfs pull"))
    data = data.removeprefix(BOM).replace(b"\r\n", b"\n")
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.startswith(MARKERS):
            words = f'holds the conflict marker "{line.split(b" ")[0].decode("ascii")}" of a git merge'
            raise StoreError(Problem(file=file, line=number, message=words, hint="git checkout --ours or --theirs"))
    if not data.endswith(b"\n"):
        data += b"\n"
    start = data[:-ENDING]
    if data[-ENDING:] != b',\n  "crc": "%08x"\n}\n' % crc32(start):
        raise StoreError(Problem(file=file, message="does not match its checksum", hint=REPAIR))
    try:
        raw = json.loads(data)
    except ValueError as error:
        raise StoreError(Problem(file=file, message=f"is not JSON: {error}", hint=REPAIR)) from error
    if raw.get("type") != "record":
        raise StoreError(Problem(file=file, message="is not a record", hint=REPAIR))
    if raw.get("version") != VERSION:
        words = f"was written by a newer qrun (version {raw.get('version')})"
        raise StoreError(Problem(file=file, message=words, hint="update qrun"))
    return dict(raw)


def _page(raw: dict[str, Any]) -> Page:
    record = record_from_json({"digest_without_site": raw["digest"], **raw})
    if not DIGEST.fullmatch(record.digest):
        raise StoreError(f'"{record.digest[:80]}" is not a digest')
    for output in record.outputs or ():
        if not SAFE.fullmatch(output.name) or not DIGEST.fullmatch(output.sha256):
            raise StoreError(f'"{output.name[:80]}" is not the name and hash of an output')
    attempts = raw.get("attempts", [])
    return Page(
        record=record,
        job=dict(raw.get("job", {})),
        origin=dict(raw.get("origin", {})),
        provided={a["n"]: dict(a["provided"]) for a in attempts if "provided" in a},
        found={a["n"]: a["found"] for a in attempts if "found" in a},
        results=raw.get("results"),
        diverged=tuple(raw.get("diverged", ())),
        rest={name: value for name, value in raw.items() if name not in PAGE and name not in RECORD} or NOTHING,
    )


def _attempt(attempt: Attempt, shown: Page) -> dict[str, Any]:
    whole = to_json(attempt)
    if provided := shown.provided.get(attempt.n):
        whole["provided"] = provided
    if found := shown.found.get(attempt.n):
        whole["found"] = found
    return whole
