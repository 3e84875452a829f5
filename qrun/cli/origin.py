"""Where a run came from: the manifest, the commit, and whether anything was changed since. And what Git is told."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from typing import Any, Final

from qrun import __version__
from qrun.cli.files import text

SECONDS: Final = 10.0  # Git is not waited for any longer
DRIVER: Final = re.compile(r'^\s*\[\s*merge\s+"qrun"\s*\]', re.MULTILINE)


def origin(root: str) -> dict[str, Any]:
    """What each record says of its origin, apart from the manifest; without Git only the version of qrun."""
    return {"qrun": __version__, **_commit(root)}


def _commit(root: str) -> Mapping[str, Any]:
    """The checked-out commit and whether the project differs from it; results do not count."""
    if git_folder(root) is None:
        return {}
    words = ["--no-optional-locks", "-C", root, "status", "--porcelain=v2", "--branch", "--", ".", ":(exclude)results"]
    lines = _git(*words).splitlines()
    oid = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "")
    if not re.fullmatch(r"[0-9a-f]{40,64}", oid):
        return {}
    return {"commit": oid, "dirty": any(not line.startswith("#") for line in lines)}


def lacks_merge_driver(root: str) -> bool:
    """Whether this is a clone in which Git would merge lock files as if they were text."""
    folder = git_folder(root)
    if folder is None or not _asks_for_driver(root):
        return False
    if any(DRIVER.search(text(os.path.join(place, "config"))) for place in (folder, _common(folder))):
        return False
    return not _git("-C", root, "config", "--get", "merge.qrun.driver").strip()


def _asks_for_driver(root: str) -> bool:
    return "merge=qrun" in text(os.path.join(root, ".gitattributes"))


def git_folder(root: str) -> str | None:
    """The `.git` of the repository around `root`; a worktree's is named by a file."""
    folder = os.path.abspath(root)
    while True:
        git = os.path.join(folder, ".git")
        if os.path.isdir(git):
            return git
        if os.path.isfile(git):
            named = text(git).removeprefix("gitdir:").strip()
            return os.path.join(folder, named)
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above


def _common(git: str) -> str:
    """Where the settings of a repository lie that has several worktrees."""
    named = text(os.path.join(git, "commondir")).strip()
    return os.path.join(git, named) if named else git


def _git(*words: str) -> str:
    """What Git prints; empty where there is no Git or it says no."""
    try:
        done = subprocess.run(  # noqa: S603 (the words are ours and the project's root)
            ["git", *words],  # noqa: S607 (the user's own git, as their PATH has it)
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
