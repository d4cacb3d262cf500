"""Asking for refunds: who may, how much, and once."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from domain.errors import Conflict, DomainError, Forbidden, IdempotencyMismatch, Invalid, NotFound
from domain.identity.model import Principal, Role
from domain.ids import OrderId, ProductId, RefundId, UserId, uuid7
from domain.ledger.postings import Part
from domain.orders.model import OrderStatus, Shipment
from domain.payments.model import Payment
from domain.refunds.model import RefundedLine, RefundExceedsCaptured, RefundRequest, RefundStatus
from domain.refunds.rules import RefundPolicy, parts_named
from domain.refunds.service import MAX_REFUNDS, RefundService
from domain.work import Work
from tests.builders import Shop, a_product, a_refund, principal, unique
from tests.captured import captured, captured_late, stored
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer

HOLD_S = 3600
FINANCE = Principal(UserId(uuid7()), Role.FINANCE)


@pytest.fixture
def refunds(memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock) -> RefundService:
    return RefundService(memory.begin, announcer, clock, RefundPolicy(HOLD_S, 30))


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    """A paid order of 19.99 of the seller and 5.01 of the other seller, with 2.5 % commission."""
    return await captured(shop, await shop.order(shop.product, shop.other_product))


def asking(payment: Payment, amount_minor: int | None = None, *lines: RefundedLine) -> RefundRequest:
    return RefundRequest(payment.id, unique("key"), "too small", amount_minor, lines)


async def advance(memory: Memory, payment: Payment, *statuses: OrderStatus) -> None:
    assert payment.order_id is not None
    async with memory.begin() as tx:
        for status in statuses:
            await tx.orders.advance({OrderId(payment.order_id): status}, payment.created_at)
        await tx.commit()


async def test_refund_is_durable_told_and_announced(
    refunds: RefundService, memory: Memory, announcer: RecordingAnnouncer, shop: Shop, payment: Payment
) -> None:
    accepted = await refunds.request(principal(shop.buyer), asking(payment, 1000))

    refund = accepted.refund
    assert (refund.status, refund.amount_minor, accepted.replayed) == (RefundStatus.PENDING, 1000, False)
    assert refund.stripe_charge_id == payment.stripe_charge_id
    assert memory.state.refunds == {refund.id: refund}
    assert memory.state.payments[payment.id].refunded_minor == 1000
    assert announcer.announced[Work.REFUNDS] == [refund.id]
    told = memory.state.events[-1]
    assert (told.type, told.subject_id, told.data["refund_id"]) == ("refund.accepted", payment.id, str(refund.id))
    assert set(told.audience) == {shop.buyer.id, shop.seller.id, shop.other_seller.id}


async def test_other_sellers_of_the_order_are_not_told(
    refunds: RefundService, memory: Memory, shop: Shop, payment: Payment
) -> None:
    await refunds.request(principal(shop.seller), asking(payment, 100))

    told = memory.state.events[-1]
    assert (told.type, set(told.audience)) == ("refund.accepted", {shop.buyer.id, shop.seller.id})


async def test_amount_falls_on_the_lines_in_proportion(
    refunds: RefundService, shop: Shop, payment: Payment
) -> None:
    accepted = await refunds.request(FINANCE, asking(payment, 1000))

    assert accepted.refund.lines == (Part(1, shop.seller.id, 800, 20), Part(2, shop.other_seller.id, 200, 5))


async def test_seller_gives_back_of_its_part_of_dinars_what_stripe_moves(
    refunds: RefundService, memory: Memory, shop: Shop
) -> None:
    products = [
        a_product(seller.id, price_minor=3330, currency="KWD") for seller in (shop.seller, shop.other_seller)
    ]
    async with memory.begin() as tx:
        for product in products:
            await tx.products.add(product)
        await tx.commit()
    payment = await captured(shop, await shop.order(*products, currency="KWD"), received_minor=5010)

    own = await refunds.request(principal(shop.seller), asking(payment))
    line = RefundedLine(products[1].id)
    other = await refunds.request(principal(shop.other_seller), asking(payment, None, line))
    rest = await refunds.request(FINANCE, asking(payment))

    assert [each.refund.amount_minor for each in (own, other, rest)] == [2500, 2500, 10]


async def test_refund_without_an_amount_is_of_all_that_is_left(
    refunds: RefundService, shop: Shop, payment: Payment
) -> None:
    await refunds.request(FINANCE, asking(payment, 1000))

    accepted = await refunds.request(FINANCE, asking(payment))

    assert accepted.refund.amount_minor == 1500
    assert accepted.refund.lines == (Part(1, shop.seller.id, 1199, 30), Part(2, shop.other_seller.id, 301, 8))


async def test_lines_are_refunded_by_themselves(refunds: RefundService, shop: Shop, payment: Payment) -> None:
    some, rest = RefundedLine(shop.product.id, 999), RefundedLine(shop.other_product.id)

    accepted = await refunds.request(principal(shop.buyer), asking(payment, None, some, rest))

    assert accepted.refund.lines == (Part(1, shop.seller.id, 999, 25), Part(2, shop.other_seller.id, 501, 13))
    assert accepted.refund.amount_minor == 1500


async def test_seller_refunds_its_own_lines_alone(refunds: RefundService, shop: Shop, payment: Payment) -> None:
    seller = principal(shop.other_seller)
    with pytest.raises(Invalid) as refusal:
        await refunds.request(seller, asking(payment, None, RefundedLine(shop.product.id)))
    assert refusal.value.code == "line_not_found"
    with pytest.raises(RefundExceedsCaptured):
        await refunds.request(seller, asking(payment, 502))

    accepted = await refunds.request(seller, asking(payment))

    assert accepted.refund.lines == (Part(2, shop.other_seller.id, 501, 13),)


async def test_product_that_was_not_bought_is_no_line(refunds: RefundService, payment: Payment) -> None:
    with pytest.raises(Invalid) as refusal:
        await refunds.request(FINANCE, asking(payment, None, RefundedLine(ProductId(uuid7()))))

    assert refusal.value.code == "line_not_found"


async def test_direct_payment_has_one_line(refunds: RefundService, shop: Shop) -> None:
    accepted = await refunds.request(principal(shop.seller), asking(await captured(shop), 999))

    assert accepted.refund.lines == (Part(1, shop.seller.id, 999, 25),)


@pytest.mark.parametrize("statuses", [[OrderStatus.SHIPPED], [OrderStatus.SHIPPED, OrderStatus.COMPLETED]])
async def test_buyer_refunds_before_shipment_alone(
    refunds: RefundService, memory: Memory, shop: Shop, payment: Payment, statuses: list[OrderStatus]
) -> None:
    await advance(memory, payment, *statuses)

    with pytest.raises(Conflict) as refusal:
        await refunds.request(principal(shop.buyer), asking(payment))

    assert (refusal.value.code, refusal.value.facts) == (
        "order_not_refundable",
        {"order_status": str(statuses[-1])},
    )
    for other in (principal(shop.seller), FINANCE):
        await refunds.request(other, asking(payment, 1))


async def test_buyer_refunds_what_is_not_shipped_of_an_order_in_part_shipped(
    refunds: RefundService, memory: Memory, shop: Shop, payment: Payment
) -> None:
    assert payment.order_id is not None
    async with memory.begin() as tx:
        await tx.shipments.add(Shipment(payment.order_id, shop.seller.id, "DHL", "1", payment.created_at))
        await tx.commit()

    with pytest.raises(Invalid):
        await refunds.request(principal(shop.buyer), asking(payment, None, RefundedLine(shop.product.id)))
    with pytest.raises(RefundExceedsCaptured):
        await refunds.request(principal(shop.buyer), asking(payment, 502))
    accepted = await refunds.request(principal(shop.buyer), asking(payment))

    assert accepted.refund.lines == (Part(2, shop.other_seller.id, 501, 13),)


async def test_payer_takes_a_direct_payment_back_while_it_is_held(
    refunds: RefundService, clock: FakeClock, shop: Shop
) -> None:
    payment = await captured(shop)
    clock.advance(HOLD_S - 1)
    await refunds.request(principal(shop.buyer), asking(payment, 1))
    clock.advance(1)

    with pytest.raises(Conflict) as refusal:
        await refunds.request(principal(shop.buyer), asking(payment, 1))

    assert refusal.value.code == "hold_is_over"
    await refunds.request(principal(shop.seller), asking(payment, 1))


async def test_strangers_see_no_payment_and_admins_refund_none(
    refunds: RefundService, shop: Shop, payment: Payment
) -> None:
    stranger = Principal(UserId(uuid7()), Role.BUYER)
    with pytest.raises(NotFound):
        await refunds.request(stranger, asking(payment))
    with pytest.raises(NotFound):
        await refunds.request(FINANCE, replace(asking(payment), payment_id=uuid7()))
    with pytest.raises(Forbidden):
        await refunds.request(Principal(UserId(uuid7()), Role.ADMIN), asking(payment))


async def test_payment_that_captured_nothing_is_not_refundable(
    refunds: RefundService, memory: Memory, shop: Shop
) -> None:
    payment = await shop.payment()

    with pytest.raises(Conflict) as refusal:
        await refunds.request(FINANCE, asking(payment))

    assert refusal.value.code == "payment_not_refundable"
    assert memory.state.refunds == {}


@pytest.mark.parametrize("amount_minor", [2501, 10**12])
async def test_refund_cannot_exceed_captured_amount(
    refunds: RefundService, payment: Payment, amount_minor: int
) -> None:
    with pytest.raises(RefundExceedsCaptured) as refusal:
        await refunds.request(FINANCE, asking(payment, amount_minor))

    assert refusal.value.facts == {"refundable_minor": 2500}


async def test_refunds_together_cannot_exceed_captured_amount(refunds: RefundService, payment: Payment) -> None:
    await refunds.request(FINANCE, asking(payment, 2499))

    with pytest.raises(RefundExceedsCaptured):
        await refunds.request(FINANCE, asking(payment, 2))
    await refunds.request(FINANCE, asking(payment, 1))
    with pytest.raises(RefundExceedsCaptured):
        await refunds.request(FINANCE, asking(payment))


async def test_line_cannot_be_refunded_above_what_it_cost(
    refunds: RefundService, shop: Shop, payment: Payment
) -> None:
    await refunds.request(FINANCE, asking(payment, None, RefundedLine(shop.other_product.id, 500)))

    for amount_minor in (2, 501):
        with pytest.raises(RefundExceedsCaptured):
            await refunds.request(
                FINANCE, asking(payment, None, RefundedLine(shop.other_product.id, amount_minor))
            )


async def test_refund_that_failed_may_be_asked_for_again(
    refunds: RefundService, memory: Memory, payment: Payment
) -> None:
    refund = (await refunds.request(FINANCE, asking(payment))).refund
    async with memory.begin() as tx:
        await tx.refund_work.save(replace(refund, status=RefundStatus.FAILED, failure_code="x"), due_at=None)
        await tx.commit()

    again = await refunds.request(FINANCE, asking(payment))

    assert again.refund.lines == refund.lines


async def test_partial_capture_limits_the_refunds_of_each_line(refunds: RefundService, shop: Shop) -> None:
    order = await shop.order(shop.product, shop.other_product)
    payment = await captured(shop, order, received_minor=1250)

    accepted = await refunds.request(FINANCE, asking(payment))

    assert accepted.refund.lines == (Part(1, shop.seller.id, 1000, 25), Part(2, shop.other_seller.id, 250, 6))


async def test_money_that_paid_for_nothing_is_refunded_again_by_finance_alone(
    refunds: RefundService, memory: Memory, shop: Shop
) -> None:
    payment = await captured_late(shop)
    (by_itself,) = memory.state.refunds.values()
    with pytest.raises(RefundExceedsCaptured):
        await refunds.request(FINANCE, asking(payment))
    async with memory.begin() as tx:
        failed = replace(by_itself, status=RefundStatus.FAILED, failure_code="charge_disputed")
        await tx.refund_work.save(failed, due_at=None)
        await tx.commit()

    with pytest.raises(Conflict):
        await refunds.request(principal(shop.buyer), asking(payment))
    with pytest.raises(Invalid):
        await refunds.request(FINANCE, asking(payment, None, RefundedLine(shop.product.id)))
    accepted = await refunds.request(FINANCE, asking(payment))

    assert (accepted.refund.amount_minor, accepted.refund.lines) == (1999, ())


async def test_repeated_request_gets_its_refund_again(
    refunds: RefundService, memory: Memory, announcer: RecordingAnnouncer, shop: Shop, payment: Payment
) -> None:
    request = asking(payment)
    first = await refunds.request(principal(shop.buyer), request)
    await advance(memory, payment, OrderStatus.SHIPPED)

    again = await refunds.request(principal(shop.buyer), request)

    assert (again.refund, again.replayed) == (first.refund, True)
    assert len(announcer.announced[Work.REFUNDS]) == 1


@pytest.mark.parametrize(
    "changes",
    [{"amount_minor": 1}, {"reason": "too big"}, {"lines": [RefundedLine(ProductId(UUID(int=1)))]}],
)
async def test_key_that_was_used_for_another_refund_is_refused(
    refunds: RefundService, payment: Payment, changes: dict[str, Any]
) -> None:
    request = asking(payment, 2)
    await refunds.request(FINANCE, request)

    with pytest.raises(IdempotencyMismatch):
        await refunds.request(FINANCE, replace(request, **changes))


async def test_key_belongs_to_its_caller_and_not_to_the_payment(
    refunds: RefundService, shop: Shop, payment: Payment
) -> None:
    request = asking(payment, 2)
    await refunds.request(FINANCE, request)

    assert not (await refunds.request(principal(shop.buyer), request)).replayed
    with pytest.raises(IdempotencyMismatch):
        await refunds.request(FINANCE, replace(request, payment_id=(await captured(shop)).id))


LEFT = [Part(1, UserId(uuid7()), 1999, 50), Part(3, UserId(uuid7()), 501, 13)]


def test_named_lines_are_taken_with_their_commission() -> None:
    assert parts_named([(3, 501)], 501, LEFT) == [LEFT[1]]
    assert parts_named([(3, 1), (1, 1000)], 1001, LEFT) == [
        Part(1, LEFT[0].seller_id, 1000, 25),
        Part(3, LEFT[1].seller_id, 1, 0),
    ]


@pytest.mark.parametrize(
    "named",
    [(), ((1, 500),), ((1, 502),), ((2, 501),), ((3, 250), (3, 251)), ((1, 501), (1, 501)), ((1, -1), (3, 502)),
     ((1, 0), (3, 501)), ((1, 501), (4, 0))],
)  # fmt: skip
def test_named_lines_that_do_not_fit_are_none(named: tuple[tuple[int, int], ...]) -> None:
    assert parts_named(named, 501, LEFT) == []


def test_named_lines_never_exceed_what_is_left_of_each() -> None:
    assert parts_named([(3, 502)], 502, LEFT) == []
    assert parts_named([(1, 501)], 501, []) == []


async def test_payment_has_a_bounded_number_of_refunds(
    refunds: RefundService, memory: Memory, payment: Payment
) -> None:
    async with memory.begin() as tx:
        for _ in range(MAX_REFUNDS):
            await tx.refunds.add([a_refund(payment, amount_minor=1)], publish_at=payment.created_at)
        await tx.commit()

    with pytest.raises(Conflict) as refusal:
        await refunds.request(FINANCE, asking(payment, 1))

    assert refusal.value.code == "too_many_refunds"


async def test_dinars_are_refunded_in_steps_of_ten(refunds: RefundService, shop: Shop) -> None:
    payment = await captured(shop, amount_minor=5000, currency="KWD")

    with pytest.raises(Invalid) as refusal:
        await refunds.request(FINANCE, asking(payment, 1234))
    assert refusal.value.code == "amount_not_chargeable"
    await refunds.request(FINANCE, asking(payment, 1230))


async def test_refund_is_shown_to_those_it_concerns(refunds: RefundService, shop: Shop, payment: Payment) -> None:
    refund = (await refunds.request(principal(shop.seller), asking(payment, 1))).refund

    for who in (principal(shop.buyer), principal(shop.seller), FINANCE):
        assert await refunds.get(who, refund.id) == refund
    for who, refund_id in [(principal(shop.other_seller), refund.id), (FINANCE, RefundId(uuid7()))]:
        with pytest.raises(DomainError) as refusal:
            await refunds.get(who, refund_id)
        assert refusal.value.code == "refund_not_found"


async def test_refunded_amount_is_counted_on_the_payment(
    refunds: RefundService, shop: Shop, payment: Payment
) -> None:
    await refunds.request(FINANCE, asking(payment, 10))
    await refunds.request(FINANCE, asking(payment, 20))

    assert (await stored(shop, payment)).refunded_minor == 30
