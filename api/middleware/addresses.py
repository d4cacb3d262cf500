"""Where a request comes from, as far as limits are concerned."""

import ipaddress
import re

from falcon.asgi import Request

_IPV6_PREFIX_BITS = 64
_MAX_CHARS = 64
# Some proxies write the port beside the address, which is another one for each connection, and IPv6 in brackets.
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")


def client_address(req: Request, *, trusted_proxies: int) -> str:
    """Return the caller's address; of IPv6 its network, since a caller has all of a /64.

    Only what our own proxies appended to X-Forwarded-For is believed: anybody can write the rest of it.
    """
    address = req.remote_addr
    if trusted_proxies:
        route = [part.strip() for part in (req.get_header("X-Forwarded-For") or "").split(",") if part.strip()]
        if len(route) >= trusted_proxies:
            address = _without_port(route[-trusted_proxies])
    return _network(address) if ":" in address else address[:_MAX_CHARS]


def _without_port(address: str) -> str:
    found = _WITH_PORT.fullmatch(address)
    return found[1] or found[2] if found else address


def _network(address: str) -> str:
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address[:_MAX_CHARS]
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, _IPV6_PREFIX_BITS), strict=False))
