"""Saved plans: what `plan --out` writes, and how `apply FILE` makes sure that nothing has changed since.

Nothing is executed from the file. It says which manifests and values were planned; `apply` renders them anew and goes
on only where everything comes out as it is written there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from qrun import __version__
from qrun.cli.files import plain_file
from qrun.cli.out import to_json
from qrun.cli.proposal import Proposal
from qrun.cli.reading import Reading, is_plan, read
from qrun.cli.running import Orders, carry_out
from qrun.cli.selection import keys
from qrun.errors import Problem, StaleError, UsageError
from qrun.manifest import Values
from qrun.plan import Policy
from qrun.record import to_json as record_json
from qrun.render.plan import step_json
from qrun.render.safe import safe
from qrun.settings import settings

VERSION: Final = 1
LARGEST: Final = 256 * 2**20
HINT: Final = "plan again"


def save(
    file: str,
    reading: Reading,
    values: Values,
    proposals: Sequence[Proposal],
    *,
    only: Sequence[str],
    policy: Policy,
) -> None:
    """Write the plan; a file that is not a plan is never written over."""
    if os.path.lexists(file) and not is_plan([file]):
        raise UsageError(f'"{safe(file)}" exists and is not a saved plan', hint="name another file")
    choices = {"only": list(only), "superseded": policy.superseded, "new_site": policy.new_site}
    if policy.not_sent_elsewhere:
        choices["not_sent_elsewhere"] = True
    whole = {
        "type": "plan",
        "version": VERSION,
        "qrun": __version__,
        "vars": {"texts": dict(values.texts), "typed": dict(values.typed)},
        "choices": choices,
        **told(reading, proposals),
    }
    _write(file, to_json(whole, indent=2) + "\n")


def _write(file: str, text: str) -> None:
    """Beside, then renamed; nothing is left behind where that fails."""
    beside = f"{file}.new"
    try:
        with open(beside, "w", encoding="ascii") as new:
            new.write(text)
        os.replace(beside, file)
    except OSError as error:
        with suppress(OSError):
            os.unlink(beside)
        reason = (error.strerror or "unknown").lower()
        raise UsageError(
            Problem(file=file, message=f"cannot be written: {reason}", hint="name another file")
        ) from error


def apply(file: str, orders: Orders) -> int:
    """Do what the plan says, if it is still what would be done; else StaleError with the first difference."""
    plan = _read(file)
    root = _root(file, plan)
    files = [os.path.relpath(os.path.join(root, manifest["path"])) for manifest in plan["manifests"]]
    for path in files:
        if not os.path.exists(path):
            raise _stale(file, f'the manifest "{path}" is not there any more')
    reading = read(files, Values(texts=plan["vars"]["texts"], typed=plan["vars"]["typed"]))
    choices = plan["choices"]
    policy = replace(orders.policy, superseded=choices["superseded"], new_site=choices["new_site"])
    not_sent_elsewhere = choices.get("not_sent_elsewhere") is True
    orders = replace(
        orders, policy=policy, only=keys(choices["only"], reading.experiments), not_sent_elsewhere=not_sent_elsewhere
    )

    def check(proposals: Sequence[Proposal]) -> None:
        different = next(_differences(plan, told(reading, proposals)), None)
        if different is not None:
            raise _stale(file, different)

    return carry_out(reading, orders, check)


def _root(file: str, plan: Mapping[str, Any]) -> str:
    """Of the project in which we stand, else of the one in which the plan lies."""
    roots = [settings(folder).root for folder in (".", os.path.dirname(file) or ".")]
    first = plan["manifests"][0]["path"]
    return next((root for root in roots if os.path.exists(os.path.join(root, first))), roots[0])


def told(reading: Reading, proposals: Sequence[Proposal]) -> dict[str, Any]:
    """Everything that must come out the same: contents by hash, records and steps in full."""
    programs = {p.path: p.sha256 for e in reading.experiments for job in e.jobs for p in job.programs}
    return {
        "project": reading.settings.project,
        "settings": _hash(os.path.join(reading.settings.root, "qrun.toml")),
        "manifests": [
            {"path": path, "sha256": found}
            for path, found in dict.fromkeys((e.path, e.sha256) for e in reading.experiments)
        ],
        "programs": [{"path": path, "sha256": programs[path]} for path in sorted(programs)],
        "records": [
            {"experiment": p.experiment.name, **_plain(record_json(step.pair.record))}
            for p in sorted(proposals, key=lambda p: p.experiment.name)
            for step in p.told
            if step.pair.record is not None
        ],
        "steps": [
            {"experiment": p.experiment.name, **step_json(step)}
            for p in sorted(proposals, key=lambda p: p.experiment.name)
            for step in p.told
        ],
    }


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file."""
    found: dict[str, Any] = json.loads(to_json(value))
    return found


def _hash(path: str) -> str | None:
    try:
        with plain_file(path) as file:
            return sha256(file.read()).hexdigest()
    except OSError:
        return None


def _differences(plan: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if plan["project"] != now["project"]:
        yield "the project has another id"
    if plan["settings"] != now["settings"]:
        yield 'the file "qrun.toml" has changed'
    for what, field in (("manifest", "manifests"), ("program", "programs")):
        before = {entry["path"]: entry["sha256"] for entry in plan[field]}
        after = {entry["path"]: entry["sha256"] for entry in now[field]}
        for path in dict.fromkeys([*before, *after]):
            if before.get(path) != after.get(path):
                yield f'the {what} "{safe(path)}" has changed'
    for before_step, after_step in _aligned(plan["steps"], now["steps"]):
        yield from _step_differences(before_step, after_step)
    for before_record, after_record in _aligned(plan["records"], now["records"]):
        if before_record != after_record:
            yield f'the record of "{_name(before_record or after_record)}" has changed'


def _aligned(before: Sequence[Any], after: Sequence[Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    def name(entry: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(
            str(part) for part in (entry.get("experiment"), entry.get("job", entry.get("key")), entry.get("digest"))
        )

    old, new = ({name(entry): entry for entry in entries} for entries in (before, after))
    for key in dict.fromkeys([*old, *new]):
        yield old.get(key, {}), new.get(key, {})


def _step_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    name = _name(before or after)
    if not after:
        yield f'the step "{safe(before.get("action"))}" of "{name}" is not to be taken any more'
    elif not before:
        yield f'the step "{after["action"]}" of "{name}" is new'
    elif before.get("action") != after["action"]:
        yield f'the step of "{name}" was "{safe(before.get("action"))}" and is "{after["action"]}" now'
    elif before != after:
        field = next(field for field in after if before.get(field) != after[field])
        yield f'the {field} of "{name}" has changed'


def _name(entry: Mapping[str, Any]) -> str:
    experiment, key = entry.get("experiment"), entry.get("job", entry.get("key"))
    return safe(key if key == experiment else f"{experiment}.{key}")


def _stale(file: str, difference: str) -> StaleError:
    return StaleError(Problem(file=file, message=f"this plan is stale: {difference}", hint=HINT))


# --- reading ----------------------------------------------------------------------------------------------------------

SHAPE: Final[Mapping[str, type | tuple[type, ...]]] = {
    "vars": dict,
    "choices": dict,
    "manifests": list,
    "programs": list,
    "records": list,
    "steps": list,
}


def _read(file: str) -> dict[str, Any]:
    """A plan whose parts have the right types; what they say is compared, not believed."""
    try:
        with open(file, "rb") as opened:
            data = opened.read(LARGEST + 1)
        raw = json.loads(data)
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise UsageError(
            Problem(file=file, message=f"cannot be read: {reason}", hint="check its permissions")
        ) from error
    except (ValueError, RecursionError) as error:
        raise StaleError(Problem(file=file, message="is not JSON, or only a part of it", hint=HINT)) from error
    if raw.get("version") != VERSION:
        raise StaleError(Problem(file=file, message="was saved by another version of qrun", hint=HINT))
    if not _well_formed(raw):
        raise StaleError(Problem(file=file, message="is not a plan as qrun saves it", hint=HINT))
    whole: dict[str, Any] = raw
    return whole


def _well_formed(raw: Mapping[str, Any]) -> bool:
    if any(not isinstance(raw.get(name), kind) for name, kind in SHAPE.items()):
        return False
    texts, typed, choices = raw["vars"].get("texts"), raw["vars"].get("typed"), raw["choices"]
    hashes = [*raw["manifests"], *raw["programs"]]
    return (
        isinstance(texts, dict)
        and isinstance(typed, dict)
        and all(isinstance(text, str) for text in texts.values())
        and isinstance(choices.get("only"), list)
        and all(isinstance(pattern, str) for pattern in choices["only"])
        and choices.get("superseded") in (None, "cancel", "keep")
        and isinstance(choices.get("new_site"), bool)
        and bool(raw["manifests"])
        and all(isinstance(entry, dict) and isinstance(entry.get("path"), str) for entry in hashes)
        and all(isinstance(entry.get("sha256"), str) for entry in hashes)
        and all(_relative(entry["path"]) for entry in raw["manifests"])
        and all(isinstance(entry, dict) for entry in [*raw["records"], *raw["steps"]])
        and {"project", "settings"} <= raw.keys()
    )


def _relative(path: str) -> bool:
    """A manifest of a plan lies in the project, whoever wrote the plan."""
    return not os.path.isabs(path) and ".." not in path.split("/") and "\\" not in path and "\0" not in path
