"""The table of providers: a type's name and the module that is imported when a job first needs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from qrun.provider import Capabilities

MODULES: Final = {
    "local": "qrun.providers.local",
    "oqtopus": "qrun.providers.oqtopus",
    "pasqal": "qrun.providers.pasqal",
}


def capabilities(provider: str) -> Capabilities:
    """Plain data; loads none of the provider's libraries. KeyError for a type that does not exist."""
    module: Any = import_module(MODULES[provider])
    found: Capabilities = module.CAPABILITIES
    return found
