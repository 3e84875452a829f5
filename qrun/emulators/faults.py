"""What goes wrong on purpose: rules, how they are written, and which of them strike a request. Pure but for the dice.

A rule is `METHOD PATH: KIND [words]`, as `POST /jobs/*/submit: 503-after x1`; docs/emulator.md lists the kinds.
"""

from __future__ import annotations

import random
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final


class Kind(StrEnum):
    LATENCY = "latency"  # the answer waits
    STATUS = "status"  # another answer
    RESET = "reset"
    CLOSE = "close"
    HANG = "hang"
    TRUNCATED = "truncated"
    HTML = "html"
    REPLAY = "replay"
    DRIP = "drip"
    WRONG = "wrong"
    LAG = "lag"  # from here on: what the work itself heeds
    STUCK = "stuck"
    FAIL = "fail"
    EXPIRED = "expired"


class When(StrEnum):
    BEFORE = "before"  # nothing is done
    AFTER = "after"  # everything is done, and the answer is lost


# kinds that leave the answer as it is; of the others one strikes a request
MILD: Final = frozenset({Kind.LATENCY, Kind.LAG, Kind.STUCK, Kind.FAIL})
OF_THE_WORK: Final = MILD - {Kind.LATENCY} | {Kind.EXPIRED}
ALWAYS_AFTER: Final = frozenset({Kind.TRUNCATED, Kind.REPLAY, Kind.DRIP, Kind.WRONG})
SECONDS: Final[Mapping[Kind, float]] = {
    Kind.LATENCY: 0.1,
    Kind.HANG: 60.0,
    Kind.DRIP: 0.05,
    Kind.LAG: 5.0,
}
BODIES: Final = ("own", "html", "empty")


class FaultError(ValueError):
    """What is wrong with a rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One rule. `count` is how often it strikes (None: always), `skip` how many requests it lets pass before."""

    method: str
    path: str
    kind: Kind
    when: When = When.BEFORE
    status: int = 503
    body: str = "own"
    retry_after: str | None = None
    seconds: float = 0.0
    message: str = ""
    count: int | None = None
    skip: int = 0
    probability: float = 1.0
    account: str | None = None

    def matches(self, method: str, path: str, account: str | None) -> bool:
        return (
            self.method in ("*", method)
            and (self.account is None or self.account == account)
            and fnmatchcase(path, self.path)
        )


# --- how rules are written --------------------------------------------------------------------------------------------

RULE: Final = re.compile(r"(\*|[A-Z]+)\s+(/\S*|\*)\s*:\s*(.+)", re.DOTALL)
HEAD: Final = re.compile(r"([a-z]+|[1-5][0-9]{2})(?:-(before|after))?(?:=(.*))?", re.DOTALL)
TIMES: Final = re.compile(r"x([0-9]{1,9})")


def read(text: str) -> Fault:
    """A rule from one line of text; raises FaultError."""
    match = RULE.fullmatch(text.strip())
    if match is None:
        raise FaultError(f'"{text}" is not a fault; write for example "POST /jobs/*/submit: 503-after x1"')
    try:
        head, *rest = shlex.split(match[3])
    except ValueError as error:
        raise FaultError(f'"{text}": {error}') from error
    return of({"method": match[1], "path": match[2], **_head(head), **dict(_word(word) for word in rest)})


def _head(word: str) -> dict[str, Any]:
    match = HEAD.fullmatch(word)
    if match is None:
        raise FaultError(f'"{word}" is not a kind of fault; choose one of {", ".join(Kind)} or a status')
    found: dict[str, Any] = {"kind": match[1]}
    if match[1].isdigit():
        found = {"kind": "status", "status": match[1]}
    if match[2]:
        found["when"] = match[2]
    if match[3] is not None:
        found["message" if match[1] in ("fail", "wrong") else "seconds"] = match[3]
    return found


def _word(word: str) -> tuple[str, Any]:
    if times := TIMES.fullmatch(word):
        return ("count", times[1])
    name, equals, value = word.partition("=")
    name = {"p": "probability"}.get(name, name.replace("-", "_"))
    if not equals:
        raise FaultError(f'"{word}" is not understood; write NAME=VALUE or x3 for three times')
    return (name, value)


def of(given: Mapping[str, Any]) -> Fault:
    """A rule from its parts, numbers also as text; raises FaultError."""
    known = {each.name for each in fields(Fault)}
    if unknown := sorted(set(given) - known):
        raise FaultError(f'a fault has no "{unknown[0]}"; it has {", ".join(sorted(known))}')
    try:
        kind = Kind(given.get("kind", ""))
        fault = Fault(
            method=str(given.get("method", "*")),
            path=str(given.get("path", "*")),
            kind=kind,
            when=_when(kind, given.get("when")),
            status=int(given.get("status", 503)),
            body=str(given.get("body", "own")),
            retry_after=None if given.get("retry_after") is None else str(given["retry_after"]),
            seconds=float(given.get("seconds", SECONDS.get(kind, 0.0))),
            message=str(given.get("message", "")),
            count=None if given.get("count") is None else int(given["count"]),
            skip=int(given.get("skip", 0)),
            probability=float(given.get("probability", 1.0)),
            account=None if given.get("account") is None else str(given["account"]),
        )
    except (ValueError, TypeError) as error:
        raise FaultError(f"a fault cannot be read: {error}") from error
    if fault.body not in BODIES or not 200 <= fault.status <= 599 or not 0 <= fault.seconds < 1e6:
        raise FaultError(f"a fault has a status from 200 to 599, seconds from 0, and a body of {', '.join(BODIES)}")
    return fault


def _when(kind: Kind, given: Any) -> When:
    if kind in ALWAYS_AFTER or (kind is Kind.FAIL and given is None):
        return When.AFTER
    return When(given or "before")


# --- which of them strike ---------------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Struck:
    """A rule in force, and what it has done so far."""

    fault: Fault
    passed: int = 0
    struck: int = 0


@dataclass(kw_only=True, slots=True)
class Faults:
    """The rules in the order in which they were given."""

    dice: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - mishaps, not secrets
    rules: list[Struck] = field(default_factory=list)

    def add(self, faults: Iterable[Fault], account: str | None = None) -> None:
        """Those that name no account are for this one, or for all."""
        for fault in faults:
            self.rules.append(Struck(fault=replace(fault, account=fault.account or account)))

    def clear(self, account: str | None = None) -> None:
        self.rules = [rule for rule in self.rules if account is not None and rule.fault.account != account]

    def strike(self, method: str, path: str, account: str | None) -> Sequence[Fault]:
        """The faults of this request: the mild ones, and at most one that spoils the answer."""
        if not self.rules:
            return ()
        found: list[Fault] = []
        spoilt = False
        for rule in self.rules:
            fault = rule.fault
            mild = fault.kind in MILD
            if (mild or not spoilt) and fault.matches(method, path, account) and self._due(rule):
                found.append(fault)
                spoilt = spoilt or not mild
        return found

    def _due(self, rule: Struck) -> bool:
        fault = rule.fault
        if fault.count is not None and rule.struck >= fault.count:
            return False
        if rule.passed < fault.skip:
            rule.passed += 1
            return False
        if fault.probability < 1 and self.dice.random() >= fault.probability:
            return False
        rule.struck += 1
        return True
