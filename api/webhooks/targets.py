"""The names' service, as the check of a webhook's target asks it."""

import asyncio
import socket
from collections.abc import Sequence

from domain.errors import Invalid

_TIMEOUT_S = 5.0


class SystemResolver:
    """`domain.notifications.targets.Resolver` over the system's, in a thread and bounded."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host, at least one. Errors: Invalid `url_unresolvable`."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            raise Invalid("the URL's host is not found", code="url_unresolvable") from None
        return [str(address[0]) for *_, address in found]
