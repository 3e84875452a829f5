"""Where a secret comes from, and the secret once it is in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NoReturn

WAYS: Final = ("env", "keyring", "command", "file")
SIZE: Final = 1 << 16  # bytes of a secret


class Secret:
    """A credential in memory; it shows itself only when asked by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a secret is: `env`, `keyring` and `file` have a name, `command` its words, `text` the secret itself.

    A `section` of an INI file has the file's path as its name, and section and key as its words.
    """

    kind: str
    name: str = ""
    words: tuple[str, ...] = ()
    service: str = "qrun"
    text: Secret | None = None
    file: str | None = None  # where this is said
    field: str | None = None
