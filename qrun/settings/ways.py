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
from qrun.settings.completion import Place, Way, completed
from qrun.settings.conventions import CONVENTIONS, path_of
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
            self._seen[name] = completed(connection, self.environ, self.places.get(name) or _unwritten)
        return self._seen[name]

    def names(self) -> list[str]:
        """Those that a settings file names, then those of conventions that somebody follows here."""
        return [*self.written, *(name for name in CONVENTIONS if name not in self.written and self.way(name).said)]

    def signature(self) -> Iterator[object]:
        """Changes where any of them may have changed; reads no file."""
        for name, connection in sorted(self.written.items()):
            yield (name, connection.provider, connection.site, repr(dict(connection.settings)))
        for kind, convention in CONVENTIONS.items():
            path = path_of(convention, self.environ)
            yield (kind, [_value(self.environ, convention.secret, *one) for one in convention.variables.items()])
            yield (path, _state(path) if path is not None else None)


def _unwritten(message: str, hint: str) -> Problem:
    return Problem(message=message, hint=hint)


def _value(environ: Mapping[str, str], secret: frozenset[str], key: str, variable: str) -> object:
    """Nothing is computed from a secret."""
    return bool(environ.get(variable)) if key in secret else environ.get(variable)


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
