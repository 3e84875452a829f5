"""Which rows a list, a rebatch or a cancel is about: the filters of a query, and the page that is wanted of them.

`start_date` and `end_date` are about the execution, as the reference has it, not about the creation, as the official
client says: what has not begun, or not ended, matches no such filter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import parse_qs

from qrun.emulators.pasqal.envelope import Page, problem, refuse
from qrun.emulators.pasqal.fields import uuids
from qrun.emulators.pasqal.rows import STATUSES, Row
from qrun.emulators.wire import Call

LARGEST_PAGE: Final = 100
PRIORITIES: Final = frozenset({"CRITICAL", "HIGH", "MEDIUM", "LOW", "FREE"})
PRIORITY: Final = "MEDIUM"  # of every batch
TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}

Test = Callable[[Any], bool]
Query = Mapping[str, list[str]]
Make = Callable[[list[str], str], Test]


class Of(StrEnum):
    """What is asked for, and so which filters there are; others are passed over."""

    BATCHES = "batches"
    JOBS = "jobs"
    WORKLOADS = "workloads"
    REBATCH = "rebatch"
    CANCEL = "cancel"


def query(call: Call) -> Query:
    return parse_qs(call.raw_query.decode("latin-1"), keep_blank_values=True)


def tests(given: Query, of: Of) -> list[Test]:
    """Each of them must hold; refuses with 422 what cannot be read."""
    table = FILTERS[of]
    return [table[name](values, name) for name, values in given.items() if name in table]


def chosen(rows: Sequence[Any], given: Query, of: Of) -> Iterator[Any]:
    wanted = tests(given, of)
    return (row for row in rows if all(test(row) for test in wanted))


def page(rows: Sequence[Any], given: Query, of: Of, show: Callable[[Any], Any]) -> Page:
    """`rows` are in the order of their creation; the newest come first unless the query says otherwise."""
    now = time.time()
    found = [row for row in chosen(rows, given, of) if row.hidden_until <= now]
    order = _last(given, "order_by", "created_at")
    orders = {"created_at", "updated_at"} | ({"creation_order"} if of is Of.JOBS else set())
    if order not in orders:
        refuse(422, [problem(f"One of {', '.join(sorted(orders))} is needed", "query", "order_by", kind="enum")])
    if order == "updated_at":
        found.sort(key=lambda row: (row.updated, row.number))
    elif order == "creation_order":
        found.sort(key=lambda row: (row.order, row.number))
    if not _ascending(_last(given, "order_by_direction", "DESC")):
        found.reverse()
    limit = _number(given, "limit", least=1, most=LARGEST_PAGE, default=LARGEST_PAGE)
    start = _number(given, "offset", least=0, most=None, default=0)
    return Page(rows=[show(row) for row in found[start : start + limit]], start=start, total=len(found))


def _last(given: Query, name: str, default: str) -> str:
    return given[name][-1] if given.get(name) else default


def _ascending(word: str) -> bool:
    if word not in ("ASC", "DESC"):
        refuse(422, [problem("ASC or DESC is needed", "query", "order_by_direction", kind="enum")])
    return word == "ASC"


def _number(given: Query, name: str, *, least: int, most: int | None, default: int) -> int:
    text = _last(given, name, str(default))
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if number < least or (most is not None and number > most):
        words = f"A whole number from {least}" + (f" to {most}" if most is not None else "") + " is needed"
        refuse(422, [problem(words, "query", name, kind="type_error.integer")])
    return number


# --- one filter each: from what a query says to a test of a row -------------------------------------------------------


def _ids(attribute: str) -> Make:
    def make(values: list[str], name: str) -> Test:
        wanted = uuids(values, "query", name)
        return lambda row: getattr(row, attribute) in wanted

    return make


def _texts(attribute: str) -> Make:
    def make(values: list[str], _: str) -> Test:
        return lambda row: getattr(row, attribute) in values

    return make


def _words(known: frozenset[str], of: Callable[[Any], str]) -> Make:
    def make(values: list[str], name: str) -> Test:
        if unknown := [value for value in values if value not in known]:
            words = f"{unknown[0]:.80} is none of {', '.join(sorted(known))}"
            refuse(422, [problem(words, "query", name, kind="type_error.enum")])
        return lambda row: of(row) in values

    return make


def _truth(of: Callable[[Any], bool]) -> Make:
    def make(values: list[str], name: str) -> Test:
        wanted = TRUTHS.get(values[-1].lower())
        if wanted is None:
            refuse(422, [problem("A truth is needed", "query", name, kind="type_error.bool")])
        return lambda row: of(row) is wanted

    return make


def _bound(of: Callable[[Any], float | None], *, least: bool) -> Make:
    """What has no such number is outside of every bound."""

    def make(values: list[str], name: str) -> Test:
        limit = _number({name: values}, name, least=0, most=None, default=0)
        return lambda row: (value := of(row)) is not None and (value >= limit if least else value <= limit)

    return make


def _date(of: Callable[[Any], float | None], *, least: bool) -> Make:
    def make(values: list[str], name: str) -> Test:
        try:
            when = datetime.fromisoformat(values[-1])
        except ValueError:
            refuse(422, [problem("A date and time in ISO 8601 is needed", "query", name, kind="value_error.datetime")])
        limit = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        return lambda row: (at := of(row)) is not None and (at >= limit if least else at <= limit)

    return make


def _tag(values: list[str], _: str) -> Test:
    """One tag; of several the last one counts."""
    return lambda batch: values[-1] in batch.tags


def _begins(values: list[str], _: str) -> Test:
    return lambda row: row.id.startswith(values[-1].lower())


def _started(row: Row) -> float | None:
    return row.started


def _finished(row: Row) -> float | None:
    return row.finished


_DATES: Final[Mapping[str, Make]] = {
    "start_date": _date(_started, least=True),
    "end_date": _date(_finished, least=False),
}
_STATUS: Final[Mapping[str, Make]] = {"status": _words(STATUSES, lambda row: row.status)}
_RUNS: Final[Mapping[str, Make]] = {
    "min_runs": _bound(lambda job: job.runs, least=True),
    "max_runs": _bound(lambda job: job.runs, least=False),
}
_OWNERS: Final[Mapping[str, Make]] = {
    "id": _ids("id"),
    "id__starts_with": _begins,
    "project_id": _ids("project_id"),
    "user_id": _texts("user_id"),
}

FILTERS: Final[Mapping[Of, Mapping[str, Make]]] = {
    Of.BATCHES: {
        **_OWNERS,
        **_STATUS,
        **_DATES,
        "device_type": _texts("device_type"),
        "queue_priority": _words(PRIORITIES, lambda _: PRIORITY),
        "open": _truth(lambda batch: batch.open),
        "tag": _tag,
        "min_jobs": _bound(lambda batch: len(batch.jobs), least=True),
        "max_jobs": _bound(lambda batch: len(batch.jobs), least=False),
    },
    Of.JOBS: {
        **_OWNERS,
        **_STATUS,
        **_DATES,
        **_RUNS,
        "batch_id": _ids("batch_id"),
        "errors": _truth(lambda job: bool(job.errors)),
    },
    Of.WORKLOADS: {
        **_OWNERS,
        **_STATUS,
        **_DATES,
        "workload_type": _texts("workload_type"),
        "backend": _texts("backend"),
    },
    Of.REBATCH: {"id": _ids("id"), **_STATUS, **_RUNS, **_DATES},
    Of.CANCEL: {"id": _ids("id"), **_RUNS, **_DATES},
}
