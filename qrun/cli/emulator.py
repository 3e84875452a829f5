"""`qrun emulator`: stand-ins of the quantum clouds on this machine, to test against and to rehearse with."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from qrun.cli.files import text as content
from qrun.cli.options import debug, duration
from qrun.cli.out import say, tell, to_json
from qrun.emulators import EMULATORS, MODULES, Options
from qrun.errors import Problem, SettingsError, UsageError
from qrun.settings.places import state_folder

VARIABLES: Final[Mapping[str, Mapping[str, str]]] = {  # what qrun reads, and the clouds' own clients
    "oqtopus": {"OQTOPUS_URL": "url", "OQTOPUS_API_TOKEN": "token"},
    "pasqal": {
        "PASQAL_CORE_URL": "core",
        "PASQAL_ACCOUNT_URL": "account",
        "PASQAL_TOKEN_URL": "token_url",
        "PASQAL_USERNAME": "username",
        "PASQAL_PASSWORD": "password",
        "PASQAL_CLIENT_ID": "client_id",
        "PASQAL_CLIENT_SECRET": "client_secret",
        "PASQAL_PROJECT_ID": "project_id",
        "PASQAL_PULSER_ACCESS_TOKEN": "token",
    },
}


@click.group("emulator")
def command() -> None:
    """Run stand-ins of the quantum clouds on this machine."""


@command.command("up", short_help="start stand-ins, until Ctrl-C")
@click.argument("names", nargs=-1, type=click.Choice(list(EMULATORS)), metavar="[NAME]...")
@click.option("--host", default="127.0.0.1", show_default=True, help="a loopback address")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="of the first stand-in's API; 0: any free one")
@click.option("--account", "accounts", multiple=True, metavar="NAME=TOKEN", help="an account and its token, ID.SECRET")
@click.option("--latency", callback=duration, default="0", metavar="TIME", help="wait before each answer")
@click.option(
    "--queue-delay", callback=duration, default="0", metavar="TIME", help="how long a job waits in the queue at least"
)
@click.option("--run-time", callback=duration, default="0", metavar="TIME", help="how long a job runs at least")
@click.option("--workers", type=click.IntRange(1, 64), default=2, help="processes that simulate")
@click.option("--seed", type=int, help="same seed and order of jobs: same results")
@click.option("--max-live", type=click.IntRange(0), help="unfinished jobs an account may have")
@click.option("--quota-status", type=click.Choice(["400", "429"]), default="429", help="the answer beyond --max-live")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="requests a second an account may send")
@click.option("--retry-after", metavar="VALUE", help="the header of each 429")
@click.option("--link-life", callback=duration, default="1h", metavar="TIME", help="how long links and forms are valid")
@click.option("--fault", "faults", multiple=True, metavar="RULE", help="such as 'POST /jobs/*/submit: 503-after x1'")
@click.option("--devices", metavar="FILE", help="of oqtopus: a JSON list of devices to change or add")
@click.option("--python", metavar="PATH", help="of oqtopus: the interpreter of uploaded programs")
@click.option("--trace", is_flag=True, help="of oqtopus: upload forms have one more field, which must come back")
@click.option("--control", is_flag=True, help="serve /_emulator, for whoever has the token that is printed")
@click.option("--quiet", is_flag=True, help="print nothing but the line of each stand-in")
@debug
def up(names: Sequence[str], accounts: Sequence[str], devices: str | None, quiet: bool, **given: Any) -> int:
    """Start stand-ins, without a name all whose simulators are installed; a line of JSON for each; Ctrl-C ends them."""
    _check(given["host"], given["faults"])
    options = Options(
        accounts=tuple(_account(text) for text in accounts),
        devices=_devices(devices),
        **(given | {"quota_status": int(given["quota_status"])}),
    )
    _installed()
    import asyncio

    from qrun.emulators.stage import play

    written: list[str] = []

    def told(line: Mapping[str, Any]) -> None:
        name = line["emulator"]
        try:
            written.append(_leave_word(line))
            words = f"{name} is up; qrun emulator env {name} prints what to export"
        except OSError as error:
            reason = (error.strerror or "unknown").lower()
            words = (
                f'{name} is up; "{state_folder()}" cannot be written ({reason}), so qrun emulator env will not find it'
            )
        say(to_json(line))
        if not quiet:
            tell(words)

    try:
        asyncio.run(play(names or _startable(), options, told))
    except OSError as error:
        raise _busy(error, given["host"], given["port"]) from error
    finally:
        for path in written:
            _take_back(path)
    return 0


@command.command("env", short_help="print the variables that lead to the stand-in that runs")
@click.argument("name", type=click.Choice(list(EMULATORS)), default="oqtopus", metavar="[NAME]")
@debug
def env(name: str) -> int:
    """Print the variables with which clients find the stand-in that runs: eval "$(qrun emulator env)"."""
    line = _word(name)
    pairs = [f"{variable}={shlex.quote(str(line[key]))}" for variable, key in VARIABLES[name].items()]
    say(f"export {' '.join(pairs)}")
    return 0


# --- what is asked for ------------------------------------------------------------------------------------------------


def _check(host: str, faults: Sequence[str]) -> None:
    from qrun.emulators.faults import FaultError, read

    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UsageError(f'"{host}" is not a loopback address', hint="stand-ins are for this machine; use 127.0.0.1")
    for text in faults:
        try:
            read(text)
        except FaultError as error:
            raise UsageError(str(error), hint="docs/emulator.md lists the faults") from error


def _account(text: str) -> tuple[str, str]:
    name, equals, token = text.partition("=")
    if not equals or not name or token.count(".") != 1 or not token.isascii() or not token.isprintable():
        raise UsageError("--account needs a name and a token with one dot", hint="write --account me=id.secret")
    return name, token


def _devices(path: str | None) -> tuple[Mapping[str, Any], ...]:
    if path is None:
        return ()
    from qrun.emulators.oqtopus.devices import DeviceError, configured

    try:
        given = json.loads(content(path))
        if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
            raise DeviceError("a list of objects is needed")
        configured(given, 1)
    except (ValueError, TypeError) as error:
        hint = 'write for example [{"device_id": "qpu", "n_qubits": 4}]'
        raise UsageError(Problem(message=f"the devices cannot be read: {error}", file=path, hint=hint)) from error
    return tuple(given)


def _installed() -> None:
    from importlib.util import find_spec

    for module in MODULES:
        if find_spec(module) is None:
            words = f"the stand-ins need {module}, which is not installed"
            raise SettingsError(words, hint="pip install 'qrun-quantum[emulator]'")


def _startable() -> list[str]:
    """All but those whose simulator is not installed; asked for by name, these say what is missing."""
    from qrun.emulators.pasqal.engine import missing

    return [name for name in EMULATORS if name != "pasqal" or missing() is None]


def _busy(error: OSError, host: str, port: int) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return UsageError(f"port {port} of {host} is in use", hint="take another one, or --port 0")
    return SettingsError(f"cannot listen on {host}:{port}: {(error.strerror or 'unknown').lower()}")


# --- word for `env` ---------------------------------------------------------------------------------------------------


def _path(name: str) -> str:
    return os.path.join(state_folder(), f"emulator-{name}.json")


def _leave_word(line: Mapping[str, Any]) -> str:
    """Readable for this user alone, for it holds the token; the one that was started last is found."""
    path = _path(line["emulator"])
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({**line, "control": None, "pid": os.getpid()}, file)
    os.replace(beside, path)
    return path


def _take_back(path: str) -> None:
    """Unless it is another one's word by now."""
    try:
        with open(path, encoding="utf-8") as file:
            if json.load(file).get("pid") == os.getpid():
                os.remove(path)
    except (OSError, ValueError):
        return


def _word(name: str) -> Mapping[str, Any]:
    hint = f"start one: qrun emulator up {name}"
    try:
        with open(_path(name), encoding="utf-8") as file:
            line = json.load(file)
        os.kill(line["pid"], 0)
        return {key: line[key] for key in VARIABLES[name].values()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"no stand-in of {name} runs", hint=hint) from error
