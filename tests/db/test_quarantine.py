"""What the database refused: counted, listed, and let go by an operator."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.quarantine import _FIND
from domain.errors import Conflict, NotFound
from domain.ids import uuid7
from domain.settlement.answers import Refusal
from domain.settlement.model import SettlementPolicy, StripeEvent, StripeEventStatus
from domain.settlement.quarantine import Quarantine
from domain.settlement.refunds import RefundSettlement
from domain.work import Work
from tests.builders import NOW, Begin, Shop, a_requested_refund, unique
from tests.captured import captured_late
from tests.domain.fakes import FakeClock
from tests.due_rows import save
from tests.paid_out import earned, payouts_due, reversals_due, sent


@pytest.fixture
def quarantine(begin: Begin, clock: FakeClock) -> Quarantine:
    return Quarantine(begin, clock)


async def refund_due(shop: Shop) -> tuple[UUID, UUID]:
    """Store a refund that is due; return its id, and of what its events tell."""
    made = a_requested_refund(await earned(shop), shop)
    async with shop.begin() as tx:
        await tx.refunds.add([made], publish_at=NOW)
        await tx.commit()
    return made.id, made.payment_id


async def payout_due(shop: Shop) -> tuple[UUID, UUID]:
    (payout_id,) = await payouts_due(shop, 1)
    return payout_id, payout_id


async def reversal_due(shop: Shop) -> tuple[UUID, UUID]:
    (reversal_id,) = await reversals_due(shop, 1)
    async with shop.begin() as tx:
        return reversal_id, (await tx.reversal_work.find(reversal_id, None)).payout_id


KINDS = [
    (Work.REFUNDS, refund_due, "refund.released"),
    (Work.PAYOUTS, payout_due, "payout.released"),
    (Work.REVERSALS, reversal_due, "payout.reversal_released"),
]


def work_of(tx: Any, work: Work) -> Any:
    return {Work.REFUNDS: tx.refund_work, Work.PAYOUTS: tx.payout_work, Work.REVERSALS: tx.reversal_work}[work]


async def keep(begin: Begin, work: Work, row_id: UUID) -> None:
    async with begin() as tx:
        await work_of(tx, work).quarantine(row_id, "the database said no", NOW)
        await tx.commit()


async def count(begin: Begin, work: Work) -> int:
    async with begin() as tx:
        (backlog,) = [each for each in await tx.due_work.backlogs(NOW) if each.work is work]
    quarantined: int = backlog.quarantined
    return quarantined


@pytest.mark.parametrize(("work", "due", "kind"), KINDS)
async def test_what_is_refused_is_counted_and_listed_until_it_is_let_go(
    begin: Begin, shop: Shop, quarantine: Quarantine, work: Work, due: Any, kind: str
) -> None:
    (row_id, subject_id), before = await due(shop), await count(begin, work)
    await keep(begin, work, row_id)

    assert await count(begin, work) == before + 1
    (kept,) = [each for each in await quarantine.find(limit=1000) if each.id == str(row_id)]
    assert (kept.work, kept.reason, kept.since) == (work, "the database said no", NOW)

    await quarantine.release(work, row_id)

    assert await count(begin, work) == before
    async with begin() as tx:
        told = (await tx.events.of_subject(subject_id)).rows[-1]
        assert [each.id for each in await work_of(tx, work).lease([row_id], NOW, NOW)] == [row_id]
    assert (told.type, shop.seller.id in told.audience) == (kind, True)
    assert subject_id == row_id or str(row_id) in told.data.values()
    with pytest.raises(Conflict, match="not in quarantine"):
        await quarantine.release(work, row_id)


@pytest.mark.parametrize(("work", "due"), [kind[:2] for kind in KINDS])
async def test_what_is_saved_keeps_no_quarantine(
    connection: AsyncConnection, begin: Begin, shop: Shop, work: Work, due: Any
) -> None:
    row_id, _ = await due(shop)
    await keep(begin, work, row_id)

    async with begin() as tx:
        await save(tx, work, row_id, NOW)
        await tx.commit()

    table = {Work.REFUNDS: "refunds", Work.PAYOUTS: "payouts", Work.REVERSALS: "payout_reversals"}[work]
    row = text(f"SELECT quarantined_at, quarantine_reason FROM {table} WHERE id = :id")
    assert tuple((await connection.execute(row, {"id": row_id})).one()) == (None, None)


async def test_payout_that_is_over_is_let_go_and_not_due(begin: Begin, shop: Shop, quarantine: Quarantine) -> None:
    payout_id, _ = await payout_due(shop)
    async with begin() as tx:
        (payout,) = await tx.payout_work.lock([payout_id])
    await sent(shop, payout, Refusal("balance_insufficient"))
    await keep(begin, Work.PAYOUTS, payout_id)

    await quarantine.release(Work.PAYOUTS, payout_id)

    async with begin() as tx:
        assert await tx.payout_work.lease([payout_id], NOW, NOW) == []


async def test_late_money_that_does_not_go_back_is_counted_and_listed_until_it_is_let_go(
    begin: Begin, shop: Shop, clock: FakeClock, quarantine: Quarantine
) -> None:
    payment, before = await captured_late(shop), await count(begin, Work.REFUNDS)
    async with begin() as tx:
        (made,) = await tx.refunds.of_payment(payment.id)

    refunds = RefundSettlement(begin, clock, SettlementPolicy())
    await refunds.settle(made.id, Refusal("charge_disputed"))

    assert await count(begin, Work.REFUNDS) == before + 1
    (kept,) = [each for each in await quarantine.find(limit=1000) if each.id == str(made.id)]
    assert (kept.status, kept.reason) == ("failed", "what paid for nothing did not go back: charge_disputed")

    await quarantine.release(Work.REFUNDS, made.id)

    assert await count(begin, Work.REFUNDS) == before
    async with begin() as tx:
        assert await tx.refund_work.lease([made.id], NOW, NOW) == []


@pytest.mark.parametrize("work", [Work.REFUNDS, Work.PAYOUTS, Work.REVERSALS])
async def test_what_is_not_there_is_named(quarantine: Quarantine, work: Work) -> None:
    with pytest.raises(NotFound):
        await quarantine.release(work, uuid7())


async def test_events_of_stripe_that_nobody_understands_are_counted_and_listed(
    begin: Begin, quarantine: Quarantine
) -> None:
    told, before = StripeEvent(unique("evt"), "charge.refunded", "{}", NOW), await count(begin, Work.STRIPE_EVENTS)
    async with begin() as tx:
        await tx.stripe_events.add([told], publish_at=NOW)
        await tx.stripe_events.finish({told.id: StripeEventStatus.QUARANTINED}, NOW)
        await tx.commit()

    assert await count(begin, Work.STRIPE_EVENTS) == before + 1
    (kept,) = [each for each in await quarantine.find(limit=1000) if each.id == told.id]
    assert (kept.work, kept.status, kept.since) == (Work.STRIPE_EVENTS, "charge.refunded", NOW)


async def test_quarantine_is_read_by_its_indexes(connection: AsyncConnection) -> None:
    await connection.execute(text("SET LOCAL enable_seqscan = off"))
    plan = await connection.execute(text(f"EXPLAIN {_FIND.text}"), {"limit": 10})

    assert "Seq Scan" not in "\n".join(plan.scalars())
