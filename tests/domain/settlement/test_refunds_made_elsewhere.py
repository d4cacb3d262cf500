"""Refunds that were made at Stripe without us, or that a restored database has lost."""

from dataclasses import replace

import pytest

from domain.errors import Refused
from domain.ledger.model import JournalKind, seller_payable
from domain.ledger.postings import Part
from domain.orders.model import OrderStatus
from domain.refunds.model import RefundOrigin, RefundStatus
from domain.settlement.answers import Refusal, StripeTransaction
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from domain.work import Work
from tests.balances import all_balances
from tests.builders import Shop, a_refund, a_requested_refund
from tests.captured import captured, captured_late
from tests.domain.fakes import FakeClock, Memory
from tests.stripe_answers import refunded


@pytest.fixture
def refunds(memory: Memory, clock: FakeClock, policy: SettlementPolicy) -> RefundSettlement:
    return RefundSettlement(memory.begin, clock, policy)


async def test_refund_made_without_us_is_booked_once_over_all_lines(
    refunds: RefundSettlement, memory: Memory, shop: Shop
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    found = refunded(a_refund(payment, amount_minor=1000), refund_id=None)

    assert await refunds.adopt(payment.id, found)
    assert not await refunds.adopt(payment.id, found)

    (refund,) = memory.state.refunds.values()
    assert (refund.origin, refund.reason, refund.status) == (
        RefundOrigin.EXTERNAL,
        "external",
        RefundStatus.SUCCEEDED,
    )
    assert refund.lines == (Part(1, shop.seller.id, 800, 20), Part(2, shop.other_seller.id, 200, 5))
    assert [journal.kind for journal in memory.state.journals] == [JournalKind.CHARGE, JournalKind.REFUND]
    assert memory.state.payments[payment.id].refunded_minor == 1000
    assert memory.state.due[Work.REFUNDS][refund.id].due_at is None


async def test_refund_that_a_restore_has_lost_falls_on_the_lines_it_was_made_for(
    refunds: RefundSettlement, memory: Memory, shop: Shop
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    part = Part(2, shop.other_seller.id, 501, 13)
    lost = a_requested_refund(payment, shop, 501, lines=(part,))

    assert await refunds.adopt(payment.id, refunded(lost))

    (refund,) = memory.state.refunds.values()
    assert (refund.origin, refund.lines) == (RefundOrigin.EXTERNAL, (part,))
    async with memory.begin() as tx:
        balances = {row.account: row.balance_minor for row in await all_balances(tx)}
    assert (balances[seller_payable(shop.seller.id)], balances[seller_payable(shop.other_seller.id)]) == (-1949, 0)


@pytest.mark.parametrize(
    "lines", [((2, 502),), ((2, 500),), ((2, 250), (2, 251)), ((3, 501),), ((2, 501), (1, 1))]
)
async def test_refund_whose_lines_somebody_has_edited_falls_on_all(
    refunds: RefundSettlement, memory: Memory, shop: Shop, lines: tuple[tuple[int, int], ...]
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))

    assert await refunds.adopt(payment.id, refunded(a_refund(payment, amount_minor=501), lines=lines))

    (refund,) = memory.state.refunds.values()
    assert [(part.line, part.amount_minor) for part in refund.lines] == [(1, 401), (2, 100)]


async def test_line_of_which_too_little_is_left_is_not_believed(
    refunds: RefundSettlement, memory: Memory, shop: Shop
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    first, second = (refunded(a_refund(payment, amount_minor=400), lines=((2, 400),)) for _ in range(2))

    assert await refunds.adopt(payment.id, first)
    assert await refunds.adopt(payment.id, second)

    one, other = (refund.lines for refund in memory.state.refunds.values())
    assert [(part.line, part.amount_minor) for part in one] == [(2, 400)]
    assert [(part.line, part.amount_minor) for part in other] == [(1, 381), (2, 19)]


async def test_refund_made_without_us_waits_for_ours_that_claims_the_same_money(
    refunds: RefundSettlement, memory: Memory, shop: Shop
) -> None:
    payment = await captured(shop, await shop.order())
    ours = a_requested_refund(payment, shop, 1999, lines=(Part(1, shop.seller.id, 1999, 50),))
    async with memory.begin() as tx:
        await tx.refunds.add([ours], publish_at=ours.created_at)
        await tx.commit()
    found = replace(refunded(a_refund(payment)), refund_id=None)
    with pytest.raises(Refused):
        await refunds.adopt(payment.id, found)

    await refunds.settle(ours.id, Refusal("charge_already_refunded"))
    assert await refunds.adopt(payment.id, found)

    assert payment.order_id is not None
    assert memory.state.orders[payment.order_id].status is OrderStatus.REFUNDED


async def test_refund_made_without_us_of_money_that_paid_for_nothing(
    refunds: RefundSettlement, memory: Memory, shop: Shop
) -> None:
    payment = await captured_late(shop)
    (ours,) = memory.state.refunds.values()
    await refunds.settle(ours.id, Refusal("charge_already_refunded"))

    await refunds.adopt(payment.id, replace(refunded(a_refund(payment)), refund_id=None))

    assert [journal.kind for journal in memory.state.journals] == ["unapplied_charge", "unapplied_refund"]


@pytest.mark.parametrize(
    "moved", [None, StripeTransaction("txn_released", -799, 0, "USD", is_release=True)], ids=["unmoved", "moved"]
)
async def test_what_a_partial_capture_releases_is_no_refund(
    refunds: RefundSettlement, memory: Memory, shop: Shop, moved: StripeTransaction | None
) -> None:
    payment = await captured(shop, await shop.order(), received_minor=1200)
    released = replace(
        refunded(a_refund(payment, amount_minor=799), refund_id=None),
        transaction_id=moved.id if moved else None,
        transaction=moved,
    )
    refunded_later = refunded(a_refund(payment, amount_minor=500), refund_id=None)

    assert not await refunds.adopt(payment.id, released)
    assert await refunds.adopt(payment.id, refunded_later)

    assert [refund.amount_minor for refund in memory.state.refunds.values()] == [500]
    assert memory.state.payments[payment.id].refunded_minor == 500


async def test_refund_of_a_whole_capture_is_booked_before_its_movement_is_known(
    refunds: RefundSettlement, memory: Memory, shop: Shop
) -> None:
    payment = await captured(shop, await shop.order())

    found = refunded(a_refund(payment, amount_minor=500), refund_id=None, transaction_id=None, transaction=None)
    assert await refunds.adopt(payment.id, found)

    assert memory.state.payments[payment.id].refunded_minor == 500
