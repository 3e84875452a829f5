"""Files that somebody else may have put there: read only where they are files, since a pipe would keep us waiting."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO


def plain_file(path: str) -> IO[bytes]:
    """A regular file, open for reading; OSError for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a file", path)
    return open(descriptor, "rb")


def text(path: str, *, most: int = 1 << 20) -> str:
    """The beginning of a file as text; empty where there is none."""
    try:
        with plain_file(path) as file:
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""
