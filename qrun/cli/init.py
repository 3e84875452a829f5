"""`qrun init`: a working folder with a manifest that runs at once, a project id, and Git told about the results.

What is there already is left as it is, so the command may be run again: in a fresh clone it sets up the merge driver,
which Git does not take over with the files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import click

from qrun.cli.files import text as content
from qrun.cli.options import debug
from qrun.cli.out import say
from qrun.errors import Problem, UsageError

MANIFEST: Final = "specs/bell.yaml"
PROGRAM: Final = "specs/programs/bell.qasm"
SETTINGS: Final = "qrun.toml"
ATTRIBUTES: Final = ".gitattributes"
IGNORED: Final = ".gitignore"
DRIVER: Final = {
    "merge.qrun.name": "job by job, for the lock and the records of qrun",
    "merge.qrun.driver": "qrun lock merge %O %A %B",
}


@click.command("init")
@click.argument("folder", required=False)
@debug
def command(folder: str | None) -> int:
    """Make a working folder: a manifest that runs at once, qrun.toml, Git settings. Nothing is overwritten."""
    say("\n".join(init(folder if folder is not None else _here())))
    return 0


def init(folder: str, *, project: Callable[[], str] | None = None) -> Sequence[str]:
    """What was done, one line each. `project` makes the id of a new project."""
    texts = _texts(folder, project or _new_id)
    made: list[str] = []
    left: list[str] = []
    for name, text in texts.items():
        (made if _write(folder, name, text) else left).append(name)
    lines = [f'made "{name}"' for name in made] + _merge_driver(folder)
    advice = [line for name in left for line in _lacking(folder, name, texts[name])]
    if not lines:
        return [*advice, "nothing to do: everything is there"]
    lines += [f'left "{name}" as it is' for name in left]
    return [*lines, *advice, *_next(folder, made)]


def _here() -> str:
    """The root of the project that this folder belongs to, else this folder."""
    from qrun.settings import project_of

    root, path = project_of(os.path.realpath("."))
    return os.path.relpath(root) if path is not None else "."


def _new_id() -> str:
    import uuid

    return str(uuid.uuid4())


# --- files ------------------------------------------------------------------------------------------------------------


def _texts(folder: str, project: Callable[[], str]) -> Mapping[str, str]:
    """The files of a working folder; no example where there are manifests already."""
    example = {MANIFEST: MANIFEST_TEXT, PROGRAM: PROGRAM_TEXT}
    wanted = {
        name: text
        for name, text in example.items()
        if not _manifests(folder) or os.path.lexists(os.path.join(folder, name))
    }
    return {**wanted, SETTINGS: SETTINGS_TEXT.format(project=project()), **GIT_TEXTS}


def _manifests(folder: str) -> bool:
    try:
        return any(name.endswith((".yaml", ".yml")) for name in os.listdir(os.path.join(folder, "specs")))
    except OSError:
        return False


def _write(folder: str, name: str, text: str) -> bool:
    """Whether the file is new. A folder on the way that is a link to elsewhere is refused."""
    path = os.path.join(folder, name)
    if os.path.isfile(path):
        return False
    if os.path.lexists(path):
        raise UsageError(Problem(file=path, message="is not a file", hint="move it away"))
    above = os.path.dirname(path) or "."
    inside = os.path.join(os.path.realpath(folder), "")
    if not os.path.join(os.path.realpath(above), "").startswith(inside):
        raise UsageError(Problem(file=path, message="would be outside of the project", hint="take the link away"))
    try:
        os.makedirs(above, exist_ok=True)
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(Problem(file=path, message=f"cannot be made: {reason}")) from error
    return True


def _lacking(folder: str, name: str, text: str) -> Iterator[str]:
    """What a file that was left should say and does not."""
    there = content(os.path.join(folder, name))
    if name in GIT_TEXTS:
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        missing = [line for line in lines if not re.search(rf"^\s*{re.escape(line)}\s*$", there, re.MULTILINE)]
        if missing:
            yield f'"{name}" lacks these lines; add them:'
            yield from (f"    {line}" for line in missing)
    elif name == SETTINGS and not re.search(r"^\s*[\"']?project[\"']?\s*=", there, re.MULTILINE):
        line = next(line for line in text.splitlines() if line.startswith("project"))
        yield f'"{name}" has no project id; add this line at its top:'
        yield f"    {line}"


# --- Git --------------------------------------------------------------------------------------------------------------


def _merge_driver(folder: str) -> list[str]:
    """Sets the merge driver up in this clone, unless it has one; no line where there is nothing to do."""
    if not _in_repository(folder):
        return []
    if shutil.which("git") is None:
        return ['git is not installed; run "qrun init" again when it is, for the merge driver']
    if _git(folder, "config", "--get", "merge.qrun.driver").stdout.strip():
        return []
    for name, value in DRIVER.items():
        done = _git(folder, "config", name, value)
        if done.returncode:
            words = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
            return [f"the merge driver could not be set up: git says {words[-1]}"]
    return ["set up the merge driver of this clone"]


def _in_repository(folder: str) -> bool:
    here = os.path.realpath(folder)
    while not os.path.lexists(os.path.join(here, ".git")):
        above = os.path.dirname(here)
        if above == here:
            return False
        here = above
    return True


def _git(folder: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - fixed words, no shell
        ["git", "-C", folder, *words],  # noqa: S607 - the user's own git
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


# --- words ------------------------------------------------------------------------------------------------------------


def _next(folder: str, made: Sequence[str]) -> Iterator[str]:
    if MANIFEST in made:
        where = "" if os.path.realpath(folder) == os.path.realpath(".") else f"cd {folder} && "
        yield f"next: {where}qrun apply {MANIFEST}"


MANIFEST_TEXT: Final = """\
# Two entangled qubits. `qrun plan` shows what would be done, `qrun apply` does it, and a second `qrun apply` finds it
# done. `qrun show bell` prints the counts; the results lie in results/bell/ and are meant to be committed.
name: bell
provider: local                # the simulators on this machine; a cloud is a [connections.…] of qrun.toml
device: ddsim                  # which of them
program: programs/bell.qasm    # relative to this file
shots: 1000                    # a change of program, device or shots is a new run beside the old one
tags: [first]                  # a change of tags or description is not
"""

PROGRAM_TEXT: Final = """\
OPENQASM 2.0;
include "qelib1.inc";

qreg q[2];
creg c[2];

h q[0];
cx q[0], q[1];
measure q -> c;
"""

SETTINGS_TEXT: Final = """\
# Marks every job that is sent from this project, so that it can be found again. Never change it, and do not copy it
# into another project.
project = "{project}"

# What `provider: …` of a manifest may name, beside `local`. No secret stands here, only the variable that holds it.
#
# [connections.fresnel]
# type = "pasqal"
# project_id = "00000000-0000-0000-0000-000000000000"
# username = {{ env = "PASQAL_USERNAME" }}
# password = {{ env = "PASQAL_PASSWORD" }}

# What one `qrun apply` may send at most.
#
# [budget]
# max_jobs = 500
# max_shots = 1000000
"""

GIT_TEXTS: Final[Mapping[str, str]] = {
    ATTRIBUTES: """\
# Results are kept byte for byte; locks and records are merged job by job, which `qrun init` sets up in each clone.
results/** -text
results/**/qrun.lock merge=qrun
results/**/record.json merge=qrun
""",
    IGNORED: """\
# What qrun needs only on this machine and only while it runs.
results/**/.qrun/
""",
}
