"""`qrun retry --rebatch`: the provider's own way to run jobs of a batch once more, for those that were imported.

No manifest names them, so nothing here could be sent anew; the provider copies what it has. The intent is durable
before the request, under a marker that the copy does not carry: a lost answer is looked up by what was made from the
batch since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from qrun.cli.adoption import conclude, standing, take_in
from qrun.cli.imported import imported, shown_job
from qrun.cli.origin import origin
from qrun.cli.out import say, tell
from qrun.cli.project import spent, view
from qrun.cli.publish import publisher
from qrun.cli.reading import Reading, capabilities
from qrun.cli.remote import agreed, connections, through
from qrun.cli.running import prepared
from qrun.cli.selection import Name, select
from qrun.clock import Clock, stamp
from qrun.containers import container
from qrun.errors import (
    BudgetError,
    Denied,
    Missing,
    Problem,
    ProviderError,
    QrunError,
    Rejected,
    SettingsError,
    Unavailable,
    UsageError,
)
from qrun.fact import Fact, Intended, Noted, Reached
from qrun.marks import mark, marker
from qrun.plan import Action, Pair, Step, over_budget
from qrun.record import Handle, Member, Phase, Record, union
from qrun.render.words import count, job_name, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from qrun.cli.course import Connections
    from qrun.cli.running import Orders, Work
    from qrun.job import Job
    from qrun.provider import Sending
    from qrun.render.jobs import Standing
    from qrun.settings import Settings

TOGETHER: Final = 100  # jobs that one request names
NOT_SENT: Final = (Rejected, Unavailable, Denied, Missing)  # proof that nothing was started


@runtime_checkable
class Rebatches(Protocol):
    """What a provider offers besides that copies jobs of a batch into a new one."""

    async def again(self, handles: Sequence[Handle], sending: Sending) -> Sequence[Handle]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """Jobs of one batch that go out by one request."""

    work: Work
    connection: str
    container: Handle
    records: tuple[Record, ...]
    marker: str

    def members(self) -> tuple[Member, ...]:
        return _members(self.records)


@dataclass(kw_only=True, slots=True)
class Pen:
    """A `Sending`."""

    work: Work = field(repr=False)
    marker: str
    mark: str
    noted: Mapping[str, str] = field(default_factory=dict)

    async def note(self, **facts: str) -> None:
        self.work.store.note(Noted(marker=self.marker, facts=facts))
        self.noted = {**self.noted, **facts}


def rebatch(
    settings: Settings,
    patterns: Sequence[str] | None,
    orders: Callable[[Mapping[str, frozenset[str]]], Orders],
) -> int:
    """Run these imported jobs once more, or without patterns all that failed or were lost; `orders` are those for some
    jobs of some experiments.
    """
    reading = Reading(settings=settings, experiments=imported(settings, ()), files=())
    known = {
        (experiment.name, record.key): record
        for experiment in reading.experiments
        for record in view(settings, experiment).records
    }
    chosen = select(patterns, known) if patterns is not None else _failed(known)
    meant = orders(_only(chosen))
    if not chosen:
        say("nothing to do: no imported job failed")
        return conclude([], reading, [], meant.output)
    with ExitStack() as stack:
        works = prepared(stack, reading, meant)
        _check(works, chosen)
        copies = [copy for work in works for copy in _copies(work, chosen, settings)]
        _before_sending(copies, settings, yes=meant.yes)
        errors = _carry_out(copies, settings)
        for work in works:
            errors += take_in(work, (), reading, meant)
        ends = [
            (copy, standing(copy.work, _job(copy.work, r), r.key, r.digest)) for copy in copies for r in copy.records
        ]
        if meant.output == "table":
            say("\n".join(_line(copy, end) for copy, end in ends))
        return conclude([end for _, end in ends], reading, errors, meant.output)


# --- which ------------------------------------------------------------------------------------------------------------


def _failed(known: Mapping[Name, Record]) -> list[Name]:
    return [name for name, record in known.items() if record.phase in (Phase.FAILED, Phase.LOST)]


def _only(chosen: Sequence[Name]) -> dict[str, frozenset[str]]:
    return {name: frozenset(key for other, key in chosen if other == name) for name, _ in chosen}


def _check(works: Sequence[Work], chosen: Sequence[Name]) -> None:
    """A UsageError names each job that cannot run once more in this way, looked up while the results are held."""
    held = {work.name: work for work in works}
    found = [_unfit(name, _record(held[name[0]], name[1])) for name in chosen]
    if problems := [problem for problem in found if problem is not None]:
        raise UsageError(*problems)


def _unfit(name: Name, record: Record) -> Problem | None:
    shown = job_name(*name)
    if "*/rebatch" not in capabilities(record.provider).recovery:
        return Problem(message=f'"{shown}" ran at "{record.provider}", which makes no batch from another')
    if record.handle is None or container(record.handle) == record.handle:
        return Problem(message=f'"{shown}" was no job of a batch')
    match record.phase:
        case Phase.SUCCEEDED:
            return Problem(message=f'"{shown}" succeeded')
        case Phase.LIVE:
            return Problem(message=f'"{shown}" still runs', hint="qrun sync looks at it")
        case Phase.INTENT | Phase.UNCERTAIN:
            return Problem(message=f'"{shown}" was sent and its outcome is not known', hint="qrun sync looks for it")
        case _:
            return None


def _record(work: Work, key: str) -> Record:
    """What is imported has one record a key. The lock keeps less of its attempts than the record file does."""
    [record] = work.store.records.by_key[key].values()
    page = work.store.page(record.key, record.digest)
    return record if page is None else union(page.record, record)


def _copies(work: Work, chosen: Sequence[Name], settings: Settings) -> list[Copy]:
    if not settings.project:
        words = (
            f"{listed([job_name(*name) for name in chosen])} would run at a cloud, but no project id marks what is sent"
        )
        raise SettingsError(words, hint="qrun init writes one into qrun.toml")
    groups: dict[tuple[str, Handle], list[Record]] = {}
    for name, key in chosen:
        if name == work.name:
            record = _record(work, key)
            assert record.handle is not None
            there = through(settings, None, record, work.store.job(record.key, record.digest))
            groups.setdefault((there, container(record.handle)), []).append(record)
    return [
        Copy(
            work=work,
            connection=connection,
            container=held,
            records=part,
            marker=marker(settings.project, work.name, _members(part)),
        )
        for (connection, held), records in groups.items()
        for part in _parts(records)
    ]


def _parts(records: Sequence[Record]) -> list[tuple[Record, ...]]:
    """Jobs that could be told apart in a copy; one of which it is not known what was sent goes alone."""
    known = [record for record in records if record.last is not None and record.last.payload is not None]
    together = [tuple(known[at : at + TOGETHER]) for at in range(0, len(known), TOGETHER)]
    return [*together, *((record,) for record in records if record not in known)]


def _members(records: Sequence[Record]) -> tuple[Member, ...]:
    return tuple(
        Member(key=r.key, digest=r.digest, attempt=r.last.n + 1, payload=r.last.payload)
        for r in records
        if r.last is not None
    )


def _job(work: Work, record: Record) -> Job:
    return shown_job(work.name, record, work.store.job(record.key, record.digest))


# --- sending ----------------------------------------------------------------------------------------------------------


def _before_sending(copies: Sequence[Copy], settings: Settings, *, yes: bool) -> None:
    """The budgets and the question."""
    pairs = [(_job(copy.work, record), record) for copy in copies for record in copy.records]
    steps = [Step(pair=Pair(job=job, record=record), action=Action.SUBMIT, reason="") for job, record in pairs]
    if problems := over_budget(steps, settings.budget, spent=spent(settings)):
        raise BudgetError(*problems)
    shots = sum(job.shots or 0 for job, _ in pairs)
    where = listed(sorted({f"{copy.connection}/{record.device}" for copy in copies for record in copy.records}))
    words = f"run {count(len(pairs), 'job')} with {count(shots, 'shot')} on {where} once more, price unknown"
    agreed(words, yes=yes, hint="add --yes to do it without being asked")


def _carry_out(copies: Sequence[Copy], settings: Settings) -> list[QrunError]:
    """What kept some of them from being sent."""

    async def each() -> list[QrunError]:
        connect = connections(settings)
        try:
            return [error for copy in copies if (error := await _send(copy, connect, settings)) is not None]
        finally:
            await connect.aclose()

    return asyncio.run(each())


async def _send(copy: Copy, connect: Connections, settings: Settings) -> QrunError | None:
    """One request. What is not proven not to have been sent stays as intended, and is looked for."""
    store, project = copy.work.store, settings.project or ""
    provider = connect(copy.connection)
    assert isinstance(provider, Rebatches)
    store.note(_intent(copy, settings))
    try:
        if (carry := publisher(settings)) is not None:
            store.publish(rest=False, now=True)
            await carry()
    except QrunError as error:
        store.note(*_reached(copy, Phase.ABSENT))
        return error
    handles = [record.handle for record in copy.records if record.handle is not None]
    pen = Pen(work=copy.work, marker=copy.marker, mark=mark(project, copy.work.name))
    try:
        made = await provider.again(handles, pen)
    except NOT_SENT as error:
        store.note(*_reached(copy, Phase.ABSENT))
        return error
    except ProviderError as error:
        tell(str(error))
        return None
    store.note(*_reached(copy, Phase.LIVE, made))
    return None


def _intent(copy: Copy, settings: Settings) -> Intended:
    return Intended(
        marker=copy.marker,
        connection=copy.connection,
        step="rebatch",
        members=copy.members(),
        jobs=tuple(copy.work.store.job(record.key, record.digest) for record in copy.records),
        digests_without_site=tuple(record.digest_without_site for record in copy.records),
        sent=stamp(Clock().now()),
        container=copy.container,
        origin=origin(settings.root),
    )


def _reached(copy: Copy, phase: Phase, handles: Sequence[Handle] = ()) -> list[Fact]:
    members = copy.members()
    named: Sequence[Handle | None] = handles or [None] * len(members)
    return [
        Reached(
            key=member.key,
            digest=member.digest,
            attempt=member.attempt,
            phase=phase,
            marker=copy.marker,
            handle=handle,
            connection=copy.connection,
        )
        for member, handle in zip(members, named, strict=True)
    ]


def _line(copy: Copy, end: Standing) -> str:
    name = job_name(end.experiment, end.key)
    last = end.record.last if end.record is not None else None
    if last is None or last.marker != copy.marker:
        return f"{name}: not sent, {end.phase}"
    return f'{name}: once more as "{last.handle or "?"}", {end.phase}'
