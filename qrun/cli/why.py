"""`qrun why`: which identity fields make a job another one than was run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from qrun.cli.options import given_values, manifest_option, output
from qrun.cli.out import say, say_json
from qrun.cli.project import view
from qrun.cli.reading import read
from qrun.cli.selection import select
from qrun.job import Job, rendered
from qrun.providers import MODULES, capabilities
from qrun.render.safe import shown
from qrun.render.words import job_name

if TYPE_CHECKING:
    from qrun.record import Record
    from qrun.store.view import View

FIELDS: Final = (
    "provider",
    "site",
    "device",
    "kind",
    "program",
    "shots",
    "params",
    "observable",
    "options",
    "grants",
    "secrets",
)
CUT: Final = 80


@click.command("why")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@manifest_option
@output("table", "json")
def command(
    jobs: Sequence[str],
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
    output: str,
) -> int:
    """Name the fields in which a job differs from what was run under its name."""
    reading = read(manifests, given_values(var, var_json, var_files))
    known = {(e.name, job.key): (e, job) for e in reading.experiments for job in e.jobs}
    views: dict[str, View] = {}
    answers = []
    for name in select(jobs, known):
        experiment, job = known[name]
        seen = views.setdefault(name[0], view(reading.settings, experiment))
        answers.append(_answer(job, seen))
    if output == "json":
        say_json({"version": 1, "jobs": answers, "errors": []})
    else:
        say("\n".join(line for answer in answers for line in _lines(answer)))
    return 0


def _answer(job: Job, seen: View) -> dict[str, Any]:
    """What `-o json` prints of one job; `differences` is empty where it was run as it stands."""
    same = seen.records.get(job.key, job.digest)
    others = [r for r in seen.records.by_key.get(job.key, {}).values() if r.digest != job.digest and r.attempts]
    return {
        "experiment": job.experiment,
        "job": job.key,
        "digest": job.digest,
        "phase": str(same.phase) if same is not None and same.attempts else None,
        "others": [_other(job, record, seen) for record in sorted(others, key=lambda r: r.digest)],
    }


def _other(job: Job, record: Record, seen: View) -> dict[str, Any]:
    was = seen.job(record.key, record.digest)
    differences = list(_differences(identity(rendered(job)), identity(was)))
    return {"digest": record.digest, "phase": str(record.phase), "differences": differences}


def identity(job: Mapping[str, Any]) -> dict[str, Any]:
    """The identity fields of a rendered job, each part under its own name; programs by what they hold."""
    found = {name: job[name] for name in FIELDS if name in job}
    found["program"] = [program.get("sha256") for program in job.get("program", ())]
    found["options"] = _own(job)
    for name in ("params", "options"):
        found |= {f"{name}.{key}": value for key, value in found.pop(name, {}).items()}
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def _own(job: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are identity: all but those that the provider's schema marks as local."""
    provider, kind = job.get("provider", ""), job.get("kind", "")
    kinds = capabilities(provider).kinds if provider in MODULES else {}
    schema = kinds[kind].options.get("properties", {}) if kind in kinds else {}
    options = job.get("options", {})
    return {name: value for name, value in options.items() if not schema.get(name, {}).get("x-local")}


def _differences(now: Mapping[str, Any], was: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in dict.fromkeys([*now, *was]):
        if now.get(name) != was.get(name):
            yield {"field": name, "now": now.get(name), "was": was.get(name)}


def _lines(answer: Mapping[str, Any]) -> list[str]:
    name = job_name(answer["experiment"], answer["job"])
    lines = []
    if answer["phase"] is not None:
        lines.append(f"{name}: nothing differs, it is recorded as {answer['phase']} ({answer['digest'][:12]})")
    elif not answer["others"]:
        lines.append(f"{name}: it was not run yet")
    for other in answer["others"]:
        head = f"{name}: {other['digest'][:12]}, which is {other['phase']},"
        if not other["differences"]:
            lines.append(f"{head} differs in a program or field that is not kept here any more")
        lines += [f"{head} {_told(difference)}" for difference in other["differences"]]
    return lines


def _told(difference: Mapping[str, Any]) -> str:
    field, now, was = difference["field"], difference["now"], difference["was"]
    if field == "program":
        return f"had {_programs(was)}, now it is {_programs(now)}"
    if was is None:
        return f"had no {field}, now it is {_value(now)}"
    if now is None:
        return f"had {field} {_value(was)}, now there is none"
    return f"had {field} {_value(was)}, now it is {_value(now)}"


def _programs(hashes: Sequence[str] | None) -> str:
    return "program " + ", ".join(sha[:12] for sha in hashes) if hashes else "no program"


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return shown(text if len(text) <= CUT else text[:CUT] + "…")
