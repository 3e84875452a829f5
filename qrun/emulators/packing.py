"""Zip files with one entry, as the clouds keep them; written and read without any code of the providers."""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO
from typing import Final

LARGEST: Final = 64 * 2**20  # bytes of an entry
WHEN: Final = (2026, 1, 1, 0, 0, 0)


class PackingError(Exception):
    """Why these bytes are no zip with one entry."""


def packed(name: str, content: bytes) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, WHEN), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def unpacked(data: bytes) -> tuple[str, bytes]:
    """The entry's name and content; raises PackingError."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) != 1:
                raise PackingError(f"the archive has {len(entries)} entries, one is needed")
            with archive.open(entries[0]) as entry:
                content = entry.read(LARGEST + 1)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, zlib.error) as error:
        raise PackingError(f"the archive cannot be read: {error}") from error
    if len(content) > LARGEST:
        raise PackingError(f"the archive's entry is larger than {LARGEST} bytes")
    return entries[0].filename, content
