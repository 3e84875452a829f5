"""The connections of a settings file: the site of each, and its secrets as sources."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from qrun.connection import Connection
from qrun.errors import Problem
from qrun.settings.file import File
from qrun.settings.hosts import ADDRESS, DEFAULT_HOST
from qrun.settings.shape import project_schema
from qrun.settings.source import WAYS, Secret, Source
from qrun.settings.words import Path, field_name


def connections(file: File) -> Iterator[tuple[str, Connection]]:
    for name, table in file.table.get("connections", {}).items():
        kind = table["type"]
        fields = project_schema()["$defs"][kind]["properties"]
        rest = {
            key: _sourced(file, ("connections", name, key), value, fields[key].get("$ref", ""))
            for key, value in table.items()
            if key != "type"
        }
        yield name, Connection(name=name, provider=kind, site=_site(kind, table), settings=MappingProxyType(rest))


def _sourced(file: File, path: Path, value: Any, ref: str) -> Any:
    """A secret becomes its source; everything else stays as it is written."""
    if not ref.endswith(("/secret", "/login")) or (ref.endswith("/login") and isinstance(value, str)):
        return value
    said = Source(kind="text", file=file.shown, field=field_name(path))
    if isinstance(value, str):
        return replace(said, text=Secret(value))
    kind = next(key for key in WAYS if key in value)
    if kind == "command":
        return replace(said, kind=kind, words=tuple(value[kind]))
    name = value[kind]
    if kind == "file":
        name = os.path.join(os.path.dirname(file.path), os.path.expanduser(name))
    return replace(said, kind=kind, name=name, service=value.get("service", "qrun"))


def _site(kind: str, table: Mapping[str, Any]) -> str | None:
    """The lower-case host without default port, then project and organization; None where no address is known."""
    if kind == "local":
        return None
    address = next((table[key] for key in ("url", "core_url", "platform_url") if key in table), None)
    default = DEFAULT_HOST.get((kind, table.get("region", "fr") if kind == "pasqal" else ""))
    host = table.get("site") or (_place(address) if address else default)
    if host is None:
        return None
    host = host.lower().removeprefix("cocos.") if kind == "iqm" else host.lower()
    owners = (str(table[key]) for key in ("project_id", "organization_id") if key in table)
    return "/".join((host, *owners))


def _place(address: str) -> str:
    found = re.fullmatch(ADDRESS, address)
    assert found is not None
    default = "443" if found[1] == "https" else "80"
    return found[2] if found[3] in (None, default) else f"{found[2]}:{found[3]}"


def warnings(own: File | None) -> Iterator[Problem]:
    """Secrets in a file that others can read."""
    if own is None or not own.mode & 0o077:
        return
    sources = (value for _, made in connections(own) for value in made.settings.values())
    if any(isinstance(source, Source) and source.kind == "text" for source in sources):
        message = f"holds secrets and has the mode {stat.S_IMODE(own.mode):04o}, so others may read them"
        yield Problem(file=own.shown, message=message, hint=f'run "chmod 600 {own.shown}"')
