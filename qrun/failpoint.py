"""Named places at which a test ends the process as a power cut would (RELIABILITY §6); in real use none is armed.

A name stands where the durable state changes or something leaves for the provider, so that a sweep over the names is
a sweep over the rows of RELIABILITY §2.4.
"""

from __future__ import annotations

import os
import signal
from typing import Final

NAMES: Final = (
    "start",  # before the mutex
    "opened",  # the results are held, nothing is written
    "prepared",  # all that can fail is done
    "intended",  # the intent is durable
    "noted",  # a step on the way is durable; once for each
    "sending",  # before a request leaves
    "answered",  # a request's answer is here, and nobody has read it
    "submitted",  # the provider's answer is understood and not yet durable
    "accepted",  # the handle is durable
    "heard",  # news of a job that waits
    "ended",  # a job's end is known, nothing of it is durable
    "kept",  # an output is on disk, and nothing points to it
    "settled",  # the end and its outputs are durable
    "paged",  # record files are written, the lock is not
    "locked",  # the lock is written, the journal is not emptied
    "cancelling",  # before a job is asked to be cancelled
)

_armed: tuple[str, int] | None = None


def arm(text: str) -> None:
    """`name` or `name:3`: end the process at that place, the first or the third time it is passed."""
    global _armed
    name, _, times = text.partition(":")
    if name not in NAMES or not (times or "1").isdigit():
        raise ValueError(f'"{text}" is not a failpoint; there are {", ".join(NAMES)}')
    _armed = (name, int(times or 1))


def failpoint(name: str) -> None:
    """Nothing, unless this place is armed: then SIGKILL, after which no line of ours runs."""
    global _armed
    if _armed is None or _armed[0] != name:
        return
    _armed = (name, _armed[1] - 1)
    if _armed[1] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
