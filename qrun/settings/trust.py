"""Whom a settings file may send credentials to.

A pull request can change qrun.toml and cannot change the user's file, so qrun.toml names only hosts that are known
here, this machine, or hosts that the user trusts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from qrun.errors import Problem
from qrun.settings.file import File
from qrun.settings.hosts import ADDRESS, HOSTS, LOOPBACK
from qrun.settings.shape import project_schema
from qrun.settings.words import Path

OWN_ONLY: Final = ("config_file", "tokens_file")  # paths outside of the project


def trust(file: File, trusted: frozenset[str]) -> Iterator[Problem]:
    """A project's file may name known, trusted and own hosts; nobody sends a credential over plain http elsewhere."""
    connections = file.table.get("connections")
    for name, table in connections.items() if isinstance(connections, dict) else ():
        kind = table.get("type") if isinstance(table, dict) else None
        if isinstance(kind, str) and kind in HOSTS:
            yield from _connection(file, name, kind, table, trusted)


def _connection(
    file: File, name: str, kind: str, table: Mapping[str, Any], trusted: frozenset[str]
) -> Iterator[Problem]:
    place = ("connections", name)
    if name in HOSTS and name != kind:
        hint = f'give it another name, or type = "{name}"'
        yield file.problem(place, f'"{name}" is the name of another type of connection', hint)
    for path, address in _addresses(kind, table):
        yield from _host(file, kind, (*place, *path), address, trusted)
    for key in OWN_ONLY if not file.own else ():
        if key in table:
            hint = "give the connection in your own settings"
            yield file.problem((*place, key), f'"{key}" may not stand in this file', hint)


def _addresses(kind: str, table: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Where a connection of this type sends credentials, or has them sent; a webhook gets none."""
    fields = project_schema()["$defs"][kind]["properties"]
    for key, value in table.items():
        if key == "services" and isinstance(value, dict):
            yield from (((key, name), one) for name, one in value.items() if isinstance(one, str))
        elif key != "webhook" and isinstance(value, str) and fields.get(key, {}).get("$ref") == "#/$defs/url":
            yield (key,), value


def _host(file: File, kind: str, path: Path, address: str, trusted: frozenset[str]) -> Iterator[Problem]:
    found = re.fullmatch(ADDRESS, address)
    if found is None:
        return  # its shape is told already
    scheme, host, port = found[1], found[2].lower(), found[3]
    if port is not None and not 0 < int(port) < 65536:
        yield file.problem(path, f"{port} is not a port")
    if re.fullmatch(LOOPBACK, host):
        return
    if scheme == "http" and path[-1] != "proxy":
        yield file.problem(path, f'"{host}" may only be reached over https', "write https://")
    if not file.own and stranger(kind, address, trusted) is not None:
        yield file.problem(path, f'"{host}" is not a known host', known(kind))


def stranger(kind: str, address: str, trusted: frozenset[str]) -> str | None:
    """The host of an address, unless it is known, trusted, or this machine."""
    found = re.fullmatch(ADDRESS, address)
    assert found is not None
    host = found[2].lower()
    familiar = re.fullmatch(LOOPBACK, host) or {host, f"{host}:{found[3]}"} & (HOSTS[kind] | trusted)
    return None if familiar else host


def known(kind: str) -> str:
    """What to do about a host that is not known."""
    hosts = ", ".join(sorted(HOSTS[kind]))
    who = f"those of {kind} are {hosts}; else" if hosts else f"{kind} has none;"
    return f"{who} give the connection in your own settings, or name the host in QRUN_TRUSTED_HOSTS"
