"""Forms of the type multipart/form-data (RFC 7578), read from a body that is there as a whole."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

BOUNDARY: Final = re.compile(r'multipart/form-data\s*;.*boundary=(?:"([^"]{1,200})"|([^\s;]{1,200}))', re.IGNORECASE)
NAME: Final = re.compile(rb'^content-disposition:\s*form-data\s*;.*?\bname="([^"]*)"', re.IGNORECASE | re.MULTILINE)


class Part(NamedTuple):
    name: str
    content: bytes


def parts(content_type: str, body: bytes) -> list[Part] | None:
    """The parts in their order; None where the body is no such form."""
    match = BOUNDARY.match(content_type)
    if match is None:
        return None
    line = b"\r\n--" + (match[1] or match[2]).encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(line)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        return None
    found: list[Part] = []
    for piece in pieces[1:-1]:
        head, blank, content = piece.partition(b"\r\n\r\n")
        name = NAME.search(head)
        if not blank or name is None:
            return None
        found.append(Part(name[1].decode("utf-8", "replace"), content))
    return found
