"""INI files in which other programs keep a cloud's address and token; their values are taken as they are written.

No message holds anything of a file but the names of its sections.
"""

from __future__ import annotations

from collections.abc import Mapping

from qrun.errors import Problem, SettingsError
from qrun.settings.file import SIZE, content, reason
from qrun.settings.words import show


def section(path: str, shown: str, name: str) -> Mapping[str, str]:
    """One section, its keys in lower case; SettingsError where it is not to be had."""
    found = _sections(path, shown)
    if name not in found:
        hint = f"it has {', '.join(map(show, found))}" if found else "it has none at all"
        raise SettingsError(Problem(file=shown, message=f"has no section {show(name)}", hint=hint))
    return found[name]


def _sections(path: str, shown: str) -> Mapping[str, Mapping[str, str]]:
    import configparser

    parser = configparser.RawConfigParser()
    try:
        parser.read_string(content(path, SIZE)[0].decode("utf-8-sig"))
    except OSError as error:
        raise SettingsError(Problem(file=shown, message=f"cannot be read: {reason(error)}")) from error
    except UnicodeDecodeError:
        raise SettingsError(Problem(file=shown, message="is not UTF-8", hint="save it as UTF-8")) from None
    except configparser.Error as error:
        message = "is not INI: a line is malformed, or a section or a key stands there twice"
        raise SettingsError(Problem(file=shown, line=_line(error), message=message)) from None
    return {name: dict(parser[name]) for name in parser.sections()}


def _line(error: Exception) -> int | None:
    """Only the place: the error's own words quote the line, and a token may stand in it."""
    return getattr(error, "lineno", None) or next((line for line, _ in getattr(error, "errors", ())), None)
