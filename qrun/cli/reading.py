"""What every command begins with: which manifests are meant, the settings that hold for them, and their jobs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from qrun import providers
from qrun.cli.out import near, state, tell, told
from qrun.errors import ManifestError, Problem, UsageError
from qrun.manifest import Experiment, Values, load
from qrun.render.safe import safe
from qrun.settings import Settings, settings

ENDINGS: Final = (".yaml", ".yml")
FOLDER: Final = "specs"

capabilities = cache(providers.capabilities)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """Which manifests are meant, before they are read: `files` as typed or found, `arguments` as typed."""

    settings: Settings
    files: Sequence[str]
    arguments: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """`files` are the manifests as typed or found, `arguments` what the user typed."""

    settings: Settings
    experiments: Sequence[Experiment]
    files: Sequence[str]
    arguments: Sequence[str] = ()


def look(arguments: Sequence[str]) -> Look:
    files = manifests(arguments)
    return Look(settings=common_settings(files), files=files, arguments=arguments)


def read(arguments: Sequence[str], values: Values | None = None) -> Reading:
    return read_all(look(arguments), values)


def read_all(seen: Look, values: Values | None = None) -> Reading:
    """All problems of all manifests are reported together, and then nothing else happens."""
    found = seen.settings
    for warning in found.warnings:
        tell(told("settings", warning))
    experiments = load(
        seen.files,
        values or Values(),
        root=found.root,
        connections=found.connections,
        capabilities=capabilities,
    )
    return Reading(settings=found, experiments=experiments, files=seen.files, arguments=seen.arguments)


def manifests(arguments: Sequence[str]) -> list[str]:
    """The files that the arguments mean, each once, in their order; without arguments what is in reach."""
    named = list(arguments) or [_in_reach()]
    found: dict[str, str] = {}
    for argument in named:
        for file in _files(argument):
            found.setdefault(os.path.realpath(file), file)
    return list(found.values())


def is_plan(arguments: Sequence[str]) -> bool:
    """Whether the only argument is a saved plan; a manifest that looks like one in its first lines is not."""
    if len(arguments) != 1 or not os.path.isfile(arguments[0]):
        return False
    try:
        with open(arguments[0], "rb") as file:
            return file.read(256).split(b"\n")[0:2] == [b"{", b'  "type": "plan",']
    except OSError:
        return False


def manifests_or_none() -> list[str] | None:
    """The manifests in reach; None where there are none, or no way to tell which one is meant."""
    try:
        return manifests(())
    except UsageError:
        return None


def common_settings(files: Sequence[str]) -> Settings:
    """The settings of the one project to which all files belong."""
    folders = dict.fromkeys(os.path.dirname(file) or "." for file in files)
    found = {folder: project(folder) for folder in folders}
    one, *others = found.values()
    for folder, other in zip(list(folders)[1:], others, strict=True):
        if other.root != one.root:
            raise UsageError(
                f'"{files[0]}" and the manifests in "{folder}" belong to different projects',
                hint="run one command for each project",
            )
    return one


def project(folder: str = ".") -> Settings:
    """The settings that hold in a folder; from then on it is known which project a command is about."""
    found = settings(folder)
    state().root = found.root
    return found


def _files(argument: str) -> list[str]:
    if not argument:
        raise UsageError('"" names no manifest', hint="name a file or a folder")
    if is_plan([argument]):
        hint = f'"qrun apply {safe(argument)}" alone carries it out'
        raise UsageError(f'"{safe(argument)}" is a saved plan, not a manifest', hint=hint)
    if not os.path.isdir(argument):
        return [argument]
    found = _inside(argument)
    if not found:
        raise ManifestError(Problem(file=argument, message="holds no manifest", hint="one ends in .yaml or .yml"))
    return found


def _inside(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        problem = Problem(file=near(folder), message=f"cannot be read: {reason}", hint="check its permissions")
        raise ManifestError(problem) from error
    plain = os.path.normpath(folder)
    files = [os.path.join(plain, name) if plain != "." else name for name in names if _is_manifest(name)]
    return [file for file in files if not os.path.isdir(file)]


def _is_manifest(name: str) -> bool:
    return name.endswith(ENDINGS) and not name.startswith(".")


def _in_reach() -> str:
    """`specs/` here or further up in the project, the folder itself inside `specs/`, or the only manifest here."""
    for folder in _upwards():
        specs = os.path.join(folder, FOLDER)
        if os.path.isdir(specs) and _inside(specs):
            return os.path.relpath(specs)
        here = _inside(folder)
        if os.path.basename(os.path.abspath(folder)) == FOLDER and here:
            return os.path.relpath(folder)
        if len(here) == 1:
            return os.path.relpath(here[0])
        if here:
            listed = ", ".join(f'"{os.path.relpath(file)}"' for file in here[:5])
            more = f" and {len(here) - 5} more" if len(here) > 5 else ""
            raise UsageError(
                f"several manifests are in reach: {listed}{more}", hint="name one, or put them into specs/"
            )
    raise UsageError("no manifest is named and none is in reach", hint='name one, or make one with "qrun init"')


def _upwards() -> Iterator[str]:
    """From here to the project's root; only here where there is no project."""
    here = os.getcwd()
    folders = [here]
    while not any(os.path.exists(os.path.join(folders[-1], name)) for name in ("qrun.toml", ".git")):
        above = os.path.dirname(folders[-1])
        if above == folders[-1]:
            return iter([here])
        folders.append(above)
    return iter(folders)


def variables(file: str) -> dict[str, Any]:
    """The map that a `--vars` file holds."""
    from qrun.manifest import source, yaml

    documents = yaml.compose(source.read(file).removeprefix(b"\xef\xbb\xbf"), file)
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise ManifestError(Problem(file=file, message="is not one map of variables", hint="write for example: n: 3"))
    return documents[0].value
