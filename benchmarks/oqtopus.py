"""`python -m benchmarks.oqtopus`: a thousand jobs on the stand-in of OQTOPUS, by qrun and by the official clients.

All of them talk to one emulator that answers every request 20 ms late and computes every job. qrun's times are of the
whole command, from the shell; those of the clients are of their loops alone, without the second of imports before. They
run fewer jobs, since each of their jobs takes as long as the one before: what is compared is jobs a second.

Jobs of no length are what suits the clients best: their first question finds the result. Seen with Python 3.11 on two
cores, 1 000 jobs of qrun with 32 requests in flight: 60 to 80 jobs/s; a client's loop 4.8 jobs/s with jobs of no length
and 0.8 with jobs of a second, its batches of four threads 11 jobs/s either way.

Where the packages are not installed the clients are left out; `make bench-oqtopus` has an environment with them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Figure, environment, once
from tests.emulator import Emulator, stand_in

LATENCY: Final = 0.02  # seconds
QRUN: Final = [sys.executable, "-m", "qrun"]
BELL: Final = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""
DEVICES: Final = [  # one that runs everything at once, one that takes two jobs at a time
    {"device_id": "qulacs", "width": 100_000},
    {"device_id": "narrow", "width": 2},
]
LISTS: Final = ("GET /jobs", "GET /jobs/{job_id}/status")
PAUSE: Final = 0.15  # seconds between two requests, beyond which the later one begins a sweep

HEAD: Final = """
import sys, time
url, token, count, program = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
"""
CLIENT: Final = (
    HEAD
    + """
from oqtopus_client import OqtopusClient, OqtopusConfig, OqtopusJobSpec
client = OqtopusClient(OqtopusConfig(url, token))
spec = OqtopusJobSpec.sampling(device_id="qulacs", program=program, shots=100)
begun = time.perf_counter()
"""
)
QURI: Final = (
    HEAD
    + """
from quri_parts_oqtopus.backend import OqtopusConfig, OqtopusSamplingBackend
backend = OqtopusSamplingBackend(OqtopusConfig(url, token))
begun = time.perf_counter()
"""
)
TELL: Final = """
assert len(found) == count and all(sum(counts.values()) == 100 for counts in found)
print(time.perf_counter() - begun)
"""
IN_TURN: Final = "found = [client.run_job(spec, interval={0}).get_counts() for _ in range(count)]"
BATCH: Final = "found = [job.get_counts() for job in client.run_jobs_batch([spec] * count, interval={0})]"
SENT_FIRST: Final = """jobs = [backend.sample_qasm(program, "qulacs", 100) for _ in range(count)]
found = [job.result(wait={0}).counts for job in jobs]"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """How one uses an official client; `loop` has a place for the seconds between two questions."""

    name: str
    head: str
    loop: str
    default: float
    jobs: int

    def script(self, seconds: float) -> str:
        return self.head + self.loop.format(seconds) + TELL


WAYS: Final = (
    Way(name="oqtopus-client, a loop", head=CLIENT, loop=IN_TURN, default=1.0, jobs=20),
    Way(name="quri-parts, all sent first", head=QURI, loop=SENT_FIRST, default=10.0, jobs=20),
    Way(name="oqtopus-client, its batches", head=CLIENT, loop=BATCH, default=1.0, jobs=60),
)
EAGER: Final = 0.02  # seconds between two questions, where a client is to look its best


def by_client(account: Emulator, way: Way, seconds: float) -> float:
    """Jobs a second."""
    command = [sys.executable, "-c", way.script(seconds), account.url, account.token, str(way.jobs), BELL]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return way.jobs / float(done.stdout)


# --- qrun -------------------------------------------------------------------------------------------------------------


def project(folder: Path, account: Emulator, jobs: int, *, together: int = 32, device: str = "qulacs") -> Path:
    """A manifest of so many jobs, and a connection that may have so many requests in flight."""
    folder.mkdir(parents=True)
    os.environ["OQTOPUS_API_TOKEN"] = account.token
    (folder / "qrun.toml").write_text(
        'project = "5f0c7a52-6d0e-4b1e-9d0b-1f6f6f3a2b11"\n[connections.cloud]\ntype = "oqtopus"\n'
        f'url = "{account.url}"\napi_token = {{ env = "OQTOPUS_API_TOKEN" }}\nmax_in_flight = {together}\n'
    )
    (folder / "bell.qasm").write_text(BELL)
    defaults = {"provider": "cloud", "device": device, "program": "bell.qasm", "shots": 100}
    matrix = {"number": list(range(jobs))}
    manifest = {"name": "many", "defaults": defaults, "jobs": {"pair": {"matrix": matrix}}}
    (folder / "many.yaml").write_text(json.dumps(manifest))
    return folder


def by_qrun(folder: Path, account: Emulator, jobs: int, together: int) -> float:
    """Jobs a second, the command's start and its last write included."""
    where = project(folder, account, jobs, together=together)
    seconds = once([*QRUN, "apply", "--yes", "many.yaml"], where).seconds
    books = account.books()
    assert books["starts"] == jobs, "each job was begun once"
    status = sum(books["routes"].get(route, {"asked": 0})["asked"] for route in LISTS)
    print(f"qrun, {together} in flight: {jobs / seconds:.0f} jobs/s, {status} status requests in {seconds:.1f} s")
    return jobs / seconds


def against_clients(cloud: Emulator, folder: Path, jobs: int, run_time: float) -> Iterator[Figure]:
    """qrun runs before and after the clients, so that a machine that slows down does so for both."""

    def ours(turn: int) -> dict[int, float]:
        where = folder / f"{run_time:g}-{turn}"
        return {
            together: by_qrun(where / str(together), fresh(cloud, run_time=run_time), jobs, together)
            for together in (32, 200)
        }

    first = ours(0)
    if importlib.util.find_spec("quri_parts_oqtopus") is None:
        print("the official clients are not installed; nothing to compare with")
        return
    theirs: dict[str, float] = {}
    for way in WAYS:
        for seconds in (EAGER, way.default):
            name = f"{way.name}, asking every {seconds:g} s"
            theirs[name] = by_client(fresh(cloud, run_time=run_time), way, seconds)
            print(f"{name}: {theirs[name]:.1f} jobs/s ({way.jobs} jobs)", flush=True)
    second = ours(1)
    for together in first:
        yield from compared(together, (first[together] + second[together]) / 2, theirs, run_time)


def compared(together: int, rate: float, theirs: Mapping[str, float], run_time: float) -> Iterator[Figure]:
    """The claim is about a loop over jobs; what the clients' other ways come to is told beside it."""
    for name, other in theirs.items():
        title = f"{together} in flight, {name}, jobs of {run_time:g} s"
        if "a loop" in name:
            detail = f"{rate / other:.0f} times as fast"
            yield Figure(name=title, value=other / rate, limit=1 / 30, unit="of its time a job", detail=detail)
        else:
            print(f"     {title}: {rate / other:.0f} times as fast")


# --- many live jobs ---------------------------------------------------------------------------------------------------


def live(cloud: Emulator, folder: Path, jobs: int) -> Iterator[Figure]:
    """So many jobs that never leave the queue: what sending and watching them takes."""
    account = fresh(cloud, queue_delay=86400.0)
    where = project(folder / "live", account, jobs, together=200)
    sent = once([*QRUN, "apply", "--yes", "--no-wait", "many.yaml"], where)
    print(f"{jobs} jobs sent in {sent.seconds:.0f} s")
    before = len(account.pull("GET", "requests"))
    watched = once([*QRUN, "sync", "--timeout", "30s", "many.yaml"], where, expect=4)
    asked = [each["at"] for each in account.pull("GET", "requests")[before:] if each["route"] in LISTS]
    swept = sweeps(asked)
    detail = f"{len(swept)} sweeps in {watched.seconds:.0f} s, of {jobs} live jobs"
    yield Figure(
        name="status requests of a sweep",
        value=statistics.median(swept),
        limit=jobs / 50,
        unit="requests",
        detail=detail,
    )
    for name, run in (("sending", sent), ("watching", watched)):
        title = f"memory of {name} {jobs} live jobs"
        yield Figure(name=title, value=run.peak / 2**20, limit=300, unit="MiB", detail=f"{run.seconds:.0f} s")


def sweeps(times: Sequence[float]) -> list[int]:
    """How many requests each sweep made, the last one left out, which may have been cut short."""
    found = [0]
    for place, at in enumerate(times):
        if place and at - times[place - 1] > PAUSE:
            found.append(0)
        found[-1] += 1
    return found[:-1] or found


# --- from finished to recorded ----------------------------------------------------------------------------------------


def recorded(cloud: Emulator, folder: Path, *, jobs: int, times: int, run_time: float) -> Iterator[Figure]:
    """How long after the cloud's own end of a job its results stand in the record, by what its duration allows.

    The device takes two jobs at a time; `apply` runs several times, each with so many jobs.
    """
    late: list[float] = []
    allowed: list[float] = []
    for number in range(times):
        account = fresh(cloud, run_time=run_time)
        seen = fetched(project(folder / f"late-{jobs}-{number}", account, jobs, device="narrow"))
        for job in account.books()["jobs"]:
            late.append(seen[job["job_id"]] - job["ended"])
            allowed.append(max(0.1, 0.05 * (job["ended"] - job["submitted"])))
    detail = f"median {statistics.median(late):.2f} s, worst {max(late):.2f} s"
    title = f"from finished to recorded, {times} times {jobs} jobs of {run_time:g} s"
    value = statistics.median(one / other for one, other in zip(late, allowed, strict=True))
    yield Figure(name=title, value=value, limit=1.0, unit="of 0.1 s or 5 % of the job", detail=detail)


def fetched(folder: Path) -> Mapping[str, float]:
    """By handle, when `apply` said that a job's results are recorded, in seconds since 1970."""
    handles: dict[str, str] = {}
    found: dict[str, float] = {}
    command = [*QRUN, "apply", "--yes", "-o", "jsonl", "many.yaml"]
    with subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            at, event = time.time(), json.loads(line)
            if "handle" in event:
                handles[event["job"]] = event["handle"]
            if event["type"] == "fetched":
                found[handles[event["job"]]] = at
    if process.returncode:
        raise RuntimeError(f"apply ended with {process.returncode}")
    return found


# --- all of it --------------------------------------------------------------------------------------------------------


def fresh(cloud: Emulator, **given: Any) -> Emulator:
    return cloud.new_account(trace=False, **given)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.oqtopus")
    parser.add_argument("--jobs", type=int, default=1_000, help="jobs that qrun runs against the clients")
    parser.add_argument("--live", type=int, default=10_000, help="jobs that are live together")
    parser.add_argument("--only", default="", help="names of groups, separated by commas")
    options = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="qrun-bench-") as temporary:
        folder = Path(temporary)
        os.environ["HOME"] = str(folder)
        (devices := folder / "devices.json").write_text(json.dumps(DEVICES))
        with stand_in("--latency", str(LATENCY), "--devices", str(devices)) as cloud:
            groups = {
                "instant": lambda: against_clients(cloud, folder, options.jobs, 0.0),
                "second": lambda: against_clients(cloud, folder, options.jobs, 1.0),
                "alone": lambda: recorded(cloud, folder, jobs=1, times=8, run_time=3.0),
                "turns": lambda: recorded(cloud, folder, jobs=20, times=1, run_time=4.0),
                "live": lambda: live(cloud, folder, options.live),
            }
            chosen = [name for name in groups if name in options.only.split(",")] or list(groups)
            for name in chosen:
                for figure in groups[name]():
                    sign = "ok  " if figure.met else "OVER"
                    told = f"{figure.value:10.3f} {figure.unit} (limit {figure.limit:.3g}; {figure.detail})"
                    print(f"{sign} {figure.name:74}{told}", flush=True)
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
