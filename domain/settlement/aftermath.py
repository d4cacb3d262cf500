"""What follows when captured money moves again: for the order, for payouts, and for sellers who then owe."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from domain.events import EventLog, event
from domain.fulfilment.shipping import is_shipped
from domain.ids import PaymentId, ReversalId, uuid7
from domain.ledger.model import Account, EntryRef, Journal, seller_of
from domain.ledger.ports import LedgerRepository
from domain.orders.model import SYSTEM, Order, OrderStatus, order_event
from domain.payments.model import Payment
from domain.payouts.model import draft_reversals
from domain.settlement.decide.orders import order_after, tell_order
from domain.settlement.ports import SettlementTransaction


async def lock_payment(tx: SettlementTransaction, payment_id: PaymentId) -> tuple[Payment, Order | None]:
    """Lock a payment that exists, its order first."""
    order_id = (await tx.payment_work.orders_of([payment_id]))[payment_id]
    orders = await tx.orders.lock([order_id]) if order_id is not None else {}
    ((payment, _),) = await tx.payment_work.lock([payment_id])
    return payment, orders[order_id] if order_id is not None else None


async def post(tx: SettlementTransaction, journals: Sequence[Journal], now: datetime) -> None:
    """Post journals, reverse the payouts of what they take from sellers, and tell each seller who now owes.

    Locks the payouts of what was refunded or withdrawn, then as `tell_owing`.
    """
    await tx.ledger.post(journals)
    if _debited(journals):
        await take_back(tx, _losses(journals), now)
    await tell_owing(tx, journals, now)


class Posting(Protocol):
    """The part of a transaction in which journals are posted."""

    @property
    def ledger(self) -> LedgerRepository:
        """The ledger."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...


async def tell_owing(tx: Posting, journals: Sequence[Journal], now: datetime) -> None:
    """Tell each seller whose balance the posted journals bring below zero.

    Claims the accounts of the sellers that they debit, so that two transactions which debit a seller at once take
    turns: neither sees what the other has posted, and both would find enough. Call it once in a transaction, after
    it has locked all else but rows of its own, so that no holder of an account waits for somebody who wants it. It
    costs nothing where no seller is debited, as in a usual charge.
    """
    debited = _debited(journals)
    if not debited:
        return
    accounts = {account for account, _ in debited}
    await tx.ledger.claim(accounts)
    told = []
    for balance in await tx.ledger.balances_of(accounts):
        seller_id = seller_of(balance.account)
        change_minor = debited.get((balance.account, balance.currency), 0)
        if seller_id is not None and balance.balance_minor - change_minor <= 0 < balance.balance_minor:
            told.append(
                event(
                    "seller.balance_negative",
                    seller_id,
                    now,
                    audience=[seller_id],
                    owed_minor=balance.balance_minor,
                    currency=balance.currency,
                )
            )
    await tx.events.append(told)


def _debited(journals: Sequence[Journal]) -> Mapping[tuple[Account, str], int]:
    """Return by how much journals together debit each seller, by account and currency, in minor units."""
    touched = {
        (entry.account, journal.currency)
        for journal in journals
        for entry in journal.entries
        if entry.amount_minor > 0 and seller_of(entry.account) is not None
    }
    if not touched:
        return {}
    moved: Counter[tuple[Account, str]] = Counter()
    for journal in journals:
        for entry in journal.entries:
            if (entry.account, journal.currency) in touched:
                moved[entry.account, journal.currency] += entry.amount_minor
    return {key: minor for key, minor in moved.items() if minor > 0}


def _losses(journals: Sequence[Journal]) -> list[EntryRef]:
    return [
        EntryRef(journal.id, line)
        for journal in journals
        for line, entry in enumerate(journal.entries, 1)
        if entry.amount_minor > 0 and seller_of(entry.account) is not None
    ]


async def take_back(tx: SettlementTransaction, losses: Collection[EntryRef], now: datetime) -> None:
    """Have transfers reversed by what sellers lost after it was paid out; the sweeper announces the reversals.

    Several losses may share a payout that the first of them use up: the others are taken back of older ones. Locks
    all of those payouts, sorted by id.
    """
    await tx.reversal_work.lock_payers(losses)
    while debits := await tx.reversal_work.debits_of(losses):
        drafts = draft_reversals(debits, [ReversalId(uuid7()) for _ in debits], now)
        if not drafts:
            return
        await tx.reversal_work.add(drafts)


async def advance_order(tx: SettlementTransaction, payment: Payment, order: Order | None, now: datetime) -> None:
    """Bring the order of a payment to the state that its money calls for; both are locked, and all is saved.

    An order is shipped when the last seller who had yet to ship is refunded. A shipped order that waits for a
    seller becomes due, since that seller may be the one who is refunded.
    """
    if order is None:
        return
    returned = await tx.refund_work.returned(payment.id)
    status = order_after(order, payment, returned)
    if status is not order.status:
        await tx.orders.advance({order.id: status}, now)
        await tx.events.append([tell_order(order, status, payment, now)])
    if status is OrderStatus.PAID and returned.refunded_minor and await _is_shipped(tx, payment, order):
        await tx.orders.advance({order.id: OrderStatus.SHIPPED}, now)
        reason = "who had yet to ship is refunded"
        await tx.events.append(
            [order_event(order, OrderStatus.SHIPPED, now, by=SYSTEM, reason=reason, payment_id=payment.id)]
        )
    elif status is order.status is OrderStatus.SHIPPED and order.due_at is None:
        await tx.orders.schedule({order.id: now})


async def _is_shipped(tx: SettlementTransaction, payment: Payment, order: Order) -> bool:
    shipments = (await tx.shipments.of_orders([order.id]))[order.id]
    return is_shipped(order, payment, shipments, await tx.refunds.of_payment(payment.id))
