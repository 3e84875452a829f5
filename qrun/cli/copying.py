"""Jobs of a batch that their provider copies into a new one, and what is durable before and after the request.

The copy carries no marker of ours: a lost answer is looked up by what was made from the batch since, and what another
machine, or one that is lost, had copied is found in the same way and taken in instead of being copied again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from qrun.cli.origin import origin
from qrun.cli.out import tell
from qrun.cli.publish import publisher
from qrun.cli.remote import connections
from qrun.clock import Clock, stamp
from qrun.errors import Denied, Missing, ProviderError, QrunError, Rejected, Unavailable, Uncertain
from qrun.fact import Fact, Intended, Noted, Reached
from qrun.failpoint import failpoint
from qrun.marks import mark, marker
from qrun.record import Handle, Member, Phase, Record

if TYPE_CHECKING:
    from qrun.cli.course import Connections
    from qrun.cli.running import Work
    from qrun.provider import Sending
    from qrun.settings import Settings

NOT_SENT: Final = (Rejected, Unavailable, Denied, Missing)  # proof that nothing was started


@runtime_checkable
class Rebatches(Protocol):
    """What a provider offers besides that copies jobs of a batch into a new one, and knows what was copied before."""

    async def copies(self, handles: Sequence[Handle]) -> Mapping[Handle, Sequence[Handle]]: ...
    async def again(self, handles: Sequence[Handle], sending: Sending) -> Sequence[Handle]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """Jobs of one batch that go out by one request. `known` are the handles that some record of the project has."""

    work: Work
    connection: str
    container: Handle
    records: tuple[Record, ...]
    marker: str
    known: Collection[Handle] = field(repr=False)

    def members(self) -> tuple[Member, ...]:
        return members_of(self.records)


@dataclass(kw_only=True, slots=True)
class Pen:
    """A `Sending`."""

    work: Work = field(repr=False)
    marker: str
    mark: str
    noted: Mapping[str, str] = field(default_factory=dict)

    async def note(self, **facts: str) -> None:
        self.work.store.note(Noted(marker=self.marker, facts=facts))
        failpoint("noted")
        self.noted = {**self.noted, **facts}


def members_of(records: Sequence[Record]) -> tuple[Member, ...]:
    return tuple(
        Member(key=r.key, digest=r.digest, attempt=r.last.n + 1, payload=r.last.payload)
        for r in records
        if r.last is not None
    )


def send(copies: Sequence[Copy], settings: Settings) -> list[QrunError]:
    """What kept some of them from being sent."""

    async def each() -> list[QrunError]:
        connect = connections(settings)
        try:
            return [error for copy in copies if (error := await _send(copy, connect, settings)) is not None]
        finally:
            await connect.aclose()

    return asyncio.run(each())


async def _send(copy: Copy, connect: Connections, settings: Settings) -> QrunError | None:
    """What is copied already and nobody here knows is taken in, and the rest goes out."""
    try:
        provider = connect(copy.connection)
        assert isinstance(provider, Rebatches)
        made = await provider.copies(_handles(copy))
    except QrunError as error:
        return error
    found = {
        record.key: unknown
        for record in copy.records
        if record.handle is not None
        and (unknown := [handle for handle in made.get(record.handle, ()) if handle not in copy.known])
    }
    if twice := [handle for unknown in found.values() if len(unknown) > 1 for handle in unknown]:
        words = f'of jobs of "{copy.container}" several copies are there that nobody here knows: {", ".join(twice)}'
        return Uncertain(words, hint=f"nothing was sent; qrun import {copy.connection} ID takes one in")
    if found:
        _take(_part(copy, settings, [r for r in copy.records if r.key in found]), found, settings)
    rest = _part(copy, settings, [r for r in copy.records if r.key not in found])
    return await _ask(rest, provider, settings) if rest.records else None


def _handles(copy: Copy) -> list[Handle]:
    return [record.handle for record in copy.records if record.handle is not None]


def _part(copy: Copy, settings: Settings, records: Sequence[Record]) -> Copy:
    mine = marker(settings.project or "", copy.work.name, members_of(records))
    return replace(copy, records=tuple(records), marker=mine)


def _take(copy: Copy, found: Mapping[str, Sequence[Handle]], settings: Settings) -> None:
    handles = [found[record.key][0] for record in copy.records]
    copy.work.store.note(_intent(copy, settings), *_reached(copy, Phase.LIVE, handles))
    for record, handle in zip(copy.records, handles, strict=True):
        tell(f'"{record.handle}" was run once more already: "{handle}" is taken in')


async def _ask(copy: Copy, provider: Rebatches, settings: Settings) -> QrunError | None:
    """One request. What is not proven not to have been sent stays as intended, and is looked for."""
    store, project = copy.work.store, settings.project or ""
    failpoint("prepared")
    store.note(_intent(copy, settings))
    failpoint("intended")
    try:
        if (carry := publisher(settings)) is not None:
            store.publish(rest=False, now=True)
            await carry()
    except QrunError as error:
        store.note(*_reached(copy, Phase.ABSENT))
        return error
    pen = Pen(work=copy.work, marker=copy.marker, mark=mark(project, copy.work.name))
    try:
        made = await provider.again(_handles(copy), pen)
        failpoint("submitted")
    except NOT_SENT as error:
        store.note(*_reached(copy, Phase.ABSENT))
        return error
    except ProviderError as error:
        tell(str(error))
        return None
    store.note(*_reached(copy, Phase.LIVE, made))
    failpoint("accepted")
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
