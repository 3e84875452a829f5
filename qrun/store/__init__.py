"""The results directory: all that qrun keeps of an experiment, and the only place that writes project files.

What is named here is loaded when it is first asked for: the quick answer of `glance` needs none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qrun.store.disk import Disk
    from qrun.store.index import Index
    from qrun.store.store import Store, outside
    from qrun.store.view import View

__all__ = ["Disk", "Index", "Store", "View", "outside"]

HOMES: Final = {
    "Disk": "qrun.store.disk",
    "Index": "qrun.store.index",
    "Store": "qrun.store.store",
    "View": "qrun.store.view",
    "outside": "qrun.store.store",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"qrun.store has no {name}")
    return getattr(import_module(HOMES[name]), name)
