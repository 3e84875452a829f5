"""A connection by convention from variables: which cloud it leads to, who asks, and what else they say.

A secret's value is not read here; only the variable that holds it is noted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from qrun.errors import Problem, SettingsError
from qrun.job import NOTHING
from qrun.settings.conventions import Convention, Variables
from qrun.settings.found import Found, address, gathered
from qrun.settings.hosts import HOSTS
from qrun.settings.shape import Walk, project_schema
from qrun.settings.source import Source
from qrun.settings.trust import known, stranger
from qrun.settings.words import listed, show


def by_variables(
    kind: str, convention: Convention, given: Mapping[str, Any], environ: Mapping[str, str], hosts: frozenset[str]
) -> Found | None:
    """What they say of what a connection that says `given` itself may lack; None where they do not count.

    `hosts` are those that the user trusts.
    """
    if convention.home is None and not _all(convention, environ):
        return None
    place = _begun(convention.places, environ)
    alone = {key: name for key, name in convention.alone.items() if key not in given and environ.get(name)}
    wanted = [] if convention.proven(given) else [_without(some, given) for some in convention.own(given)]
    whole = _whole(wanted, environ)
    who = whole or _begun(wanted, environ)
    said = listed([*place.values(), *who.values(), *alone.values()]) if whole or not wanted else ""
    return gathered(said or None, _settings(kind, (place, alone, who), environ, hosts))


def _all(convention: Convention, environ: Mapping[str, str]) -> bool:
    sets = (*convention.places, *convention.credentials)
    return all(environ.get(name) for some in sets for name in some.values())


def _without(some: Variables, given: Mapping[str, Any]) -> Variables:
    return {key: name for key, name in some.items() if key not in given}


def _begun(sets: Sequence[Variables], environ: Mapping[str, str]) -> Variables:
    return next((some for some in sets if any(environ.get(name) for name in some.values())), NOTHING)


def _whole(sets: Sequence[Variables], environ: Mapping[str, str]) -> Variables:
    return next((some for some in sets if all(environ.get(name) for name in some.values())), NOTHING)


def _settings(
    kind: str, sets: tuple[Variables, Variables, Variables], environ: Mapping[str, str], hosts: frozenset[str]
) -> Iterator[tuple[str, Any]]:
    """The place comes first: where that is wrong, nothing else counts."""
    *plain, who = sets
    for some in plain:
        _check(some, environ)
        for key, name in some.items():
            yield key, _value(kind, key, name, environ[name], hosts)
    _check(who, environ)
    for key, name in who.items():
        yield key, Source(kind="env", name=name, field=name)


def _check(some: Variables, environ: Mapping[str, str]) -> None:
    lacking = [name for name in some.values() if not environ.get(name)]
    if lacking:
        there = [name for name in some.values() if environ.get(name)]
        hint = f"set {listed(lacking)}, or unset {listed(there)}"
        raise SettingsError(Problem(field=there[0], message=f"is set without {listed(lacking)}", hint=hint))


def _value(kind: str, key: str, name: str, text: str, hosts: frozenset[str]) -> str:
    """As it may stand in a settings file; an address leads where a project's file might lead, too."""
    form, place = project_schema()["$defs"][kind]["properties"][key], Problem(field=name, message="")
    if form.get("$ref") == "#/$defs/url":
        found = address(text, place)
        if HOSTS[kind] and (host := stranger(kind, found, hosts)) is not None:
            raise SettingsError(replace(place, message=f"{show(host)} is not a known host", hint=known(kind)))
        return found
    text = text.strip()
    for _, message, hint in Walk(project_schema(), own=True).verdicts(form, text, ()):
        raise SettingsError(replace(place, message=message, hint=hint))
    return text
