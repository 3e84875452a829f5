"""Where the stand-ins play: all of one command in one process and one event loop, until a signal ends them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from importlib import import_module
from typing import Any, Protocol

from qrun.emulators import EMULATORS, Options


class Service(Protocol):
    """One stand-in, whatever it speaks. `start` gives what to print of it."""

    async def start(self) -> Mapping[str, Any]: ...
    async def aclose(self) -> None: ...


async def play(names: Sequence[str], options: Options, told: Callable[[Mapping[str, Any]], None]) -> None:
    """Returns after SIGINT or SIGTERM, when everything is stopped; `told` hears of each stand-in once it is up."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, over.set)
    async with AsyncExitStack() as stack:
        for place, name in enumerate(names):
            own = replace(options, port=0) if place else options
            service: Service = import_module(EMULATORS[name]).stand_in(own)
            stack.push_async_callback(service.aclose)
            told(await service.start())
        await over.wait()
