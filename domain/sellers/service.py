"""Sellers as they see themselves, and their wish to be onboarded. Making accounts is the workers' task."""

from dataclasses import dataclass, replace
from datetime import timedelta

from domain.clock import Clock
from domain.errors import NotFound
from domain.events import event
from domain.identity.model import Principal, Role, require_role
from domain.ids import UserId
from domain.sellers.model import OnboardingStatus, Seller, SellerAccount
from domain.sellers.ports import SellersTransaction
from domain.transactions import Begin
from domain.work import Announcer, Work

_HAS_TO_ASK = frozenset({OnboardingStatus.OPEN, OnboardingStatus.FAILED})


@dataclass(frozen=True, slots=True)
class SellerPolicy:
    """The settings of sellers: the default commission in basis points, and seconds."""

    commission_bps: int
    republish_after_s: float


class SellerService:
    """The sellers, as they see themselves."""

    def __init__(
        self, begin: Begin[SellersTransaction], announcer: Announcer, clock: Clock, policy: SellerPolicy
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._announcer = announcer
        self._clock = clock
        self._policy = policy

    async def get(self, principal: Principal) -> Seller:
        """Return the calling seller. Errors: Forbidden for all others; NotFound `seller_not_found`."""
        require_role(principal, Role.SELLER)
        async with self._begin() as tx:
            return await self._seller(tx, principal.user_id)

    async def onboard(
        self, principal: Principal, *, traceparent: str | None = None, request_id: str | None = None
    ) -> Seller:
        """Ask for an account at Stripe and a link to its questions, or for another link; return the seller.

        Durable when this returns, and done by a worker soon after. Safe to repeat: while a worker is at it, or
        where Stripe has no question, nothing changes. `traceparent` and `request_id` join the spans and logs of
        the worker with the request. Errors: those of `get`. Locks the account.
        """
        require_role(principal, Role.SELLER)
        now = self._clock.now()
        seller_id = principal.user_id
        wish = SellerAccount(
            seller_id,
            OnboardingStatus.PENDING,
            created_at=now,
            updated_at=now,
            traceparent=traceparent,
            request_id=request_id,
        )
        async with self._begin() as tx:
            seller = await self._seller(tx, seller_id)
            if not await self._ask(tx, wish):
                return seller
            await tx.events.append([event("seller.onboarding_requested", seller_id, now, audience=[seller_id])])
            seller = await self._seller(tx, seller_id)
            await tx.commit()
        self._announcer.announce(Work.ONBOARDINGS, [seller_id])
        return seller

    async def _ask(self, tx: SellersTransaction, wish: SellerAccount) -> bool:
        """Write the wish; return False where there is nothing to wish for."""
        now = wish.created_at
        publish_at = now + timedelta(seconds=self._policy.republish_after_s)
        if await tx.seller_accounts.add(wish, publish_at=publish_at):
            return True
        known = await tx.seller_accounts.lock(wish.seller_id)
        if known is None or known.status not in _HAS_TO_ASK:
            return False
        asked = replace(
            known,
            status=wish.status,
            failure_code=None,
            link=None,
            link_expires_at=None,
            updated_at=now,
            traceparent=wish.traceparent,
            request_id=wish.request_id,
        )
        await tx.seller_accounts.ask(asked, due_at=now, publish_at=publish_at)
        return True

    async def _seller(self, tx: SellersTransaction, seller_id: UserId) -> Seller:
        rates = await tx.users.seller_rates([seller_id])
        if seller_id not in rates:
            raise NotFound("there is no such seller", code="seller_not_found")
        own = rates[seller_id]
        accounts = await tx.seller_accounts.by_sellers([seller_id])
        return Seller(seller_id, self._policy.commission_bps if own is None else own, accounts.get(seller_id))
