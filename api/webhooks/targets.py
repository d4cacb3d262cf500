"""The names' service, as the check of a webhook's target asks it."""

import asyncio
from collections.abc import Sequence

from domain.errors import Invalid, Unavailable
from ops.names import NameLookups, TooManyLookups

_TIMEOUT_S = 5.0
_MOST = 16


class SystemResolver:
    """`domain.notifications.targets.Resolver` over the system's, in threads of its own and bounded."""

    def __init__(self) -> None:
        """Look nothing up yet."""
        self._names = NameLookups(most=_MOST)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of a host, at least one. Errors: Invalid `url_unresolvable`; Unavailable."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found = await self._names.look_up(host, port)
        except TooManyLookups:
            raise Unavailable("too many names are looked up", code="overloaded") from None
        except (OSError, TimeoutError, UnicodeError):
            raise Invalid("the URL's host is not found", code="url_unresolvable") from None
        return [str(address[0]) for *_, address in found]
