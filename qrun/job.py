"""What an author asked for: a job, rendered and complete, and the digest that makes it that job and no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.canonical import Json, digest

DIGEST_VERSION: Final = 1


class Nothing(dict[str, Any]):
    """An empty map that stays empty, so that it can be a default."""

    def __hash__(self) -> int:  # type: ignore[override]
        return 0

    def __setitem__(self, key: str, value: Any) -> None:
        raise TypeError("this map stays empty")


NOTHING: Final[Mapping[str, Any]] = Nothing()


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a job runs; one object serves all jobs that share it.

    `connection` is the manifest's word and local; `provider` is its type; `site` is the lower-case host with project
    and organization, None where none is known or (for `local`) none exists. `variant` is the connection's, local too.
    """

    connection: str
    provider: str
    device: str
    site: str | None = None
    variant: str | None = None

    @property
    def way(self) -> str:
        """The provider's type with the variant of it, as `providers.capabilities` takes it."""
        return self.provider if self.variant is None else f"{self.provider}/{self.variant}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Conduct:
    """How qrun behaves around a job; none of it is identity. `timeout` is in seconds from *running*."""

    attempts: int = 1
    timeout: float | None = None
    needs: tuple[str, ...] = ()
    together: str | None = None  # jobs with the same word go out in one submission
    pack: int | None = None  # members a submission holds at most
    open: bool = False  # whether the container stays open for more


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """One program file: `path` relative to the root with forward slashes, SHA-256 and size of the bytes that are sent.

    `content` holds those bytes only where a template made them; otherwise they are read again from `path` when needed
    and must hash the same.
    """

    path: str
    sha256: str
    size: int
    content: bytes | None = field(default=None, repr=False)

    @property
    def suffix(self) -> str:
        """The file's ending without its dot, as it serves in the results directory; `bin` where there is none."""
        name = self.path.rpartition("/")[2]
        ending = name.rpartition(".")[2].lower() if "." in name else ""
        return ending if ending.isascii() and ending.isalnum() and len(ending) <= 8 else "bin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One run that should exist. `line` is where its key stands in the manifest (from 1; 0 where it was made)."""

    experiment: str
    key: str
    target: Target
    kind: str
    digest: str
    digest_without_site: str
    programs: tuple[Program, ...] = ()
    shots: int | None = None
    params: Mapping[str, Any] = NOTHING
    observable: tuple[tuple[str, float], ...] = ()
    options: Mapping[str, Any] = NOTHING  # identity and local ones together
    grants: tuple[Mapping[str, Any], ...] = ()
    secrets: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str = ""
    conduct: Conduct = Conduct()
    line: int = 0

    @property
    def name(self) -> str:
        """As users and commands say it: `experiment.key`, or only the key where both are one."""
        return self.key if self.key == self.experiment else f"{self.experiment}.{self.key}"


def identity(
    *,
    provider: str,
    device: str,
    kind: str,
    programs: Sequence[str] = (),
    shots: int | None = None,
    params: Mapping[str, Any] = NOTHING,
    observable: Sequence[Sequence[Any]] = (),
    options: Mapping[str, Any] = NOTHING,
    grants: Sequence[Mapping[str, Any]] = (),
    secrets: Sequence[str] = (),
    site: str | None = None,
) -> dict[str, Json]:
    """The identity fields of DESIGN §3 with everything that equals its frozen default left out.

    `programs` are SHA-256 hashes; `options` only those that the provider's schema marks as identity.
    """
    whole: dict[str, Json] = {"provider": provider, "device": device, "kind": kind}
    optional: dict[str, Any] = {
        "program": list(programs),
        "shots": shots,
        "params": params,
        "observable": observable,
        "options": options,
        "grants": grants,
        "secrets": secrets,
        "site": site,
    }
    return whole | {name: value for name, value in optional.items() if value}


def digests(*, site: str | None = None, **fields: Any) -> tuple[str, str]:
    """The digest with the site and the one without; one and the same string object where there is no site."""
    without = digest(identity(**fields))
    return (without if site is None else digest(identity(site=site, **fields)), without)


def rendered(job: Job) -> dict[str, Any]:
    """The job as records keep it: everything that was sent or decided, and no secret."""
    whole: dict[str, Any] = {
        "provider": job.target.provider,
        "connection": job.target.connection,
        "site": job.target.site,
        "device": job.target.device,
        "kind": job.kind,
        "program": [{"path": program.path, "sha256": program.sha256, "size": program.size} for program in job.programs],
        "shots": job.shots,
        "params": dict(job.params),
        "observable": [list(term) for term in job.observable],
        "options": dict(job.options),
        "grants": [dict(grant) for grant in job.grants],
        "secrets": list(job.secrets),
        "tags": list(job.tags),
        "description": job.description,
    }
    return {name: value for name, value in whole.items() if value not in (None, "", [], {})}
