"""`qrun resolve`: the user says what became of a submission that nobody can clear up, or accepts an outcome.

Everything is looked at while the results are held, so that no apply decides otherwise at the same time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import click

from qrun.cli.adoption import conclude, standing, take_in
from qrun.cli.exits import unsatisfied
from qrun.cli.options import given_values, manifest_option, output
from qrun.cli.out import say, tell
from qrun.cli.project import kept, stored, view
from qrun.cli.publish import publisher
from qrun.cli.reading import Reading, capabilities, project
from qrun.cli.remote import agreed, ask, connection, known, through, views
from qrun.cli.remote import handle as handle_of
from qrun.cli.running import Orders, prepared, typed
from qrun.cli.selection import Name, select
from qrun.cli.show import readable
from qrun.clock import instant
from qrun.errors import Problem, QrunError, UsageError
from qrun.fact import Fact, Reached, Taken
from qrun.manifest import Experiment
from qrun.plan import Policy
from qrun.provider import Found, Recovery
from qrun.record import Attempt, Handle, Phase, Record
from qrun.render.safe import safe
from qrun.render.words import job_name, listed

if TYPE_CHECKING:
    from qrun.cli.running import Work
    from qrun.job import Job
    from qrun.manifest import Values

UNCLEAR: Final = frozenset({Phase.INTENT, Phase.UNCERTAIN})
UNSEARCHED: Final = frozenset({Recovery.NOTHING, Recovery.COUNT, Recovery.LOCAL})
ABANDONED: Final = "abandoned by the user"
SKEW: Final = 300.0  # seconds that the provider's clock may be behind ours


class Way(StrEnum):
    ADOPT = "adopt"
    RESUBMIT = "resubmit"
    ABANDON = "abandon"
    ACCEPT = "accept"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One attempt that is resolved. `job` is the manifest's, where it still is that one."""

    work: Work
    record: Record
    attempt: Attempt
    job: Job | None

    @property
    def name(self) -> str:
        return job_name(self.work.name, self.record.key)

    @property
    def was(self) -> Mapping[str, Any]:
        """The job as it was rendered when it was sent."""
        return self.work.store.job(self.record.key, self.record.digest)


@click.command("resolve")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--adopt", "adopted", metavar="ID", help="it is the job that the provider calls ID")
@click.option("--resubmit", is_flag=True, help="it was never started; the next apply sends it again")
@click.option("--abandon", is_flag=True, help="whatever became of it, it is not wanted any more")
@click.option("--accept", is_flag=True, help="take an outcome as it is, so that exit code 3 no longer counts it")
@click.option("--yes", is_flag=True, help="resubmit without being asked")
@manifest_option
@output("table", "json")
def command(
    jobs: Sequence[str],
    adopted: str | None,
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    yes: bool,
    output: str,
    **flags: bool,
) -> int:
    """Say what became of a job whose outcome is unknown, or accept how one ended."""
    way = _way(adopted, flags)
    handle = handle_of(adopted) if adopted is not None else None
    reading = _everything(manifests, given_values(var, var_json, var_files))
    chosen = select(jobs, _names(reading))
    if way is Way.ADOPT and len(chosen) > 1:
        names = listed([job_name(*name) for name in chosen])
        raise UsageError(Problem(message=f"one id is not that of {len(chosen)} jobs: {names}", hint="name one job"))
    orders = Orders(command=typed(), policy=Policy(submit=False, wait=False), only=_only(chosen))
    with ExitStack() as stack:
        works = {work.name: work for work in prepared(stack, reading, orders)}
        cases = _cases(way, chosen, works)
        errors: list[QrunError] = []
        if handle is not None:
            errors = _adopt(cases[0], handle, reading, orders)
        else:
            _settle(way, cases, yes)
            _carry(reading)
        ends = [standing(case.work, case.job, case.record.key, case.record.digest) for case in cases]
        if output == "table":
            say("\n".join(_line(way, case, end.phase) for case, end in zip(cases, ends, strict=True)))
        return conclude(ends, reading, errors, output, works=list(works.values()))


def _way(adopted: str | None, flags: Mapping[str, bool]) -> Way:
    ways = [Way(word) for word, given in {"adopt": adopted is not None, **flags}.items() if given]
    if len(ways) != 1:
        options = "--adopt ID, --resubmit, --abandon or --accept"
        if not ways:
            raise UsageError("it is not said what became of it", hint=f"use {options}")
        raise UsageError(f"{' and '.join(f'--{way}' for way in ways)} exclude each other", hint=f"use one of {options}")
    return ways[0]


# --- which jobs -------------------------------------------------------------------------------------------------------


def _everything(arguments: Sequence[str], values: Values) -> Reading:
    """The manifests' experiments, and those of which only results are left."""
    reading = readable(arguments, values)
    settings = reading.settings if reading is not None else project()
    wanted = list(reading.experiments) if reading is not None else []
    named = {experiment.name for experiment in wanted}
    left = [
        Experiment(name=name, file="", path=stored(settings, name).manifest, sha256="", line=0, jobs=())
        for name in kept(settings)
        if name not in named
    ]
    return Reading(settings=settings, experiments=[*wanted, *left], files=reading.files if reading is not None else ())


def _names(reading: Reading) -> Iterator[Name]:
    for experiment in reading.experiments:
        yield from ((experiment.name, job.key) for job in experiment.jobs)
        yield from ((experiment.name, record.key) for record in view(reading.settings, experiment).records)


def _only(chosen: Sequence[Name]) -> Mapping[str, frozenset[str]]:
    return {name: frozenset(key for other, key in chosen if other == name) for name, _ in chosen}


def _cases(way: Way, chosen: Sequence[Name], works: Mapping[str, Work]) -> list[Case]:
    """What is resolved; a UsageError names each job for which there is nothing to resolve."""
    cases, problems = [], []
    for name, key in chosen:
        case = _case(way, works[name], key)
        if isinstance(case, Case):
            cases.append(case)
        else:
            problems.append(case)
    if problems:
        raise UsageError(*problems)
    return cases if way in (Way.ADOPT, Way.ACCEPT) else _with_members(cases)


def _case(way: Way, work: Work, key: str) -> Case | Problem:
    job = next((job for job in work.proposal.experiment.jobs if job.key == key), None)
    records = list(work.store.records.by_key.get(key, {}).values())
    records.sort(key=lambda record: (job is None or record.digest != job.digest, record.digest))
    fits = _bad if way is Way.ACCEPT else _unclear
    record = next((record for record in records if fits(work, record)), None)
    if record is None or record.last is None:
        return _refusal(way, work.name, key, records[0] if records else None)
    wanted = job if job is not None and job.digest == record.digest else None
    return Case(work=work, record=record, attempt=record.last, job=wanted)


def _unclear(_: Work, record: Record) -> bool:
    return record.phase in UNCLEAR and capabilities(record.provider).remote


def _bad(work: Work, record: Record) -> bool:
    """Whether it has ended in a way that exit code 3 counts, or that was accepted before."""
    missing = record.phase is Phase.SUCCEEDED and work.store.missing(record)
    return record.accepted or unsatisfied(record, missing=missing)


def _refusal(way: Way, experiment: str, key: str, record: Record | None) -> Problem:
    name = job_name(experiment, key)
    phase = record.phase if record is not None else Phase.ABSENT
    if record is not None and not capabilities(record.provider).remote and phase in (*UNCLEAR, Phase.LIVE):
        return Problem(message=f'"{name}" is a local job, which starts again by itself', hint="qrun apply")
    match phase:
        case Phase.ABSENT:
            return Problem(message=f'"{name}" was not sent, so there is nothing to resolve', hint="qrun apply sends it")
        case Phase.LIVE:
            assert record is not None
            return Problem(message=f'"{name}" is live as "{record.handle}"', hint="qrun sync looks at it")
        case Phase.INTENT | Phase.UNCERTAIN:
            hint = "use --adopt ID, --resubmit or --abandon"
            return Problem(message=f'the outcome of "{name}" is not known, so it cannot be accepted', hint=hint)
        case _ if way is Way.ACCEPT:
            return Problem(message=f'"{name}" is {phase}, which nobody has to accept')
        case _:
            cure = "--accept takes an outcome as it is" if phase in (Phase.FAILED, Phase.LOST) else None
            return Problem(message=f'the outcome of "{name}" is known: it is {phase}', hint=cure)


def _with_members(cases: Sequence[Case]) -> list[Case]:
    """What went out together was started together or not at all."""
    found = {(case.work.name, case.record.key, case.record.digest): case for case in cases}
    for case in cases:
        together = []
        for record in case.work.store.records.sharing(case.attempt.marker):
            last = record.last
            if last is None or last.marker != case.attempt.marker or last.phase not in UNCLEAR:
                continue
            job = next((job for job in case.work.proposal.experiment.jobs if job.key == record.key), None)
            wanted = job if job is not None and job.digest == record.digest else None
            name = (case.work.name, record.key, record.digest)
            if name not in found:
                found[name] = Case(work=case.work, record=record, attempt=last, job=wanted)
                together.append(found[name].name)
        if together:
            tell(f'"{case.name}" went out together with {listed(together)}: what is said holds for all of them')
    return list(found.values())


# --- resubmit, abandon, accept ----------------------------------------------------------------------------------------


def _settle(way: Way, cases: Sequence[Case], yes: bool) -> None:
    names = [case.name for case in cases]
    unsearched = [case.name for case in cases if _unsearched(case)] if way is not Way.ACCEPT else []
    if way is Way.RESUBMIT:
        hint = "qrun apply looks for it first" if unsearched else "make sure that it was never started"
        agreed(f"send {listed(names)} again, and pay twice if it runs", yes=yes, hint=f"{hint}, or add --yes")
    if unsearched:
        tell(f'not looked for yet: {listed(unsearched)}; "qrun apply" searches the provider by itself')
    for work in {case.work.name: case.work for case in cases}.values():
        mine = [case for case in cases if case.work is work]
        work.store.note(*[_fact(way, case) for case in mine if not (way is Way.ACCEPT and case.record.accepted)])
        work.store.publish(rest=True)


def _carry(reading: Reading) -> None:
    """Other machines must not go on with what was resolved here."""
    carry = publisher(reading.settings)
    if carry is None:
        return

    async def carried() -> None:
        await carry()

    asyncio.run(carried())


def _unsearched(case: Case) -> bool:
    """Whether an apply would look for it, and none has done so to the end."""
    way = case.record.provider if case.job is None else case.job.target.way
    recovery = capabilities(way).recover(str(case.was.get("kind", "")), case.attempt.step)
    return case.attempt.phase is Phase.INTENT and recovery not in UNSEARCHED


def _fact(way: Way, case: Case) -> Fact:
    record, attempt = case.record, case.attempt
    if way is Way.ACCEPT:
        return Taken(key=record.key, digest=record.digest, attempt=attempt.n)
    return Reached(
        key=record.key,
        digest=record.digest,
        attempt=attempt.n,
        phase=Phase.ABSENT if way is Way.RESUBMIT else Phase.CANCELLED,
        marker=attempt.marker,
        message=None if way is Way.RESUBMIT else ABANDONED,
        connection=attempt.connection,
    )


def _line(way: Way, case: Case, phase: Phase) -> str:
    match way:
        case Way.ADOPT:
            record = case.work.store.records.get(case.record.key, case.record.digest)
            return f'{case.name}: adopted "{record.handle if record is not None else ""}", {phase}'
        case Way.RESUBMIT if case.job is None:
            return f"{case.name}: not sent, and no manifest names it any more"
        case Way.RESUBMIT:
            return f"{case.name}: not sent; the next apply sends it as attempt {case.attempt.n}"
        case Way.ABANDON:
            return f"{case.name}: abandoned"
        case Way.ACCEPT:
            return f"{case.name}: accepted as it is, {phase}"


# --- adopt ------------------------------------------------------------------------------------------------------------


def _adopt(case: Case, handle: Handle, reading: Reading, orders: Orders) -> list[QrunError]:
    settings = reading.settings
    there = connection(settings, through(settings, case.job, case.record, case.was))
    held = {**views(settings), case.work.name: case.work.store}
    if names := known(there, held).handles.get(handle):
        raise UsageError(f'"{handle}" is "{job_name(*names[0])}" already', hint="one job of a provider is one job here")
    found = ask(settings, there.name, lambda provider: provider.inspect(handle))
    if problems := list(_disagreements(case, found)):
        raise UsageError(*problems)
    fact = Reached(
        key=case.record.key,
        digest=case.record.digest,
        attempt=case.attempt.n,
        phase=Phase.LIVE,
        marker=case.attempt.marker,
        handle=found.handle,
        connection=case.attempt.connection or there.name,
        found="user",
    )
    return take_in(case.work, [fact], reading, orders)


def _disagreements(case: Case, found: Found) -> Iterator[Problem]:
    """Why this is not the job that was sent; what the provider does not tell cannot disagree."""
    handle, name, sent = f'"{safe(found.handle)}"', f'"{case.name}"', case.attempt
    if not found.started:
        words = f"{handle} is registered and was never started"
        yield Problem(message=words, hint="qrun apply starts it, if it is the one")
    for field, theirs, ours in (
        ("device", found.device, case.record.device),
        ("kind", found.kind, case.was.get("kind")),
        ("shots", found.shots, case.was.get("shots")),
    ):
        if None not in (theirs, ours) and theirs != ours:
            yield Problem(message=f"{handle} has {field} {safe(theirs)}, and {name} was sent with {safe(ours)}")
    if None not in (found.payload, sent.payload) and found.payload != sent.payload:
        words = f"{handle} holds the payload {str(found.payload)[:12]}, and {name} was sent with"
        yield Problem(message=f"{words} {str(sent.payload)[:12]}")
    if found.marker and found.marker != sent.marker:
        words = f"{handle} carries the marker {safe(found.marker)} of another job, and {name} was sent with"
        yield Problem(message=f"{words} {safe(sent.marker)}")
    elif _too_early(found, sent):
        yield Problem(message=f"{handle} was made at {safe(found.created)}, and {name} was sent at {safe(sent.sent)}")


def _too_early(found: Found, sent: Attempt) -> bool:
    """A job that was there before ours was sent; where the payload agrees, clocks may differ as they like."""
    if found.created is None or sent.sent is None or (found.payload is not None and found.payload == sent.payload):
        return False
    return instant(found.created) < instant(sent.sent) - SKEW
