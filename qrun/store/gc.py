"""What a results directory could do without: results that a changed job replaced, programs that nothing refers to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from qrun.errors import StoreError
from qrun.record import Phase, Record
from qrun.store import Store, View
from qrun.store.lock import Name
from qrun.store.paths import PROGRAMS, run_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """One folder or program that may go; `key` and `digest` are empty for a program. `size` is in bytes."""

    path: str
    files: tuple[str, ...]
    size: int
    reason: str
    key: str = ""
    digest: str = ""


def garbage(view: View, wanted: Collection[Name]) -> list[Garbage]:
    """What may go if these (key, digest) are all that any manifest asks for.

    Only what is superseded by another digest of a wanted key, has come to its end, and was fetched where there was
    something to fetch. Jobs that no manifest names any more stay: they may be renamed back.
    """
    names = frozenset(wanted)
    keys = {key for key, _ in names}
    listed = [
        _run(view, record)
        for record in view.records
        if record.key in keys and (record.key, record.digest) not in names and _done_with(record)
    ]
    gone = {(item.key, item.digest) for item in listed}
    return listed + _programs(view, gone)


def remove(store: Store, listed: Sequence[Garbage]) -> int:
    """Delete what `garbage` listed and return how many bytes that were. The lock forgets it first: what a cut leaves
    behind is listed again.
    """
    store.publish(rest=True)
    store.drop([(item.key, item.digest) for item in listed if item.key])
    for item in listed:
        for path in item.files:
            store.disk.unlink(path)
        if item.key:
            store.disk.rmdir(item.path)
            store.disk.rmdir(item.path.rpartition("/")[0])
    return sum(item.size for item in listed)


def _done_with(record: Record) -> bool:
    if not record.attempts or not all(attempt.phase.final for attempt in record.attempts):
        return False
    return record.outputs is not None or record.phase is not Phase.SUCCEEDED


def _run(view: View, record: Record) -> Garbage:
    folder = f"{view.folder}/{run_folder(record.key, record.digest)}"
    files = tuple(f"{folder}/{name}" for name, is_folder in sorted(view.disk.list(folder).items()) if not is_folder)
    return Garbage(
        path=folder,
        files=files,
        size=_size(view, files),
        reason="superseded by a changed job",
        key=record.key,
        digest=record.digest,
    )


def _programs(view: View, gone: Collection[Name]) -> list[Garbage]:
    """Programs that no remaining record refers to; none where a record does not say what it refers to."""
    used = set()
    for record in view.records:
        if (record.key, record.digest) in gone or not record.attempts:
            continue
        try:
            job = view.job(record.key, record.digest)
        except StoreError:
            return []
        if "kind" not in job:
            return []
        used |= {str(program["sha256"])[:12] for program in job.get("program", ())}
    folder = f"{view.folder}/{PROGRAMS}"
    paths = [f"{folder}/{name}" for name in sorted(view.disk.list(folder)) if name.partition(".")[0] not in used]
    return [
        Garbage(path=path, files=(path,), size=_size(view, (path,)), reason="no record refers to it") for path in paths
    ]


def _size(view: View, paths: Sequence[str]) -> int:
    return sum(found.size for path in paths if (found := view.disk.lstat(path)) is not None)
