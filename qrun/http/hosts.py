"""Where a request may go: the connection's own address, and links that a provider hands out."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias
from urllib.parse import SplitResult, quote, urlsplit

from qrun.errors import SettingsError, Unexpected

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
PORT: Final = {"https": 443, "http": 80}
TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address within IPv6
LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
NAME: Final = re.compile(rf"(?=.{{1,253}}$){LABEL}(?:\.{LABEL})*")


def segment(text: str) -> str:
    """One part of a path, percent-encoded whole; `.` and `..`, which a server takes for a direction, are refused."""
    if text in ("", ".", ".."):
        raise Unexpected(f'"{text}" cannot be a part of an address')
    return quote(text, safe="")


@dataclass(frozen=True, slots=True)
class Target:
    """A scheme, a host and a port; `path` is what follows them, encoded as it goes out, secret for a link."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)

    @property
    def authority(self) -> str:
        """As it stands in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if PORT[self.scheme] == self.port else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def address(self) -> Address | None:
        """Where the host is written as an address."""
        return _address(self.host)

    @property
    def loopback(self) -> bool:
        return self.host == "localhost" or (self.address is not None and self.address.is_loopback)

    def among(self, hosts: Collection[str]) -> bool:
        """Whether it is named, as `host` or `host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return bool({self.host, host, f"{host}:{self.port}"} & {name.lower() for name in hosts})


@lru_cache(maxsize=256)
def _address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def base(name: str, url: str, trusted: Collection[str]) -> Target:
    """The connection's own address, without the slash at its end; raises SettingsError."""
    try:
        target = parse(url, encoded=False)
    except ValueError as error:
        raise SettingsError(f'connection "{name}": the url cannot be used: {error}') from None
    if "?" in target.path or "#" in url:
        raise SettingsError(f'connection "{name}": the url has a query or a fragment', hint="leave it out")
    if target.scheme == "http" and not target.loopback and not target.among(trusted):
        hint = "write https://, or name the host in QRUN_TRUSTED_HOSTS"
        raise SettingsError(f'connection "{name}": "{target.host}" may only be reached over https', hint=hint)
    return Target(target.scheme, target.host, target.port, target.path.rstrip("/"))


def proxy(name: str, url: str | None) -> str | None:
    """The proxy's address as it was given; it may hold a user name. Raises SettingsError."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in PORT and bool(parts.hostname) and url.isascii() and url.isprintable()
        usable = usable and parts.port != 0  # reading it raises ValueError where it is no number
    except ValueError:
        usable = False
    if usable:
        return url
    raise SettingsError(f'connection "{name}": the proxy cannot be used', hint="write http://host:port")


def link(url: str, own: Target, trusted: Collection[str]) -> Target:
    """A link that the provider gave, checked as far as that goes without resolving its host; raises Unexpected.

    The link itself is a credential, so no message shows more of it than its host.
    """
    if url[:5].lower() == "file:":
        hint = "have the service hand out links to a storage host"
        raise Unexpected("the provider gave a link to a file on its own machine, which is never opened here", hint=hint)
    try:
        target = parse(url, encoded=True)
    except ValueError as error:
        raise Unexpected(f"the provider gave a link that cannot be used: {error}") from None
    local = own.loopback and target.loopback
    if target.scheme == "http" and not (own.scheme == "http" and (local or target.among(trusted))):
        raise Unexpected(f'the provider gave a link to "{target.host}" that is not https')
    return target


def free(target: Target, own: Target, trusted: Collection[str]) -> bool:
    """Whether a link may lead there whatever address the host has."""
    return target.host == own.host or target.among(trusted) or (own.loopback and target.loopback)


def public(target: Target, addresses: Collection[Address]) -> None:
    """Raises Unexpected where any address is this machine's, a private network's, or nobody's."""
    for address in addresses:
        if not _public(address):
            hint = f"if it is yours, name {target.host}:{target.port} in QRUN_TRUSTED_HOSTS"
            raise Unexpected(f'the provider gave a link to "{target.host}", which is no public address', hint=hint)


def _public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _public(inner)
    return address.is_global and not address.is_multicast


def parse(url: str, *, encoded: bool) -> Target:
    """Raises ValueError with words that hold nothing of the url but its scheme and host.

    Where the path is not `encoded` yet, what must not stand in a request is.
    """
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("it has characters that no address has")
    parts = _split(url)
    if parts.scheme not in PORT:
        raise ValueError(f'"{parts.scheme}" is not https')
    if "@" in parts.netloc:
        raise ValueError("it holds a user name")
    try:
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        raise ValueError("its port is not a number up to 65535") from None
    _host(host)
    path = parts.path if encoded else quote(parts.path, safe="/%:@!$&'()*+,;=~")
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme, host, PORT[parts.scheme] if port is None else port, f"{path}{query}")


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("it is not an address") from None


def _host(host: str) -> None:
    """A name, or an address in its usual form: `127.1` and `0x7f000001` mean one thing here and another there."""
    if ":" in host or re.fullmatch(r"[0-9.]+|0x[0-9a-f.x]*", host):
        if _address(host) is None:
            raise ValueError(f'"{host[:80]}" is no address')
    elif not NAME.fullmatch(host):
        raise ValueError(f'"{host[:80]}" is no name of a host')
