"""Send jobs once: everything that can fail before the intent, the intent durable, one request, its outcome durable.

RELIABILITY §2.5. A refusal is proof that nothing was started; every other failure after the intent leaves the outcome
unknown and is cleared up by search, never by sending again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from qrun.apply.joining import open_container, stays_open
from qrun.canonical import canonical
from qrun.clock import stamp
from qrun.errors import (
    Denied,
    ManifestError,
    Missing,
    ProviderError,
    QrunError,
    Rejected,
    StoreError,
    Unavailable,
    Unexpected,
)
from qrun.events import Adopted, Sent, Unclear, Warned
from qrun.fact import Intended, Noted, Reached
from qrun.failpoint import failpoint
from qrun.job import NOTHING, Job, rendered
from qrun.marks import mark, marker
from qrun.plan import Step
from qrun.provider import Found, Prepared, Recovery, Submission
from qrun.record import Handle, Member, Phase

if TYPE_CHECKING:
    from qrun.apply.loop import Apply, Name


PATIENCE: Final = 600.0  # seconds that a provider may ask to be left alone while a command waits for it
PAUSE: Final = 60.0  # seconds at most between two tries of a provider that does not answer
CLOSED: Final = "leave `open` out of its `submit`"


@dataclass(kw_only=True, slots=True)
class Pen:
    """A `Sending`: the marks of one submission, and the notes that its steps make durable.

    `provided` is what the provider said just before, for the record.
    """

    apply: Apply = field(repr=False)
    marker: str
    mark: str
    noted: Mapping[str, str]
    provided: Mapping[str, Any] = NOTHING

    async def note(self, **facts: str) -> None:
        await self.apply.ledger.commit(Noted(marker=self.marker, facts=facts))
        self.noted = {**self.noted, **facts}
        failpoint("noted")


class Submitter:
    """`sent` and `shots` count what this command sent to remote providers, for the budget of retries."""

    def __init__(self, apply: Apply) -> None:
        self.apply = apply
        self.sent = 0
        self.shots = 0
        self._silent: dict[str, int] = {}  # how often a connection that has answered was unavailable since
        self._doors: dict[str, asyncio.Lock] = {}  # of open containers, by connection

    def send(self, group: Sequence[Step]) -> None:
        """Send a group of steps that may share a submission, packed as the provider wants them."""
        apply = self.apply
        by_key = {step.pair.key: step for step in group}
        connection = _job(group[0]).target.connection
        if self._withheld(group, connection):
            return
        try:
            provider = apply.connect(connection)
        except ProviderError as error:
            apply.break_off(connection, error)
            self._withheld(group, connection)
            return
        for jobs in provider.pack([_job(step) for step in group]):
            apply.start(self._send(connection, [by_key[job.key] for job in jobs]))

    def _withheld(self, steps: Sequence[Step], connection: str) -> bool:
        """Whether nothing goes out through this connection any more."""
        if connection in self.apply.broken:
            for step in steps:
                if self.apply.postponed(connection):
                    self.apply.rest(_name(step))
                else:
                    self.apply.hold(_name(step), f'connection "{connection}" is not usable now')
        return connection in self.apply.broken or self.apply.stopping

    async def _send(self, connection: str, steps: Sequence[Step]) -> None:
        traffic = self.apply.traffic
        async with traffic.slot(connection):
            if not await self._has_room(connection, steps):
                return
            traffic.sends(connection, len(steps))
            send = self._send_openly if _job(steps[0]).conduct.open else self._send_once
            try:
                left = steps
                while left and not self._withheld(left, connection):
                    try:
                        left = await send(connection, left)
                    except Unavailable as error:
                        await self._later(connection, error)
            finally:
                traffic.sends(connection, -len(steps))

    async def _has_room(self, connection: str, steps: Sequence[Step]) -> bool:
        """Wait until the connection may have so many more unfinished jobs."""
        traffic = self.apply.traffic
        while not traffic.fits(connection, len(steps)) and not self.apply.stopping:
            if not self.apply.policy.wait:
                there, most = traffic.unfinished(connection), traffic.limits(connection).live
                for step in steps:
                    self.apply.hold(
                        _name(step), f"{there} jobs are unfinished, and max_live is {most}: run again later"
                    )
                return False
            await traffic.changed()
        return True

    async def _send_openly(self, connection: str, steps: Sequence[Step]) -> Sequence[Step]:
        """Into the container that is open for such jobs, else into a new one. One after the other, so that all meet in
        one, and so that what came since a count was taken is ours.
        """
        if not self.apply.connect(connection).capabilities.opens:
            return self._refuse(steps, Rejected(f'"{connection}" keeps nothing open for more jobs', hint=CLOSED))
        async with self.door(connection):
            try:
                container = await open_container(self.apply, connection, _job(steps[0]))
            except ProviderError as error:
                self.apply.break_off(connection, error)
                return steps
            return await self._send_once(connection, steps, container)

    def door(self, connection: str) -> asyncio.Lock:
        """Held by whoever lets jobs join, and by whoever counts who has come."""
        return self._doors.setdefault(connection, asyncio.Lock())

    async def _send_once(
        self, connection: str, steps: Sequence[Step], container: Handle | None = None
    ) -> Sequence[Step]:
        """Send these together. Returns those that are to be sent anew, because others of them were refused. Raises
        Unavailable where nothing was sent and all may be tried again.
        """
        apply = self.apply
        provider = apply.connect(connection)
        try:
            submission = self._submission(connection, steps, container)
            with apply.interruptible():
                if provider.capabilities.remote and await apply.recoverer.opening(connection) is None:
                    return steps
                prepared = await self._prepare(submission)
        except ManifestError as error:
            return self._refuse(steps, Rejected(*error.problems))
        except Rejected as error:
            return self._refuse(steps, error)
        except Unavailable:
            raise
        except ProviderError as error:
            apply.break_off(connection, error)
            return steps
        self._silent[connection] = 0
        members = _members(steps, prepared)
        mine = marker(apply.project, apply.experiment, members)
        try:
            remaining = await self._adopt(connection, steps, members, mine)
        except Unavailable:
            raise
        except ProviderError as error:
            apply.break_off(connection, error)
            return steps
        if len(remaining) < len(steps) or apply.stopping:
            return remaining
        pen = Pen(
            apply=apply,
            marker=mine,
            mark=mark(apply.project, apply.experiment),
            noted=self._noted(steps, mine),
            provided=self._snapshot(prepared),
        )
        async with AsyncExitStack() as slot:
            with apply.interruptible():
                await slot.enter_async_context(provider.slot())
            prepared = await self._fresh(prepared)
            failpoint("prepared")
            await apply.ledger.commit(self._intent(prepared, members, mine))
            failpoint("intended")
            if provider.capabilities.remote and not await self._published(steps, pen):
                return ()
            return await self._request(connection, prepared, steps, pen)

    async def _published(self, steps: Sequence[Step], pen: Pen) -> bool:
        """Whether the intents stand where others see them, if the user has a command for that; else nothing is sent."""
        try:
            await self.apply.publication.intents()
        except StoreError:
            raise
        except QrunError as error:
            await self._absent(steps, pen)
            self.apply.report(error)
            for step in steps:
                self.apply.hold(_name(step), "not sent: what was to be sent could not be published")
            return False
        return True

    async def _later(self, connection: str, error: Unavailable) -> None:
        wait = self.patience(connection, error)
        if wait is not None:
            with self.apply.interruptible():
                await self.apply.clock.sleep(wait)

    def patience(self, connection: str, error: Unavailable) -> float | None:
        """Seconds after which to try a provider again that has answered before. None where it never did, or asks for a
        long time: then the connection is given up.
        """
        apply = self.apply
        times = self._silent.get(connection)
        if times is None or not apply.policy.wait or (error.retry_after or 0) > PATIENCE:
            apply.break_off(connection, error)
            return None
        if not times:
            apply.emit(Warned(experiment=apply.experiment, message=f"{error.told}; what is to be sent waits for it"))
        self._silent[connection] = times + 1
        return max(error.retry_after or 0, min(PAUSE, 2.0 ** min(times, 10)))

    async def _prepare(self, submission: Submission) -> Prepared:
        prepared = await self.apply.connect(submission.connection).prepare(submission)
        if len(prepared.payloads) != len(submission.jobs):
            raise Unexpected(f"{len(submission.jobs)} jobs were prepared as {len(prepared.payloads)}")
        return prepared

    async def _fresh(self, prepared: Prepared) -> Prepared:
        """Past `good_until` the preparation is made again, so that nothing waits between intent and request."""
        if prepared.good_until is None or prepared.good_until >= self.apply.clock.monotonic():
            return prepared
        return await self._prepare(prepared.submission)

    async def _request(self, connection: str, prepared: Prepared, steps: Sequence[Step], pen: Pen) -> Sequence[Step]:
        apply = self.apply
        provider = apply.connect(connection)
        if provider.capabilities.remote:
            self.sent += len(steps)
            self.shots += sum(_job(step).shots or 0 for step in steps)
        try:
            handles = await provider.submit(prepared, pen)
            failpoint("submitted")
            if len(handles) != len(steps):
                raise Unexpected(f"{len(steps)} jobs were sent and {len(handles)} answers came")
        except Rejected as error:
            await self._absent(steps, pen)
            return self._refuse(steps, error)
        except Unavailable:
            await self._absent(steps, pen)
            raise
        except (Denied, Missing) as error:
            await self._absent(steps, pen)
            apply.break_off(connection, error)
            return steps
        except ProviderError as error:
            await self._unclear(steps, pen, error)
            return ()
        await self._accepted(prepared, steps, handles, pen)
        return ()

    async def _accepted(self, prepared: Prepared, steps: Sequence[Step], handles: Sequence[Handle], pen: Pen) -> None:
        apply = self.apply
        connection = prepared.submission.connection
        if apply.connect(connection).capabilities.recover("") is Recovery.LOCAL:
            for step, handle in zip(steps, handles, strict=True):
                apply.watcher.expect(_name(step), handle)
            return
        facts = [
            replace(_reached(step, pen.marker, Phase.LIVE, handle=handle, connection=connection), provided=pen.provided)
            for step, handle in zip(steps, handles, strict=True)
        ]
        try:
            await apply.ledger.commit(*facts, *stays_open(_job(steps[0]), pen.marker))
        except StoreError:
            self._rescue(facts)
            raise
        failpoint("accepted")
        for step, handle in zip(steps, handles, strict=True):
            apply.emit(
                Sent(
                    experiment=apply.experiment,
                    job=step.pair.key,
                    attempt=step.attempt,
                    handle=handle,
                    marker=pen.marker,
                )
            )
            apply.watcher.watch(_name(step))

    def _snapshot(self, prepared: Prepared) -> Mapping[str, Any]:
        """What the provider said of the device just before this was sent, kept once for all jobs that met it so."""
        if prepared.device is None:
            return {}
        calibrated = prepared.device.get("calibrated_at")
        snapshot = {"snapshot": self.apply.store.keep_snapshot(canonical(prepared.device))}
        return {"device": snapshot if calibrated is None else {**snapshot, "calibrated_at": calibrated}}

    def _rescue(self, facts: Sequence[Reached]) -> None:
        """The jobs run and the journal takes no more: their ids go wherever there is room, and to the screen."""
        apply = self.apply
        where = apply.store.rescue(facts)
        for fact in facts:
            words = f'"{fact.handle}" runs with the marker {fact.marker}, and could only be written to {where}'
            apply.emit(Warned(experiment=apply.experiment, job=fact.key, message=words))

    async def _absent(self, steps: Sequence[Step], pen: Pen) -> None:
        await self.apply.ledger.commit(*[_reached(step, pen.marker, Phase.ABSENT) for step in steps])

    async def _unclear(self, steps: Sequence[Step], pen: Pen, error: ProviderError) -> None:
        """Sent, and no usable answer: from here on only looking helps."""
        apply = self.apply
        for step in steps:
            apply.emit(
                Unclear(
                    experiment=apply.experiment,
                    job=step.pair.key,
                    attempt=step.attempt,
                    marker=pen.marker,
                    message=error.told,
                )
            )
        can = apply.connect(_job(steps[0]).target.connection).capabilities
        if can.recover(_job(steps[0]).kind) is Recovery.NOTHING:
            words = error.told
            await apply.ledger.commit(*[_reached(step, pen.marker, Phase.UNCERTAIN, message=words) for step in steps])
        for step in steps:
            apply.advance(_name(step))

    def _refuse(self, steps: Sequence[Step], error: Rejected) -> Sequence[Step]:
        """Refuse the members that the error names, or all; returns the others, to be packed anew."""
        named = set(error.members) & {step.pair.key for step in steps}
        refused = [step for step in steps if not named or step.pair.key in named]
        for step in refused:
            self.apply.refuse(_name(step), step.attempt, _told_of(error, step.pair.key))
        return [step for step in steps if step not in refused]

    async def _adopt(
        self, connection: str, steps: Sequence[Step], members: Sequence[Member], mine: str
    ) -> Sequence[Step]:
        """Take in jobs that exist already (DESIGN §4): by the marker, else member by member by payload digest.

        Returns the steps that are still to be sent.
        """
        apply = self.apply
        hits = await apply.recoverer.claim(connection, mine, members, [_job(step) for step in steps])
        if isinstance(hits, str):
            for step, member in zip(steps, members, strict=True):
                await self._ambiguous(step, member, mine, connection, hits)
            return ()
        left = []
        for step, member in zip(steps, members, strict=True):
            found = hits.get(step.pair.key)
            if found is None:
                left.append(step)
                continue
            await self._take_in(step, member, found, found.marker or mine, connection)
        return left

    async def _take_in(self, step: Step, member: Member, found: Found, under: str, connection: str) -> None:
        apply = self.apply
        how = "marker" if found.marker and found.payload is None else "payload"
        sent = found.created or stamp(apply.clock.now())
        await apply.ledger.commit(
            _intended(apply, [step], [member], under, connection, sent=sent),
            replace(_reached(step, under, Phase.LIVE, handle=found.handle, connection=connection), found=how),
            *stays_open(_job(step), under),
        )
        apply.emit(
            Adopted(
                experiment=apply.experiment,
                job=step.pair.key,
                attempt=step.attempt,
                handle=found.handle,
                found=how,
            )
        )
        apply.watcher.watch(_name(step))

    async def _ambiguous(self, step: Step, member: Member, mine: str, connection: str, words: str) -> None:
        apply = self.apply
        await apply.ledger.commit(
            _intended(apply, [step], [member], mine, connection, sent=stamp(apply.clock.now())),
            _reached(step, mine, Phase.UNCERTAIN, message=words),
        )
        apply.advance(_name(step))

    def _submission(self, connection: str, steps: Sequence[Step], container: Handle | None) -> Submission:
        apply = self.apply
        programs: dict[str, bytes] = {}
        for step in steps:
            for program in _job(step).programs:
                if program.sha256 not in programs:
                    programs[program.sha256] = apply.content(program)
                    apply.store.keep_program(program, programs[program.sha256])
        return Submission(
            connection=connection,
            jobs=tuple(_job(step) for step in steps),
            attempts=tuple(step.attempt for step in steps),
            programs=programs,
            step="create" if container is None else "join",
            container=container,
            project=apply.project,
        )

    def _intent(self, prepared: Prepared, members: Sequence[Member], mine: str) -> Intended:
        steps = prepared.submission
        return Intended(
            marker=mine,
            connection=steps.connection,
            step=steps.step,
            members=tuple(members),
            jobs=tuple(rendered(job) for job in steps.jobs),
            digests_without_site=tuple(job.digest_without_site for job in steps.jobs),
            sent=stamp(self.apply.clock.now()),
            container=steps.container,
            origin=self.apply.origin,
        )

    def _noted(self, steps: Sequence[Step], mine: str) -> Mapping[str, str]:
        """What an earlier run durably noted on the way of this very submission."""
        for step in steps:
            record = self.apply.store.records.get(*_name(step))
            for attempt in record.attempts if record is not None else ():
                if attempt.marker == mine and attempt.noted:
                    return attempt.noted
        return {}


def _job(step: Step) -> Job:
    assert step.pair.job is not None
    return step.pair.job


def _name(step: Step) -> Name:
    return (step.pair.key, step.pair.digest)


def _members(steps: Sequence[Step], prepared: Prepared) -> list[Member]:
    return [
        Member(key=step.pair.key, digest=step.pair.digest, attempt=step.attempt, payload=payload)
        for step, payload in zip(steps, prepared.payloads, strict=True)
    ]


def _intended(
    apply: Apply, steps: Sequence[Step], members: Sequence[Member], mine: str, connection: str, *, sent: str
) -> Intended:
    return Intended(
        marker=mine,
        connection=connection,
        step="create",
        members=tuple(members),
        jobs=tuple(rendered(_job(step)) for step in steps),
        digests_without_site=tuple(_job(step).digest_without_site for step in steps),
        sent=sent,
        origin=apply.origin,
    )


def _reached(
    step: Step,
    mine: str,
    phase: Phase,
    *,
    handle: Handle | None = None,
    message: str | None = None,
    connection: str = "",
) -> Reached:
    return Reached(
        key=step.pair.key,
        digest=step.pair.digest,
        attempt=step.attempt,
        phase=phase,
        marker=mine,
        handle=handle,
        message=message,
        connection=connection,
    )


def _told_of(error: Rejected, key: str) -> str:
    """What of a refusal is about this member; all of it where that is not said."""
    own = [str(each) for each in error.problems if f"{each.field}.".startswith(f"{key}.")]
    return "\n".join(own) or str(error)
