"""The names' service, as the check of a webhook's target asks it."""

import asyncio
from collections.abc import Sequence

from domain.errors import Invalid, RateLimited, Unavailable
from domain.ids import UserId
from ops.names import NameLookups, TooManyLookups, TooManyLookupsForOne

_TIMEOUT_S = 5.0
_MOST = 16
# Nobody has all of them: a name for which no server answers keeps its one for longer than who asked waits.
_MOST_FOR_ONE = 4


class SystemResolver:
    """`domain.notifications.targets.Resolver` over the system's, in threads of its own and bounded."""

    def __init__(self) -> None:
        """Look nothing up yet."""
        self._names = NameLookups(most=_MOST, most_for_one=_MOST_FOR_ONE)

    async def resolve(self, host: str, port: int, *, user_id: UserId) -> Sequence[str]:
        """Return the addresses of a host, at least one.

        Errors: Invalid `url_unresolvable`; RateLimited `too_many_lookups`; Unavailable `overloaded`.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                found = await self._names.look_up(host, port, whom=user_id)
        except TooManyLookupsForOne:
            message = f"at most {_MOST_FOR_ONE} names are looked up for a user at once"
            raise RateLimited(message, code="too_many_lookups") from None
        except TooManyLookups:
            raise Unavailable("too many names are looked up", code="overloaded") from None
        except (OSError, TimeoutError, UnicodeError):
            raise Invalid("the URL's host is not found", code="url_unresolvable") from None
        return [str(address[0]) for *_, address in found]
