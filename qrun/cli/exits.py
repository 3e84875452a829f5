"""The exit code of a command that ran: which of several ends is told first (DESIGN §7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qrun.record import Phase, Record

OK = 0
ERROR = 1
CHANGES = 2
UNSATISFIED = 3
WAITING = 4
STORE = 5
UNCERTAIN = 6
BUDGET = 7
USAGE = 64
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True, slots=True)
class Ends:
    """What is true at a command's end, over all its experiments."""

    interrupted: bool = False
    store: bool = False  # the results directory is in use, newer, contradictory or damaged; a saved plan is stale
    uncertain: bool = False  # a submission's outcome is unknown
    over_budget: bool = False
    error: bool = False  # of qrun or of a provider
    unsatisfied: bool = False  # failed, rejected, lost or held, or outputs are missing, and nobody accepted it
    waiting: bool = False  # a wait that was asked for ended first


def exit_code(ends: Ends) -> int:
    """The first that applies, in the order 130 5 6 7 1 3 4."""
    order = (
        (ends.interrupted, INTERRUPTED),
        (ends.store, STORE),
        (ends.uncertain, UNCERTAIN),
        (ends.over_budget, BUDGET),
        (ends.error, ERROR),
        (ends.unsatisfied, UNSATISFIED),
        (ends.waiting, WAITING),
    )
    return next((code for true, code in order if true), OK)


def uncertain(records: Iterable[Record]) -> bool:
    """Whether any submission's outcome is unknown, wanted or not; an intent of `local` never left this machine."""
    return any(r.phase in (Phase.UNCERTAIN, Phase.INTENT) and r.provider != "local" for r in records)


def unsatisfied(record: Record | None, *, missing: bool = False) -> bool:
    """Whether a wanted job ended badly and nobody accepted that. What the user cancelled counts as accepted."""
    if record is None or record.accepted:
        return False
    match record.phase:
        case Phase.FAILED | Phase.LOST:
            return True
        case Phase.SUCCEEDED:
            return missing or record.outputs is None
        case Phase.CANCELLED:
            return timed_out(record)
        case _:
            return False


def timed_out(record: Record) -> bool:
    """Whether the manifest's `timeout` cancelled the job, which nobody else accepted."""
    message = record.last.message if record.last is not None else None
    return message is not None and message.startswith("timeout")


def settled(wanted: Mapping[str, Record | None]) -> bool:
    """Whether every wanted job has succeeded."""
    return all(record is not None and record.phase is Phase.SUCCEEDED for record in wanted.values())
