"""The seam between the core and a quantum cloud: what a provider can do, and the questions that qrun asks it.

A provider inherits nothing. What it cannot do is said by its `capabilities`; those are plain data, importable without
the provider's libraries, so that `validate` and `plan` need neither network nor secret.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from qrun.job import NOTHING, Job, Program
from qrun.record import Handle, Member, Phase

FIELDS: Final = frozenset({"program", "shots", "params", "observable", "options", "grants", "secrets", "tags"})


class Recovery(StrEnum):
    """How a submit whose outcome is unclear is cleared up (RELIABILITY §1b)."""

    LOCAL = "local"  # nothing outlives the process: run it again
    KEY = "A"  # the server knows our key: send again
    ID_FIRST = "A'"  # the id came, and was noted, before anything was started
    SEARCH = "B"  # our marker can be searched
    COUNT = "C"  # only a list to compare with
    NOTHING = "D"  # nothing can be asked


@dataclass(frozen=True, kw_only=True, slots=True)
class Flaw:
    """What is wrong with a job as far as its provider sees it without asking anybody.

    `path` leads to the value within the job, or with `at_key` to its name; `line` is one of the program.
    """

    path: tuple[str | int, ...]
    message: str
    hint: str | None = None
    line: int | None = None
    at_key: bool = False


Flaws = Callable[[Job, Callable[[Program], bytes]], Iterable[Flaw]]  # of a job, whose programs' bytes are given


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What one kind of job takes. `options` is a JSON Schema for the manifest's `options`, whose properties carry
    `"x-local": true` where they are not identity. `flaws` looks further than a schema can.
    """

    fields: frozenset[str]
    required: frozenset[str] = frozenset()
    options: Mapping[str, Any] = NOTHING
    flaws: Flaws | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """`recovery` is asked by (kind, step), then by kind, then by ""; `devices` is closed only for `local`.

    `settle` is how many seconds after a send a search may still miss what was sent (RELIABILITY §2.2).
    """

    provider: str
    kinds: Mapping[str, Kind]
    default_kind: str
    recovery: Mapping[str, Recovery]
    devices: tuple[str, ...] | None = None
    remote: bool = True
    settle: float = 60.0
    cancel: bool = True
    relabel: bool = False
    logs: bool = False
    grants: bool = False
    members: int = 1  # jobs that one submission holds at most
    packs: bool = False  # whether jobs that are alike go out together unasked
    opens: bool = False  # whether a container can stay open for more jobs; such a provider is also a `Containers`
    filters: frozenset[str] = frozenset()  # those of `Filters` that it heeds and not every provider does

    def recover(self, kind: str, step: str = "create") -> Recovery:
        for name in (f"{kind}/{step}", f"*/{step}", kind, ""):
            if name in self.recovery:
                return self.recovery[name]
        return Recovery.NOTHING


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """Jobs that go out together: one request, one marker. `programs` maps a SHA-256 to the bytes that are sent."""

    connection: str
    jobs: tuple[Job, ...]
    attempts: tuple[int, ...]
    programs: Mapping[str, bytes] = field(repr=False)
    step: str = "create"
    container: Handle | None = None
    project: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A submission for which everything that can fail has been done. `payloads` is a digest per member, in order.

    Past `good_until` (seconds of the clock's `monotonic`) it is prepared again.
    """

    submission: Submission
    payloads: tuple[str, ...]
    body: Any = field(repr=False)
    good_until: float | None = None
    device: Mapping[str, Any] | None = field(default=None, repr=False)  # what the provider says of the device now


class Sending(Protocol):
    """What travels with one submit, and the pen that makes its steps durable."""

    @property
    def marker(self) -> str: ...
    @property
    def mark(self) -> str: ...
    @property
    def noted(self) -> Mapping[str, str]: ...  # what earlier runs durably noted
    async def note(self, **facts: str) -> None: ...  # returns once it is on disk


@dataclass(frozen=True, kw_only=True, slots=True)
class Marks:
    """What to look for: everything of one experiment, or one submission and what is known of it."""

    mark: str
    marker: str | None = None
    members: tuple[Member, ...] = ()
    noted: Mapping[str, str] = NOTHING
    container: Handle | None = None
    step: str = "create"
    since: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One job that the provider has. `payload` is None where the provider does not give back what was sent.

    A listing may leave `payload` out where it costs a request of its own; `inspect` gives it. `phase` is None where
    `word` is unknown to us; `name` and `description` are the job's at the provider.
    """

    handle: Handle
    marker: str | None = None
    mark: str | None = None
    device: str | None = None
    shots: int | None = None
    created: str | None = None
    payload: str | None = None
    word: str | None = None
    started: bool = True  # False: it exists, costs nothing, and was never asked to run (class A')
    phase: Phase | None = None
    kind: str | None = None
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    open: bool | None = None  # whether its container takes more jobs; None where it is in none, or it is not told
    members: int | None = None  # this is a container, with so many jobs


@dataclass(frozen=True, kw_only=True, slots=True)
class Filters:
    """Which of an account's jobs are meant; a provider heeds every one of them, itself where its service cannot.

    `words` are the provider's own status words, `text` a part of id, name or description, `since` and `until` times
    of creation (RFC 3339, inclusive). What stands beneath `until` is heeded where `Capabilities.filters` names it:
    `containers` asks for these in place of jobs, `ids` are those of what is listed, `within` of the containers of
    jobs, `errors` says whether the provider has noted any.
    """

    words: tuple[str, ...] = ()
    device: str | None = None
    kind: str | None = None
    text: str | None = None
    tags: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    containers: bool = False
    open: bool | None = None
    ids: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    priorities: tuple[str, ...] = ()
    least: int | None = None  # shots
    most: int | None = None
    errors: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recalled:
    """A job as the provider gives it back: what a manifest would say of it.

    `fields` holds `device`, `kind` and, where there are any, `shots`, `params`, `observable`, `options`, `tags`,
    `description`: one that is left out is empty there, None stands where the provider cannot tell. `programs` are the
    bytes that were sent, in order, each with a file name of ours.
    """

    found: Found
    fields: Mapping[str, Any]
    programs: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """A log file of a job; `name` is ours, never the server's."""

    name: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """What the provider says of one job. `phase` is None where `word` is unknown to us: the last phase is kept.

    `error` is the one request that failed for this handle; it ends nothing. `running` tells live jobs apart.
    """

    phase: Phase | None
    word: str
    message: str | None = None
    running: bool = False
    provided: Mapping[str, Any] = NOTHING
    error: Exception | None = None


class LiveSet(Protocol):
    """The handles that wait now, read again before each sweep; `changed` returns once the set has changed."""

    def handles(self) -> Collection[Handle]: ...
    async def changed(self) -> None: ...


class Sink(Protocol):
    """Where a fetch puts what it downloads. `raw` returns once the bytes are durable; `gone`: they exist no more."""

    async def raw(self, handle: Handle, name: str, data: bytes) -> None: ...
    async def results(self, handle: Handle, results: Mapping[str, Any]) -> None: ...  # no raw form: local
    async def gone(self, handle: Handle, words: str) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What a container is to be called. `markers` are those of all submissions whose jobs it holds."""

    markers: tuple[str, ...]
    mark: str
    tags: tuple[str, ...]  # those that all members share
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    device: str
    status: str
    qubits: int | None = None
    pending: int | None = None
    calibrated_at: str | None = None
    facts: Mapping[str, Any] = NOTHING


class Containers(Protocol):
    """What a provider offers besides whose containers can stay open for more jobs."""

    def alike(self, job: Job, other: Mapping[str, Any]) -> bool: ...  # may it stand in one container with `other`?
    async def opened(self, container: Handle) -> bool: ...  # whether more jobs may join
    async def close(self, container: Handle) -> None: ...  # twice is no error


class Provider(Protocol):
    """One configured connection. All but `pack` and `read` may raise ProviderError; only `submit` costs money.

    `read` makes the normal form of DESIGN §6; `raw` holds what was downloaded by name, and the programs that were sent
    by their SHA-256.
    """

    @property
    def capabilities(self) -> Capabilities: ...
    def pack(self, jobs: Sequence[Job]) -> Sequence[Sequence[Job]]: ...
    async def prepare(self, submission: Submission) -> Prepared: ...
    def slot(self) -> AbstractAsyncContextManager[None]: ...  # waits until the requests of one submit may leave at once
    async def submit(self, prepared: Prepared, sending: Sending) -> Sequence[Handle]: ...
    async def find(self, marks: Marks) -> Sequence[Found]: ...
    async def inspect(self, handle: Handle) -> Found: ...
    def watch(self, live: LiveSet) -> AsyncIterator[tuple[Handle, Status]]: ...
    async def fetch(self, handles: Sequence[Handle], sink: Sink) -> None: ...
    def read(self, job: Mapping[str, Any], raw: Mapping[str, bytes]) -> Mapping[str, Any]: ...
    async def cancel(self, handles: Collection[Handle]) -> Mapping[Handle, str | None]: ...
    async def relabel(self, container: Handle, labels: Labels) -> None: ...
    def list(self, filters: Filters) -> AsyncIterator[Found]: ...  # newest first
    async def recall(self, handle: Handle) -> Recalled: ...
    def logs(self, handle: Handle) -> AsyncIterator[Log]: ...
    async def devices(self) -> Sequence[Device]: ...
    async def aclose(self) -> None: ...
