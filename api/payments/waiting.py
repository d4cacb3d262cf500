"""Reading payments, many requests in one statement, and waiting until one settles."""

import asyncio
from collections.abc import Callable

from db.changes import ChangeListener
from domain.coalescer import Coalescer
from domain.identity.model import Principal
from domain.ids import PaymentId
from domain.payments.model import Glance, Payment, Sight, Version

_MAX_WAITING = 10_000
# How soon to look again when no change is announced. Seldom while announcements come; else more and more seldom.
_LIVE_PAUSE_S = 2.0
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5


class PaymentReader:
    """Reads payments through a coalescer, so that all clients of one moment cost one statement.

    A client that waits costs a timer and an entry in a table, but no database connection.
    """

    def __init__(self, look: Coalescer[Glance, Sight], changes: ChangeListener) -> None:
        """Keep what gathers the reads, and what hears of changes."""
        self._look = look
        self._changes = changes
        self._waiting = 0

    @property
    def can_wait(self) -> bool:
        """Whether one more client may wait: not if too many do, nor while the process is about to end."""
        return self._waiting < _MAX_WAITING and not self._changes.is_released

    async def get(self, principal: Principal, payment_id: PaymentId) -> Payment:
        """Return a payment as it is. Errors: NotFound."""
        return (await self.look(principal, payment_id)).news

    async def look(self, principal: Principal, payment_id: PaymentId, known: Version | None = None) -> Sight:
        """Return a payment as it is, or only that it is still the `known` version. Errors: NotFound."""
        return await self._look.submit(Glance(principal, payment_id, known))

    async def settled(
        self,
        principal: Principal,
        payment_id: PaymentId,
        *,
        wait_s: float,
        is_news: Callable[[Payment], bool] = lambda _: True,
    ) -> Payment:
        """Return a payment once it is settled and `is_news`, or as it is after `wait_s` seconds. Errors: NotFound.

        The watch begins before the first look, so that no settlement between the two is missed.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        pause_s = _FIRST_PAUSE_S
        self._waiting += 1
        try:
            with self._changes.watch(payment_id) as watch:
                while True:
                    payment = await self.get(principal, payment_id)
                    left_s = deadline - loop.time()
                    if left_s <= 0 or self._changes.is_released:
                        return payment
                    if payment.is_settled and is_news(payment):
                        return payment
                    await watch.changed(min(left_s, _LIVE_PAUSE_S if self._changes.is_live else pause_s))
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        finally:
            self._waiting -= 1
