"""What the providers' own programs read: variables and files that serve a connection which does not say all itself.

A new type needs a line in the table and nothing else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from qrun.errors import Problem, SettingsError
from qrun.job import NOTHING
from qrun.settings.file import short
from qrun.settings.hosts import ADDRESS, LOOPBACK
from qrun.settings.ini import section
from qrun.settings.places import expanded
from qrun.settings.proxies import settled
from qrun.settings.shape import Walk, project_schema
from qrun.settings.source import Source
from qrun.settings.words import masked, show


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """Of one type. Of the variables, by our keys, either all count or none; `proxy` is one that counts by itself.

    The first of `files` that exists is read. `keys` says by which words a section may call our keys.
    """

    variables: Mapping[str, str]
    proxy: str
    files: tuple[str, ...]
    keys: Mapping[str, tuple[str, ...]]
    secret: frozenset[str]
    section: str = "default"


CONVENTIONS: Final[Mapping[str, Convention]] = {
    "oqtopus": Convention(
        variables={"url": "OQTOPUS_URL", "api_token": "OQTOPUS_API_TOKEN"},
        proxy="OQTOPUS_PROXY",
        files=("~/.oqtopus", "$XDG_CONFIG_HOME/oqtopus/config.ini"),
        keys={"url": ("url", "base_url"), "api_token": ("api_token",)},
        secret=frozenset({"api_token"}),
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """`said` is where, in words. `problem` is why something is not here; what is here counts all the same."""

    said: str
    settings: Mapping[str, Any] = field(default_factory=lambda: NOTHING, repr=False)
    problem: Problem | None = None


def found(
    convention: Convention, environ: Mapping[str, str], *, file: str | None = None, named: str | None = None
) -> Found | None:
    """What holds by convention; None where there is nothing. A named file or section stands above the variables."""
    if file is None and named is None and all(environ.get(name) for name in convention.variables.values()):
        return _found(" and ".join(convention.variables.values()), _variables(convention, environ))
    path = path_of(convention, environ) if file is None else spelled_out(file, environ)
    if path is None and named is None:
        return None
    if path is None:
        path = spelled_out(convention.files[0], environ)
    name, shown = named or convention.section, short(path, environ)
    return _found(f"section {show(name)} of {shown}", _section(convention, path, shown, name))


def _found(said: str, settings: Iterator[tuple[str, Any]]) -> Found:
    """All up to the first problem."""
    kept: dict[str, Any] = {}
    try:
        kept.update(settings)
    except SettingsError as error:
        return Found(said=said, settings=kept, problem=error.problems[0])
    return Found(said=said, settings=kept)


def path_of(convention: Convention, environ: Mapping[str, str]) -> str | None:
    """The file that is read by convention, if there is one."""
    desktop = environ.get("XDG_CONFIG_HOME") or "~/.config"
    paths = (spelled_out(file.replace("$XDG_CONFIG_HOME", desktop), environ) for file in convention.files)
    return next((path for path in paths if os.path.lexists(path)), None)


def spelled_out(path: str, environ: Mapping[str, str]) -> str:
    """With the home folder and the variables in it; a variable that is not set stays as it is written."""
    whole = re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda name: environ.get(name[1] or name[2], name[0]), path)
    return expanded(whole, environ)


def _variables(convention: Convention, environ: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for key, name in convention.variables.items():
        if key in convention.secret:
            yield key, Source(kind="env", name=name, field=name)
        else:
            yield key, address(environ[name], Problem(field=name, message=""))


def _section(convention: Convention, path: str, shown: str, name: str) -> Iterator[tuple[str, Any]]:
    """A secret's value is not kept, only where it is."""
    table = section(path, shown, name)
    lacking = []
    for key, words in convention.keys.items():
        word = next((word for word in words if table.get(word, "").strip()), None)
        if word is None:
            lacking.append(key)
        elif key in convention.secret:
            yield key, Source(kind="section", name=path, words=(name, word), file=shown, field=f"{name}.{word}")
        else:
            yield key, address(table[word], Problem(file=shown, field=f"{name}.{word}", message=""))
    if table.get("proxy", "").strip():
        yield "proxy", settled(table["proxy"], Problem(file=shown, field=f"{name}.proxy", message=""))
    if lacking:
        message = f"section {show(name)} has no {' and no '.join(map(show, lacking))}"
        raise SettingsError(Problem(file=shown, message=message, hint="add it"))


def address(value: str, place: Problem) -> str:
    """The address of a cloud as the settings files may hold it; `place` is where it is said, for a SettingsError."""
    value = value.strip()
    form = project_schema()["$defs"]["url"]
    found = re.fullmatch(ADDRESS, value) if Walk(project_schema(), own=True).fits(form, value) else None
    if found is None or not 0 < int(found[3] or 1) < 65536:
        raise SettingsError(replace(place, message=f"{masked(value)} is not {form['x-means']}"))
    if found[1] == "http" and not re.fullmatch(LOOPBACK, found[2].lower()):
        message = f"{show(found[2])} may only be reached over https"
        raise SettingsError(replace(place, message=message, hint="write https://"))
    return value
