"""Zip archives with exactly one entry, in memory; the entry's name is nobody's path."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Final

from qrun.errors import Unexpected

LIMIT: Final = 256 * 1024 * 1024
RATIO: Final = 200  # how many times larger than packed the content may be …
SMALL: Final = 1024 * 1024  # … beyond this size: a short text of zeros is no bomb
END: Final = struct.Struct("<4s6xHI6x")  # what a zip archive ends with: mark, entries, size of the table of contents
MARK: Final = b"PK\x05\x06"
ONE: Final = 46 + 3 * 0xFFFF  # bytes in the table of contents for one entry at most
MOMENT: Final = (1980, 1, 1, 0, 0, 0)


def entry(data: bytes, *, limit: int = LIMIT) -> bytes:
    """The content of the only entry; its name is ignored. Raises Unexpected for anything else."""
    try:
        _directory(data)
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            return _content(packed, len(data), limit)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        words = str(error)[:100]
    raise Unexpected(f'a zip archive cannot be read: "{words}"')


def _directory(data: bytes) -> None:
    """Refuses a table of contents for more than one entry before anybody reads it: a million entries are a bomb too."""
    at = len(data) - END.size
    if at < 0 or data[at : at + 4] != MARK or data[-2:] != b"\0\0":
        at = data.rfind(MARK, max(0, at - 0xFFFF))
    if at < 0 or at + END.size > len(data):
        raise zipfile.BadZipFile("it has no table of contents")
    _, entries, size = END.unpack_from(data, at)
    if entries != 1 or size > ONE or data[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
        raise zipfile.BadZipFile(f"it holds {entries} entries where one is due")


def _content(packed: zipfile.ZipFile, size: int, limit: int) -> bytes:
    infos = packed.infolist()
    if len(infos) != 1 or infos[0].is_dir():
        raise zipfile.BadZipFile("it does not hold exactly one file")
    if infos[0].flag_bits & 1:
        raise zipfile.BadZipFile("it is encrypted")
    if infos[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile("it is packed in another way than DEFLATE")  # whose readers know no limit
    most = min(limit, max(SMALL, size * RATIO))
    with packed.open(infos[0]) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise zipfile.BadZipFile(f"{size} bytes hold more than {most} bytes")
    return content


def archive(name: str, data: bytes) -> bytes:
    """A DEFLATE archive with this entry alone, and no clock or system in it: the same content, the same bytes."""
    info = zipfile.ZipInfo(name, MOMENT)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3
    info.external_attr = 0o644 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr(info, data, compresslevel=6)
    return packed.getvalue()
