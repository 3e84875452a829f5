"""Containers: the provider's objects that hold several jobs, as the records know them."""

from __future__ import annotations

from collections.abc import Iterator

from qrun.record import Attempt, Handle, Record, Records

Holding = tuple[Record, Attempt]


def container(handle: Handle) -> Handle:
    """`<batch>` of `<batch>/<job>`, `<job>` of `<job>#<i>`, else the handle itself."""
    return Handle(handle.partition("/")[0].partition("#")[0])


def held(records: Records) -> dict[Handle, list[Holding]]:
    """What each container holds."""
    found: dict[Handle, list[Holding]] = {}
    for record in records:
        for attempt in record.attempts:
            if attempt.handle is not None:
                found.setdefault(container(attempt.handle), []).append((record, attempt))
    return found


def noted_open(records: Records) -> Iterator[tuple[Handle, Record, Attempt]]:
    """Every member of a container that may be open for more jobs; whether it still is, only the provider knows."""
    for record in records:
        for attempt in record.attempts:
            if attempt.handle is not None and attempt.noted.get("open"):
                yield container(attempt.handle), record, attempt
