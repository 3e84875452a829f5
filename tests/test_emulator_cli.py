"""`qrun emulator`: how stand-ins are started, found and ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulator import ROOT, request, stand_in, start


def qrun(home: Path, *words: str, script: str = "-m qrun") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *(["-c", script] if "\n" in script else script.split()), *words],
        cwd=ROOT,
        env={"HOME": str(home), "PATH": os.environ.get("PATH", "")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_stand_in_prints_one_line_and_ends_cleanly(tmp_path: Path, ending: signal.Signals) -> None:
    process, line = start(str(tmp_path))
    reply = request(line["url"], "GET", "/devices", None, {"q-api-token": line["token"]})
    process.send_signal(ending)
    out, err = process.communicate(timeout=30)

    assert sorted(line) == ["control", "emulator", "storage", "token", "url"]
    assert line["emulator"] == "oqtopus"
    assert reply.status == 200
    assert (process.returncode, out, err) == (0, "", "")


def test_an_answer_that_hangs_does_not_hold_up_the_end(tmp_path: Path) -> None:
    process, line = start(str(tmp_path), "--fault", "GET *: hang=3600")
    with socket.create_connection(("127.0.0.1", int(line["url"].rpartition(":")[2]))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
        with socket.create_connection(("127.0.0.1", int(line["url"].rpartition(":")[2]))) as other:
            other.sendall(b"POST /jobs HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n")
            assert other.recv(100).startswith(b"HTTP/1.1 401")  # so the first request is there too
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out, err) == (0, "", "")


def test_env_prints_what_to_export_while_a_stand_in_runs(tmp_path: Path) -> None:
    process, line = start(str(tmp_path), "--account", "me=id.secret")
    found = qrun(tmp_path, "emulator", "env")
    (word,) = tmp_path.rglob("emulator-oqtopus.json")
    mode, told = word.stat().st_mode & 0o777, json.loads(word.read_text())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    after = qrun(tmp_path, "emulator", "env", "oqtopus")

    assert found.stdout == f"export OQTOPUS_URL={line['url']} OQTOPUS_API_TOKEN=id.secret\n"
    assert (mode, told["control"]) == (0o600, None)
    assert (after.returncode, after.stderr) == (
        78,
        "no stand-in of oqtopus runs; start one: qrun emulator up oqtopus\n",
    )
    assert not word.exists()


def test_a_stand_in_that_was_killed_is_not_found(tmp_path: Path) -> None:
    process, _ = start(str(tmp_path))
    process.kill()
    process.communicate()

    assert qrun(tmp_path, "emulator", "env").returncode == 78


def test_accounts_and_devices_can_be_given(tmp_path: Path) -> None:
    devices = tmp_path / "devices.json"
    devices.write_text('[{"device_id": "qpu", "n_qubits": 3}, {"device_id": "more", "description": "One more"}]')

    with stand_in("--account", "a=one.secret", "--account", "b=two.secret", "--devices", str(devices)) as cloud:
        found = {device["device_id"]: device for device in cloud.ask("GET", "/devices").json}
        other = cloud.ask("GET", "/users/me", token="two.secret").json

    assert cloud.token == "one.secret"
    assert other["name"] == "b"
    assert (found["qpu"]["n_qubits"], found["qpu"]["device_type"]) == (3, "QPU")
    assert found["more"]["description"] == "One more"


def test_without_being_asked_for_there_are_no_control_routes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qrun", "emulator", "up", "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, env={"HOME": str(tmp_path)}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    reply = request(line["url"], "GET", "/_emulator/books", None, {"q-api-token": line["token"]})
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)

    assert (line["control"], reply.status) == (None, 404)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--host", "0.0.0.0"), '"0.0.0.0" is not a loopback address; stand-ins are for this machine; use 127.0.0.1'),
        (("--host", "example.org"), '"example.org" is not a loopback address'),
        (("--fault", "nonsense"), '"nonsense" is not a fault'),
        (("--account", "me"), "--account needs a name and a token with one dot"),
        (("--devices", "nowhere.json"), "nowhere.json: the devices cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = qrun(tmp_path, "emulator", "up", "oqtopus", *words)

    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith(message)


def test_a_port_that_is_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = qrun(tmp_path, "emulator", "up", "oqtopus", "--port", str(port))

    assert (done.returncode, done.stderr) == (
        64,
        f"port {port} of 127.0.0.1 is in use; take another one, or --port 0\n",
    )


def test_without_its_extra_the_cure_is_named(tmp_path: Path) -> None:
    script = "import sys\nsys.modules['uvicorn'] = None\nfrom qrun.cli import main\nmain()"

    done = qrun(tmp_path, "emulator", "up", script=script)

    assert (done.returncode, done.stderr) == (
        78,
        "the stand-ins need uvicorn, which is not installed; pip install 'qrun-quantum[emulator]'\n",
    )
