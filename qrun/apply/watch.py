"""Wait for what runs, and bring it home when it ends: one watcher a connection, one fetch a container."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from qrun.apply.collect import collect, headline
from qrun.containers import container
from qrun.errors import ProviderError
from qrun.events import Cancelling, Fetched, Rested, Running, Warned
from qrun.fact import Fetched as FetchedFact
from qrun.fact import Reached
from qrun.failpoint import failpoint
from qrun.provider import Status
from qrun.record import Handle, Phase, Record

if TYPE_CHECKING:
    from qrun.apply.loop import Apply, Name


class Live:
    """The handles of one connection that wait, as a provider's `watch` sees them."""

    def __init__(self) -> None:
        self.names: dict[Handle, Name] = {}
        self._changed = asyncio.Event()

    def handles(self) -> Sequence[Handle]:
        return list(self.names)

    async def changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def add(self, handle: Handle, name: Name) -> None:
        self.names[handle] = name
        self._changed.set()

    def drop(self, handle: Handle) -> None:
        self.names.pop(handle, None)
        self._changed.set()


class Watcher:
    def __init__(self, apply: Apply) -> None:
        self.apply = apply
        self._live: dict[str, Live] = {}
        self._watching_now: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[Handle, asyncio.Task[None]] = {}
        self._told: set[tuple[Handle, str]] = set()
        self._left: set[str] = set()
        self._timed_out: dict[Handle, str] = {}
        self._done: dict[str, list[tuple[Handle, Name, Status]]] = {}

    def stop(self) -> None:
        for task in self._watching_now.values():
            task.cancel()

    def left(self) -> list[str]:
        """The keys of the jobs that still run."""
        return sorted(self._left | {name[0] for live in self._live.values() for name in live.names.values()})

    def watch(self, name: Name) -> None:
        """Wait for a live job."""
        record = self.apply.record(name)
        handle = record.handle
        assert handle is not None, f"{name} is live without a handle"
        connection = self.apply.connection(name)
        if connection in self.apply.broken or self.apply.stopping:
            self._live.setdefault(connection, Live()).add(handle, name)
            return
        live = self._live.setdefault(connection, Live())
        live.add(handle, name)
        self.apply.traffic.lives(connection, handle)
        if connection not in self._watching_now:
            self._watching_now[connection] = self.apply.start(self._watching(connection, live))

    def expect(self, name: Name, handle: Handle) -> None:
        """Watch a job whose handle is not in the records: one that does not outlive this process."""
        connection = self.apply.connection(name)
        live = self._live.setdefault(connection, Live())
        live.add(handle, name)
        self.apply.traffic.lives(connection, handle)
        if connection not in self._watching_now and not self.apply.stopping:
            self._watching_now[connection] = self.apply.start(self._watching(connection, live))

    async def _watching(self, connection: str, live: Live) -> None:
        try:
            async for handle, status in self.apply.connect(connection).watch(live):
                self._hear(connection, live, handle, status)
                if isinstance(status.error, ProviderError) and not self._waits(connection):
                    raise status.error
                if not live.names:
                    break
        except ProviderError as error:
            self.apply.break_off(connection, error)
        finally:
            self._watching_now.pop(connection, None)
        if live.names and not self.apply.stopping and connection not in self.apply.broken and self._waits(connection):
            self._watching_now[connection] = self.apply.start(self._watching(connection, live))

    def _waits(self, connection: str) -> bool:
        return self.apply.policy.wait or not self.apply.connect(connection).capabilities.remote

    def _hear(self, connection: str, live: Live, handle: Handle, status: Status) -> None:
        name = live.names.get(handle)
        failpoint("heard")
        if name is None:
            return
        if status.error is not None:
            self._tell(handle, str(status.error), name, None)
        elif status.phase is None:
            self._tell(handle, f'the provider says "{status.word}", which this qrun does not know', name, status.word)
        elif status.phase.final:
            live.drop(handle)
            self.apply.traffic.ended(connection, handle)
            self._finished(connection, handle, name, status)
        else:
            self._goes_on(connection, handle, name, status)
        if not self.apply.policy.wait and handle in live.names and self.apply.can(self.apply.pair(name)).remote:
            live.drop(handle)
            self._left.add(name[0])

    def _tell(self, handle: Handle, message: str, name: Name, word: str | None) -> None:
        if (handle, message) not in self._told:
            self._told.add((handle, message))
            self.apply.emit(Warned(experiment=self.apply.experiment, message=message, job=name[0], word=word))

    def _goes_on(self, connection: str, handle: Handle, name: Name, status: Status) -> None:
        if not status.running or (handle, "running") in self._told:
            return
        self._told.add((handle, "running"))
        self.apply.emit(Running(experiment=self.apply.experiment, job=name[0], word=status.word))
        job = self.apply.pair(name).job
        if job is not None and job.conduct.timeout is not None:
            self._timers[handle] = self.apply.start(
                self._expire(connection, handle, name, job.conduct.timeout), patient=True
            )

    async def _expire(self, connection: str, handle: Handle, name: Name, seconds: float) -> None:
        await self.apply.clock.sleep(seconds)
        self._timed_out[handle] = f"timeout: ran for more than {seconds:g} s"
        self.apply.emit(Cancelling(experiment=self.apply.experiment, job=name[0], reason=self._timed_out[handle]))
        await self.cancel(connection, [handle])

    async def cancel(self, connection: str, handles: Sequence[Handle]) -> None:
        """Ask the provider to cancel; what comes of it is heard by watching."""
        failpoint("cancelling")
        try:
            answers = await self.apply.connect(connection).cancel(handles)
        except ProviderError as error:
            self.apply.report(error, connection=connection)
            return
        for handle, words in answers.items():
            if words is not None:
                self.apply.emit(
                    Warned(experiment=self.apply.experiment, message=f'"{handle}" was not cancelled: {words}')
                )

    def _finished(self, connection: str, handle: Handle, name: Name, status: Status) -> None:
        if (timer := self._timers.pop(handle, None)) is not None:
            timer.cancel()
        waiting = self._done.setdefault(connection, [])
        if not waiting:
            self.apply.start(self._collect_finished(connection))
        waiting.append((handle, name, status))

    async def _collect_finished(self, connection: str) -> None:
        """All that ended in one turn of the loop, one fetch a container."""
        done, self._done[connection] = self._done[connection], []
        groups: dict[str, list[tuple[Handle, Name, Status]]] = {}
        for handle, name, status in done:
            groups.setdefault(container(handle), []).append((handle, name, status))
        for members in groups.values():
            self.apply.start(self._settle(connection, members))

    async def _settle(self, connection: str, members: Sequence[tuple[Handle, Name, Status]]) -> None:
        """Make the end of some jobs durable, with their outputs where there are any."""
        failpoint("ended")
        ended = {handle: self._reached(handle, name, status) for handle, name, status in members}
        succeeded = {h: self.apply.record(n) for h, n, _ in members if ended[h].phase is Phase.SUCCEEDED}
        fetched = await self._fetch(connection, succeeded) if succeeded else {}
        await self.apply.ledger.commit(*ended.values(), *[f for f in fetched.values() if isinstance(f, FetchedFact)])
        failpoint("settled")
        for handle, name, status in members:
            fact = ended[handle]
            self._told.discard((handle, "running"))
            self.apply.emit(
                Rested(
                    experiment=self.apply.experiment,
                    job=name[0],
                    attempt=fact.attempt,
                    phase=fact.phase,
                    word=status.word,
                    message=fact.message,
                )
            )
            self._show(name, fetched.get(handle))
            if isinstance(fetched.get(handle), FetchedFact):
                self.apply.found_outputs(name)
            self.apply.ended(name, fact.marker)

    def _reached(self, handle: Handle, name: Name, status: Status) -> Reached:
        last = self.apply.record(name).last
        assert last is not None and status.phase is not None
        message = self._timed_out.pop(handle, None) if status.phase is Phase.CANCELLED else None
        return Reached(
            key=name[0],
            digest=name[1],
            attempt=last.n,
            phase=status.phase,
            marker=last.marker,
            handle=handle,
            word=status.word,
            message=message or status.message,
            provided=status.provided,
            connection=last.connection,
        )

    async def _fetch(self, connection: str, wanted: Mapping[Handle, Record]) -> dict[Handle, FetchedFact | str]:
        try:
            return await collect(self.apply.ledger, self.apply.connect(connection), wanted)
        except ProviderError as error:
            self.apply.report(error, connection=connection)
            return {}

    def _show(self, name: Name, fetched: FetchedFact | str | None) -> None:
        if isinstance(fetched, FetchedFact):
            names = tuple(output.name for output in fetched.outputs)
            counts = tuple(headline(fetched.results))
            self.apply.emit(Fetched(experiment=self.apply.experiment, job=name[0], outputs=names, counts=counts))
        elif fetched is not None:
            self.apply.emit(
                Warned(experiment=self.apply.experiment, job=name[0], message=f"the outputs are gone: {fetched}")
            )

    async def fetch_again(self, name: Name) -> None:
        """Succeeded earlier, but the outputs are not here; if the provider has them no more, they stay missing."""
        record = self.apply.record(name)
        assert record.handle is not None
        fetched = (await self._fetch(self.apply.connection(name), {record.handle: record})).get(record.handle)
        if isinstance(fetched, FetchedFact):
            await self.apply.ledger.commit(fetched)
            self.apply.found_outputs(name)
        self._show(name, fetched)
        self.apply.rest(name)
