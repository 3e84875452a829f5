"""Processes that are killed at a system call of one's choice, and what their project looks like afterwards.

strace kills the process on its way into the call, so the call has not been made; whoever it started is not traced.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.desk import Answer, Desk

T = TypeVar("T")
# Every call by which a command changes something: files, locks, what it prints, what it starts.
CALLS: Final = (
    *("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "openat", "rename", "renameat", "renameat2"),
    *("mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "chmod", "fchmod", "fchmodat", "flock"),
    *("fork", "vfork", "clone", "clone3"),
)
NETWORK: Final = ("socket", "connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "shutdown")
OPENS: Final = re.compile(r"O_WRONLY|O_RDWR|O_CREAT")
WORKER: Final = "qrun.providers.local.worker"
PATIENCE: Final = 60  # seconds until what never ends counts as hanging


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """The `when`-th time that a process makes this call; `words` is the call as strace shows it."""

    call: str
    when: int
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A command that is killed in a copy of `start`. `known` maps handles to the results that they must have."""

    name: str
    start: Path
    folder: Path
    point: Point
    known: Mapping[str, Any]


@dataclass(kw_only=True, slots=True)
class Look:
    """What came of a case. `reached`: the process was killed there; `heals`: what `verify` said directly after."""

    name: str
    reached: bool = False
    heals: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def expect(self, true: bool, words: str) -> None:
        if not true:
            self.wrong.append(f"{self.name}: {words}")


# --- killing ----------------------------------------------------------------------------------------------------------


@cache
def usable() -> bool:
    """Whether strace is here and allowed to kill."""
    if shutil.which("strace") is None:
        return False
    words = ["strace", "-D", "-qq", "-o", "/dev/null", "-e", "inject=exit_group:signal=SIGKILL", "true"]
    return subprocess.run(words, capture_output=True, timeout=PATIENCE).returncode == -9


def points(desk: Desk, *words: str, calls: Sequence[str] = CALLS) -> list[Point]:
    """Each of these calls in an undisturbed run, all that change something unless others are named."""
    log = desk.folder / "trace"
    names = ",".join(f"?{call}" for call in calls)  # `?`: not every processor has them all
    traced(desk, ["-o", str(log), "-e", f"trace={names}"], *words)
    lines = log.read_text(errors="replace").splitlines()
    log.unlink()
    return list(_points(lines))


def _points(lines: Sequence[str]) -> Iterator[Point]:
    seen: dict[str, int] = {}
    for line in lines:
        if (found := re.match(r"(\w+)\(", line)) is None:
            continue
        call = found[1]
        seen[call] = seen.get(call, 0) + 1
        if call != "openat" or (OPENS.search(line) and '"/dev/' not in line):
            yield Point(call=call, when=seen[call], words=line.partition(" = ")[0].strip())


def some(found: Sequence[T], number: int) -> Sequence[T]:
    """So many, evenly spread."""
    return [found[place * len(found) // number] for place in range(number)] if number < len(found) else found


def killed(desk: Desk, point: Point, *words: str) -> tuple[int, bool]:
    """The process id of a command, and whether it came to the point and died there."""
    inject = f"inject={point.call}:signal=SIGKILL:when={point.when}"
    return traced(desk, ["-o", "/dev/null", "-e", f"trace={point.call}", "-e", inject], *words)


def traced(desk: Desk, how: Sequence[str], *words: str) -> tuple[int, bool]:
    """With -D the command, and not strace, is our child."""
    with subprocess.Popen(
        ["strace", "-D", "-qq", *how, *desk.command, *words],
        cwd=desk.folder,
        env={**desk.environment, "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        _, err = running.communicate(timeout=PATIENCE)
    assert running.returncode in (0, -9), err.decode()
    return running.pid, running.returncode == -9


# --- processes --------------------------------------------------------------------------------------------------------


def workers(parent: int) -> list[int]:
    """Those that this process started and that still run; also when it is gone, for they are told its number."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if WORKER.encode() in words and words[words.index(WORKER.encode()) + 1] == str(parent).encode():
                    found.append(int(entry.name))
    return found


def ended(pid: int) -> bool:
    """Waits for the end of a process that is not our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(PATIENCE * 1000))
    finally:
        os.close(descriptor)


# --- the sweep --------------------------------------------------------------------------------------------------------


def tried(case: Case) -> Look:
    """Kill, look, go on, look again. Runs in a process of its own: it changes the working folder."""
    shutil.copytree(case.start, case.folder, symlinks=True)
    look, desk = Look(name=f"{case.name}, killed before {case.point.words}"), Desk(case.folder)
    pid, look.reached = killed(desk, case.point, "apply")
    look.expect(all(ended(worker) for worker in workers(pid)), "a worker survived")
    _after_death(desk, look)
    _after_next(desk, look, case.known)
    if not look.wrong:
        shutil.rmtree(case.folder)
    return look


def _after_death(desk: Desk, look: Look) -> None:
    verified = typed(desk, "verify", "-o", "json")
    look.heals = [problem["message"] for problem in verified.json["errors"]]
    damaged = [problem["message"] for problem in verified.json["errors"] if problem["code"] != "missing"]
    look.expect(not damaged, f"verify finds damage: {damaged}")
    for words in (("status", "-o", "json"), ("plan", "-o", "json")):
        answer = typed(desk, *words)
        look.expect(answer.code == 0 and not answer.json["errors"], f"{words[0]} fails: {answer.out}")


def _after_next(desk: Desk, look: Look, known: Mapping[str, Any]) -> None:
    answer = typed(desk, "apply")
    look.expect(answer.code == 0, f"the next apply ends with {answer.code}: {answer.err}")
    standing = typed(desk, "status", "-o", "json").json["experiments"][0]["jobs"]
    phases = {job["job"]: (job["phase"], job["attempt"]) for job in standing}
    look.expect(len(phases) == 3 and set(phases.values()) == {("succeeded", 1)}, f"the jobs are {phases}")
    for handle, results in outcomes(desk):
        look.expect(known.get(handle) == results, f"other results than an undisturbed run: {handle}")
    before = desk.tree()
    again = typed(desk, "apply")
    look.expect((again.code, again.out) == (0, "nothing to do: 3 jobs are done\n"), f"not at rest: {again.out}")
    look.expect(desk.tree() == before, "an apply with nothing to do changes files")
    verified = typed(desk, "verify")
    look.expect(verified.code == 0, f"verify still finds: {verified.err}")
    left = [str(path) for path in desk.folder.glob("results/**/.qrun/tmp/*")]
    look.expect(not left, f"temporary files are left: {left}")
    ignored = [path.read_text() for path in desk.folder.glob("results/**/.qrun/.gitignore")]
    look.expect(ignored == ["*\n", "*\n"], f"what .qrun ignores in Git is {ignored}")


def typed(desk: Desk, *words: str) -> Answer:
    """A command in this process, in the project's folder and with its settings alone."""
    with contextlib.chdir(desk.folder):
        return desk.run(*words, env={"HOME": str(desk.folder), "XDG_CONFIG_HOME": str(desk.folder / ".config")})


def outcomes(desk: Desk) -> Iterator[tuple[str, Any]]:
    """Each handle that is recorded, with its results."""
    for path in desk.folder.glob("results/*/*/*/record.json"):
        record = json.loads(path.read_text())
        results = record.get("results")
        whole = json.loads((path.parent / "results.json").read_text()) if results is None else results
        yield record["attempts"][-1]["handle"], whole
