"""Several experiments in one event loop: shared connections, signals, and the limit of a wait."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from qrun.apply import Apply, Outcome
from qrun.apply.publication import Command
from qrun.apply.traffic import Limits, Traffic
from qrun.cli.background import listen
from qrun.cli.exits import INTERRUPTED
from qrun.cli.out import mute, tell
from qrun.connection import Access, Connection
from qrun.errors import Missing, QrunError
from qrun.events import Emit
from qrun.job import Program
from qrun.plan import Step
from qrun.provider import Provider
from qrun.providers import MODULES, capabilities
from qrun.settings import usable

if TYPE_CHECKING:
    from qrun.cli.running import Work

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
IN_FLIGHT: Final = 32
GARBAGE: Final = 20_000  # new objects after which cycles are looked for
CURSOR: Final = "\x1b[?25h"  # shows the cursor, which a live display may have hidden


@dataclass(kw_only=True, slots=True)
class Connections:
    """One provider object for each connection, made when it is first needed."""

    known: Mapping[str, Connection]
    access: Access = field(default_factory=Access)
    parallel: int | None = None
    made: dict[str, Provider] = field(default_factory=dict)

    def __call__(self, name: str) -> Provider:
        if name not in self.made:
            if name not in self.known and name not in MODULES:
                words = f'the connection "{name}", which sent jobs of these results, is in no settings any more'
                raise Missing(words, hint="put it into qrun.toml again")
            connection = usable(self.known, name, self.access)
            if self.parallel is not None and not capabilities(connection.provider).remote:
                connection = replace(connection, settings={**connection.settings, "workers": self.parallel})
            module: Any = import_module(MODULES[connection.provider])
            self.made[name] = module.connect(connection, self.access)
        return self.made[name]

    async def aclose(self) -> None:
        for provider in self.made.values():
            await provider.aclose()


@dataclass(kw_only=True, slots=True)
class Course:
    """How the loops of one command run. `origin` goes into the records, with each experiment's manifest."""

    connections: Mapping[str, Connection]
    access: Access
    content: Callable[[Program], bytes]
    emit: Emit
    origin: Mapping[str, Any]
    parallel: int | None = None
    timeout: float | None = None
    spent: tuple[int, int] = (0, 0)
    publish: Command | None = None

    def run(self, works: Sequence[Work]) -> None:
        """Each work gets its outcome or its error; an error of one leaves the others alone."""
        gc.set_threshold(GARBAGE)  # a loop leaves few cycles behind, and to look for them takes its time
        asyncio.run(self._run(works))

    async def _run(self, works: Sequence[Work]) -> None:
        listen()
        connect = Connections(known=self.connections, access=self.access, parallel=self.parallel)
        publish = one_at_a_time(self.publish)
        for work in works:
            for name in sorted({_connection(step) for step in work.proposal.steps if not step.rests}):
                with suppress(Missing):  # stops only the jobs of that connection
                    connect(name)  # what is wrong with a connection's settings shows before anything is sent
        traffic = Traffic(self._limits)
        loops = [self._loop(work, connect, publish, traffic) for work in works]
        try:
            with _signals(loops), _limit(loops, self.timeout):
                runs = [loop.run(work.proposal.jobs) for loop, work in zip(loops, works, strict=True)]
                ended = await asyncio.gather(*runs, return_exceptions=True)
        finally:
            await connect.aclose()
        for work, end in zip(works, ended, strict=True):
            _note(work, end)

    def _loop(self, work: Work, connect: Connections, publish: Command | None, traffic: Traffic) -> Apply:
        return Apply(
            store=work.store,
            connect=connect,
            capabilities=capabilities,
            content=self.content,
            policy=work.policy,
            emit=self.emit,
            origin={"manifest": work.proposal.experiment.path, **self.origin},
            traffic=traffic,
            spent=self.spent,
            publish=publish,
        )

    def _limits(self, connection: str) -> Limits:
        known = self.connections.get(connection)
        settings = known.settings if known is not None else {}
        in_flight = self.parallel or settings.get("max_in_flight", IN_FLIGHT)
        return Limits(in_flight=in_flight, live=settings.get("max_live"))


def one_at_a_time(command: Command | None) -> Command | None:
    """Several experiments share one command, and it cannot run beside itself."""
    if command is None:
        return None
    turn = asyncio.Lock()

    async def run() -> None:
        async with turn:
            await command()

    return run


def _connection(step: Step) -> str:
    """As the loop finds it: the manifest's, else the one that sent the job."""
    if step.pair.job is not None:
        return step.pair.job.target.connection
    record = step.pair.record
    assert record is not None
    return record.last.connection if record.last is not None and record.last.connection else record.provider


def _note(work: Work, end: Outcome | BaseException) -> None:
    if isinstance(end, Outcome):
        work.outcome = end
    elif isinstance(end, QrunError):
        work.error = end
    else:
        raise end


@contextmanager
def _limit(loops: Sequence[Apply], seconds: float | None) -> Iterator[None]:
    """The end of a wait ends the command, never a job."""
    if seconds is None:
        yield
        return
    timer = asyncio.get_running_loop().call_later(seconds, _stop, loops, "timeout")
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _signals(loops: Sequence[Apply]) -> Iterator[None]:
    """The first signal stops sending and waiting; the second leaves at once, which is as safe as a power cut."""
    running = asyncio.get_running_loop()
    seen: list[int] = []

    def heard(number: int) -> None:
        if number == signal.SIGHUP:
            _without_terminal()
        seen.append(1)
        if len(seen) > 1:
            _leave()
        tell("stopping: what is being sent is still recorded; once more leaves at once")
        _stop(loops, "interrupted")

    added = []
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup, or a job that a script put into the background
        with suppress(NotImplementedError, ValueError, RuntimeError):  # not in this thread, or not on this system
            running.add_signal_handler(number, heard, number)
            added.append(number)
    try:
        yield
    finally:
        for number in added:
            running.remove_signal_handler(number)


def _stop(loops: Sequence[Apply], reason: str) -> None:
    for loop in loops:
        loop.stop(reason)


def _without_terminal() -> None:
    """A terminal that was closed takes no more words; files and pipes still do."""
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            mute(stream)


def _leave() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError):
            if stream is not None and stream.isatty():
                stream.write(CURSOR)
            if stream is not None:
                stream.flush()
    os._exit(INTERRUPTED)
