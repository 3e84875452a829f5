"""The hosts that the providers are known by, and the form of an address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

REGIONS: Final[Mapping[tuple[str, str], frozenset[str]]] = {  # an account is one of one region
    ("pasqal", "fr"): frozenset({"apis.pasqal.cloud", "pasqal.eu.auth0.com", "authenticate.pasqal.cloud"}),
    ("pasqal", "sa"): frozenset({"apis.sa.pasqal.cloud", "auth.sa.pasqal.cloud"}),
}
HOSTS: Final[Mapping[str, frozenset[str]]] = {
    "local": frozenset(),
    "oqtopus": frozenset(),  # each installation has a host of its own
    "pasqal": REGIONS["pasqal", "fr"] | REGIONS["pasqal", "sa"],
    "iqm": frozenset({"resonance.iqm.tech", "resonance.meetiqm.com", "cocos.resonance.meetiqm.com"}),
    "qhub": frozenset({"gateway.hub.kipu-quantum.com", "api.hub.kipu-quantum.com"}),
}
DEFAULT_HOST: Final[Mapping[tuple[str, str], str]] = {  # by type and region, for the site
    ("pasqal", "fr"): "apis.pasqal.cloud",
    ("pasqal", "sa"): "apis.sa.pasqal.cloud",
    ("qhub", ""): "api.hub.kipu-quantum.com",
}

# scheme, host, port
ADDRESS: Final = r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?(?:/.*)?"
LOOPBACK: Final = r"localhost|127(?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}|\[::1\]"


def place_of(address: str) -> str | None:
    """The lower-case host, with its port unless that is the scheme's own; None for what is no address."""
    found = re.fullmatch(ADDRESS, address)
    if found is None:
        return None
    default = "443" if found[1] == "https" else "80"
    host = found[2].lower()
    return host if found[3] in (None, default) else f"{host}:{found[3]}"


def origin(address: str) -> tuple[str, str] | None:
    """Scheme and place, which say together who gets what is sent there."""
    found, place = re.fullmatch(ADDRESS, address), place_of(address)
    return (found[1], place) if found is not None and place is not None else None


def address_of(provider: str, settings: Mapping[str, Any]) -> str | None:
    """The address by which a connection of this type is known: its own, else the type's, where there is one."""
    given = next((settings[key] for key in ("url", "core_url", "platform_url") if key in settings), None)
    region = settings.get("region", "fr") if provider == "pasqal" else ""
    default = DEFAULT_HOST.get((provider, region))
    return str(given) if given else default and f"https://{default}"
