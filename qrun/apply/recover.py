"""Clear up what an earlier run or a lost answer left unknown: look for the mark, adopt what is found, prove absence.

The listing that opens a command and the search after `settle` are the only two ways to a submit after anything
unclear (DESIGN §4, RELIABILITY §2.2). Both look; neither sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, cast

from qrun.apply.joining import OPEN, stays_open
from qrun.clock import instant
from qrun.containers import container
from qrun.errors import Missing, ProviderError, Unavailable
from qrun.events import Adopted, Searching, Warned
from qrun.fact import Noted, Reached
from qrun.job import Job
from qrun.marks import mark
from qrun.plan import AGREE, LOCKED, Action, Step
from qrun.provider import Containers, Found, Marks, Recovery
from qrun.record import Attempt, Handle, Member, Phase, Record

if TYPE_CHECKING:
    from qrun.apply.loop import Apply, Name
    from qrun.provider import Provider

TOGETHER: Final = 16  # inspections at a time
SHOWN: Final = 10  # handles named in a warning
NOTED: Final = {"join": "count", "rebatch": "known"}  # under which name a step notes what was there before it
SOON: Final = 2.0  # seconds until what was not found is looked for again, doubled each time
RARELY: Final = 60.0
AGAIN: Final = 2  # times that one command starts a registered job anew


@dataclass(kw_only=True, slots=True)
class Hits:
    """What the opening listing of one connection found and no record knows."""

    unclaimed: list[Found] = field(default_factory=list)
    _inspected: asyncio.Future[None] | None = field(default=None, repr=False)

    async def inspect(self, provider: Provider) -> None:
        """Ask once for the payloads that the listing left out, so that jobs can be told apart without their marker."""
        if self._inspected is None:
            self._inspected = asyncio.ensure_future(self._inspect(provider))
        await asyncio.shield(self._inspected)

    async def _inspect(self, provider: Provider) -> None:
        unknown = [found for found in self.unclaimed if found.payload is None and found.started]
        for start in range(0, len(unknown), TOGETHER):
            some = unknown[start : start + TOGETHER]
            told = await asyncio.gather(*(provider.inspect(found.handle) for found in some), return_exceptions=True)
            for found, answer in zip(some, told, strict=True):
                if isinstance(answer, Found):
                    payload = answer.payload
                    self.unclaimed = [replace(f, payload=payload) if f is found else f for f in self.unclaimed]
                elif not isinstance(answer, Missing):
                    raise answer

    def by_marker(self, marker: str) -> list[Found]:
        return [found for found in self.unclaimed if found.marker == marker and found.started]

    def by_payload(self, payload: str | None, taken: Iterable[Found]) -> Found | None:
        if payload is None:
            return None
        same = (f for f in self.unclaimed if f.payload == payload and f.started and f not in taken)
        return next(same, None)

    def take(self, found: Iterable[Found]) -> None:
        """They belong to a job from now on."""
        gone = {f.handle for f in found}
        self.unclaimed = [f for f in self.unclaimed if f.handle not in gone]


class Recoverer:
    def __init__(self, apply: Apply) -> None:
        self.apply = apply
        self._hits: dict[str, asyncio.Future[Hits | None]] = {}
        self._finding: set[str] = set()
        self._again: dict[str, int] = {}  # how often a registered job was sent again, by marker

    # --- the listing that opens a command -----------------------------------------------------------------------------

    async def opening(self, connection: str) -> Hits | None:
        """One complete listing by the experiment's mark, once a command; None where the connection is not usable."""
        if connection not in self._hits:
            self._hits[connection] = asyncio.get_running_loop().create_future()
            self._hits[connection].set_result(await self._list(connection))
        return await self._hits[connection]

    async def _list(self, connection: str) -> Hits | None:
        apply = self.apply
        try:
            listed = await apply.connect(connection).find(Marks(mark=mark(apply.project, apply.experiment)))
        except ProviderError as error:
            apply.break_off(connection, error)
            return None
        known = self._known_handles()
        markers, containers = self._unclear()
        hits = Hits()
        for found in listed:
            if found.handle in known or found.marker in markers or container(found.handle) in containers:
                continue
            owners = self._owners(found.marker or "")
            if owners and found.started:
                if container(found.handle) not in map(container, owners):
                    keys = ", ".join(f'"{key}" ({handle})' for handle, key in owners.items())
                    words = f'"{found.handle}" has the marker of {keys}, which is recorded already'
                    self._warn(f"{words}: was it sent twice?")
                    continue
                found = replace(found, marker=None)  # it joined what was made under this marker
            hits.unclaimed.append(found)
        return hits

    async def claim(
        self, connection: str, marker: str, members: Sequence[Member], jobs: Sequence[Job]
    ) -> dict[str, Found] | str:
        """Which of the listed jobs are these members, by key; or why nobody but the user can tell."""
        future = self._hits.get(connection)
        hits = future.result() if future is not None and future.done() else None
        if hits is None:
            return {}
        marked = hits.by_marker(marker)
        if _apart(marked):
            return f"two hits for one marker: {_handles(marked)}"
        if len(marked) == 1 and len(members) == 1:
            if not _fits(marked[0], jobs[0]):
                what = f"runs on {marked[0].device} with {marked[0].shots} shots"
                return f'"{marked[0].handle}" carries the marker, but {what}'
            claimed = {members[0].key: marked[0]}
        else:
            claimed = await self._by_payload(connection, hits, members, jobs)
        hits.take(claimed.values())
        return claimed

    async def _by_payload(
        self, connection: str, hits: Hits, members: Sequence[Member], jobs: Sequence[Job]
    ) -> dict[str, Found]:
        if hits.unclaimed:
            await hits.inspect(self.apply.connect(connection))
        claimed: dict[str, Found] = {}
        for member, job in zip(members, jobs, strict=True):
            found = hits.by_payload(member.payload, claimed.values())
            if found is not None and _fits(found, job):
                claimed[member.key] = found
        return claimed

    def tell_unclaimed(self) -> None:
        """Jobs of this experiment that no record and no job here knows: somebody may have paid for them in vain."""
        for connection, future in self._hits.items():
            hits = future.result() if future.done() else None
            left = [found.handle for found in hits.unclaimed if found.started] if hits is not None else []
            if left:
                listed = ", ".join(left[:SHOWN]) + (f" and {len(left) - SHOWN} more" if len(left) > SHOWN else "")
                cure = f"qrun import {connection} ID takes one in"
                self._warn(f"of this experiment {connection} also has {listed}, which no job here is: {cure}")

    def _known_handles(self) -> set[Handle]:
        return {a.handle for r in self.apply.store.records for a in r.attempts if a.handle is not None}

    def _unclear(self) -> tuple[set[str], set[Handle]]:
        """The markers of what is being cleared up, and the containers in which something of it is looked for."""
        unclear = (Phase.INTENT, Phase.UNCERTAIN)
        last = [r.last for r in self.apply.store.records if r.last is not None and r.phase in unclear]
        return {a.marker for a in last}, {a.container for a in last if a.step == "join" and a.container is not None}

    def _owners(self, marker: str) -> dict[Handle, str]:
        """The jobs that are recorded under a marker: handle and key."""
        return {
            attempt.handle: record.key
            for record in self.apply.store.records.sharing(marker)
            for attempt in record.attempts
            if attempt.marker == marker and attempt.handle is not None
        }

    def _warn(self, message: str) -> None:
        self.apply.emit(Warned(experiment=self.apply.experiment, message=message))

    # --- one submission whose outcome is unknown ----------------------------------------------------------------------

    def find(self, name: Name) -> None:
        """Clear up the submission that this job's last attempt belongs to, once for all its members."""
        last = self.apply.record(name).last
        assert last is not None
        if last.marker not in self._finding:
            self._finding.add(last.marker)
            self.apply.start(self._clear_up(name, last.marker), patient=True)

    async def _clear_up(self, name: Name, marker: str) -> None:
        try:
            while (wait := await self._look(name, marker)) is not None:
                await self.apply.clock.sleep(wait)
        finally:
            self._finding.discard(marker)

    async def _look(self, name: Name, marker: str) -> float | None:
        """One try; seconds until another one where the provider was silent."""
        connection = self.apply.connection(name)
        wait = None
        try:
            provider = self.apply.connect(connection)
            record = self.apply.record(name)
            kind = str(self.apply.store.job(*name).get("kind", ""))
            assert record.last is not None
            match provider.capabilities.recover(kind, record.last.step):
                case Recovery.ID_FIRST:
                    await self._by_id(connection, name, marker)
                case Recovery.COUNT:
                    await self._by_count(connection, marker, provider.capabilities.settle)
                case Recovery.NOTHING:
                    self._hold(marker, "outcome unknown, and the provider cannot be searched: qrun resolve")
                case _:
                    await self._by_search(connection, marker, provider.capabilities.settle)
            return None
        except Unavailable as error:
            wait = self.apply.submitter.patience(connection, error)
        except ProviderError as error:
            self.apply.break_off(connection, error)
        if wait is None:
            self._hold(marker, "outcome unknown, and the provider cannot be asked now")
        return wait

    def _members(self, marker: str) -> list[tuple[Record, Attempt]]:
        """The stored members whose outcome is unknown; never what would be packed today."""
        unclear = (Phase.INTENT, Phase.UNCERTAIN)
        found = []
        for record in self.apply.store.records.sharing(marker):
            attempt = next(a for a in record.attempts if a.marker == marker)
            if attempt.phase in unclear:
                found.append((record, attempt))
        return found

    async def _by_id(self, connection: str, name: Name, marker: str) -> None:
        """Class A': the id was noted before anything was started; another machine may have sent the same since."""
        members = self._members(marker)
        if await self._settled_by_search(connection, marker, members):
            return
        noted = members[0][1].noted
        if not noted.get("uploaded"):
            await self._absent(members)
            return
        try:
            found = await self.apply.connect(connection).inspect(Handle(noted["job_id"]))
        except Missing:
            await self._absent(members)
            return
        if found.started:
            await self._adopt(connection, members, {members[0][0].key: found}, "id")
            return
        wanted = self.apply.pair(name)
        if wanted.job is None:
            await self._absent(members)
        elif not self.apply.policy.submit:
            self._hold(marker, "registered, not started: qrun apply starts it")
        elif self.apply.policy.locked:
            self._hold(marker, LOCKED)
        elif self._again.get(marker, 0) >= AGAIN:
            self._hold(marker, f'the provider has it as "{found.handle}" and does not start it: run again later')
        else:
            self._again[marker] = self._again.get(marker, 0) + 1
            self.apply.submitter.send(
                [Step(pair=wanted, action=Action.SUBMIT, reason="registered, not started", attempt=members[0][1].n)]
            )

    async def _by_search(self, connection: str, marker: str, settle: float) -> None:
        """Class B: adopt what carries the marker; absent only after two searches, past `settle`, that agree."""
        members = self._members(marker)
        self._tell_all(members, marker, None)
        wait = self._unsettled(members[0][1], settle)
        if await self._settled_by_search(connection, marker, members):
            return
        if not self.apply.policy.wait and wait > 0:
            self._hold(marker, f"outcome unknown; run again in {wait:.0f} s, when a search can prove it")
            return
        self._tell_all(members, marker, wait)
        for pause in _pauses(wait):
            await self.apply.clock.sleep(pause)
            if await self._settled_by_search(connection, marker, members):
                return
        self._tell_all(members, marker, AGREE)
        await self.apply.clock.sleep(AGREE)
        if await self._settled_by_search(connection, marker, members):
            return
        await self._absent(members)

    async def _settled_by_search(self, connection: str, marker: str, members: Sequence[tuple[Record, Attempt]]) -> bool:
        found = await self._search(connection, marker, members)
        if not found:
            return False
        if _apart(found):
            await self._uncertain(members, f"two hits for one marker: {_handles(found)}")
            return True
        matched = self._matched(members, found)
        if matched is None:
            await self._uncertain(members, "what carries the marker differs from what was sent: " + _described(found))
        else:
            await self._adopt(connection, members, matched, "marker")
        return True

    async def _search(self, connection: str, marker: str, members: Sequence[tuple[Record, Attempt]]) -> list[Found]:
        """What carries exactly this marker and no record knows; a search that contains more is cut down here.

        Other members of the same submission may be known: a power cut can tear the line of one from that of the next.
        """
        apply = self.apply
        marks = self._marks(members, marker)
        listed = await apply.connect(connection).find(marks)
        known = self._known_handles()
        return [found for found in listed if found.marker == marker and found.started and found.handle not in known]

    async def _by_count(self, connection: str, marker: str, settle: float) -> None:
        """Class C: exactly the jobs that came since the intent, alike in all that can be compared; else the user.

        That they are not there yet may be a list that lags, so it is looked at once more past `settle`.
        """
        members = self._members(marker)
        attempt = members[0][1]
        if NOTED.get(attempt.step, "") not in ("", *attempt.noted):
            await self._absent(members)  # what was there before is noted before the request leaves
            return
        wait = self._unsettled(attempt, settle)
        if await self._settled_by_count(connection, members, last=wait == 0):
            return
        if not self.apply.policy.wait:
            self._hold(marker, f"outcome unknown; run again in {wait:.0f} s, when a list shows all that came")
            return
        self._tell_all(members, marker, wait)
        pauses = _pauses(wait)
        for left, pause in zip(reversed(range(len(pauses))), pauses, strict=True):
            await self.apply.clock.sleep(pause)
            if await self._settled_by_count(connection, members, last=not left):
                return

    async def _settled_by_count(
        self, connection: str, members: Sequence[tuple[Record, Attempt]], *, last: bool
    ) -> bool:
        """False where what was sent may still come; `last` is when it may not. Nothing joins meanwhile."""
        attempt = members[0][1]
        async with self.apply.submitter.door(connection):
            listed = await self.apply.connect(connection).find(self._marks(members))
            known = self._known_handles()
            left = [found for found in listed if found.handle not in known]
            new = left if attempt.step in NOTED else [found for found in left if _since(found, attempt)]
            if len(new) < len(members) and not last:
                return False
            matched = self._matched(members, new) if len(new) == len(members) else None
            if matched is None:
                words = f"{len(new)} jobs came since the intent where {len(members)} were sent"
                await self._uncertain(members, f"{words}: {_handles(new) or 'none'}")
                return True
            for record, _ in members:
                self._warn(
                    f'"{matched[record.key].handle}" is taken for "{record.key}": it is the only one of its kind'
                )
            await self._adopt(connection, members, matched, "list")
            return True

    def _unsettled(self, attempt: Attempt, settle: float) -> float:
        """Seconds until a search shows whatever came of this attempt."""
        now = self.apply.clock.now()
        sent = instant(attempt.sent) if attempt.sent else now
        return min(max(0.0, sent + settle - now), settle)

    def _marks(self, members: Sequence[tuple[Record, Attempt]], marker: str | None = None) -> Marks:
        """What to look for: the stored members, and their marker where it can be searched."""
        attempt = members[0][1]
        return Marks(
            mark=mark(self.apply.project, self.apply.experiment),
            marker=marker,
            members=tuple(Member(key=r.key, digest=r.digest, attempt=a.n, payload=a.payload) for r, a in members),
            noted=attempt.noted,
            container=attempt.container,
            step=attempt.step,
            since=attempt.sent,
        )

    def _matched(self, members: Sequence[tuple[Record, Attempt]], found: Sequence[Found]) -> dict[str, Found] | None:
        """Each member's job; None unless every one has its own."""
        left = list(found)
        matched: dict[str, Found] = {}
        for record, attempt in members:
            same = [
                f
                for f in left
                if f.device in (None, record.device)
                and f.shots in (None, self._shots(record))
                and (f.payload is None or attempt.payload is None or f.payload == attempt.payload)
            ]
            if not same or (len(members) > 1 and same[0].payload is None):
                return None
            matched[record.key] = same[0]
            left.remove(same[0])
        return matched

    def _shots(self, record: Record) -> int | None:
        """As they were sent."""
        shots = self.apply.store.job(record.key, record.digest).get("shots")
        return shots if isinstance(shots, int) else None

    # --- what comes of it ---------------------------------------------------------------------------------------------

    async def _adopt(
        self, connection: str, members: Sequence[tuple[Record, Attempt]], found: dict[str, Found], how: str
    ) -> None:
        apply = self.apply
        await apply.ledger.commit(
            *[
                Reached(
                    key=record.key,
                    digest=record.digest,
                    attempt=attempt.n,
                    phase=Phase.LIVE,
                    marker=attempt.marker,
                    handle=found[record.key].handle,
                    connection=attempt.connection or connection,
                    found=how,
                )
                for record, attempt in members
            ],
            *await self._stays_open(connection, members, found),
        )
        for record, attempt in members:
            apply.emit(
                Adopted(
                    experiment=apply.experiment,
                    job=record.key,
                    attempt=attempt.n,
                    handle=found[record.key].handle,
                    found=how,
                )
            )
            apply.advance((record.key, record.digest))
            apply.cleared((record.key, record.digest))

    async def _stays_open(
        self, connection: str, members: Sequence[tuple[Record, Attempt]], found: Mapping[str, Found]
    ) -> list[Noted]:
        """What is noted where the container stays open. Once no manifest says so any more, the provider is asked."""
        record, attempt = members[0]
        wanted = [job for each, _ in members if (job := self.apply.wanted(each)) is not None]
        provider = self.apply.connect(connection)
        if wanted or not provider.capabilities.opens:
            return stays_open(wanted[0], attempt.marker) if wanted else []
        opened = await cast(Containers, provider).opened(container(found[record.key].handle))
        return [Noted(marker=attempt.marker, facts=OPEN)] if opened else []

    async def _absent(self, members: Sequence[tuple[Record, Attempt]]) -> None:
        await self._reach(members, Phase.ABSENT, None)
        for record, attempt in members:
            self.apply.forget((record.key, record.digest), attempt.n)

    async def _uncertain(self, members: Sequence[tuple[Record, Attempt]], words: str) -> None:
        await self._reach(members, Phase.UNCERTAIN, words)
        for record, _ in members:
            self.apply.hold((record.key, record.digest), f"{words}: qrun resolve")

    async def _reach(self, members: Sequence[tuple[Record, Attempt]], phase: Phase, words: str | None) -> None:
        await self.apply.ledger.commit(
            *[
                Reached(
                    key=record.key,
                    digest=record.digest,
                    attempt=attempt.n,
                    phase=phase,
                    marker=attempt.marker,
                    message=words,
                )
                for record, attempt in members
            ]
        )

    def _hold(self, marker: str, reason: str) -> None:
        for record, _ in self._members(marker):
            self.apply.hold((record.key, record.digest), reason)

    def _tell_all(self, members: Sequence[tuple[Record, Attempt]], marker: str, wait: float | None) -> None:
        for record, _ in members:
            self.apply.emit(
                Searching(experiment=self.apply.experiment, job=record.key, marker=marker, again_in=wait or None)
            )


def _pauses(wait: float) -> list[float]:
    """Between one search and the next, so long in all: what a list shows late is found soon after it is shown.

    None where nothing is left to wait for: the search before was made late enough to count.
    """
    pauses: list[float] = []
    pause = SOON
    while sum(pauses) + pause < wait:
        pauses.append(pause)
        pause = min(2 * pause, RARELY)
    left = wait - sum(pauses)
    return [*pauses, left] if left > 0 else pauses


def _fits(found: Found, job: Job) -> bool:
    """Whether what can be compared agrees; a job that carries our marker on another device is not taken."""
    return found.device in (None, job.target.device) and found.shots in (None, job.shots)


def _apart(found: Sequence[Found]) -> bool:
    """Whether several things were made under one marker; what is in one container was made, or joined it, once."""
    return len({container(each.handle) for each in found}) > 1


def _since(found: Found, attempt: Attempt) -> bool:
    return not (found.created and attempt.sent) or instant(found.created) >= instant(attempt.sent)


def _described(found: Iterable[Found]) -> str:
    return ", ".join(f"{f.handle} on {f.device} with {f.shots} shots" for f in found)


def _handles(found: Iterable[Found]) -> str:
    return ", ".join(f.handle for f in found)
