"""What fails where nobody waits for it: told by type and place, as a foreign exception's words may hold anything."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from traceback import extract_tb
from typing import Any

from qrun.cli.out import tell


def listen() -> None:
    """To be called in the event loop: nothing else of it, and of the libraries' logs, comes to a terminal."""
    asyncio.get_running_loop().set_exception_handler(_heard)
    logging.getLogger().addHandler(logging.NullHandler())


def _heard(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    error = context.get("exception")
    if not isinstance(error, Exception):
        return
    frames = extract_tb(error.__traceback__)
    place = f" in {os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else ""
    tell(f"something failed in the background ({type(error).__name__}{place}); nothing that was recorded is lost")
