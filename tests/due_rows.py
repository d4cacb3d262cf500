"""Rows that are due, of any kind, and whoever takes them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from domain.identity.model import Role
from domain.settlement.model import PaymentChange
from domain.work import Work
from tests.builders import NOW, Begin, Shop, a_refund, a_seller_account, a_stripe_event, a_user
from tests.captured import captured
from tests.paid_out import payouts_due, reversals_due

# Deliveries are leased and announced by their endpoints (tests/db/contracts/test_deliveries.py).
KINDS = [work for work in Work if work is not Work.DELIVERIES]


async def store_due(begin: Begin, shop: Shop, work: Work, count: int, *, publish_at: datetime = NOW) -> list[Any]:
    """Store rows that are due at once; return their ids. What is not announced at once is so at `publish_at`."""
    if work is Work.CHARGES:
        return [(await shop.payment()).id for _ in range(count)]
    if work is Work.PAYOUTS:
        return list(await payouts_due(shop, count))
    if work is Work.REVERSALS:
        return list(await reversals_due(shop, count))
    payments = [await captured(shop) for _ in range(count if work is Work.REFUNDS else 0)]
    async with begin() as tx:
        if work is Work.REFUNDS:
            refunds = [a_refund(payment) for payment in payments]
            await tx.refunds.add(refunds, publish_at=publish_at)
            ids = [refund.id for refund in refunds]
        elif work is Work.ONBOARDINGS:
            sellers = [a_user(Role.SELLER) for _ in range(count)]
            ids = [seller.id for seller in sellers]
            for seller in sellers:
                await tx.users.add(seller)
                await tx.seller_accounts.add(a_seller_account(seller.id), publish_at=publish_at)
        else:
            events = [a_stripe_event() for _ in range(count)]
            ids = list(await tx.stripe_events.add(events, publish_at=publish_at))
        await tx.commit()
    return ids


async def lease(
    tx: Any, work: Work, ids: Sequence[Any], now: datetime, until: datetime | None = None
) -> list[Any]:
    """Take those of the rows that are due and free, for no time unless told; return their ids, sorted."""
    repository = {
        Work.CHARGES: tx.payment_work,
        Work.REFUNDS: tx.refund_work,
        Work.STRIPE_EVENTS: tx.stripe_events,
        Work.ONBOARDINGS: tx.seller_accounts,
        Work.PAYOUTS: tx.payout_work,
        Work.REVERSALS: tx.reversal_work,
    }[work]
    key = "seller_id" if work is Work.ONBOARDINGS else "id"
    return sorted(getattr(row, key) for row in await repository.lease(ids, now, until or now))


async def save(tx: Any, work: Work, row_id: Any, due_at: datetime) -> None:
    """Write a row as it is, and that it is due at that time."""
    if work is Work.CHARGES:
        ((payment, _),) = await tx.payment_work.lock([row_id])
        await tx.payment_work.save([PaymentChange(payment, due_at)])
    elif work is Work.REFUNDS:
        await tx.refund_work.save(await tx.refund_work.lock(row_id), due_at=due_at)
    elif work is Work.PAYOUTS:
        (payout,) = await tx.payout_work.lock([row_id])
        await tx.payout_work.save(payout, due_at=due_at)
    elif work is Work.REVERSALS:
        await tx.reversal_work.save(await tx.reversal_work.lock(row_id), due_at=due_at)
    else:
        await tx.seller_accounts.save(await tx.seller_accounts.lock(row_id), due_at=due_at)
