"""A settings file as it was read, with what is wrong with it.

A file that cannot be read, or is not TOML, has its problem and an empty table.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.errors import Problem
from qrun.settings.places import home, user_file
from qrun.settings.words import Path, field_name

SIZE: Final = 1 << 20  # bytes


@dataclass(kw_only=True, slots=True)
class File:
    """`shown` is its name in messages; `own`: the user's, not the project's."""

    path: str
    shown: str
    own: bool
    text: str = ""
    mode: int = 0
    table: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str, hint: str | None = None) -> Problem:
        line, column = self.place(path)
        return Problem(
            message=message, file=self.shown, line=line, column=column, field=field_name(path) or None, hint=hint
        )

    def place(self, path: Path) -> tuple[int | None, int | None]:
        """Of the key at this path, or of the nearest one around it."""
        from qrun.settings.toml import places

        found = places(self.text)
        for length in range(len(path), 0, -1):
            if path[:length] in found:
                return found[path[:length]]
        return None, None


def project_file(path: str | None) -> File | None:
    """The qrun.toml at this absolute path, which may be no link to elsewhere."""
    if path is None:
        return None
    file = File(path=path, shown=os.path.relpath(path), own=False)
    if os.path.islink(path) and os.path.dirname(os.path.realpath(path)) != os.path.dirname(path):
        file.problems.append(
            Problem(file=file.shown, message="is a link out of its folder", hint="put the file itself here")
        )
        return file
    return _read(file)


def users_file(environ: Mapping[str, str]) -> File | None:
    path = user_file(environ)
    if not os.path.lexists(path):
        return None
    return _read(File(path=path, shown=short(path, environ), own=True))


def _read(file: File) -> File:
    try:
        data, file.mode = content(file.path, SIZE)
        file.text = data.decode("utf-8-sig")
        file.table = _parsed(file.text)
    except OSError as error:
        file.problems.append(Problem(file=file.shown, message=f"cannot be read: {reason(error)}"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8: byte 0x{data[error.start]:02x}"
        file.problems.append(Problem(file=file.shown, line=line, message=message, hint="save it as UTF-8"))
    except RecursionError:
        file.problems.append(Problem(file=file.shown, message="is nested too deep"))
    except ValueError as error:
        file.problems.append(_syntax(file, str(error)))
    return file


def _parsed(text: str) -> dict[str, Any]:
    import tomllib

    table: dict[str, Any] = _plain(tomllib.loads(text))
    return table


def _plain(value: Any) -> Any:
    """TOML's dates and times become text; everything else is JSON's already."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float)) else value.isoformat()


def _syntax(file: File, said: str) -> Problem:
    from qrun.settings.toml import complaint

    line, column, message = complaint(file.text, said)
    return Problem(file=file.shown, line=line, column=column, message=f"is not TOML: {message}")


def content(path: str, most: int) -> tuple[bytes, int]:
    """Content and mode of a regular file; OSError for anything else, a pipe among them, and for a longer one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a file")
        if status.st_size > most:
            raise OSError(f"it is larger than {most >> 10} KiB")
        return opened.read(most), status.st_mode


def reason(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def open_to_others(shown: str, mode: int) -> Problem | None:
    """What is to be said of a file with secrets that others may read."""
    if not mode & 0o077:
        return None
    message = f"holds secrets and has the mode {stat.S_IMODE(mode):04o}, so others may read them"
    return Problem(file=shown, message=message, hint=f'run "chmod 600 {shown}"')


def short(path: str, environ: Mapping[str, str]) -> str:
    """A path in a message, from the home folder where it is in there."""
    folder = home(environ)
    return f"~{path[len(folder) :]}" if path.startswith(folder + os.sep) else path
