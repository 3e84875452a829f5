"""Stand-ins of the quantum clouds on loopback, for tests and rehearsals: the clouds' own API, and simulated physics.

They are told from the inside out: *wire* (what a request and an answer are), *faults* (what goes wrong on purpose),
*storage* and *accounts* (what every cloud has), *engine* and *queue* (who computes, and when), one folder for each
cloud, *server* (the sockets) and *stage* (what keeps the stand-ins running). Only plain data stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["EMULATORS", "MODULES", "Options"]

EMULATORS: Final[Mapping[str, str]] = {  # each has `stand_in(options) -> Service`
    "oqtopus": "qrun.emulators.oqtopus",
    "pasqal": "qrun.emulators.pasqal",
}
MODULES: Final = ("uvicorn", "httptools")  # what the extra `emulator` brings


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What `qrun emulator up` was asked for. Times are seconds; None is "no limit" or "chosen at random"."""

    host: str = "127.0.0.1"
    port: int = 0
    control: bool = False
    latency: float = 0.0  # before each answer
    queue_delay: float = 0.0  # from submitted to ready
    run_time: float = 0.0  # in running, at least
    workers: int = 2
    seed: int | None = None
    accounts: tuple[tuple[str, str], ...] = ()  # name and token; the first is the one that is printed
    max_live: int | None = None  # unfinished jobs an account may have
    quota_status: int = 429
    rate: float | None = None  # requests a second and account
    retry_after: str | None = None  # the header of a 429
    link_life: float = 3600.0
    faults: tuple[str, ...] = ()
    devices: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    python: str | None = None  # the interpreter of uploaded programs
    trace: bool = False  # upload forms have a field that no client knows, and want it back
