"""Mending: what Stripe's own record proves is booked through the settle paths that webhooks take."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from domain.coalescer import Coalescer
from domain.errors import Refused, Unavailable
from domain.reconciliation.model import StripeLine
from domain.reconciliation.rules import BANK_PAYOUTS
from domain.settlement.answers import StripeDispute, StripeRefund
from domain.settlement.gateways import ChargeGateway
from domain.settlement.inbox.dispute_events import DisputeEvents
from domain.settlement.inbox.refund_events import RefundEvents
from domain.settlement.model import Outcome
from domain.settlement.own_payouts import OwnPayouts


class MovedObjects(Protocol):
    """The objects behind lines, as they are at Stripe now. None where Stripe does not say."""

    async def refund(self, refund_id: str) -> StripeRefund | None:
        """Return a refund, with its balance transactions."""
        ...

    async def dispute(self, dispute_id: str) -> StripeDispute | None:
        """Return a dispute, with its balance transactions."""
        ...


class Mending:
    """`domain.reconciliation.ports.Mender`: a lost webhook, a late fee, a refund or payout of Stripe's own."""

    def __init__(
        self,
        gateway: ChargeGateway,
        settle: Coalescer[Outcome, bool],
        objects: MovedObjects,
        refunds: RefundEvents,
        disputes: DisputeEvents,
        *,
        own_payouts: OwnPayouts,
    ) -> None:
        """Keep the collaborators."""
        self._gateway = gateway
        self._settle = settle
        self._objects = objects
        self._refunds = refunds
        self._disputes = disputes
        self._own_payouts = own_payouts
        self._by_category: Mapping[str, Callable[[StripeLine], Awaitable[bool]]] = {
            "charge": self._charge,
            "refund": self._refund,
            "refund_failure": self._refund,
            "dispute": self._dispute,
            "dispute_reversal": self._dispute,
            BANK_PAYOUTS: self._own_payout,
            "payout_reversal": self._own_payout,
        }

    async def mend(self, line: StripeLine) -> bool:
        """Settle what Stripe says of the object behind a line; return whether anything could be settled."""
        mend = self._by_category.get(line.category)
        if mend is None or line.source is None:
            return False
        try:
            return await mend(line)
        except (Refused, Unavailable):
            return False

    async def _charge(self, line: StripeLine) -> bool:
        if line.intent_id is None:
            return False
        found = await self._gateway.identify(line.intent_id)
        return isinstance(found, Outcome) and await self._settle.submit(found)

    async def _refund(self, line: StripeLine) -> bool:
        refund = await self._objects.refund(line.source or "")
        return refund is not None and await self._refunds.settle(refund)

    async def _dispute(self, line: StripeLine) -> bool:
        dispute = await self._objects.dispute(line.source or "")
        return dispute is not None and await self._disputes.settle(dispute)

    async def _own_payout(self, line: StripeLine) -> bool:
        return await self._own_payouts.follow(line.source or "")
