"""Documents of one JSON object a line, each line with its own checksum: what the lock and the journal are made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import Any, Final
from zlib import crc32

from qrun.errors import Problem, StoreError

VERSION: Final = 1
MARKERS: Final = (b"<<<<<<<", b"=======", b">>>>>>>", b"|||||||")
POINTER: Final = b"version https://git-lfs."
BOM: Final = b"\xef\xbb\xbf"
SUFFIX: Final = 18  # `,"crc":"0123abcd"}`
REPAIR: Final = "qrun verify --repair rebuilds what the other files still know"


def encoded(value: Mapping[str, Any]) -> str:
    """One line of ASCII JSON in the order given; a number that JSON lacks becomes text."""
    try:
        return _encode(value)
    except ValueError:
        return _encode(finite(value))


def seal(text: str) -> bytes:
    """The line of a JSON object, with the CRC-32 of its bytes as last member, and its newline."""
    body = text.encode("ascii")
    return b'%s,"crc":"%08x"}\n' % (body[:-1], crc32(body))


def intact(line: bytes) -> bool:
    return line[-SUFFIX:] == b',"crc":"%08x"}' % crc32(b"}", crc32(line[:-SUFFIX]))


def split(data: bytes) -> list[bytes]:
    """Lines without their ends; what Git or an editor does to line ends and the file's first bytes is undone."""
    data = data.removeprefix(BOM)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def refuse_foreign(file: str, lines: list[bytes]) -> None:
    """StoreError for what is whole but not a document of ours: conflict markers, a Git LFS pointer."""
    if lines and lines[0].startswith(POINTER):
        raise StoreError(Problem(file=file, message="is a Git LFS pointer: not pulled", hint="git lfs pull"))
    for number, line in enumerate(lines, 1):
        if line.startswith(MARKERS):
            word = line.split(b" ")[0].decode("ascii", "replace")
            raise StoreError(
                Problem(
                    file=file,
                    line=number,
                    message=f'holds the conflict marker "{word}" of a git merge',
                    hint="qrun verify --repair takes in both sides",
                )
            )


def damaged(file: str, line: int, what: str = "the line does not match its checksum") -> Problem:
    return Problem(file=file, line=line, message=what, hint=REPAIR)


def plain(value: Any) -> Any:
    """For the encoder: what is not JSON by itself. Dataclasses lose what equals its default."""
    if is_dataclass(value) and not isinstance(value, type):
        return told(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def told(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, in order."""
    names, defaults, contents = _shape(type(value))
    return {
        name: content
        for name, default, content in zip(names, defaults, contents(value), strict=True)
        if content is not default and content != default
    }


_SHAPES: dict[type[Any], tuple[tuple[str, ...], tuple[Any, ...], Callable[[Any], tuple[Any, ...]]]] = {}


def _shape(kind: type[Any]) -> tuple[tuple[str, ...], tuple[Any, ...], Callable[[Any], tuple[Any, ...]]]:
    """Names, defaults, and what gets all contents at once."""
    if kind not in _SHAPES:
        listed = fields(kind)
        names = tuple(item.name for item in listed)
        _SHAPES[kind] = (names, tuple(item.default for item in listed), attrgetter(*names))
    return _SHAPES[kind]


_encode = json.JSONEncoder(separators=(",", ":"), default=plain, allow_nan=False, check_circular=False).encode


def finite(value: Any) -> Any:
    match value:
        case float() if value != value or value in (float("inf"), float("-inf")):
            return str(value)
        case list() | tuple():
            return [finite(item) for item in value]
        case Mapping():
            return {str(name): finite(item) for name, item in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {name: finite(item) for name, item in told(value).items()}
        case _:
            return value
