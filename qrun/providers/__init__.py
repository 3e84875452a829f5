"""The table of providers: a type's name and the module that is imported when a job first needs it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qrun.provider import Capabilities

MODULES: Final = {
    "local": "qrun.providers.local",
    "oqtopus": "qrun.providers.oqtopus",
    "pasqal": "qrun.providers.pasqal",
}


def capabilities(provider: str) -> Capabilities:
    """Plain data; loads none of the provider's libraries. KeyError for a type that does not exist.

    A type may be followed by a variant (`pasqal/ovh`); one that the type does not know offers what the type does.
    """
    name, _, variant = provider.partition("/")
    module: Any = import_module(MODULES[name])
    found: Capabilities = module.CAPABILITIES
    variants: Mapping[str, Capabilities] = getattr(module, "VARIANTS", {})
    return variants.get(variant, found)
