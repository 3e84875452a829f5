"""What may happen around a command that dies: each story ends with the next `apply`, after which all must be well.

A death is a failpoint (`noted:2`) or a system call before which strace kills; without one the command is only traced.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.booked import EDITED, JOBS, Wanted, clone, forked, goes_on, lose, project, pull, stopped, write
from tests.desk import Desk
from tests.emulator import Emulator
from tests.killing import CALLS, NETWORK, Look, Point, killed, points

APPLY: Final = ("apply", "--yes")
# Where the command before the one that is examined has died: each leaves the submission in another state.
EARLIER: Final = (
    *("intended:1", "noted:1", "noted:2", "submitted:1", "accepted:1"),
    *("heard:1", "ended:1", "kept:2", "settled:1", "paged:2", "locked:1"),
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`number` jobs; `until` is when (as `time.monotonic` has it) no further trial begins."""

    story: str
    number: int
    death: str | Point | None
    folder: Path
    cloud: Emulator
    earlier: str = EARLIER[0]
    until: float = float("inf")

    @property
    def name(self) -> str:
        place = f"{self.death.words}, number {self.death.when}" if isinstance(self.death, Point) else self.death
        first = f" after {self.earlier}" if self.story in SECOND else ""
        return f"{self.story}{first}, {self.number} jobs, killed at {place}"


@dataclass(kw_only=True)
class Stage:
    """Where one trial is played."""

    trial: Trial
    desk: Desk
    account: Emulator
    look: Look
    wanted: Wanted
    calls: Sequence[Point] = ()

    def dies(self, *words: str) -> None:
        match self.trial.death:
            case None:
                self.calls = points(self.desk, *words, calls=(*CALLS, *NETWORK))
            case Point() as call:
                self.look.reached = killed(self.desk, call, *words)[1]
            case failpoint:
                self.look.reached = stopped(self.desk, failpoint, *words)

    def goes_on(self, *words: str) -> None:
        goes_on(self.desk, self.account, self.look, self.wanted, *words)

    def bought(self) -> set[str]:
        """What the cloud was given to do so far."""
        return {job["job_id"] for job in self.account.books()["jobs"] if job["submits"]}


# --- the stories ------------------------------------------------------------------------------------------------------


def fresh(stage: Stage) -> None:
    stage.dies(*APPLY)
    stage.goes_on()


def resumed(stage: Stage) -> None:
    stopped(stage.desk, stage.trial.earlier, *APPLY)
    stage.dies(*APPLY)
    stage.goes_on()


def lost(stage: Stage) -> None:
    """The machine is gone with its journal; what it had sent is taken over by a fresh clone."""
    stage.dies(*APPLY)
    _on_a_fresh_clone(stage)


def cloned(stage: Stage) -> None:
    """The fresh clone's own command dies too."""
    stopped(stage.desk, stage.trial.earlier, *APPLY)
    lose(stage.desk)
    stage.dies(*APPLY)
    stage.goes_on()


def lost_twice(stage: Stage) -> None:
    stopped(stage.desk, stage.trial.earlier, *APPLY)
    lose(stage.desk)
    stage.dies(*APPLY)
    _on_a_fresh_clone(stage)


def _on_a_fresh_clone(stage: Stage) -> None:
    before = stage.bought()
    lose(stage.desk)
    stage.goes_on()
    stage.look.expect(before <= stage.bought(), "what the lost machine had sent is gone")


def overtaken(stage: Stage) -> None:
    """Another machine does the work; then the first one goes on, with an old journal and nothing pulled."""
    stage.dies(*APPLY)
    _elsewhere(stage)
    stage.goes_on()


def pulled(stage: Stage) -> None:
    """The same, but what the other machine has committed is pulled before."""
    stage.dies(*APPLY)
    pull(stage.desk, _elsewhere(stage))
    stage.goes_on()


def returned(stage: Stage) -> None:
    """The first machine's next command dies too, with the journal that is old by then."""
    stopped(stage.desk, stage.trial.earlier, *APPLY)
    _elsewhere(stage)
    stage.dies(*APPLY)
    stage.goes_on()


def _elsewhere(stage: Stage) -> Desk:
    other = clone(stage.desk, stage.trial.folder.with_name(f"{stage.trial.folder.name}-other"))
    goes_on(other, stage.account, stage.look, stage.wanted)
    return other


def edited(stage: Stage) -> None:
    """A job is renamed, one is changed and one has another label before the next command."""
    stage.dies(*APPLY)
    _edit(stage)
    stage.goes_on(*APPLY, "--keep")


def editing(stage: Stage) -> None:
    """The command after the edit dies too."""
    stopped(stage.desk, stage.trial.earlier, *APPLY)
    _edit(stage)
    stage.dies(*APPLY, "--keep")
    stage.goes_on(*APPLY, "--keep")


def replaced(stage: Stage) -> None:
    """A job that never ends is cancelled for one that replaces it."""
    stage.account.faults("POST /jobs/*/submit: stuck x1")
    sent = forked(stage.desk, *APPLY, "--no-wait")
    stage.look.expect(sent.code == 0, f"it was not sent: {sent}")
    _edit(stage)
    stage.dies(*APPLY, "--prune")
    stage.goes_on(*APPLY, "--prune")


def _edit(stage: Stage) -> None:
    before, after = JOBS[stage.trial.number], EDITED[stage.trial.number]
    write(stage.desk, after)
    shots = {job["shots"] for job in before.values()} - {job["shots"] for job in after.values()}
    stage.wanted = Wanted(jobs=after, perhaps=frozenset(shots))


STORIES: Final[Mapping[str, Callable[[Stage], None]]] = {
    story.__name__: story
    for story in (
        *(fresh, resumed, lost, cloned, lost_twice, overtaken, pulled, returned),
        *(edited, editing, replaced),
    )
}
SECOND: Final = frozenset({"resumed", "cloned", "lost_twice", "returned", "editing"})


# --- playing them -----------------------------------------------------------------------------------------------------


def played(trial: Trial) -> Look | None:
    """None where the time was over. In a process of its own: it changes the working folder."""
    return None if time.monotonic() > trial.until else _played(trial).look


def traced(trial: Trial) -> Sequence[Point]:
    """Each call of the examined command that changes something or speaks to the cloud, where nobody dies."""
    stage = _played(trial)
    assert not stage.look.wrong, stage.look.wrong
    return stage.calls


def _played(trial: Trial) -> Stage:
    account = trial.cloud.new_account()
    jobs = JOBS[trial.number]
    desk = project(trial.folder, account, jobs)
    stage = Stage(trial=trial, desk=desk, account=account, look=Look(name=trial.name), wanted=Wanted(jobs=jobs))
    STORIES[trial.story](stage)
    account.close()
    if not stage.look.wrong:
        for folder in trial.folder.parent.glob(f"{trial.folder.name}*"):
            shutil.rmtree(folder)
    return stage


def passages(trial: Trial) -> list[Look]:
    """The trial's failpoint at its first passage, the second, and so on, until a command passes it no more."""
    looks: list[Look] = []
    while not looks or looks[-1].reached:
        times = len(looks) + 1
        name = f"{trial.death}-{times}"
        look = played(
            replace(trial, death=f"{trial.death}:{times}", folder=trial.folder.with_name(f"{trial.folder.name}-{name}"))
        )
        assert look is not None
        looks.append(look)
    return looks
