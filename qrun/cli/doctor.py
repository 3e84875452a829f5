"""`qrun doctor`: what this machine and this project offer, and what to do about what is missing."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Final

import click

from qrun import __version__
from qrun.cli.exits import OK
from qrun.cli.options import output
from qrun.cli.origin import git_folder, lacks_merge_driver
from qrun.cli.out import say, say_json, told
from qrun.errors import QrunError, SettingsError
from qrun.providers import MODULES
from qrun.render.safe import safe, shown
from qrun.render.words import columns, count, size
from qrun.settings import Settings, Source, open_source, settings, user_file

EXTRAS: Final = {
    "aer": ("qiskit", "qiskit_aer"),
    "pulser": ("pulser", "pulser_simulation"),
}
OLDEST: Final = (3, 11)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing looked at. `cure` is what to do; without one all is well."""

    what: str
    found: str
    cure: str | None = None


@click.command("doctor")
@output("table", "json")
def command(output: str) -> int:
    """Check this machine and this project; exit 78 where something has to be done."""
    findings = list(_findings())
    sick = [finding for finding in findings if finding.cure is not None]
    if output == "json":
        checks = [{"check": f.what, "found": f.found, "cure": f.cure} for f in findings]
        say_json({"version": 1, "checks": checks, "errors": []})
    else:
        rows = [
            ("ok" if f.cure is None else "!!", f.what, f.found + (f"; {f.cure}" if f.cure else "")) for f in findings
        ]
        last = "all is well" if not sick else f"{count(len(sick), 'thing')} to do"
        say("\n".join([*columns(rows), last]))
    return SettingsError.exit if sick else OK


def _findings() -> Iterator[Finding]:
    yield from _machine()
    try:
        found = settings(".")
    except QrunError as error:
        for problem in error.problems:
            words = told(error.code, replace(problem, hint=None))
            yield Finding(what="settings", found=words, cure=shown(problem.hint or "correct it"))
        return
    for look in LOOKS:
        yield look(found)
    for name in found.connections.names():
        if found.connections[name].provider != "local":
            yield _way(found, name)


def _machine() -> Iterator[Finding]:
    version = platform.python_version()
    old = sys.version_info[:2] < OLDEST
    yield Finding(what="python", found=version, cure="use Python 3.11 or later" if old else None)
    yield Finding(what="qrun", found=__version__)
    yield Finding(what="providers", found=", ".join(MODULES))
    ddsim = find_spec("mqt") is not None and find_spec("mqt.core") is not None
    yield Finding(
        what="ddsim", found="installed" if ddsim else "missing", cure=None if ddsim else "pip install mqt-core"
    )
    for extra, modules in EXTRAS.items():
        here = all(find_spec(module) is not None for module in modules)
        yield Finding(what=extra, found="installed" if here else f"not installed (pip install 'qrun-quantum[{extra}]')")


def _root(found: Settings) -> Finding:
    return Finding(what="root", found=safe(found.root))


def _project(found: Settings) -> Finding:
    if not os.path.exists(os.path.join(found.root, "qrun.toml")):
        return Finding(what="qrun.toml", found="none; local jobs need none", cure=None)
    if not found.project:
        return Finding(what="qrun.toml", found="it has no project id", cure='"qrun init" writes one')
    return Finding(what="qrun.toml", found=f"project {safe(found.project)}")


def _user(found: Settings) -> Finding:
    path = user_file()
    try:
        mode = os.stat(path).st_mode & 0o777
    except OSError:
        return Finding(what="user settings", found=f"none at {safe(path)}")
    for warning in found.warnings:
        return Finding(what="user settings", found=shown(f"{path} {warning.message}"), cure=shown(warning.hint))
    return Finding(what="user settings", found=f"{safe(path)}, mode {mode:04o}")


def _results(found: Settings) -> Finding:
    folder = os.path.join(found.root, "results")
    if os.path.lexists(folder) and (os.path.islink(folder) or not os.path.isdir(folder)):
        return Finding(what="results", found=f"{safe(folder)} is a link or a file", cure="move it away")
    there = folder if os.path.isdir(folder) else found.root
    if os.access(there, os.W_OK | os.X_OK):
        return Finding(what="results", found=f"{safe(folder)} can be written")
    return Finding(what="results", found=f"{safe(there)} cannot be written", cure="change its owner or its mode")


def _flock(found: Settings) -> Finding:
    """Whether the file system has the kernel lock that keeps two runs apart; leaves nothing behind."""
    import fcntl
    import tempfile

    folder = os.path.join(found.root, "results")
    there = folder if os.path.isdir(folder) else found.root
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except PermissionError:
        return Finding(what="flock", found="cannot be tried where nothing may be written")
    except OSError as error:
        cure = "keep the project on a file system with flock, or set QRUN_JOURNAL and results elsewhere"
        return Finding(what="flock", found=f"does not work: {(error.strerror or 'unknown').lower()}", cure=cure)
    return Finding(what="flock", found="works")


def _git(found: Settings) -> Finding:
    if git_folder(found.root) is None:
        return Finding(what="git", found="no repository here")
    if lacks_merge_driver(found.root):
        return Finding(
            what="git", found='this clone has no merge driver for "qrun.lock"', cure='"qrun init" sets it up'
        )
    return Finding(what="git", found="the merge driver is set up, or none is asked for")


def _power(found: Settings) -> Finding:
    from qrun.connection import Connection
    from qrun.providers.local.provider import physical, share, workers

    local = found.connections.get("local") or Connection(name="local", provider="local")
    try:
        number = workers(local.settings)
        each = share(local.settings, number)
    except SettingsError as error:
        return Finding(what="local", found=shown(error.problems[0].message), cure="correct the connection `local`")
    memory = f"{size(each)} of memory each ({size(physical())} in all)" if each else "no limit of memory known"
    return Finding(what="local", found=f"{count(number, 'worker')}, {memory}")


def _way(found: Settings, name: str) -> Finding:
    """A connection: where it leads and who says so, or what it lacks."""
    way = found.connections.way(name)
    if way.problem is not None:
        words = told(SettingsError.code, replace(way.problem, hint=None))
        return Finding(what=safe(name), found=f"no connection: {words}", cure=shown(way.problem.hint or "correct it"))
    proxy = way.connection.settings.get("proxy")
    through = f", through {_proxy(proxy)}" if proxy else ""
    said = f", by {way.said}" if way.said else ""
    words = f"connection to {safe(way.connection.site or 'no known site')}{safe(said)}{through}"
    for value in way.connection.settings.values():
        if isinstance(value, Source) and (warning := open_source(value)) is not None:
            words = f"{words}; {shown(replace(warning, hint=None))}"
            return Finding(what=safe(name), found=words, cure=shown(warning.hint))
    return Finding(what=safe(name), found=words)


def _proxy(proxy: str | Source) -> str:
    return f'the proxy "{safe(proxy)}"' if isinstance(proxy, str) else "a proxy with a password"


LOOKS: Final[Sequence[Callable[[Settings], Finding]]] = (
    _root,
    _project,
    _user,
    _results,
    _flock,
    _git,
    _power,
)
