"""What may happen around a command on Pasqal Cloud that dies, and what must be so once somebody goes on.

Each story makes a beginning that nothing disturbs, types the command that dies, and goes on as a user would. Meanwhile
another command may have been typed, the machine may have been lost, and the author may have edited the manifest.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tests.booked import at_rest
from tests.booked_pasqal import (
    APPLY,
    OPEN,
    UNCLEAR,
    Jobs,
    Wanted,
    attempts,
    bought_once,
    patient,
    project,
    pulse,
    sent,
    standing,
    workload,
    write,
)
from tests.desk import Desk
from tests.killing import Look, Point, typed
from tests.stage_pasqal import Stage, Trial

ONE: Final = {"b": pulse(100)}
THREE: Final = {"a": pulse(100), "b": pulse(400), "c": pulse(48, needs=["a"])}
TRIO: Final = {"a": pulse(100), "b": pulse(400), "c": pulse(48)}
PAIR: Final = {"a": pulse(100), "b": pulse(400)}
TAGGED: Final = {name: {**job, "tags": ["new"]} for name, job in PAIR.items()}
ALONE: Final = {"a": pulse(100, **OPEN)}
MORE: Final = {**ALONE, "b": pulse(400, **OPEN), "c": pulse(48, **OPEN)}
WORK: Final = {"b": workload(100)}
OTHER: Final = {"b": pulse(48)}
FAILED: Final = (100, 400)  # runs of the two jobs of a batch that was made elsewhere

STUCK: Final = "POST /api/v1/*: stuck x1"
UNTRUE: Final = frozenset({("work", "resolve")})  # a story and a detour: it was sent, and the user says it was not


# --- what can be searched: a batch ------------------------------------------------------------------------------------


def create(stage: Stage) -> None:
    _created(stage, THREE)


def create_one(stage: Stage) -> None:
    _created(stage, ONE)


def create_open(stage: Stage) -> None:
    """Where no manifest names what went out any more, the batch holds the device until it is closed."""
    _created(stage, MORE)


def _created(stage: Stage, jobs: Jobs) -> None:
    """Cleared up by the next `apply` alone."""
    write(stage.desk, jobs)
    stage.dies(*APPLY)
    wanted = stage.meanwhile(jobs)
    there = set(sent(stage.account))
    stage.well(stage.applies(wanted))
    stage.look.expect(there <= set(sent(stage.account)), "what was sent before is gone")
    stage.ends(wanted)


def create_cancelled(stage: Stage) -> None:
    """What was on its way is to be cancelled, as soon as it is known what became of it."""
    stage.account.faults(STUCK)
    write(stage.desk, PAIR)
    stage.dies(*APPLY, "--no-wait")
    stage.meanwhile(PAIR)
    there = sent(stage.account)
    typed(stage.desk, "cancel", *PAIR)  # says so of what is not known to run
    stage.well(patient(stage.desk, "sync", "--timeout", "1s"), 0, 3, 4, 6)
    stage.look.expect(sent(stage.account) == there, f"{sent(stage.account)} were sent, before it was {there}")
    if there and stage.trial.detour in ("lost", "resolve"):  # nothing here knows of it any more
        stage.well(stage.applies(Wanted(jobs=PAIR), "--no-wait"))
    _cancels(stage, there)
    stage.look.expect(sent(stage.account) == there, f"{sent(stage.account)} were sent, before it was {there}")


# --- what can be counted: jobs that join a batch, copies of a batch ---------------------------------------------------


def join(stage: Stage) -> None:
    """What joined is taken in by its number. Where nothing came, nobody knows whether it still will: the user says."""
    stage.begins(ALONE)
    write(stage.desk, MORE)
    stage.dies(*APPLY)
    wanted = stage.meanwhile(MORE)
    there = len(sent(stage.account))
    end = stage.applies(wanted)
    if end.code == 6:
        unclear = [name for name, phase in standing(stage.desk).items() if phase in UNCLEAR]
        stage.look.expect(there == 1, f"{there} jobs came, and unclear are {unclear}: {end.err}")
        stage.look.expect("0 jobs came since the intent where 2 were sent" in end.err, end.err)
        stage.well(patient(stage.desk, "resolve", unclear[0], "--resubmit", "--yes"))
        end = stage.applies(wanted)
    stage.well(end)
    batches = len(stage.account.books()["batches"])
    stage.look.expect(batches == 1 or stage.trial.detour == "close", f"there are {batches} batches")
    stage.ends(wanted)


def rebatch(stage: Stage) -> None:
    """Jobs that failed, made elsewhere and imported, run once more; the manifest beside them is another matter."""
    stage.account.faults("POST /api/v1/batches: fail=broken x1")
    write(stage.desk, OTHER)
    made = stage.account.create(jobs=[{"runs": runs, "variables": {"omega": 0.25}} for runs in FAILED])
    stage.account.settled(made["id"])
    stage.well(patient(stage.desk, "import", "atoms", made["id"]), 3)
    stage.dies("retry", "--rebatch", "--failed", "--yes")
    wanted = stage.meanwhile(OTHER)
    _copied(stage, [job["id"] for job in made["jobs"]])
    stage.well(stage.applies(wanted))
    at_rest(stage.desk, stage.look, len(wanted.jobs))


def _copied(stage: Stage, ids: Sequence[str]) -> None:
    """Each job has one copy. Where none came, nobody knows whether one still will: the user says."""
    names = [f"import-atoms.{each}" for each in ids]
    end = patient(stage.desk, "sync", "--wait")
    if end.code == 6:
        stage.look.expect(len(sent(stage.account)) == len(FAILED), f"copies are there: {end.err}")
        stage.look.expect("0 jobs came since the intent where 2 were sent" in end.err, end.err)
        stage.well(patient(stage.desk, "resolve", names[0], "--resubmit", "--yes"))
    if not all(len(handles) > 1 for handles in attempts(stage.desk, *ids).values()):
        stage.well(patient(stage.desk, "retry", "--rebatch", *names, "--yes"))
        stage.well(patient(stage.desk, "sync", "--wait"))
    parent, *copies = stage.account.books()["batches"]
    jobs = {job["parent_id"]: f"{copy['id']}/{job['id']}" for copy in copies for job in copy["jobs"]}
    stage.look.expect(sum(len(copy["jobs"]) for copy in copies) == len(ids) == len(jobs), f"the copies are {copies}")
    found = attempts(stage.desk, *ids)
    expected = {each: [(f"{parent['id']}/{each}", "failed"), (jobs.get(each), "succeeded")] for each in ids}
    stage.look.expect(found == expected, f"recorded are {found}, there are {expected}")
    started = [job["starts"] for copy in copies for job in copy["jobs"]]
    stage.look.expect(set(started) == {1}, f"the copies were started {started} times")


# --- what cannot be looked for: a workload ----------------------------------------------------------------------------


def work(stage: Stage) -> None:
    """Held until the user has looked, and never sent a second time by itself."""
    write(stage.desk, WORK)
    stage.dies(*APPLY)
    wanted = stage.meanwhile(WORK)
    there = [handle for handle, runs in sent(stage.account).items() if runs == 100]
    end = stage.applies(wanted)
    again = [handle for handle, runs in sent(stage.account).items() if runs == 100][len(there) :]
    stage.look.expect(not (there and again), f"it was sent again: {end}")
    if end.code == 3 and "--not-sent-elsewhere" in end.err + end.out:  # no journal: another machine may have sent it
        key = next((name for name, job in wanted.jobs.items() if job["program"] == WORK["b"]["program"]), "")
        if there and key:
            stage.well(patient(stage.desk, "import", "atoms", *there, "--as", key))
        end = stage.applies(wanted, "--not-sent-elsewhere")
    elif end.code == 6:
        stage.look.expect("qrun resolve" in end.err, end.err)
        (unclear,) = (name for name, phase in standing(stage.desk).items() if phase in UNCLEAR)
        way = ["--adopt", *there] if there else ["--resubmit", "--yes"]
        stage.well(patient(stage.desk, "resolve", unclear, *way))
        end = stage.applies(wanted)
    stage.well(end)
    stage.ends(wanted)


# --- what may be asked twice: tags, closing, cancelling, taking in ----------------------------------------------------


def tags(stage: Stage) -> None:
    stage.begins(PAIR)
    write(stage.desk, TAGGED)
    stage.dies(*APPLY)
    wanted = stage.meanwhile(TAGGED)
    stage.well(stage.applies(wanted))
    stage.ends(wanted)
    shared = frozenset(tag for job in wanted.jobs.values() for tag in job["tags"])
    told = [frozenset(tag for tag in batch["tags"] if not tag.startswith("qr")) for batch in _batches(stage)]
    stage.look.expect(set(told) == {shared}, f"the tags are {told}")


def close(stage: Stage) -> None:
    """A job that comes to the manifest meanwhile goes where there is room for it."""
    stage.begins(MORE)
    stage.dies("close", "a")
    wanted = stage.meanwhile(MORE)
    stage.well(patient(stage.desk, "close", "--all"))
    stage.look.expect(not _batches(stage)[0]["open"], "the batch is open")
    stage.well(stage.applies(wanted))
    stage.ends(wanted)


def cancel_all(stage: Stage) -> None:
    _cancel(stage, "cancel", *TRIO)


def cancel_some(stage: Stage) -> None:
    _cancel(stage, "cancel", "a", "b")


def cancel_one(stage: Stage) -> None:
    _cancel(stage, "cancel", "a")


def cancel_there(stage: Stage) -> None:
    """By the provider's own names, with nothing recorded."""
    _cancel(stage, "cancel", "--remote", "atoms", "a", "b")


def cancel_filtered(stage: Stage) -> None:
    _cancel(stage, "cancel", "--remote", "atoms", "--device", "EMU_FREE", "--yes", all_=True)


def cancel_work(stage: Stage) -> None:
    _cancel(stage, "cancel", "b", jobs=WORK)


def _cancel(stage: Stage, *words: str, jobs: Jobs = TRIO, all_: bool = False) -> None:
    """Jobs that never end are cancelled, and no other."""
    stage.account.faults(STUCK)
    stage.begins(jobs, *APPLY, "--no-wait")
    handles = dict(zip(jobs, sent(stage.account), strict=True))
    meant = {handle: sent(stage.account)[handle] for name, handle in handles.items() if all_ or name in words}
    there = "--remote" in words
    stage.dies(*(handles.get(word, word) if there else word for word in words))
    wanted = stage.meanwhile(jobs)
    _cancels(stage, meant)
    for handle in handles.values():
        if handle not in meant:
            stage.look.expect(_words(stage)[handle] == "RUNNING", f'"{handle}" is {_words(stage)[handle]}')
    _cancels(stage, sent(stage.account))
    stage.well(stage.applies(wanted))
    perhaps = wanted.perhaps | {sent(stage.account)[handle] for handle in handles.values()}
    bought_once(stage.account, stage.look, replace(wanted, perhaps=perhaps))


def _cancels(stage: Stage, meant: Mapping[str, int]) -> None:
    """Until these are cancelled there and here: by name while they live here, and a sync records what came of it."""
    for _ in range(2):
        live = [name for name, handle in _live(stage).items() if handle in meant]
        if live:
            typed(stage.desk, "cancel", *live)
            stage.well(patient(stage.desk, "sync", "--timeout", "1s"), 0, 3, 4)
    words = {_words(stage)[handle] for handle in meant}
    stage.look.expect(words <= {"CANCELED"}, f"the jobs are {words} there")
    left = [name for name, handle in _live(stage).items() if handle in meant]
    stage.look.expect(not left, f"{left} live here")
    stage.look.expect(not stage.account.books()["empty_cancels"], "a request to cancel named nothing")


def replaced(stage: Stage) -> None:
    """A job that never ends is cancelled for one that replaces it."""
    stage.account.faults(STUCK)
    stage.begins(PAIR, *APPLY, "--no-wait")
    changed = {"a": pulse(104), "b": pulse(404)}
    write(stage.desk, changed)
    stage.dies(*APPLY, "--prune")
    if stage.trial.detour:
        stage.meanwhile(changed)
    stage.well(patient(stage.desk, *APPLY, "--prune"))
    bought_once(stage.account, stage.look, Wanted(jobs=changed, perhaps=frozenset({100, 400})))
    words = {job["runs"]: job["status"] for batch in _batches(stage) for job in batch["jobs"]}
    stage.look.expect(words == {100: "CANCELED", 400: "CANCELED", 104: "DONE", 404: "DONE"}, f"the jobs are {words}")


def take_in(stage: Stage) -> None:
    """An open batch that was made elsewhere is imported as a whole."""
    write(stage.desk, OTHER)
    jobs = [{"runs": runs, "variables": {"omega": 0.25}} for runs in FAILED]
    made = stage.account.create(jobs=jobs, open=True)
    stage.account.settled(made["id"])
    stage.dies("import", "atoms", made["id"])
    wanted = stage.meanwhile(OTHER)
    stage.well(patient(stage.desk, "import", "atoms", made["id"]))
    found = attempts(stage.desk, *(job["id"] for job in made["jobs"]))
    expected = {job["id"]: [(f"{made['id']}/{job['id']}", "succeeded")] for job in made["jobs"]}
    stage.look.expect(found == expected, f"recorded are {found}")
    stage.well(stage.applies(wanted))
    stage.ends(replace(wanted, foreign=frozenset(f"{made['id']}/{job['id']}" for job in made["jobs"])))


# --- how it stands ----------------------------------------------------------------------------------------------------


def _batches(stage: Stage) -> list[Any]:
    batches: list[Any] = stage.account.books()["batches"]
    return batches


def _words(stage: Stage) -> dict[str, str]:
    """By handle, the cloud's own words."""
    books = stage.account.books()
    found = {f"{batch['id']}/{job['id']}": job["status"] for batch in books["batches"] for job in batch["jobs"]}
    return found | {row["id"]: row["status"] for row in books["workloads"]}


def _live(stage: Stage) -> dict[str, str]:
    jobs = typed(stage.desk, "status", "-o", "json").json["experiments"][0]["jobs"]
    return {job["job"]: job["handle"] for job in jobs if job["phase"] == "live"}


STORIES: Final[Mapping[str, Callable[[Stage], None]]] = {
    story.__name__: story
    for story in (
        *(create, create_one, create_open, create_cancelled, join, rebatch, work),
        *(tags, close, replaced, take_in),
        *(cancel_all, cancel_some, cancel_one, cancel_there, cancel_filtered, cancel_work),
    )
}


# --- playing them -----------------------------------------------------------------------------------------------------


def played(trial: Trial) -> Look | None:
    """None where the time was over. In a process of its own, which may fork."""
    return None if time.monotonic() > trial.until else _played(trial).look


def traced(trial: Trial) -> Sequence[Point]:
    """Each call of the command that changes something or speaks to the cloud, where nobody dies."""
    stage = _played(trial)
    assert not stage.look.wrong, stage.look.wrong
    return stage.calls


def _played(trial: Trial) -> Stage:
    account = trial.cloud.new_account()
    desk = project(Desk(trial.folder), account, {})
    stage = Stage(trial=trial, desk=desk, account=account, look=Look(name=trial.name))
    STORIES[trial.story](stage)
    account.close()
    if not stage.look.wrong:
        shutil.rmtree(trial.folder)
    return stage


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
