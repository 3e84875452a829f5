"""Where things are: the root of a project, its qrun.toml, and the user's own file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Final

PROJECT: Final = "qrun.toml"


def project_of(folder: str) -> tuple[str, str | None]:
    """The root and the path of qrun.toml: the nearest one upwards, else the nearest repository, else the folder.

    The folder is absolute.
    """
    repository = None
    for here in _upwards(folder):
        path = os.path.join(here, PROJECT)
        if os.path.lexists(path):
            return here, path
        if repository is None and os.path.lexists(os.path.join(here, ".git")):
            repository = here
    return repository or folder, None


def _upwards(folder: str) -> Iterator[str]:
    yield folder
    while (above := os.path.dirname(folder)) != folder:
        folder = above
        yield folder


def user_file(environ: Mapping[str, str] = os.environ) -> str:
    """Where the user's own settings are, whether they exist or not."""
    return os.path.join(_config_folder(environ), "config.toml")


def _config_folder(environ: Mapping[str, str]) -> str:
    """As platformdirs says; it is imported only where its answer is not the freedesktop one."""
    if not sys.platform.startswith(("linux", "freebsd")):
        import platformdirs

        return platformdirs.user_config_dir("qrun", appauthor=False)
    given = environ.get("XDG_CONFIG_HOME", "")
    return os.path.join(given if os.path.isabs(given) else os.path.join(home(environ), ".config"), "qrun")


def home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def expanded(path: str, environ: Mapping[str, str]) -> str:
    return os.path.join(home(environ), path[2:]) if path.startswith("~/") else path


def state_folder(environ: Mapping[str, str] = os.environ) -> str:
    """Where a process leaves word of itself for others of the same user; it may not exist yet."""
    given = environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(given) and os.path.isdir(given):
        return os.path.join(given, "qrun")
    return os.path.join(home(environ), ".cache", "qrun")
