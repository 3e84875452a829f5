"""`qrun logs`: what a job wrote to its log at the provider, printed or saved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from qrun.cli.exits import OK
from qrun.cli.options import debug, given_values, manifest_option
from qrun.cli.out import near, say, tell
from qrun.cli.reading import capabilities, project
from qrun.cli.remote import ask, connection, through
from qrun.cli.show import Shelf, one, record_of
from qrun.errors import Problem, UsageError
from qrun.redact import redacted_bytes
from qrun.render.safe import safe
from qrun.render.words import job_name
from qrun.store.paths import SAFE, job_folder

if TYPE_CHECKING:
    from qrun.provider import Log, Provider
    from qrun.record import Handle, Record

NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@click.command("logs")
@click.argument("job", metavar="JOB")
@click.option("--save", "folder", metavar="DIR", help="write the log as it is into a new file in this folder")
@manifest_option
@debug
def command(
    job: str,
    folder: str | None,
    manifests: Sequence[str],
    var: Sequence[str],
    var_json: Sequence[str],
    var_files: Sequence[str],
) -> int:
    """Print the log of a job, or save it."""
    shelf = Shelf.of(manifests, given_values(var, var_json, var_files))
    name = one(job, shelf)
    record = record_of(shelf, name)
    handle = _handle(record, job_name(*name))
    settings = project(shelf.root)
    wanted, seen = shelf.jobs.get(name), shelf.views[name[0]]
    same = wanted if wanted is not None and wanted.digest == record.digest else None
    there = connection(settings, through(settings, same, record, seen.job(record.key, record.digest)))
    logs = ask(settings, there.name, lambda provider: _read(provider, handle))
    if not logs:
        tell(f'"{job_name(*name)}" has no log at {safe(there.name)}')
    elif folder is not None:
        _save(folder, name[1], logs)
    else:
        _print(logs)
    return OK


def _handle(record: Record, name: str) -> Handle:
    if not capabilities(record.provider).logs:
        raise UsageError(f'"{name}" ran at "{safe(record.provider)}", which keeps no logs')
    if record.handle is None:
        hint = "qrun apply looks for it" if record.attempts else "qrun apply runs it"
        raise UsageError(f'"{name}" is {record.phase}, so there is no log to ask for', hint=hint)
    return record.handle


async def _read(provider: Provider, handle: Handle) -> list[Log]:
    return [log async for log in provider.logs(handle)]


def _print(logs: Sequence[Log]) -> None:
    for log in logs:
        if len(logs) > 1:
            say(f"==> {safe(log.name)} <==")
        say(harmless(log.data))


def harmless(data: bytes) -> str:
    """As text, with everything that would steer a terminal shown as an escape; lines and tabs stay."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return "\n".join("\t".join(map(safe, line.split("\t"))) for line in text.split("\n"))


def _save(folder: str, key: str, logs: Sequence[Log]) -> None:
    """Each log as a new file; nothing that is there is written over."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise _unwritten(folder, error) from error
    for number, log in enumerate(logs, 1):
        name = log.name if SAFE.fullmatch(log.name) else f"{number}.log"
        path = os.path.join(folder, f"{job_folder(key)}.{name}")
        try:
            with os.fdopen(os.open(path, NEW, 0o666), "wb") as file:
                file.write(redacted_bytes(log.data))
        except FileExistsError as error:
            raise UsageError(
                Problem(file=near(path), message="is there already and stays as it is", hint="name another folder")
            ) from error
        except OSError as error:
            raise _unwritten(path, error) from error
        say(f'saved "{safe(near(path))}"')


def _unwritten(path: str, error: OSError) -> UsageError:
    reason = (error.strerror or "unknown").lower()
    return UsageError(Problem(file=near(path), message=f"cannot be written: {reason}", hint="name another folder"))
