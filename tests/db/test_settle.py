"""The one settle path on the real database: all or nothing, once, and a bad row alone."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.unit_of_work import Database
from domain.errors import Refused
from domain.ids import PaymentId, uuid7
from domain.ledger.model import STRIPE_BALANCE, UNAPPLIED_CHARGES, Account, Balance, seller_payable
from domain.orders.model import OrderStatus
from domain.payments.model import Payment, PaymentStatus
from domain.settlement.answers import Absent, IntentStatus, Refusal, Throttled, Unsure
from domain.settlement.model import Outcome
from domain.settlement.service import SettlementService
from domain.work import Work
from tests.balances import all_balances
from tests.builders import NOW, Begin, Shop, a_journal, principal
from tests.domain.fakes import RecordingAnnouncer
from tests.stripe_answers import an_intent, succeeded


async def stored(begin: Begin, payment: Payment) -> Payment:
    async with begin() as tx:
        found: Payment = (await tx.payment_work.by_ids([payment.id]))[payment.id]
    return found


async def event_types(begin: Begin, *subjects: object) -> list[str]:
    async with begin() as tx:
        return [event.type for subject in subjects for event in (await tx.events.of_subject(subject)).rows]


async def balance_of(begin: Begin, account: Account) -> int:
    async with begin() as tx:
        balances: list[Balance] = await all_balances(tx)
    return sum(balance.balance_minor for balance in balances if balance.account == account)


async def status_of_order(begin: Begin, shop: Shop, payment: Payment) -> OrderStatus:
    async with begin() as tx:
        order = await tx.orders.visible(principal(shop.buyer), payment.order_id)
    assert order is not None
    status: OrderStatus = order.status
    return status


async def test_success_changes_payment_ledger_order_and_events_together(
    settlement: SettlementService, begin: Begin, shop: Shop
) -> None:
    order = await shop.order(shop.product, shop.other_product)
    payment = await shop.payment(order)

    assert await settlement.settle([Outcome(payment.id, succeeded(payment, fee_minor=88))]) == [True]

    after = await stored(begin, payment)
    assert (after.status, after.captured_minor, after.fee_minor) == (PaymentStatus.SUCCEEDED, 2500, 88)
    assert (after.stripe_intent_id, after.stripe_charge_id) == (f"pi_{payment.id}", f"ch_{payment.id}")
    assert await status_of_order(begin, shop, payment) is OrderStatus.PAID
    # 1949 and 488 are the shares, 70 and 18 the parts of the fee.
    assert await balance_of(begin, seller_payable(shop.seller.id)) == -1949 + 70
    assert await balance_of(begin, seller_payable(shop.other_seller.id)) == -488 + 18
    assert await event_types(begin, payment.id, order.id) == ["payment.succeeded", "order.paid"]


async def test_five_reports_of_one_success_change_the_books_once(
    settlement: SettlementService, begin: Begin, shop: Shop
) -> None:
    payment = await shop.payment(await shop.order())
    outcome = Outcome(payment.id, succeeded(payment))

    news = [await settlement.settle([outcome]) for _ in range(4)] + [await settlement.settle([outcome, outcome])]

    assert news == [[True], [False], [False], [False], [False, False]]
    assert await balance_of(begin, seller_payable(shop.seller.id)) == -1949 + 88
    assert await event_types(begin, payment.id) == ["payment.succeeded"]


async def test_webhook_may_come_before_the_answer_of_the_call(
    settlement: SettlementService, begin: Begin, shop: Shop
) -> None:
    """The webhook knows no fee; the answer that follows brings it."""
    payment = await shop.payment(await shop.order())
    async with begin() as tx:
        await tx.payment_work.lease([payment.id], NOW, NOW)
        await tx.commit()

    webhook = await settlement.settle([Outcome(payment.id, succeeded(payment, fee_minor=None))])
    answer = await settlement.settle([Outcome(payment.id, succeeded(payment, fee_minor=88))])

    assert (webhook, answer) == ([True], [True])
    assert await balance_of(begin, seller_payable(shop.seller.id)) == -1949 + 88
    assert (await stored(begin, payment)).fee_minor == 88


async def test_two_outcomes_of_one_payment_in_one_batch_follow_each_other(
    settlement: SettlementService, begin: Begin, shop: Shop
) -> None:
    payment, other = await shop.payment(await shop.order()), await shop.payment()
    waiting = an_intent(IntentStatus.REQUIRES_ACTION, payment)

    news = await settlement.settle(
        [
            Outcome(payment.id, waiting),
            Outcome(other.id, succeeded(other)),
            Outcome(payment.id, succeeded(payment)),
            Outcome(payment.id, waiting),
        ]
    )

    assert news == [True, True, True, False]
    assert (await stored(begin, payment)).status is PaymentStatus.SUCCEEDED
    assert await event_types(begin, payment.id) == ["payment.requires_action", "payment.succeeded"]


async def test_outcome_of_an_unknown_payment_is_no_news(settlement: SettlementService, shop: Shop) -> None:
    payment = await shop.payment()

    news = await settlement.settle(
        [Outcome(PaymentId(uuid7()), Absent()), Outcome(payment.id, Refusal("expired_card"))]
    )

    assert news == [False, True]


async def test_every_answer_ends_the_lease_and_says_when_to_look_again(
    settlement: SettlementService, connection: AsyncConnection, begin: Begin, shop: Shop
) -> None:
    payments = [await shop.payment() for _ in range(3)]
    async with begin() as tx:
        await tx.payment_work.lease([payment.id for payment in payments], NOW, NOW)
        await tx.commit()

    answers = (Unsure("timeout"), Throttled("rate limit", 60), Refusal("expired_card"))
    await settlement.settle([Outcome(p.id, answer) for p, answer in zip(payments, answers, strict=True)])

    rows = await connection.execute(
        text(
            "SELECT status, locked_until, extract(epoch FROM due_at - :now)::int AS due, publish_at = due_at"
            " FROM payments WHERE id = ANY(:ids) ORDER BY id"
        ),
        {"ids": [payment.id for payment in payments], "now": NOW},
    )
    assert [tuple(row) for row in rows] == [
        ("unknown", None, 1, True),
        ("processing", None, 60, True),
        ("failed", None, None, None),
    ]


@pytest.mark.parametrize(
    "poison", ["captured above the amount", "charge that is booked already", "other currency"]
)
async def test_poisonous_outcome_is_quarantined_alone(
    settlement: SettlementService, connection: AsyncConnection, begin: Begin, shop: Shop, poison: str
) -> None:
    payments = [await shop.payment(await shop.order()) for _ in range(7)]
    bad = payments[4]
    outcomes = [Outcome(payment.id, succeeded(payment)) for payment in payments]
    if poison == "captured above the amount":
        outcomes[4] = Outcome(bad.id, succeeded(bad, received_minor=bad.amount_minor + 1))
    elif poison == "charge that is booked already":
        async with begin() as tx:
            await tx.ledger.post([a_journal(source=f"ch_{bad.id}")])
            await tx.commit()
    else:
        outcomes[4] = Outcome(bad.id, succeeded(bad, currency="EUR"))

    assert await settlement.settle(outcomes) == [True] * 7

    for payment in payments:
        after = await stored(begin, payment)
        good = payment is not bad
        assert after.status is (PaymentStatus.SUCCEEDED if good else PaymentStatus.PENDING)
        assert await status_of_order(begin, shop, payment) is (OrderStatus.PAID if good else OrderStatus.PENDING)
        async with begin() as tx:
            (told,) = (await tx.events.of_subject(payment.id)).rows
        assert told.type == ("payment.succeeded" if good else "payment.quarantined")
        assert told.audience == (shop.buyer.id, shop.seller.id)
        if not good:
            assert told.data == {"reason": "refused"}, "what the database says is for operators"
    assert await balance_of(begin, seller_payable(shop.seller.id)) == 6 * (-1949 + 88)
    row = (
        await connection.execute(
            text("SELECT quarantine_reason, due_at, publish_at, locked_until FROM payments WHERE id = :id"),
            {"id": bad.id},
        )
    ).one()
    assert row.quarantine_reason
    assert (row.due_at, row.publish_at, row.locked_until) == (None, None, None)


async def test_refused_transaction_leaves_nothing(begin: Begin, shop: Shop) -> None:
    payment = await shop.payment(await shop.order())
    journal = a_journal((seller_payable(shop.seller.id), -5), (STRIPE_BALANCE, 5))

    async def post_twice() -> None:
        async with begin() as tx:
            await tx.payment_work.lease([payment.id], NOW, NOW)
            await tx.ledger.post([journal])
            await tx.ledger.post([replace(journal, id=a_journal().id)])

    with pytest.raises(Refused):
        await post_twice()

    assert (await stored(begin, payment)).status is PaymentStatus.PENDING
    assert await balance_of(begin, seller_payable(shop.seller.id)) == 0


async def test_late_success_of_a_payment_whose_order_was_paid_by_another_is_booked_and_refunded(
    settlement: SettlementService, begin: Begin, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    order = await shop.order()
    first = await shop.payment(order)
    await settlement.settle([Outcome(first.id, Refusal("expired_card"))])
    second = await shop.payment(order)
    await settlement.settle([Outcome(second.id, succeeded(second))])
    before = await balance_of(begin, UNAPPLIED_CHARGES)

    await settlement.settle([Outcome(first.id, succeeded(first))] * 2)

    after = await stored(begin, first)
    assert (after.status, after.captured_minor) == (PaymentStatus.FAILED, 1999)
    assert await balance_of(begin, UNAPPLIED_CHARGES) == before - 1999
    (refund_id,) = announcer.announced[Work.REFUNDS]
    async with begin() as tx:
        (refund,) = await tx.refund_work.lease([refund_id], NOW, NOW)
    assert (refund.payment_id, refund.amount_minor, refund.attempts) == (first.id, 1999, 1)


async def test_two_late_successes_of_one_order_in_one_batch_pay_it_once(
    settlement: SettlementService, begin: Begin, shop: Shop
) -> None:
    order = await shop.order()
    payments = []
    for _ in range(2):
        payments.append(await shop.payment(order))
        await settlement.settle([Outcome(payments[-1].id, Refusal("expired_card"))])

    assert await settlement.settle([Outcome(payment.id, succeeded(payment)) for payment in payments]) == [
        True,
        True,
    ]

    statuses = [(await stored(begin, payment)).status for payment in payments]
    assert statuses == [PaymentStatus.SUCCEEDED, PaymentStatus.FAILED]
    assert await balance_of(begin, seller_payable(shop.seller.id)) == -1949 + 88


async def test_many_connections_settle_each_success_once_and_do_not_deadlock(
    real_settlement: SettlementService, database: Database, real_shop: Shop
) -> None:
    """Direct payments in batches of their own, since orders are locked first and keep the others apart."""
    of_orders = [await real_shop.payment(await real_shop.order()) for _ in range(20)]
    direct = [await real_shop.payment() for _ in range(40)]
    shuffled = Random(1)
    batches = [shuffled.sample(payments, len(payments)) for payments in (of_orders, direct) * 8]

    async with asyncio.timeout(30):
        news = await asyncio.gather(
            *(real_settlement.settle([Outcome(p.id, succeeded(p)) for p in batch]) for batch in batches)
        )

    assert sum(map(sum, news)) == 60
    assert await balance_of(database.begin, seller_payable(real_shop.seller.id)) == 60 * (-1949 + 88)
    assert await event_types(database.begin, *(payment.id for payment in direct)) == ["payment.succeeded"] * 40
    async with database.begin() as tx:
        assert (await tx.ledger.verify()).faults == []


async def test_settlements_of_one_payment_wait_for_each_other(
    real_settlement: SettlementService,
    database: Database,
    real_shop: Shop,
    blocked: Callable[[int], Awaitable[None]],
) -> None:
    """Who decided on what it read before the other wrote would take the booked fee back."""
    payment = await real_shop.payment()
    without_fee = Outcome(payment.id, succeeded(payment, fee_minor=None))
    await real_settlement.settle([without_fee])

    async with asyncio.timeout(30), database.begin() as holder:
        await holder.payment_work.lock([payment.id])
        one = asyncio.create_task(real_settlement.settle([Outcome(payment.id, succeeded(payment, fee_minor=88))]))
        await blocked(1)
        two = asyncio.create_task(real_settlement.settle([without_fee]))
        await blocked(2)
        await holder.commit()
        news = [await one, await two]

    assert news == [[True], [False]]
    assert (await stored(database.begin, payment)).fee_minor == 88
