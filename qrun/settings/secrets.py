"""Secrets are fetched here, each when a request needs it."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import Final

from qrun.errors import Problem, SettingsError
from qrun.settings.file import content, reason
from qrun.settings.source import SIZE, Secret, Source

COMMAND_TIME: Final = 60.0  # seconds, for a command that asks a person


def fetch(source: Source, environ: Mapping[str, str]) -> Secret:
    match source.kind:
        case "text":
            assert source.text is not None
            return source.text
        case "env":
            return _present(source, environ.get(source.name, ""), f'the variable "{source.name}" is not set')
        case "file":
            return _present(source, _in_file(source), f'"{source.name}" is empty')
        case "section":
            return _present(source, _in_section(source), f'section "{source.words[0]}" has no "{source.words[1]}"')
        case "command":
            return _present(source, _by_command(source), f'the command "{source.words[0]}" printed nothing')
        case _:
            return _present(source, _in_keyring(source), f'the keyring has no "{source.name}" under "{source.service}"')


def _present(source: Source, text: str, otherwise: str) -> Secret:
    if not text:
        raise _missing(source, otherwise)
    return Secret(text)


def _missing(source: Source, message: str, hint: str | None = None) -> SettingsError:
    return SettingsError(Problem(file=source.file, field=source.field, message=message, hint=hint))


def _in_file(source: Source) -> str:
    try:
        data, mode = content(source.name, SIZE)
        text = data.decode()
    except OSError as error:
        raise _missing(source, f'"{source.name}" cannot be read: {reason(error)}') from error
    except UnicodeDecodeError:
        raise _missing(source, f'"{source.name}" is not text') from None
    if mode & 0o077:
        message = f'"{source.name}" has the mode {stat.S_IMODE(mode):04o}, so others may read it'
        raise _missing(source, message, f'run "chmod 600 {source.name}"')
    return text.rstrip("\r\n")


def _in_section(source: Source) -> str:
    """Read once more: the settings kept only where it is."""
    from qrun.settings.ini import section

    name, key = source.words
    return section(source.name, source.file or source.name, name).get(key, "")


def _by_command(source: Source) -> str:
    """What the command prints; its own words on stderr go to the terminal, as it may have to ask."""
    import subprocess

    name = source.words[0]
    try:
        done = subprocess.run(  # noqa: S603 - the user's own settings name it; a project's file cannot
            source.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_TIME, check=False
        )
    except OSError as error:
        raise _missing(source, f'the command "{name}" cannot be run: {reason(error)}') from error
    except subprocess.TimeoutExpired:
        raise _missing(source, f'the command "{name}" took longer than {COMMAND_TIME:g} s') from None
    if done.returncode:
        raise _missing(source, f'the command "{name}" ended with code {done.returncode}')
    return done.stdout.decode(errors="replace").rstrip("\r\n")


def _in_keyring(source: Source) -> str:
    try:
        # the extra that not everybody has; it ships types only in part
        import keyring  # type: ignore[import-not-found,unused-ignore]
        import keyring.errors  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        message = "the keyring of the operating system cannot be asked"
        raise _missing(source, message, "install qrun-quantum[keyring]") from None
    try:
        found: str | None = keyring.get_password(source.service, source.name)
    except keyring.errors.KeyringError as error:
        raise _missing(source, f"the keyring of the operating system failed: {type(error).__name__}") from None
    return found or ""
