"""Sellers that come to owe, on the real database: none of them in silence, however much happens at once."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.unit_of_work import Database
from domain.identity.model import User
from domain.ledger.model import STRIPE_BALANCE, JournalKind, seller_payable
from domain.ledger.postings import Part
from domain.orders.model import Order
from domain.payments.model import Payment
from domain.refunds.model import Refund
from domain.refunds.rules import parts_left
from domain.settlement.aftermath import post
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from tests.builders import NOW, Shop, a_journal, a_requested_refund
from tests.captured import captured, settle
from tests.domain.fakes import FakeClock
from tests.paid_out import SHARE, complete, drafted, earned, refund, sent
from tests.stripe_answers import refunded

Blocked = Callable[[int], Awaitable[None]]


async def told(engine: AsyncEngine, seller: User) -> list[int]:
    """What a seller was told that it owes, in the order of the events."""
    statement = text(
        "SELECT CAST(data ->> 'owed_minor' AS bigint) FROM events"
        " WHERE type = 'seller.balance_negative' AND subject_id = :id ORDER BY position"
    )
    async with engine.connect() as connection:
        return list((await connection.execute(statement, {"id": seller.id})).scalars())


async def owed(shop: Shop, seller: User) -> int:
    """What a seller owes; below zero what it is owed."""
    async with shop.begin() as tx:
        (balance,) = await tx.ledger.balances_of([seller_payable(seller.id)])
    return int(balance.balance_minor)


async def completed(shop: Shop, order: Order) -> Payment:
    """Store a payment of an order that is done."""
    payment = await captured(shop, order)
    await complete(shop, order)
    return payment


def of_all(shop: Shop, order: Order, payment: Payment) -> Refund:
    """Return a refund of a whole order."""
    lines = tuple(parts_left(payment, order, ()))
    return a_requested_refund(payment, shop, payment.captured_minor, lines=lines)


async def test_second_of_two_debits_at_once_sees_the_first_and_tells_of_what_both_leave(
    database: Database, real_shop: Shop, clock: FakeClock, blocked: Blocked, superuser_engine: AsyncEngine
) -> None:
    """Each by itself leaves the seller something."""
    payment = await earned(real_shop)
    asked = a_requested_refund(payment, real_shop, 1000, lines=(Part(1, real_shop.seller.id, 1000, 25),))
    async with database.begin() as tx:
        await tx.refunds.add([asked], publish_at=NOW)
        await tx.commit()
    legs = (seller_payable(real_shop.seller.id), 1000), (STRIPE_BALANCE, -1000)
    settling = RefundSettlement(database.begin, clock, SettlementPolicy())

    async with asyncio.timeout(30), database.begin() as first:
        await post(first, [a_journal(*legs, kind=JournalKind.CORRECTION)], NOW)
        second = asyncio.create_task(settling.settle(asked.id, refunded(asked)))
        await blocked(1)
        await first.commit()
        assert await second

    assert await owed(real_shop, real_shop.seller) == 1000 + 975 - SHARE
    assert await told(superuser_engine, real_shop.seller) == [1000 + 975 - SHARE]


async def test_all_that_debits_two_sellers_at_once_tells_each_once_and_locks_nobody_out(
    real_shop: Shop, superuser_engine: AsyncEngine
) -> None:
    """Refunds and late fees fall on both; refunds lock payouts, which are booked and drafted meanwhile."""
    late = [
        await captured(
            real_shop, await real_shop.order(real_shop.other_product, real_shop.product), fee_minor=None
        )
        for _ in range(2)
    ]
    orders = [await real_shop.order(real_shop.product, real_shop.other_product) for _ in range(6)]
    payments = [await completed(real_shop, order) for order in orders]
    sellers = (real_shop.seller, real_shop.other_seller)
    payouts = [await drafted(real_shop, seller=seller) for seller in sellers]

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(sent(real_shop, payout) for payout in payouts if payout is not None),
            *(drafted(real_shop, seller=seller) for seller in sellers),
            *(settle(real_shop, payment, fee_minor=88) for payment in late),
            *(
                refund(real_shop, of_all(real_shop, order, payment))
                for order, payment in zip(orders, payments, strict=True)
            ),
        )

    for seller in sellers:
        assert await owed(real_shop, seller) > 0
        assert len(await told(superuser_engine, seller)) == 1


async def test_charge_that_debits_nobody_waits_for_no_claim(database: Database, real_shop: Shop) -> None:
    async with asyncio.timeout(30), database.begin() as tx:
        await tx.ledger.claim([seller_payable(real_shop.seller.id)])

        await earned(real_shop)
