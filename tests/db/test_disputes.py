"""Disputes on the real database: reports that come at once, and with refunds, are booked once."""

import asyncio
from random import Random

import pytest

from db.unit_of_work import Database
from domain.disputes.model import DisputeFunds, DisputeStatus
from domain.errors import DomainError, Refused
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.ledger.model import JournalKind
from domain.orders.model import OrderStatus
from domain.refunds.model import AcceptedRefund, RefundRequest
from domain.refunds.rules import RefundPolicy
from domain.refunds.service import RefundService
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from tests.builders import Begin, Shop, a_dispute, principal, unique
from tests.captured import captured
from tests.domain.fakes import FakeClock, RecordingAnnouncer
from tests.stripe_answers import disputed

NEEDS, LOST = DisputeStatus.NEEDS_RESPONSE, DisputeStatus.LOST


@pytest.fixture
def disputes(database: Database, clock: FakeClock) -> DisputeSettlement:
    return DisputeSettlement(database.begin, clock, SettlementPolicy())


async def test_many_reports_at_once_are_booked_once(disputes: DisputeSettlement, real_shop: Shop) -> None:
    payments = [await captured(real_shop, await real_shop.order()) for _ in range(4)]
    known = [(payment, a_dispute(payment)) for payment in payments]
    reports = [
        (payment.id, disputed(dispute, status, *moves))
        for payment, dispute in known
        for status, moves in [(NEEDS, ()), (NEEDS, (-1999,)), (LOST, (-1999,))]
    ] * 4
    Random(1).shuffle(reports)

    async with asyncio.timeout(30):
        await asyncio.gather(*(disputes.settle(payment_id, told) for payment_id, told in reports))

    async with real_shop.begin() as tx:
        for payment, dispute in known:
            after = await tx.disputes.by_stripe_id(dispute.stripe_dispute_id)
            assert (after.status, after.funds) == (LOST, DisputeFunds.LOST)
            order = (await tx.orders.lock([payment.order_id]))[payment.order_id]
            assert order.status is OrderStatus.REFUNDED
        assert (await tx.ledger.verify()).faults == []


async def test_won_dispute_that_takes_money_again_is_settled_in_any_order(
    disputes: DisputeSettlement, real_shop: Shop
) -> None:
    """Its order is refunded by the loss in the end, and the ledger holds what Stripe moved, line by line."""
    steps = [(NEEDS, 1), (DisputeStatus.WON, 2), (NEEDS, 3), (DisputeStatus.UNDER_REVIEW, 3), (LOST, 3)]
    rng = Random(1)
    for _ in range(8):
        payment = await captured(real_shop, await real_shop.order())
        dispute, moves = a_dispute(payment), (-1999, 1999, -1999)
        for status, count in (
            (*steps, *rng.sample(steps, len(steps))) if rng.random() < 1 / 2 else rng.sample(steps, 5)
        ):
            await disputes.settle(payment.id, disputed(dispute, status, *moves[:count]))

        async with real_shop.begin() as tx:
            after = await tx.disputes.by_stripe_id(dispute.stripe_dispute_id)
            assert (after.status, after.funds) == (LOST, DisputeFunds.LOST)
            order = (await tx.orders.lock([payment.order_id]))[payment.order_id]
            assert order.status is OrderStatus.REFUNDED
            sources = {
                kind: [await tx.ledger.by_source(kind, transaction_id) for transaction_id in after.transaction_ids]
                for kind in (JournalKind.DISPUTE_OPENED, JournalKind.DISPUTE_WON, JournalKind.DISPUTE_LOST)
            }
            assert {kind: [found is not None for found in each] for kind, each in sources.items()} == {
                JournalKind.DISPUTE_OPENED: [True, False, True],
                JournalKind.DISPUTE_WON: [False, True, False],
                JournalKind.DISPUTE_LOST: [False, False, True],
            }
    async with real_shop.begin() as tx:
        assert (await tx.ledger.verify()).faults == []


async def test_refund_and_dispute_at_once_do_not_both_take_the_money(
    disputes: DisputeSettlement,
    database: Database,
    real_shop: Shop,
    announcer: RecordingAnnouncer,
    clock: FakeClock,
) -> None:
    """Either the refund was accepted first, and Stripe decides on it, or it is refused."""
    refunds = RefundService(database.begin, announcer, clock, RefundPolicy(3600, 30))
    for _ in range(5):
        payment = await captured(real_shop, await real_shop.order())
        request = RefundRequest(payment.id, unique("key"), "x")
        answers = await asyncio.gather(
            refunds.request(principal(real_shop.seller), request),
            disputes.settle(payment.id, disputed(a_dispute(payment), NEEDS, -1999)),
            return_exceptions=True,
        )
        assert answers[1] is True
        assert isinstance(answers[0], AcceptedRefund) or (
            isinstance(answers[0], DomainError) and answers[0].code == "funds_disputed"
        )
        with pytest.raises(DomainError):
            await refunds.request(principal(real_shop.seller), RefundRequest(payment.id, unique("key"), "x", 1))
    async with real_shop.begin() as tx:
        assert (await tx.ledger.verify()).faults == []


async def test_money_without_a_withdrawal_is_refused(begin: Begin, shop: Shop) -> None:
    dispute = a_dispute(await captured(shop), funds=DisputeFunds.WITHDRAWN, withdrawn_minor=1999)

    async def save() -> None:
        async with begin() as tx:
            await tx.disputes.save(dispute)

    with pytest.raises(Refused):
        await save()


async def test_stranger_sees_no_dispute(begin: Begin, shop: Shop) -> None:
    dispute = a_dispute(await captured(shop))
    async with begin() as tx:
        await tx.disputes.save(dispute)
        assert await tx.disputes.visible(Principal(UserId(uuid7()), Role.SELLER), dispute.id) is None
