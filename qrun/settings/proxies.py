"""The proxy that the environment names for an address, as other programs understand HTTPS_PROXY and NO_PROXY.

This machine itself is never reached through such a proxy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from qrun.errors import Problem, SettingsError
from qrun.settings.hosts import ADDRESS, LOOPBACK
from qrun.settings.source import Secret, Source

PROXY: Final = r"https?://(?P<login>[^\s/@]*@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?/?"


def proxy_for(address: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable that names a proxy for this address, and its value."""
    found = re.fullmatch(ADDRESS, address)
    if found is None:
        return None
    scheme, host = found[1], found[2].lower()
    port = int(found[3] or (443 if scheme == "https" else 80))
    named = _named(scheme, environ)
    if named is None or re.fullmatch(LOOPBACK, host) or _excepted(host.strip("[]"), port, environ):
        return None
    return named


def _named(scheme: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    names = [f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    if "REQUEST_METHOD" in environ and scheme == "http":
        names.remove("HTTP_PROXY")  # in a CGI script whoever sends the request chooses it
    return next(((name, environ[name]) for name in names if environ.get(name)), None)


def _excepted(host: str, port: int, environ: Mapping[str, str]) -> bool:
    entries = re.split(r"[,\s]+", environ.get("no_proxy") or environ.get("NO_PROXY") or "")
    return any(_covers(entry.lower(), host, port) for entry in entries if entry)


def _covers(entry: str, host: str, port: int) -> bool:
    """An entry is `*`, a domain with all below it, an address, or a network; all but the last perhaps with a port."""
    if "/" in entry:
        return _within(host, entry)
    parts = re.fullmatch(r"\[([0-9a-f:.]+)\](?::([0-9]+))?|([^:]+)(?::([0-9]+))?", entry)
    name, only = (parts[1] or parts[3], parts[2] or parts[4]) if parts is not None else (entry, None)
    if only is not None and int(only) != port:
        return False
    domain = name.removeprefix("*").removeprefix(".")
    return name == "*" or host == domain or (domain != "" and host.endswith(f".{domain}"))


def _within(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def settled(value: str, place: Problem) -> str | Source:
    """A proxy's address in full; one with a password is a secret. `place` is where it is said, for a SettingsError."""
    whole = value.strip() if "://" in value else f"http://{value.strip()}"
    found = re.fullmatch(PROXY, whole)
    if found is None:
        hint = 'write for example "http://proxy.example.org:3128"'
        message = "what stands here is not the address of an http proxy"
        raise SettingsError(replace(place, message=message, hint=hint))
    if found["login"] is None:
        return whole
    return Source(kind="text", text=Secret(whole), file=place.file, field=place.field)
