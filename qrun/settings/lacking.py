"""Why a connection cannot be used: what it lacks, and all the places where that could stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qrun.errors import Problem
from qrun.settings.conventions import Convention, Variables
from qrun.settings.found import Found
from qrun.settings.words import either, listed, show

Place = Callable[[str, str], Problem]  # a problem with what is said there, from message and hint


def lack(name: str, rule: Convention, whole: Mapping[str, Any], said: Found, place: Place) -> Problem | None:
    """What these settings lack with all that the convention could add to them."""
    missing = _missing(rule, whole)
    if rule.proven(whole) and not missing:
        return None
    if said.problem is not None:
        return said.problem
    there = listed([show(key) for some in _begun(rule, whole) for key in some if key in whole])
    message = (
        f"{show(name)} has {f'{there} and ' if there else ''}no {' and no '.join(map(show, missing)) or 'credentials'}"
    )
    if said.said is not None:
        whose, its = ("that", "is") if missing else ("those", "are")
        return place(f"{message}, and {whose} of {said.said} {its} for another host", _elsewhere(rule, whole, its))
    return place(message, _cure(rule, whole, missing))


def _begun(rule: Convention, whole: Mapping[str, Any]) -> tuple[Variables, ...]:
    """The set of credentials that is there in part."""
    return tuple(some for some in rule.credentials if some.keys() & whole.keys())[:1]


def _missing(rule: Convention, whole: Mapping[str, Any]) -> list[str]:
    """Keys; none where each of several sets of credentials would do."""
    if rule.home is None:
        return [key for some in (*rule.places, *rule.credentials) for key in some if key not in whole]
    return [] if rule.proven(whole) else [key for some in _begun(rule, whole) for key in some if key not in whole]


def _elsewhere(rule: Convention, whole: Mapping[str, Any], its: str) -> str:
    """A region may be that of the credentials all the same, if their owner says so."""
    plain = [
        (key, name) for some in rule.places for key, name in some.items() if key in (rule.home or ()) and key in whole
    ]
    others = [f", or set {name} to {show(whole[key])} if they are for there" for key, name in plain]
    return f"say where its own {its}{''.join(others)}"


def _cure(rule: Convention, whole: Mapping[str, Any], missing: list[str]) -> str:
    if rule.files is not None:
        names = [name for some in (*rule.places, *rule.credentials) for name in some.values()]
        return f"set both {listed(names)}, or write a section {show(rule.files.section)} into {rule.files.paths[0]}"
    if missing:
        return f"give it, or set {listed([some[key] for some in _begun(rule, whole) for key in missing])}"
    keys = list(dict.fromkeys(listed(list(some)) for some in rule.credentials))
    return f"give {either(keys)}, or set {either([listed(list(some.values())) for some in rule.credentials])}"
