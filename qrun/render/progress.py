"""Events as lines of text: what a person reads while `apply` runs, where there is no live display."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from qrun.events import (
    Absent,
    Adopted,
    Cancelling,
    Event,
    Failed,
    Fetched,
    Held,
    Refused,
    Relabelled,
    Renamed,
    Rested,
    Retrying,
    Running,
    Searching,
    Sent,
    Started,
    Summary,
    Unclear,
    Version,
    Warned,
)
from qrun.render.histogram import headline
from qrun.render.safe import safe, shown
from qrun.render.words import count, duration, job_name, phases

FEW: Final = 20  # jobs up to which each one's counts and start are told


def line(event: Event, *, few: bool = True) -> str | None:
    """One line, or None for what is not worth one. `few`: there are so few jobs that details do no harm."""
    match event:
        case Version():
            return None
        case Started(experiment=experiment, steps=steps, resting=resting):
            rest = f", {count(resting, 'job')} at rest" if resting else ""
            return f"{safe(experiment)}: {count(steps, 'step')} to take{rest}" if steps else None
        case Summary(phases=found):
            return phases(dict(found)) or None
        case Failed(job=None, connection=connection, message=message):
            return f"error      {safe(connection) + ': ' if connection else ''}{shown(message)}"
        case Warned(job=None, experiment=experiment, message=message):
            return f"warning    {safe(experiment)}: {shown(message)}"
        case _:
            return _of_job(event, few)


def _of_job(event: Event, few: bool) -> str | None:
    told = _told(event, few)
    if told is None:
        return None
    word, rest = told
    name = job_name(event.experiment, event.job or "")  # type: ignore[union-attr]
    return f"{word:<10} {name}{'  ' if rest else ''}{rest}"


def _told(event: Event, few: bool) -> tuple[str, str] | None:
    """The word that begins the line and what follows the job's name."""
    match event:
        case Sent(handle=handle, attempt=n):
            return ("sent", f"as {safe(handle)}{_attempt(n)}")
        case Adopted(handle=handle, found=found):
            return ("adopted", f"{safe(handle)}, found by its {safe(found)}; not sent again")
        case Refused(message=message):
            return ("refused", shown(message))
        case Unclear(message=message):
            return ("unclear", f"{shown(message)}; it will be looked for, not sent again")
        case Searching(again_in=wait):
            return ("searching", f"for up to {duration(wait)}" if wait is not None else "")
        case Absent(attempt=n):
            return ("absent", f"attempt {n} made no job")
        case Running(word=word):
            return ("running", "" if word.lower() == "running" else safe(word)) if few else None
        case Rested(phase="succeeded"):
            return None  # what was fetched of it has the line
        case Rested(phase=phase, message=message):
            return (phase, shown(message) if message else "")
        case Fetched(counts=found):
            return ("done", headline(dict(found)) if few else "")
        case Retrying(attempt=n, of=of):
            return ("retrying", f"attempt {n} of {of}")
        case Held(reason=reason):
            return ("held", shown(reason))
        case Renamed(formerly=formerly):
            return ("renamed", f'from "{safe(formerly)}"; nothing is run again')
        case Relabelled(where=where):
            return ("relabelled", f"in {safe(where)}")
        case Cancelling(reason=reason):
            return ("cancelling", shown(reason))
        case Warned(message=message):
            return ("warning", shown(message))
        case Failed(message=message):
            return ("error", shown(message))
        case _:
            return None


def _attempt(n: int) -> str:
    return f", attempt {n}" if n > 1 else ""


class Lines:
    """A renderer that writes each event's line at once."""

    def __init__(self, write: Callable[[str], None], *, jobs: int) -> None:
        self.write = write
        self.few = jobs <= FEW

    def show(self, event: Event) -> None:
        text = line(event, few=self.few)
        if text is not None:
            self.write(text)

    def close(self) -> None:
        """Nothing is held back."""
