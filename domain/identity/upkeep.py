"""What ended before its time, told to whoever remembers it; and forgetting what is over for good."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from domain.clock import Clock
from domain.identity.ports import IdentityTransaction
from domain.transactions import Begin

_PAGE = 1_000
_KEPT_S = 7 * 86_400.0
"""How long sessions are kept after they expired, for whoever asks what happened."""
_REVOCATIONS_KEPT_S = 86_400.0
"""Far longer than any process remembers a credential without asking."""


class RevocationService:
    """The sessions and API keys that ended before their time."""

    def __init__(self, begin: Begin[IdentityTransaction], clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock

    async def recent(self, within_s: float) -> Sequence[UUID]:
        """Return the ids of all that were revoked within the last seconds, by the database's clock."""
        found: list[UUID] = []
        async with self._begin() as tx:
            while True:
                page = await tx.revocations.recent(within_s, after=found[-1] if found else None, limit=_PAGE)
                found += page
                if len(page) < _PAGE:
                    return found

    async def prune(self) -> int:
        """Delete what nobody asks for any more, some thousand rows at a time; return how many. Safe to repeat."""
        before = self._clock.now() - timedelta(seconds=_KEPT_S)
        async with self._begin() as tx:
            deleted = await tx.sessions.prune(before, limit=_PAGE)
            deleted += await tx.revocations.prune(_REVOCATIONS_KEPT_S, limit=_PAGE)
            await tx.commit()
        return deleted
