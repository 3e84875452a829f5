"""Take steps until every job rests.

Level-triggered: after each fact a job is looked at again as it *is*, and `decide` names what is next. Nothing here
remembers how a job came to its phase. What is in flight is a task; what waits for a neighbour is parked under it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from qrun.apply.joining import look_at_open
from qrun.apply.ledger import Ledger, Store
from qrun.apply.publication import Command, Publication
from qrun.apply.recover import Recoverer
from qrun.apply.submit import Submitter
from qrun.apply.traffic import Traffic
from qrun.apply.watch import Watcher
from qrun.clock import Clock
from qrun.containers import Holding, container, held
from qrun.errors import BudgetError, ProviderError, QrunError, SettingsError, StoreError, Unavailable
from qrun.events import (
    Absent,
    Cancelling,
    Emit,
    Failed,
    Held,
    Refused,
    Relabelled,
    Renamed,
    Retrying,
    Started,
)
from qrun.fact import Labelled, Reached
from qrun.fact import Renamed as RenamedFact
from qrun.job import Job, Program
from qrun.marks import mark
from qrun.plan import Action, Need, Pair, Policy, Step, decide, match, need, over_budget, packed
from qrun.provider import Capabilities, Labels, Provider, Recovery
from qrun.record import Handle, Phase, Record

Name = tuple[str, str]  # (key, digest)

UNCLEAR = frozenset({Phase.INTENT, Phase.UNCERTAIN})


@dataclass(kw_only=True, slots=True)
class Outcome:
    """How the loop ended. `left` are jobs that still run; `errors` are what stopped a connection or a request.

    `postponed` are those that say no more than that a provider wants to be left alone for a while.
    """

    stopped: str | None = None  # "interrupted" or "timeout"
    held: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    errors: list[QrunError] = field(default_factory=list)
    over_budget: bool = False
    postponed: list[QrunError] = field(default_factory=list)


class Apply:
    """One experiment. `connect` gives the provider of a connection (the same object each time); `traffic` is what all
    experiments have under way there; `content` gives the bytes of a program as planned; `origin` goes into the records
    (manifest, commit, dirty, qrun version).
    """

    def __init__(
        self,
        *,
        store: Store,
        connect: Callable[[str], Provider],
        capabilities: Callable[[str], Capabilities],
        content: Callable[[Program], bytes],
        policy: Policy,
        emit: Emit,
        clock: Clock | None = None,
        origin: Mapping[str, Any] | None = None,
        traffic: Traffic | None = None,
        spent: tuple[int, int] = (0, 0),
        publish: Command | None = None,
    ) -> None:
        self.store = store
        self.ledger = Ledger(store)
        self.publication = Publication(store, publish)
        self.connect = connect
        self.capabilities = capabilities
        self.content = content
        self.refused: dict[Name, str] = {}
        self.policy = replace(policy, refused=self.refused)
        self.emit = emit
        self.clock = clock or Clock()
        self.origin = dict(origin or {})
        self.traffic = traffic or Traffic()
        self.experiment = store.records.experiment
        self.project = store.records.project or ""
        self.outcome = Outcome()
        self.broken: dict[str, ProviderError] = {}
        self.fatal: StoreError | None = None
        self.watcher = Watcher(self)
        self.submitter = Submitter(self)
        self.recoverer = Recoverer(self)
        self._spent = spent
        self._pairs: dict[Name, Pair] = {}
        self._wanted: dict[str, Name] = {}
        self._rested: set[Name] = set()
        self._parked: dict[object, list[Name]] = {}
        self._outbox: list[Step] = []
        self._labels: list[Name] = []
        self._patient: set[asyncio.Task[None]] = set()  # tasks that only wait, ended by stop()
        self._tasks: asyncio.TaskGroup | None = None

    # --- the command's side -------------------------------------------------------------------------------------------

    async def run(self, jobs: Sequence[Job]) -> Outcome:
        """Raises BudgetError before anything is sent, and StoreError when nothing more can be recorded."""
        self._look(jobs)
        first = [self._step(name) for name in self._pairs]
        if problems := over_budget(first, self.policy.budget, spent=self._spent):
            raise BudgetError(*problems)
        remote = [s for s in first if s.sends and self.can(s.pair).remote]
        if remote and not self.project:
            raise SettingsError(
                f'"{remote[0].pair.key}" goes to a cloud, but no project id marks what is sent',
                hint="qrun init writes one into qrun.toml",
            )
        steps = sum(step.action is not Action.NONE for step in first)
        resting = sum(step.action is Action.NONE and step.pair.job is not None for step in first)
        self.emit(Started(experiment=self.experiment, steps=steps, resting=resting))
        async with asyncio.TaskGroup() as self._tasks:
            for step in first:
                self._take(step)
        if not self.policy.submit and not self.stopping:
            async with asyncio.TaskGroup() as self._tasks:
                self.start(look_at_open(self), patient=True)
        if self.fatal is not None:
            raise self.fatal
        self._forget_interrupted()
        self.recoverer.tell_unclaimed()
        self.store.publish(rest=True)
        await self._published()
        self.outcome.left = self.watcher.left()
        return self.outcome

    async def _published(self) -> None:
        """At rest, others may see what came of it; a command with nothing to tell runs no other."""
        if not self.ledger.written:
            return
        try:
            await self.publication.rest()
        except QrunError as error:
            self.report(error)

    def stop(self, reason: str) -> None:
        """Send nothing more and wait for nothing more; what is being sent is still recorded."""
        if self.outcome.stopped is None:
            self.outcome.stopped = reason
        self.watcher.stop()
        self.traffic.look_again()
        for task in self._patient:
            task.cancel()

    @property
    def stopping(self) -> bool:
        return self.outcome.stopped is not None or self.fatal is not None

    # --- looking ------------------------------------------------------------------------------------------------------

    def _look(self, jobs: Sequence[Job]) -> None:
        """Pair jobs with records; what was renamed is renamed before anything else."""
        pairs = match(jobs, self.store.records)
        renamed = [
            RenamedFact(old=pair.formerly, key=pair.key, digest=pair.digest)
            for pair in pairs
            if pair.formerly is not None
        ]
        if renamed:
            self.store.note(*renamed)
            for fact in renamed:
                self.emit(Renamed(experiment=self.experiment, job=fact.key, formerly=fact.old))
        for pair in pairs:
            name = (pair.key, pair.record.digest if pair.job is None and pair.record else pair.digest)
            missing = pair.record is not None and pair.record.phase is Phase.SUCCEEDED and self._missing(name)
            self._pairs[name] = replace(pair, formerly=None, missing=missing) if missing or pair.formerly else pair
            if pair.job is not None:
                self._wanted[pair.key] = name

    def _missing(self, name: Name) -> bool:
        record = self.store.records.get(*name)
        return record is not None and self.store.missing(record)

    def pair(self, name: Name) -> Pair:
        """The pair as the records stand now."""
        pair = self._pairs[name]
        record = self.store.records.get(*name)
        older = tuple(self.store.records.get(r.key, r.digest) or r for r in pair.older) if pair.older else ()
        return replace(pair, record=record, older=older)

    def wanted(self, record: Record) -> Job | None:
        """The manifest's job of a record."""
        pair = self._pairs.get((record.key, record.digest))
        return pair.job if pair is not None else None

    def record(self, name: Name) -> Record:
        found = self.store.records.get(*name)
        assert found is not None, f"no record for {name}"
        return found

    def _step(self, name: Name) -> Step:
        pair = self.pair(name)
        return decide(pair, self.can(pair), self.policy, self.clock.now())

    def can(self, pair: Pair) -> Capabilities:
        return self.capabilities(pair.way)

    def connection(self, name: Name) -> str:
        """Through which connection a job is reached: the manifest's, else the one that sent it."""
        pair = self._pairs.get(name)
        if pair is not None and pair.job is not None:
            return pair.job.target.connection
        last = self.record(name).last
        return last.connection if last is not None and last.connection else self.record(name).provider

    # --- taking steps -------------------------------------------------------------------------------------------------

    def advance(self, name: Name) -> None:
        """Look at one job again and take its next step."""
        if name not in self._pairs or self.stopping:
            return
        self._take(self._step(name))

    def start(self, work: Coroutine[Any, Any, None], *, patient: bool = False) -> asyncio.Task[None]:
        """Run something beside the others; a patient task only waits and ends with `stop`."""
        assert self._tasks is not None
        task = self._tasks.create_task(self._guarded(work))
        task.add_done_callback(lambda _: work.close())  # cancelled before its first step, it would never be awaited
        if patient:
            self._patient.add(task)
            task.add_done_callback(self._patient.discard)
        return task

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """What the task does here may end at any moment with `stop`: nothing has been sent."""
        task = asyncio.current_task()
        assert task is not None
        self._patient.add(task)
        try:
            yield
        finally:
            self._patient.discard(task)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreError as error:
            self.fatal = self.fatal or error
            self.stop("store")

    def _take(self, step: Step) -> None:
        name = (step.pair.key, step.pair.digest)
        match step.action:
            case Action.SUBMIT:
                self._want(name, step)
            case Action.FIND:
                self.recoverer.find(name)
            case Action.WAIT:
                self.watcher.watch(name)
            case Action.FETCH:
                self.start(self.watcher.fetch_again(name))
            case Action.RELABEL:
                if not self._labels:
                    self.start(self._relabel_all())
                self._labels.append(name)
            case Action.CANCEL:
                self.start(self._make_room(name, step.reason))
            case Action.HOLD if clearing := self._clearing(step.pair):
                for older in clearing:
                    self._park(("name", older), name)
            case Action.HOLD:
                self.hold(name, step.reason)
            case _:
                self.rest(name)

    def _clearing(self, pair: Pair) -> list[Name]:
        """What this job replaces and whose outcome is being cleared up just now."""
        older = [(r.key, r.digest) for r in pair.older if r.phase in UNCLEAR] if pair.job is not None else []
        return [name for name in older if name in self._pairs and name not in self._rested]

    def cleared(self, name: Name) -> None:
        """An unknown outcome is known now: what replaces this job may go on."""
        self._unpark(("name", name))

    def _want(self, name: Name, step: Step) -> None:
        job = step.pair.job
        assert job is not None
        former = step.pair.record.last if step.pair.record is not None else None
        if former is not None and step.attempt > former.n and self._unfinished(former.marker):
            self._park(("marker", former.marker), name)
            return
        if job.conduct.needs:
            met, why = need(job, {key: self._need_phase(key) for key in job.conduct.needs})
            if met is Need.BROKEN:
                self.hold(name, why)
                return
            if met is Need.WAITING:
                for key in job.conduct.needs:
                    self._park(("key", key), name)
                return
        if step.attempt > 1 and not self._affordable(name, step):
            return
        if not self._outbox:
            self.start(self._dispatch())
        self._outbox.append(step)

    def _affordable(self, name: Name, step: Step) -> bool:
        """A retry counts against the budget like every other submit."""
        spent = (self._spent[0] + self.submitter.sent, self._spent[1] + self.submitter.shots)
        budget = replace(
            self.policy.budget,
            max_jobs=_left(self.policy.budget.max_jobs, self.submitter.sent),
            max_shots=_left(self.policy.budget.max_shots, self.submitter.shots),
        )
        problems = over_budget([step], budget, spent=spent)
        if problems:
            self.outcome.over_budget = True
            self.hold(name, f"a retry would go over the budget: {problems[0].message}")
        elif step.pair.job is not None:
            of = max(step.pair.job.conduct.attempts, step.attempt)
            self.emit(Retrying(experiment=self.experiment, job=name[0], attempt=step.attempt, of=of))
        return not problems

    def _unfinished(self, marker: str) -> bool:
        return any(
            attempt.marker == marker and not attempt.phase.final
            for record in self.store.records.sharing(marker)
            for attempt in record.attempts
        )

    def _need_phase(self, key: str) -> Phase | None:
        """For `need`: None where the job will not run in this command, live where it may still come to something."""
        name = self._wanted.get(key)
        if name is None or key in self.outcome.held:
            return None
        record = self.store.records.get(*name)
        phase = record.phase if record is not None else Phase.ABSENT
        if name in self._rested:
            return None if phase is Phase.ABSENT else phase
        return Phase.LIVE

    def _park(self, under: object, name: Name) -> None:
        self._parked.setdefault(under, []).append(name)

    def _unpark(self, under: object) -> None:
        for name in dict.fromkeys(self._parked.pop(under, ())):
            if name not in self._rested:
                self.advance(name)

    async def _dispatch(self) -> None:
        """Send what one turn of the loop put into the outbox, so that members of one submission meet."""
        steps, self._outbox = self._outbox, []
        for group in packed(steps, lambda provider: self.capabilities(provider).packs):
            self.submitter.send(group)
        once_more = self.policy.once_more
        if once_more:
            self.policy = replace(self.policy, once_more=once_more - {step.pair.key for step in steps})

    def hold(self, name: Name, reason: str) -> None:
        self.outcome.held[name[0]] = reason
        self.emit(Held(experiment=self.experiment, job=name[0], reason=reason))
        self.rest(name)

    def rest(self, name: Name) -> None:
        if name in self._rested:
            return
        self._rested.add(name)
        self.traffic.look_again()
        if self._parked:
            self._unpark(("key", name[0]))
            self._unpark(("name", name))

    def refuse(self, name: Name, attempt: int, words: str) -> None:
        """The provider said no; this command does not ask again."""
        self.refused[name] = words
        self.outcome.held[name[0]] = words
        self.emit(Refused(experiment=self.experiment, job=name[0], attempt=attempt, message=words))
        self.rest(name)

    def break_off(self, connection: str, error: ProviderError) -> None:
        """An error of one connection stops only its jobs."""
        if connection in self.broken:
            return
        self.broken[connection] = error
        if self.postponed(connection):
            self.outcome.postponed.append(error)
            self.tell(error, connection=connection)
        else:
            self.report(error, connection=connection)

    def postponed(self, connection: str) -> bool:
        """Whether nothing is wrong with the connection but the time: its provider says when to come back."""
        error = self.broken.get(connection)
        return isinstance(error, Unavailable) and error.retry_after is not None

    def ended(self, name: Name, marker: str) -> None:
        """A job came to its end: it may have another step, and others may have waited for it.

        What succeeded is not fetched or run again in this command, also where its outputs did not come.
        """
        self.traffic.look_again()
        if self._parked:
            self._unpark(("marker", marker))
        step = self._step(name)
        if self.stopping or (self.record(name).phase is Phase.SUCCEEDED and step.action is not Action.RELABEL):
            self.rest(name)
        else:
            self._take(step)

    def found_outputs(self, name: Name) -> None:
        self._pairs[name] = replace(self._pairs[name], missing=False)

    def report(self, error: QrunError, *, connection: str | None = None, job: str | None = None) -> None:
        """An error that ends nothing by itself, and counts at the end."""
        self.outcome.errors.append(error)
        self.tell(error, connection=connection, job=job)

    def tell(self, error: QrunError, *, connection: str | None = None, job: str | None = None) -> None:
        told = Failed(experiment=self.experiment, message=str(error), code=error.code, connection=connection, job=job)
        self.emit(told)

    def forget(self, name: Name, attempt: int) -> None:
        """It is proven that the attempt made no job: look again."""
        self.emit(Absent(experiment=self.experiment, job=name[0], attempt=attempt))
        self.advance(name)

    # --- labels and room ----------------------------------------------------------------------------------------------

    async def _relabel_all(self) -> None:
        """What one turn of the loop found to relabel: one request a container, whose members share their labels."""
        names, self._labels = self._labels, []
        groups: dict[Handle | None, list[Name]] = {}
        for name in names:
            record = self.record(name)
            remote = self._relabels(name) and record.handle is not None
            groups.setdefault(container(record.handle) if remote and record.handle else None, []).append(name)
        members = held(self.store.records) if set(groups) - {None} else {}
        for where, some in groups.items():
            self.start(self._relabel(where, some, members.get(where, ()) if where is not None else ()))

    def _relabels(self, name: Name) -> bool:
        """One connection of a provider may offer less than others."""
        if not self.can(self._pairs[name]).relabel:
            return False
        with suppress(ProviderError):
            return self.connect(self.connection(name)).capabilities.relabel
        return True

    async def _relabel(self, where: Handle | None, names: Sequence[Name], members: Sequence[Holding]) -> None:
        """Both marks stay; tags that all members of a container share are the container's."""
        if where is not None:
            job = self._pairs[names[0]].job
            assert job is not None
            tags = [other.tags for record, _ in members if (other := self._job(record.key)) is not None]
            labels = Labels(
                markers=tuple(dict.fromkeys(attempt.marker for _, attempt in members)),
                mark=mark(self.project, self.experiment),
                tags=tuple(tag for tag in job.tags if all(tag in others for others in tags)),
                description=job.description,
            )
            try:
                await self.connect(job.target.connection).relabel(where, labels)
            except ProviderError as error:
                self.report(error, job=names[0][0])
                for name in names:
                    self.rest(name)
                return
        jobs = [(name, job) for name in names if (job := self._pairs[name].job) is not None]
        await self.ledger.commit(
            *[Labelled(key=key, digest=digest, tags=j.tags, description=j.description) for (key, digest), j in jobs]
        )
        told = "record" if where is None else "provider and record"
        for name in names:
            self.emit(Relabelled(experiment=self.experiment, job=name[0], where=told))
            self.rest(name)

    def _job(self, key: str) -> Job | None:
        name = self._wanted.get(key)
        return self._pairs[name].job if name is not None else None

    async def _make_room(self, name: Name, reason: str) -> None:
        """Cancel what a changed job replaces; the new one goes out once the old one is final."""
        for old in self.pair(name).older:
            if old.phase is Phase.LIVE and old.handle is not None:
                former = (old.key, old.digest)
                self._park(("name", former), name)
                self.emit(Cancelling(experiment=self.experiment, job=name[0], reason=reason))
                await self.watcher.cancel(self.connection(former), [old.handle])

    # --- the end ------------------------------------------------------------------------------------------------------

    def _forget_interrupted(self) -> None:
        """What does not outlive this process never ran: its attempts are absent again."""
        facts = []
        for name, pair in self._pairs.items():
            if self.can(pair).recover("") is not Recovery.LOCAL:
                continue
            record = self.store.records.get(*name)
            if record is not None and record.last is not None and record.phase in UNCLEAR:
                last = record.last
                facts.append(
                    Reached(key=name[0], digest=name[1], attempt=last.n, phase=Phase.ABSENT, marker=last.marker)
                )
        if facts:
            self.store.note(*facts)


def _left(limit: int | None, used: int) -> int | None:
    return None if limit is None else limit - used
