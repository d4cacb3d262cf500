"""Forgetting deliveries that are long over."""

from datetime import timedelta

from domain.clock import Clock
from domain.notifications.ports import NotificationsTransaction
from domain.transactions import Begin

_PAGE = 1_000
_MAX_PAGES = 100


class DeliveryUpkeep:
    """Forgets deliveries with their logs; the events stay, and can be asked for again."""

    def __init__(self, begin: Begin[NotificationsTransaction], clock: Clock, *, kept_s: float) -> None:
        """Keep the collaborators and for how many seconds deliveries are kept."""
        self._begin = begin
        self._clock = clock
        self._kept = timedelta(seconds=kept_s)

    async def prune(self) -> int:
        """Delete old deliveries, page by page, at most 100,000; return how many. Safe to repeat."""
        deleted = 0
        for _ in range(_MAX_PAGES):
            now = self._clock.now()
            async with self._begin() as tx:
                page = await tx.deliveries.prune(now - self._kept, now, limit=_PAGE)
                await tx.commit()
            deleted += page
            if page < _PAGE:
                break
        return deleted
