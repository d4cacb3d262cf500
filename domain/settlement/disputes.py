"""Disputes: whatever Stripe reports of one ends in one settlement."""

from domain.clock import Clock
from domain.disputes.model import Dispute
from domain.ids import PaymentId
from domain.ledger.model import Journal, JournalKind
from domain.refunds.rules import parts_left
from domain.settlement.aftermath import advance_order, lock_payment, post
from domain.settlement.answers import StripeDispute
from domain.settlement.decide.disputes import DisputeSituation, decide_dispute, is_doubtful, rounds
from domain.settlement.model import SettlementPolicy
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin


class DisputeSettlement:
    """Turns reports into dispute states, journals, order states and events; all or nothing."""

    def __init__(self, begin: Begin[SettlementTransaction], clock: Clock, policy: SettlementPolicy) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock
        self._policy = policy

    async def is_doubtful(self, told: StripeDispute) -> bool:
        """Tell whether Stripe must be asked how a dispute stands now, because a report may be late."""
        async with self._begin() as tx:
            known = await tx.disputes.by_stripe_id(told.stripe_dispute_id)
        return known is not None and is_doubtful(known, told)

    async def settle(self, payment_id: PaymentId, told: StripeDispute, *, is_present: bool = False) -> bool:
        """Book what a report tells of a dispute of a payment; return whether it was news.

        A repeated, late or disordered report changes nothing, so a retry is safe. An appeal ends by one that
        moved money, or that `is_present`: read from Stripe just now. Each win that a report implies is settled
        before it, in a transaction of its own. Locks the order, then the payment, then the dispute. Errors:
        Refused while the charge is not booked, and where no rule books the money.
        """
        news = [await self._settle(payment_id, each, is_present=is_present) for each in rounds(told)]
        return any(news)

    async def _settle(self, payment_id: PaymentId, told: StripeDispute, *, is_present: bool) -> bool:
        now = self._clock.now()
        async with self._begin() as tx:
            payment, order = await lock_payment(tx, payment_id)
            dispute = await tx.disputes.by_stripe_id(told.stripe_dispute_id)
            before = await tx.disputes.of_payment(payment_id)
            others = [each for each in before if each.stripe_dispute_id != told.stripe_dispute_id]
            refunded = await tx.refunds.of_payment(payment_id)
            situation = DisputeSituation(
                payment=payment,
                order=order,
                dispute=dispute,
                left=tuple(parts_left(payment, order, refunded, others)),
                opened=await _opened(tx, dispute),
                now=now,
                policy=self._policy,
            )
            change = decide_dispute(situation, told, is_present=is_present)
            if change.dispute == dispute:
                return False
            await tx.disputes.save(change.dispute)
            await post(tx, change.journals, now)
            await tx.events.append(change.events)
            await advance_order(tx, payment, order, now)
            await tx.commit()
        return True


async def _opened(tx: SettlementTransaction, dispute: Dispute | None) -> Journal | None:
    if dispute is None or dispute.withdrawal_id is None:
        return None
    return await tx.ledger.by_source(JournalKind.DISPUTE_OPENED, dispute.withdrawal_id)
