"""One document becomes an experiment: checked, merged with its defaults, unfolded, filled in, built.

A job that needs no template is built as soon as it is met, and what was read of it is dropped: of many jobs only the
finished ones are kept. Jobs with a matrix, runs or templates wait until the document is read, and are then filled in by
the thousand, since each question to the template process has its price.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from qrun.errors import Problem
from qrun.job import Job, Program
from qrun.manifest import schema, words
from qrun.manifest.build import Builder, Draft
from qrun.manifest.expand import MOST, Conflict, circles, combinations, filled, job_name, merged, places, texts
from qrun.manifest.experiment import Experiment, Values
from qrun.manifest.programs import HINTS, Refused, inside, normalised
from qrun.manifest.schema import Path, Verdict
from qrun.manifest.secrets import secrets
from qrun.manifest.source import Flaw, Source
from qrun.manifest.words import did_you_mean, nearest, show
from qrun.manifest.yaml import Document

if TYPE_CHECKING:
    from qrun.manifest.template import Renderer

BATCH: Final = 1000  # jobs whose templates are filled in together
TOLD: Final = 1000  # flaws of one file that are told in full; nobody reads more, and each takes its time
COUNTED: Final = 100_000  # flaws of one file after which no further job is looked at
NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A job whose matrix, runs or templates wait until the document is read."""

    key: str
    line: int
    fields: dict[str, Any]
    own: frozenset[str]
    own_options: frozenset[str]


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
        self.needs: list[tuple[int, Draft]] = []
        self.failed: dict[str, None] = {}
        self.unfolded = 0
        self.flawed: dict[str, frozenset[Any]] = {}  # by a job's key in the manifest, its fields of a wrong form

    def experiment(self) -> Experiment | None:
        """The experiment with those of its jobs that are right; the source has the flaws of the others."""
        if not isinstance(self.raw, dict):
            self.flaw((), f"{show(self.raw)} is not a manifest", 'a manifest is a map of fields, such as "provider: …"')
            return None
        if self.document.suspicious:
            self._refuse_secrets()
        verdicts = self._check_head()
        self._take_head(verdicts)
        self.builder.taken.clear()
        for ready in self._batches(self._entries(verdicts)):
            for draft in ready:
                self._keep(draft)
        self._resolve_needs()
        if not self.failed:
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
            hint = 'no secret belongs into a manifest; name it in the connection, as { env = "…" }'
            self.flaw(path, why, hint)

    def _check_head(self) -> list[Verdict]:
        """What is wrong with the form of all but the jobs themselves."""
        shapes = schema.shapes()
        verdicts = (shapes.short if self.short else shapes.experiment).verdicts(self.raw)
        if not self.short and isinstance(self.raw["jobs"], dict) and self.raw["jobs"]:
            verdicts += shapes.names.verdicts(self.raw["jobs"], ("jobs",))
        for verdict in verdicts:
            self.flaw(verdict.path, verdict.message, self._hint(verdict), at_key=verdict.at_key)
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
            self.flaw((), message, 'a name has letters, digits, ".", "_" and "-", 64 at most')
        defaults = self.raw.get("defaults")
        if isinstance(defaults, dict) and not self.short:
            wrong = _wrong_defaults(verdicts)
            self.defaults = {name: value for name, value in defaults.items() if name not in wrong}

    def _check_default_options(self) -> None:
        """An inherited option that no job could use is rather a slip of the pen."""
        unused = self.defaults.get("options", {}).keys() - self.builder.taken
        known = {name for job in self.jobs for name in self._options_of(job)} if unused else set()
        for name in unused if known else ():
            hint = did_you_mean(name, known, "there are")
            self.flaw(("defaults", "options", name), "is not an option of any of these jobs", hint, at_key=True)

    def _options_of(self, job: Job) -> frozenset[str]:
        setting = self.builder.setting(job.target.connection, job.target.device, job.kind)
        return NONE if isinstance(setting, Verdict) else setting.named or NONE

    # Jobs, one by one

    def _entries(self, verdicts: Sequence[Verdict]) -> Iterator[Draft | Waiting]:
        """The jobs in order; of each only the present one is held. Fields of a wrong form are left out."""
        wrong = _wrong_defaults(verdicts)
        if self.short:
            self._flawed(self.name, verdicts, 0, wrong)
            names = schema.fields() - self.flawed.get(self.name, NONE)
            if self._telling(self.name):
                fields = {key: value for key, value in self.raw.items() if key in names}
                yield self._entry(self.name, self.document.line, fields)
            return
        jobs = self.raw["jobs"] if isinstance(self.raw["jobs"], dict) else {}
        shape, lines = schema.shapes().job, self.document.lines
        for place, key in enumerate(list(jobs)):
            if len(self.source.found) > COUNTED:
                break
            fields = jobs.pop(key)
            if len(self.source.flaws) >= TOLD and not shape.accepts(fields):
                self.failed[key] = None
                self._tell_roughly(("jobs", key), lines[place], "has a field of a wrong form", None)
                continue
            found = shape.verdicts(fields, ("jobs", key))
            if found or wrong:
                for verdict in found:
                    self.flaw(verdict.path, verdict.message, verdict.hint, at_key=verdict.at_key)
                self._flawed(key, found, 2, wrong)
                if not isinstance(fields, dict) or not self._telling(key):
                    self.failed[key] = None
                    continue
                fields = {name: value for name, value in fields.items() if name not in self.flawed[key]}
            yield self._entry(key, lines[place], fields)

    def _flawed(self, key: str, verdicts: Sequence[Verdict], depth: int, wrong: frozenset[Any]) -> None:
        """Notes the fields of a job that cannot be used, so that it is looked at further but not kept."""
        names = frozenset(verdict.path[depth] for verdict in verdicts if len(verdict.path) > depth)
        if names or wrong or verdicts:
            self.flawed[key] = names | wrong

    def _telling(self, key: str) -> bool:
        """Whether looking at a job further would tell the author something."""
        return not self.flawed.get(key, NONE) & {"matrix", "runs", "params"}

    def _entry(self, key: str, line: int, fields: dict[str, Any]) -> Draft | Waiting:
        whole = merged(self.defaults, fields) if self.defaults else fields
        own_options = frozenset(fields.get("options", NONE)) if "options" in whole else NONE
        if "matrix" in whole or "runs" in whole or self._templated(whole):
            return Waiting(key=key, line=line, fields=whole, own=frozenset(fields), own_options=own_options)
        return Draft(key=key, base=key, line=line, fields=whole, own=fields.keys(), own_options=own_options)

    def _templated(self, fields: dict[str, Any]) -> bool:
        if self.source.templated and self._templates(fields):
            return True
        program = fields.get("program")
        return type(program) is not str and any(True for _ in _template_files(program))

    def _templates(self, value: Any) -> list[str]:
        """The different templates among the texts, in order."""
        from qrun.manifest.template import is_template

        return list(dict.fromkeys(text for text in texts(value) if is_template(text)))

    def _keep(self, draft: Draft) -> None:
        job = self.builder.job(draft, self.name, self.source.folder)
        if draft.base in self.flawed:
            self.fail(draft, [] if isinstance(job, Job) else job)
        elif isinstance(job, Job):
            if "needs" in draft.fields:
                self.needs.append((len(self.jobs), draft))
            self.jobs.append(job)
        else:
            self.fail(draft, job)

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
        for draft in self._unfolded(waiting):
            batch.append(draft)
            if len(batch) == BATCH:
                yield self._filled(batch)
                batch = []
        if batch:
            yield self._filled(batch)

    def _unfolded(self, entries: list[Draft | Waiting]) -> Iterator[Draft]:
        """The drafts of all entries in order, each matrix unfolded."""
        matrices = self._fill_matrices([entry for entry in entries if isinstance(entry, Waiting)])
        for entry in entries:
            if isinstance(entry, Draft):
                yield entry
            elif entry.key in matrices:
                yield from self._unfold(entry, matrices[entry.key])

    def _fill_matrices(self, entries: Sequence[Waiting]) -> dict[str, dict[str, Any]]:
        """The matrix of each entry, filled in; an entry whose matrix is wrong is left out."""
        wanted = {entry.key: self._templates(entry.fields.get("matrix", {})) for entry in entries}
        values = self._rendered([({}, wanted[entry.key]) for entry in entries])
        found: dict[str, dict[str, Any]] = {}
        for entry, known in zip(entries, values, strict=True):
            draft = Draft(key=entry.key, base=entry.key, line=entry.line, fields=entry.fields, own=entry.own)
            if self._faults(draft, {"matrix": entry.fields.get("matrix", {})}, known, lambda _: {}):
                continue
            matrix = filled(entry.fields.get("matrix", {}), known)
            verdicts = schema.shapes().matrix.verdicts(matrix, ("matrix",)) if "matrix" in entry.fields else []
            if verdicts:
                self.fail(draft, verdicts)
            else:
                found[entry.key] = matrix
        return found

    def _unfold(self, entry: Waiting, matrix: Mapping[str, Any]) -> Iterator[Draft]:
        fields = {name: value for name, value in entry.fields.items() if name not in ("matrix", "runs")}
        try:
            runs = len(entry.fields.get("runs", " "))
            combined = combinations(matrix, most=(MOST - self.unfolded) // runs) if matrix else [{}]
            self.unfolded += len(combined) * runs
        except Conflict as conflict:
            self._fail_matrix(entry, ("matrix", *conflict.path), conflict.message, conflict.hint)
            return
        if not combined:
            self._fail_matrix(entry, ("matrix",), "leaves no job", 'take something out of "exclude"')
        seen: set[str] = set()
        for combination in combined:
            name = job_name(entry.key, combination)
            if name in seen:
                self._fail_matrix(entry, ("matrix",), f"makes {show(name)} twice", "give each a value of its own")
                continue
            seen.add(name)
            draft = Draft(
                key=name,
                base=entry.key,
                line=entry.line,
                fields=fields,
                own=entry.own,
                own_options=entry.own_options,
                combination=combination,
            )
            yield from self._runs(draft, entry) if "runs" in entry.fields else (draft,)

    def _runs(self, draft: Draft, entry: Waiting) -> Iterator[Draft]:
        """`runs` is one more axis, named run and counted from 1, whose jobs go out together."""
        if "run" in draft.combination:
            self._fail_matrix(entry, ("matrix", "run"), '"run" counts the runs', "give the axis another name")
            return
        for place, run in enumerate(entry.fields["runs"]):
            combination = {**draft.combination, "run": place + 1}
            yield replace(
                draft,
                key=job_name(entry.key, combination),
                combination=combination,
                fields=merged(draft.fields, run),
                own=entry.own | run.keys(),
                run=place,
                together=draft.key,
            )

    def _fail_matrix(self, entry: Waiting, path: Path, message: str, hint: str | None) -> None:
        draft = Draft(key=entry.key, base=entry.key, line=entry.line, fields=entry.fields, own=entry.own)
        self.fail(draft, [Verdict(path=path, message=message, hint=hint)])

    # Templates

    def _filled(self, drafts: list[Draft]) -> list[Draft]:
        """The drafts without templates: first params, then the rest, then the programs that are templates."""
        if not self.source.templated and not any(_has_template_file(draft) for draft in drafts):
            return drafts
        drafts = self._fill(drafts, lambda name: name == "params", self._early_sight)
        drafts = self._fill(drafts, lambda name: name != "params", self._sight)
        drafts = [draft for draft in drafts if self._has_form(draft)]
        return self._fill_programs(drafts)

    def _fill(
        self, drafts: list[Draft], chosen: Callable[[str], bool], sight: Callable[[Draft], dict[str, Any]]
    ) -> list[Draft]:
        known: dict[int, list[str]] = {}
        for draft in drafts:
            if id(draft.fields) not in known:
                part = {name: value for name, value in draft.fields.items() if chosen(name)}
                known[id(draft.fields)] = self._templates(part)
        values = self._rendered([(sight(draft), known[id(draft.fields)]) for draft in drafts])
        done: list[Draft] = []
        for draft, value in zip(drafts, values, strict=True):
            wrong = self._faults(draft, {n: item for n, item in draft.fields.items() if chosen(n)}, value, sight)
            if wrong:
                self.flawed[draft.base] = self.flawed.get(draft.base, NONE) | wrong
            if not value:
                done.append(draft)
            elif "params" not in wrong:
                fields = {n: filled(i, value) if chosen(n) else i for n, i in draft.fields.items() if n not in wrong}
                done.append(replace(draft, fields=fields))
        return done

    def _sight(self, draft: Draft) -> dict[str, Any]:
        """What the templates of a job see beside `vars`."""
        return {**self._early_sight(draft), "params": draft.fields.get("params", {})}

    def _early_sight(self, draft: Draft) -> dict[str, Any]:
        """What they see while `params` itself is filled in."""
        return {"matrix": dict(draft.combination), "job": {"key": draft.key, "experiment": self.name}}

    def _rendered(self, asked: Sequence[tuple[dict[str, Any], list[str]]]) -> list[dict[str, Any]]:
        """For each context the values of its templates, by their texts."""
        if not any(wanted for _, wanted in asked):
            return [{} for _ in asked]
        numbers: dict[str, int] = {}
        for _, wanted in asked:
            for text in wanted:
                numbers.setdefault(text, len(numbers))
        pairs = [(numbers[text], place) for place, (_, wanted) in enumerate(asked) for text in wanted]
        overlays = [sight for sight, _ in asked]
        values = iter(self.renderer().fill(list(numbers), {"vars": self.variables}, overlays, pairs))
        return [{text: next(values) for text in wanted} for _, wanted in asked]

    def _faults(
        self,
        draft: Draft,
        fields: Mapping[str, Any],
        values: Mapping[str, Any],
        sight: Callable[[Draft], dict[str, Any]],
    ) -> frozenset[Any]:
        """The fields with a template that could not be filled in; each is told at its place."""
        from qrun.manifest.template import Fault

        faults = {text: value for text, value in values.items() if isinstance(value, Fault)}
        if not faults:
            return NONE
        found = list(places(fields, faults.__contains__))
        seen = {"vars": self.variables, **sight(draft)}
        verdicts = [
            Verdict(path=path, message=f"{show(text)}: {faults[text].message}", hint=_near(faults[text], seen))
            for path, text in found
        ]
        self.fail(draft, verdicts)
        return frozenset(path[0] for path, _ in found)

    def _has_form(self, draft: Draft) -> bool:
        verdicts = schema.shapes().rendered.verdicts(draft.fields)
        if verdicts:
            within = f" (in {draft.key})" if draft.key != draft.base else ""
            self.fail(draft, [replace(verdict, message=verdict.message + within) for verdict in verdicts])
        return not verdicts

    def _fill_programs(self, drafts: list[Draft]) -> list[Draft]:
        """Program files that are templates, each read once and filled in for each of its jobs."""
        sources: dict[str, str] = {}
        asked: list[tuple[int, str]] = []
        failed: set[int] = set()
        for place, draft in enumerate(drafts):
            for path, written in _template_files(draft.fields.get("program")):
                try:
                    if written not in sources:
                        sources[written] = self._program_text(written)
                    asked.append((place, written))
                except Refused as error:
                    failed.add(place)
                    message, hint = error.verdict(written)
                    self.fail(draft, [Verdict(path=path, message=message, hint=hint)])
        if not asked:
            return [draft for place, draft in enumerate(drafts) if place not in failed]
        made: dict[int, dict[str, Program]] = {}
        for (place, written), value in zip(asked, self._program_texts(drafts, sources, asked), strict=True):
            if isinstance(value, str):
                made.setdefault(place, {})[written] = _program(inside(self.source.folder, written), value)
            else:
                failed.add(place)
                self._fail_program(drafts[place], written, value)
        return [
            replace(draft, made=made[place]) if place in made else draft
            for place, draft in enumerate(drafts)
            if place not in failed
        ]

    def _program_text(self, written: str) -> str:
        data = self.builder.programs.read(inside(self.source.folder, written))
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise Refused("is not UTF-8 text, which a template must be") from error

    def _program_texts(
        self, drafts: list[Draft], sources: Mapping[str, str], asked: list[tuple[int, str]]
    ) -> list[Any]:
        numbers = {written: number for number, written in enumerate(sources)}
        pairs = [(numbers[written], place) for place, written in asked]
        sights = [self._sight(draft) for draft in drafts]
        return self.renderer().fill(list(sources.values()), {"vars": self.variables}, sights, pairs, text=True)

    def _fail_program(self, draft: Draft, written: str, fault: Any) -> None:
        """A fault inside of a program file is told at its line there."""
        self.failed[draft.key] = None
        self.source.found.append(
            Problem(
                file=inside(self.source.folder, written),
                line=fault.line,
                message=f"{fault.message} (for {draft.key})",
                hint=_near(fault, {"vars": self.variables, **self._sight(draft)}),
            )
        )

    # Order

    def _resolve_needs(self) -> None:
        """Names and patterns become the keys of jobs; nothing may wait for itself."""
        if not self.needs:
            return
        groups: dict[str, list[str]] = {}
        for key in (*(job.key for job in self.jobs), *self.failed):
            groups.setdefault(key, []).append(key)
            if ":" in key:
                groups.setdefault(key.partition(":")[0], []).append(key)
        bases = sorted({name.partition(":")[0] for name in groups})
        known: dict[str, tuple[str, ...]] = {}
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        for place, draft in self.needs:
            wanted = draft.fields["needs"]
            names: dict[str, None] = {}
            for number, word in enumerate([wanted] if isinstance(wanted, str) else wanted):
                if word not in known:
                    known[word] = _matching(word, groups)
                if not known[word]:
                    path: Path = ("needs",) if isinstance(wanted, str) else ("needs", number)
                    hint = did_you_mean(word, bases, "there are") if len(self.source.flaws) < HINTS else None
                    self.fail(draft, [Verdict(path=path, message=f"{show(word)} is not a job here", hint=hint)])
                lenient = "needs" not in draft.own or word not in groups
                names |= dict.fromkeys(key for key in known[word] if not (lenient and key == draft.key))
            found = shared.setdefault(tuple(names), tuple(names))
            job = self.jobs[place]
            self.jobs[place] = replace(job, conduct=replace(job.conduct, needs=found))
        self._check_circles()

    def _check_circles(self) -> None:
        drafts = {draft.key: draft for _, draft in self.needs}
        for circle in circles({job.key: job.conduct.needs for job in self.jobs if job.conduct.needs}):
            shown = circle if len(circle) < 9 else [*circle[:4], "…", *circle[-4:]]
            message = f"the jobs wait for each other in a circle: {' → '.join(shown)}"
            verdict = Verdict(path=("needs",), message=message, hint="take one of these needs out")
            self.fail(drafts[circle[0]], [verdict])

    # What is wrong

    def fail(self, draft: Draft, verdicts: Sequence[Verdict]) -> None:
        """Notes what is wrong with a job, with all places where that may be written."""
        self.failed[draft.key] = None
        base: Path = () if self.short else ("jobs", draft.base)
        for verdict in verdicts:
            if draft.base in self.flawed and not verdict.path:
                continue  # what is missing may be what is misspelt
            if len(self.source.flaws) >= TOLD:
                self._tell_roughly((*base, *verdict.path), draft.line, verdict.message, verdict.hint)
                continue
            paths: list[Path] = [(*base, *verdict.path)]
            if draft.run is not None and verdict.path:
                paths.insert(0, (*base, "runs", draft.run, *verdict.path))
            if self.defaults and verdict.path:
                paths.append(("defaults", *verdict.path))
            self.source.flaws.append(
                Flaw(
                    document=self.document.index,
                    paths=tuple(paths),
                    message=verdict.message,
                    hint=verdict.hint,
                    at_key=verdict.at_key,
                )
            )

    def _tell_roughly(self, path: Path, line: int, message: str, hint: str | None) -> None:
        """At the line of the job, without a search for the place."""
        self.source.found.append(
            Problem(file=self.source.file, line=line, field=words.field(path) or None, message=message, hint=hint)
        )

    def flaw(self, path: Path, message: str, hint: str | None = None, *, at_key: bool = False) -> None:
        self.source.flaws.append(
            Flaw(document=self.document.index, paths=(path,), message=message, hint=hint, at_key=at_key)
        )


def _near(fault: Any, sight: Mapping[str, Any]) -> str | None:
    """The known name that an undefined one was meant to be."""
    if fault.undefined is None:
        return None
    scope, _, name = fault.undefined.rpartition(".")
    if scope:
        known = sight.get(scope)
        return did_you_mean(name, known, f"{scope} has") if isinstance(known, dict) and known else None
    inner = [f"{part}.{name}" for part, known in sight.items() if isinstance(known, dict) and name in known]
    return f"did you mean {show(inner[0])}?" if inner else did_you_mean(name, sight, "there are")


def _wrong_defaults(verdicts: Sequence[Verdict]) -> frozenset[Any]:
    return frozenset(name for verdict in verdicts if verdict.path[:1] == ("defaults",) for name in verdict.path[1:2])


def _matching(word: str, groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The jobs that a name, the key of a matrix, or a pattern stands for."""
    if word in groups:
        return tuple(groups[word])
    if not any(sign in word for sign in "*?["):
        return ()
    return tuple(key for key, own in groups.items() if key in own and fnmatchcase(key, word))


def _template_files(program: Any) -> Iterator[tuple[Path, str]]:
    """The programs whose text is a template, each with the path of its own path."""
    several = isinstance(program, list)
    for place, one in enumerate(program if several else (program,)):
        if isinstance(one, dict) and one.get("template"):
            yield (("program", place, "path") if several else ("program", "path")), one["path"]


def _has_template_file(draft: Draft) -> bool:
    return any(True for _ in _template_files(draft.fields.get("program")))


def _program(path: str, text: str) -> Program:
    data = normalised(text.encode())
    return Program(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data), content=data)
