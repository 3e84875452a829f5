"""From the rendered fields of one job to a Job: what its provider offers is held against what was asked for.

One `Builder` serves all manifests of a command, so that jobs share what is equal: targets, conducts, tags, programs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.canonical import EXACT
from qrun.connection import Connection
from qrun.job import NOTHING, Conduct, Job, Program, Target, digests
from qrun.manifest.expand import plain_numbers, seconds
from qrun.manifest.programs import Programs, Refused, inside
from qrun.manifest.schema import Path, Shape, Verdict
from qrun.manifest.words import did_you_mean, show
from qrun.provider import FIELDS, Capabilities, Flaw, Kind

ALWAYS: Final = frozenset(
    {"provider", "device", "kind", "tags", "description", "submit", "retry", "timeout", "needs", "matrix", "runs"}
)
PLACE: Final[Mapping[str, str]] = {
    "provider": 'name a connection, or a provider such as "local"',
    "device": 'name one, such as "ddsim" of the provider "local"',
}
CONDUCT: Final = frozenset({"submit", "retry", "timeout"})
LONG: Final = 40  # characters of a number in a message
SHARED: Final = 4096  # different tags, conducts or settings that are kept to be shared


@dataclass(kw_only=True, slots=True)
class Draft:
    """A job on its way. `fields` are merged, and rendered before they are built; `own` are those not inherited.

    `base` is the key in the manifest, `run` the place among its runs. `made` holds the programs that a template made,
    by the path that the manifest gives.
    """

    key: str
    base: str
    line: int
    fields: dict[str, Any]
    own: AbstractSet[str]
    own_options: AbstractSet[str] = frozenset()
    combination: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    run: int | None = None
    together: str | None = None
    made: Mapping[str, Program] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where and as what a job runs, and what it may then say."""

    target: Target
    kind: str
    offer: Kind
    fields: frozenset[str]
    options: Shape | None
    named: frozenset[str] | None  # the options there are; None where any name is taken
    local: frozenset[str]  # the options that are no identity


class Builder:
    """Makes jobs of drafts. `taken` collects the options that some job of the experiment at hand could use."""

    def __init__(
        self,
        connections: Mapping[str, Connection],
        capabilities: Callable[[str], Capabilities],
        programs: Programs,
    ) -> None:
        self.connections = connections
        self.capabilities = capabilities
        self.programs = programs
        self.taken: set[str] = set()
        self._settings: dict[tuple[Any, ...], Setting | list[Verdict]] = {}
        self._shared: dict[Any, Any] = {}

    def job(self, draft: Draft, experiment: str, folder: str) -> Job | list[Verdict]:
        """The job, or all that stands against it, with paths that begin at the job."""
        fields = draft.fields
        verdicts = [_missing(name, hint) for name, hint in PLACE.items() if name not in fields]
        setting = verdicts or self.setting(fields["provider"], fields["device"], fields.get("kind"))
        if isinstance(setting, list):
            return [*setting, *self.unread(draft, folder)]
        if not fields.keys() <= setting.fields:
            fields = self._fitting(draft, setting, verdicts)
        if not setting.offer.required <= fields.keys():
            why = f"the kind {show(setting.kind)} of {show(setting.target.provider)} needs it"
            verdicts += [_missing(name, why) for name in sorted(setting.offer.required - fields.keys())]
        options = self._options(draft, setting, fields["options"], verdicts) if "options" in fields else NOTHING
        programs = self._programs(draft, fields["program"], folder, verdicts) if "program" in fields else ()
        observable = _observable(fields["observable"], verdicts) if "observable" in fields else ()
        if verdicts:
            return verdicts
        job = self._built(draft, experiment, setting, fields, options, programs, observable)
        if setting.offer.flaws is None or not isinstance(job, Job):
            return job
        try:
            return [_seen(flaw) for flaw in setting.offer.flaws(job, self._content)] or job
        except Refused:  # gone since it was hashed, which whoever sends it will tell
            return job

    def unread(self, draft: Draft, folder: str) -> list[Verdict]:
        """What stands against the programs of a job that is refused for other reasons."""
        verdicts: list[Verdict] = []
        if "program" in draft.fields:
            self._programs(draft, draft.fields["program"], folder, verdicts)
        return verdicts

    def setting(self, provider: str, device: str, kind: str | None) -> Setting | list[Verdict]:
        found = self._settings.get((provider, device, kind))
        if found is None:
            found = self._setting(provider, device, kind)
            if len(self._settings) < SHARED:
                self._settings[provider, device, kind] = found
        return found

    def _built(
        self,
        draft: Draft,
        experiment: str,
        setting: Setting,
        fields: Mapping[str, Any],
        options: Mapping[str, Any],
        programs: tuple[Program, ...],
        observable: tuple[tuple[str, float], ...],
    ) -> Job | list[Verdict]:
        target = setting.target
        shots = fields.get("shots")
        shots = None if shots is None else int(shots)
        params = plain_numbers(fields["params"]) if fields.get("params") else NOTHING
        local = setting.local
        try:
            with_site, without = digests(
                site=target.site,
                provider=target.provider,
                device=target.device,
                kind=setting.kind,
                programs=[program.sha256 for program in programs],
                shots=shots,
                params=params,
                observable=observable,
                options={name: value for name, value in options.items() if name not in local} if local else options,
            )
        except UnicodeEncodeError:
            return [Verdict(path=(), message="holds text that is not Unicode", hint="write it in UTF-8")]
        except ValueError as error:
            path = next(_beyond({"params": params, "options": options, "observable": observable}), ())
            number, _, words = str(error).partition(" ")
            message = f"{number if len(number) <= LONG else number[:LONG] + '…'} {words}"
            return [Verdict(path=path, message=message, hint="quote it where it is made, to send it as text")]
        return Job(
            experiment=experiment,
            key=draft.key,
            target=target,
            kind=setting.kind,
            digest=with_site,
            digest_without_site=without,
            programs=programs,
            shots=shots,
            params=params,
            observable=observable,
            options=options,
            tags=self._tags(fields["tags"]) if "tags" in fields else (),
            description=fields.get("description", ""),
            conduct=PLAIN if draft.together is None and CONDUCT.isdisjoint(fields) else self._conduct(draft, fields),
            line=draft.line,
        )

    def _setting(self, provider: str, device: str, kind: str | None) -> Setting | list[Verdict]:
        connection = self.connections.get(provider)
        name = provider if connection is None else connection.provider
        target = Target(
            connection=provider,
            provider=name,
            device=device,
            site=None if connection is None else connection.site,
            variant=None if connection is None else connection.settings.get("variant"),
        )
        try:
            capabilities = self.capabilities(target.way)
        except KeyError:
            return [self._unknown(provider, connection)]
        verdicts = []
        if capabilities.devices is not None and device not in capabilities.devices:
            hint = did_you_mean(device, capabilities.devices, "there are")
            message = f"{show(device)} is not a device of {show(provider)}"
            verdicts.append(Verdict(path=("device",), message=message, hint=hint))
        word = kind or capabilities.default_kind
        offer = capabilities.kinds.get(word)
        if offer is None:
            hint = did_you_mean(word, capabilities.kinds, "there are")
            message = f"{show(word)} is not a kind of {show(provider)}"
            verdicts.append(Verdict(path=("kind",), message=message, hint=hint))
        if offer is None or verdicts:
            return verdicts
        return _offered(target, word, offer)

    def _unknown(self, provider: str, connection: Connection | None) -> Verdict:
        from qrun.providers import MODULES

        if connection is not None:
            message = f"{show(provider)} is a connection of type {show(connection.provider)}, which is not supported"
            return Verdict(path=("provider",), message=message, hint=f"supported are: {', '.join(sorted(MODULES))}")
        hint = did_you_mean(provider, {*self.connections, *MODULES}, "there are")
        return Verdict(path=("provider",), message=f"{show(provider)} is not a connection or a provider", hint=hint)

    def _fitting(self, draft: Draft, setting: Setting, verdicts: list[Verdict]) -> dict[str, Any]:
        """The fields that the kind takes; another one is an error where it is the job's own."""
        for name in draft.fields:
            if name not in setting.fields and name in draft.own:
                message = f"is nothing that the kind {show(setting.kind)} of {show(setting.target.provider)} takes"
                verdicts.append(Verdict(path=(name,), message=message, hint="take it out", at_key=True))
        return {name: value for name, value in draft.fields.items() if name in setting.fields}

    def _options(
        self, draft: Draft, setting: Setting, options: dict[str, Any], verdicts: list[Verdict]
    ) -> Mapping[str, Any]:
        if setting.named is not None:
            self.taken.update(options.keys() & setting.named)
            options = {
                name: value for name, value in options.items() if name in setting.named or name in draft.own_options
            }
        if setting.options is not None:
            verdicts += setting.options.verdicts(options, ("options",))
        return plain_numbers(options) if options else NOTHING

    def _programs(self, draft: Draft, program: Any, folder: str, verdicts: list[Verdict]) -> tuple[Program, ...]:
        several = isinstance(program, list)
        found: list[Program] = []
        for place, one in enumerate(program if several else (program,)):
            text = one["path"] if isinstance(one, dict) else one
            if text in draft.made and isinstance(one, dict) and one.get("template"):
                found.append(draft.made[text])
                continue
            try:
                found.append(self.programs.program(inside(folder, text)))
            except Refused as error:
                path: tuple[str | int, ...] = ("program", place) if several else ("program",)
                path = (*path, "path") if isinstance(one, dict) else path
                message, hint = error.verdict(text)
                verdicts.append(Verdict(path=path, message=message, hint=hint))
        return tuple(found)

    def _content(self, program: Program) -> bytes:
        """What was hashed just now, as a rule; who looks into it remembers what it found."""
        return program.content if program.content is not None else self.programs.read(program.path)

    def _tags(self, tags: Sequence[str]) -> tuple[str, ...]:
        words = tuple(tags)
        return words if len(self._shared) > SHARED else self._shared.setdefault(words, words)

    def _conduct(self, draft: Draft, fields: Mapping[str, Any]) -> Conduct:
        submit = fields.get("submit", NOTHING)
        pack = submit.get("pack")
        conduct = Conduct(
            attempts=int(fields.get("retry", NOTHING).get("attempts", 1)),
            timeout=seconds(fields.get("timeout")),
            together=submit.get("with", draft.together),
            pack=None if pack is None else int(pack),
            open=submit.get("open", False),
        )
        return conduct if len(self._shared) > SHARED else self._shared.setdefault(conduct, conduct)


PLAIN: Final = Conduct()


def _offered(target: Target, kind: str, offer: Kind) -> Setting:
    options = offer.options
    properties = options.get("properties", {})
    closed = options.get("additionalProperties") is False
    return Setting(
        target=target,
        kind=kind,
        offer=offer,
        fields=ALWAYS | (offer.fields & FIELDS),
        options=Shape({"x-name": f"the options of the kind {show(kind)}", **options}, options) if options else None,
        named=frozenset(properties) if closed else None,
        local=frozenset(name for name, schema in properties.items() if schema is not True and schema.get("x-local")),
    )


def _seen(flaw: Flaw) -> Verdict:
    where = "" if flaw.line is None else f"line {flaw.line} of it: "
    return Verdict(path=flaw.path, message=f"{where}{flaw.message}", hint=flaw.hint, at_key=flaw.at_key)


def _missing(name: str, hint: str) -> Verdict:
    return Verdict(path=(), message=f"{show(name)} is missing", hint=hint, at_key=True)


def _beyond(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where numbers stand that not every reader keeps."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _beyond(item, (*path, name))
    elif isinstance(value, (list, tuple)):
        for place, item in enumerate(value):
            yield from _beyond(item, (*path, place))
    elif isinstance(value, int):
        yield from [path] if abs(value) > EXACT else []
    elif isinstance(value, float) and not math.isfinite(value):
        yield path


QUBIT: Final = re.compile(r"[XYZ]([0-9]+)")


def _observable(terms: Sequence[Sequence[Any]], verdicts: list[Verdict]) -> tuple[tuple[str, float], ...]:
    for place, (product, _) in enumerate(terms):
        qubits = QUBIT.findall(product)
        if len(set(qubits)) < len(qubits):
            message = f"{show(product)} names a qubit twice"
            verdicts.append(Verdict(path=("observable", place, 0), message=message, hint="multiply the two by hand"))
    return tuple((product, plain_numbers(coefficient)) for product, coefficient in terms)
