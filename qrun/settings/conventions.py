"""What the providers' own programs read: variables and files that serve a connection which does not say all itself.

A new type needs a line in the table and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from qrun.job import NOTHING

Variables = Mapping[str, str]  # our keys, and the variables that say them


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The first that exists is read. `keys` says by which words a section may call our keys."""

    paths: tuple[str, ...]
    keys: Mapping[str, tuple[str, ...]]
    section: str = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Convention:
    """Of one type. Variables of one set say something together.

    `places` say which cloud the credentials are for, and the first set counts that anybody began; `credentials` say who
    asks, and the first set counts that is whole. Each of `alone` counts by itself, and so does `proxy`. `home` is where
    a connection leads that names no place; a type without one heeds its variables only where all of them are set.
    """

    places: tuple[Variables, ...]
    credentials: tuple[Variables, ...]
    alone: Variables = NOTHING
    home: Mapping[str, Any] | None = None
    proxy: str | None = None
    files: Files | None = None

    @property
    def place(self) -> frozenset[str]:
        """The keys that say where."""
        return frozenset(key for some in self.places for key in some)

    def own(self, given: Mapping[str, Any]) -> tuple[Variables, ...]:
        """The sets of credentials that a connection may have in mind: those that it began itself, else any."""
        return tuple(some for some in self.credentials if some.keys() & given.keys()) or self.credentials

    def proven(self, given: Mapping[str, Any]) -> bool:
        """Whether these settings say who asks."""
        return any(some.keys() <= given.keys() for some in self.credentials)


CONVENTIONS: Final[Mapping[str, Convention]] = {
    "oqtopus": Convention(
        places=({"url": "OQTOPUS_URL"},),
        credentials=({"api_token": "OQTOPUS_API_TOKEN"},),
        proxy="OQTOPUS_PROXY",
        files=Files(
            paths=("~/.oqtopus", "$XDG_CONFIG_HOME/oqtopus/config.ini"),
            keys={"url": ("url", "base_url"), "api_token": ("api_token",)},
        ),
    ),
    "pasqal": Convention(
        places=(
            {"core_url": "PASQAL_CORE_URL", "account_url": "PASQAL_ACCOUNT_URL", "token_url": "PASQAL_TOKEN_URL"},
            {"region": "PASQAL_REGION"},
        ),
        credentials=(  # those that can be renewed come first
            {"client_id": "PASQAL_CLIENT_ID", "client_secret": "PASQAL_CLIENT_SECRET"},
            {"username": "PASQAL_USERNAME", "password": "PASQAL_PASSWORD"},
            {"token": "PASQAL_AUTH_TOKEN"},  # as CUDA-Q calls it
            {"token": "PASQAL_TOKEN"},
        ),
        alone={"project_id": "PASQAL_PROJECT_ID"},
        home={"region": "fr"},
    ),
}
VARIANTS: Final[Mapping[tuple[str, str], Convention]] = {
    ("pasqal", "ovh"): replace(
        CONVENTIONS["pasqal"], credentials=({"token": "PASQAL_PULSER_ACCESS_TOKEN"},), alone=NOTHING
    ),
}


def convention(kind: str, settings: Mapping[str, Any]) -> Convention | None:
    """That of a type, or of its variant that a connection names."""
    return VARIANTS.get((kind, settings.get("variant", ""))) or CONVENTIONS.get(kind)
