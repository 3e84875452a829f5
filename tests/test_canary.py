"""A secret in every slot, and afterwards not one trace of it in any file or output but where the user put it."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import pytest

from qrun.redact import forms
from tests.desk import PROJECT, ROOT, Desk
from tests.echo import JOB, echo
from tests.emulator import Emulator, shared

LINKS = ("Signature=", "AWSAccessKeyId=", '"signature"', '"policy"')


class House:
    """A project and a home beside it, and everything that was printed while somebody worked there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self.desk = Desk(folder / "project")
        self.desk.bell(provider="cloud", device="qulacs")
        self.environ: dict[str, str] = {}
        self.own: set[Path] = set()
        self.printed: dict[str, str] = {}

    def keep(self, name: str, text: str) -> Path:
        """A file of the user's that may hold the secret."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        self.own.add(path)
        return path

    def connection(self, lines: str) -> None:
        self.keep(".config/qrun/config.toml", f'[connections.cloud]\ntype = "oqtopus"\n{lines}\n')

    def run(self, *words: str, code: str = "", **environ: str) -> int:
        """Types a command; with `code`, Python runs that first."""
        start = [sys.executable, "-c", f"{code}\nfrom qrun.cli import main\nmain()"] if code else self.desk.command
        done = subprocess.run(
            [*start, *words],
            cwd=self.desk.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "PYTHONPATH": str(ROOT), **self.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        self.printed[f"{len(self.printed)}: qrun {' '.join(words)}"] = done.stdout + done.stderr
        return done.returncode

    def interrupted(self, *words: str, once: Callable[[], bool]) -> None:
        """Types a command, and Ctrl-C twice once something is seen, unless it ends by itself."""
        told = ""
        with subprocess.Popen(
            [*self.desk.command, *words],
            cwd=self.desk.folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "PYTHONPATH": str(ROOT), **self.environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            while not once() and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            for line in process.stderr:
                told += line
                if line.startswith("stopping"):
                    process.send_signal(signal.SIGINT)
        self.printed[f"{len(self.printed)}: qrun {' '.join(words)}"] = told

    def hits(self, *secrets: str) -> list[str]:
        """Where one of the secrets stands, in any spelling."""
        spelled = {form for secret in secrets for form in (secret, *forms(secret))}
        files = (path for path in self.folder.rglob("*") if path.is_file() and path not in self.own)
        found = {str(path.relative_to(self.folder)): path.read_bytes().decode("latin-1") for path in files}
        names = "\n".join(found)
        texts = {"the names of files": names, **found, **self.printed}
        return [f"{place}: {form}" for place, text in texts.items() for form in spelled if form in text]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def cloud() -> Iterator[Emulator]:
    account = shared().new_account()
    yield account
    account.close()


# --- where a token may come from --------------------------------------------------------------------------------------


def by_variables(house: House, cloud: Emulator) -> None:
    house.desk.bell(provider="oqtopus", device="qulacs")
    house.environ |= {"OQTOPUS_URL": cloud.url, "OQTOPUS_API_TOKEN": cloud.token}


def by_the_project(house: House, cloud: Emulator) -> None:
    lines = f'type = "oqtopus"\nurl = "{cloud.url}"\napi_token = {{ env = "QRUN_CANARY" }}'
    house.desk.write("qrun.toml", f'project = "{PROJECT}"\n[connections.cloud]\n{lines}\n')
    house.environ["QRUN_CANARY"] = cloud.token


def by_text(house: House, cloud: Emulator) -> None:
    house.connection(f'url = "{cloud.url}"\napi_token = "{cloud.token}"')


def by_file(house: House, cloud: Emulator) -> None:
    house.keep(".config/qrun/token", cloud.token + "\n")
    house.connection(f'url = "{cloud.url}"\napi_token = {{ file = "token" }}')


def by_command(house: House, cloud: Emulator) -> None:
    path = house.keep("vault", cloud.token + "\n")
    house.connection(f'url = "{cloud.url}"\napi_token = {{ command = ["cat", "{path}"] }}')


def by_section(house: House, cloud: Emulator) -> None:
    house.keep(".oqtopus", f"[work]\nurl = {cloud.url}\napi_token = {cloud.token}\n")
    house.connection('section = "work"')


@pytest.mark.parametrize("slot", [by_variables, by_the_project, by_text, by_file, by_command, by_section])
def test_a_token_is_nowhere_but_where_it_was_put(house: House, cloud: Emulator, slot: Any) -> None:
    slot(house, cloud)

    assert house.run("apply", "--yes", "--debug") == 0

    assert house.hits(cloud.token, *LINKS) == []


def test_no_command_shows_a_token_whether_it_ends_well_or_not(house: House, cloud: Emulator) -> None:
    by_variables(house, cloud)
    commands = (
        "plan",
        "apply --yes",
        "apply -o json",
        "sync -o jsonl",
        "status -o json",
        "show bell",
        "devices oqtopus -o json",
        "devices oqtopus no-such-device",
        "status --remote oqtopus -o json",
        "cancel --remote oqtopus no-such-job",
        "import oqtopus no-such-job",
        "logs bell",
        "resolve bell --adopt no-such-job",
        "verify",
        "doctor",
    )

    codes = {words: house.run(*words.split(), "--debug") for words in commands}

    assert (codes["apply --yes"], codes["devices oqtopus -o json"], codes["status --remote oqtopus -o json"]) == (
        0,
        0,
        0,
    )
    assert house.hits(cloud.token, *LINKS) == []


@pytest.mark.parametrize("place", ["prepared", "noted", "sending", "accepted", "kept"])
def test_a_process_that_died_left_none_behind(house: House, cloud: Emulator, place: str) -> None:
    by_section(house, cloud)

    house.run("apply", "--yes", QRUN_FAILPOINT=place)

    assert house.hits(cloud.token, *LINKS) == []


BUG = """
import qrun.cli.course, qrun.providers.oqtopus.provider as provider
async def prepare(self, submission):
    token = self._revealed()
    raise RuntimeError(f"no idea what to do with {token}")
provider.Oqtopus.prepare = prepare
"""


def test_a_bug_of_ours_shows_no_values(house: House, cloud: Emulator) -> None:
    by_variables(house, cloud)

    assert house.run("apply", "--yes", "--debug", code=BUG) == 1
    assert house.run("apply", "--yes", "-o", "json", code=BUG) == 1

    first = next(iter(house.printed.values()))
    assert "this is a bug of qrun" in first
    assert "RuntimeError" in first
    assert house.hits(cloud.token) == []


LOUD = """
import asyncio, logging, os
import qrun.providers.oqtopus.provider as provider
prepare = provider.Oqtopus.prepare
async def loud(self, submission):
    async def fails(token):
        raise RuntimeError(token)
    task = asyncio.ensure_future(fails(self._revealed()))
    await asyncio.wait([task])
    del task
    logging.getLogger("httpx").error("sent %s", self._revealed())
    return await prepare(self, submission)
provider.Oqtopus.prepare = loud
"""


def test_what_fails_in_the_background_and_what_libraries_log_shows_no_values(house: House, cloud: Emulator) -> None:
    by_variables(house, cloud)

    assert house.run("apply", "--yes", code=LOUD) == 0

    assert "failed in the background (RuntimeError" in next(iter(house.printed.values()))
    assert house.hits(cloud.token) == []


# --- servers that repeat it -------------------------------------------------------------------------------------------

ALWAYS = ("status -o json",)
MOUTHS: Mapping[tuple[str, ...], tuple[int, tuple[str, ...]]] = {  # where it talks, how an apply ends, what follows
    ("headers", "device", "document", "result", "cancel"): (
        0,
        ("apply", "show bell", "devices cloud", "devices cloud qulacs", "status --remote cloud", f"import cloud {JOB}"),
    ),
    ("headers", "failure"): (3, ("show bell -o json", f"cancel --remote cloud {JOB}")),
    ("word",): (4, ("status --remote cloud -o json",)),
    ("refusal",): (1, ()),
    ("denial", "headers"): (1, ("status --remote cloud",)),
    ("fault",): (1, ()),
    ("page",): (1, ("devices cloud",)),
    ("elsewhere",): (1, ("devices cloud -o json",)),
    ("garbage",): (1, ("devices cloud",)),
    ("storage",): (3, ()),
}


@pytest.mark.parametrize("mouths", MOUTHS, ids=" and ".join)
def test_a_server_that_repeats_a_token_leaves_it_nowhere(house: House, mouths: tuple[str, ...]) -> None:
    code, commands = MOUTHS[mouths]
    token = f"{token_hex(8)}.{token_hex(8)}+/{token_hex(8)}="
    with echo(*mouths, known=token) as cloud:
        house.connection(f'url = "{cloud.url}"\napi_token = "{token}"')

        ended = house.run("apply", "--yes", "--debug", "--timeout", "1s" if "word" in mouths else "60s")
        for words in (*ALWAYS, *commands):
            house.run(*words.split(), "--debug")

    assert ended == code
    assert house.hits(token, "canary-", *LINKS) == []
    assert {credential for _, credential in cloud.heard} == {token}
    assert not [path for path, _ in cloud.heard if path.startswith("/store")]


@pytest.mark.parametrize(
    ("variable", "address"),
    [("OQTOPUS_PROXY", "http://127.0.0.2:9"), ("HTTPS_PROXY", "https://quantum.example.org")],
)
def test_a_proxys_password_is_nowhere_although_the_proxy_repeats_it(house: House, variable: str, address: str) -> None:
    password, token = f"p@ss/{token_hex(8)}", f"{token_hex(8)}.{token_hex(16)}"
    with echo() as proxy:
        login = f"somebody:{quote(password, safe='')}"
        house.desk.bell(provider="oqtopus", device="qulacs")
        house.environ |= {"OQTOPUS_URL": address, "OQTOPUS_API_TOKEN": token}
        house.environ[variable] = proxy.url.replace("//", f"//{login}@")

        house.interrupted("apply", "--yes", "--debug", once=lambda: bool(proxy.heard))
        house.run("doctor")

    words = [credential.removeprefix("Basic ") for _, credential in proxy.heard if credential != token]
    assert f"somebody:{password}" == base64.b64decode(words[0]).decode()
    assert house.hits(token, password, f"somebody:{password}") == []


def test_an_address_with_a_password_is_refused_without_a_word_of_it(house: House) -> None:
    house.connection('url = "https://me:hunter2hunter2@quantum.example.org"\napi_token = "abc.def"')
    assert house.run("apply", "--yes", "--debug") == 78

    (house.home / ".config/qrun/config.toml").unlink()
    house.desk.bell(provider="oqtopus", device="qulacs")
    house.environ |= {
        "OQTOPUS_URL": "https://me:hunter2hunter2@quantum.example.org",
        "OQTOPUS_API_TOKEN": "abc.defghijklm",
    }
    assert house.run("apply", "--yes", "--debug") == 78
    assert house.run("plan") == 0
    assert house.run("doctor") == 78

    assert house.hits("hunter2hunter2", "abc.defghijklm") == []


def test_a_secret_in_a_settings_file_that_is_broken_is_in_no_message(house: House) -> None:
    house.connection('url = 3\napi_token = "hunter2hunter2')
    assert house.run("apply", "--debug") == 78
    house.connection('url = "https://quantum.example.org"\napi_token = ["hunter2hunter2"]')
    assert house.run("apply", "--debug") == 78
    house.connection('proxy = "http://me:hunter2hunter2@proxy:3128"\nurl = "https://quantum.example.org"')
    assert house.run("apply", "--debug") == 78

    assert house.hits("hunter2hunter2") == []


def test_the_canaries_would_be_found(house: House) -> None:
    """The search itself: in a file, in a file's name, in what was printed, in another spelling."""
    (house.desk.folder / "a").write_text(json.dumps({"t": 'canary"one'}))
    (house.desk.folder / "canary-two").write_text("")
    house.printed["qrun"] = "Y2FuYXJ5LXRocmVl"

    for secret in ('canary"one', "canary-two", "canary-three"):
        assert len(house.hits(secret)) > 0, secret
    assert house.hits("canary-four") == []
