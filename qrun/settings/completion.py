"""What a connection does not say itself: its type's convention adds it, and the environment adds the proxy.

Credentials are for one cloud: a connection that says itself where it leads gets none by convention that belong to
another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from qrun.connection import Connection
from qrun.errors import Problem, SettingsError
from qrun.job import NOTHING
from qrun.settings.connections import site_of
from qrun.settings.conventions import Convention, convention
from qrun.settings.found import Found
from qrun.settings.hosts import REGIONS, address_of, origin
from qrun.settings.lacking import Place, lack
from qrun.settings.proxies import proxy_for, settled
from qrun.settings.sections import by_section
from qrun.settings.source import Source
from qrun.settings.variables import by_variables


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A completed connection. `said` is where the convention says what was added; `problem`, why it cannot be used."""

    connection: Connection
    said: str | None = None
    problem: Problem | None = None


def completed(connection: Connection, environ: Mapping[str, str], trusted: frozenset[str], place: Place) -> Way:
    """`trusted` are the hosts that the user trusts; `place` is where the connection is written."""
    rule = convention(connection.provider, connection.settings)
    way = Way(connection=connection) if rule is None else _by_convention(connection, rule, environ, trusted, place)
    try:
        proxy = _proxy(way.connection, rule, environ)
    except SettingsError as error:
        return replace(way, problem=way.problem or error.problems[0])
    if proxy is None:
        return way
    settings = MappingProxyType({**way.connection.settings, "proxy": proxy})
    return replace(way, connection=replace(way.connection, settings=settings))


def _by_convention(
    connection: Connection, rule: Convention, environ: Mapping[str, str], trusted: frozenset[str], place: Place
) -> Way:
    kind, given = connection.provider, dict(connection.settings)
    file, named = given.pop("config_file", None), given.pop("section", None)
    if _whole(rule, given):
        return Way(connection=replace(connection, settings=MappingProxyType(given)))
    said = by_variables(kind, rule, given, environ, trusted) if file is None and named is None else None
    said = said or by_section(rule, environ, file=file, named=named) or Found(said=None)
    lent = said.settings if _for_same_cloud(kind, rule, given, said.settings) else NOTHING
    whole = {**lent, **given}
    site = site_of(kind, whole) if all(key in whole for key in rule.alone) else None
    return Way(
        connection=replace(connection, site=site, settings=MappingProxyType(whole)),
        said=said.said if lent or said.problem is not None else None,
        problem=lack(connection.name, rule, whole, said, place),
    )


def _whole(rule: Convention, given: Mapping[str, Any]) -> bool:
    placed = rule.home is not None or rule.place <= given.keys()
    return placed and rule.proven(given) and all(key in given for key in rule.alone)


def _for_same_cloud(kind: str, rule: Convention, given: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether a connection leads where the credentials of the convention belong; so does one that does not say where.

    Whoever changes a project's file may choose a region or a host there, and must not get what is for another.
    """
    home = rule.home or NOTHING
    theirs = {key: said[key] for key in rule.place if key in said} or home
    own = {key: given[key] for key in rule.place if key in given} or (home if rule.proven(given) else NOTHING)
    return all(_leads(kind, key, value, theirs) for key, value in own.items())


def _leads(kind: str, key: str, value: str, theirs: Mapping[str, Any]) -> bool:
    if origin(value) is None:
        return bool(value == theirs.get(key))
    if key in theirs:
        return origin(value) == origin(theirs[key])
    hosts = REGIONS.get((kind, theirs.get("region", "")), frozenset())
    return origin(value) in {("https", host) for host in hosts}


def _proxy(connection: Connection, rule: Convention | None, environ: Mapping[str, str]) -> str | Source | None:
    """The type's own variable, then what the environment says for the address; None where one stands there already."""
    if "proxy" in connection.settings:
        return None
    if rule is not None and rule.proxy is not None and environ.get(rule.proxy):
        return settled(environ[rule.proxy], Problem(field=rule.proxy, message=""))
    address = address_of(connection.provider, connection.settings)
    named = proxy_for(address, environ) if address is not None else None
    return settled(named[1], Problem(field=named[0], message="")) if named is not None else None
