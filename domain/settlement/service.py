"""The one settle path: whatever reports a charge's outcome ends here."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from domain.batches import halving
from domain.clock import Clock
from domain.errors import Refused
from domain.events import event
from domain.ids import OrderId, PaymentId
from domain.orders.model import OrderStatus, check_order_transition
from domain.payments.model import Payment
from domain.settlement.aftermath import tell_owing
from domain.settlement.decide.charges import decide_charge
from domain.settlement.decide.situation import Situation
from domain.settlement.model import Outcome, PaymentChange, SettlementPolicy
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin
from domain.work import Announcer, Work

log = logging.getLogger(__name__)


def _tell_nobody(_: Payment, __: datetime) -> None:
    """Stand in for `on_settled` where nobody counts what settles."""


class SettlementService:
    """Turns outcomes into payment states, journals, order states, refunds and events; all or nothing."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        announcer: Announcer,
        clock: Clock,
        policy: SettlementPolicy,
        *,
        on_settled: Callable[[Payment, datetime], None] = _tell_nobody,
    ) -> None:
        """Keep the collaborators; `on_settled` hears of each payment that settles, and when."""
        self._begin = begin
        self._on_settled = on_settled
        self._announcer = announcer
        self._clock = clock
        self._policy = policy

    async def settle(self, outcomes: Sequence[Outcome]) -> list[bool]:
        """Settle outcomes in one transaction; return for each whether it changed anything.

        A repeated, late or disordered outcome changes nothing, so a retry is safe. If the database refuses the
        batch, or a rule fails on it, it is halved until the bad payment stands alone and is quarantined. Two
        outcomes of one payment are settled one after the other, each in a transaction. Locks the orders, then the
        payments, each sorted by id, and last the accounts of the sellers that it debits. Errors: Unavailable
        `database_unavailable`.
        """
        news: dict[int, bool] = {}
        for wave in _waves(outcomes):
            answers = await halving([outcomes[index] for index in wave], self._apply, self._quarantine)
            news.update(zip(wave, answers, strict=True))
        return [news[index] for index in range(len(outcomes))]

    async def _apply(self, outcomes: Sequence[Outcome]) -> list[bool]:
        now = self._clock.now()
        async with self._begin() as tx:
            situations = await self._lock(tx, [outcome.payment_id for outcome in outcomes], now)
            with _failures_refused():
                changes = _decide(outcomes, situations)
                _check_orders(list(changes.values()), situations)
            if changes:
                await self._write(tx, list(changes.values()), now)
                await tx.commit()
        self._tell(changes, situations, now)
        return [outcome.payment_id in changes for outcome in outcomes]

    async def _lock(
        self, tx: SettlementTransaction, payment_ids: Sequence[PaymentId], now: datetime
    ) -> Mapping[PaymentId, Situation]:
        order_of = await tx.payment_work.orders_of(payment_ids)
        order_ids = sorted({order_id for order_id in order_of.values() if order_id is not None})
        orders = await tx.orders.lock(order_ids) if order_ids else {}
        locked = await tx.payment_work.lock(sorted(order_of))
        return {
            payment.id: Situation(
                payment=payment,
                order=orders[payment.order_id] if payment.order_id is not None else None,
                order_has_other=order_has_other,
                now=now,
                policy=self._policy,
            )
            for payment, order_has_other in locked
        }

    async def _write(
        self,
        tx: SettlementTransaction,
        changes: Sequence[PaymentChange],
        now: datetime,
    ) -> None:
        await tx.payment_work.save(changes)
        if dropped := [change.payment.id for change in changes if change.drops_capture]:
            await tx.payment_work.drop_captures(dropped)
        journals = [journal for change in changes for journal in change.journals]
        await tx.ledger.post(journals)
        paid = [change.paid_order_id for change in changes if change.paid_order_id is not None]
        await tx.orders.advance(dict.fromkeys(paid, OrderStatus.PAID), now)
        await tx.refunds.add(
            [change.refund for change in changes if change.refund is not None],
            publish_at=now + timedelta(seconds=self._policy.republish_after_s),
        )
        await tell_owing(tx, journals, now)
        await tx.events.append([news for change in changes for news in change.events])

    def _tell(
        self,
        changes: Mapping[PaymentId, PaymentChange],
        situations: Mapping[PaymentId, Situation],
        now: datetime,
    ) -> None:
        """Report the payments that are settled now, and announce the refunds, once both are committed."""
        for payment_id, change in changes.items():
            if change.payment.is_settled and not situations[payment_id].payment.is_settled:
                self._on_settled(change.payment, now)
        if refunds := [change.refund.id for change in changes.values() if change.refund is not None]:
            self._announcer.announce(Work.REFUNDS, refunds)

    async def _quarantine(self, outcome: Outcome, refused: Refused) -> bool:
        now = self._clock.now()
        if refused.__cause__ is not None:
            about = {"payment_id": str(outcome.payment_id)}
            log.error("payment_undecidable", exc_info=refused.__cause__, extra=about)
        async with self._begin() as tx:
            await tx.payment_work.quarantine(outcome.payment_id, refused.message, now)
            parties = (await tx.payment_work.parties_of([outcome.payment_id]))[outcome.payment_id]
            told = event("payment.quarantined", outcome.payment_id, now, audience=parties, reason=refused.code)
            await tx.events.append([told])
            await tx.commit()
        return True


@contextmanager
def _failures_refused() -> Iterator[None]:
    """Let what goes wrong in a rule count as refused by it.

    A rule asks nobody, so it would go wrong again with this payment, and with all that come into a batch with it.
    """
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"no rule expects what Stripe says: {type(error).__name__}", code="undecidable") from error


def _decide(
    outcomes: Sequence[Outcome], situations: Mapping[PaymentId, Situation]
) -> Mapping[PaymentId, PaymentChange]:
    """Return what each outcome changes, without those that change nothing or whose payment does not exist."""
    changes = {}
    for payment_id, answer in ((outcome.payment_id, outcome.answer) for outcome in outcomes):
        if payment_id in situations and (change := decide_charge(situations[payment_id], answer)) is not None:
            changes[payment_id] = change
    return changes


def _check_orders(changes: Sequence[PaymentChange], situations: Mapping[PaymentId, Situation]) -> None:
    """Refuse a batch that would pay an order twice, or an order that cannot be paid any more."""
    seen: set[OrderId] = set()
    for change in changes:
        order = situations[change.payment.id].order
        if change.paid_order_id is None or order is None:
            continue
        if order.id in seen:
            raise Refused("two payments of one order would pay it in one batch")
        seen.add(order.id)
        check_order_transition(order.status, OrderStatus.PAID)


def _waves(outcomes: Sequence[Outcome]) -> list[list[int]]:
    """Split a batch so that no wave holds two outcomes of one payment; the earlier one goes first."""
    waves: list[list[int]] = []
    seen: dict[PaymentId, int] = {}
    for index, outcome in enumerate(outcomes):
        wave = seen.get(outcome.payment_id, -1) + 1
        seen[outcome.payment_id] = wave
        if wave == len(waves):
            waves.append([])
        waves[wave].append(index)
    return waves
