"""A connection that somebody names, and the jobs of its account: to list, to cancel, to find again in this project."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from qrun.cli.access import access
from qrun.cli.account import Account
from qrun.cli.course import Connections
from qrun.cli.exits import ERROR, OK
from qrun.cli.out import say, say_json, tell, told
from qrun.cli.project import kept, stored
from qrun.cli.reading import capabilities, project
from qrun.cli.selection import Name
from qrun.connection import Connection
from qrun.containers import container
from qrun.errors import Missing, SettingsError, StoreError, UsageError
from qrun.provider import Found
from qrun.providers import MODULES
from qrun.record import Handle, Phase, Record, named
from qrun.render import remote as rendering
from qrun.render import table
from qrun.render.safe import safe
from qrun.render.words import count, job_name, listed

if TYPE_CHECKING:
    from qrun.job import Job
    from qrun.provider import Filters, Provider
    from qrun.settings import Settings
    from qrun.store.view import View

Answer = TypeVar("Answer")

TOGETHER: Final = 16  # requests to cancel at a time

# --- connections ------------------------------------------------------------------------------------------------------


def connections(settings: Settings) -> Connections:
    """The providers of a project; each is made when it is first asked."""
    return Connections(known=settings.connections, access=access(settings))


def connection(settings: Settings, name: str) -> Connection:
    """What a name stands for: a connection, or a provider type with its conventional environment."""
    found = settings.connections.get(name)
    if found is None and name not in MODULES:
        known = sorted({*settings.connections, *MODULES})
        near = get_close_matches(name, known, n=1)
        hint = f'did you mean "{safe(near[0])}"?' if near else f"there are {', '.join(map(safe, known))}"
        raise UsageError(f'no connection is called "{safe(name)[:80]}"', hint=hint)
    found = found or Connection(name=name, provider=name)
    if found.provider not in MODULES:
        words = f'"{safe(name)}" is a connection of type "{safe(found.provider)}", which is not supported'
        raise SettingsError(words, hint=f"supported are: {', '.join(sorted(MODULES))}")
    return found


def cloud(settings: Settings, name: str) -> Connection:
    """The same, where only one with an account will do."""
    found = connection(settings, name)
    if not capabilities(found.provider).remote:
        raise UsageError(f'"{safe(name)}" is this machine, which keeps no jobs of an account', hint="name a cloud")
    return found


def through(settings: Settings, job: Job | None, record: Record, was: Mapping[str, Any]) -> str:
    """The connection by which a job is reached: the manifest's, else the one that sent it. `was` is it as rendered."""
    last = record.last
    sent = (last.connection if last is not None else "") or str(was.get("connection", "")) or record.provider
    name = job.target.connection if job is not None else sent
    if name not in settings.connections and name not in MODULES:
        words = f'"{safe(record.key)}" is reached through the connection "{safe(name)}", which is not there any more'
        raise SettingsError(words, hint="put it into qrun.toml again")
    return name


def ask(settings: Settings, name: str, question: Callable[[Provider], Awaitable[Answer]]) -> Answer:
    """One question to one connection, which is closed afterwards."""

    async def asked() -> Answer:
        connect = connections(settings)
        try:
            return await question(connect(name))
        finally:
            await connect.aclose()

    return asyncio.run(asked())


def handle(text: str) -> Handle:
    """An id as it was typed; it becomes a part of addresses, so it may hold nothing that means something there."""
    if not named(text):
        hint = 'an id has letters, digits, ".", "_" and "-", and one "/" or "#" where a container comes first'
        raise UsageError(f'"{safe(text)[:80]}" is not the id of a job', hint=hint)
    return Handle(text)


# --- what this project knows of an account ----------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Known:
    """The jobs of this project that ran, or may run, at one connection: by what the provider calls them, by marker."""

    connection: Connection
    handles: dict[Handle, list[Name]] = field(default_factory=dict)
    markers: dict[str, list[Name]] = field(default_factory=dict)

    def add(self, experiment: str, records: Iterable[Record]) -> None:
        for record in records:
            if not self._here(record):
                continue
            for attempt in record.attempts:
                name = (experiment, record.key)
                if attempt.handle is not None and name not in self.handles.setdefault(attempt.handle, []):
                    self.handles[attempt.handle].append(name)
                if name not in self.markers.setdefault(attempt.marker, []):
                    self.markers[attempt.marker].append(name)

    def _here(self, record: Record) -> bool:
        sites = (record.site, self.connection.site)
        return record.provider == self.connection.provider and (None in sites or sites[0] == sites[1])

    def name(self, found: Found) -> Name | None:
        """Whose job this is, as far as it is clear."""
        names = self.handles.get(found.handle) or self.markers.get(found.marker or "", [])
        return names[0] if len(names) == 1 else None

    def inside(self, batch: Handle) -> list[Name]:
        """The jobs of this project that the provider has in a batch."""
        held = (names for handle, names in self.handles.items() if container(handle) == batch)
        return list(dict.fromkeys(name for names in held for name in names))


def views(settings: Settings) -> dict[str, View]:
    """All results of the project; StoreError where some are damaged."""
    return {name: stored(settings, name) for name in kept(settings)}


def known(connection: Connection, views: Mapping[str, View]) -> Known:
    found = Known(connection=connection)
    for name, view in views.items():
        found.add(name, view.records)
    return found


def _readable(settings: Settings) -> dict[str, View]:
    """The results that can be read; an account can be looked at beside damaged ones."""
    found = {}
    for name in kept(settings):
        try:
            found[name] = stored(settings, name)
        except StoreError as error:
            tell(f"{told(error.code, error.problems[0])}; its jobs are not told apart")
    return found


# --- listing ----------------------------------------------------------------------------------------------------------


def show_account(account: Account, output: str) -> int:
    """`status --remote`: the jobs of an account, the newest first."""
    settings = project()
    there = _searched(settings, account)
    found, more = ask(settings, there.name, lambda provider: _list(provider, account.filters, account.limit))
    ours = known(there, _readable(settings))
    if account.filters.containers:
        entries, lines, what = _batches(found, ours)
    else:
        entries, lines, what = _jobs(found, ours)
    if output == "json":
        say_json({"version": 1, "connection": there.name, what: entries, "more": more, "errors": []})
    else:
        say("\n".join(lines) if found else f"no {what}")
    if more:
        tell(f"there are more than the newest {len(found)}; --limit shows them")
    return OK


def _searched(settings: Settings, account: Account) -> Connection:
    """The connection; a UsageError names each filter that its provider does not have."""
    there = cloud(settings, account.connection)
    lacking = sorted(account.beyond.keys() - capabilities(there.provider).filters)
    if lacking:
        options = ", ".join(account.beyond[name] for name in lacking)
        words = f'"{safe(there.name)}" is a connection of type "{there.provider}", which has no {options}'
        raise UsageError(words, hint="leave it out" if len(lacking) == 1 else "leave them out")
    return there


def _jobs(found: Sequence[Found], ours: Known) -> tuple[Sequence[Any], Sequence[str], str]:
    jobs = [(job, ours.name(job)) for job in found]
    entries = [rendering.job_json(job, name) for job, name in jobs]
    return entries, table.lines(rendering.HEADERS, rendering.rows(jobs)), "jobs"


def _batches(found: Sequence[Found], ours: Known) -> tuple[Sequence[Any], Sequence[str], str]:
    batches = [(batch, ours.inside(batch.handle)) for batch in found]
    entries = [rendering.batch_json(batch, names) for batch, names in batches]
    return entries, table.lines(rendering.OF_BATCHES, rendering.batch_rows(batches)), "batches"


async def _list(provider: Provider, filters: Filters, limit: int | None) -> tuple[list[Found], bool]:
    """The newest, and whether there are more."""
    found: list[Found] = []
    async for job in provider.list(filters):
        if len(found) == limit:
            return found, True
        found.append(job)
    return found, False


# --- cancelling -------------------------------------------------------------------------------------------------------


def cancel_there(account: Account, ids: Sequence[str], yes: bool, output: str) -> int:
    """`cancel --remote`: by id, or all that run and fit the filters."""
    if ids and account.filtered:
        raise UsageError("ids are named beside filters", hint="use one of both")
    if not ids and not account.filtered:
        raise UsageError("no job is named", hint="name ids, or say which jobs by --status, --device, --text, ...")
    settings = project()
    there = _searched(settings, account)
    if ids:
        handles = list(dict.fromkeys(map(handle, ids)))
    else:
        found, _ = ask(settings, there.name, lambda provider: _list(provider, account.filters, None))
        handles = [job.handle for job in found if _runs(job)]
        if handles:
            what = count(len(handles), "batch", "batches") if account.filters.containers else count(len(handles), "job")
            agreed(f"cancel {what} of {safe(there.name)}: {listed(handles)}", yes=yes)
    answers = ask(settings, there.name, lambda provider: _cancel(provider, handles)) if handles else {}
    ours = known(there, _readable(settings))
    names = {one: ours.name(Found(handle=one)) for one in answers}
    if output == "json":
        entries = [rendering.answer_json(one, words, names[one]) for one, words in answers.items()]
        say_json({"version": 1, "connection": there.name, "jobs": entries, "errors": []})
    else:
        lines = [rendering.answer(one, words) for one, words in answers.items()]
        say(
            "\n".join(lines)
            or f"nothing to cancel: no {'batch' if account.filters.containers else 'job'} that runs fits"
        )
    done = [one for one, words in answers.items() if words is None]
    mine = list(dict.fromkeys(job_name(*name) for one in done for name in (names[one], *ours.inside(one)) if name))
    if mine:
        tell(f'of this project: {listed(mine)}; the next "qrun sync" records it')
    return ERROR if any(words is not None for words in answers.values()) else OK


def _runs(job: Found) -> bool:
    """What is only registered was never asked to run; of a word that we do not know we cannot say that it is final."""
    return job.started and (job.phase is None or job.phase is Phase.LIVE)


async def _cancel(provider: Provider, handles: Sequence[Handle]) -> dict[Handle, str | None]:
    """An answer for each; where one is not there, the others are asked about all the same."""
    try:
        return dict(await provider.cancel(handles))
    except Missing as error:
        if len(handles) == 1:
            return {handles[0]: str(error)}
    slots = asyncio.Semaphore(TOGETHER)

    async def one(handle: Handle) -> dict[Handle, str | None]:
        async with slots:
            return await _cancel(provider, [handle])

    answers = await asyncio.gather(*map(one, handles))
    return {handle: words for answer in answers for handle, words in answer.items()}


def on_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(what: str, *, yes: bool, hint: str = "add --yes to do it without being asked") -> None:
    """Returns where the user wants it; nobody there to ask is a UsageError."""
    if yes:
        return
    if not on_terminal():
        raise UsageError(f"would {what}", hint=hint)
    if not click.confirm(f"{what}?", err=True):
        raise click.Abort
