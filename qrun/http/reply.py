"""What came back: the bytes with their status, read strictly, and words of theirs that are fit for a message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.errors import ProviderError, Uncertain, Unexpected
from qrun.foreign import parse
from qrun.http.policy import Call, date
from qrun.redact import redact, redacted_values, tainted

LONGEST: Final = 300  # characters of somebody else's words
UNPRINTABLE: Final = re.compile("[\x00-\x20\x7f-\xa0\u2028\u2029]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """An answer that was read to its end. Header names are in lower case; `received` is wall time."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    received: float
    call: Call = Call.READ
    place: str = ""  # what was asked, for messages: `"hub", POST /jobs`

    def json(self) -> Any:
        """The body, with no key twice, no NaN, nothing too deep or too long to be honest, and no secret of ours.

        Raises what `malformed` gives.
        """
        try:
            value = parse(self.content)
            hides = tainted(self.content) or b"\\" in self.content  # an escaped text may spell one
            return redacted_values(value) if hides else value
        except ValueError as error:
            words = cleaned(str(error), ())
        raise self.malformed(f"the answer is not usable JSON: {words}")

    def malformed(self, words: str) -> ProviderError:
        """To be raised where an answer lacks what is needed: a submit may have been carried out all the same."""
        kind = Uncertain if self.call is Call.SUBMIT else Unexpected
        return kind(f"{self.place}: {words}" if self.place else words, status=self.status)

    def date(self) -> float | None:
        """The server's own time, seconds since 1970."""
        return date(self.headers.get("date"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """The provider's own error. Where its format is not recognised there are none: somebody else spoke."""

    code: str | None
    message: str


def cleaned(text: str, secrets: Iterable[str]) -> str:
    """Somebody else's words on one short line, without control characters and without our secrets."""
    plain = UNPRINTABLE.sub(" ", redact(text, secrets)).strip()
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"
