"""Stand-ins of Pasqal Cloud for tests: one that all tests of this process share, and others with options of their own.

The shared one runs in a thread and computes nothing: its results follow from a job's variables by a rule, so that all
that is not physics can be tested where Pulser is not installed. `stand_in()` is the real one, a process of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from qrun.emulators import Options
from qrun.emulators.pasqal.cloud import Pasqal
from qrun.emulators.pasqal.engine import EngineError, Task
from qrun.emulators.pasqal.sequence import declared
from qrun.emulators.pasqal.server import PasqalServer
from qrun.emulators.pasqal.tokens import project_id
from tests.emulator import ROOT, Emulator, Reply, fetch, request, until

PULSE: dict[str, Any] = {
    "op": "pulse",
    "channel": "ch",
    "protocol": "min-delay",
    "phase": 0.0,
    "post_phase_shift": 0.0,
    "detuning": {"kind": "constant", "duration": 1000, "value": 0.0},
}
OMEGA = {"expression": "index", "lhs": {"variable": "omega"}, "rhs": 0}


def sequence(value: Any, variables: Mapping[str, Any], **changed: Any) -> str:
    """A pulse of one microsecond on two atoms, in Pulser's abstract representation."""
    pulse = PULSE | {"amplitude": {"kind": "constant", "duration": 1000, "value": value}}
    found = {
        "version": "1",
        "name": "rabi",
        "register": [{"name": "left", "x": 0.0, "y": 0.0}, {"name": "right", "x": 0.0, "y": 80.0}],
        "channels": {"ch": "rydberg_global"},
        "variables": variables,
        "operations": [pulse],
        "measurement": "ground-rydberg",
        "device": "MockDevice",
    }
    return json.dumps(found | changed)


PARAMETRIZED = sequence(OMEGA, {"omega": {"type": "float", "value": [0.0]}})
FIXED = sequence(math.pi, {})


def apart(distance: float) -> str:
    """The parametrized sequence with its two atoms so many micrometres apart."""
    places = [{"name": "left", "x": 0.0, "y": 0.0}, {"name": "right", "x": 0.0, "y": distance}]
    return json.dumps(json.loads(PARAMETRIZED) | {"register": places})


@dataclass(frozen=True, kw_only=True)
class Cloud(Emulator):
    """One account of a stand-in; requests bear its ready token."""

    project: str = ""
    username: str = ""
    bearer: str = field(default="", repr=False)

    @property
    def core(self) -> str:
        return f"{self.url}/core-fast"

    @property
    def token_url(self) -> str:
        return f"{self.url}/oauth/token"

    # --- the core API -----------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = "", **query: Any) -> Reply:
        """A request to the core; a list in the query is repeated. With another token, or None for none."""
        headers = {"content-type": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token or self.bearer or self.token}"
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None and data[:2] == b"\x1f\x8b":
            headers["content-encoding"] = "gzip"
        target = path + (f"?{urlencode(query, doseq=True)}" if query else "")
        return request(self.core, method, target, data, headers)

    def get(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The data of a good answer."""
        reply = self.ask(method, path, body, **query)
        assert reply.status == 200, reply.content
        return reply.json["data"]

    def draft(self, **given: Any) -> dict[str, Any]:
        """The body of a create."""
        usual = {
            "sequence_builder": PARAMETRIZED,
            "webhook": None,
            "jobs": [{"runs": 100, "variables": {"omega": 0.25}}],
            "open": False,
            "device_type": "EMU_FREE",
            "project_id": self.project,
        }
        return usual | given

    def create(self, **given: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.get("POST", "/api/v1/batches", self.draft(**given))
        return found

    def problems(self, **given: Any) -> list[tuple[list[str | int], str]]:
        """Where a create is wrong, and how."""
        return _problems(self.ask("POST", "/api/v1/batches", self.draft(**given)))

    def batch(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get("GET", f"/api/v2/batches/{batch_id}")
        return found

    def jobs(self, batch_id: str) -> list[dict[str, Any]]:
        """In the order of their creation."""
        query = {"batch_id": batch_id, "order_by": "creation_order", "order_by_direction": "ASC"}
        found: list[dict[str, Any]] = self.get("GET", "/api/v2/jobs", **query)
        return found

    def words(self, batch_id: str) -> list[str]:
        """The statuses of a batch's jobs, in order."""
        return [job["status"] for job in self.jobs(batch_id)]

    def at(self, batch_id: str, *words: str) -> dict[str, Any]:
        """The batch once its status is one of these words, or an ended one."""
        wanted = words or ("DONE", "ERROR", "CANCELED", "TIMED_OUT")
        until(lambda: self.get("GET", f"/api/v1/batches/{batch_id}/status")["status"] in wanted)
        return self.batch(batch_id)

    def settled(self, batch_id: str) -> list[str]:
        """The statuses of the jobs once none of them is waiting or running."""
        unfinished = {"PENDING", "RUNNING", "CANCELING"}
        until(lambda: not unfinished & set(self.words(batch_id)))
        return self.words(batch_id)

    def result(self, job_id: str) -> dict[str, Any]:
        link = self.get("GET", f"/api/v1/jobs/{job_id}/results_link")["results_link"]
        reply = fetch(link)
        assert reply.status == 200, reply.content
        found: dict[str, Any] = reply.json
        return found

    # --- tokens -----------------------------------------------------------------------------------------------------

    def login(self, **form: Any) -> Reply:
        """As a person, unless the form says otherwise; None leaves a field out."""
        usual: dict[str, Any] = {
            "client_id": "PeZvo7Atx7IVv3iel59asJSb4Ig7vuSB",
            "grant_type": "http://auth0.com/oauth/grant-type/password-realm",
            "realm": "pcs-users",
            "audience": "https://apis.pasqal.cloud/account/api/v1",
            "username": self.username,
            "password": self.token,
        }
        kept = {name: value for name, value in (usual | form).items() if value is not None}
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return request(self.token_url, "POST", "", urlencode(kept).encode(), kind)

    def bearing(self, token: str) -> Cloud:
        return replace(self, bearer=token)

    # --- the strings ------------------------------------------------------------------------------------------------

    def new_account(self, **given: Any) -> Cloud:
        """Its devices work for nobody else."""
        made = self.pull("POST", "accounts", {"alone": True} | given)
        name = made["name"]
        return replace(self, token=made["token"], account=name, username=name, project=project_id(name), bearer="")


def _problems(reply: Reply) -> list[tuple[list[str | int], str]]:
    assert reply.status == 422, reply.content
    return [(each["loc"], each["msg"]) for each in reply.json["data"]["description"]]


def told(reply: Reply) -> str:
    """The words of a refusal."""
    body = reply.json
    assert body["code"] == str(reply.status)
    assert body["status"] == ("fail" if reply.status < 500 else "error")
    words: str = body["data"]["description"]
    return words


# --- stand-ins --------------------------------------------------------------------------------------------------------


@contextmanager
def stand_in(*options: str) -> Iterator[Cloud]:
    """The real one, with options as one types them."""
    with tempfile.TemporaryDirectory() as home:
        process, line = start(home, *options)
        try:
            yield _cloud(line, process.pid)
        finally:
            process.terminate()
            _, words = process.communicate(timeout=30)
            assert process.returncode == 0, words


def start(home: str, *options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """The process and the line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qrun", "emulator", "up", "pasqal", "--quiet", "--control", *options],
        cwd=ROOT,
        env={"HOME": home, "PATH": os.environ.get("PATH", "")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    printed = process.stdout.readline()
    if not printed:
        raise AssertionError(process.communicate()[1])
    line: dict[str, Any] = json.loads(printed)
    return process, line


@contextmanager
def without_physics(**options: Any) -> Iterator[Cloud]:
    """One in a thread of this process, whose results follow from the variables by a rule."""
    up = threading.Event()
    kept: dict[str, Any] = {}

    async def serve() -> None:
        given = Options(control=True, **({"seed": 7} | options))
        server = PasqalServer(given, lambda own, url: Pasqal(own, url, engine=Rule()))
        kept.update(line=await server.start(), over=asyncio.Event(), loop=asyncio.get_running_loop())
        up.set()
        await kept["over"].wait()
        await server.aclose()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)  # so that atexit may end it
    thread.start()
    assert up.wait(30)
    try:
        yield _cloud(kept["line"])
    finally:
        kept["loop"].call_soon_threadsafe(kept["over"].set)
        thread.join(30)
        assert not thread.is_alive()


class Rule:
    """Every run measures ones, in so many of all runs as the fractional part of the variables' sum says, else zeros.

    What is negative cannot be computed, as no amplitude is.
    """

    async def run(self, task: Task) -> Mapping[str, Any]:
        atoms, runs = declared(task.sequence).atoms, task.runs or 1000
        numbers = [value for value in task.variables.values() if isinstance(value, int | float)]
        if any(number < 0 for number in numbers):
            raise EngineError("ValueError: All amplitude values must be greater than or equal to zero")
        ones = round(runs * (sum(numbers) % 1.0))
        counter = {bits: count for bits, count in (("0" * atoms, runs - ones), ("1" * atoms, ones)) if count}
        return {"counter": counter, "serialised_results": '{"rule": true}' if task.serialised else None}

    async def aclose(self) -> None:
        pass


def _cloud(line: Mapping[str, Any], pid: int = 0) -> Cloud:
    told = {key: line[key] for key in ("url", "storage", "token", "control", "username")}
    return Cloud(**told, project=line["project_id"], pid=pid)


_shared: list[Cloud] = []


def shared() -> Cloud:
    """The one without physics that all tests of this process use, ended with it."""
    if not _shared:
        kept = without_physics()
        _shared.append(kept.__enter__())
        atexit.register(kept.__exit__, None, None, None)
    return _shared[0]


def packed(body: Any) -> bytes:
    return gzip.compress(json.dumps(body).encode())
