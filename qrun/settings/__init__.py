"""What holds for a project and for its user: qrun.toml, the user's own file, and the environment, read only here.

A pull request can change qrun.toml and cannot change the user's file, so qrun.toml may send credentials only to hosts
that are known here or trusted by the user, and may take them only from variables that are meant for qrun. Secrets are
not read with the settings: a `Source` says where one is, and `resolve` fetches it when a request needs it.

The modules here are read in the order places, file, shape, trust, connections, users; then conventions, found,
sections, variables, lacking, completion, ways; then secrets, access.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial, reduce

from qrun.budget import Budget
from qrun.errors import Problem, SettingsError
from qrun.settings.access import access, open_source, resolve
from qrun.settings.connections import connections, warnings
from qrun.settings.conventions import CONVENTIONS
from qrun.settings.file import File, project_file, users_file
from qrun.settings.hosts import HOSTS
from qrun.settings.places import project_of, user_file
from qrun.settings.shape import Walk, project_schema, shape
from qrun.settings.source import Secret, Source
from qrun.settings.trust import trust
from qrun.settings.users import Users
from qrun.settings.ways import Ways, usable

__all__ = [
    "CONVENTIONS",
    "HOSTS",
    "Secret",
    "Settings",
    "Source",
    "Walk",
    "Ways",
    "access",
    "open_source",
    "project_of",
    "project_schema",
    "resolve",
    "settings",
    "usable",
    "user_file",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """`root` is absolute. `journal` and `publish` are the user's; `warnings` are for people to read."""

    root: str
    file: str | None = None
    project: str | None = None
    connections: Ways = field(default_factory=Ways)
    budget: Budget = field(default_factory=Budget)
    superseded: str | None = None
    journal: str | None = None
    publish: tuple[str, ...] | None = None
    trusted_hosts: frozenset[str] = frozenset()
    warnings: tuple[Problem, ...] = ()


def settings(start: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings for a manifest, or for the folder that it is in; SettingsError with all problems of both files."""
    folder = os.path.realpath(start)
    root, path = project_of(folder if os.path.isdir(folder) else os.path.dirname(folder))
    project, own = project_file(path), users_file(environ)
    files = [file for file in (project, own) if file is not None]
    users = Users(own, environ)
    if problems := _problems(files, users):
        raise SettingsError(*problems)
    said = project.table if project is not None else {}
    return Settings(
        root=root,
        file=path,
        project=said["project"].lower() if "project" in said else None,
        connections=_ways(files, environ, users.trusted_hosts),
        budget=_budget(files),
        superseded=said.get("superseded"),
        journal=users.journal,
        publish=users.publish,
        trusted_hosts=users.trusted_hosts,
        warnings=tuple(warnings(own)),
    )


def _problems(files: list[File], users: Users) -> list[Problem]:
    unreadable = [problem for file in files for problem in file.problems]
    wrong = [problem for file in files for problem in (*shape(file), *trust(file, users.trusted_hosts))]
    return unreadable + wrong + users.problems


def _ways(files: list[File], environ: Mapping[str, str], trusted: frozenset[str]) -> Ways:
    """The user's connection of a name replaces the project's."""
    written, places = {}, {}
    for file in files:
        for name, made in connections(file):
            written[name] = made
            places[name] = partial(file.problem, ("connections", name))
    return Ways(written=written, places=places, environ=environ, trusted_hosts=trusted)


def _budget(files: list[File]) -> Budget:
    budgets = [Budget(**file.table["budget"]) for file in files if "budget" in file.table]
    return reduce(Budget.smaller, budgets) if budgets else Budget()
