"""What a program finds inside the container of an sse job: a way to run jobs on the device that it was given.

`submit_job` is what the official clients call where OQTOPUS_ENV is sse_container; `run_sampling` and `run_estimation`
do the same without any client. Nothing but the standard library, so that any interpreter takes it.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from typing import Any

_bridge = socket.socket(fileno=sys._qrun_bridge)  # type: ignore[attr-defined]  # noqa: SLF001 - set by who started us
_lines = _bridge.makefile("rb")
_turn = threading.Lock()


class JobError(Exception):
    """Why a job that the program submitted failed."""


def run_sampling(program: str | list[str], shots: int) -> dict[str, Any]:
    """`counts`, and for several programs `divided_counts`."""
    programs = [program] if isinstance(program, str) else program
    kind = "sampling" if len(programs) == 1 else "multi_manual"
    found: dict[str, Any] = _ask({"job_type": kind, "program": programs, "shots": shots})["sampling"]
    return found


def run_estimation(program: str, operator: list[dict[str, Any]], shots: int) -> dict[str, Any]:
    """`exp_value` and `stds`."""
    request = {"job_type": "estimation", "program": [program], "operator": operator, "shots": shots}
    found: dict[str, Any] = _ask(request)["estimation"]
    return found


def submit_job(request: Any, upload_info: Any) -> dict[str, Any]:
    """A job as the API shows it, finished, with its results in place of the links."""
    asked, uploaded = _plain(request), _plain(upload_info)
    found = _ask({**asked, "program": uploaded.get("program"), "operator": uploaded.get("operator")})
    transpiled = found.pop("transpile_result", None)
    return {
        "job_id": "sse",
        "name": asked.get("name") or "",
        "description": asked.get("description") or "",
        "job_type": asked["job_type"],
        "status": "succeeded",
        "device_id": asked["device_id"],
        "shots": asked["shots"],
        "transpiler_info": asked.get("transpiler_info") or {},
        "simulator_info": asked.get("simulator_info") or {},
        "mitigation_info": asked.get("mitigation_info") or {},
        "job_info": {"input": uploaded, "result": found, "transpile_result": transpiled},
    }


def _plain(value: Any) -> dict[str, Any]:
    """The JSON of a model of the client, or a map as it is."""
    if hasattr(value, "model_dump_json"):
        return dict(json.loads(value.model_dump_json(exclude_none=True)))
    return dict(value)


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    with _turn:
        _bridge.sendall(json.dumps(request).encode() + b"\n")
        line = _lines.readline()
    if not line:
        raise JobError("nobody takes jobs any more")
    reply = json.loads(line)
    if "error" in reply:
        raise JobError(reply["error"])
    result: dict[str, Any] = reply["result"]
    return result
