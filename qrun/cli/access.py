"""What this project's providers may ask for, with the warnings of it told on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qrun import settings
from qrun.cli.out import tell, told
from qrun.errors import Problem

if TYPE_CHECKING:
    from qrun.connection import Access
    from qrun.settings import Settings


def access(found: Settings) -> Access:
    return settings.access(found, _warn)


def _warn(problem: Problem) -> None:
    tell(told("settings", problem))
