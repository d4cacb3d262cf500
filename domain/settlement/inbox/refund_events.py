"""What Stripe's webhooks tell of refunds, those made without us included."""

from collections.abc import Sequence

from domain.errors import Refused, Unavailable
from domain.following import Follow, follow_nobody
from domain.ids import PaymentId
from domain.refunds.model import Refund, RefundStatus
from domain.settlement.answers import StripeRefund
from domain.settlement.gateways import RefundGateway
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.stripe_events import Statuses, Told
from domain.settlement.model import StripeEventStatus
from domain.settlement.ports import SettlementTransaction
from domain.settlement.refunds import RefundSettlement
from domain.settlement.stripe_objects import UNREADABLE, read_refund
from domain.settlement.together import all_of
from domain.transactions import Begin

REFUND_EVENTS = frozenset({"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"})
CHARGE_REFUNDED = "charge.refunded"
"""Tells of the charge and not of its refunds: they are read from Stripe's list."""

MAX_ATTEMPTS = 20
"""How often a refund may be refused by our books before a person must look at it."""


class RefundEvents:
    """`domain.settlement.inbox.stripe_events.EventReader` of refunds."""

    kinds = REFUND_EVENTS | {CHARGE_REFUNDED}

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: RefundGateway,
        settlement: RefundSettlement,
        owners: ChargeOwners,
        *,
        follow: Follow[Refund] = follow_nobody,
    ) -> None:
        """Keep the collaborators."""
        self._follow = follow
        self._begin = begin
        self._gateway = gateway
        self._settlement = settlement
        self._owners = owners

    async def read(self, told: Sequence[Told]) -> Statuses:
        """Settle what events report, and return what became of each, by id."""
        done = await all_of(self._read_one(each) for each in told)
        return {each.event.id: status for each, status in zip(told, done, strict=True) if status is not None}

    async def _read_one(self, told: Told) -> StripeEventStatus | None:
        try:
            return await self._settle(await self._refunds(told))
        except UNREADABLE:
            return StripeEventStatus.QUARANTINED
        except Unavailable:
            return None
        except Refused:
            # A refund of ours that claims the same money will be refused by Stripe, and makes room for this one.
            return StripeEventStatus.QUARANTINED if told.event.attempts >= MAX_ATTEMPTS else None

    async def _refunds(self, told: Told) -> Sequence[StripeRefund]:
        if told.event.type != CHARGE_REFUNDED:
            return [read_refund(told.raw)]
        found = await self._gateway.refunds_of(told.raw["id"])
        if isinstance(found, Sequence):
            return found
        raise Unavailable("Stripe does not list the refunds", code="stripe_unavailable")

    async def _settle(self, refunds: Sequence[StripeRefund]) -> StripeEventStatus:
        # Stripe lists the newest first: a failure makes room for what was refunded after it.
        by_room = sorted(refunds, key=lambda refund: refund.status is not RefundStatus.FAILED)
        matched = [await self.settle(refund) for refund in by_room]
        return StripeEventStatus.PROCESSED if all(matched) else StripeEventStatus.UNMATCHED

    async def settle(self, found: StripeRefund) -> bool:
        """Settle what is known of one refund; return whether it is of one of our payments.

        Errors: Refused while our books have no room for it; Unavailable when Stripe does not say whose it is.
        """
        async with self._begin() as tx:
            known = await tx.refund_work.find(found.refund_id, found.stripe_refund_id)
        # One that Stripe had refused, or made once more behind our back, is not the same money.
        if known is not None and (
            known.stripe_refund_id == found.stripe_refund_id
            or (known.stripe_refund_id is None and known.status is RefundStatus.PENDING)
        ):
            if _is_news(known, found):
                with self._follow(known):
                    await self._settlement.settle(known.id, found)
            return True
        payment_id = await self._owners.payment_of(found.charge_id, found.intent_id)
        if payment_id is None:
            return False
        await self._settlement.adopt(payment_id, await self._in_full(payment_id, found))
        return True

    async def _in_full(self, payment_id: PaymentId, found: StripeRefund) -> StripeRefund:
        """Return a refund of a payment that was captured in part with its movement, which a webhook only names.

        The movement tells whether it is a refund, or releases what was not captured.
        """
        if found.transaction_id is None or found.transaction is not None:
            return found
        async with self._begin() as tx:
            payment = (await tx.payment_work.by_ids([payment_id])).get(payment_id)
        if payment is None or payment.captured_minor == payment.amount_minor:
            return found
        listed = await self._gateway.refunds_of(found.charge_id)
        if not isinstance(listed, Sequence):
            raise Unavailable("Stripe does not list the refunds", code="stripe_unavailable")
        return next((each for each in listed if each.stripe_refund_id == found.stripe_refund_id), found)


def _is_news(known: Refund, found: StripeRefund) -> bool:
    """Whether a webhook tells more than we know: a state, or a movement of the money."""
    return (
        known.stripe_refund_id is None
        or known.status is not found.status
        or known.transaction_id != (found.transaction_id or known.transaction_id)
        or known.failure_transaction_id != (found.failure_transaction_id or known.failure_transaction_id)
    )
