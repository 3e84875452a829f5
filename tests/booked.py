"""A project whose jobs go to an account of the stand-in, commands that die there, and whether both sets of books agree.

A command that is to die at a failpoint is a child by `fork` of a process that has everything imported, so that hundreds
of them can be tried; it ends by a real SIGKILL. Only processes that run nothing else may fork so: those of `several`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.desk import Desk
from tests.emulator import Emulator
from tests.killing import PATIENCE, Look, typed

MODULES: Final = ("cli.apply", "cli.conclusion", "cli.course", "cli.running", "http.wire", "providers.oqtopus.provider")
Jobs = Mapping[str, Mapping[str, Any]]

JOB: Final = {"provider": "oqtopus", "device": "qulacs", "program": "programs/bell.qasm"}
ONE: Final[Jobs] = {"a": {**JOB, "shots": 100}}
THREE: Final[Jobs] = {"a": {**JOB, "shots": 100}, "b": {**JOB, "shots": 400}, "c": {**JOB, "shots": 50, "needs": ["a"]}}
JOBS: Final[Mapping[int, Jobs]] = {1: ONE, 3: THREE}
# What an author makes of them: one job is renamed, one has other shots, one another label.
EDITED: Final[Mapping[int, Jobs]] = {
    1: {"a": {**JOB, "shots": 101}},
    3: {
        "first": {**JOB, "shots": 100},
        "b": {**JOB, "shots": 410},
        "c": {**JOB, "shots": 50, "needs": ["first"], "tags": ["new"]},
    },
}


def project(folder: Path, account: Emulator, jobs: Jobs) -> Desk:
    """The account's address and token stand where the cloud's own clients look for them."""
    desk = Desk(folder)
    settings = desk.write(".oqtopus", f"[default]\nurl = {account.url}\napi_token = {account.token}\n")
    settings.chmod(0o600)
    write(desk, jobs)
    return desk


def write(desk: Desk, jobs: Jobs) -> None:
    desk.write("specs/three.yaml", json.dumps({"jobs": jobs}))


def clone(desk: Desk, folder: Path) -> Desk:
    """The project on another machine, which has none of its results."""
    shutil.copytree(desk.folder, folder, ignore=shutil.ignore_patterns("results"))
    return Desk(folder)


def lose(desk: Desk) -> None:
    """A fresh clone in the same place: nothing of what was done is here."""
    shutil.rmtree(desk.folder / "results", ignore_errors=True)


def pull(desk: Desk, other: Desk) -> None:
    """What the other machine would have committed; what Git ignores stays as it is."""
    for name, data in other.tree().items():
        path = desk.folder / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)


# --- commands in a process of their own -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class End:
    """How a forked command ended; `code` is -9 where it was killed."""

    code: int
    out: str
    err: str


def several() -> ProcessPoolExecutor:
    """As many processes as there are processors, each with all imported that an `apply` needs."""
    return ProcessPoolExecutor(
        os.cpu_count(), mp_context=multiprocessing.get_context("spawn"), initializer=_import, initargs=()
    )


def _import() -> None:
    for name in MODULES:
        import_module(f"qrun.{name}")


def forked(desk: Desk, *words: str, first: Callable[[], None] = lambda: None, **environ: str) -> End:
    """Types a command in a copy of this process, in which `first` is done before."""
    files = [desk.folder / name for name in ("stdout", "stderr")]
    child = os.fork()
    if child == 0:
        _become(desk, words, files, first, environ)
    _, status = os.waitpid(child, 0)
    out, err = (path.read_text() for path in files)
    for path in files:
        path.unlink()
    return End(code=os.waitstatus_to_exitcode(status), out=out, err=err)


def _become(
    desk: Desk, words: Sequence[str], files: Sequence[Path], first: Callable[[], None], environ: Mapping[str, str]
) -> NoReturn:
    code = 99
    try:
        os.chdir(desk.folder)
        os.environ.clear()
        os.environ.update({**desk.environment, **environ})
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(files, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.argv = ["qrun", *words]
        signal.alarm(PATIENCE)
        first()
        import_module("qrun.cli").main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 98
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def stopped(desk: Desk, failpoint: str, *words: str, first: Callable[[], None] = lambda: None) -> bool:
    """Whether a command came to this place and died there."""
    end = forked(desk, *words, first=first, QRUN_FAILPOINT=failpoint)
    assert end.code in (-9, 0), end
    return end.code == -9


# --- both sets of books -----------------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Wanted:
    """What must be true in the end: jobs of this many shots succeeded once; of `perhaps`, once or never.

    `tree` is what is compared between machines.
    """

    jobs: Jobs
    perhaps: frozenset[int] = field(default_factory=frozenset)

    @property
    def shots(self) -> Counter[int]:
        return Counter(job["shots"] for job in self.jobs.values())


def goes_on(desk: Desk, account: Emulator, look: Look, wanted: Wanted, *words: str) -> None:
    """The next command ends well by itself, nothing was bought twice, nothing is lost, and then all rests."""
    answer = typed(desk, *(words or ("apply", "--yes")))
    look.expect(answer.code == 0, f"the next apply ends with {answer.code}: {answer.err}")
    bought_once(account, look, wanted)
    recorded(desk, account, look, wanted)
    at_rest(desk, look, len(wanted.jobs))


def bought_once(account: Emulator, look: Look, wanted: Wanted) -> None:
    """By the books of the cloud."""
    twice = {marker: found for marker, found in account.markers().items() if max(found.values()) > 1}
    look.expect(not twice, f"sent twice: {twice}")
    started = [job for job in account.books()["jobs"] if job["submits"]]
    look.expect(all(job["submits"] == 1 and job["starts"] <= 1 for job in started), f"started twice: {started}")
    shots = Counter(job["shots"] for job in started)
    extra = shots - wanted.shots
    look.expect(
        not (wanted.shots - shots) and set(extra) <= wanted.perhaps and all(n == 1 for n in extra.values()),
        f"the cloud was sent jobs of {dict(shots)} shots",
    )


def recorded(desk: Desk, account: Emulator, look: Look, wanted: Wanted) -> None:
    """By our own books, which hold every job that the cloud started, with the results that it gave."""
    standing = typed(desk, "status", "-o", "json").json["experiments"][0]["jobs"]
    phases = {job["job"]: (job["phase"], job["attempt"]) for job in standing if job["job"] in wanted.jobs}
    expected = dict.fromkeys(wanted.jobs, ("succeeded", 1))
    look.expect(phases == expected, f"the jobs are {phases}")
    books = {job["job_id"]: job for job in account.books()["jobs"] if job["submits"]}
    known = dict(written(desk))
    look.expect(set(known) == set(books), f"recorded are {sorted(known)}, and the cloud has {sorted(books)}")
    for handle, results in known.items():
        if handle in books and books[handle]["status"] == "succeeded":
            counts = json.loads(account.output(handle))["sampling"]["counts"]
            look.expect((results or {}).get("counts") == counts, f"{handle} has other results here: {results}")


def written(desk: Desk) -> Iterator[tuple[str, Any]]:
    """Each handle that a record names, with the results that it has."""
    for path in desk.folder.glob("results/*/*/*/record.json"):
        record = json.loads(path.read_text())
        for attempt in record["attempts"]:
            yield attempt["handle"], record.get("results")


def at_rest(desk: Desk, look: Look, number: int) -> None:
    """A further apply does nothing at all, and all files are as they should be."""
    before = desk.tree()
    again = typed(desk, "apply", "--yes")
    words = f"nothing to do: {number} job{' is' if number == 1 else 's are'} done\n"
    look.expect((again.code, again.out) == (0, words), f"not at rest: {again.out} {again.err}")
    look.expect(desk.tree() == before, "an apply with nothing to do changes files")
    verified = typed(desk, "verify")
    look.expect(verified.code == 0, f"verify finds: {verified.err}")
    left = [str(path) for path in desk.folder.glob("results/**/.qrun/tmp/*")]
    look.expect(not left, f"temporary files are left: {left}")
