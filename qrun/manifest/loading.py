"""The way from files to experiments, with all problems of all files together."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from qrun.connection import Connection
from qrun.errors import ManifestError, Problem
from qrun.manifest import source, yaml
from qrun.manifest.build import Builder
from qrun.manifest.experiment import Experiment, Values
from qrun.manifest.programs import Known, Programs
from qrun.manifest.reading import Reading
from qrun.manifest.words import did_you_mean, show
from qrun.provider import Capabilities

if TYPE_CHECKING:
    from qrun.manifest.template import Renderer


def load(
    files: Sequence[str],
    values: Values,
    *,
    root: str,
    connections: Mapping[str, Connection],
    capabilities: Callable[[str], Capabilities],
    known: Known | None = None,
) -> Sequence[Experiment]:
    with _uncollected(), Programs(root, known) as programs, ExitStack() as stack:
        loader = _Loader(root, values, Builder(connections, capabilities, programs), stack)
        for file in files:
            loader.add(file)
        return loader.finished()


def variables(file: str) -> Mapping[str, Any]:
    """The values of a --vars file: one YAML or JSON document that is a map from names to values."""
    documents = yaml.compose(source.read(file).removeprefix(source.BOM), file)
    if len(documents) != 1 or not isinstance(documents[0].value, dict):
        raise ManifestError(Problem(file=file, message="is not one map from variables to values", hint='write "x: 1"'))
    found: Mapping[str, Any] = documents[0].value
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Many small values that all stay: looking for garbage among them again and again triples the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Loader:
    """What is known across files: names that are taken, variables that exist, the template process."""

    def __init__(self, root: str, values: Values, builder: Builder, stack: ExitStack) -> None:
        self.root = os.path.realpath(root)
        self.values = values
        self.builder = builder
        self.problems: list[Problem] = []
        self.experiments: list[Experiment] = []
        self.declared: set[str] = set()
        self.broken = False
        self.sources: dict[str, source.Source] = {}
        self._stack = stack
        self._renderer: Renderer | None = None

    @property
    def renderer(self) -> Renderer:
        if self._renderer is None:
            from qrun.manifest.template import Renderer

            self._renderer = self._stack.enter_context(Renderer())
        return self._renderer

    def add(self, file: str) -> None:
        folder, name = os.path.split(os.path.abspath(file)) if "\0" not in file else ("", file)
        path = self._path(os.path.join(os.path.realpath(folder), name))
        if path in self.sources:
            return
        opened = self.sources[path] = source.Source(file=file, path=path)
        try:
            self._check_place(file, path)
            documents = opened.documents()
        except ManifestError as error:
            self.problems += error.problems
            self.broken = True
            return
        for document in documents:
            if opened.enough:
                opened.leave(document.line)
                break
            reading = Reading(opened, document, self.builder, self.values, lambda: self.renderer)
            found = reading.experiment()
            document.value = None
            self.declared |= reading.variables.keys()
            if found is not None:
                self.experiments.append(found)
        self.problems += opened.problems()

    def _path(self, file: str) -> str:
        return os.path.relpath(file, self.root).replace(os.sep, "/")

    def _check_place(self, file: str, path: str) -> None:
        """What lies elsewhere is not read: a complaint about it would show what it holds."""
        if "\0" in file or not os.path.isfile(file):
            return
        hint = "put it there, or run the command in its own project"
        if path.startswith("../"):
            raise ManifestError(Problem(file=file, message=f"is outside of the project {self.root}", hint=hint))
        if self._path(os.path.realpath(file)).startswith("../"):
            message = f"is a link out of the project {self.root}"
            raise ManifestError(Problem(file=file, message=message, hint="put the file itself there"))

    def finished(self) -> Sequence[Experiment]:
        self._check_variables()
        self._check_names()
        if self.problems:
            raise ManifestError(*self.problems)
        return tuple(self.experiments)

    def _check_variables(self) -> None:
        if self.broken:
            return
        file = next(iter(self.sources.values())).file if len(self.sources) == 1 else None
        for name in sorted({*self.values.texts, *self.values.typed} - self.declared):
            hint = did_you_mean(name, self.declared, "there are")
            message = "is not a variable of this manifest" if file else "is not a variable of these manifests"
            self.problems.append(Problem(file=file, field=f"vars.{name}", message=message, hint=hint))

    def _check_names(self) -> None:
        """Experiments have folders of their own, also where upper and lower case are one; no two jobs share a name."""
        taken: dict[str, Experiment] = {}
        for experiment in self.experiments:
            other = taken.setdefault(experiment.name.lower(), experiment)
            if other is not experiment:
                same = "" if other.name == experiment.name else f" as {show(other.name)}"
                message = f"the experiment {show(experiment.name)} is also in {other.file}:{other.line}{same}"
                self._clash(experiment, message, experiment.line, 'give one of them another "name"')
        by_name = {experiment.name: experiment for experiment in self.experiments}
        for other in by_name.values():
            for one in (by_name[outer] for outer in _outer(other.name) if outer in by_name):
                names = {job.name: job for job in one.jobs}
                for job in other.jobs:
                    if job.name in names:
                        message = f"the job {show(job.name)} is also in {one.file}:{names[job.name].line}"
                        self._clash(other, message, job.line, "give one of them another name")

    def _clash(self, experiment: Experiment, message: str, line: int, hint: str) -> None:
        self.problems.append(Problem(file=experiment.file, line=line, column=1, message=message, hint=hint))


def _outer(name: str) -> Iterator[str]:
    """The names with which this one begins: `a` and `a.b` for `a.b.c`."""
    for place, sign in enumerate(name):
        if sign == ".":
            yield name[:place]
