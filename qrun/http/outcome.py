"""How one request ended, and the error that says so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any, Final
from urllib.parse import urlsplit

from qrun.errors import Denied, Missing, ProviderError, Rejected, Unavailable, Uncertain, Unexpected
from qrun.http.policy import Happened, Verdict, spoken
from qrun.http.reply import Reply, Words

# What counts against the server's health; anything else shows that it is there.
SICK: Final = frozenset({Happened.UNSENT, Happened.LOST, Happened.BROKEN})

KIND: Final[Mapping[Verdict, type[ProviderError]]] = {
    Verdict.AGAIN: Unavailable,
    Verdict.WAIT: Unavailable,
    Verdict.FOLLOW: Unexpected,  # it could not be followed
    Verdict.DENIED: Denied,
    Verdict.REJECTED: Rejected,
    Verdict.MISSING: Missing,
    Verdict.UNCERTAIN: Uncertain,
    Verdict.UNEXPECTED: Unexpected,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """`what` is None for success. `words` are the provider's own error; `told` is what the library said."""

    what: Happened | None
    reply: Reply | None = None
    words: Words | None = None
    told: str = ""

    @property
    def status(self) -> int | None:
        return self.reply.status if self.reply else None


def fault(verdict: Verdict, outcome: Outcome, *, name: str, place: str, wait: float | None) -> ProviderError:
    """The error of connection `name` at `place`; `wait` is how long the server asks to be left alone."""
    facts: dict[str, Any] = {
        "status": outcome.status,
        "provider_code": outcome.words and outcome.words.code,
        "words": outcome.words and outcome.words.message,
        "hint": _hint(verdict, outcome, name),
    }
    text = f"{place}: {_told(outcome)}"
    kind = KIND[verdict]
    if kind is not Unavailable:
        return kind(text, **facts)
    if wait:
        text = f"{text}; the server asks to wait {spoken(wait)}"
    return Unavailable(text, retry_after=wait, **facts)


def _told(outcome: Outcome) -> str:
    if outcome.reply is None:
        lead = {Happened.UNSENT: "no connection, nothing was sent", Happened.LOST: "sent, but the answer did not come"}
        return f'{lead.get(outcome.what or Happened.LOST, "the answer cannot be read")} ("{outcome.told}")'
    status = outcome.reply.status
    if outcome.what in (Happened.MOVED, Happened.ASIDE):
        return f"{status}, a redirect{_aim(outcome.reply)} that is not followed"
    if outcome.words is None:
        return f"{status}, in a form that is not the provider's own"
    code = f" {outcome.words.code}" if outcome.words.code else ""
    return f'{status}{code} "{outcome.words.message}"'


def _aim(reply: Reply) -> str:
    """The host alone: the rest of a location may be a credential."""
    try:
        host = urlsplit(reply.headers.get("location", "")).hostname
    except ValueError:
        host = None
    return f' to "{host[:100]}"' if host else ""


def _hint(verdict: Verdict, outcome: Outcome, name: str) -> str | None:
    match verdict:
        case Verdict.DENIED if outcome.what is Happened.FORBIDDEN:
            return f'check what the credentials of connection "{name}" permit'
        case Verdict.DENIED:
            return f'check the credentials of connection "{name}"'
        case Verdict.UNCERTAIN:
            return "whether it was carried out is looked up before anything is sent again"
        case Verdict.AGAIN if outcome.what is Happened.UNSENT:
            return f'check the network and the url of connection "{name}", then run again'
        case Verdict.AGAIN | Verdict.WAIT:
            return "run again later"
        case _ if outcome.what in (Happened.MOVED, Happened.ASIDE):
            return f'check the url of connection "{name}"'
        case Verdict.UNEXPECTED if outcome.reply is not None and outcome.words is None:
            return f'check the url of connection "{name}", and what stands between here and there'
        case _:
            return None


def storage_words(reply: Reply) -> Words | None:
    """A storage host's error, XML as a rule; a page made for people comes from somebody else."""
    text = reply.content[:10_000].decode(errors="replace")
    if re.match(r"\s*<(?!\?xml|Error\b)", text) or "html" in reply.headers.get("content-type", "").lower():
        return None
    code = re.search(r"<Code>([^<]{1,200})</Code>", text)
    message = re.search(r"<Message>([^<]{1,2000})</Message>", text)
    return Words(code=code and unescape(code[1]), message=unescape(message[1]) if message else text)
