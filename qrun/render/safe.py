"""Foreign text on its way to a person: nothing that steers a terminal, nothing that is a credential.

Every string that qrun did not write itself (a manifest's, a provider's, a file's name) passes `safe` or `shown`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from qrun.errors import Problem

# C0 and DEL, C1, soft hyphen, Arabic letter mark, zero-width and bidirectional marks, line and paragraph separators,
# invisible operators, interlinear marks, byte order mark, variation selectors, tags, and halves of surrogate pairs.
STEERING: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)

HIDDEN: Final = "[hidden]"
CREDENTIALS: Final = re.compile(
    r"(?i)(?:(?P<name>(?:proxy-)?authorization|q-api-token|x-auth-token|x-api-key|x-amz-signature|x-amz-security-token"
    r"|api[_-]?token|access[_-]?token|refresh[_-]?token|client[_-]?secret|secret[_-]?access[_-]?key|password)"
    r"(?P<mark>[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic|token)\s+)?(?P<value>[^\s\"'&,;<>{}]+))"
    r"|(?P<bearer>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}"
    r"|(?P<scheme>\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@:]{0,200}:[^\s/@]{1,200}@"
)


def safe(text: object) -> str:
    """The text on one line, with everything that a terminal would obey or hide shown as an escape."""
    plain = str(text)
    return plain if plain.isascii() and plain.isprintable() else STEERING.sub(_escape, plain)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\n":
        return "␤"
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def hidden(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without what looks like a credential, and without the given secrets, however they are written.

    A second line of defence: the first is that nobody puts a credential into a message.
    """
    for secret in secrets:
        for form in _forms(secret):
            text = text.replace(form, HIDDEN)
    return CREDENTIALS.sub(_hide, text)


def _hide(match: re.Match[str]) -> str:
    if match["name"]:
        return f"{match['name']}{match['mark']}{HIDDEN}"
    if match["scheme"]:
        return f"{match['scheme']}{HIDDEN}@"
    return f"{match['bearer'] or ''}{HIDDEN}"


def _forms(secret: str) -> list[str]:
    """A secret as it may appear in a message, the longest form first; one of less than six characters is left."""
    if len(secret) < 6:
        return []
    import json
    from base64 import b64encode, urlsafe_b64encode
    from urllib.parse import quote, quote_plus

    raw = secret.encode()
    spelled = {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    spelled |= {code(raw).decode().rstrip("=") for code in (b64encode, urlsafe_b64encode)}
    if secret.count(".") == 2:
        spelled |= {part for part in secret.split(".") if len(part) >= 6}
    return sorted(spelled, key=len, reverse=True)


def shown(text: object, secrets: Iterable[str] = ()) -> str:
    """For a message or a cell: safe to print and without credentials."""
    return safe(hidden(str(text), secrets))


def told(problem: Problem) -> str:
    """A problem on one line. Its place is no value of anybody's: `jobs.a.password: …` goes on with our own words."""
    message, hint = hidden(problem.message), problem.hint and hidden(problem.hint)
    return safe(replace(problem, message=message, hint=hint))
