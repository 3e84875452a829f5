"""What apply, sync and retry share: look, propose, ask, take the steps of several experiments at once, tell the end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import click

from qrun.budget import Budget
from qrun.cli import State
from qrun.cli.conclusion import conclude
from qrun.cli.exits import OK, UNSATISFIED
from qrun.cli.opened import Opened, opened
from qrun.cli.origin import lacks_merge_driver, origin
from qrun.cli.out import near, say, say_json, tell, to_json
from qrun.cli.project import check_moved, held_elsewhere, spent
from qrun.cli.proposal import Proposal, check_budget, propose, rested, standings
from qrun.cli.reading import capabilities
from qrun.clock import Clock
from qrun.errors import QrunError, SettingsError, StoreError, UsageError
from qrun.events import Event, Held, Started, Summary, Version, Warned
from qrun.events import to_json as event_json
from qrun.failpoint import failpoint
from qrun.manifest import content
from qrun.plan import Action, Policy
from qrun.provider import Recovery
from qrun.record import Phase
from qrun.render.jobs import Standing
from qrun.render.progress import Lines
from qrun.render.words import count, listed
from qrun.store import Store

if TYPE_CHECKING:
    from qrun.apply import Outcome
    from qrun.cli.reading import Reading
    from qrun.manifest import Experiment
    from qrun.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Orders:
    """What the user asked for. `only` maps an experiment to the keys that are meant; without it all are."""

    command: str
    policy: Policy
    output: str = "table"
    only: Mapping[str, frozenset[str]] | None = None
    once_more: bool = False
    timeout: float | None = None
    parallel: int | None = None
    not_sent_elsewhere: bool = False
    locked: bool = False
    yes: bool = False
    nothing: str | None = None  # what is said where no job is meant

    def only_for(self, only: Mapping[str, frozenset[str]] | None) -> Orders:
        return replace(self, only=only)

    def policy_for(self, experiment: Experiment, settings: Settings, *, ran_here: bool) -> Policy:
        keys = self.only.get(experiment.name, frozenset()) if self.only is not None else None
        return replace(
            self.policy,
            only=keys,
            once_more=keys if self.once_more and keys is not None else frozenset[str](),
            superseded=self.policy.superseded or settings.superseded,
            not_sent_elsewhere=self.not_sent_elsewhere or ran_here,
            budget=settings.budget.smaller(_budget(experiment.budget)),
        )


@dataclass(kw_only=True, slots=True)
class Work:
    """One experiment: what is proposed, and what came of it."""

    store: Store
    policy: Policy
    proposal: Proposal
    outcome: Outcome | None = None
    error: QrunError | None = None
    _standings: Sequence[Standing] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return self.proposal.experiment.name

    def would(self, policy: Policy) -> Proposal:
        """What would be proposed if the user said more."""
        return propose(self.proposal.experiment, self.store, policy, Clock().now(), held=self.proposal.held)

    def proposed_with(self, policy: Policy) -> None:
        """What is proposed once the user has said more."""
        self.policy = policy
        _vouch(self.store, self.proposal.experiment, policy)
        self.proposal = self.would(policy)

    @property
    def folder(self) -> str:
        """Where the results lie, as one would type it."""
        return near(os.path.join(self.store.disk.root, self.store.folder))

    @property
    def held(self) -> Mapping[str, str]:
        return {**self.proposal.held, **(self.outcome.held if self.outcome is not None else self._proposed())}

    def _proposed(self) -> Mapping[str, str]:
        return {step.pair.key: step.reason for step in self.proposal.steps if step.action is Action.HOLD}

    @property
    def done(self) -> bool:
        """Whether every wanted job succeeded and its outputs are here: nothing is left to do or to say."""
        standings = self.standings()
        ended = all(s.job is not None and s.phase is Phase.SUCCEEDED and not s.missing for s in standings)
        return ended and not self.opened

    @property
    def opened(self) -> Sequence[Opened]:
        """The batches of these jobs that may still take more."""
        return opened(self.name, self.store.records, only=self.policy.only)

    def standings(self) -> Sequence[Standing]:
        """How the jobs stand at the end, looked at once."""
        if self._standings is None:
            if self.outcome is None and self.error is None:
                self._standings = rested(self.proposal, self.store, only=self.policy.only)
            else:
                only = self.policy.only
                self._standings = standings(self.proposal.experiment, self.store, held=self.held, only=only)
        return self._standings


def carry_out(
    reading: Reading,
    orders: Orders,
    check: Callable[[Sequence[Proposal]], None] | None = None,
    keep: Callable[[Sequence[Work]], None] | None = None,
) -> int:
    """`check` may raise before anything is done, once it is known what would be. `keep` is called when all is done,
    while the results are still held.
    """
    with ExitStack() as stack:
        works = prepared(stack, reading, orders)
        if check is not None:
            check([work.proposal for work in works])
        if orders.locked:
            if refused := _locked(works):
                return _told_locked(refused, orders)
            for work in works:
                work.policy = replace(work.policy, locked=True)  # also for what comes later, such as a retry
        works = _with_replaced(works, orders)
        assured = _assured(works, orders)
        _before_sending(works, reading, orders, assured)
        _hint_at_driver(reading)
        with _renderer(orders, works) as emit:
            errors = take(works, reading, orders, emit)
        code = conclude(works, orders, errors)
        if keep is not None and code == OK and all(work.done for work in works):
            keep(works)
        return code


# --- before -----------------------------------------------------------------------------------------------------------


def prepared(stack: ExitStack, reading: Reading, orders: Orders) -> list[Work]:
    """Each experiment's results opened for writing, in the order of their names, and what is to be done there."""
    settings = reading.settings
    failpoint("start")
    chosen = [e for e in reading.experiments if orders.only is None or orders.only.get(e.name)]
    check_moved(settings, chosen)
    held = held_elsewhere(settings, chosen)
    works = []
    for experiment in sorted(chosen, key=lambda e: e.name):
        store = stack.enter_context(
            Store.open(
                settings.root,
                experiment.name,
                project=settings.project,
                manifest=experiment.path,
                command=orders.command,
                journal=settings.journal,
            )
        )
        policy = orders.policy_for(experiment, settings, ran_here=store.ran_here)
        _vouch(store, experiment, policy)
        failpoint("opened")
        proposal = propose(experiment, store, policy, Clock().now(), held=held.get(experiment.name))
        works.append(Work(store=store, policy=policy, proposal=proposal))
    return works


def _vouch(store: Store, experiment: Experiment, policy: Policy) -> None:
    """A journal that is begun while it is not known what other machines have sent must not say later that it was."""
    if policy.not_sent_elsewhere:
        store.vouch(True)
    elif any(capabilities(job.target.way).recover(job.kind) is Recovery.NOTHING for job in experiment.jobs):
        store.vouch(False)


def _budget(limits: Mapping[str, Any]) -> Budget:
    """A manifest's budget; what it does not limit it does not forbid either."""
    return Budget(**{"allow_unknown_cost": True, **limits})


def _locked(works: Sequence[Work]) -> list[str]:
    return [step.pair.job.name for work in works for step in work.proposal.submits if step.pair.job is not None]


def _told_locked(names: Sequence[str], orders: Orders) -> int:
    words = f"{count(len(names), 'job')} would have to be submitted, which --locked forbids: {listed(names)}"
    tell(words)
    if orders.output == "json":
        problem = {"code": "locked", "message": words, "file": None, "line": None, "column": None, "hint": None}
        say_json({"version": 1, "experiments": [], "errors": [problem], "exit": UNSATISFIED})
    elif orders.output == "jsonl":
        for event in (Version(), Summary(exit=UNSATISFIED, phases=())):
            say(to_json(event_json(event)))
    return UNSATISFIED


def _with_replaced(works: list[Work], orders: Orders) -> list[Work]:
    """Where changed jobs replace ones that still run and nobody said what becomes of those: ask on a terminal."""
    if orders.locked or orders.policy.superseded is not None or not _on_terminal():
        return works
    number = sum(
        _replaces(step.pair.job is not None, step.action, step.pair.older) for w in works for step in w.proposal.steps
    )
    if not number:
        return works
    answer = click.prompt(
        f"{count(number, 'job')} would replace one that still runs; cancel those first, keep both, or hold",
        type=click.Choice(["cancel", "keep", "hold"]),
        default="hold",
        err=True,
    )
    if answer == "hold":
        return works
    for work in works:
        work.proposed_with(replace(work.policy, superseded=answer))
    return works


def _replaces(wanted: bool, action: Action, older: Sequence[Any]) -> bool:
    return wanted and action is Action.HOLD and any(record.phase is Phase.LIVE for record in older)


def _assured(works: Sequence[Work], orders: Orders) -> int:
    """How many jobs nobody can look for; who answers the question before sending says that no other machine sent them.

    Where nobody is asked they stay held.
    """
    if orders.locked or orders.yes or not _on_terminal():
        return 0
    found = 0
    for work in works:
        if work.policy.not_sent_elsewhere:
            continue
        policy = replace(work.policy, not_sent_elsewhere=True)
        if more := len(work.would(policy).submits) - len(work.proposal.submits):
            work.proposed_with(policy)
            found += more
    return found


def _before_sending(works: Sequence[Work], reading: Reading, orders: Orders, assured: int) -> None:
    """Budgets, the project's id, and the question: all before the first experiment begins."""
    proposals = [work.proposal for work in works]
    before = _spent(reading)
    check_budget(proposals, reading.settings.budget, before)
    for work in works:
        check_budget([work.proposal], work.policy.budget, before)
    remote = [step.pair.job for proposal in proposals for step in proposal.remote if step.pair.job is not None]
    if not remote:
        return
    if not reading.settings.project:
        raise SettingsError(
            f'"{remote[0].name}" goes to a cloud, but no project id marks what is sent',
            hint="qrun init writes one into qrun.toml",
        )
    shots = sum(job.shots or 0 for job in remote)
    where = listed(sorted({f"{job.target.connection}/{job.target.device}" for job in remote}))
    words = f"{count(len(remote), 'job')} with {count(shots, 'shot')} to {where}, price unknown"
    if orders.yes:
        return
    if not _on_terminal():
        raise UsageError(f"would send {words}", hint="add --yes to send without being asked")
    if assured:
        words += f", {assured} of which nobody can look for and no other machine has sent"
    if not click.confirm(f"send {words}?", err=True):
        raise click.Abort


def _spent(reading: Reading) -> tuple[int, int]:
    return spent(reading.settings, [experiment.budget for experiment in reading.experiments])


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _hint_at_driver(reading: Reading) -> None:
    if lacks_merge_driver(reading.settings.root):
        tell('this clone has no merge driver for "qrun.lock"; "qrun init" sets it up')


# --- during -----------------------------------------------------------------------------------------------------------


class Renderer(Protocol):
    def show(self, event: Event) -> None: ...
    def close(self) -> None: ...


class Stream:
    """`-o jsonl`: one event a line."""

    def __init__(self) -> None:
        self.show(Version())

    def show(self, event: Event) -> None:
        say(to_json(event_json(event)))

    def close(self) -> None:
        """Each line was written at once."""


@contextmanager
def _renderer(orders: Orders, works: Sequence[Work]) -> Iterator[Callable[[Event], None]]:
    renderer = _chosen(orders, works)
    try:
        yield renderer.show
    finally:
        renderer.close()


def _chosen(orders: Orders, works: Sequence[Work]) -> Renderer:
    jobs = sum(not step.rests for work in works for step in work.proposal.steps)
    if orders.output == "jsonl":
        return Stream()
    if orders.output == "table" and sys.stderr.isatty() and any(not work.proposal.rests for work in works):
        from qrun.render.live import Live

        live = Live(sys.stderr, jobs=jobs)
        return live.__enter__() if live.shows else Lines(tell, jobs=jobs)
    return Lines(tell, jobs=jobs)


def take(works: Sequence[Work], reading: Reading, orders: Orders, emit: Callable[[Event], None]) -> list[QrunError]:
    """Take all steps, each experiment's beside the others'; the errors that stopped an experiment."""
    for work in works:
        for step in work.proposal.steps:
            if step.action is Action.HOLD and step.pair.key in work.proposal.held:
                emit(Held(experiment=work.name, job=step.pair.key, reason=step.reason))
    busy = [work for work in works if not _rests(work)]
    for work in works:
        if _rests(work):
            _tidy(work)
            emit(Started(experiment=work.name, steps=0, resting=len(work.proposal.jobs)))
    if busy:
        from qrun.cli.access import access
        from qrun.cli.course import Course
        from qrun.cli.publish import publisher

        course = Course(
            connections=reading.settings.connections,
            access=access(reading.settings),
            content=lambda program: content(reading.settings.root, program),
            emit=emit,
            origin=_origin(busy, reading),
            parallel=orders.parallel,
            timeout=orders.timeout,
            spent=_spent(reading),
            publish=publisher(reading.settings),
        )
        course.run(busy)
    for work in works:
        for words in work.store.told:
            emit(Warned(experiment=work.name, message=words))
    return [work.error for work in works if work.error is not None]


def _rests(work: Work) -> bool:
    """Whether the loop would do nothing; one that sends nothing looks whether open batches still are."""
    return work.proposal.rests and (work.policy.submit or not work.opened)


def _tidy(work: Work) -> None:
    """What an earlier run left in the journal goes into the lock; nothing new changes no byte."""
    try:
        work.store.publish(rest=True)
    except StoreError as error:
        work.error = error


def _origin(works: Sequence[Work], reading: Reading) -> Mapping[str, Any]:
    """Git is asked only where something is sent."""
    submits = any(work.proposal.submits for work in works)
    return origin(reading.settings.root) if submits else {}


def typed() -> str:
    """The command as one would type it again."""
    return shlex.join(["qrun", *click.get_current_context().find_root().ensure_object(State).given])
