"""A stand-in of OQTOPUS as a process of its own, started once for all tests of a run; each test has its own account.

`stand_in()` starts one with options of its own; the fixture `emulator` of a test module, made by `shared()`, gives an
account of the one that all share. Faults and books are those of the account, so tests do not see each other.
"""

from __future__ import annotations

import atexit
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # lower-case names
    content: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.content)


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """One account of a stand-in that runs, and whoever pulls its strings."""

    url: str
    storage: str
    token: str
    control: str
    account: str | None = None  # None: faults and books are everybody's
    pid: int = 0

    # --- the cloud's API --------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None, *, token: str | None = "", **query: Any) -> Reply:
        """A request with the account's token, or another one (None: with none at all)."""
        headers = {"accept": "application/json"}
        if token is not None:
            headers["q-api-token"] = token or self.token
        data = None if body is None else json.dumps(body).encode()
        target = path + (f"?{urlencode(query)}" if query else "")
        return request(self.url, method, target, data, headers)

    def register(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("POST", "/jobs").json
        return found

    def upload(self, registered: Mapping[str, Any], payload: Any, **changed: str | None) -> Reply:
        """With other fields where they are `changed`; None leaves one out. Bytes are sent as they are."""
        form = registered["presigned_url"]
        fields = {name: value for name, value in (form["fields"] | changed).items() if value is not None}
        content = payload if isinstance(payload, bytes) else zipped("input.json", json.dumps(payload).encode())
        kind, data = multipart(fields, content)
        return request(form["url"], "POST", "", data, {"content-type": kind})

    def submit(self, payload: Any, **asked: Any) -> str:
        """All three steps; the job's id."""
        registered = self.register()
        assert self.upload(registered, payload).status == 204
        body = {"device_id": "qulacs", "job_type": "sampling", "shots": 100} | asked
        reply = self.ask("POST", f"/jobs/{registered['job_id']}/submit", body)
        assert reply.status == 200, reply
        job_id: str = registered["job_id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/jobs/{job_id}").json
        return found

    def status(self, job_id: str) -> str:
        found: str = self.ask("GET", f"/jobs/{job_id}/status").json["status"]
        return found

    def rest(self, job_id: str, *words: str) -> dict[str, Any]:
        """The job once its status is one of these words, or a final one."""
        wanted = words or ("succeeded", "failed", "cancelled")
        until(lambda: self.status(job_id) in wanted)
        return self.job(job_id)

    def output(self, job_id: str, name: str = "result") -> bytes:
        """The one entry of the archive behind a link of the job."""
        reply = fetch(self.job(job_id)["job_info"][name])
        assert reply.status == 200, reply
        return unzipped(reply.content)

    # --- the strings ------------------------------------------------------------------------------------------------

    def pull(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        if self.account is not None:
            query.setdefault("account", self.account)
        data = None if body is None else json.dumps(body).encode()
        target = f"/_emulator/{path}" + (f"?{urlencode(query)}" if query else "")
        reply = request(self.url, method, target, data, {"q-control-token": self.control})
        assert reply.status == 200, reply.content
        return reply.json

    def new_account(self, **given: Any) -> Emulator:
        """Its devices work for nobody else; `trace` asks for every field of an upload form back."""
        made = self.pull("POST", "accounts", {"alone": True, "trace": True} | given)
        return Emulator(
            url=self.url,
            storage=self.storage,
            token=made["token"],
            control=self.control,
            account=made["name"],
            pid=self.pid,
        )

    def faults(self, *rules: str | Mapping[str, Any]) -> None:
        self.pull("POST", "faults", list(rules))

    def struck(self) -> list[int]:
        """How often each of the rules has struck."""
        return [rule["struck"] for rule in self.pull("GET", "faults")]

    def clear(self) -> None:
        """Takes all faults away."""
        self.pull("DELETE", "faults")

    def books(self) -> dict[str, Any]:
        found: dict[str, Any] = self.pull("GET", "books")
        return found

    def markers(self) -> dict[str, dict[str, int]]:
        """By marker: jobs that bear it, how many of them were submitted, and how often they were begun."""
        found: dict[str, dict[str, int]] = self.pull("GET", "books", brief=1)["markers"]
        return found

    def asked(self, route: str) -> int:
        """How many requests there were, as `POST /jobs/{job_id}/submit`."""
        return int(self.books()["routes"].get(route, {"asked": 0})["asked"])

    def close(self) -> None:
        self.pull("DELETE", "accounts")


# --- processes --------------------------------------------------------------------------------------------------------


@contextmanager
def stand_in(*options: str) -> Iterator[Emulator]:
    """A stand-in of its own, with options as one types them."""
    with tempfile.TemporaryDirectory() as home:
        process, line = start(home, *options)
        try:
            yield Emulator(**{key: line[key] for key in ("url", "storage", "token", "control")}, pid=process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            _, words = process.communicate(timeout=30)
            assert process.returncode == 0, words


def start(home: str, *options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """The process and the line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "qrun", "emulator", "up", "oqtopus", "--quiet", "--control", *options],
        cwd=ROOT,
        env={"HOME": home, "PATH": os.environ.get("PATH", "")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    printed = process.stdout.readline()
    if not printed:
        raise AssertionError(process.communicate()[1])
    line: dict[str, Any] = json.loads(printed)
    return process, line


_shared: list[Emulator] = []


def shared() -> Emulator:
    """The one that all tests of this process use, ended with it."""
    if not _shared:
        kept = stand_in("--seed", "7")
        _shared.append(kept.__enter__())
        atexit.register(kept.__exit__, None, None, None)
    return _shared[0]


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Returns once it is true; fails where it never becomes so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


# --- requests ---------------------------------------------------------------------------------------------------------


def request(url: str, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
    """`target` is appended to the URL's path."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        query = f"?{parts.query}" if parts.query else ""
        connection.request(method, f"{parts.path}{target}{query}", body, dict(headers))
        answer = connection.getresponse()
        content = answer.read()
        return Reply(status=answer.status, headers={k.lower(): v for k, v in answer.getheaders()}, content=content)
    finally:
        connection.close()


def fetch(url: str) -> Reply:
    return request(url, "GET", "", None, {})


def multipart(fields: Mapping[str, str], content: bytes) -> tuple[str, bytes]:
    """A form with its fields first and the file last, and its content type."""
    line = "qrun-test-boundary"
    head = "".join(
        f'--{line}\r\ncontent-disposition: form-data; name="{quote(name)}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    file = f'--{line}\r\ncontent-disposition: form-data; name="file"; filename="input.zip"\r\n'
    data = f"{head}{file}content-type: application/zip\r\n\r\n".encode() + content + f"\r\n--{line}--\r\n".encode()
    return f"multipart/form-data; boundary={line}", data


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def unzipped(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = archive.namelist()
        return archive.read(name)
