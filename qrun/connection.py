"""A configured way to a provider, and what a command hands that provider beside its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from qrun.clock import Clock
from qrun.job import NOTHING

__all__ = ["Access", "Connection"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """`provider` is its type; `settings` are the type's own keys, which only that provider reads.

    `site` is the lower-case host with project and organization, None where none is known or none exists.
    """

    name: str
    provider: str
    site: str | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: NOTHING, repr=False)


def _nothing(source: object) -> str:
    raise TypeError(f"no secret can be had from {source!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """What a provider may ask for while it works.

    `reveal` gives the secret that a source in the connection's settings stands for, fetched now (SettingsError where
    it is not to be had). `slow` says of which sources that may take long, because a person or a program is asked.
    `trusted_hosts` are hosts that the user trusts beyond the known ones.
    """

    reveal: Callable[[Any], str] = field(default=_nothing, repr=False)
    slow: Callable[[Any], bool] = field(default=lambda _: False, repr=False)
    trusted_hosts: frozenset[str] = frozenset()
    clock: Clock = field(default_factory=Clock)

    async def revealed(self, source: Any) -> str:
        """The same, and everything else goes on meanwhile. Nobody waits at the end for what is still being asked."""
        return await _beside(lambda: self.reveal(source)) if self.slow(source) else self.reveal(source)


async def _beside(ask: Callable[[], str]) -> str:
    """In a thread that keeps no command from ending, as those of `asyncio.to_thread` do: a person may never answer."""
    import asyncio
    from threading import Thread

    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(text: str, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(text)
        else:
            answer.set_exception(error)

    def run() -> None:
        text, problem = "", None
        try:
            text = ask()
        except BaseException as error:  # handed on to whoever waits, whatever it is
            problem = error
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(settle, text, problem)

    Thread(target=run, daemon=True).start()
    return await answer
