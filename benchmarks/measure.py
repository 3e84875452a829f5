"""Whole processes, timed side by side: every figure is a median, every claim a ratio of two that ran in turn."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    seconds: float
    peak: int  # bytes, of the largest single process


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One claim: `value` against `limit` in `unit`; smaller is better."""

    name: str
    value: float
    limit: float
    unit: str
    detail: str

    @property
    def met(self) -> bool:
        return self.value <= self.limit


def environment() -> dict[str, str]:
    """The environment without what slows every start or points elsewhere."""
    left_out = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if name not in left_out and not name.startswith("QRUN_")}
    return kept | {"NO_COLOR": "1"}


def once(command: Sequence[str], folder: Path, *, expect: int = 0) -> Run:
    """Run one command to its end; raises RuntimeError with its last words where it ends otherwise."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode != expect:
        words = output.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{words}")
    scale = 1 if sys.platform == "darwin" else 1024
    return Run(seconds=seconds, peak=usage.ru_maxrss * scale)


def median(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def side_by_side(one: Callable[[], Run], two: Callable[[], Run], *, runs: int = 7) -> tuple[list[Run], list[Run]]:
    """Both in turn, one more of each first, which is not counted."""
    one(), two()
    pairs = [(one(), two()) for _ in range(runs)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def ratio(one: Sequence[Run], two: Sequence[Run]) -> float:
    """The median of the ratios pair by pair, so that a machine that drifts does not matter."""
    return statistics.median(a.seconds / b.seconds for a, b in zip(one, two, strict=True))
