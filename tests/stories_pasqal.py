"""What may happen around a command on Pasqal Cloud that dies, and what must be so once somebody goes on.

Each story makes a beginning that nothing disturbs, types the command that dies, and goes on as a user would.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.booked import End, at_rest, stopped
from tests.booked_pasqal import (
    APPLY,
    OPEN,
    Jobs,
    Wanted,
    bought_once,
    patient,
    project,
    pulse,
    recorded,
    sent,
    standing,
    workload,
    write,
)
from tests.desk import Desk
from tests.emulator_pasqal import Cloud
from tests.killing import Look, typed

THREE: Final = {"a": pulse(100), "b": pulse(400), "c": pulse(48, needs=["a"])}
THREE_EDITED: Final = {
    "first": pulse(100),
    "b": pulse(404),
    "c": pulse(48, needs=["first"], tags=["new"]),
}
PAIR: Final = {"a": pulse(100), "b": pulse(400)}
TAGGED: Final = {name: {**job, "tags": ["new"]} for name, job in PAIR.items()}
RETAGGED: Final = {name: {**job, "tags": ["newer"]} for name, job in PAIR.items()}
ALONE: Final = {"a": pulse(100, **OPEN)}
ALONE_EDITED: Final = {"a": pulse(104, **OPEN)}
MORE: Final = {**ALONE, "b": pulse(400, **OPEN), "c": pulse(48, **OPEN)}
MORE_EDITED: Final = {**ALONE, "second": pulse(400, **OPEN), "c": pulse(52, **OPEN)}
WORK: Final = {"w": workload(100)}
WORK_EDITED: Final = {"w": workload(104)}
WORK_GONE: Final = {"a": pulse(400)}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`until` is when (as `time.monotonic` has it) no further trial begins; without a death nobody dies."""

    story: str
    death: str | None
    folder: Path
    cloud: Cloud
    until: float = float("inf")

    @property
    def name(self) -> str:
        return f"{self.story}, killed at {self.death}"


@dataclass(kw_only=True)
class Stage:
    """Where one trial is played."""

    trial: Trial
    desk: Desk
    account: Cloud
    look: Look

    def begins(self, jobs: Jobs, *words: str) -> None:
        """What comes before, and ends well."""
        write(self.desk, jobs)
        self.well(patient(self.desk, *(words or APPLY)))

    def dies(self, *words: str) -> None:
        if self.trial.death is None:
            self.well(patient(self.desk, *words))
        else:
            self.look.reached = stopped(self.desk, self.trial.death, *words)

    def well(self, end: End) -> None:
        self.look.expect(end.code == 0, f"it ends with {end.code}: {end.out} {end.err}")

    def ends(self, wanted: Wanted) -> None:
        """Nothing was bought twice, nothing is lost, and then all rests."""
        bought_once(self.account, self.look, wanted)
        recorded(self.desk, self.account, self.look, wanted)
        if not any(job.get("submit") for job in wanted.jobs.values()):
            at_rest(self.desk, self.look, len(wanted.jobs))

    def goes_on(self, wanted: Wanted, *words: str) -> None:
        write(self.desk, wanted.jobs)
        self.well(patient(self.desk, *(words or APPLY)))
        self.ends(wanted)


# --- a batch is created -----------------------------------------------------------------------------------------------


def create(stage: Stage) -> None:
    write(stage.desk, THREE)
    stage.dies(*APPLY)
    stage.goes_on(Wanted(jobs=THREE))


def create_edited(stage: Stage) -> None:
    """A job is renamed, one is changed and one has another label before the next command."""
    write(stage.desk, THREE)
    stage.dies(*APPLY)
    stage.goes_on(Wanted(jobs=THREE_EDITED, perhaps=frozenset({400})), *APPLY, "--keep")


def create_lost(stage: Stage) -> None:
    """The machine is gone with its journal; a fresh clone takes over what it had sent."""
    write(stage.desk, THREE)
    stage.dies(*APPLY)
    before = set(sent(stage.account))
    shutil.rmtree(stage.desk.folder / "results", ignore_errors=True)
    stage.goes_on(Wanted(jobs=THREE))
    stage.look.expect(before <= set(sent(stage.account)), "what the lost machine had sent is gone")


def create_open(stage: Stage) -> None:
    """No manifest names what went out any more; the batch holds the device all the same, until it is closed."""
    write(stage.desk, ALONE)
    stage.dies(*APPLY)
    wanted = Wanted(jobs=ALONE_EDITED, perhaps=frozenset({100}))
    stage.goes_on(wanted, *APPLY, "--keep")
    stage.well(patient(stage.desk, "close", "--all"))
    stage.look.expect(not any(batch["open"] for batch in stage.account.books()["batches"]), "a batch stays open")
    at_rest(stage.desk, stage.look, len(wanted.jobs))


# --- jobs join an open batch ------------------------------------------------------------------------------------------


def join(stage: Stage) -> None:
    stage.begins(ALONE)
    write(stage.desk, MORE)
    stage.dies(*APPLY)
    _joined(stage, Wanted(jobs=MORE))


def join_edited(stage: Stage) -> None:
    """One of those that join is renamed and one is changed before the next command."""
    stage.begins(ALONE)
    write(stage.desk, MORE)
    stage.dies(*APPLY)
    _joined(stage, Wanted(jobs=MORE_EDITED, perhaps=frozenset({48})), "--keep")


def join_lost(stage: Stage) -> None:
    """Nothing is left of the machine."""
    stage.begins(ALONE)
    write(stage.desk, MORE)
    stage.dies(*APPLY)
    shutil.rmtree(stage.desk.folder / "results")
    stage.goes_on(Wanted(jobs=MORE))


def join_behind(stage: Stage) -> None:
    """Another machine, which knows the batch and not who was joining it, goes on."""
    stage.begins(ALONE)
    kept = stage.desk.tree()
    write(stage.desk, MORE)
    stage.dies(*APPLY)
    shutil.rmtree(stage.desk.folder / "results")
    for name, data in kept.items():
        path = stage.desk.folder / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    stage.goes_on(Wanted(jobs=MORE))


def _joined(stage: Stage, wanted: Wanted, *options: str) -> None:
    """What joined is taken in by its number. Where nothing came, nobody knows whether it still will: the user says."""
    write(stage.desk, wanted.jobs)
    before = len(sent(stage.account))
    end = patient(stage.desk, *APPLY, *options)
    if end.code == 6:
        unclear = [name for name, phase in standing(stage.desk).items() if phase in ("intent", "uncertain")]
        stage.look.expect((before, len(sent(stage.account))) == (1, 1), f"unclear are {unclear}: {end.err}")
        stage.look.expect("0 jobs came since the intent where 2 were sent" in end.err, end.err)
        stage.well(patient(stage.desk, "resolve", "c", "--resubmit", "--yes"))
        end = patient(stage.desk, *APPLY, *options)
    stage.well(end)
    stage.ends(wanted)
    batches = stage.account.books()["batches"]
    stage.look.expect(len(batches) == 1, f"there are {len(batches)} batches")
    stage.well(patient(stage.desk, "close", "--all"))
    at_rest(stage.desk, stage.look, len(wanted.jobs))


# --- tags, closing, cancelling ----------------------------------------------------------------------------------------


def tags(stage: Stage) -> None:
    stage.begins(PAIR)
    write(stage.desk, TAGGED)
    stage.dies(*APPLY)
    stage.goes_on(Wanted(jobs=TAGGED, tags=frozenset({"new"})))


def tags_edited(stage: Stage) -> None:
    stage.begins(PAIR)
    write(stage.desk, TAGGED)
    stage.dies(*APPLY)
    stage.goes_on(Wanted(jobs=RETAGGED, tags=frozenset({"newer"})))


def close(stage: Stage) -> None:
    stage.begins(MORE)
    stage.dies("close", "a")
    _closed(stage, MORE)


def close_edited(stage: Stage) -> None:
    """A job came to the manifest meanwhile; it goes where there is room for it."""
    stage.begins(ALONE)
    stage.dies("close", "a")
    stage.goes_on(Wanted(jobs=MORE))
    _closed(stage, MORE)


def _closed(stage: Stage, jobs: Jobs) -> None:
    stage.well(patient(stage.desk, "close", "--all"))
    stage.look.expect(not any(batch["open"] for batch in stage.account.books()["batches"]), "a batch is open")
    stage.goes_on(Wanted(jobs=jobs))
    at_rest(stage.desk, stage.look, len(jobs))


def cancel(stage: Stage) -> None:
    """Jobs that never end are cancelled."""
    stage.account.faults("POST /api/v1/batches: stuck x1")
    stage.begins(PAIR, *APPLY, "--no-wait")
    stage.dies("cancel", "*")
    _cancelled(stage)


def cancel_edited(stage: Stage) -> None:
    """The manifest names them no more."""
    stage.account.faults("POST /api/v1/batches: stuck x1")
    stage.begins(PAIR, *APPLY, "--no-wait")
    stage.dies("cancel", "*")
    write(stage.desk, {"a": PAIR["a"]})
    _cancelled(stage)


def _cancelled(stage: Stage) -> None:
    if live := [name for name, phase in standing(stage.desk).items() if phase == "live"]:
        typed(stage.desk, "cancel", *live)  # says so of what was cancelled before
        stage.well(patient(stage.desk, "sync", "--timeout", "1m"))
    stage.well(patient(stage.desk, *APPLY))
    words = [job["status"] for batch in stage.account.books()["batches"] for job in batch["jobs"]]
    stage.look.expect(words == ["CANCELED", "CANCELED"], f"the jobs are {words}")
    records = [json.loads(path.read_text()) for path in stage.desk.folder.glob("results/*/*/*/record.json")]
    phases = [record["attempts"][-1]["phase"] for record in records]
    stage.look.expect(phases == ["cancelled", "cancelled"], f"the jobs are {phases} here")
    stage.look.expect(not stage.account.books()["empty_cancels"], "a request to cancel named nothing")


def replaced(stage: Stage) -> None:
    """A job that never ends is cancelled for one that replaces it."""
    stage.account.faults("POST /api/v1/batches: stuck x1")
    stage.begins(PAIR, *APPLY, "--no-wait")
    changed = {"a": pulse(104), "b": pulse(404)}
    write(stage.desk, changed)
    stage.dies(*APPLY, "--prune")
    stage.well(patient(stage.desk, *APPLY, "--prune"))
    bought_once(stage.account, stage.look, Wanted(jobs=changed, perhaps=frozenset({100, 400})))
    words = {job["runs"]: job["status"] for batch in stage.account.books()["batches"] for job in batch["jobs"]}
    stage.look.expect(words == {100: "CANCELED", 400: "CANCELED", 104: "DONE", 404: "DONE"}, f"the jobs are {words}")


# --- a workload, for which nothing can be searched --------------------------------------------------------------------


def work(stage: Stage) -> None:
    write(stage.desk, WORK)
    stage.dies(*APPLY)
    _told(stage, Wanted(jobs=WORK))


def work_edited(stage: Stage) -> None:
    write(stage.desk, WORK)
    stage.dies(*APPLY)
    _told(stage, Wanted(jobs=WORK_EDITED, perhaps=frozenset({100})), "--keep")


def work_gone(stage: Stage) -> None:
    """The manifest names something else instead."""
    write(stage.desk, WORK)
    stage.dies(*APPLY)
    _told(stage, Wanted(jobs=WORK_GONE, perhaps=frozenset({100})), "--keep")


def _told(stage: Stage, wanted: Wanted, *options: str) -> None:
    """Held until the user has looked, and never sent a second time by itself."""
    write(stage.desk, wanted.jobs)
    there = sent(stage.account)
    end = patient(stage.desk, *APPLY, *options)
    if end.code == 6:
        stage.look.expect("qrun resolve" in end.err, end.err)
        now = sent(stage.account)
        stage.look.expect(100 not in list(now.values())[len(there) :], f"the workload was sent again: {now}")
        way = ["--adopt", *there] if there else ["--resubmit", "--yes"]
        stage.well(patient(stage.desk, "resolve", "w", *way))
        end = patient(stage.desk, *APPLY, *options)
    stage.well(end)
    stage.ends(wanted)


STORIES: Final[Mapping[str, Callable[[Stage], None]]] = {
    story.__name__: story
    for story in (
        *(create, create_edited, create_lost, create_open),
        *(join, join_edited, join_lost, join_behind),
        *(tags, tags_edited, close, close_edited, cancel, cancel_edited, replaced),
        *(work, work_edited, work_gone),
    )
}


# --- playing them -----------------------------------------------------------------------------------------------------


def played(trial: Trial) -> Look | None:
    """None where the time was over. In a process of its own, which may fork."""
    if time.monotonic() > trial.until:
        return None
    account = trial.cloud.new_account()
    desk = project(Desk(trial.folder), account, {})
    stage = Stage(trial=trial, desk=desk, account=account, look=Look(name=trial.name))
    STORIES[trial.story](stage)
    account.close()
    if not stage.look.wrong:
        shutil.rmtree(trial.folder)
    return stage.look


def passages(trial: Trial) -> list[Look]:
    """The trial's failpoint at its first passage, the second, and so on, until a command passes it no more."""
    looks: list[Look] = []
    while not looks or looks[-1].reached:
        times = len(looks) + 1
        folder = trial.folder.with_name(f"{trial.folder.name}-{trial.death}-{times}")
        look = played(replace(trial, death=f"{trial.death}:{times}", folder=folder))
        assert look is not None
        looks.append(look)
    return looks
