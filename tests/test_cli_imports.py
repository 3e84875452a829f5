"""What each command loads: the price of `qrun --help` is click, and nothing heavy is loaded for nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.desk import Desk

HEAVY = {"yaml", "jsonschema", "httpx", "grpc", "jinja2", "rich", "asyncio", "mqt"}
LIGHT = HEAVY | {"json", "dataclasses", "subprocess", "importlib.metadata", "qrun.errors", "platformdirs"}
SCRIPT = """\
import sys
from qrun.cli import cli
try:
    cli.main(sys.argv[1:], prog_name="qrun")
finally:
    sys.stdout.flush()
    print("\\n".join(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.bell(vars={"n": 3}, shots="{{ vars.n }}")
    return desk


def loaded(desk: Desk, *words: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words],
        cwd=desk.folder,
        env=desk.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines())


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("-h",)])
def test_help_and_version_load_only_click_and_one_file(desk: Desk, words: tuple[str, ...]) -> None:
    found = loaded(desk, *words)

    assert found & LIGHT == set()
    assert {name for name in found if name.startswith("qrun")} == {"qrun", "qrun.cli"}


@pytest.mark.parametrize("words", [("validate",), ("plan",), ("status",), ("render",), ("why", "bell")])
def test_commands_that_ask_nobody_load_neither_network_nor_simulator(desk: Desk, words: tuple[str, ...]) -> None:
    """Templates are filled in by a child process, so not even that library is loaded here."""
    assert loaded(desk, *words) & {"asyncio", "httpx", "grpc", "jinja2", "rich", "mqt", "jsonschema"} == set()


def test_an_apply_with_nothing_to_do_loads_no_event_loop(desk: Desk) -> None:
    loaded(desk, "apply")

    assert loaded(desk, "apply") & {"asyncio", "jinja2", "rich", "mqt", "httpx", "grpc", "jsonschema"} == set()
