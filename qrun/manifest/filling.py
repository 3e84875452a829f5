"""The templates of one document's jobs are filled in: those of its fields, and the programs that are templates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qrun.errors import Problem
from qrun.job import Program
from qrun.manifest import schema
from qrun.manifest.build import Draft
from qrun.manifest.expand import filled, places, texts
from qrun.manifest.flaws import NONE, Flaws
from qrun.manifest.programs import Programs, Refused, inside, normalised
from qrun.manifest.schema import QUOTES, Path, Verdict
from qrun.manifest.words import did_you_mean, show

if TYPE_CHECKING:
    from qrun.manifest.template import Fault, Renderer

Sight = Callable[[Draft], dict[str, Any]]  # what the templates of a job see beside `vars`


def templates(value: Any) -> list[str]:
    """The different templates among the texts, in order."""
    from qrun.manifest.template import is_template

    return list(dict.fromkeys(text for text in texts(value) if is_template(text)))


def has_template_file(program: Any) -> bool:
    return type(program) is not str and any(True for _ in _template_files(program))


def _template_files(program: Any) -> Iterator[tuple[Path, str]]:
    """The programs whose text is a template, each with the path of its own path."""
    several = isinstance(program, list)
    for place, one in enumerate(program if several else (program,)):
        if isinstance(one, dict) and one.get("template"):
            yield (("program", place, "path") if several else ("program", "path")), one["path"]


class Filler:
    """`renderer` starts the template process where it is not running yet."""

    def __init__(
        self,
        experiment: str,
        variables: Mapping[str, Any],
        programs: Programs,
        flaws: Flaws,
        renderer: Callable[[], Renderer],
    ) -> None:
        self.experiment = experiment
        self.variables = variables
        self.programs = programs
        self.flaws = flaws
        self.source = flaws.source
        self.renderer = renderer

    def filled(self, drafts: list[Draft]) -> list[Draft]:
        """The drafts without templates: first params, then the rest, then the programs that are templates."""
        if not self.source.templated and not any(has_template_file(draft.fields.get("program")) for draft in drafts):
            return drafts
        drafts = self._fill(drafts, lambda name: name == "params", self._early_sight)
        drafts = self._fill(drafts, lambda name: name != "params", self._sight)
        drafts = [draft for draft in drafts if self._has_form(draft)]
        return self._fill_programs(drafts)

    def values(self, asked: Sequence[tuple[dict[str, Any], list[str]]]) -> list[dict[str, Any]]:
        """For each sight the values of its templates, by their texts."""
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

    def faults(
        self, draft: Draft, fields: Mapping[str, Any], values: Mapping[str, Any], sight: Sight
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
        self.flaws.fail(draft, verdicts)
        return frozenset(path[0] for path, _ in found)

    def _fill(self, drafts: list[Draft], chosen: Callable[[str], bool], sight: Sight) -> list[Draft]:
        """The drafts with the chosen fields filled in, without the fields where that failed."""
        known: dict[int, list[str]] = {}
        for draft in drafts:
            if id(draft.fields) not in known:
                part = {name: value for name, value in draft.fields.items() if chosen(name)}
                known[id(draft.fields)] = templates(part)
        values = self.values([(sight(draft), known[id(draft.fields)]) for draft in drafts])
        done: list[Draft] = []
        for draft, value in zip(drafts, values, strict=True):
            wrong = self.faults(draft, {n: item for n, item in draft.fields.items() if chosen(n)}, value, sight)
            if wrong:
                self.flaws.spoil(draft.base, wrong)
            if not value:
                done.append(draft)
            elif "params" not in wrong:
                fields = {n: filled(i, value) if chosen(n) else i for n, i in draft.fields.items() if n not in wrong}
                done.append(replace(draft, fields=fields))
        return done

    def _sight(self, draft: Draft) -> dict[str, Any]:
        return {**self._early_sight(draft), "params": draft.fields.get("params", {})}

    def _early_sight(self, draft: Draft) -> dict[str, Any]:
        """What templates see while `params` itself is filled in."""
        return {"matrix": dict(draft.combination), "job": {"key": draft.key, "experiment": self.experiment}}

    def _has_form(self, draft: Draft) -> bool:
        verdicts = schema.shapes().rendered.verdicts(draft.fields)
        if verdicts:
            within = f" (in {draft.key})" if draft.key != draft.base else ""
            self.flaws.fail(draft, [replace(v, message=v.message + within, hint=_cure(v.hint)) for v in verdicts])
        return not verdicts

    # Programs

    def _fill_programs(self, drafts: list[Draft]) -> list[Draft]:
        """Each file is read once and filled in for each of its jobs; jobs where that fails are left out."""
        sources: dict[str, str] = {}
        failed: set[int] = set()
        asked = list(self._asked(drafts, sources, failed))
        values = self._program_texts(drafts, sources, asked) if asked else []
        made: dict[int, dict[str, Program]] = {}
        for (place, written), value in zip(asked, values, strict=True):
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

    def _asked(self, drafts: list[Draft], sources: dict[str, str], failed: set[int]) -> Iterator[tuple[int, str]]:
        """A draft's place and a file that it needs, whose text is then among the sources."""
        for place, draft in enumerate(drafts):
            for path, written in _template_files(draft.fields.get("program")):
                try:
                    if written not in sources:
                        sources[written] = self._program_text(written)
                    yield place, written
                except Refused as error:
                    failed.add(place)
                    message, hint = error.verdict(written)
                    self.flaws.fail(draft, [Verdict(path=path, message=message, hint=hint)])

    def _program_text(self, written: str) -> str:
        data = self.programs.read(inside(self.source.folder, written))
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise Refused("is not UTF-8 text, which a template must be") from error

    def _program_texts(
        self, drafts: list[Draft], sources: Mapping[str, str], asked: list[tuple[int, str]]
    ) -> list[Any | Fault]:
        numbers = {written: number for number, written in enumerate(sources)}
        pairs = [(numbers[written], place) for place, written in asked]
        sights = [self._sight(draft) for draft in drafts]
        return self.renderer().fill(list(sources.values()), {"vars": self.variables}, sights, pairs, text=True)

    def _fail_program(self, draft: Draft, written: str, fault: Fault) -> None:
        """A fault inside of a program file is told at its line there."""
        self.flaws.failed[draft.key] = None
        self.source.found.append(
            Problem(
                file=inside(self.source.folder, written),
                line=fault.line,
                message=f"{fault.message} (for {draft.key})",
                hint=_near(fault, {"vars": self.variables, **self._sight(draft)}),
            )
        )


def _cure(hint: str | None) -> str | None:
    """A text that should be a number has no quotes to take away where a template made it."""
    if hint is None or not hint.startswith(QUOTES):
        return hint
    return 'give the variable by --var-json, or write "| int" behind it'


def _near(fault: Fault, sight: Mapping[str, Any]) -> str | None:
    """The known name that an undefined one was meant to be."""
    if fault.undefined is None:
        return None
    scope, _, name = fault.undefined.rpartition(".")
    if "[" in name:
        return None
    if scope:
        known = sight.get(scope)
        return did_you_mean(name, known, f"{scope} has") if isinstance(known, dict) and known else None
    inner = [f"{part}.{name}" for part, known in sight.items() if isinstance(known, dict) and name in known]
    return f"did you mean {show(inner[0])}?" if inner else did_you_mean(name, sight, "there are")


def _program(path: str, text: str) -> Program:
    data = normalised(text.encode())
    return Program(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data), content=data)
