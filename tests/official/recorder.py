"""A proxy that keeps every request that passes through it, as it was sent."""

from __future__ import annotations

import http.client
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PASSED_ON = frozenset({"connection", "proxy-connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One request. `host` is where it went; header names are lower."""

    method: str
    host: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> list[Field]:
        """The parts of a multipart form, in their order."""
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + self.body)
        return [_field(part) for part in message.iter_parts()]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One part of a form; `type` is None where the part names none."""

    name: str
    file: str | None
    type: str | None
    content: bytes

    @property
    def entries(self) -> list[tuple[str, int, bytes]]:
        """Of an archive: each entry's name, how it is compressed and what it holds."""
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            return [(each.filename, each.compress_type, archive.read(each)) for each in archive.infolist()]


def _field(part: Any) -> Field:
    name = part.get_param("name", header="content-disposition")
    kind = part.get_content_type() if "content-type" in part else None
    return Field(name=name, file=part.get_filename(), type=kind, content=part.get_payload(decode=True))


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """`sent` grows while it runs, in the order in which the requests were complete."""

    url: str
    sent: list[Sent]


@contextmanager
def recorder() -> Iterator[Recorder]:
    kept: list[Sent] = []

    class Passing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def passed(self) -> None:
            sent = _read(self)
            kept.append(sent)
            status, headers, content = _asked(sent, self.path)
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = passed  # noqa: N815 - the names that the library looks for

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Recorder(url=f"http://127.0.0.1:{server.server_port}", sent=kept)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _read(handler: BaseHTTPRequestHandler) -> Sent:
    target = urlsplit(handler.path)
    return Sent(
        method=handler.command,
        host=target.netloc,
        path=target.path,
        query=parse_qs(target.query, keep_blank_values=True),
        headers={name.lower(): value for name, value in handler.headers.items()},
        body=_body(handler),
    )


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    if "chunked" not in handler.headers.get("transfer-encoding", ""):
        return handler.rfile.read(int(handler.headers.get("content-length", 0)))
    found = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        found += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return found


def _asked(sent: Sent, target: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """The answer of the host that was meant."""
    parts = urlsplit(target)
    headers = {name: value for name, value in sent.headers.items() if name not in PASSED_ON}
    if sent.body:
        headers["content-length"] = str(len(sent.body))
    connection = http.client.HTTPConnection(sent.host, timeout=30)
    try:
        whole = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(sent.method, whole, sent.body or None, headers)
        answer = connection.getresponse()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in PASSED_ON]
        return answer.status, kept, answer.read()
    finally:
        connection.close()
