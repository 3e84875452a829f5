"""A worker process: reads jobs, runs one at a time, writes what came of it, and dies with its parent.

A message is a length (4 bytes, big-endian) and so many bytes of JSON. A library is imported when a job first needs it.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import os
import resource
import signal
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final

from qrun.providers.local import AER, DDSIM, PULSER, SEED
from qrun.providers.local.openqasm.tokens import ProgramError, Text, inputs
from qrun.providers.local.size import size

LENGTH: Final = struct.Struct(">I")

DEVICES: Final = {
    DDSIM: "qrun.providers.local.dd",
    AER: "qrun.providers.local.aer",
    PULSER: "qrun.providers.local.pulses",
}
PR_SET_PDEATHSIG: Final = 1


class JobError(Exception):
    """Why a job failed, in words for its author."""


def main() -> None:
    """`argv`: the parent's process id, and the bytes of memory that this worker may take (0: no limit)."""
    parent, memory = int(sys.argv[1]), int(sys.argv[2])
    die_with(parent)
    limit(memory)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    serve(sys.stdin.buffer, replies, memory)


def die_with(parent: int) -> None:
    """Linux kills us as soon as the parent ends; elsewhere the end of our input tells us."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(0)


def limit(memory: int) -> None:
    """A simulation that outgrows its share fails alone. RLIMIT_DATA counts what is written, not what is mapped."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))


def serve(requests: BinaryIO, replies: BinaryIO, memory: int) -> None:
    receive = _receiver(requests)
    while (data := receive()) is not None:
        reply = answer(json.loads(data), memory)
        body = json.dumps(reply, separators=(",", ":")).encode()
        replies.write(LENGTH.pack(len(body)) + body)
        replies.flush()


def _receiver(requests: BinaryIO) -> Callable[[], bytes | None]:
    if sys.platform.startswith("linux"):
        return lambda: _read(requests)
    return _watched(requests)


def _watched(requests: BinaryIO) -> Callable[[], bytes | None]:
    """A thread reads ahead, so that the parent's end is seen while a job runs."""
    import queue

    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        while (data := _read(requests)) is not None:
            waiting.put(data)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return waiting.get


def _read(requests: BinaryIO) -> bytes | None:
    head = requests.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    data = requests.read(length)
    return data if len(data) == length else None


def answer(request: Mapping[str, Any], memory: int) -> dict[str, Any]:
    """`results` and `facts`, or the `message` of a failure; `spent` where the process should be replaced."""
    device = request["device"]
    try:
        module = importlib.import_module(DEVICES[device])
        results = run(module, request, memory)
    except JobError as error:
        return {"message": str(error)}
    except ImportError as error:
        return {"message": missing(device, error)}
    except MemoryError:
        return {"message": too_large(device, memory), "spent": True}
    except Exception as error:  # the outermost line of this process: whatever a library raises fails one job
        words = str(error).strip().partition("\n")[0]
        return {"message": f"{type(error).__name__}: {words} (device {device})", "spent": True}
    facts = {"device": device, "seed": request["seed"], "libraries": module.LIBRARIES}
    return {"results": results, "facts": facts}


def missing(device: str, error: ImportError) -> str:
    if device == DDSIM:
        return f"device ddsim needs mqt-core, which cannot be imported ({error})"
    return f"device {device} needs more libraries ({error}); pip install 'qrun-quantum[{device}]'"


def too_large(device: str, memory: int) -> str:
    share = f" than the {size(memory)} that a worker may take" if memory else " than there is"
    better = "try device: aer with method: matrix_product_state, or" if device == DDSIM else "try another method, or"
    return f"the simulation needs more memory{share} (device {device}); {better} raise memory in the connection"


def run(module: Any, request: Mapping[str, Any], memory: int) -> dict[str, Any]:
    if request["device"] == PULSER:
        return _pulses(module, request, memory)
    programs = [_text(program, request["device"]) for program in request["programs"]]
    check_params(programs, request["params"])
    if request["kind"] == "multi":
        return {
            "parts": [
                _circuit(module, text, program["path"], {**request, "seed": part_seed(request["seed"], place)}, memory)
                for place, (text, program) in enumerate(zip(programs, request["programs"], strict=True))
            ]
        }
    return _circuit(module, programs[0], request["programs"][0]["path"], request, memory)


def part_seed(seed: int, place: int) -> int:
    """Equal programs in one job are sampled independently."""
    digest = hashlib.sha256(f"{seed}/{place}".encode()).digest()
    return int.from_bytes(digest[:8]) % SEED + 1


def _pulses(module: Any, request: Mapping[str, Any], memory: int) -> dict[str, Any]:
    parts = []
    for place, program in enumerate(request["programs"]):
        seed = part_seed(request["seed"], place) if request["kind"] == "multi" else request["seed"]
        text, params, shots, options = program["text"], request["params"], request["shots"], request["options"]
        try:
            parts.append(module.sample(text, params, shots, seed, options, memory))
        except ProgramError as error:
            raise JobError(placed(error, program["path"], PULSER)) from error
        except ValueError as error:
            raise JobError(f"{program['path']}: {error} (device pulser)") from error
    return {"parts": parts} if request["kind"] == "multi" else parts[0]


def _text(program: Mapping[str, str], device: str) -> Text:
    try:
        return Text(program["text"])
    except ProgramError as error:
        raise JobError(placed(error, program["path"], device)) from error


def check_params(programs: list[Text], params: Mapping[str, Any]) -> None:
    """Every parameter is an input of some program."""
    known = sorted({name for text in programs for name in inputs(text)})
    for name in params:
        if name not in known:
            listed = f"its inputs are {', '.join(known)}" if known else "it declares no input"
            raise JobError(f"params.{name} is not an input of the program; {listed}")


def placed(error: ProgramError, path: str, device: str) -> str:
    place = path if error.line is None else f"{path}:{error.line}:{error.column}"
    hint = f"; {error.hint}" if error.hint else ""
    return f"{place}: {error.message} (device {device}){hint}"


def _circuit(module: Any, text: Text, path: str, request: Mapping[str, Any], memory: int) -> dict[str, Any]:
    from qrun.providers.local import normal
    from qrun.providers.local.openqasm.program import parse

    device, seed, options = request["device"], request["seed"], request["options"]
    declared = inputs(text)
    try:
        circuit = parse(text, {name: value for name, value in request["params"].items() if name in declared})
        if not circuit.qubits:
            raise ProgramError("the program has no qubits")
        simulate = module.Simulator(circuit, options, memory)
        if request["kind"] == "estimation":
            observable = normal.without_identities(normal.parse_observable(request["observable"]))
            normal.check_qubits(observable, len(circuit.qubits))
            return normal.estimated(observable, simulate.expectation(observable), request["shots"], seed)
        return normal.sampled(normal.names(circuit), simulate.sample(request["shots"], seed))
    except ProgramError as error:
        raise JobError(placed(error, path, device)) from error
    except ValueError as error:
        raise JobError(f"{path}: {error} (device {device})") from error


if __name__ == "__main__":
    main()
