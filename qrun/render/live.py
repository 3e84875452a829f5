"""The live display of `apply` on a terminal: one bar, and above it what is worth a line of its own."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from qrun.events import Event, Fetched, Held, Refused, Rested, Running, Sent
from qrun.render.progress import FEW, line

QUIET = (Sent, Running, Fetched)  # what only the bar shows where there are many jobs


class Live:
    """Folds events into a bar. `jobs` is how many there are with something to do."""

    def __init__(self, stream: TextIO, *, jobs: int) -> None:
        self.few = jobs <= FEW
        self.jobs = jobs
        self.running: set[tuple[str, str]] = set()
        self.ended: set[tuple[str, str]] = set()
        self.console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
        self.task = self.progress.add_task("starting", total=jobs)

    @property
    def shows(self) -> bool:
        """Whether the terminal can go back over what it has shown."""
        return not self.console.is_dumb_terminal

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, event: Event) -> None:
        self._count(event)
        text = line(event, few=self.few)
        if text is not None and (self.few or not isinstance(event, QUIET)):
            self.console.print(Text(text))

    def close(self) -> None:
        self.progress.stop()

    def _count(self, event: Event) -> None:
        match event:
            case Running(experiment=experiment, job=job):
                self.running.add((experiment, job))
            case (
                Rested(experiment=experiment, job=job)
                | Held(experiment=experiment, job=job)
                | Refused(experiment=experiment, job=job)
            ):
                self.running.discard((experiment, job))
                self.ended.add((experiment, job))
            case _:
                return
        done = min(len(self.ended), self.jobs)
        self.progress.update(self.task, completed=done, description=f"{len(self.running)} running")


def draw(stream: TextIO, header: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """A table for a terminal; columns that hold nothing are left out. Whether the terminal is wide enough for one."""
    from rich.table import Table

    kept = [i for i in range(len(header)) if i == 0 or any(row[i] for row in body)]
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    widest = [max(len(row[i]) for row in (header, *body)) for i in kept]
    least = [width if header[i] in WHOLE else min(FOLDED, width) for i, width in zip(kept, widest, strict=True)]
    if console.is_dumb_terminal or sum(least) + 2 * len(least) > console.width:
        return False
    grid = Table(box=None, pad_edge=False, header_style="" if console.no_color else "bold")
    for i, width in zip(kept, least, strict=True):
        grid.add_column(header[i], overflow="fold", min_width=width, no_wrap=header[i] in WHOLE)
    for row in body:
        grid.add_row(*[Text(row[i], style=STYLES.get(row[i].partition(" ")[0], "")) for i in kept])
    console.print(grid)
    return True


FOLDED = 12  # characters that a column has at least before it is folded
WHOLE = frozenset({"HANDLE"})  # never folded: people copy it


STYLES = {
    "succeeded": "green",
    "failed": "red",
    "lost": "red",
    "uncertain": "yellow",
    "cancelled": "yellow",
    "live": "cyan",
}
