"""A host between a client and the stand-in, that keeps every request as it was sent."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from tests.emulator_pasqal import Cloud
from tests.official.recorder import Sent

OF_THE_WAY = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@contextmanager
def between(account: Cloud) -> Iterator[tuple[Cloud, list[Sent]]]:
    """The account at the address of such a host, and what was sent there, which grows."""
    kept: list[Sent] = []
    there = urlsplit(account.url)
    assert there.hostname is not None

    class Passing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def passed(self) -> None:
            sent = _read(self)
            kept.append(sent)
            connection = http.client.HTTPConnection(str(there.hostname), there.port, timeout=30)
            headers = {name: value for name, value in sent.headers.items() if name not in OF_THE_WAY}
            try:
                connection.request(sent.method, self.path, sent.body or None, headers)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in OF_THE_WAY:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_PUT = passed  # noqa: N815 - the names that the library looks for

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Passing)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # how soon it sees that it is over
    thread.start()
    try:
        yield replace(account, url=f"http://127.0.0.1:{server.server_port}"), kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _read(handler: BaseHTTPRequestHandler) -> Sent:
    target = urlsplit(handler.path)
    return Sent(
        method=handler.command,
        host=handler.headers.get("host", ""),
        path=target.path,
        query=parse_qs(target.query, keep_blank_values=True),
        headers={name.lower(): value for name, value in handler.headers.items()},
        body=handler.rfile.read(int(handler.headers.get("content-length", 0))),
    )
