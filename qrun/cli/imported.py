"""What `import` took in and no manifest names: experiments of their own, which no command sends."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from qrun.store.paths import RESULTS

if TYPE_CHECKING:
    from qrun.job import Job
    from qrun.manifest import Experiment
    from qrun.record import Handle, Record
    from qrun.settings import Settings

PREFIX: Final = "import-"
KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def experiment_of(connection: str) -> str:
    return PREFIX + connection


def key_of(handle: Handle) -> str:
    """The handle, where it can be a key; else what is left of it, and 8 characters of its hash."""
    if KEY.fullmatch(handle):
        return handle
    slug = re.sub(r"[^A-Za-z0-9._-]", "-", handle)[:55]
    return f"{slug}-{sha256(handle.encode()).hexdigest()[:8]}"


def some_imported(root: str) -> bool:
    """Whether anything was imported, seen at a glance."""
    try:
        return any(name.startswith(PREFIX) for name in os.listdir(os.path.join(root, RESULTS)))
    except OSError:
        return False


def imported(settings: Settings, named: Collection[str]) -> list[Experiment]:
    """Each as an experiment whose jobs are its records; `named` are those of the manifests."""
    from qrun.cli.project import kept, stored
    from qrun.manifest import Experiment

    if not some_imported(settings.root):
        return []
    found = []
    for name in kept(settings):
        if not name.startswith(PREFIX) or name in named:
            continue
        view = stored(settings, name)
        jobs = [shown_job(name, record, view.job(record.key, record.digest)) for record in view.records]
        found.append(Experiment(name=name, file="", path=view.manifest, sha256="", line=0, jobs=jobs))
    return found


def shown_job(experiment: str, record: Record, was: Mapping[str, Any]) -> Job:
    """A recorded job for people to look at; never to be sent, since it has no programs."""
    from qrun.job import Job, Target

    last = record.last
    connection = was.get("connection") or (last.connection if last is not None else "") or record.provider
    shots = was.get("shots")
    return Job(
        experiment=experiment,
        key=record.key,
        target=Target(connection=str(connection), provider=record.provider, device=record.device, site=record.site),
        kind=str(was.get("kind", "")),
        digest=record.digest,
        digest_without_site=record.digest_without_site,
        shots=shots if isinstance(shots, int) else None,
        tags=record.tags,
        description=record.description,
    )
