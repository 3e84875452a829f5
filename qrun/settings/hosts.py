"""The hosts that the providers are known by, and the form of an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

HOSTS: Final[Mapping[str, frozenset[str]]] = {
    "local": frozenset(),
    "oqtopus": frozenset(),  # each installation has a host of its own
    "pasqal": frozenset(
        {
            "apis.pasqal.cloud",
            "apis.sa.pasqal.cloud",
            "pasqal.eu.auth0.com",
            "authenticate.pasqal.cloud",
            "auth.sa.pasqal.cloud",
        }
    ),
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
