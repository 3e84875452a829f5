"""Taking in a job that the provider has: record it, look at it once, and tell how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qrun.cli.conclusion import unsatisfied_standing
from qrun.cli.exits import Ends, exit_code
from qrun.cli.opened import Opened, open_json, tell_open
from qrun.cli.out import errors_json, say_json, tell, tell_problems
from qrun.cli.proposal import propose
from qrun.cli.running import Orders, take
from qrun.clock import Clock
from qrun.errors import QrunError, StoreError
from qrun.events import Event, Warned
from qrun.record import Phase
from qrun.render.jobs import Standing, counts, job_json
from qrun.render.progress import line

if TYPE_CHECKING:
    from qrun.cli.reading import Reading
    from qrun.cli.running import Work
    from qrun.fact import Fact
    from qrun.job import Job


def take_in(work: Work, facts: Sequence[Fact], reading: Reading, orders: Orders) -> list[QrunError]:
    """Record that the provider has a job, and look at it once, as a sync would; what went wrong while looking."""
    work.store.note(*facts)
    experiment, held = work.proposal.experiment, work.proposal.held
    work.proposal = propose(experiment, work.store, work.policy, Clock().now(), held=held)
    errors = take([work], reading, orders, _heard)
    return [*errors, *(work.outcome.errors if work.outcome is not None else ())]


def _heard(event: Event) -> None:
    if isinstance(event, Warned) and (text := line(event)) is not None:
        tell(text)


def standing(work: Work, job: Job | None, key: str, digest: str) -> Standing:
    """How a job stands now, in results that are held."""
    record = work.store.records.get(key, digest)
    missing = record is not None and record.phase is Phase.SUCCEEDED and not record.accepted
    return Standing(
        experiment=work.name,
        key=key,
        job=job,
        record=record,
        missing=missing and record is not None and work.store.missing(record),
    )


def conclude(
    standings: Sequence[Standing],
    reading: Reading,
    errors: Sequence[QrunError],
    output: str,
    *,
    works: Sequence[Work] = (),
) -> int:
    """The end of `resolve` and `import`: `status` of these jobs, and the exit code that `sync` would give for them.

    `works` are the results that were held, whose open batches are told.
    """
    held: dict[str, Sequence[Opened]] = {work.name: work.opened for work in works}
    for error in errors:
        tell_problems(error)
    if output == "table":
        tell_open([batch for batches in held.values() for batch in batches])
    if output == "json":
        groups = [(e, [s for s in standings if s.experiment == e.name]) for e in reading.experiments]
        experiments: list[dict[str, Any]] = [
            {
                "experiment": experiment.name,
                "manifest": experiment.path or None,
                "jobs": [job_json(standing) for standing in group],
                "summary": counts(group),
                **open_json(held.get(experiment.name, ())),
            }
            for experiment, group in groups
            if group
        ]
        say_json({"version": 1, "experiments": experiments, "errors": errors_json(errors)})
    return exit_code(
        Ends(
            store=any(isinstance(error, StoreError) for error in errors),
            uncertain=any(s.phase in (Phase.INTENT, Phase.UNCERTAIN) for s in standings),
            error=any(not isinstance(error, StoreError) for error in errors),
            unsatisfied=any(map(unsatisfied_standing, standings)),
        )
    )
