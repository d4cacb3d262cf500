"""Payments that do not get on, and what an operator does about it: the same on the fakes and on PostgreSQL."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.payment_work import _STUCK
from domain.errors import Conflict, NotFound
from domain.ids import PaymentId
from domain.payments.model import Payment, PaymentStatus
from domain.settlement.model import PaymentChange, StuckPayment, StuckReason
from domain.settlement.stuck import StuckPayments
from tests.builders import NOW, Begin, Shop
from tests.domain.fakes import FakeClock

PATIENCE_S = 60
LEASE_S = 30


@pytest.fixture
async def trade(any_begin: Begin) -> Shop:
    return await Shop(any_begin).open()


@pytest.fixture
def stuck(any_begin: Begin, clock: FakeClock) -> StuckPayments:
    return StuckPayments(any_begin, clock, patience_s=PATIENCE_S)


async def lease(begin: Begin, payment: Payment, *, seconds: float = LEASE_S) -> None:
    async with begin() as tx:
        assert await tx.payment_work.lease([payment.id], NOW, NOW + timedelta(seconds=seconds))
        await tx.commit()


async def save(begin: Begin, payment: Payment, *, due: bool) -> None:
    async with begin() as tx:
        await tx.payment_work.lock([payment.id])
        await tx.payment_work.save([PaymentChange(payment, NOW if due else None)])
        await tx.commit()


async def quarantine(begin: Begin, payment: Payment) -> None:
    async with begin() as tx:
        await tx.payment_work.quarantine(payment.id, "more than was asked for", NOW)
        await tx.commit()


async def found(stuck: StuckPayments, *payments: Payment) -> Mapping[PaymentId, StuckPayment]:
    """What is found of these; tests that commit leave payments of theirs behind."""
    ids = {payment.id for payment in payments}
    return {one.id: one for one in await stuck.find(limit=10_000) if one.id in ids}


async def test_each_stuck_payment_says_why(
    any_begin: Begin, trade: Shop, stuck: StuckPayments, clock: FakeClock
) -> None:
    forgotten, crashed, unsure, poisonous = [await trade.payment(await trade.order()) for _ in range(4)]
    await lease(any_begin, crashed)
    await lease(any_begin, unsure)
    await save(any_begin, replace(unsure, status=PaymentStatus.UNKNOWN, updated_at=NOW), due=True)
    await quarantine(any_begin, poisonous)
    clock.advance(PATIENCE_S + 1)

    seen = await found(stuck, forgotten, crashed, unsure, poisonous)

    assert {key: one.reason for key, one in seen.items()} == {
        forgotten.id: StuckReason.OVERDUE,
        crashed.id: StuckReason.LEASE_OVERDUE,
        unsure.id: StuckReason.UNKNOWN,
        poisonous.id: StuckReason.QUARANTINED,
    }
    assert seen[crashed.id].since == NOW + timedelta(seconds=LEASE_S)
    assert seen[poisonous.id].detail == "more than was asked for"


async def test_unknown_payment_is_stuck_while_it_is_looked_up_too(
    any_begin: Begin, trade: Shop, stuck: StuckPayments, clock: FakeClock
) -> None:
    payment = await trade.payment(await trade.order())
    await lease(any_begin, payment)
    unknown_since = NOW - timedelta(minutes=5)
    unknown = replace(payment, status=PaymentStatus.UNKNOWN, updated_at=unknown_since)
    await save(any_begin, unknown, due=True)
    await lease(any_begin, payment)
    clock.advance(1)

    seen = await found(stuck, payment)

    assert (seen[payment.id].reason, seen[payment.id].since) == (StuckReason.UNKNOWN, unknown_since)


async def test_stuck_payments_are_found_without_reading_all(connection: AsyncConnection) -> None:
    await connection.execute(text("SET LOCAL enable_seqscan = off"))
    values = {"now": NOW, "overdue_before": NOW, "limit": 10}
    plan = await connection.execute(text(f"EXPLAIN {_STUCK.text}"), values)

    lines = "\n".join(plan.scalars())
    assert "Seq Scan on payments" not in lines
    assert {"payments_publish_at_idx", "payments_quarantined_at_idx"} <= set(
        re.findall(r"payments_\w+_idx", lines)
    )


async def test_payment_that_gets_on_is_not_stuck(
    any_begin: Begin, trade: Shop, stuck: StuckPayments, clock: FakeClock
) -> None:
    young, held, done = [await trade.payment(await trade.order()) for _ in range(3)]
    await lease(any_begin, held, seconds=PATIENCE_S * 2)
    await lease(any_begin, done)
    await save(any_begin, replace(done, status=PaymentStatus.FAILED, failure_code="card_declined"), due=False)
    clock.advance(PATIENCE_S - 1)

    assert await found(stuck, young, held, done) == {}


async def test_no_more_are_shown_than_asked_for(trade: Shop, stuck: StuckPayments, clock: FakeClock) -> None:
    for _ in range(2):
        await trade.payment(await trade.order())
    clock.advance(PATIENCE_S + 1)

    assert len(await stuck.find(limit=1)) == 1


async def test_quarantined_payment_is_released_with_an_event_for_its_parties(
    any_begin: Begin, trade: Shop, stuck: StuckPayments
) -> None:
    payment = await trade.payment(await trade.order())
    await quarantine(any_begin, payment)

    assert await stuck.retry(payment.id) is PaymentStatus.PENDING

    async with any_begin() as tx:
        (told,) = (await tx.events.of_subject(payment.id)).rows
        assert (told.type, told.audience) == ("payment.released", tuple(sorted((trade.buyer.id, trade.seller.id))))
        (leased,) = await tx.payment_work.lease([payment.id], NOW, NOW + timedelta(seconds=LEASE_S))
    assert leased.id == payment.id


async def test_retry_of_a_due_payment_changes_no_history(
    any_begin: Begin, trade: Shop, stuck: StuckPayments
) -> None:
    payment = await trade.payment(await trade.order())

    for _ in range(2):
        assert await stuck.retry(payment.id) is PaymentStatus.PENDING

    async with any_begin() as tx:
        assert (await tx.events.of_subject(payment.id)).rows == []


async def test_payment_that_a_worker_holds_is_left_to_it(
    any_begin: Begin, trade: Shop, stuck: StuckPayments
) -> None:
    payment = await trade.payment(await trade.order())
    await lease(any_begin, payment)

    with pytest.raises(Conflict) as raised:
        await stuck.retry(payment.id)

    assert raised.value.code == "payment_in_work"


async def test_payment_whose_worker_is_lost_is_retried_once_its_lease_has_ended(
    any_begin: Begin, trade: Shop, stuck: StuckPayments, clock: FakeClock
) -> None:
    payment = await trade.payment(await trade.order())
    await lease(any_begin, payment)
    clock.advance(LEASE_S)

    assert await stuck.retry(payment.id) is PaymentStatus.PROCESSING


async def test_payment_with_nothing_left_to_do_is_not_retried(
    any_begin: Begin, trade: Shop, stuck: StuckPayments
) -> None:
    payment = await trade.payment(await trade.order())
    await lease(any_begin, payment)
    await save(any_begin, replace(payment, status=PaymentStatus.FAILED, failure_code="card_declined"), due=False)

    with pytest.raises(Conflict) as raised:
        await stuck.retry(payment.id)

    assert raised.value.code == "payment_not_waiting"


async def test_unknown_payment_is_not_found(stuck: StuckPayments) -> None:
    with pytest.raises(NotFound):
        await stuck.retry(PaymentId(uuid4()))
