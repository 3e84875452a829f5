"""What may never be shown: every secret that was revealed in this process, and what looks like one.

Whoever reveals a secret notes it here, and every text on its way out passes here. It is a second line of defence: the
first is that nobody puts a credential into a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

__all__ = ["HIDDEN", "forms", "hidden", "note", "redact", "redacted", "redacted_bytes", "redacted_values", "tainted"]

HIDDEN: Final = "[hidden]"
LEAST: Final = 6  # characters; what is shorter would hide half of every message
PART: Final = 16  # characters; what is shorter may be a half of a token or the bits of a result by chance
ELLIPSES: Final = ("…", "...")
CREDENTIALS: Final = re.compile(
    r"(?i)(?:(?P<name>(?:proxy-)?authorization|q-api-token|x-auth-token|x-api-key|(?:x-(?:amz|goog)-)?signature"
    r"|x-amz-security-token|api[_-]?token|access[_-]?token|refresh[_-]?token|client[_-]?secret"
    r"|secret[_-]?access[_-]?key|password)"
    r"(?P<mark>[\"']?\s*[:=]\s*[\"']?)(?:(?:bearer|basic|token)\s+)?(?P<value>[^\s\"'&,;<>{}]+))"
    r"|(?P<bearer>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}"
    r"|(?P<scheme>\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@:]{0,200}:[^\s/@]{1,200}@"
)


class _Noted:
    """The process's secrets, and all their forms, the longest first."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.forms: tuple[str, ...] = ()
        self.raw: tuple[bytes, ...] = ()

    def take(self, secret: str) -> None:
        if len(secret) < LEAST or secret in self.secrets:
            return
        self.secrets.add(secret)
        self.forms = _sorted(self.secrets)
        self.raw = tuple(form.encode("utf-8", "surrogatepass") for form in self.forms)


_noted: Final = _Noted()


def note(secret: str) -> None:
    """From now on `redacted` hides this one; one of less than six characters is left."""
    _noted.take(secret)


def forget() -> None:
    """As if nothing had been revealed: for whoever plays several commands in one process."""
    _noted.secrets, _noted.forms, _noted.raw = set(), (), ()


def redacted(text: str) -> str:
    """The text without any noted secret."""
    return _without(text, _noted.forms) if _noted.forms else text


def redacted_values(value: Any) -> Any:
    """A JSON value without any noted secret in its texts and names; numbers stay what they are."""
    if not _noted.forms:
        return value
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {redacted(key): redacted_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted_values(item) for item in value]
    return value


def tainted(data: bytes) -> bool:
    """Whether a noted secret stands in it: whoever sent it repeats what it should keep to itself."""
    return any(form in data for form in _noted.raw)


def redacted_bytes(data: bytes) -> bytes:
    """A file's bytes without any noted secret of sixteen characters or more."""
    for form in _noted.raw:
        if len(form) >= PART:
            data = data.replace(form, HIDDEN.encode())
    return data


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text without any noted secret and without the given ones."""
    return _without(redacted(text), _sorted(secrets))


def hidden(text: str, secrets: Iterable[str] = ()) -> str:
    """As `redact`, and without what looks like a credential."""
    return CREDENTIALS.sub(_hide, redact(text, secrets))


def _hide(match: re.Match[str]) -> str:
    if match["name"]:
        return f"{match['name']}{match['mark']}{HIDDEN}"
    if match["scheme"]:
        return f"{match['scheme']}{HIDDEN}@"
    return f"{match['bearer'] or ''}{HIDDEN}"


def _without(text: str, spelled: Sequence[str]) -> str:
    for form in spelled:
        text = text.replace(form, HIDDEN)
    for dots in ELLIPSES:
        if spelled and dots in text:
            *cut, last = text.split(dots)
            text = dots.join([*(_uncut(part, spelled) for part in cut), last])
    return text


def _uncut(text: str, spelled: Sequence[str]) -> str:
    """Without the beginning of a secret that this text ends in, because an ellipsis follows."""
    end = min(_beginning(text, form) for form in spelled)
    return text[:end] + HIDDEN if end < len(text) else text


def _beginning(text: str, form: str) -> int:
    """Where a beginning of this form starts that goes on to the text's end; the end where none does."""
    at = text.find(form[:LEAST], max(0, len(text) - len(form) + 1))
    while at >= 0 and not form.startswith(text[at:]):
        at = text.find(form[:LEAST], at + 1)
    return at if at >= 0 else len(text)


def _sorted(secrets: Iterable[str]) -> tuple[str, ...]:
    every = {form for secret in secrets for form in forms(secret)}
    return tuple(sorted(every, key=lambda form: (-len(form), form)))


def forms(secret: str) -> frozenset[str]:
    """A secret as it may appear in a text; none for one of less than six characters."""
    if len(secret) < LEAST:
        return frozenset()
    spelled = (form for part in (secret, *_parts(secret)) for form in _spellings(part))
    return frozenset(form for form in spelled if len(form) >= LEAST)


def _parts(secret: str) -> list[str]:
    """The three parts of a JWT, and the halves of an `<id>.<secret>`, are as good as the whole."""
    parts = secret.split(".")
    least = {2: PART, 3: LEAST}.get(len(parts))
    return [part for part in parts if least is not None and len(part) >= least]


def _spellings(secret: str) -> Iterator[str]:
    import json
    from html import escape
    from urllib.parse import quote, quote_plus

    raw = secret.encode("utf-8", "surrogatepass")
    yield from (secret, repr(secret)[1:-1], escape(secret))
    for quoted in (quote(raw, safe=""), quote_plus(raw), quote(raw)):
        yield from (quoted, re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), quoted))
    for ascii_only in (True, False):
        once = json.dumps(secret, ensure_ascii=ascii_only)[1:-1]
        yield from (once, json.dumps(once)[1:-1])
    yield from _encoded(raw)


def _encoded(raw: bytes) -> Iterator[str]:
    """In hexadecimal, and in base64 wherever it stands in what is encoded: the characters that depend on it alone."""
    from base64 import b64encode, urlsafe_b64encode

    yield from (raw.hex(), raw.hex().upper())
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(b"\0" * before + raw).decode()[first:last]
