"""`qrun retry --rebatch`: the provider's own way to run jobs of a batch once more, for those that were imported.

No manifest names them, so nothing here could be sent anew; the provider copies what it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qrun.cli.adoption import conclude, standing, take_in
from qrun.cli.copying import Copy, members_of, send
from qrun.cli.imported import imported, shown_job
from qrun.cli.out import say
from qrun.cli.project import spent, view
from qrun.cli.reading import Reading, capabilities
from qrun.cli.remote import agreed, through, views
from qrun.cli.remote import connection as connection_of
from qrun.cli.remote import known as known_at
from qrun.cli.running import prepared
from qrun.cli.selection import Name, select
from qrun.containers import container
from qrun.errors import BudgetError, Problem, SettingsError, UsageError
from qrun.marks import marker
from qrun.plan import Action, Pair, Step, over_budget
from qrun.record import Handle, Phase, Record, union
from qrun.render.words import count, job_name, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from qrun.cli.running import Orders, Work
    from qrun.job import Job
    from qrun.render.jobs import Standing
    from qrun.settings import Settings
    from qrun.store.view import View

TOGETHER: Final = 100  # jobs that one request names


@dataclass(frozen=True, kw_only=True, slots=True)
class Which:
    """Of the jobs that are named those that all of these let through; `words` are the provider's own."""

    words: tuple[str, ...] = ()
    least: int | None = None  # shots
    most: int | None = None

    @property
    def all(self) -> bool:
        return not self.words and self.least is None and self.most is None

    def lets(self, word: str | None, shots: int) -> bool:
        enough = self.least is None or shots >= self.least
        return enough and (self.most is None or shots <= self.most) and (not self.words or word in self.words)


def rebatch(
    settings: Settings,
    patterns: Sequence[str] | None,
    which: Which,
    orders: Callable[[Mapping[str, frozenset[str]]], Orders],
) -> int:
    """Run these imported jobs once more, or without patterns all that failed or were lost; `orders` are those for some
    jobs of some experiments.
    """
    experiments = [experiment for experiment in imported(settings, ()) if not experiment.path]
    reading = Reading(settings=settings, experiments=experiments, files=())
    seen = {experiment.name: view(settings, experiment) for experiment in reading.experiments}
    known = {(name, record.key): record for name, shelf in seen.items() for record in shelf.records}
    if patterns and not known:
        raise UsageError(
            "no job was imported", hint="qrun import takes some in; without --rebatch a manifest's jobs are meant"
        )
    chosen = select(patterns, known) if patterns is not None else _failed(known)
    if not which.all:
        chosen = [name for name in chosen if _let(which, seen[name[0]], known[name])]
    meant = orders(_only(chosen))
    if not chosen:
        if meant.output == "table":
            say(f"nothing to do: no imported job {'failed' if which.all else 'is like that'}")
        return conclude([], reading, [], meant.output)
    with ExitStack() as stack:
        works = prepared(stack, reading, meant)
        _check(works, chosen)
        copies = [copy for work in works for copy in _copies(work, chosen, settings)]
        _before_sending(copies, settings, yes=meant.yes)
        errors = send(copies, settings)
        for work in works:
            errors += take_in(work, (), reading, meant)
        ends = [(r, standing(copy.work, _job(copy.work, r), r.key, r.digest)) for copy in copies for r in copy.records]
        if meant.output == "table":
            say("\n".join(_line(before, end) for before, end in ends))
        return conclude([end for _, end in ends], reading, errors, meant.output, works=works)


# --- which ------------------------------------------------------------------------------------------------------------


def _failed(known: Mapping[Name, Record]) -> list[Name]:
    return [name for name, record in known.items() if record.phase in (Phase.FAILED, Phase.LOST)]


def _let(which: Which, shelf: View, record: Record) -> bool:
    """The lock keeps no words of the provider; the record file does."""
    page = shelf.page(record.key, record.digest)
    last = (record if page is None else page.record).last
    return which.lets(last.word if last is not None else None, shelf.job(record.key, record.digest).get("shots") or 0)


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
    match record.phase:
        case Phase.SUCCEEDED:
            return Problem(message=f'"{shown}" succeeded')
        case Phase.LIVE:
            return Problem(message=f'"{shown}" still runs', hint="qrun sync looks at it")
        case Phase.INTENT | Phase.UNCERTAIN:
            return Problem(message=f'"{shown}" was sent and its outcome is not known', hint="qrun sync looks for it")
    if "*/rebatch" not in capabilities(record.provider).recovery:
        return Problem(message=f'"{shown}" ran at "{record.provider}", which makes no batch from another')
    if record.handle is None or container(record.handle) == record.handle:
        return Problem(message=f'"{shown}" was no job of a batch')
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
    seen = views(settings)
    handles = {there: known_at(connection_of(settings, there), seen).handles for there, _ in groups}
    return [
        Copy(
            work=work,
            connection=connection,
            container=held,
            records=part,
            marker=marker(settings.project, work.name, members_of(part)),
            known=handles[connection],
        )
        for (connection, held), records in groups.items()
        for part in _parts(records)
    ]


def _parts(records: Sequence[Record]) -> list[tuple[Record, ...]]:
    """Jobs that could be told apart in a copy; one of which it is not known what was sent goes alone."""
    known = [record for record in records if record.last is not None and record.last.payload is not None]
    together = [tuple(known[at : at + TOGETHER]) for at in range(0, len(known), TOGETHER)]
    return [*together, *((record,) for record in records if record not in known)]


def _job(work: Work, record: Record) -> Job:
    return shown_job(work.name, record, work.store.job(record.key, record.digest))


# --- before and after -------------------------------------------------------------------------------------------------


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


def _line(before: Record, end: Standing) -> str:
    name = job_name(end.experiment, end.key)
    last = end.record.last if end.record is not None else None
    if last is None or before.last is None or last.n == before.last.n:
        return f"{name}: not sent, {end.phase}"
    if last.handle is None:
        return f"{name}: sent, and its outcome is not known; qrun sync looks for it"
    return f'{name}: once more as "{last.handle}", {end.phase}'
