"""A worker process of the Pasqal stand-in: reads jobs, simulates one at a time, and dies with its parent.

A message is a length (4 bytes, big-endian) and so many bytes of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, BinaryIO

from qrun.emulators.pasqal.engine import LENGTH
from qrun.providers.local.worker import die_with, limit


def main() -> None:
    """`argv`: the parent's process id, and the bytes of memory that this worker may take (0: no limit)."""
    die_with(int(sys.argv[1]))
    limit(int(sys.argv[2]))
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no reply
    serve(sys.stdin.buffer, replies)


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    from qrun.emulators.pasqal import physics

    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        body = json.dumps(answer(physics, json.loads(requests.read(length)))).encode()
        replies.write(LENGTH.pack(len(body)) + body)
        replies.flush()


def answer(physics: Any, task: dict[str, Any]) -> dict[str, Any]:
    """The results, or the `message` of a failure."""
    try:
        found: dict[str, Any] = physics.simulated(**task)
    except MemoryError:
        return {"message": "The emulation needs more memory than there is"}
    except Exception as error:  # the outermost line of this process: whatever a library raises fails one job
        words = error.args[0] if isinstance(error, KeyError) and error.args else error
        return {"message": f"{type(error).__name__}: {str(words).strip().partition(chr(10))[0]}"}
    return found


if __name__ == "__main__":
    main()
