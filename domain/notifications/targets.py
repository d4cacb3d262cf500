"""Where a webhook may go. What others let us call must not be a way into our own network (OWASP, SSRF).

The URL is checked when it is given, its addresses when it is given and again at every connection: a name can point
elsewhere a moment later.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from domain.errors import Invalid
from domain.ids import UserId

MAX_URL_CHARS = 2_000

# Printable ASCII without the space and the backslash.
_PRINTABLE = re.compile(r"[!-\[\]-~]+")
_PORTS = {"https": 443, "http": 80}
_PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")
# Ways to write an IPv4 address as one of IPv6 that a gateway takes apart again: what counts is the address inside.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Protocol assignments (RFC 6890) and the abandoned 6to4 relay (RFC 7526): Python calls parts of them global.
_SPECIAL_IPV4 = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a URL names."""

    host: str
    port: int


class Resolver(Protocol):
    """The names' service."""

    async def resolve(self, host: str, port: int, *, user_id: UserId) -> Sequence[str]:
        """Return the addresses of a host, at least one, for a user who may not ask for many at once.

        Errors: Invalid `url_unresolvable`; RateLimited `too_many_lookups` for the user; Unavailable.
        """
        ...


def read_target(url: str, *, allow_private: bool) -> Target:
    """Return whom a URL names. Errors: Invalid `url_invalid`, naming what is wrong.

    HTTPS alone, unless private targets are allowed. Characters of which two readers of the URL might think
    differently are refused, not interpreted.
    """
    if len(url) > MAX_URL_CHARS or not _PRINTABLE.fullmatch(url):
        raise _invalid(f"a URL has at most {MAX_URL_CHARS} printable ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _invalid("this is no URL") from None
    if parts.scheme != "https" and not (allow_private and parts.scheme == "http"):
        raise _invalid("the URL must begin with https://")
    if not parts.hostname or "@" in parts.netloc or "%" in parts.netloc or parts.fragment or port == 0:
        raise _invalid("the URL needs a host, and takes neither a password nor a fragment")
    return Target(parts.hostname, port or _PORTS[parts.scheme])


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public Internet: not private, loopback, link-local or special."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _inner(ip)
        if inner is None:
            return ip in _PUBLIC_IPV6 and ip.is_global and not ip.is_multicast and ip.teredo is None
        ip = inner
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in _SPECIAL_IPV4)


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour


def _invalid(message: str) -> Invalid:
    return Invalid(message, code="url_invalid")
