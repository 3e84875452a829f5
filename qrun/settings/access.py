"""What a provider gets beside its settings: the secrets that it asks for, and the hosts that the user trusts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from qrun.connection import Access
from qrun.errors import Problem
from qrun.redact import note
from qrun.settings.file import open_to_others
from qrun.settings.secrets import fetch
from qrun.settings.source import Secret, Source

if TYPE_CHECKING:
    from qrun.settings import Settings


def access(found: Settings, warn: Callable[[Problem], None], environ: Mapping[str, str] = os.environ) -> Access:
    """`warn` hears, once a file, of one with secrets that others may read."""
    warned: set[str] = set()

    def reveal(source: Source) -> str:
        if source.name not in warned and (warning := open_source(source)) is not None:
            warned.add(source.name)
            warn(warning)
        return resolve(source, environ).reveal()

    return Access(reveal=reveal, slow=slow, trusted_hosts=found.trusted_hosts)


def slow(source: Source) -> bool:
    """Whether a program is asked, or a keyring, which may ask a person."""
    return source.kind in ("command", "keyring")


def open_source(source: Source) -> Problem | None:
    """What is to be said where others may read the file whose section holds a secret."""
    if source.kind != "section":
        return None
    try:
        return open_to_others(source.file or source.name, os.stat(source.name).st_mode)
    except OSError:
        return None


def resolve(source: Source, environ: Mapping[str, str] = os.environ) -> Secret:
    """The secret itself, fetched now and hidden from now on in all that is shown; SettingsError where there is none."""
    secret = fetch(source, environ)
    for text in _secrets(secret.reveal()):
        note(text)
    return secret


def _secrets(text: str) -> Iterator[str]:
    """The text and, of an address with a login, its password and both together."""
    yield text
    login = re.match(r"https?://([^/@]*:([^/@]*))@", text)
    if login is not None:
        from urllib.parse import unquote

        for part in login.groups():
            yield from (part, unquote(part))
