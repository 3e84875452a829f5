"""What a connection does not say itself: its type's convention adds it, and the environment adds the proxy.

A token is for one host: a connection with an address of its own gets no token that belongs to another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from qrun.connection import Connection
from qrun.errors import Problem, SettingsError
from qrun.job import NOTHING
from qrun.settings.connections import site_of
from qrun.settings.conventions import CONVENTIONS, Convention, Found, found
from qrun.settings.hosts import ADDRESS, address_of, place_of
from qrun.settings.proxies import proxy_for, settled
from qrun.settings.source import Source
from qrun.settings.words import show

Place = Callable[[str, str], Problem]  # a problem with what is said there, from message and hint


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A completed connection. `said` is where the convention says what was added; `problem`, why it cannot be used."""

    connection: Connection
    said: str | None = None
    problem: Problem | None = None


def completed(connection: Connection, environ: Mapping[str, str], place: Place) -> Way:
    convention = CONVENTIONS.get(connection.provider)
    way = Way(connection=connection) if convention is None else _by_convention(connection, convention, environ, place)
    try:
        proxy = _proxy(way.connection, convention, environ)
    except SettingsError as error:
        return replace(way, problem=way.problem or error.problems[0])
    if proxy is None:
        return way
    settings = MappingProxyType({**way.connection.settings, "proxy": proxy})
    return replace(way, connection=replace(way.connection, settings=settings))


def _by_convention(connection: Connection, convention: Convention, environ: Mapping[str, str], place: Place) -> Way:
    given = dict(connection.settings)
    file, named = given.pop("config_file", None), given.pop("section", None)
    if all(key in given for key in convention.variables):
        return Way(connection=replace(connection, settings=MappingProxyType(given)))
    said = found(convention, environ, file=file, named=named)
    whole = {**_lent(said, given), **given}
    lacking = [key for key in convention.variables if key not in whole]
    site = connection.site or site_of(connection.provider, whole)
    return Way(
        connection=replace(connection, site=site, settings=MappingProxyType(whole)),
        said=said.said if said is not None else None,
        problem=_lack(connection.name, lacking, convention, said, place) if lacking else None,
    )


def _lent(said: Found | None, given: Mapping[str, Any]) -> Mapping[str, Any]:
    if said is None or ("url" in given and _origin(given["url"]) != _origin(said.settings.get("url", ""))):
        return NOTHING
    return said.settings


def _origin(address: str) -> tuple[str, str | None] | None:
    match = re.fullmatch(ADDRESS, address)
    return (match[1], place_of(address)) if match is not None else None


def _lack(name: str, lacking: list[str], convention: Convention, said: Found | None, place: Place) -> Problem:
    if said is not None and said.problem is not None:
        return said.problem
    message = f"{show(name)} has no {' and no '.join(map(show, lacking))}"
    if said is not None:
        return place(f"{message}, and that of {said.said} is for another host", "say where its own is")
    variables = " and ".join(convention.variables.values())
    hint = f"set both {variables}, or write a section {show(convention.section)} into {convention.files[0]}"
    return place(message, hint)


def _proxy(connection: Connection, convention: Convention | None, environ: Mapping[str, str]) -> str | Source | None:
    """The type's own variable, then what the environment says for the address; None where one stands there already."""
    if "proxy" in connection.settings:
        return None
    if convention is not None and environ.get(convention.proxy):
        return settled(environ[convention.proxy], Problem(field=convention.proxy, message=""))
    address = address_of(connection.provider, connection.settings)
    named = proxy_for(address, environ) if address is not None else None
    return settled(named[1], Problem(field=named[0], message="")) if named is not None else None
