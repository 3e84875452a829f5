"""What follows from what happened to a request: one table by class of call, and how long to wait (RELIABILITY §4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final


class Call(StrEnum):
    """What a request is for; providers ask with the first four.

    A submit may start something that costs money. A cancel may be repeated: its effect is the same. What goes to a
    link (a storage host's address, with its own credential) starts nothing: an upload replaces itself.
    """

    SUBMIT = "submit"
    READ = "read"
    CANCEL = "cancel"
    AUTH = "auth"
    UPLOAD = "upload"
    DOWNLOAD = "download"


class Happened(StrEnum):
    UNSENT = "unsent"  # not resolved, refused, no TLS: before a byte of the request was written
    LOST = "lost"  # reset, closed, timed out, cut short: after that
    UNREADABLE = "unreadable"  # an answer that is too large, or packed in a way that was not asked for
    MOVED = "moved"
    ASIDE = "aside"  # 303 and the rest of 3xx: processed perhaps, and the answer stands elsewhere
    REFUSED = "refused"  # 400 and the rest of 4xx
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    ABSENT = "absent"
    SLOW = "slow"
    CONFLICT = "conflict"
    MISDIRECTED = "misdirected"  # not processed, by the definition of these numbers
    LIMITED = "limited"
    BROKEN = "broken"  # 500 and the rest of 5xx
    UNSUPPORTED = "unsupported"


class Verdict(StrEnum):
    AGAIN = "again"  # ask again, as often as ATTEMPTS says; in the end: unavailable
    WAIT = "wait"  # was not processed: ask again while the deadline lasts; in the end: unavailable
    FOLLOW = "follow"
    DENIED = "denied"
    REJECTED = "rejected"
    MISSING = "missing"
    UNCERTAIN = "uncertain"
    UNEXPECTED = "unexpected"


A, W, F = Verdict.AGAIN, Verdict.WAIT, Verdict.FOLLOW
D, R, M, U, X = Verdict.DENIED, Verdict.REJECTED, Verdict.MISSING, Verdict.UNCERTAIN, Verdict.UNEXPECTED

Row = tuple[Verdict, Verdict, Verdict, Verdict, Verdict, Verdict]  # in the order of Call

# Where the provider's own error format was recognised, and for what is no answer of anybody.
OWN: Final[Mapping[Happened, Row]] = {
    Happened.UNSENT: (A, A, A, A, A, A),
    Happened.LOST: (U, A, A, A, A, A),
    Happened.UNREADABLE: (U, X, X, X, X, X),
    Happened.MOVED: (R, F, X, X, X, X),
    Happened.ASIDE: (U, F, X, X, X, X),
    Happened.REFUSED: (R, X, R, D, R, M),
    Happened.UNAUTHORIZED: (D, D, D, D, R, M),
    Happened.FORBIDDEN: (R, D, D, D, R, M),
    Happened.ABSENT: (R, M, M, X, R, M),
    Happened.SLOW: (U, A, A, A, A, A),
    Happened.CONFLICT: (U, X, R, X, A, X),
    Happened.MISDIRECTED: (A, A, A, A, A, A),
    Happened.LIMITED: (W, W, W, W, W, W),
    Happened.BROKEN: (U, A, A, A, A, A),
    Happened.UNSUPPORTED: (R, X, X, X, R, X),
}
# Where somebody else may have spoken, a proxy for example: no proof that the provider has not seen the request, and
# no word of the provider's about what was asked for. Rows that are not here are those above.
FOREIGN: Final[Mapping[Happened, Row]] = {
    Happened.REFUSED: (U, X, X, X, R, X),
    Happened.UNAUTHORIZED: (U, D, D, D, R, X),
    Happened.FORBIDDEN: (U, X, X, X, R, X),
    Happened.ABSENT: (U, X, X, X, R, X),
    Happened.CONFLICT: (U, X, X, X, A, X),
    Happened.MISDIRECTED: (U, A, A, A, A, A),
    Happened.LIMITED: (U, W, W, W, W, W),
    Happened.UNSUPPORTED: (U, X, X, X, R, X),
}
COLUMN: Final = {call: number for number, call in enumerate(Call)}

STATUS: Final[Mapping[int, Happened]] = {
    301: Happened.MOVED,
    302: Happened.MOVED,
    307: Happened.MOVED,
    308: Happened.MOVED,
    401: Happened.UNAUTHORIZED,
    403: Happened.FORBIDDEN,
    404: Happened.ABSENT,
    408: Happened.SLOW,
    409: Happened.CONFLICT,
    410: Happened.ABSENT,
    421: Happened.MISDIRECTED,
    425: Happened.MISDIRECTED,
    429: Happened.LIMITED,
    501: Happened.UNSUPPORTED,
    505: Happened.UNSUPPORTED,
}
REST: Final[Mapping[int, Happened]] = {3: Happened.ASIDE, 4: Happened.REFUSED, 5: Happened.BROKEN}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`attempts` counts the first one. `seconds` is the time for all of them and the waits between them, and is
    lengthened by what is received, so that a large answer over a slow line comes through and a dripping one does not.
    `read` is how long nothing may come at all.
    """

    attempts: int
    seconds: float
    read: float = 30.0
    lengthens: bool = False


# A submit is sent again only after proof that nothing was sent. Some services take minutes to create many jobs.
LIMITS: Final[Mapping[Call, Limits]] = {
    Call.SUBMIT: Limits(attempts=3, seconds=330, read=330),
    Call.READ: Limits(attempts=6, seconds=120, lengthens=True),
    Call.CANCEL: Limits(attempts=4, seconds=60),
    Call.AUTH: Limits(attempts=3, seconds=30),
    Call.UPLOAD: Limits(attempts=6, seconds=120),
    Call.DOWNLOAD: Limits(attempts=6, seconds=120, lengthens=True),
}
CONNECT: Final = 10.0  # seconds until a connection must be open
KEEP: Final = 4.0  # seconds; servers close what is idle for 5, and what is sent to a closing connection is lost
PACE: Final = 50_000.0  # bytes a second that are enough
LONGEST: Final = 1800.0  # seconds for the largest answer
BASE: Final = 0.5  # seconds; doubled with every attempt
CAP: Final = 20.0


def happened(status: int) -> Happened:
    """What an answer that is no success tells; a status below 300 or above 599 is no answer that HTTP knows."""
    return STATUS.get(status) or REST.get(status // 100, Happened.UNREADABLE)


def judge(call: Call, what: Happened, *, own: bool, limited: bool) -> Verdict:
    """`limited`: the provider's contract says that what gets a 429 was not processed."""
    if call is Call.SUBMIT and what is Happened.LIMITED and not limited:
        return Verdict.UNCERTAIN
    row = OWN[what] if own else FOREIGN.get(what, OWN[what])
    return row[COLUMN[call]]


def pause(attempt: int, chance: Callable[[], float], least: float | None = None) -> float:
    """Seconds before the next attempt, `attempt` counting from 0; `least` is what the server asks for."""
    if least:
        return least * (1 + chance() / 10)
    longest: float = min(CAP, BASE * 2.0 ** min(attempt, 30))
    return chance() * longest


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for: a whole number, or a date; None for anything else."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:10])
    instant = date(text)
    return None if instant is None or instant < now else instant - now


def date(text: str | None) -> float | None:
    """Seconds since 1970 of an HTTP date."""
    try:
        return None if text is None else parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, IndexError):
        return None


def spoken(seconds: float) -> str:
    """A time to wait as people say it, rounded up: `42 s`, `3 h 12 min`, `2 d 1 h`."""
    whole = max(1, -int(-seconds // 1))
    for unit, size, part, step in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // step
            return f"{whole // size} {unit} {rest} {part}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"
