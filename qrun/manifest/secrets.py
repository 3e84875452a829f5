"""Secrets that an author is about to commit: found by the name of their field, or by how they look."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

LONG: Final = 20  # characters from which a text may be a key or a token
BITS: Final = 3.9  # a character of a random key carries more than this, one of a word or a name less

SECRET_NAME: Final = re.compile(
    r"(?i)(?:^|[_.-])(?:api[_-]?|access[_-]?|auth[_-]?|private[_-]?|secret[_-]?)?"
    r"(?:token|password|passwd|passphrase|secret|credentials?|authorization|bearer|apikey|api[_-]key|accesskey|"
    r"access[_-]key|private[_-]?key|secret[_-]?key)(?:[_.-](?:id|key|value))?$"
    r"|[a-z](?:Token|Password|Secret|ApiKey|AccessKey|PrivateKey)$"
)
KNOWN: Final = re.compile(
    r"eyJ[A-Za-z0-9_-]{8,}\.|-----BEGIN [A-Z ]*PRIVATE KEY-----|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|(?i:bearer )[A-Za-z0-9._~+/-]{16,}"
)
RANDOM: Final = re.compile(r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=[^0-9]*[0-9])[A-Za-z0-9+/_=-]{24,}")
SECRET_TEXT: Final = re.compile(
    rf"(?:{RANDOM.pattern})\Z|[^\n]*(?:{KNOWN.pattern})", re.DOTALL
)  # quick, asks too often


def secrets(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The paths of what looks like a secret, each with why."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and item and SECRET_NAME.search(key):
                yield (*path, key), "its name says that it is a secret"
            else:
                yield from secrets(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from secrets(item, (*path, index))
    elif isinstance(value, str) and len(value) >= LONG and _random(value):
        yield path, "it looks like a secret"


def _random(text: str) -> bool:
    if KNOWN.search(text):
        return True
    return RANDOM.fullmatch(text) is not None and "/" not in text.strip("/")[:12] and _entropy(text) > BITS


def _entropy(text: str) -> float:
    """Bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())
