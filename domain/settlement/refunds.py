"""Refunds: those that are due are sent, and whatever reports what became of one ends in one settlement."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.clock import Clock
from domain.errors import Refused
from domain.events import event
from domain.following import Follow, follow_nobody
from domain.ids import PaymentId, RefundId, uuid7
from domain.ledger.postings import take
from domain.orders.model import Order
from domain.payments.model import Payment
from domain.refunds.model import Refund, RefundOrigin, RefundStatus
from domain.refunds.rules import parts_left, parts_named
from domain.settlement.aftermath import advance_order, lock_payment, post
from domain.settlement.answers import Absent, RefundAnswer, Refusal, StripeRefund
from domain.settlement.decide.refunds import RefundSituation, decide_refund
from domain.settlement.gateways import RefundGateway
from domain.settlement.model import RefundChange, SettlementPolicy
from domain.settlement.ports import SettlementTransaction
from domain.settlement.steps import RefundStep, next_refund_step
from domain.settlement.together import all_of
from domain.transactions import Begin

# docs.stripe.com/error-codes#charge-already-refunded
_REFUNDED_BEFORE = "charge_already_refunded"


class RefundSettlement:
    """Turns what Stripe says of refunds into refund states, journals, order states and events; all or nothing."""

    def __init__(self, begin: Begin[SettlementTransaction], clock: Clock, policy: SettlementPolicy) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock
        self._policy = policy

    async def settle(self, refund_id: RefundId, answer: RefundAnswer) -> bool:
        """Book what became of a refund of ours; return whether it was news.

        A repeated, late or disordered answer changes nothing, so a retry is safe. What the database refuses is
        quarantined, and so is one that fails of money that paid for nothing: nobody else would send that back.
        Locks the order, then the payment, then the refund.
        """
        try:
            return await self._settle(refund_id, answer)
        except Refused as refused:
            await self._quarantine(refund_id, refused)
            return True

    async def adopt(self, payment_id: PaymentId, found: StripeRefund) -> bool:
        """Book a refund that was made at Stripe without us, once; return whether it was news.

        One that has failed by then is stored as failed, for others may have taken its room since, and booked both
        ways if its money had moved. The release of what was authorized and not captured is none. Errors: Refused
        while it cannot be booked: the charge is not booked yet, or a refund of ours that is still pending claims
        the same money, which Stripe will refuse to it, or one has failed unheard. So it is worth to be tried
        again. Locks as `settle`.
        """
        now = self._clock.now()
        async with self._begin() as tx:
            payment, order = await lock_payment(tx, payment_id)
            known = await tx.refund_work.find(None, found.stripe_refund_id)
            if known is None and _is_release(payment, found):
                return False
            refund = known or await _external(tx, payment, order, found, now)
            change = decide_refund(RefundSituation(refund, payment, order, now, self._policy), found)
            if known is None:
                first = change.refund if change.refund.status is RefundStatus.FAILED else refund
                await tx.refunds.add([first], publish_at=now + timedelta(seconds=self._policy.republish_after_s))
            await _write(tx, payment, order, change, now)
            await tx.commit()
        return known is None or change.refund != known

    async def _settle(self, refund_id: RefundId, answer: RefundAnswer) -> bool:
        now = self._clock.now()
        async with self._begin() as tx:
            known = await tx.refund_work.find(refund_id, None)
            if known is None:
                return False
            payment, order = await lock_payment(tx, known.payment_id)
            refund = await tx.refund_work.lock(refund_id)
            change = decide_refund(RefundSituation(refund, payment, order, now, self._policy), answer)
            await _write(tx, payment, order, change, now)
            await tx.commit()
        return change.refund != refund

    async def _quarantine(self, refund_id: RefundId, refused: Refused) -> None:
        now = self._clock.now()
        async with self._begin() as tx:
            known = await tx.refund_work.find(refund_id, None)
            if known is None:
                return
            payment, _ = await lock_payment(tx, known.payment_id)
            refund = await tx.refund_work.lock(refund_id)
            await _keep(tx, payment, refund, now, refused)
            await tx.commit()


class RefundSender:
    """The work of the queue `refunds`."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: RefundGateway,
        settlement: RefundSettlement,
        clock: Clock,
        policy: SettlementPolicy,
        *,
        follow: Follow[Refund] = follow_nobody,
    ) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._follow = follow
        self._gateway = gateway
        self._settlement = settlement
        self._clock = clock
        self._policy = policy

    async def process(self, refund_ids: Sequence[RefundId]) -> int:
        """Bring the refunds that are due forward by one step each; return how many were leased. Safe to repeat."""
        now = self._clock.now()
        async with self._begin() as tx:
            leased = await tx.refund_work.lease(
                sorted(refund_ids), now, now + timedelta(seconds=self._policy.lease_s)
            )
            await tx.commit()
        await all_of(self._advance(refund, now) for refund in leased)
        return len(leased)

    async def _advance(self, refund: Refund, now: datetime) -> None:
        with self._follow(refund):
            await self._settlement.settle(refund.id, await self._ask(refund, now))

    async def _ask(self, refund: Refund, now: datetime) -> RefundAnswer:
        match next_refund_step(refund, now, self._policy):
            case RefundStep.SEND:
                return await self._send(refund)
            case RefundStep.RETRIEVE:
                return await self._gateway.retrieve_refund(refund)
            case RefundStep.LOOK_UP:
                return await self._gateway.find_refund(refund)

    async def _send(self, refund: Refund) -> RefundAnswer:
        """Send a refund; a repeated attempt is refused for good only where no earlier one arrived."""
        answer = await self._gateway.refund(refund)
        if isinstance(answer, Refusal) and refund.attempts > 1:
            found = await self._gateway.find_refund(refund)
            return answer if isinstance(found, Absent) else found
        return answer


async def _write(
    tx: SettlementTransaction, payment: Payment, order: Order | None, change: RefundChange, now: datetime
) -> None:
    refund = change.refund
    await tx.refund_work.save(refund, due_at=change.due_at)
    await post(tx, change.journals, now)
    await tx.events.append(change.events)
    if change.due_at is None and _is_left_with_us(refund):
        why = f"what paid for nothing did not go back: {refund.failure_code}"
        await _keep(tx, payment, refund, now, Refused(why, code="money_not_returned"))
    await advance_order(tx, payment, order, now)


async def _keep(tx: SettlementTransaction, payment: Payment, refund: Refund, now: datetime, why: Refused) -> None:
    """Take a locked refund out of work until a person has looked at it, and tell of that."""
    await tx.refund_work.quarantine(refund.id, why.message, now)
    told = event(
        "refund.quarantined",
        refund.payment_id,
        now,
        audience=refund.parties(payment),
        refund_id=refund.id,
        reason=why.code,
    )
    await tx.events.append([told])


def _is_left_with_us(refund: Refund) -> bool:
    """Tell whether money that paid for nothing stays with us, because its refund has failed.

    What was refunded at Stripe before is refused too, and is gone.
    """
    failed = refund.origin is RefundOrigin.LATE_SUCCESS and refund.status is RefundStatus.FAILED
    return failed and refund.failure_code != _REFUNDED_BEFORE


def _is_release(payment: Payment, found: StripeRefund) -> bool:
    """Tell whether a refund at Stripe only lets go what was authorized and not captured.

    Stripe lists that as a refund like any other. Its balance transaction says so, and it has none where nothing
    was captured (docs.stripe.com/api/payment_intents/cancel). A refund of money that was captured gets its
    transaction sooner or later, and is told of again then.
    """
    if payment.captured_minor == payment.amount_minor:
        return False
    if found.transaction is not None:
        return found.transaction.is_release
    return found.transaction_id is None and found.failure_transaction_id is None


async def _external(
    tx: SettlementTransaction, payment: Payment, order: Order | None, found: StripeRefund, now: datetime
) -> Refund:
    """Return a refund that was made without us, or that a restored database has lost.

    It falls on the lines that it names, if they fit it and the payment, or else on all that disputes have left, in
    proportion. What failed took nothing from the others, nor they from it: it falls on what was captured, whatever
    is left of that.
    """
    has_failed = found.status is RefundStatus.FAILED
    others = () if has_failed else await tx.refunds.of_payment(payment.id)
    left = [part for part in parts_left(payment, order, others) if part.amount_minor]
    named = parts_named(found.lines, found.amount_minor, left)
    disputes = () if has_failed else await tx.disputes.of_payment(payment.id)
    undisputed = [part for part in parts_left(payment, order, others, disputes) if part.amount_minor]
    if found.amount_minor <= sum(part.amount_minor for part in undisputed):
        left = undisputed
    return Refund(
        id=RefundId(uuid7()),
        payment_id=payment.id,
        origin=RefundOrigin.EXTERNAL,
        stripe_charge_id=found.charge_id,
        amount_minor=found.amount_minor,
        currency=found.currency,
        status=RefundStatus.PENDING,
        reason=RefundOrigin.EXTERNAL,
        created_at=now,
        updated_at=now,
        lines=tuple(named or (take(found.amount_minor, left) if left else ())),
    )
