"""A connection by convention from a file of the provider's own programs: one section of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from qrun.errors import Problem, SettingsError
from qrun.settings.conventions import Convention, Files
from qrun.settings.file import short
from qrun.settings.found import Found, address, gathered
from qrun.settings.ini import section
from qrun.settings.places import expanded
from qrun.settings.proxies import settled
from qrun.settings.source import Source
from qrun.settings.words import show


def by_section(
    convention: Convention, environ: Mapping[str, str], *, file: str | None = None, named: str | None = None
) -> Found | None:
    """None where no file is there and none is asked for."""
    files = convention.files
    if files is None:
        return None
    path = path_of(files, environ) if file is None else spelled_out(file, environ)
    if path is None and named is None:
        return None
    if path is None:
        path = spelled_out(files.paths[0], environ)
    name, shown = named or files.section, short(path, environ)
    return gathered(f"section {show(name)} of {shown}", _settings(convention, files, path, shown, name))


def path_of(files: Files, environ: Mapping[str, str]) -> str | None:
    """The file that is read by convention, if there is one."""
    desktop = environ.get("XDG_CONFIG_HOME") or "~/.config"
    paths = (spelled_out(path.replace("$XDG_CONFIG_HOME", desktop), environ) for path in files.paths)
    return next((path for path in paths if os.path.lexists(path)), None)


def spelled_out(path: str, environ: Mapping[str, str]) -> str:
    """With the home folder and the variables in it; a variable that is not set stays as it is written."""
    whole = re.sub(r"\$(?:(\w+)|\{(\w+)\})", lambda name: environ.get(name[1] or name[2], name[0]), path)
    return expanded(whole, environ)


def _settings(convention: Convention, files: Files, path: str, shown: str, name: str) -> Iterator[tuple[str, Any]]:
    """A secret's value is not kept, only where it is."""
    table = section(path, shown, name)
    lacking = []
    for key, words in files.keys.items():
        word = next((word for word in words if table.get(word, "").strip()), None)
        if word is None:
            lacking.append(key)
        elif key in convention.place:
            yield key, address(table[word], Problem(file=shown, field=f"{name}.{word}", message=""))
        else:
            yield key, Source(kind="section", name=path, words=(name, word), file=shown, field=f"{name}.{word}")
    if table.get("proxy", "").strip():
        yield "proxy", settled(table["proxy"], Problem(file=shown, field=f"{name}.proxy", message=""))
    if lacking:
        message = f"section {show(name)} has no {' and no '.join(map(show, lacking))}"
        raise SettingsError(Problem(file=shown, message=message, hint="add it"))
