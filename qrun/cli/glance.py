"""What `apply` and `status` answer where nothing has changed since an `apply` found nothing left to do.

An apply that ends with every job done keeps its answer with the signatures of all files that it rests on; as long as
they hold, loading manifests and locks again could only give the same answer. See `store/glance.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from qrun import __version__
from qrun.clock import Clock
from qrun.store import glance as kept

if TYPE_CHECKING:
    from qrun.cli.reading import Look
    from qrun.cli.running import Work
    from qrun.manifest import Values
    from qrun.settings import Settings


def recall(look: Look, values: Values, *, details: bool = False) -> Mapping[str, Any] | None:
    """The answer for these manifests and values, if it still holds; with `details` what `status` shows of each job."""
    return kept.recall(look.settings.root, _name(look), _question(look, values), details=details)


def keep(look: Look, values: Values, since: float, works: Sequence[Work]) -> None:
    """To be called while the results are still held; `since` is wall time, before the manifests were read."""
    from qrun.cli.conclusion import nothing_to_do
    from qrun.render.jobs import counts, rows

    if not works:
        return
    every = [standing for work in works for standing in work.standings()]
    glance = kept.Glance(
        question=_question(look, values),
        read=[*map(os.path.abspath, look.files), *dict.fromkeys(path for work in works for path in _programs(work))],
        written=[path for work in works for path in _results(work)],
        answer={"apply": nothing_to_do(every)},
        details={"rows": rows(every), "counts": counts(every)},
    )
    kept.keep(works[0].store.disk, _name(look), glance, since=since, now=Clock().now())


def _programs(work: Work) -> Iterator[str]:
    return (program.path for job in work.proposal.experiment.jobs for program in job.programs)


def _results(work: Work) -> Iterator[str]:
    store = work.store
    disk, journal = store.journal_file
    yield store.lock_file
    yield os.path.join(disk.root, journal)
    for record in store.records:
        yield store.record_file(record.key, record.digest)
        yield from (store.output_file(record, output) for output in record.outputs or ())


def _name(look: Look) -> str:
    return sha256(repr([os.path.abspath(file) for file in look.files]).encode()).hexdigest()[:16]


def _question(look: Look, values: Values) -> str:
    files = [os.path.relpath(os.path.abspath(file), look.settings.root) for file in look.files]
    given = (sorted(values.texts.items()), repr(sorted(values.typed.items())))
    return kept.question([__version__, files, given, *_settings(look.settings)])


def _settings(settings: Settings) -> Iterator[object]:
    yield (settings.root, settings.project, settings.journal, settings.superseded)
    yield from settings.connections.signature()
