"""The real command is killed with SIGKILL, crowded and cut off, on real files: the next `apply` always goes on.

`KILLS=all python -m pytest tests/test_kill.py` tries every system call and every round; without it a part of them.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.desk import Desk
from tests.killing import (
    PATIENCE,
    Case,
    Look,
    Point,
    ended,
    killed,
    outcomes,
    points,
    some,
    tried,
    typed,
    usable,
    workers,
)
from tests.test_cli_signals import _own_terminal, _until
from tests.test_local_provider import endless, linux

ALL = os.environ.get("KILLS") == "all"
POINTS = 10**6 if ALL else 20  # so many of each kind of start
STARTS = 5 if ALL else 2  # how many half-finished folders a second command is killed in
ROUNDS = 50 if ALL else 10
CROWD = 8
JOB = {"provider": "local", "device": "ddsim"}
SMALL, WIDE = {**JOB, "program": "programs/bell.qasm"}, {**JOB, "program": "programs/wide.qasm"}
LONG = {**JOB, "program": "programs/long.qasm"}
MANY = {f"j{n}": {**SMALL, "shots": n + 1} for n in range(200)}
QASM = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[14];\ncreg c[14];\nh q;\nmeasure q -> c;\n'
OUTGROWS = (
    'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg a[30]; qreg b[30]; creg c[1]; ry(0.7) a; cx a, b; measure a[0] -> c[0];'
)
THREE = {"a": {**SMALL, "shots": 100}, "b": {**WIDE, "shots": 4000}, "c": {**SMALL, "shots": 50, "needs": ["a"]}}
OTHER = {"first": THREE["a"], "b": {**WIDE, "shots": 4100}, "c": {**THREE["c"], "needs": ["first"], "tags": ["new"]}}


def project(folder: Path, jobs: Mapping[str, Any] = THREE) -> Desk:
    """Three jobs; the results of "b" are so large that they have a file of their own."""
    folder.mkdir()
    desk = Desk(folder)
    desk.write("specs/programs/wide.qasm", QASM)
    desk.write("specs/three.yaml", json.dumps({"jobs": jobs}))
    return desk


def undisturbed(folder: Path, jobs: Mapping[str, Any]) -> dict[str, Any]:
    """The results of each handle."""
    desk = project(folder, jobs)
    with desk.start("apply") as running:
        running.communicate()
    return dict(outcomes(desk))


def copy(start: Path, folder: Path) -> Desk:
    shutil.copytree(start, folder)
    return Desk(folder)


@pytest.mark.slow
@pytest.mark.skipif(not usable(), reason="strace is not here or may not kill")
def test_whenever_it_is_killed_the_next_apply_goes_on(tmp_path: Path) -> None:
    known = undisturbed(tmp_path / "known", THREE) | undisturbed(tmp_path / "other", OTHER)
    fresh = project(tmp_path / "fresh").folder
    calls = points(copy(fresh, tmp_path / "traced"), "apply")
    half = [("resumed", folder) for folder in halves(fresh, tmp_path, calls)]
    edited = [("edited", rewritten(folder)) for folder in halves(fresh, tmp_path, calls, last=True)]

    cases = [
        case
        for kind in ([("fresh", fresh)], half, edited)
        for case in some(list(planned(kind, tmp_path, known)), POINTS)
    ]
    looks = carried_out(cases)

    assert [words for look in looks for words in look.wrong] == []
    assert sum(look.reached for look in looks) > 0.8 * len(looks)


def halves(fresh: Path, tmp_path: Path, calls: Sequence[Point], last: bool = False) -> Iterator[Path]:
    """Folders in which an apply was killed; with `last`, also one that it finished."""
    for place, point in enumerate(some(calls, STARTS + 1)[1:]):
        folder = tmp_path / f"half-{last}-{place}"
        killed(copy(fresh, folder), point, "apply")
        yield folder
    if last:
        whole = copy(fresh, tmp_path / "whole")
        with whole.start("apply") as running:
            running.communicate()
        yield whole.folder


def rewritten(folder: Path) -> Path:
    """A job is renamed, one is changed, one gets another label."""
    Desk(folder).write("specs/three.yaml", json.dumps({"jobs": OTHER}))
    return folder


def planned(starts: Sequence[tuple[str, Path]], tmp_path: Path, known: Mapping[str, Any]) -> Iterator[Case]:
    for name, start in starts:
        for point in points(copy(start, tmp_path / f"traced-{name}-{start.name}"), "apply"):
            folder = tmp_path / f"{name}-{start.name}-{point.call}-{point.when}"
            yield Case(name=f"{name} {start.name}", start=start, folder=folder, point=point, known=known)


def carried_out(cases: Sequence[Case]) -> list[Look]:
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as several:
        return list(several.map(tried, cases, chunksize=4))


# --- crowds -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_of_a_crowd_one_works_the_others_say_who_and_readers_see_only_whole_things(tmp_path: Path) -> None:
    desk = project(tmp_path / "crowd", {"first": {**SMALL, "shots": 9}})
    jobs = {"first": {**SMALL, "shots": 9}}
    with desk.start("apply") as running:
        running.communicate()

    with reading(desk) as complaints:
        for number in range(ROUNDS):
            jobs |= {f"r{number}-{k}": {**SMALL, "shots": 10 + k} for k in range(5)}
            exchange(desk.folder / "specs/three.yaml", json.dumps({"jobs": jobs}))
            ends = crowd(desk, "apply")

            assert 0 in {code for _, code, _ in ends}
            assert {code for _, code, _ in ends} <= {0, 5}
            pids = {str(pid) for pid, _, _ in ends}
            for pid, code, err in ends:
                holder = in_use(err) if code else None
                assert holder is None or holder in pids - {str(pid)}, (holder, pids)
            assert typed(desk, "apply").out == f"nothing to do: {len(jobs)} jobs are done\n"

    assert complaints == []
    assert typed(desk, "verify").code == 0
    assert attempts(desk) == {(job, 1) for job in jobs}


def crowd(desk: Desk, *words: str) -> list[tuple[int, int, str]]:
    """So many of one command at once: the number, exit code and errors of each."""
    several = [desk.start(*words) for _ in range(CROWD)]
    ends = [(each, each.communicate(timeout=PATIENCE)[1]) for each in several]
    return [(each.pid, each.returncode, err) for each, err in ends]


def in_use(err: str, command: str = "apply") -> str:
    """Who holds the results, as a command that could not have them says it."""
    host = re.escape(os.uname().nodename)
    since = rf"since \d\d:\d\d \(qrun {command}\); wait until it has ended\n"
    words = rf"results/three is in use by pid (\d+) on {host} {since}"
    found = re.fullmatch(words, err)
    assert found is not None, err
    return found[1]


def exchange(path: Path, text: str) -> None:
    """Write a file that others read meanwhile."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


@contextmanager
def reading(desk: Desk) -> Iterator[list[str]]:
    """Commands that only read, again and again; what they say when they should not."""
    complaints: list[str] = []
    enough = threading.Event()

    def read(*words: str) -> None:
        while not enough.is_set():
            with desk.start(*words) as running:
                out, err = running.communicate(timeout=PATIENCE)
            if running.returncode or err or not whole(out):
                complaints.append(f"{words}: {running.returncode} {err} {out}")

    readers = (("status", "-o", "json"), ("plan", "-o", "json"), ("show", "first", "-o", "json"))
    threads = [threading.Thread(target=read, args=words) for words in readers]
    for thread in threads:
        thread.start()
    try:
        yield complaints
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def whole(out: str) -> bool:
    try:
        document = json.loads(out)
    except ValueError:
        return False
    return document["version"] == 1 and not document.get("errors")


def attempts(desk: Desk) -> set[tuple[str, int]]:
    """Each job with the number of its last attempt; only jobs that succeeded."""
    jobs = typed(desk, "status", "-o", "json").json["experiments"][0]["jobs"]
    return {(job["job"], job["attempt"]) for job in jobs if job["phase"] == "succeeded"}


@linux
def test_whoever_comes_while_another_works_is_told_who_that_is(tmp_path: Path) -> None:
    desk = lasting(tmp_path / "held")
    with running(desk, "apply") as first:
        ends = crowd(desk, "apply")

        assert [(code, in_use(err)) for _, code, err in ends] == [(5, str(first.pid))] * CROWD
        assert typed(desk, "status").code == 0


# --- workers ----------------------------------------------------------------------------------------------------------


def lasting(folder: Path, **fields: Any) -> Desk:
    """A project with one job that lasts longer than any test, and with two small ones after it."""
    desk = project(
        folder, {"lasts": {**LONG, "shots": 1, **fields}, "x": {**SMALL, "shots": 7}, "y": {**SMALL, "shots": 8}}
    )
    desk.write("specs/programs/long.qasm", endless())
    return desk


@contextmanager
def running(desk: Desk, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that has come so far that the job "lasts" runs; killed at the end if it still goes on."""
    with desk.start(*words) as started:
        try:
            assert started.stderr is not None
            assert any(line == "running    three.lasts\n" for line in started.stderr), "it did not begin"
            yield started
        finally:
            started.kill()


@linux
def test_a_command_that_is_killed_leaves_no_worker_however_deep_in_its_work_that_is(tmp_path: Path) -> None:
    desk = lasting(tmp_path / "killed")
    with running(desk, "apply", "--parallel", "1") as command:
        (worker,) = workers(command.pid)
        busy(worker)

        command.kill()
        command.wait()

    assert ended(worker)
    assert typed(desk, "plan").out.splitlines()[-1] == "3 to submit"
    assert typed(desk, "verify").code == 0


@linux
def test_a_worker_that_is_killed_fails_its_job_and_no_other(tmp_path: Path) -> None:
    desk = lasting(tmp_path / "worker", retry={"attempts": 2})
    killed = []
    with desk.start("apply", "--parallel", "1") as command:
        assert command.stderr is not None
        for line in command.stderr:
            if line == "running    three.lasts\n":
                (worker,) = workers(command.pid)
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)

    assert command.returncode == 3
    assert len(set(killed)) == 2
    assert attempts(desk) == {("x", 1), ("y", 1)}
    tries = typed(desk, "show", "lasts", "-o", "json").json["attempts"]
    assert [(a["n"], a["phase"], a["word"]) for a in tries] == [(1, "failed", "crashed"), (2, "failed", "crashed")]
    assert {a["message"] for a in tries} == {
        "the worker was ended by signal 9 (SIGKILL); "
        "it was killed from outside, perhaps because the machine ran out of memory"
    }


@linux
def test_an_attempt_after_a_killed_one_succeeds(tmp_path: Path) -> None:
    desk = project(tmp_path / "retry", {"lasts": {**WIDE, "shots": 3, "retry": {"attempts": 2}}})
    with desk.start("apply", "--parallel", "1") as command:
        worker = first_worker(command)
        os.kill(worker, signal.SIGKILL)
        _, err = command.communicate(timeout=PATIENCE)

    assert (command.returncode, attempts(desk)) == (0, {("lasts", 2)})
    assert "retrying   three.lasts" in err, err


def first_worker(command: subprocess.Popen[str]) -> int:
    """Stopped as soon as it is there, so that it has not done its job yet."""
    while not (found := workers(command.pid)):
        assert command.poll() is None, "it ended without a worker"
    os.kill(found[0], signal.SIGSTOP)
    return found[0]


@linux
def test_the_timeout_ends_a_job_whose_worker_was_stopped(tmp_path: Path) -> None:
    desk = lasting(tmp_path / "stopped", timeout="1s")
    with running(desk, "apply", "--parallel", "1") as command:
        (worker,) = workers(command.pid)
        os.kill(worker, signal.SIGSTOP)

        command.communicate(timeout=PATIENCE)

    assert command.returncode == 3
    assert ended(worker)
    assert attempts(desk) == {("x", 1), ("y", 1)}
    (attempt,) = typed(desk, "show", "lasts", "-o", "json").json["attempts"]
    assert (attempt["phase"], attempt["message"]) == ("cancelled", "timeout: ran for more than 1 s")


@linux
def test_a_job_that_needs_more_memory_than_its_share_fails_alone(tmp_path: Path) -> None:
    desk = lasting(tmp_path / "memory")
    desk.write(
        "qrun.toml", desk.read("qrun.toml") + '[connections.local]\ntype = "local"\nmemory = "256 MiB"\nworkers = 1\n'
    )
    desk.write("specs/programs/long.qasm", OUTGROWS)

    answer = typed(desk, "apply")

    assert answer.code == 3
    assert attempts(desk) == {("x", 1), ("y", 1)}
    (attempt,) = typed(desk, "show", "lasts", "-o", "json").json["attempts"]
    assert attempt["message"] == (
        "the simulation needs more memory than the 256 MiB that a worker may take (device ddsim); "
        "try device: aer with method: matrix_product_state, or raise memory in the connection"
    )


@linux
def test_many_jobs_share_the_workers_that_were_asked_for(tmp_path: Path) -> None:
    desk = project(tmp_path / "many", MANY)
    with desk.start("apply", "--parallel", "8", "-o", "jsonl") as command:
        most = max(len(workers(command.pid)) for _ in events(command, "running"))

    assert command.returncode == 0
    assert 1 < most <= 8
    assert workers(command.pid) == []
    assert attempts(desk) == {(job, 1) for job in MANY}


@linux
def test_after_ctrl_c_only_what_was_not_done_is_simulated(tmp_path: Path) -> None:
    desk = project(tmp_path / "many", MANY)
    with desk.start("apply", "--parallel", "2", "-o", "jsonl") as command:
        done = []
        for job in events(command, "fetched"):
            done.append(job)
            if len(done) == 20:
                os.killpg(command.pid, signal.SIGINT)
    recorded = {job for job, _ in attempts(desk)}

    with desk.start("apply", "--parallel", "2", "-o", "jsonl") as second:
        again = list(events(second, "fetched"))

    assert (command.returncode, second.returncode) == (130, 0)
    assert 20 <= len(done) < len(MANY)
    assert set(done) <= recorded
    assert sorted(again) == sorted(MANY.keys() - recorded)
    assert workers(command.pid) == []
    assert attempts(desk) == {(job, 1) for job in MANY}


def events(command: subprocess.Popen[str], word: str) -> Iterator[str]:
    """The jobs of which this is told, one after the other."""
    assert command.stdout is not None
    for line in command.stdout:
        event = json.loads(line)
        if event["type"] == word:
            yield event["job"]


@linux
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT])
def test_whatever_signal_ends_it_no_worker_stays_and_the_next_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    desk = lasting(tmp_path / "signal")
    with running(desk, "apply", "--parallel", "1") as command:
        (worker,) = workers(command.pid)

        os.kill(command.pid, number)
        command.communicate(timeout=PATIENCE)

    assert ended(worker)
    desk.write("specs/programs/long.qasm", QASM)
    assert typed(desk, "apply").code == 0
    assert attempts(desk) == {("lasts", 1), ("x", 1), ("y", 1)}


@linux
def test_closing_the_terminal_loses_nothing(tmp_path: Path) -> None:
    desk = project(tmp_path / "closed", MANY)
    master, slave = pty.openpty()
    command = subprocess.Popen(
        [*desk.command, "apply", "--parallel", "1"],
        cwd=desk.folder,
        env={**desk.environment, "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=_own_terminal,
    )
    os.close(slave)
    _until(master, b"1 running")

    os.close(master)
    command.wait()

    assert all(ended(worker) for worker in workers(command.pid))
    assert typed(desk, "verify").code == 0
    assert typed(desk, "apply").code == 0
    assert attempts(desk) == {(job, 1) for job in MANY}


@linux
def test_a_suspended_command_goes_on_where_it_was(tmp_path: Path) -> None:
    desk = project(tmp_path / "suspended", MANY)
    with desk.start("apply", "--parallel", "2", "-o", "jsonl") as command:
        next(events(command, "fetched"))
        os.kill(command.pid, signal.SIGSTOP)
        while state(command.pid) != "T" or any(state(worker) == "R" for worker in workers(command.pid)):
            os.sched_yield()  # the workers come to the end of what they had

        os.kill(command.pid, signal.SIGCONT)
        command.communicate(timeout=PATIENCE)

    assert command.returncode == 0
    assert attempts(desk) == {(job, 1) for job in MANY}


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def busy(pid: int) -> None:
    """Wait until a worker has computed for a while: by then it reads no more."""
    enough = processor_time(pid) + 20
    while processor_time(pid) < enough:
        os.sched_yield()


def processor_time(pid: int) -> int:
    """In hundredths of a second."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11])


# --- clones -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Desk:
    """Three jobs that were run, committed with their results."""
    desk = project(tmp_path / "one")
    git(desk, "init", "-q", "-b", "main")
    typed(desk, "init")
    with desk.start("apply") as command:
        command.communicate()
    commit(desk)
    return desk


def git(desk: Desk, *words: str) -> str:
    """The merge driver is found where this Python's commands are."""
    person = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    path = f"{Path(sys.executable).parent}:{desk.environment['PATH']}"
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "PATH": path}
    done = subprocess.run(
        ["git", *person, *words], cwd=desk.folder, env={**desk.environment, **quiet}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(desk: Desk) -> None:
    git(desk, "add", "-A")
    git(desk, "commit", "-q", "-m", "results")


def clone(desk: Desk, folder: Path) -> Desk:
    git(desk, "clone", "-q", ".", str(folder))
    there = Desk(folder)
    assert typed(there, "init").code == 0
    return there


def test_a_clone_has_nothing_to_do(repository: Desk, tmp_path: Path) -> None:
    desk = clone(repository, tmp_path / "two")

    answer = typed(desk, "apply", "-o", "jsonl")

    assert answer.code == 0
    assert {line["type"] for line in answer.lines} <= {"version", "started", "summary"}
    assert typed(desk, "apply").out == "nothing to do: 3 jobs are done\n"
    assert git(desk, "status", "--porcelain") == ""


@pytest.mark.parametrize("lost", ["results/three/qrun.lock", "results/three/.qrun", "results/.qrun"])
def test_what_can_be_told_from_the_rest_is_restored(repository: Desk, tmp_path: Path, lost: str) -> None:
    desk = clone(repository, tmp_path / "two")
    typed(desk, "apply")
    path = desk.folder / lost
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)

    assert typed(desk, "apply").out == "nothing to do: 3 jobs are done\n"
    assert git(desk, "status", "--porcelain") == ""


@pytest.mark.parametrize("lost", [["a"], ["b"], ["a", "b", "c", "qrun.lock"]])
def test_lost_results_are_made_again_with_the_same_seed(repository: Desk, tmp_path: Path, lost: list[str]) -> None:
    desk = clone(repository, tmp_path / "two")
    before, known = desk.tree(), dict(outcomes(desk))
    for name in lost:
        path = desk.folder / "results/three" / name
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)

    assert typed(desk, "apply").code == 0
    assert typed(desk, "apply").out == "nothing to do: 3 jobs are done\n"
    assert dict(outcomes(desk)) == known
    changed = {name for name, data in desk.tree().items() if before.get(name) != data}
    assert {name.rpartition("/")[2] for name in changed} <= {"record.json"}  # when it was sent is new


def test_branches_that_ran_different_jobs_merge_to_what_is_at_rest(repository: Desk) -> None:
    for name, key in (("left", "l"), ("right", "r")):
        git(repository, "checkout", "-q", "-b", name, "main")
        repository.write("specs/three.yaml", json.dumps({"jobs": THREE | {key: {**SMALL, "shots": 77}}}))
        assert typed(repository, "apply").code == 0
        repository.write("specs/three.yaml", json.dumps({"jobs": THREE}))
        commit(repository)

    git(repository, "merge", "-q", "-m", "both", "left")
    repository.write("specs/three.yaml", json.dumps({"jobs": THREE | {key: {**SMALL, "shots": 77} for key in "lr"}}))

    assert typed(repository, "apply").out == "nothing to do: 5 jobs are done\n"
    assert git(repository, "status", "--porcelain") == " M specs/three.yaml\n"
