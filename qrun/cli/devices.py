"""`qrun devices`: which devices there are, and how they are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from qrun.cli.exits import ERROR, OK
from qrun.cli.options import output
from qrun.cli.out import errors_json, say, say_json, tell_problems
from qrun.cli.reading import capabilities, project
from qrun.cli.remote import ask, connection, connections
from qrun.errors import QrunError, UsageError
from qrun.provider import Device
from qrun.providers import MODULES
from qrun.render import devices as rendering
from qrun.render import table
from qrun.render.safe import safe
from qrun.render.words import listed

if TYPE_CHECKING:
    from qrun.cli.course import Connections
    from qrun.provider import Provider
    from qrun.settings import Settings

Told: TypeAlias = Mapping[str, Sequence[Device] | QrunError]  # by connection

LOCAL = "local"


@click.command("devices")
@click.argument("name", required=False, metavar="[CONNECTION]")
@click.argument("device", required=False)
@output("table", "json")
def command(name: str | None, device: str | None, output: str) -> int:
    """List the devices of all connections, or of one; with DEVICE all that is known of that one."""
    settings = project()
    if name is None:
        return _all(settings, output)
    there = connection(settings, name)
    found = ask(settings, there.name, _devices)
    if device is not None:
        found = [_one(device, found, there.name)]
    if output == "json":
        entries = list(map(rendering.device_json, found))
        say_json({"version": 1, "connection": there.name, "devices": entries, "errors": []})
    elif device is not None:
        say(rendering.text(found[0]))
    else:
        _table([(there.name, one) for one in found], several=False)
    return OK


async def _devices(provider: Provider) -> Sequence[Device]:
    return await provider.devices()


def _one(name: str, devices: Sequence[Device], there: str) -> Device:
    for device in devices:
        if device.device == name:
            return device
    names = [device.device for device in devices]
    near = get_close_matches(name, names, n=1)
    hint = f'did you mean "{safe(near[0])}"?' if near else f"there are {listed(names)}" if names else None
    raise UsageError(f'"{safe(there)}" has no device "{safe(name)[:80]}"', hint=hint)


def _all(settings: Settings, output: str) -> int:
    """Every connection is asked; one that does not answer hides no other."""
    told = asyncio.run(ask_all(settings))
    errors = [answer for answer in told.values() if isinstance(answer, QrunError)]
    if output == "json":
        entries = [_entry(name, answer) for name, answer in told.items()]
        say_json({"version": 1, "connections": entries, "errors": errors_json(errors)})
    else:
        found = {name: answer for name, answer in told.items() if not isinstance(answer, QrunError)}
        _table([(name, device) for name, devices in found.items() for device in devices], several=True)
    for error in errors:
        tell_problems(error)
    return OK if not errors else ERROR if any(error.exit == ERROR for error in errors) else errors[0].exit


async def ask_all(settings: Settings) -> Told:
    """All clouds of the project at once, and this machine."""
    connect = connections(settings)
    names = [*_clouds(settings), LOCAL]
    try:
        answers = await asyncio.gather(*(_answer(settings, connect, name) for name in names))
    finally:
        await connect.aclose()
    return dict(zip(names, answers, strict=True))


def _clouds(settings: Settings) -> list[str]:
    """Those that the settings name, and those that somebody follows here by a provider's own convention."""
    known = settings.connections
    return [name for name in known.names() if known[name].provider not in MODULES or _remote(known[name].provider)]


def _remote(provider: str) -> bool:
    return capabilities(provider).remote


async def _answer(settings: Settings, connect: Connections, name: str) -> Sequence[Device] | QrunError:
    try:
        return await _devices(connect(connection(settings, name).name))
    except QrunError as error:
        return error


def _entry(name: str, answer: Sequence[Device] | QrunError) -> dict[str, Any]:
    if isinstance(answer, QrunError):
        return {"connection": name, "error": errors_json([answer])[0]}
    return {"connection": name, "devices": list(map(rendering.device_json, answer))}


def _table(found: Sequence[tuple[str, Device]], *, several: bool) -> None:
    rows = rendering.rows(found)
    first = 0 if several else 1
    lines = table.lines(rendering.HEADERS[first:], [row[first:] for row in rows])
    say("\n".join(lines) if rows else "no devices")
