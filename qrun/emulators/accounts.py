"""Who may ask: accounts with their tokens, how much each may ask for, and a log of what each has asked."""

from __future__ import annotations

import secrets
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

KEPT: Final = 50_000  # requests that the log remembers one by one


@dataclass(kw_only=True, slots=True)
class Account:
    """`rate` is in requests a second, with as many at once; the times are for its own jobs, None: as for everybody.

    `alone`: its jobs wait for nobody else's, as if each device were there twice.
    """

    name: str
    token: str = field(repr=False)
    created: float = field(default_factory=time.time)
    max_live: int | None = None
    rate: float | None = None
    queue_delay: float | None = None
    run_time: float | None = None
    trace: bool = False
    alone: bool = False
    granted: frozenset[str] = frozenset()  # devices beyond those that everybody may use
    revoked: bool = False
    person: str = ""
    organization: str = ""
    live: int = 0
    purse: float = 0.0
    filled: float = 0.0

    def pays(self, now: float) -> bool:
        """Whether one more request is within the rate; `now` is monotonic."""
        if self.rate is None:
            return True
        most = max(1.0, self.rate)
        self.purse = most if not self.filled else min(most, self.purse + (now - self.filled) * self.rate)
        self.filled = now
        if self.purse < 1:
            return False
        self.purse -= 1
        return True


@dataclass(kw_only=True, slots=True)
class Accounts:
    """Tokens are `<id>.<secret>`."""

    by_token: dict[str, Account] = field(default_factory=dict, repr=False)
    by_name: dict[str, Account] = field(default_factory=dict)
    made: int = 0

    def add(self, name: str | None = None, token: str | None = None, **rest: Any) -> Account:
        """Raises ValueError for a name or a token that is taken, or that is none."""
        self.made += 1
        name = name or f"account-{self.made}"
        token = token or f"{secrets.token_hex(8)}.{secrets.token_urlsafe(24)}"
        if token.count(".") != 1 or not token.isascii() or not token.isprintable():
            raise ValueError("a token is <id>.<secret>, with exactly one dot")
        if name in self.by_name or token in self.by_token:
            raise ValueError(f'there is an account "{name}" or its token already')
        account = Account(name=name, token=token, **rest)
        self.by_name[name] = self.by_token[token] = account
        return account

    def remove(self, name: str) -> None:
        account = self.by_name.pop(name)
        del self.by_token[account.token]

    def __iter__(self) -> Iterator[Account]:
        return iter(list(self.by_name.values()))


@dataclass(kw_only=True, slots=True)
class Log:
    """How often each route was asked for and carried out, by account; requests of nobody we know stand under ""."""

    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    last: deque[tuple[float, str, str, int]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def routes(self, account: str | None = None) -> dict[str, dict[str, int]]:
        """By route; of one account, or of all together."""
        found: dict[str, dict[str, int]] = {}
        for (who, route), count in self.asked.items():
            if account is None or who == account:
                entry = found.setdefault(route, {"asked": 0, "done": 0})
                entry["asked"] += count
                entry["done"] += self.done[who, route]
        return dict(sorted(found.items()))

    def forget(self, account: str) -> None:
        for counter in (self.asked, self.done):
            for place in [place for place in counter if place[0] == account]:
                del counter[place]

    def requests(self, account: str | None = None) -> list[dict[str, Any]]:
        """The latest ones, in the order of their answers; status 0 is an answer that never came."""
        return [
            {"at": at, "account": who, "route": route, "status": status}
            for at, who, route, status in self.last
            if account is None or who == account
        ]
