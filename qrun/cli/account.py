"""The options `--remote` and its filters: which jobs of a connection's account a command is about."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import click

from qrun.cli.options import UNITS, duration, positive

if TYPE_CHECKING:
    from qrun.provider import Filters

NEWEST: Final = 50  # jobs that are listed where nobody says how many
DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
BACK: Final = re.compile(rf"(\d+(\.\d+)?({'|'.join(UNITS)}))+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """What was asked for. `filtered`: at least one filter was given. `beyond`: what not every provider heeds, as the
    names of `Filters` and the options that were typed.
    """

    connection: str
    filters: Filters
    filtered: bool
    beyond: Mapping[str, str]
    limit: int = NEWEST


def account(function: Callable[..., int]) -> Callable[..., int]:
    """The command gets them as `account`, which is None without `--remote`."""

    @wraps(function)
    def chosen(*, remote: str | None, limit: int | None = None, **given: Any) -> int:
        filters = {name: given.pop(name) for name in FILTERS}
        asked = {name: value for name, value in {**filters, "limit": limit}.items() if value not in (None, ())}
        if remote is None:
            _only_there(asked)
            return function(account=None, **given)
        return function(account=_account(remote, filters, asked, limit), **given)

    for option in reversed(OPTIONS):
        chosen = option(chosen)
    return chosen


def _account(remote: str, filters: Mapping[str, Any], asked: Mapping[str, Any], limit: int | None) -> Account:
    """To ask for batches that are open, or closed, is to ask for batches."""
    from qrun.errors import UsageError
    from qrun.provider import Filters

    given = {**filters, "containers": bool(filters["containers"]) or filters["open"] is not None}
    for name in asked.keys() & OF_JOBS if given["containers"] else ():
        words = f"{_typed(name, asked[name])} is about jobs, and batches are asked for"
        raise UsageError(words, hint="leave one of both out")
    return Account(
        connection=remote,
        filters=Filters(**given),
        filtered=bool(asked.keys() - {"limit", "containers"}),
        beyond={name: _typed(name, asked[name]) for name in asked if name in BEYOND},
        limit=limit or NEWEST,
    )


def limited(function: Callable[..., int]) -> Callable[..., int]:
    """`--limit`, for a command that lists; to stand beneath `account`."""
    return click.option(
        "--limit",
        callback=positive,
        metavar="N",
        help=f"with --remote: at most so many, the newest; {NEWEST} unless told",
    )(function)


def refuse_beside_remote(given: Mapping[str, object]) -> None:
    """What says which jobs of this project are meant says nothing about an account."""
    from qrun.errors import UsageError

    for what, value in given.items():
        if value:
            raise UsageError(f"{what} is given beside --remote, which is about an account", hint="leave one out")


def _only_there(asked: Mapping[str, Any]) -> None:
    from qrun.errors import UsageError

    for name, value in asked.items():
        raise UsageError(f"{_typed(name, value)} is about the jobs of an account", hint="add --remote CONNECTION")


def _typed(name: str, value: Any) -> str:
    """The option."""
    if name in EITHER:
        return EITHER[name][0 if value else 1]
    return f"--{SPELLED.get(name, name)}"


def _since(_: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else _moment(param, value, end=False)


def _until(_: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else _moment(param, value, end=True)


def _moment(param: click.Parameter, value: str, *, end: bool) -> str:
    """RFC 3339 in UTC of a time, of a day's beginning or end, or of so long ago."""
    from datetime import UTC, datetime, timedelta

    from qrun.clock import Clock, stamp

    try:
        if BACK.fullmatch(value):
            return stamp(Clock().now() - (duration(click.get_current_context(), param, value) or 0.0))
        when = datetime.fromisoformat(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        if end and DAY.fullmatch(value):
            when += timedelta(days=1, milliseconds=-1)
        return stamp(when.timestamp())
    except (ValueError, OverflowError) as error:
        words = f'"{value}" is not a time; write for example 2026-07-01, 2026-07-01T12:00Z, or 2d for two days ago'
        raise click.BadParameter(words, param=param) from error


OF_JOBS: Final = frozenset({"within", "least", "most", "errors"})
BEYOND: Final = OF_JOBS | {"containers", "open", "ids", "projects", "users", "priorities"}
FILTERS: Final = ("words", "device", "kind", "text", "since", "until", "tags", *sorted(BEYOND))
SPELLED: Final[Mapping[str, str]] = {
    "words": "status",
    "tags": "tag",
    "containers": "batches",
    "ids": "id",
    "within": "batch",
    "projects": "project",
    "users": "user",
    "priorities": "priority",
    "least": "min-shots",
    "most": "max-shots",
}
EITHER: Final[Mapping[str, tuple[str, str]]] = {"open": ("--open", "--closed"), "errors": ("--errors", "--no-errors")}


def _several(name: str, metavar: str, what: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option(f"--{SPELLED[name]}", name, multiple=True, metavar=metavar, help=f"with --remote: {what}")


def _number(name: str, what: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    words = f"with --remote: only jobs with {what}"
    return click.option(f"--{SPELLED[name]}", name, callback=positive, metavar="N", help=words)


OPTIONS: Final = (
    click.option("--remote", metavar="CONNECTION", help="the jobs of this connection's account, whoever sent them"),
    click.option("--status", "words", multiple=True, metavar="WORD", help="with --remote: in the provider's own words"),
    click.option("--device", metavar="DEVICE", help="with --remote: only on this device"),
    click.option("--kind", metavar="KIND", help="with --remote: only of this kind"),
    click.option("--text", metavar="TEXT", help="with --remote: with this in their id, name or description"),
    click.option("--since", callback=_since, metavar="TIME", help="with --remote: made at that time or later"),
    click.option("--until", callback=_until, metavar="TIME", help="with --remote: made at that time or earlier"),
    _several("tags", "TAG", "with this tag"),
    click.option(
        "--batches",
        "containers",
        is_flag=True,
        default=None,
        help="with --remote: batches, in place of the jobs in them",
    ),
    click.option(
        "--open/--closed", "open", default=None, help="with --remote: only batches that take more jobs, or that do not"
    ),
    _several("ids", "ID", "only the job, or batch, with this id"),
    _several("within", "BATCH", "only jobs of this batch"),
    _several("projects", "ID", "of this project, in place of the connection's"),
    _several("users", "ID", "of this user"),
    _several("priorities", "WORD", "with this priority in the queue, in the provider's own words"),
    _number("least", "so many shots or more"),
    _number("most", "so many shots or fewer"),
    click.option(
        "--errors/--no-errors", "errors", default=None, help="with --remote: only jobs with errors, or without"
    ),
)
