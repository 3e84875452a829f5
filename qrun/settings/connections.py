"""The connections of a settings file: the site of each, and its secrets as sources."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from qrun.connection import Connection
from qrun.errors import Problem
from qrun.settings.file import File, open_to_others
from qrun.settings.hosts import address_of, place_of
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
        if "config_file" in rest and rest["config_file"][0] not in "~$":
            rest["config_file"] = os.path.join(os.path.dirname(file.path), rest["config_file"])
        yield name, Connection(name=name, provider=kind, site=site_of(kind, table), settings=MappingProxyType(rest))


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


def site_of(kind: str, table: Mapping[str, Any]) -> str | None:
    """The lower-case host without default port, then project and organization; None where no address is known."""
    address = address_of(kind, table)
    host = table.get("site") or (place_of(address) if address else None)
    if host is None:
        return None
    host = host.lower().removeprefix("cocos.") if kind == "iqm" else host.lower()
    owners = (str(table[key]) for key in ("project_id", "organization_id") if key in table)
    return "/".join((host, *owners))


def warnings(own: File | None) -> Iterator[Problem]:
    """Secrets in a file that others can read."""
    warning = open_to_others(own.shown, own.mode) if own is not None else None
    if own is None or warning is None:
        return
    sources = (value for _, made in connections(own) for value in made.settings.values())
    if any(isinstance(source, Source) and source.kind == "text" for source in sources):
        yield warning
