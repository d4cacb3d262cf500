"""Commissions: what the platform keeps of what a seller sells, where another rate than the default is agreed."""

from domain.clock import Clock
from domain.errors import Invalid, NotFound
from domain.events import event
from domain.ids import UserId
from domain.sellers.ports import SellersTransaction
from domain.transactions import Begin

MAX_BPS = 10_000
"""All of it, in basis points."""


class CommissionService:
    """The sellers' own commissions, for operators.

    They hold for orders that are placed and direct payments that are accepted afterwards: each keeps the rate of
    its moment, so that no later change touches money that moved already.
    """

    def __init__(self, begin: Begin[SellersTransaction], clock: Clock) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock

    async def set(self, seller_id: UserId, commission_bps: int | None) -> None:
        """Set a seller's own commission in basis points, or with None the default one again. Safe to repeat.

        Errors: Invalid `commission_invalid`; NotFound `seller_not_found`.
        """
        if commission_bps is not None and not 0 <= commission_bps <= MAX_BPS:
            raise Invalid(f"a commission is 0 to {MAX_BPS} basis points", code="commission_invalid")
        now = self._clock.now()
        async with self._begin() as tx:
            if not await tx.users.set_seller_rate(seller_id, commission_bps):
                raise NotFound("there is no such seller", code="seller_not_found")
            told = event(
                "seller.commission_changed", seller_id, now, audience=[seller_id], commission_bps=commission_bps
            )
            await tx.events.append([told])
            await tx.commit()
