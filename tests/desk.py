"""A project folder and somebody who types commands in it; and the cloud in memory as a provider named `memory`.

As a module of the provider table (`qrun.providers.MODULES`) this file stands for a cloud whose jobs take no time.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from qrun import providers
from qrun.cli import cli
from qrun.cli.reading import capabilities as known_capabilities
from qrun.clock import Clock
from qrun.connection import Access, Connection
from tests.cloud import Cloud, MemoryProvider, capabilities

ROOT = Path(__file__).parent.parent
PROJECT = "5f0c7a52-6d0e-4b1e-9d0b-1f6f6f3a2b11"
BELL = """\
OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0], q[1];
measure q -> c;
"""
BROKEN = "OPENQASM 2.0;\nqreg q[1];\ncreg c[1];\nfo q[0];\n"


@dataclass(frozen=True, kw_only=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Desk:
    """`run` types a command in this process, `start` in one of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("qrun.toml", f'project = "{PROJECT}"\n')
        self.write("specs/programs/bell.qasm", BELL)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def bell(self, name: str = "bell", **fields: Any) -> None:
        """A manifest in short form, `specs/<name>.yaml`."""
        whole = {"name": name, "provider": "local", "device": "ddsim", "program": "programs/bell.qasm", "shots": 100}
        self.write(f"specs/{name}.yaml", json.dumps(whole | fields))

    def run(self, *words: str, answer: str = "", env: Mapping[str, str] | None = None) -> Answer:
        result = CliRunner().invoke(cli, words, input=answer, env=env, prog_name="qrun")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(code=result.exit_code, out=result.stdout, err=result.stderr)

    command = (sys.executable, "-m", "qrun")

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "PYTHONPATH": str(ROOT)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        """In a session of its own, so that a signal to its group is what Ctrl-C sends."""
        return subprocess.Popen(
            [*self.command, *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def on_terminal(
        self, *words: str, typed: str = "", script: str | None = None, **environment: str
    ) -> tuple[int, bytes]:
        """The exit code, and all that was shown. A `script` gets the words in place of the command."""
        command = self.command if script is None else (sys.executable, "-c", script)
        master, slave = pty.openpty()
        running = subprocess.Popen(
            [*command, *words],
            cwd=self.folder,
            env={**self.environment, "TERM": "dumb", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        os.write(master, typed.encode())
        shown = b""
        while piece := _piece(master):
            shown += piece
        code = running.wait()
        os.close(master)
        return code, shown

    def tree(self) -> dict[str, bytes]:
        """Everything that Git would keep."""
        results = self.folder / "results"
        files = (path for path in results.rglob("*") if path.is_file() and ".qrun" not in path.parts)
        return {str(path.relative_to(results)): path.read_bytes() for path in files}


def _piece(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # the other end is closed
        return b""


# --- the provider `memory` --------------------------------------------------------------------------------------------

CAPABILITIES = capabilities(Cloud(clock=Clock()))  # of the cloud that is there now
_cloud: list[Cloud] = []


def connect(connection: Connection, access: Access) -> MemoryProvider:
    assert connection.provider == "memory"
    return MemoryProvider(_cloud[-1])


@contextmanager
def sky(**settings: Any) -> Iterator[Cloud]:
    """A cloud that manifests may name as `provider: memory`."""
    global CAPABILITIES
    cloud = Cloud(clock=Clock(), **{"duration": 0.0, "pace": 0.001, **settings})
    CAPABILITIES = capabilities(cloud)
    providers.MODULES["memory"] = __name__
    _cloud.append(cloud)
    known_capabilities.cache_clear()
    try:
        yield cloud
    finally:
        _cloud.pop()
        del providers.MODULES["memory"]
        known_capabilities.cache_clear()
