"""A configured way to a provider: what a manifest's `provider` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qrun.job import NOTHING

__all__ = ["Connection"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """`provider` is its type; `settings` are the type's own keys, which only that provider reads.

    `site` is the lower-case host with project and organization, None where none is known or none exists.
    """

    name: str
    provider: str
    site: str | None = None
    settings: Mapping[str, Any] = field(default_factory=lambda: NOTHING, repr=False)
