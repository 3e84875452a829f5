"""The committed file `qrun.lock`: a header, then one line for each (key, digest), sorted, each with its own checksum.

A line holds what every clone must know: how the job is found at its provider, and the hashes of what came back. It is
a pure function of its record. While a submission is unsettled its line also holds all that recovery needs; that falls
away once the job has a handle, but for the word that its container is open. Waiting changes no line: queued and
running are one phase here.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from qrun.errors import Problem, StoreError
from qrun.job import NOTHING
from qrun.record import RANK, Attempt, Output, Phase, Record, named, numbered, record_from_json, union
from qrun.store.lines import VERSION, damaged, encoded, intact, refuse_foreign, seal, split
from qrun.store.paths import DIGEST, SAFE

Name = tuple[str, str]  # key and full digest
SETTLED: Final = RANK[Phase.LIVE]
KNOWN: Final = frozenset(Record.__dataclass_fields__) | {"crc", "job", "origin"}
COMMON: Final = KNOWN - {"job", "origin"}
HEADER: Final = frozenset({"version", "type", "project", "experiment", "manifest", "crc"})
PHASES: Final = {str(phase): phase for phase in Phase}


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The first line. `rest` are a newer qrun's fields, kept."""

    project: str | None
    experiment: str
    manifest: str
    version: int = VERSION
    rest: Mapping[str, Any] = NOTHING


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One record as the lock tells it. `job` and `origin` are there while its last attempt is unsettled."""

    record: Record
    job: Mapping[str, Any] = NOTHING
    origin: Mapping[str, Any] = NOTHING
    rest: Mapping[str, Any] = NOTHING  # a newer qrun's fields, kept


@dataclass(kw_only=True, slots=True)
class Lock:
    """A lock as read. `texts` are the very lines, without newline; `extras` the lines that hold more than a record."""

    header: Header | None = None
    records: dict[Name, Record] = field(default_factory=dict)
    texts: dict[Name, bytes] = field(default_factory=dict)
    extras: dict[Name, Line] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    places: dict[Name, int] = field(default_factory=dict)  # line numbers, where they were asked for

    def line(self, name: Name) -> Line:
        return self.extras.get(name) or Line(record=self.records[name])


# --- writing ----------------------------------------------------------------------------------------------------------


def header_text(header: Header) -> bytes:
    whole = {
        "version": header.version,
        "type": "lock",
        "project": header.project,
        "experiment": header.experiment,
        "manifest": header.manifest,
        **header.rest,
    }
    return seal(encoded(whole))[:-1]


def line_text(line: Line) -> bytes | None:
    """The line of a record, without newline; None where no attempt is left to tell."""
    record = line.record
    if not record.attempts:
        return None
    whole: dict[str, Any] = {"key": record.key, "digest": record.digest}
    if record.digest_without_site != record.digest:
        whole["digest_without_site"] = record.digest_without_site
    whole["provider"] = record.provider
    if record.site is not None:
        whole["site"] = record.site
    whole["device"] = record.device
    whole["attempts"] = [attempt_json(attempt) for attempt in record.attempts]
    if record.outputs is not None:
        whole["outputs"] = [{"name": o.name, "sha256": o.sha256, "size": o.size} for o in record.outputs]
    for name in ("formerly", "tags", "description", "accepted"):
        if value := getattr(record, name):
            whole[name] = value
    if unsettled(record):
        whole |= {name: value for name, value in (("job", line.job), ("origin", line.origin)) if value}
    return seal(encoded(whole | {name: value for name, value in line.rest.items() if name not in KNOWN}))[:-1]


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """An attempt as the lock tells it: what recovery needs while nobody knows the job, then how to reach it."""
    whole: dict[str, Any] = {"n": attempt.n, "marker": attempt.marker, "handle": attempt.handle, "phase": attempt.phase}
    if attempt.handle is None:
        del whole["handle"]
    open_for_more = attempt.handle is not None and bool(attempt.noted.get("open"))
    if (open_for_more or not attempt.phase.final) and attempt.connection:
        whole["connection"] = attempt.connection
    if open_for_more and RANK[attempt.phase] >= SETTLED:
        whole["noted"] = {"open": attempt.noted["open"]}
    if RANK[attempt.phase] < SETTLED:
        optional = {
            "sent": attempt.sent,
            "step": attempt.step if attempt.step != "create" else None,
            "container": attempt.container,
            "payload": attempt.payload,
            "noted": dict(attempt.noted) or None,
            "word": attempt.word,
            "message": attempt.message,
        }
        whole |= {name: value for name, value in optional.items() if value is not None}
    return whole


def unsettled(record: Record) -> bool:
    """Whether the last attempt is neither known to exist nor at its end."""
    return bool(record.attempts) and RANK[record.attempts[-1].phase] < SETTLED


def document(header: bytes, texts: Mapping[Name, bytes]) -> bytes:
    """The whole file."""
    return b"\n".join((header, *[texts[name] for name in sorted(texts)], b""))


# --- reading ----------------------------------------------------------------------------------------------------------


def read(file: str, data: bytes) -> Lock:
    """The lock of these bytes; StoreError names every line that is damaged. `file` is for messages.

    Two lines of one (key, digest), as a merge by union leaves them, are taken together.
    """
    lock = parse(file, data)
    if lock.problems:
        raise StoreError(*lock.problems)
    return lock


def parse(file: str, data: bytes, *, merged: bool = False) -> Lock:
    """As `read`, with damage listed instead of raised. With `merged`, conflict markers are passed over."""
    with _collector_paused():
        return _parsed(file, data, merged=merged)


def _parsed(file: str, data: bytes, *, merged: bool) -> Lock:
    lines = split(data)
    numbers: Sequence[int] = range(1, len(lines) + 1)
    if merged:
        numbers, lines = _both_sides(lines)
    refuse_foreign(file, lines)
    lock = Lock()
    if not lines:
        lock.problems.append(damaged(file, 1, "the lock is empty"))
        return lock
    raws = _decoded(lines)
    for number, text, raw in zip(numbers, lines, raws, strict=True):
        if not isinstance(raw, dict):
            lock.problems.append(damaged(file, number))
        elif raw.get("type") == "lock":
            _head(file, number, raw, lock)
        else:
            _body(file, number, text, raw, lock)
    if lock.header is None and not lock.problems:
        lock.problems.append(damaged(file, 1, "the first line is not the header of a lock"))
    return lock


def glance(data: bytes) -> list[tuple[str, str, str, str | None]]:
    """Key, digest, phase of the last attempt, and handle of every line: a whole lock, checked, with the least work.

    StoreError where a line is damaged.
    """
    lines = split(data)
    refuse_foreign("qrun.lock", lines[:1])
    if not all(map(intact, lines)):
        raise StoreError(*parse("qrun.lock", data).problems)
    found = []
    with _collector_paused():
        for raw in json.loads(b"[%s]" % b",".join(lines[1:])):
            last = raw["attempts"][-1]
            found.append((raw["key"], raw["digest"], last["phase"], last.get("handle")))
    return found


def salvage(text: bytes) -> Line | None:
    """What a line that fails its checksum still says, if it says anything of the right shape."""
    try:
        return _line(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, StoreError):
        return None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """For what makes many values and no garbage: walking them again and again takes a third of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _decoded(lines: Sequence[bytes]) -> list[Any]:
    """The value of each line; None for a damaged one."""
    if all(map(intact, lines)):
        try:
            values: list[Any] = json.loads(b"[%s]" % b",".join(lines))
        except ValueError:
            values = []
        if len(values) == len(lines):
            return values
    return [_value(line) for line in lines]


def _value(line: bytes) -> Any:
    try:
        return json.loads(line) if intact(line) else None
    except ValueError:
        return None


def _head(file: str, number: int, raw: dict[str, Any], lock: Lock) -> None:
    project, experiment, manifest = raw.get("project"), raw.get("experiment"), raw.get("manifest")
    texts = (project is None or isinstance(project, str)) and isinstance(experiment, str) and isinstance(manifest, str)
    if not texts or not isinstance(raw.get("version"), int):
        lock.problems.append(damaged(file, number, "the header lacks a field"))
        return
    lock.header = Header(
        project=project,
        experiment=str(experiment),
        manifest=str(manifest),
        version=raw["version"],
        rest={name: value for name, value in raw.items() if name not in HEADER} or NOTHING,
    )


def _body(file: str, number: int, text: bytes, raw: dict[str, Any], lock: Lock) -> None:
    try:
        record = _record(raw)
        name = (record.key, record.digest)
        line = None if raw.keys() <= COMMON else _line(raw)
        if name in lock.records:
            record = union(lock.records[name], record)
            text = line_text(replace(line or Line(record=record), record=record)) or text
    except StoreError as error:
        lock.problems += [replace(problem, file=file, line=number) for problem in error.problems]
        return
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        lock.problems.append(damaged(file, number, f"the line is not a record: {_shown(error)}"))
        return
    lock.records[name] = record
    lock.texts[name] = text
    lock.places[name] = number
    if line is not None:
        lock.extras[name] = replace(line, record=record)


def _shown(error: Exception) -> str:
    """Our own words; those of the language say nothing to whoever reads them."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error) if type(error) is WrongKind else "a field is of the wrong kind"


class WrongKind(TypeError):
    """A field of a line is not what it has to be."""


def _line(raw: Mapping[str, Any]) -> Line:
    return Line(
        record=_record(raw),
        job=_map(raw.get("job", NOTHING)),
        origin=_map(raw.get("origin", NOTHING)),
        rest={name: value for name, value in raw.items() if name not in KNOWN} or NOTHING,
    )


def _record(raw: Mapping[str, Any]) -> Record:
    """A record of an untrusted line: everything that serves as a path or as an id has its shape checked here."""
    digest = raw["digest"]
    outputs = raw.get("outputs")
    if not type(raw["key"]) is type(digest) is type(raw["provider"]) is type(raw["device"]) is str:
        raise WrongKind("a key, digest, provider or device is not text")
    if type(raw["attempts"]) is not list or not (outputs is None or type(outputs) is list):
        raise WrongKind("a list is of the wrong kind")
    if type(raw.get("site", "")) is not str or type(raw.get("digest_without_site", "")) is not str:
        raise WrongKind("a site or digest is not text")
    if not DIGEST.fullmatch(digest):
        raise StoreError(f'"{digest[:80]}" is not a digest')
    formerly, tags = raw.get("formerly"), raw.get("tags")
    return Record(
        key=raw["key"],
        digest=digest,
        digest_without_site=raw.get("digest_without_site", digest),
        provider=raw["provider"],
        device=raw["device"],
        site=raw.get("site"),
        attempts=tuple([_attempt(attempt) for attempt in raw["attempts"]]),
        outputs=None if outputs is None else tuple([_output(output) for output in outputs]),
        formerly=_texts(formerly) if formerly else (),
        tags=_texts(tags) if tags else (),
        description=str(raw.get("description", "")),
        accepted=raw.get("accepted") is True,
    )


PLAIN_ATTEMPT: Final = frozenset({"n", "marker", "handle", "phase", "connection"})


def _attempt(raw: Mapping[str, Any]) -> Attempt:
    n, marker, handle, phase = raw["n"], raw["marker"], raw.get("handle"), PHASES.get(raw["phase"])
    if not numbered(n) or type(marker) is not str or not (handle is None or named(handle)):
        raise WrongKind("an attempt's number, marker or handle is of the wrong kind")
    if type(raw.get("connection", "")) is not str:
        raise WrongKind("a connection is not text")
    if phase is None:
        raise StoreError(f'"{raw["phase"]}" is not a phase that this qrun knows', hint="update qrun")
    if raw.keys() <= PLAIN_ATTEMPT:
        return Attempt(n=n, marker=marker, phase=phase, handle=handle, connection=raw.get("connection", ""))
    return _full_attempt(raw)


def _full_attempt(raw: Mapping[str, Any]) -> Attempt:
    whole = {"key": "", "digest": "", "digest_without_site": "", "provider": "", "device": "", "attempts": [dict(raw)]}
    return record_from_json(whole).attempts[0]


def _output(raw: Mapping[str, Any]) -> Output:
    name, sha, size = raw["name"], raw["sha256"], raw["size"]
    if type(name) is not str or type(sha) is not str or type(size) is not int or size < 0:
        raise WrongKind("an output's name, hash or size is of the wrong kind")
    if not SAFE.fullmatch(name) or not DIGEST.fullmatch(sha):
        raise WrongKind("an output's name, hash or size is of the wrong kind")
    return Output(name=name, sha256=sha, size=size)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(type(item) is str for item in value):
        raise WrongKind("a list of texts is of the wrong kind")
    return tuple(value)


def _map(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise WrongKind("a map is of the wrong kind")
    return value


def _both_sides(lines: list[bytes]) -> tuple[list[int], list[bytes]]:
    """The lines without conflict markers and without the common ancestor's part, and their numbers."""
    numbers, kept = [], []
    ancestor = False
    for number, line in enumerate(lines, 1):
        if line.startswith(b"|||||||"):
            ancestor = True
        elif line.startswith((b"=======", b"<<<<<<<", b">>>>>>>")):
            ancestor = False
        elif not ancestor:
            numbers.append(number)
            kept.append(line)
    return numbers, kept
