"""Merge two versions of a lock or of a record file as Git asks a merge driver to: `BASE OURS THEIRS`, result in OURS.

What only one side changed is taken from it. What both changed is taken together by the rules of records; jobs on the
embedded simulator may have run on both sides, and there ours stands. Contradictions stay as conflict markers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from qrun.errors import StoreError
from qrun.record import Record, union
from qrun.store import lock as locks
from qrun.store import records as pages
from qrun.store.lines import VERSION
from qrun.store.lock import Header, Lock, Name
from qrun.store.records import Page

LOCAL: Final = "local"
BOTH: Final = b"both sides changed it"
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """The bytes for OURS, and what could not be decided, in words."""

    data: bytes
    conflicts: tuple[str, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 where all was merged, 1 where conflicts are left; StoreError's text on stderr and 2 otherwise."""
    base, ours, theirs = sys.argv[1:] if arguments is None else arguments
    try:
        merged = merge(*[_read(path) for path in (base, ours, theirs)], name=ours)
    except StoreError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with open(ours, "wb") as file:
        file.write(merged.data)
    for conflict in merged.conflicts:
        sys.stderr.write(f"{conflict}\n")
    return 1 if merged.conflicts else 0


def merge(base: bytes, ours: bytes, theirs: bytes, *, name: str = "qrun.lock") -> Merged:
    """Merge two documents of one kind; an empty `base` means that both sides made it. `name` is for messages."""
    if ours == theirs or base == theirs:
        return Merged(data=ours)
    if base == ours:
        return Merged(data=theirs)
    if _is_page(ours) or _is_page(theirs):
        return merge_records(base, ours, theirs, name=name)
    return merge_locks(base, ours, theirs, name=name)


def merge_locks(base: bytes, ours: bytes, theirs: bytes, *, name: str) -> Merged:
    before = locks.parse(f"{name} (base)", base) if base.strip() else Lock()
    mine, other = locks.read(f"{name} (ours)", ours), locks.read(f"{name} (theirs)", theirs)
    assert mine.header is not None and other.header is not None
    header = _header(before.header, mine.header, other.header, name)
    lines: dict[Name, bytes] = {}
    conflicts = []
    for who in sorted(mine.texts.keys() | other.texts.keys()):
        text = _unchanged(before.texts.get(who), mine.texts.get(who), other.texts.get(who))
        if text is BOTH:
            try:
                text = locks.line_text(_line(before, mine, other, who))
            except StoreError as error:
                conflicts.append(str(error))
                text = b"<<<<<<< ours\n%s\n=======\n%s\n>>>>>>> theirs" % (mine.texts[who], other.texts[who])
        if text is not None:
            lines[who] = text
    return Merged(data=locks.document(locks.header_text(header), lines), conflicts=tuple(conflicts))


def merge_records(base: bytes, ours: bytes, theirs: bytes, *, name: str) -> Merged:
    mine, project, experiment = _page(f"{name} (ours)", ours)
    other, _, _ = _page(f"{name} (theirs)", theirs)
    before = _page(f"{name} (base)", base)[0] if base.strip() else None
    try:
        merged = _pages(before, mine, other)
    except StoreError as error:
        marked = b"<<<<<<< ours\n%s=======\n%s>>>>>>> theirs\n" % (ours, theirs)
        return Merged(data=marked, conflicts=(f"{name}: {error}",))
    return Merged(data=pages.text(merged, project, experiment))


def _unchanged(base: bytes | None, ours: bytes | None, theirs: bytes | None) -> bytes | None:
    """The side that changed a line; BOTH where both did. A line that one side removed and the other changed stays."""
    if theirs in (ours, base):
        return ours
    if ours == base:
        return theirs
    if ours is None or theirs is None:
        return ours or theirs
    return BOTH


def _line(before: Lock, mine: Lock, other: Lock, who: Name) -> locks.Line:
    ours, theirs = mine.line(who), other.line(who)
    return replace(
        ours,
        record=_records(before.records.get(who), ours.record, theirs.record),
        job=ours.job or theirs.job,
        origin=ours.origin or theirs.origin,
        rest={**theirs.rest, **ours.rest},
    )


def _records(base: Record | None, ours: Record, theirs: Record) -> Record:
    """Both together; labels from the side that changed them, and from ours where both did."""
    try:
        _agree(ours, theirs)
        merged = union(ours, theirs)
    except StoreError:
        if ours.provider != LOCAL or theirs.provider != LOCAL:
            raise
        merged = ours
    return replace(
        merged,
        tags=_either(base.tags if base else (), ours.tags, theirs.tags),
        description=_either(base.description if base else "", ours.description, theirs.description),
    )


def _agree(ours: Record, theirs: Record) -> None:
    """StoreError where the two hold different bytes of one output."""
    first = {output.name: output.sha256 for output in ours.outputs or ()}
    for output in theirs.outputs or ():
        if first.get(output.name, output.sha256) != output.sha256:
            words = f'"{ours.key}" has two different outputs "{output.name}"'
            raise StoreError(words, hint="keep one side's line and folder: git checkout --ours or --theirs")


def _header(base: Header | None, ours: Header, theirs: Header, name: str) -> Header:
    if ours.experiment != theirs.experiment:
        raise StoreError(f'{name}: one side is of the experiment "{ours.experiment}", one of "{theirs.experiment}"')
    if ours.project and theirs.project and ours.project != theirs.project:
        raise StoreError(f'{name}: one side is of the project "{ours.project}", one of "{theirs.project}"')
    if max(ours.version, theirs.version) > VERSION:
        raise StoreError(f"{name}: one side was written by a newer qrun", hint="update qrun")
    return replace(
        ours,
        project=ours.project or theirs.project,
        manifest=_either(base.manifest if base else theirs.manifest, ours.manifest, theirs.manifest),
        rest={**theirs.rest, **ours.rest},
    )


def _pages(base: Page | None, ours: Page, theirs: Page) -> Page:
    record = _records(base.record if base else None, ours.record, theirs.record)
    local = ours.record.provider == LOCAL
    attempts = {*ours.provided, *theirs.provided}
    return Page(
        record=record,
        job=ours.job or theirs.job,
        origin=_either(base.origin if base else {}, ours.origin, theirs.origin),
        provided={n: _facts(ours.provided.get(n, {}), theirs.provided.get(n, {}), local) for n in attempts},
        found={**theirs.found, **ours.found},
        results=ours.results if ours.results is not None else theirs.results,
        diverged=tuple(dict.fromkeys((*ours.diverged, *theirs.diverged))),
        rest={**theirs.rest, **ours.rest},
    )


def _facts(ours: Mapping[str, Any], theirs: Mapping[str, Any], local: bool) -> Mapping[str, Any]:
    return ours if local and ours else {**theirs, **ours}


def _either(base: Value, ours: Value, theirs: Value) -> Value:
    """The side that changed it, ours where both did."""
    return theirs if ours == base else ours


def _page(name: str, data: bytes) -> tuple[Page, str | None, str]:
    raw = pages.checked(name, data)
    return pages.read(name, data), raw.get("project"), str(raw.get("experiment", ""))


def _is_page(data: bytes) -> bool:
    return data.lstrip(b"\xef\xbb\xbf").startswith((b"{\n", b"{\r\n"))


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        words = f"{path}: {(error.strerror or str(error)).lower()}"
        raise StoreError(words, hint="git calls this with three files") from error


if __name__ == "__main__":
    raise SystemExit(main())
