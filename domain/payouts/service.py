"""Accepting payouts and reading them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from domain.clock import Clock
from domain.errors import Conflict, IdempotencyMismatch, NotFound, Unavailable
from domain.identity.model import Principal, Role, require_role
from domain.ids import PayoutId, UserId, uuid7
from domain.pages import Page, PageRequest
from domain.payouts.model import (
    AcceptedPayout,
    Destination,
    Payout,
    PayoutOrigin,
    PayoutRequest,
    PayoutStatus,
    Release,
    RunLease,
    SellerBalance,
    payout_event,
)
from domain.payouts.ports import PayoutsTransaction
from domain.transactions import Begin
from domain.work import Announcer, Work


@dataclass(frozen=True, slots=True)
class PayoutPolicy:
    """The settings of payouts, in seconds and minor units; `least_minor` is by currency, 1 where it names none.

    While it `is_paused` nothing new is paid out.
    """

    direct_hold_s: float
    republish_after_s: float
    least_minor: Mapping[str, int] = field(default_factory=dict)
    is_paused: bool = False

    def release(self, now: datetime) -> Release:
        """Return what counts as available now."""
        return Release(now, now - timedelta(seconds=self.direct_hold_s))

    def least(self, currency: str) -> int:
        """Return what must be available in a currency at least."""
        return max(1, self.least_minor.get(currency, 1))


class PayoutService:
    """The payouts, as sellers and finance see them."""

    def __init__(
        self, begin: Begin[PayoutsTransaction], announcer: Announcer, clock: Clock, policy: PayoutPolicy
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._announcer = announcer
        self._clock = clock
        self._policy = policy

    async def request(self, principal: Principal, request: PayoutRequest) -> AcceptedPayout:
        """Make a payout of all that is available to the calling seller durable, then announce it.

        A repeated key with the same payload answers with the payout it made; so a retry is safe. Errors: Forbidden
        for all but sellers; Conflict `payouts_not_enabled`, `nothing_to_pay_out`, `currency_missing`;
        IdempotencyMismatch; Unavailable `payouts_paused`. All payouts of a seller wait for each other.
        """
        require_role(principal, Role.SELLER)
        now = self._clock.now()
        async with self._begin() as tx:
            await tx.payouts.claim_seller(principal.user_id)
            earlier = await tx.payouts.by_key(principal.user_id, request.idempotency_key)
            if earlier is None:
                payout = await self._make(tx, principal.user_id, request, now)
                await tx.commit()
                self._announcer.announce(Work.PAYOUTS, [payout.id])
                return AcceptedPayout(payout, replayed=False)
        if earlier.request_hash != request.fingerprint():
            raise IdempotencyMismatch("this Idempotency-Key was used for another payout")
        return AcceptedPayout(earlier, replayed=True)

    async def get(self, principal: Principal, payout_id: PayoutId) -> Payout:
        """Return a payout of the calling seller, or any. Errors: Forbidden for buyers; NotFound."""
        require_role(principal, Role.SELLER, Role.FINANCE, Role.ADMIN)
        async with self._begin() as tx:
            payout = await tx.payouts.visible(principal, payout_id)
        if payout is None:
            raise NotFound("there is no such payout", code="payout_not_found")
        return payout

    async def page(self, principal: Principal, request: PageRequest) -> Page[Payout]:
        """Return a page of the payouts that the caller may see, newest first. Errors: Forbidden for buyers."""
        require_role(principal, Role.SELLER, Role.FINANCE, Role.ADMIN)
        async with self._begin() as tx:
            return await tx.payouts.page(principal, request)

    async def balance(self, principal: Principal) -> Sequence[SellerBalance]:
        """Return what the calling seller is owed, by currency. Errors: Forbidden for all but sellers."""
        require_role(principal, Role.SELLER)
        async with self._begin() as tx:
            return await tx.payouts.balance(principal.user_id, self._policy.release(self._clock.now()))

    async def _make(
        self, tx: PayoutsTransaction, seller_id: UserId, request: PayoutRequest, now: datetime
    ) -> Payout:
        if self._policy.is_paused:
            raise Unavailable("nobody is paid out for now", code="payouts_paused")
        account = await tx.destinations.of_seller(seller_id)
        if account is None or not account.payouts_enabled:
            raise Conflict("Stripe does not pay this seller out yet", code="payouts_not_enabled")
        release = self._policy.release(now)
        currency = request.currency or self._only_currency(await tx.payouts.available(seller_id, release))
        payout = await draft_payout(tx, account, currency, release, self._policy, request=request)
        if payout is None:
            available = await tx.payouts.available(seller_id, release)
            raise Conflict(
                "less is available than is paid out",
                code="nothing_to_pay_out",
                available_minor=available.get(currency, 0),
                least_minor=self._policy.least(currency),
                currency=currency,
            )
        return payout

    def _only_currency(self, available: Mapping[str, int]) -> str:
        enough = [currency for currency, minor in available.items() if minor >= self._policy.least(currency)]
        if not enough:
            raise Conflict("less is available than is paid out", code="nothing_to_pay_out")
        if len(enough) > 1:
            raise Conflict(
                "several currencies are available: name one", code="currency_missing", currencies=enough
            )
        return enough[0]


async def draft_payout(
    tx: PayoutsTransaction,
    account: Destination,
    currency: str,
    release: Release,
    policy: PayoutPolicy,
    *,
    request: PayoutRequest | None = None,
    run: RunLease | None = None,
) -> Payout | None:
    """Write a payout of what is available in a currency and tell of it; None where that is too little."""
    draft = Payout(
        id=PayoutId(uuid7()),
        seller_id=account.seller_id,
        stripe_account_id=account.stripe_account_id,
        amount_minor=0,
        currency=currency,
        status=PayoutStatus.PENDING,
        origin=PayoutOrigin.REQUESTED if request else PayoutOrigin.SCHEDULED,
        created_at=release.now,
        updated_at=release.now,
        requested_by=account.seller_id if request else None,
        idempotency_key=request.idempotency_key if request else None,
        request_hash=request.fingerprint() if request else None,
        run_at=run.run_at if run else None,
        traceparent=request.traceparent if request else None,
        request_id=request.request_id if request else None,
    )
    publish_at = release.now + timedelta(seconds=policy.republish_after_s)
    payout = await tx.payouts.draft(draft, release, least_minor=policy.least(currency), publish_at=publish_at)
    if payout is not None:
        await tx.events.append([payout_event(payout, release.now)])
    return payout
