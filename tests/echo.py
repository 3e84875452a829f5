"""A cloud of one job that repeats what it should keep to itself: the token of each request, wherever it is told to.

It speaks just enough of OQTOPUS for a job to be submitted and fetched, and is a forward proxy that refuses.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, urlsplit

JOB = "01a1fe2d-c705-7b72-84dc-cfb0c38e0218"
RESULT = {"sampling": {"counts": {"00": 60, "11": 40}, "divided_counts": None}, "estimation": None}
DEVICE = {"device_id": "qulacs", "device_type": "simulator", "status": "available", "n_pending_jobs": 0, "n_qubits": 5}


@dataclass(kw_only=True)
class Echo:
    """`mouths` say where it talks; `heard` are the credentials that came with requests, by the path they came to."""

    mouths: frozenset[str]
    url: str = ""
    submitted: bool = False
    heard: list[tuple[str, str]] = field(default_factory=list)

    def says(self, mouth: str, secret: str) -> str:
        """All spellings of the secret, or nothing where it does not talk here."""
        if mouth not in self.mouths or not secret:
            return ""
        spellings = (secret, quote(secret, safe=""), base64.b64encode(secret.encode()).decode(), json.dumps([secret]))
        return f"[{' '.join(spellings)}]"

    def job(self, secret: str) -> dict[str, Any]:
        status = "registered"
        if self.submitted:
            status = "failed" if "failure" in self.mouths else "succeeded"
        link = f"{self.url}/store/result.zip?Signature=canary-{secret}"
        return {
            "job_id": JOB,
            "name": f"name {self.says('document', secret)}",
            "status": self.says("word", secret) or status,
            "description": f"text {self.says('document', secret)}",
            "device_id": "qulacs",
            "job_type": "sampling",
            "shots": 100,
            "submitted_at": "2026-01-02T03:04:05Z",
            "job_info": {"result": link, "message": f"why {self.says('failure', secret)}"},
        }

    def answer(self, method: str, path: str, secret: str) -> tuple[int, Mapping[str, str], Any]:
        loud = {"x-echo": self.says("headers", secret), "retry-after": self.says("headers", secret)}
        for status, mouth in ((400, "refusal"), (401, "denial"), (501, "fault")):
            if mouth in self.mouths and path.startswith("/jobs"):
                return status, loud, {"message": self.says(mouth, secret), "detail": self.says(mouth, secret)}
        if "page" in self.mouths:
            return 403, {"content-type": "text/html"}, f"<h1>{self.says('page', secret)}</h1>".encode()
        if "elsewhere" in self.mouths:
            return 302, {"location": f"https://{secret}.example.org/?t={quote(secret)}"}, b""
        if "garbage" in self.mouths:
            return 200, {}, f'{{"{self.says("garbage", secret)}'.encode()
        return self.route(method, path, secret, loud)

    def route(self, method: str, path: str, secret: str, loud: Mapping[str, str]) -> tuple[int, Mapping[str, str], Any]:
        match method, path.split("?")[0]:
            case "GET", "/devices":
                return 200, loud, [DEVICE | {"description": f"a device {self.says('device', secret)}"}]
            case "GET", "/devices/qulacs":
                return 200, loud, DEVICE | {"description": f"a device {self.says('device', secret)}"}
            case "POST", "/jobs":
                form = {"url": f"{self.url}/store", "fields": {"key": "in.zip", "signature": f"canary-{secret}"}}
                return 200, loud, {"job_id": JOB, "presigned_url": form}
            case "POST", "/store":
                refused = "storage" in self.mouths
                return 403 if refused else 204, {}, f"<Error>{self.says('storage', secret)}</Error>" if refused else b""
            case "GET", "/jobs":
                return 200, loud, [self.job(secret)] if self.submitted else []
            case "GET", "/store/result.zip":
                return self.stored(secret)
            case "POST", _ if path.endswith("/submit"):
                self.submitted = True
                return 200, loud, {"message": "job submitted"}
            case "GET", _ if path.endswith("/status"):
                return 200, loud, {"job_id": JOB, "status": self.job(secret)["status"]}
            case "GET", _:
                return 200, loud, self.job(secret)
            case _:
                return 400, loud, {"message": f"no {self.says('cancel', secret)}"}

    def stored(self, secret: str) -> tuple[int, Mapping[str, str], Any]:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("result.json", json.dumps(RESULT | {"note": self.says("result", secret)}))
        return 200, {}, file.getvalue()


@contextmanager
def echo(*mouths: str, known: str = "") -> Iterator[Echo]:
    """`known` is what it repeats to requests that bring no credential, as those to its store."""
    cloud = Echo(mouths=frozenset(mouths))

    class Talk(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            token, login = self.headers.get("q-api-token", ""), self.headers.get("proxy-authorization", "")
            cloud.heard += [(self.path, each) for each in (token, login) if each]
            if self.command == "CONNECT" or urlsplit(self.path).scheme:
                words = base64.b64decode(login.rpartition(" ")[2]).decode()
                self.said(403, {}, f"the proxy does not know {words}".encode())
            else:
                self.said(*cloud.answer(self.command, self.path, token or known))

        do_GET = do_POST = do_DELETE = do_CONNECT = do  # noqa: N815 (the names that the server looks for)

        def said(self, status: int, headers: Mapping[str, str], body: Any) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing: a test's output is its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Talk)
    cloud.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
