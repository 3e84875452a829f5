"""One document becomes an experiment: checked, merged with its defaults, unfolded, filled in, built.

A job that needs no template is built as soon as it is met, and what was read of it is dropped: of many jobs only the
finished ones are kept. Jobs with a matrix, runs or templates wait until the document is read, and are then filled in by
the thousand, since each question to the template process has its price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from qrun.job import Job
from qrun.manifest import needs, schema
from qrun.manifest.build import Builder, Draft
from qrun.manifest.expand import merged
from qrun.manifest.experiment import Experiment, Values
from qrun.manifest.filling import Filler, has_template_file, templates
from qrun.manifest.flaws import NONE, Flaws
from qrun.manifest.schema import Verdict
from qrun.manifest.secrets import secrets
from qrun.manifest.source import Source
from qrun.manifest.unfolding import Unfolder, Waiting
from qrun.manifest.words import did_you_mean, nearest, show
from qrun.manifest.yaml import Document

if TYPE_CHECKING:
    from qrun.manifest.template import Renderer

BATCH: Final = 1000  # jobs whose templates are filled in together


class Reading:
    """`renderer` starts the template process where it is not running yet."""

    def __init__(
        self,
        source: Source,
        document: Document,
        builder: Builder,
        values: Values,
        renderer: Callable[[], Renderer],
    ) -> None:
        self.source = source
        self.document = document
        self.builder = builder
        self.values = values
        self.renderer = renderer
        self.raw: Any = document.value
        self.short = not (isinstance(self.raw, dict) and "jobs" in self.raw)
        self.name = ""
        self.defaults: dict[str, Any] = {}
        self.variables: dict[str, Any] = {}
        self.jobs: list[Job] = []
        self.needs: list[tuple[int | None, Draft]] = []
        self.flaws = Flaws(source, document, self.short)

    def experiment(self) -> Experiment | None:
        """The experiment with those of its jobs that are right; the source has the flaws of the others."""
        if not isinstance(self.raw, dict):
            hint = 'a manifest is a map of fields, such as "provider: …"'
            self.flaws.add((), f"{show(self.raw)} is not a manifest", hint)
            return None
        if self.document.suspicious:
            self._refuse_secrets()
        verdicts = self._check_head()
        self._take_head(verdicts)
        self.builder.taken.clear()
        for ready in self._batches(self._entries(verdicts)):
            for draft in ready:
                self._keep(draft)
        needs.resolve(self.jobs, self.needs, self.flaws)
        if not self.flaws.failed:
            self._check_default_options()
        if not self.name:
            return None
        return Experiment(
            name=self.name,
            file=self.source.file,
            path=self.source.path,
            sha256=self.source.sha256,
            line=self.document.line,
            jobs=tuple(self.jobs),
            variables=self.variables,
            budget=self.raw.get("budget", {}) if not verdicts else {},
        )

    # What stands above the jobs

    def _refuse_secrets(self) -> None:
        for path, why in secrets(self.raw):
            if self.source.enough:
                break
            hint = 'no secret belongs into a manifest; name it in the connection, as { env = "…" }'
            self.flaws.add(path, why, hint)

    def _check_head(self) -> list[Verdict]:
        """What is wrong with the form of all but the jobs themselves."""
        shapes = schema.shapes()
        verdicts = (shapes.short if self.short else shapes.experiment).verdicts(self.raw)
        if not self.short and isinstance(self.raw["jobs"], dict) and self.raw["jobs"]:
            verdicts += shapes.names.verdicts(self.raw["jobs"], ("jobs",))
        for verdict in verdicts:
            self.flaws.add(verdict.path, verdict.message, self._hint(verdict), at_key=verdict.at_key)
        return verdicts

    def _hint(self, verdict: Verdict) -> str | None:
        """A better hint where a field of a job stands beside the jobs, or one of an experiment in a job."""
        if len(verdict.path) != 1 or not verdict.message.startswith("is not a field"):
            return verdict.hint
        key = str(verdict.path[0])
        if not self.short:
            return 'put it under "defaults", or into a job' if key in schema.fields() else verdict.hint
        if key == "defaults":
            return 'a document with "defaults" lists its jobs under "jobs"'
        return did_you_mean(key, {"jobs", *schema.fields()}) if nearest(key, ["jobs"]) else verdict.hint

    def _take_head(self, verdicts: Sequence[Verdict]) -> None:
        written = self.raw.get("vars")
        if isinstance(written, dict):
            outside = {**self.values.typed, **self.values.texts}
            self.variables = {name: outside.get(name, value) for name, value in written.items()}
        name = self.raw.get("name", self.source.stem)
        if schema.shapes().name.accepts(name):
            self.name = name
        elif "name" not in self.raw:
            message = f'{show(name)}, the name of the file, cannot name an experiment; "name" is missing'
            self.flaws.add((), message, 'a name has letters, digits, ".", "_" and "-", 64 at most')
        defaults = self.raw.get("defaults")
        if isinstance(defaults, dict) and not self.short:
            wrong = _wrong_defaults(verdicts)
            self.defaults = {name: value for name, value in defaults.items() if name not in wrong}
            self.flaws.inherited = bool(self.defaults)

    def _check_default_options(self) -> None:
        """An inherited option that no job could use is rather a slip of the pen."""
        unused = self.defaults.get("options", {}).keys() - self.builder.taken
        known = {name for job in self.jobs for name in self._options_of(job)} if unused else set()
        for name in unused if known else ():
            hint = did_you_mean(name, known, "there are")
            self.flaws.add(("defaults", "options", name), "is not an option of any of these jobs", hint, at_key=True)

    def _options_of(self, job: Job) -> frozenset[str]:
        setting = self.builder.setting(job.target.connection, job.target.device, job.kind)
        return NONE if isinstance(setting, list) else setting.named or NONE

    # Jobs, one by one

    def _entries(self, verdicts: Sequence[Verdict]) -> Iterator[Draft | Waiting]:
        """The jobs in order; of each only the present one is held."""
        wrong = _wrong_defaults(verdicts)
        return self._alone(verdicts, wrong) if self.short else self._listed(wrong)

    def _alone(self, verdicts: Sequence[Verdict], wrong: frozenset[Any]) -> Iterator[Draft | Waiting]:
        self._flawed(self.name, verdicts, 0, wrong)
        names = schema.fields() - self.flaws.fields.get(self.name, NONE)
        if self._telling(self.name):
            fields = {key: value for key, value in self.raw.items() if key in names}
            yield self._entry(self.name, self.document.line, fields)

    def _listed(self, wrong: frozenset[Any]) -> Iterator[Draft | Waiting]:
        jobs = self.raw["jobs"] if isinstance(self.raw["jobs"], dict) else {}
        for place, key in enumerate(list(jobs)):
            line = self.document.lines[place]
            if self.source.enough:
                if place:
                    self.source.leave(line)
                break
            fields = self._right(key, line, jobs.pop(key), wrong)
            if fields is None:
                self.flaws.failed[key] = None
            else:
                yield self._entry(key, line, fields)

    def _right(self, key: str, line: int, fields: dict[str, Any], wrong: frozenset[Any]) -> dict[str, Any] | None:
        """The fields that have their form; None where a further look at them would tell the author nothing."""
        shape = schema.shapes().job
        if self.flaws.many and not shape.accepts(fields):
            self.flaws.roughly(("jobs", key), line, "has a field of a wrong form")
            return None
        found = shape.verdicts(fields, ("jobs", key))
        if not found and not wrong:
            return fields
        for verdict in found:
            self.flaws.add(verdict.path, verdict.message, verdict.hint, at_key=verdict.at_key)
        self._flawed(key, found, 2, wrong)
        if not isinstance(fields, dict) or not self._telling(key):
            return None
        return {name: value for name, value in fields.items() if name not in self.flaws.fields[key]}

    def _flawed(self, key: str, verdicts: Sequence[Verdict], depth: int, wrong: frozenset[Any]) -> None:
        """Notes the fields of a job that cannot be used, so that it is looked at further but not kept."""
        names = frozenset(verdict.path[depth] for verdict in verdicts if len(verdict.path) > depth)
        if names or wrong or verdicts:
            self.flaws.spoil(key, names | wrong)

    def _telling(self, key: str) -> bool:
        """Whether looking at a job further would tell the author something."""
        return not self.flaws.fields.get(key, NONE) & {"matrix", "runs", "params"}

    def _entry(self, key: str, line: int, fields: dict[str, Any]) -> Draft | Waiting:
        whole = merged(self.defaults, fields) if self.defaults else fields
        own_options = frozenset(fields.get("options", NONE)) if "options" in whole else NONE
        if "matrix" in whole or "runs" in whole or self._templated(whole):
            return Waiting(key=key, line=line, fields=whole, own=frozenset(fields), own_options=own_options)
        return Draft(key=key, base=key, line=line, fields=whole, own=fields.keys(), own_options=own_options)

    def _templated(self, fields: dict[str, Any]) -> bool:
        if self.source.templated and templates(fields):
            return True
        return has_template_file(fields.get("program"))

    def _keep(self, draft: Draft) -> None:
        job = self.builder.job(draft, self.name, self.source.folder)
        right = isinstance(job, Job) and draft.base not in self.flaws.fields
        if "needs" in draft.fields:
            self.needs.append((len(self.jobs) if right else None, draft))
        if isinstance(job, Job) and right:
            self.jobs.append(job)
        else:
            self.flaws.fail(draft, [] if isinstance(job, Job) else job)

    # Jobs that wait

    def _batches(self, entries: Iterator[Draft | Waiting]) -> Iterator[list[Draft]]:
        """Drafts that can be built. As long as none waits they come one by one, so that none is held."""
        waiting: list[Draft | Waiting] = []
        for entry in entries:
            if isinstance(entry, Draft) and not waiting:
                yield [entry]
            else:
                waiting.append(entry)
        batch: list[Draft] = []
        filler = Filler(self.name, self.variables, self.builder.programs, self.flaws, self.renderer)
        for draft in Unfolder(filler, self.flaws).drafts(waiting):
            batch.append(draft)
            if len(batch) == BATCH:
                yield filler.filled(batch)
                batch = []
            if self.source.enough:
                self.source.leave(draft.line)
                return
        if batch:
            yield filler.filled(batch)


def _wrong_defaults(verdicts: Sequence[Verdict]) -> frozenset[Any]:
    return frozenset(name for verdict in verdicts if verdict.path[:1] == ("defaults",) for name in verdict.path[1:2])
