"""Jobs as their provider gives them back, made jobs of ours, and held against the one that a manifest wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from qrun.canonical import canonical
from qrun.cli.reading import capabilities
from qrun.cli.why import identity
from qrun.containers import container
from qrun.errors import Missing, Unexpected
from qrun.job import NOTHING, Job, Program, Target, digests, rendered
from qrun.render.safe import safe, shown

if TYPE_CHECKING:
    from qrun.connection import Connection
    from qrun.provider import Found, Provider, Recalled
    from qrun.record import Handle

CUT: Final = 80  # characters of a value in a message
TOGETHER: Final = 16  # jobs that are asked for at a time


@runtime_checkable
class Contents(Protocol):
    """What a provider offers besides whose batches can be taken in as a whole."""

    async def contents(self, container: Handle) -> Sequence[Found]: ...  # raises Missing for what is no batch
    async def opened(self, container: Handle) -> bool: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Meant:
    """What an id stands for: one job, or all of a batch in their order; recalled are those that were not known.

    `open`: it is a batch that may take more jobs.
    """

    handles: tuple[Handle, ...]
    recalled: Mapping[Handle, Recalled]
    open: bool = False


async def meaning(provider: Provider, name: Handle, known: Container[Handle]) -> Meant:
    """Raises ProviderError."""
    found = await _members(provider, name)
    if found is None:
        recalled = await provider.recall(name)
        return Meant(handles=(recalled.found.handle,), recalled={recalled.found.handle: recalled})
    assert isinstance(provider, Contents)
    handles = tuple(each.handle for each in found)
    slots = asyncio.Semaphore(TOGETHER)

    async def one(handle: Handle) -> tuple[Handle, Recalled]:
        async with slots:
            return handle, await provider.recall(handle)

    told = await asyncio.gather(*(one(handle) for handle in handles if handle not in known))
    return Meant(handles=handles, recalled=dict(told), open=await provider.opened(name))


async def _members(provider: Provider, name: Handle) -> Sequence[Found] | None:
    """The jobs of a batch; None for what is none."""
    if container(name) != name or not isinstance(provider, Contents):
        return None
    try:
        return await provider.contents(name)
    except Missing:
        return None


# --- one of them ------------------------------------------------------------------------------------------------------


def compared(
    job: Job, recalled: Recalled, there: Connection, content: Callable[[Program], bytes]
) -> tuple[Sequence[str], Sequence[str]]:
    """Every difference in what makes a job this job and no other, and the fields that could not be compared.

    A field that the provider leaves out is empty there; one that it gives as None it cannot tell. Programs that are
    JSON are compared as such: a service may give one back in another spelling. `content` is that of ours.
    """
    one, two = identity(rendered(job)), identity(rendered(recalled_job(recalled, there, job.experiment, job.key)))
    unknown = {field for field, value in recalled.fields.items() if value is None}
    if job.programs and not recalled.programs:
        unknown.add("program")
    silent = unknown | ({"site"} if None in (job.target.site, there.site) else set())
    if _same_json([content(program) for program in job.programs], [data for _, data in recalled.programs]):
        silent.add("program")
    different = [
        f'"{safe(job.name)}" has {_value(field, one)}, and "{safe(recalled.found.handle)}" has {_value(field, two)}'
        for field in dict.fromkeys([*one, *two])
        if _family(field) not in silent and one.get(field) != two.get(field)
    ]
    return different, sorted(unknown & set(map(_family, one)))


def _same_json(ours: Sequence[bytes], theirs: Sequence[bytes]) -> bool:
    try:
        one, two = ([canonical(json.loads(data)) for data in some] for some in (ours, theirs))
        return bool(one) and one == two
    except (ValueError, TypeError, RecursionError):
        return False


def programs_of(recalled: Recalled) -> dict[str, bytes]:
    """By SHA-256."""
    return {sha256(data).hexdigest(): data for _, data in recalled.programs}


def recalled_job(recalled: Recalled, there: Connection, experiment: str, key: str) -> Job:
    try:
        return _job(recalled, there, experiment, key)
    except (KeyError, TypeError, ValueError) as error:
        words = f'"{safe(recalled.found.handle)}" comes back in a shape that this qrun does not know'
        raise Unexpected(words, hint="update qrun") from error


def _job(recalled: Recalled, there: Connection, experiment: str, key: str) -> Job:
    fields = {name: value for name, value in recalled.fields.items() if value is not None}
    programs = tuple(
        Program(path=name, sha256=sha256(data).hexdigest(), size=len(data)) for name, data in recalled.programs
    )
    device, kind, shots = fields["device"], fields["kind"], fields.get("shots")
    params, options = dict(fields.get("params", NOTHING)), dict(fields.get("options", NOTHING))
    observable = tuple((str(product), factor) for product, factor in fields.get("observable", ()))
    local = _local(there, kind)
    with_site, without = digests(
        site=there.site,
        provider=there.provider,
        device=device,
        kind=kind,
        programs=[program.sha256 for program in programs],
        shots=shots,
        params=params,
        observable=observable,
        options={name: value for name, value in options.items() if name not in local},
    )
    return Job(
        experiment=experiment,
        key=key,
        target=Target(connection=there.name, provider=there.provider, device=device, site=there.site),
        kind=kind,
        digest=with_site,
        digest_without_site=without,
        programs=programs,
        shots=shots,
        params=params,
        observable=observable,
        options=options,
        tags=tuple(map(str, fields.get("tags", ()))),
        description=str(fields.get("description", "")),
    )


def _local(there: Connection, kind: str) -> set[str]:
    """The options that are no identity."""
    kinds = capabilities(there.provider).kinds
    schema = kinds[kind].options.get("properties", {}) if kind in kinds else {}
    return {name for name, said in schema.items() if said is not True and said.get("x-local")}


def _family(field: str) -> str:
    """`params` of `params.angle`."""
    return field.partition(".")[0]


def _value(field: str, fields: Mapping[str, Any]) -> str:
    value = fields.get(field)
    if value is None:
        return f"no {safe(field)}"
    if field == "program":
        return f"program {', '.join(sha[:12] for sha in value)}"
    text = json.dumps(value, ensure_ascii=False)
    return f"{safe(field)} {shown(text if len(text) <= CUT else text[:CUT] + '…')}"
