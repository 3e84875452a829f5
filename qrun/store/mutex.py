"""One writer for each experiment: a kernel lock on `.qrun/mutex`, freed by the kernel whatever happens to its holder.

The file is never removed: removing a locked file lets two holders in. Its content is for people and for other hosts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from qrun.clock import instant, stamp
from qrun.errors import Problem, StoreError
from qrun.store.disk import Disk

BOOT: Final = "/proc/sys/kernel/random/boot_id"
LOOKS: Final = 200  # so often we look again who holds it,
MOMENT: Final = 0.01  # and so many seconds lie between two looks
_held: set[int] = set()  # a child made by fork closes its copies, or it would keep the lock after its parent's death


class Mutex:
    """Held from creation to `release`. `place` is how messages call what is locked."""

    def __init__(self, disk: Disk, path: str, *, place: str, run: str, command: str, now: float) -> None:
        self._disk = disk
        held = _taken(disk, path, place)
        self._file: int | None = held
        _held.add(held)
        content = {"run": run, "pid": os.getpid(), "host": os.uname().nodename, "boot": boot(), "start": stamp(now)}
        disk.inscribe(held, json.dumps({**content, "command": command}).encode() + b"\n")

    def release(self) -> None:
        if self._file is not None:
            _held.discard(self._file)
            with suppress(OSError):
                self._disk.inscribe(self._file, b"")
            self._disk.unlock(self._file)
            self._file = None


def _taken(disk: Disk, path: str, place: str) -> int:
    """The locked file. Whoever has just locked it writes a moment later who that is, so we look again until it says."""
    told: Mapping[str, Any] = {}
    for _ in range(LOOKS):
        if (held := disk.flock(path)) is not None:
            return held
        told = _content(disk, path)
        if told and not _dead(told):
            break
        time.sleep(MOMENT)
    raise StoreError(Problem(message=f"{place} is in use{holder(told)}", hint="wait until it has ended"))


def holder(told: Mapping[str, Any]) -> str:
    """` by pid 123 on host since 12:03 (qrun apply bell.yaml)`, as far as the file says it; times are local."""
    words = ""
    if isinstance(told.get("pid"), int):
        words += f" by pid {told['pid']}"
    if isinstance(told.get("host"), str):
        words += f" on {told['host']}"
    if since := _local(told.get("start")):
        words += f" since {since}"
    if isinstance(told.get("command"), str) and told["command"]:
        words += f" ({told['command']})"
    return words


def _dead(told: Mapping[str, Any]) -> bool:
    """Whether this names a process of this machine that has ended: whoever holds the lock now has not written yet."""
    if told.get("host") != os.uname().nodename or not isinstance(told.get("pid"), int):
        return False
    if told.get("boot") != boot():
        return True
    try:
        os.kill(told["pid"], 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def boot() -> str:
    """Which start of this machine it is; empty where the system does not say."""
    try:
        with open(BOOT, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _content(disk: Disk, path: str) -> Mapping[str, Any]:
    try:
        told = json.loads(disk.read(path, 65536))
    except (OSError, StoreError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _local(start: Any) -> str:
    from datetime import UTC, datetime

    try:
        when = datetime.fromtimestamp(instant(start), UTC).astimezone()
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
    return f"{when:%H:%M}"


def _forget() -> None:
    for file in list(_held):
        try:
            os.close(file)
        except OSError:
            continue
    _held.clear()


os.register_at_fork(after_in_child=_forget)
