"""Reading payments: many requests, one statement; and waiting for one to settle."""

import asyncio

from domain.coalescer import Coalescer
from domain.identity.model import Principal
from domain.ids import PaymentId
from domain.payments.model import SETTLED, Payment

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5


class PaymentReader:
    """Reads payments through a coalescer, so that waiting clients cost one statement for all of them."""

    def __init__(self, get: Coalescer[tuple[Principal, PaymentId], Payment]) -> None:
        """Keep what gathers the reads."""
        self._get = get

    async def settled(self, principal: Principal, payment_id: PaymentId, *, wait_s: float) -> Payment:
        """Return a payment as soon as it is settled, or as it is when the time is over. Errors: NotFound."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_s
        pause_s = _FIRST_PAUSE_S
        while True:
            payment = await self._get.submit((principal, payment_id))
            if payment.status in SETTLED or loop.time() >= deadline:
                return payment
            await asyncio.sleep(min(pause_s, max(0.0, deadline - loop.time())))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
