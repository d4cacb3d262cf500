"""What is disputed and what is refunded of one payment."""

from dataclasses import replace

import pytest

from domain.errors import Conflict
from domain.ledger.model import STRIPE_BALANCE, seller_disputed, seller_payable
from domain.orders.model import OrderStatus
from domain.payments.model import Payment
from domain.refunds.model import RefundRequest
from domain.refunds.service import RefundService
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from tests.builders import NOW, Shop, a_dispute, a_refund, a_requested_refund, unique
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory
from tests.domain.settlement.disputes.standing import FINANCE, LINE, LOST, NEEDS, WON, books, order_of
from tests.stripe_answers import disputed, refunded


@pytest.mark.parametrize("end", ["withdrawn", "lost"])
async def test_no_refund_while_disputed_money_is_withdrawn(
    disputes: DisputeSettlement, refunds: RefundService, payment: Payment, end: str
) -> None:
    dispute = a_dispute(payment)
    await disputes.settle(payment.id, disputed(dispute, NEEDS if end == "withdrawn" else LOST, -1999))

    with pytest.raises(Conflict) as refusal:
        await refunds.request(FINANCE, RefundRequest(payment.id, unique("key"), "x"))

    assert refusal.value.code == "funds_disputed"


async def test_no_refund_of_what_is_disputed_before_anything_tells_of_the_money(
    disputes: DisputeSettlement, refunds: RefundService, payment: Payment
) -> None:
    await disputes.settle(payment.id, disputed(a_dispute(payment), NEEDS))

    with pytest.raises(Conflict) as refusal:
        await refunds.request(FINANCE, RefundRequest(payment.id, unique("key"), "x"))

    assert refusal.value.code == "funds_disputed"


async def test_won_dispute_may_be_refunded(
    disputes: DisputeSettlement, refunds: RefundService, payment: Payment
) -> None:
    await disputes.settle(payment.id, disputed(a_dispute(payment), WON, -1999, 1999))

    accepted = await refunds.request(FINANCE, RefundRequest(payment.id, unique("key"), "x"))

    assert accepted.refund.amount_minor == 1999


@pytest.mark.parametrize("booked_first", [True, False])
async def test_dispute_of_what_refunds_have_left_falls_on_it(
    disputes: DisputeSettlement,
    memory: Memory,
    shop: Shop,
    clock: FakeClock,
    policy: SettlementPolicy,
    *,
    booked_first: bool,
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    refund = a_requested_refund(payment, shop, 1999, lines=(replace(LINE, seller_id=shop.seller.id),))
    async with memory.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    refunding = RefundSettlement(memory.begin, clock, policy)
    if booked_first:
        await refunding.settle(refund.id, refunded(refund))

    dispute = a_dispute(payment, amount_minor=501)
    await disputes.settle(payment.id, disputed(dispute, NEEDS, -501))
    if not booked_first:
        await refunding.settle(refund.id, refunded(refund))

    after = await books(memory)
    assert after[seller_disputed(shop.other_seller.id)] == -488
    assert seller_disputed(shop.seller.id) not in after
    await disputes.settle(payment.id, disputed(dispute, LOST, -501))
    assert order_of(memory) is OrderStatus.REFUNDED


async def test_dispute_of_what_is_refunded_too_falls_on_all_lines(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, clock: FakeClock, policy: SettlementPolicy
) -> None:
    """The bank takes it a second time until the dispute is won; both deductions are shown."""
    payment = await captured(shop)
    refund = a_requested_refund(payment, shop, 1999, lines=(replace(LINE, seller_id=shop.seller.id),))
    async with memory.begin() as tx:
        await tx.refunds.add([refund], publish_at=NOW)
        await tx.commit()
    await RefundSettlement(memory.begin, clock, policy).settle(refund.id, refunded(refund))

    await disputes.settle(payment.id, disputed(a_dispute(payment), NEEDS, -1999, fee_minor=0))

    after = await books(memory)
    assert (after[STRIPE_BALANCE], after[seller_payable(shop.seller.id)]) == (-1999, 1949)


@pytest.mark.parametrize("part_minor", [20, 60, 1000])
async def test_rest_that_is_refunded_at_stripe_after_a_part_is_lost_comes_to_the_whole(
    disputes: DisputeSettlement, memory: Memory, shop: Shop, clock: FakeClock, part_minor: int
) -> None:
    payment = await captured(shop, amount_minor=2000)
    dispute = a_dispute(payment, amount_minor=part_minor)
    await disputes.settle(payment.id, disputed(dispute, LOST, -part_minor, fee_minor=0))

    rest = refunded(a_refund(payment, amount_minor=2000 - part_minor), refund_id=None)
    await RefundSettlement(memory.begin, clock, SettlementPolicy()).adopt(payment.id, rest)

    assert await books(memory) == {}
