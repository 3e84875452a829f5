"""A project whose jobs go to an account of the Pasqal stand-in, and whether both sets of books agree.

A job is known by its runs, which no two jobs of a manifest share. Commands that may have to wait for minutes are typed
in a process that skips them (`skipping`).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import re
import selectors
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from tests.booked import End, forked, written
from tests.desk import Desk
from tests.emulator_pasqal import PARAMETRIZED, Cloud
from tests.killing import Look, typed

APPLY: Final = ("apply", "--yes", "--not-sent-elsewhere")
MOMENT: Final = 0.5  # seconds without an answer from a stand-in on this machine, after which none will come
BRIEF: Final = 0.02  # seconds in which whatever is under way in a thread is done

MODULES: Final = (
    *("cli.apply", "cli.cancel", "cli.close", "cli.conclusion", "cli.course", "cli.resolve", "cli.running"),
    *("http.wire", "providers.pasqal.provider"),
)

PULSE: Final = {"provider": "atoms", "device": "EMU_FREE", "program": "programs/rabi.json"}
WORK: Final = {
    "provider": "atoms",
    "kind": "workload",
    "device": "emu_c",
    "program": "programs/work.json",
    "options": {"workload_type": "algorithm_pulse"},
}

Jobs = Mapping[str, Mapping[str, Any]]


def pulse(runs: int, omega: float = 0.25, **rest: Any) -> dict[str, Any]:
    return {**PULSE, "shots": runs, "params": {"omega": omega}, **rest}


def workload(runs: int, **rest: Any) -> dict[str, Any]:
    """It runs a sequence too; its program is written by `project`."""
    return {**WORK, "program": f"programs/work-{runs}.json", **rest}


OPEN: Final[Mapping[str, Any]] = {"submit": {"open": True}}
UNCLEAR: Final = ("intent", "uncertain")


def project(desk: Desk, account: Cloud, jobs: Jobs, **settings: Any) -> Desk:
    """The connection stands in the user's own file, so that its password need not be in any variable. By way of OVH
    the same words are a token.
    """
    (secret := desk.write(".config/password", account.token)).chmod(0o600)
    ovh = settings.get("variant") == "ovh"
    told: dict[str, Any] = {
        "type": "pasqal",
        "core_url": account.core,
        "account_url": f"{account.url}/account",
        "token_url": account.token_url,
        "project_id": account.project,
        **({} if ovh else {"username": account.username}),
        **settings,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    proof = f'{"token" if ovh else "password"} = {{ file = "{secret}" }}'
    text = "\n".join(["[connections.atoms]", *lines, proof, ""])
    desk.write(".config/qrun/config.toml", text).chmod(0o600)
    desk.write("specs/programs/rabi.json", PARAMETRIZED)
    write(desk, jobs)
    return desk


def write(desk: Desk, jobs: Jobs) -> None:
    for job in jobs.values():
        if job.get("kind") == "workload":
            runs = int(str(job["program"]).partition("-")[2].partition(".")[0])
            config = {"sequence": PARAMETRIZED, "variables": {"omega": 0.25}, "runs": runs}
            desk.write(f"specs/{job['program']}", json.dumps(config))
    desk.write("specs/atoms.yaml", json.dumps({"jobs": jobs}))


def restore(desk: Desk, tree: Mapping[str, bytes]) -> None:
    """A fresh clone in the same place, with what Git had and nothing else."""
    shutil.rmtree(desk.folder / "results", ignore_errors=True)
    for name, data in tree.items():
        desk.write(f"results/{name}", "").write_bytes(data)


# --- commands in processes of their own -------------------------------------------------------------------------------


def several() -> ProcessPoolExecutor:
    """As many processes as there are processors, which may fork, each with all imported that a command needs."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(2 * (os.cpu_count() or 1), mp_context=context, initializer=_import)


def _import() -> None:
    for name in MODULES:
        import_module(f"qrun.{name}")


class Waiting:
    """Whether somebody waits for an answer on a connection, or for the connection."""

    def __init__(self) -> None:
        self.protocol: Any = None

    @property
    def lasts(self) -> bool:
        return self.protocol is None or getattr(self.protocol, "_waiter", True) is not None


class Skipping(selectors.DefaultSelector):
    """Where nothing comes for a moment, nothing will: the time until the next timer is over at once."""

    skipped = 0.0  # by all of a process
    waiting: Final[list[Waiting]] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        moment = MOMENT if any(each.lasts for each in self.waiting) else BRIEF
        if timeout is None or timeout <= moment:
            return super().select(timeout)
        found = super().select(moment)
        Skipping.skipped += 0.0 if found else timeout - moment
        return found


class Loop(asyncio.SelectorEventLoop):
    async def create_connection(self, *given: Any, **named: Any) -> Any:
        Skipping.waiting.append(waiting := Waiting())
        try:
            made = await super().create_connection(*given, **named)
        except BaseException:
            Skipping.waiting.remove(waiting)
            raise
        waiting.protocol = made[1]
        return made


class Skips(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return Loop(Skipping())


def skip() -> None:
    """For a process that ends with the command: all its clocks agree on the time that was skipped."""
    wall, monotonic = time.time, time.monotonic
    time.time = lambda: wall() + Skipping.skipped
    time.monotonic = lambda: monotonic() + Skipping.skipped
    asyncio.set_event_loop_policy(Skips())


def patient(desk: Desk, *words: str) -> End:
    """Types a command that may wait for as long as it likes."""
    return forked(desk, *words, first=skip)


# --- both sets of books -----------------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Wanted:
    """What must be true in the end: these jobs succeeded once; of `perhaps`, by runs, each ran once or never.

    What no manifest names may be unknown here once the machine is `lost`; `foreign` handles are somebody else's.
    """

    jobs: Jobs
    perhaps: frozenset[int] = frozenset()
    lost: bool = False
    foreign: frozenset[str] = frozenset()

    @property
    def runs(self) -> Counter[int]:
        return Counter(runs_of(job) for job in self.jobs.values())


def runs_of(job: Mapping[str, Any]) -> int:
    return int(job["shots"] if "shots" in job else re.findall(r"[0-9]+", str(job["program"]))[0])


def sent(account: Cloud) -> dict[str, int]:
    """By handle, the runs of all that the cloud was ever given to do, in the order in which it came."""
    books = account.books()
    batches = {f"{batch['id']}/{job['id']}": job["runs"] for batch in books["batches"] for job in batch["jobs"]}
    return batches | {work["id"]: work["config"]["runs"] for work in books["workloads"]}


def asked(account: Cloud, route: str) -> int:
    """How many requests to a route, whose ids are stars here."""
    routes = account.books()["routes"]
    return sum(each["asked"] for name, each in routes.items() if _starred(name) == route)


def _starred(route: str) -> str:
    return "/".join("*" if part.startswith("{") else part for part in route.split("/"))


def bought_once(account: Cloud, look: Look, wanted: Wanted) -> None:
    """By the books of the cloud."""
    books = account.books()
    twice = {tag: count for tag, count in books["created_by_tag"].items() if tag.startswith("qr1") and count > 1}
    look.expect(not twice, f"created twice: {twice}")
    rows = [*(job for batch in books["batches"] for job in batch["jobs"]), *books["workloads"]]
    look.expect(all(row["starts"] <= 1 for row in rows), f"started twice: {rows}")
    runs = Counter(runs for handle, runs in sent(account).items() if handle not in wanted.foreign)
    extra = runs - wanted.runs
    look.expect(
        not (wanted.runs - runs) and set(extra) <= wanted.perhaps and all(n == 1 for n in extra.values()),
        f"the cloud was sent jobs of {dict(runs)} runs",
    )
    look.expect(not books["empty_cancels"], "a request to cancel named nothing, which might mean everything")


def recorded(desk: Desk, account: Cloud, look: Look, wanted: Wanted) -> None:
    """By our own books, which hold every job that the cloud was given, with the results that it gave."""
    phases = {name: phase for name, phase in standing(desk).items() if name in wanted.jobs}
    look.expect(phases == dict.fromkeys(wanted.jobs, "succeeded"), f"the jobs are {phases}")
    known, there = dict(written(desk)), sent(account)
    unknown = {handle: runs for handle, runs in there.items() if handle not in known}
    look.expect(
        known.keys() <= there.keys() and set(unknown.values()) <= (wanted.perhaps if wanted.lost else set()),
        f"recorded are {sorted(known)}, and the cloud has {sorted(there)}",
    )
    for handle, runs in there.items():
        results = known.get(handle)
        look.expect(results is None or _counted(results) == {"00": runs - _ones(runs), "11": _ones(runs)}, str(results))


def _ones(runs: int) -> int:
    """As the stand-in without physics has it for a quarter."""
    return round(runs * 0.25)


def _counted(results: Mapping[str, Any]) -> Any:
    return results["counts"] if "counts" in results else results["result"]["counter"]


def attempts(desk: Desk, *keys: str) -> dict[str, list[tuple[str | None, str]]]:
    """Handle and phase of each attempt at these jobs, as their records have it."""
    records = [json.loads(path.read_text()) for path in desk.folder.glob("results/*/*/*/record.json")]
    return {r["key"]: [(a.get("handle"), a["phase"]) for a in r["attempts"]] for r in records if r["key"] in keys}


def standing(desk: Desk, experiment: int = 0) -> dict[str, str]:
    """By job; what was imported is the second experiment."""
    jobs = typed(desk, "status", "-o", "json").json["experiments"][experiment]["jobs"]
    return {job["job"]: job["phase"] for job in jobs}
