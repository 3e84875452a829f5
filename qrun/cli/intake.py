"""Recording jobs that were submitted elsewhere, as if they had been sent from here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qrun.apply.joining import OPEN
from qrun.cli.adoption import conclude, standing, take_in
from qrun.cli.imported import shown_job
from qrun.cli.origin import origin
from qrun.cli.out import say
from qrun.cli.recalled import programs_of
from qrun.cli.running import Orders, prepared, typed
from qrun.clock import Clock, stamp
from qrun.errors import UsageError
from qrun.fact import Fact, Intended, Noted, Reached
from qrun.job import Job, rendered
from qrun.manifest import content
from qrun.marks import marker
from qrun.plan import Policy
from qrun.record import Handle, Member, Phase, Record
from qrun.render.words import job_name

if TYPE_CHECKING:
    from qrun.cli.reading import Reading
    from qrun.cli.running import Work
    from qrun.cli.selection import Name
    from qrun.manifest import Experiment
    from qrun.provider import Recalled
    from qrun.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a job is to be recorded. Without `job` no manifest names it."""

    reading: Reading
    experiment: Experiment
    key: str
    job: Job | None = None

    @property
    def name(self) -> Name:
        return (self.experiment.name, self.key)

    def orders(self, *keys: str) -> Orders:
        only = {self.experiment.name: frozenset(keys or {self.key})}
        return Orders(command=typed(), policy=Policy(submit=False, wait=False), only=only)


def take(
    place: Place, found: Sequence[tuple[Job, Recalled]], here: Sequence[tuple[str, Handle]], *, opens: bool, output: str
) -> int:
    """Record what was `found`, and look once at it and at those that were `here` before."""
    settings = place.reading.settings
    keys = [*(job.key for job, _ in found), *(key for key, _ in here)]
    if not keys:
        return conclude([], place.reading, [], output)
    orders = place.orders(*keys)
    with ExitStack() as stack:
        [work] = prepared(stack, place.reading, orders)
        facts: list[Fact] = []
        for job, recalled in found:
            attempt = _attempt(replace(place, key=job.key), work, job, recalled.found.handle)
            _keep_programs(work, job, recalled, settings)
            facts += _facts(place, job, attempt, recalled, settings, opens=opens)
        errors = take_in(work, facts, place.reading, orders)
        before = [_with_handle(work, key, handle) for key, handle in here]
        ends = [
            *(standing(work, job, job.key, job.digest) for job, _ in found),
            *(standing(work, _job(work, record, None), record.key, record.digest) for record in before),
        ]
        if output == "table":
            words = [(recalled.found.handle, "taken in") for _, recalled in found]
            words += [(handle, "is here already") for _, handle in here]
            told = [
                f'{job_name(end.experiment, end.key)}: "{handle}" {what}, {end.phase}'
                for end, (handle, what) in zip(ends, words, strict=True)
            ]
            say("\n".join(told))
        return conclude(ends, place.reading, errors, output, works=[work])


def _keep_programs(work: Work, job: Job, recalled: Recalled, settings: Settings) -> None:
    given = programs_of(recalled)
    for program in job.programs:
        data = given[program.sha256] if program.sha256 in given else content(settings.root, program)
        work.store.keep_program(program, data)


def _attempt(place: Place, work: Work, job: Job, handle: Handle) -> int:
    """The number that it gets, looked up while the results are held; a UsageError where its place is taken."""
    records = list(work.store.records.by_key.get(job.key, {}).values())
    if place.job is None and any(record.attempts for record in records):
        words = f'"{job_name(*place.name)}" is "{records[0].handle}" already'
        raise UsageError(words, hint="choose another name with --as")
    record = work.store.records.get(job.key, job.digest)
    name = job_name(*place.name)
    match record.phase if record is not None else Phase.ABSENT:
        case Phase.LIVE | Phase.SUCCEEDED as phase:
            assert record is not None
            raise UsageError(f'"{name}" is {phase} as "{record.handle}"', hint="one job is enough for it")
        case Phase.INTENT | Phase.UNCERTAIN:
            hint = f"qrun resolve {name} --adopt {handle}"
            raise UsageError(f'"{name}" was sent and its outcome is not known; this may be it', hint=hint)
        case _:
            return record.last.n + 1 if record is not None and record.last is not None else 1


def _facts(place: Place, job: Job, attempt: int, recalled: Recalled, settings: Settings, *, opens: bool) -> list[Fact]:
    """As if we had sent it, under the marker that it carries or would have got."""
    found = recalled.found
    member = Member(key=job.key, digest=job.digest, attempt=attempt, payload=found.payload)
    mine = found.marker or marker(settings.project or "", job.experiment, [member])
    manifest = {"manifest": place.experiment.path} if place.experiment.path else {}
    connection = job.target.connection
    sent = Intended(
        marker=mine,
        connection=connection,
        step="create",
        members=(member,),
        jobs=(rendered(job),),
        digests_without_site=(job.digest_without_site,),
        sent=found.created or stamp(Clock().now()),
        origin={**manifest, **origin(settings.root)},
    )
    reached = Reached(
        key=job.key,
        digest=job.digest,
        attempt=attempt,
        phase=Phase.LIVE,
        marker=mine,
        handle=found.handle,
        connection=connection,
        found="user",
    )
    return [sent, reached, *([Noted(marker=mine, facts=OPEN)] if opens else [])]


# --- what is here already ---------------------------------------------------------------------------------------------


def known_already(place: Place, handle: Handle, name: Name, output: str) -> int:
    """Nothing is recorded once more; one that still runs is looked at again."""
    place = replace(place, key=name[1])
    with ExitStack() as stack:
        [work] = prepared(stack, place.reading, place.orders())
        record = _with_handle(work, name[1], handle)
        errors = take_in(work, (), place.reading, place.orders()) if record.phase is Phase.LIVE else []
        end = standing(work, _job(work, record, place.job), record.key, record.digest)
        if output == "table":
            say(f'{job_name(*name)}: "{handle}" is here already, {end.phase}')
        return conclude([end], place.reading, errors, output, works=[work])


def _with_handle(work: Work, key: str, handle: Handle) -> Record:
    records = work.store.records.by_key.get(key, {}).values()
    return next(r for r in records if any(attempt.handle == handle for attempt in r.attempts))


def _job(work: Work, record: Record, wanted: Job | None) -> Job | None:
    """What the record is of: the manifest's job where it is still that one, or what was imported."""
    if wanted is not None:
        return wanted if wanted.digest == record.digest else None
    return shown_job(work.name, record, work.store.job(record.key, record.digest))
