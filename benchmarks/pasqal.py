"""`python -m benchmarks.pasqal`: a sweep of 500 points on the stand-in of Pasqal Cloud, by qrun and its own client.

Both talk to one stand-in that answers every request 20 ms late and, where Pulser is installed, computes every run.
qrun's times are of the whole command, from the shell to its last write; those of the client are of its calls alone,
without its imports and its login. In one batch the client runs all points. With a batch a point it runs fewer, since
each takes as long as the one before, and its time and requests are those of a point, times 500.

What is compared of the requests are those that send and wait. A result costs everybody two more, its link and itself.

Jobs of no length are what suits the client best: with a batch a point its first question often finds the end, and it
need not wait two seconds for the next one. Seen with Python 3.11 on two cores that were busy with other things: qrun
6.3 to 7.3 s (2.3 s where Pulser is installed on neither side), the client 29 s in one batch and 67 to 69 s with a batch
a point.

Where the client is not installed it is left out; `make bench-pasqal` has an environment with it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import Figure, environment, once
from tests.emulator_pasqal import PARAMETRIZED, Cloud, stand_in, without_physics

LATENCY: Final = 0.02  # seconds
RUNS: Final = 100
FEW: Final = 25  # points of the client where each has its batch
QRUN: Final = [sys.executable, "-m", "qrun"]
RESULTS: Final = ("GET /api/v1/jobs/{job_id}/results_link", "GET storage results.json")

HEAD: Final = """
import json, sys, time
from pasqal_cloud.endpoints import Endpoints, TokenProviderConf
from pasqal_cloud.pasqal_cloud_client import PasqalCloudClient
told = json.load(sys.stdin)
usual = TokenProviderConf.from_region("fr")
client = PasqalCloudClient(
    username=told["username"],
    password=told["password"],
    project_id=told["project"],
    endpoints=Endpoints(core=told["core"], account=told["account"]),
    auth_config=TokenProviderConf(**(vars(usual) | {"token_endpoint": told["token_url"]})),
)
jobs = [{"runs": told["runs"], "variables": {"omega": omega}} for omega in told["omegas"]]
def create(jobs, wait):
    return client.create_batch(told["sequence"], jobs, device_type="EMU_FREE", wait=wait)
begun = time.perf_counter()
"""
TAIL: Final = """
seconds = time.perf_counter() - begun
assert len(found) == len(jobs) and all(sum(counts.values()) == told["runs"] for counts in found)
print(seconds)
"""
ONE_BATCH: Final = "found = [job.result for job in create(jobs, True).ordered_jobs]"
IN_TURN: Final = "found = [create([job], True).ordered_jobs[0].result for job in jobs]"
SENT_FIRST: Final = """batches = [create([job], False) for job in jobs]
found = []
for batch in batches:
    client._wait_for_batch_terminal(batch.id)
    found.append(client.get_batch(batch.id).ordered_jobs[0].result)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of a whole sweep. `requests` are those that send and wait."""

    seconds: float
    requests: float
    results: float

    def times(self, factor: float) -> Cost:
        return Cost(seconds=self.seconds * factor, requests=self.requests * factor, results=self.results * factor)


def points(number: int) -> list[float]:
    return [round(4 * math.pi * place / max(number - 1, 1), 6) for place in range(number)]


def cost(account: Cloud, seconds: float) -> Cost:
    asked = {route: each["asked"] for route, each in account.books()["routes"].items()}
    results = sum(asked.pop(route, 0) for route in RESULTS)
    return Cost(seconds=seconds, requests=sum(asked.values()), results=results)


# --- both sides -------------------------------------------------------------------------------------------------------


def by_client(cloud: Cloud, script: str, number: int) -> Cost:
    account = cloud.new_account()
    told = {
        "username": account.username,
        "password": account.token,
        "project": account.project,
        "core": account.core,
        "account": f"{account.url}/account",
        "token_url": account.token_url,
        "sequence": PARAMETRIZED,
        "runs": RUNS,
        "omegas": points(number),
    }
    command = [sys.executable, "-c", HEAD + script + TAIL]
    words = json.dumps(told)
    done = subprocess.run(command, input=words, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return cost(account, float(done.stdout))


def by_qrun(cloud: Cloud, folder: Path, number: int) -> Cost:
    account = cloud.new_account()
    where = project(folder, account, number)
    run = once([*QRUN, "apply", "--yes", "sweep.yaml"], where)
    books = account.books()
    assert books["starts"] == number, "each job was begun once"
    found = cost(account, run.seconds)
    told = f"{spoken(found)}, {len(books['batches'])} batches, {run.peak / 2**20:.0f} MiB"
    print(f"qrun, {number} points: {told}", flush=True)
    return found


def project(folder: Path, account: Cloud, number: int) -> Path:
    folder.mkdir(parents=True)
    os.environ["PASQAL_PASSWORD"] = account.token
    places = {"core_url": account.core, "account_url": f"{account.url}/account", "token_url": account.token_url}
    told = {"type": "pasqal", "project_id": account.project, "username": account.username, **places}
    lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
    head = ['project = "5f0c7a52-6d0e-4b1e-9d0b-1f6f6f3a2b11"', "[connections.atoms]", *lines]
    (folder / "qrun.toml").write_text("\n".join([*head, 'password = { env = "PASQAL_PASSWORD" }', ""]))
    (folder / "rabi.json").write_text(PARAMETRIZED)
    job = {
        "provider": "atoms",
        "device": "EMU_FREE",
        "program": "rabi.json",
        "shots": RUNS,
        "matrix": {"omega": points(number)},
        "params": {"omega": "{{ matrix.omega }}"},
    }
    (folder / "sweep.yaml").write_text(json.dumps({"name": "sweep", "jobs": {"rabi": job}}))
    return folder


# --- against each other -----------------------------------------------------------------------------------------------


def compared(cloud: Cloud, folder: Path, number: int, turns: int) -> Iterator[Figure]:
    """In turn, so that a machine that slows down does so for both; the ratios are medians of pairs."""
    pairs = []
    for turn in range(turns):
        ours = by_qrun(cloud, folder / f"one-{turn}", number)
        theirs = by_client(cloud, ONE_BATCH, number)
        print(f"pasqal-cloud, all in one batch: {spoken(theirs)}", flush=True)
        pairs.append((ours, theirs))
    detail = f"{median(ours.seconds for ours, _ in pairs):.1f} s, {median(o.seconds for _, o in pairs):.1f} s"
    value = median(ours.seconds / theirs.seconds for ours, theirs in pairs)
    yield Figure(name="all in one batch", value=value, limit=1.1, unit="of the client's time", detail=detail)
    few = min(FEW, number)
    for name, script in (("a batch a point, in turn", IN_TURN), ("a batch a point, all sent first", SENT_FIRST)):
        theirs = by_client(cloud, script, few).times(number / few)
        print(f"pasqal-cloud, {name}: {spoken(theirs)}, by {few} points", flush=True)
        yield from against(name, by_qrun(cloud, folder / name.replace(" ", "-"), number), theirs)


def against(name: str, ours: Cost, theirs: Cost) -> Iterator[Figure]:
    seconds, requests = theirs.seconds / ours.seconds, theirs.requests / ours.requests
    everything = (theirs.requests + theirs.results) / (ours.requests + ours.results)
    yield Figure(
        name=f"{name}: time", value=1 / seconds, limit=1 / 10, unit="of its time", detail=f"{seconds:.0f} times as fast"
    )
    yield Figure(
        name=f"{name}: requests",
        value=1 / requests,
        limit=1 / 20,
        unit="of its requests",
        detail=f"{requests:.0f} times fewer to send and wait, {everything:.1f} times with those for results",
    )


def spoken(found: Cost) -> str:
    return f"{found.seconds:.1f} s, {found.requests:.0f} requests to send and wait, {found.results:.0f} for results"


def median(values: Iterator[float]) -> float:
    return statistics.median(values)


# --- all of it --------------------------------------------------------------------------------------------------------


def physics() -> bool:
    return importlib.util.find_spec("pulser_simulation") is not None


def standing() -> AbstractContextManager[Cloud]:
    return stand_in("--latency", str(LATENCY)) if physics() else without_physics(latency=LATENCY)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pasqal")
    parser.add_argument("--points", type=int, default=500, help="sets of parameters")
    parser.add_argument("--turns", type=int, default=3, help="how often both run the sweep in one batch")
    options = parser.parse_args()
    begun = time.perf_counter()
    print("with physics" if physics() else "without physics: Pulser is not installed")
    with tempfile.TemporaryDirectory(prefix="qrun-bench-") as temporary, standing() as cloud:
        folder = Path(temporary)
        os.environ["HOME"] = str(folder)
        if importlib.util.find_spec("pasqal_cloud") is None:
            by_qrun(cloud, folder / "alone", options.points)
            print("the official client is not installed; nothing to compare with")
            return
        for figure in compared(cloud, folder, options.points, options.turns):
            sign = "ok  " if figure.met else "OVER"
            told = f"{figure.value:8.3f} {figure.unit} (limit {figure.limit:.3g}; {figure.detail})"
            print(f"{sign} {figure.name:42}{told}", flush=True)
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
