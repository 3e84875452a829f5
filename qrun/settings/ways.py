"""The connections by their names, each completed when it is first looked at.

A command that looks at no connection of a type reads none of that type's files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from qrun.connection import Access, Connection
from qrun.errors import Problem, SettingsError
from qrun.job import NOTHING
from qrun.settings.completion import Way, completed
from qrun.settings.conventions import CONVENTIONS, VARIANTS, Convention
from qrun.settings.lacking import Place
from qrun.settings.sections import path_of
from qrun.settings.source import Source


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Ways(Mapping[str, Connection]):
    """Counted are those that a settings file names; those by convention are there too, under the name of their type.

    One that lacks something is there, perhaps without its site, because `plan` needs no credentials; `usable` says
    what it lacks.
    """

    written: Mapping[str, Connection] = field(default_factory=lambda: NOTHING)
    places: Mapping[str, Place] = field(default_factory=lambda: NOTHING)
    environ: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    trusted_hosts: frozenset[str] = frozenset()
    _seen: dict[str, Way] = field(default_factory=dict, init=False)

    def __getitem__(self, name: str) -> Connection:
        return self.way(name).connection

    def __iter__(self) -> Iterator[str]:
        return iter(self.written)

    def __len__(self) -> int:
        return len(self.written)

    def way(self, name: str) -> Way:
        if name not in self._seen:
            if name not in self.written and name not in CONVENTIONS:
                raise KeyError(name)
            connection = self.written.get(name) or Connection(name=name, provider=name)
            place = self.places.get(name) or _unwritten
            self._seen[name] = completed(connection, self.environ, self.trusted_hosts, place)
        return self._seen[name]

    def names(self) -> list[str]:
        """Those that a settings file names, then those of conventions that somebody follows here and only there."""
        return [*self.written, *(name for name in CONVENTIONS if name not in self.written and self._followed(name))]

    def _followed(self, kind: str) -> bool:
        """Not by secrets with which a written connection of the type asks already, perhaps somewhere else."""
        if self.way(kind).said is None:
            return False
        own = _variables(self[kind])
        same = (name for name, connection in self.written.items() if connection.provider == kind)
        return not own or not any(own & _variables(self[name]) for name in same)

    def signature(self) -> Iterator[object]:
        """Changes where any of them may have changed; reads no file."""
        for name, connection in sorted(self.written.items()):
            yield (name, connection.provider, connection.site, repr(dict(connection.settings)))
        yield sorted(self.trusted_hosts)
        for convention in (*CONVENTIONS.values(), *VARIANTS.values()):
            yield list(_state_of(convention, self.environ))
            path = path_of(convention.files, self.environ) if convention.files is not None else None
            yield (path, _state(path) if path is not None else None)


def _unwritten(message: str, hint: str) -> Problem:
    return Problem(message=message, hint=hint)


def _variables(connection: Connection) -> frozenset[str]:
    """Those that a connection takes secrets from."""
    sources = (value for value in connection.settings.values() if isinstance(value, Source))
    return frozenset(source.name for source in sources if source.kind == "env")


def _state_of(convention: Convention, environ: Mapping[str, str]) -> Iterator[object]:
    """Nothing is computed from a secret."""
    for some in (*convention.places, convention.alone):
        yield from (environ.get(name) for name in some.values())
    for some in convention.credentials:
        yield from (bool(environ.get(name)) for name in some.values())


def _state(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def usable(known: Mapping[str, Connection], name: str, access: Access) -> Connection:
    """The connection as its provider gets it; SettingsError where it lacks something."""
    connection = known.get(name) or Connection(name=name, provider=name)
    problem = known.way(name).problem if isinstance(known, Ways) and name in known else None
    if problem is not None:
        raise SettingsError(problem)
    proxy = connection.settings.get("proxy")
    if not isinstance(proxy, Source):
        return connection
    return replace(connection, settings=MappingProxyType({**connection.settings, "proxy": access.reveal(proxy)}))
