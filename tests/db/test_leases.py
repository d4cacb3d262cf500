"""Leases and announcements with two connections: no row is held twice, none is forgotten."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.unit_of_work import Database
from domain.errors import Unavailable
from domain.payments.model import PaymentStatus
from domain.settlement.sweeper import Sweeper
from domain.work import Work
from tests import due_rows
from tests.builders import NOW, Begin, Shop, a_stripe_event, unique
from tests.domain.fakes import FakeClock, FakeQueue
from tests.due_rows import KINDS, store_due

UNTIL = NOW + timedelta(seconds=60)


async def store(begin: Begin, shop: Shop, work: Work, count: int) -> list[Any]:
    return sorted(await store_due(begin, shop, work, count))


async def lease(tx: Any, work: Work, ids: Sequence[Any], now: datetime = NOW) -> list[Any]:
    return await due_rows.lease(tx, work, ids, now, UNTIL)


@pytest.mark.parametrize("work", KINDS)
async def test_rows_that_another_connection_is_leasing_are_skipped(
    database: Database, real_shop: Shop, work: Work
) -> None:
    ids = await store(database.begin, real_shop, work, 4)

    async with database.begin() as one, database.begin() as two:
        assert await lease(one, work, ids[:2]) == ids[:2]
        assert await lease(two, work, ids) == ids[2:]
        await one.commit()
        await two.commit()
    async with database.begin() as tx:
        assert await lease(tx, work, ids, UNTIL - timedelta(seconds=1)) == []


@pytest.mark.parametrize("work", KINDS)
async def test_lease_that_was_not_committed_leaves_the_row_free(
    database: Database, real_shop: Shop, work: Work
) -> None:
    ids = await store(database.begin, real_shop, work, 1)
    async with database.begin() as tx:
        await lease(tx, work, ids)

    async with database.begin() as tx:
        assert await lease(tx, work, ids) == ids


@pytest.mark.parametrize("work", KINDS)
async def test_expired_lease_is_taken_again(begin: Begin, shop: Shop, work: Work) -> None:
    ids = await store(begin, shop, work, 2)

    async with begin() as tx:
        assert await lease(tx, work, ids) == ids
        assert await lease(tx, work, ids, UNTIL - timedelta(seconds=1)) == []
        assert await lease(tx, work, ids, UNTIL) == ids


@pytest.mark.parametrize("work", KINDS)
async def test_rows_that_are_not_due_are_left_alone(begin: Begin, shop: Shop, work: Work) -> None:
    ids = await store(begin, shop, work, 1)

    async with begin() as tx:
        assert await lease(tx, work, ids, NOW - timedelta(seconds=1)) == []


async def test_lease_counts_attempts_and_starts_the_keys_life_once(begin: Begin, shop: Shop) -> None:
    payment = await shop.payment()

    async with begin() as tx:
        (first,) = await tx.payment_work.lease([payment.id], NOW, NOW)
        (second,) = await tx.payment_work.lease([payment.id], UNTIL, UNTIL)

    assert (first.status, first.attempts, first.first_charged_at) == (PaymentStatus.PROCESSING, 1, NOW)
    assert (second.status, second.attempts, second.first_charged_at) == (PaymentStatus.PROCESSING, 2, NOW)


async def test_quarantined_payment_is_due_no_more(begin: Begin, shop: Shop) -> None:
    payment = await shop.payment()

    async with begin() as tx:
        await tx.payment_work.quarantine(payment.id, "odd", NOW)
        assert await tx.payment_work.lease([payment.id], UNTIL, UNTIL) == []


@pytest.fixture
async def no_other_work(connection: AsyncConnection) -> None:
    """Hide, within the test's transaction, the rows that other tests have left to be announced."""
    for table in ("payments", "refunds", "stripe_events"):
        await connection.execute(text(f"UPDATE {table} SET due_at = NULL, publish_at = NULL"))


@pytest.mark.usefixtures("no_other_work")
async def test_oldest_announcements_come_first(begin: Begin, shop: Shop) -> None:
    ages_s = [30, 50, 10, 40, 20]
    payments = [await shop.payment(created_at=NOW - timedelta(seconds=age_s)) for age_s in ages_s]
    oldest_first = [payments[index].id for index in (1, 3, 0, 4, 2)]

    async with begin() as tx:
        first = await tx.due_work.claim(Work.CHARGES, NOW, republish_after_s=30, limit=3)
        second = await tx.due_work.claim(Work.CHARGES, NOW, republish_after_s=30, limit=3)
        third = await tx.due_work.claim(Work.CHARGES, NOW, republish_after_s=30, limit=3)

    assert [first, second, third] == [oldest_first[:3], oldest_first[3:], []]


@pytest.mark.parametrize(
    ("age_s", "republish_after_s", "delay_s"),
    [
        (0, 30, 30),
        (15, 30, 30),
        (16, 30, 32),
        (100, 30, 200),
        (151, 30, 300),
        (86_400, 30, 300),
        (86_400, 600, 600),
    ],
)
async def test_next_announcement_lies_the_further_ahead_the_longer_a_row_waits(
    connection: AsyncConnection, begin: Begin, shop: Shop, age_s: int, republish_after_s: int, delay_s: int
) -> None:
    payment = await shop.payment(created_at=NOW - timedelta(seconds=age_s))

    async with begin() as tx:
        await tx.due_work.claim(Work.CHARGES, NOW, republish_after_s=republish_after_s, limit=100_000)
        await tx.commit()

    row = (
        await connection.execute(
            text("SELECT due_at, publish_at FROM payments WHERE id = :id"), {"id": payment.id}
        )
    ).one()
    assert row.publish_at - NOW == timedelta(seconds=delay_s)
    assert row.due_at == payment.created_at


async def test_leased_row_is_announced_again_when_its_lease_ends(begin: Begin, shop: Shop) -> None:
    payment = await shop.payment()

    async with begin() as tx:
        await tx.payment_work.lease([payment.id], NOW, UNTIL)
        before, after = [
            await tx.due_work.claim(Work.CHARGES, now, republish_after_s=1, limit=100_000)
            for now in (UNTIL - timedelta(seconds=1), UNTIL)
        ]

    assert payment.id not in before
    assert payment.id in after


@pytest.mark.parametrize("work", KINDS)
async def test_two_sweepers_at_once_share_the_rows(database: Database, real_shop: Shop, work: Work) -> None:
    ids = await store(database.begin, real_shop, work, 4)

    async with database.begin() as one, database.begin() as two:
        first = await one.due_work.claim(work, NOW, republish_after_s=30, limit=2)
        second = await two.due_work.claim(work, NOW, republish_after_s=30, limit=100_000)

    assert len(first) == 2
    assert set(first) & set(second) == set()
    assert set(ids) <= {*first, *second}


async def test_rows_that_the_broker_did_not_take_stay_due(
    begin: Begin, connection: AsyncConnection, shop: Shop, clock: FakeClock
) -> None:
    payment = await shop.payment()
    queue = FakeQueue()
    queue.away = True
    sweeper = Sweeper(begin, queue, clock, republish_after_s=30, queue_depth_limit=10, batch_size=100)

    with pytest.raises(Unavailable):
        await sweeper.sweep()

    row = (
        await connection.execute(
            text("SELECT due_at, publish_at FROM payments WHERE id = :id"), {"id": payment.id}
        )
    ).one()
    assert (row.due_at, row.publish_at) == (NOW, NOW + timedelta(seconds=30))


async def test_finished_event_is_not_leased_again(begin: Begin) -> None:
    event = a_stripe_event(id=unique("evt"))

    async with begin() as tx:
        assert set(await tx.stripe_events.add([event, event], publish_at=NOW)) == {event.id}
        assert set(await tx.stripe_events.add([event], publish_at=NOW)) == set()
        (leased,) = await tx.stripe_events.lease([event.id], NOW, NOW)
        await tx.stripe_events.finish({event.id: "processed"}, NOW)
        assert await tx.stripe_events.lease([event.id], UNTIL, UNTIL) == []

    assert (leased.body, leased.attempts) == (event.body, 1)
