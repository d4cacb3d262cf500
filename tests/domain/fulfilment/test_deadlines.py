from dataclasses import replace
from datetime import timedelta

import pytest

from domain.fulfilment.deadlines import PAYMENT_LOOK, REFUSED_LOOK, DueOrder, OrderDeadlines, Step, next_step
from domain.orders.model import Order, OrderStatus, Shipment
from domain.payments.model import PaymentStatus
from tests.builders import NOW, Shop
from tests.domain.fakes import FakeClock, Memory

COMPLETES_AFTER_S = 100


@pytest.fixture
def deadlines(memory: Memory, clock: FakeClock) -> OrderDeadlines:
    return OrderDeadlines(memory.begin, clock, completes_after_s=COMPLETES_AFTER_S, batch_size=2, batches=3)


def after(memory: Memory, order: Order) -> Order:
    return memory.state.orders[order.id]


async def test_unpaid_order_expires_when_its_time_is_over_and_not_before(
    deadlines: OrderDeadlines, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    order = await shop.order(due_at=NOW + timedelta(seconds=60))
    clock.advance(59)
    assert await deadlines.enforce() == 0
    assert after(memory, order) == order
    clock.advance(1)

    assert await deadlines.enforce() == 1
    assert await deadlines.enforce() == 0

    assert after(memory, order) == replace(order, status=OrderStatus.EXPIRED, due_at=None, updated_at=clock.now())
    assert memory.state.products[shop.product.id].stock == shop.product.stock
    (told,) = memory.state.events
    assert (told.type, told.subject_id, told.audience) == ("order.expired", order.id, tuple(sorted(order.parties)))
    assert told.data == {"by": "system", "reason": "not paid in time"}


@pytest.mark.parametrize("payment_status", list(PaymentStatus))
async def test_order_with_a_live_payment_waits_for_its_end(
    deadlines: OrderDeadlines, memory: Memory, clock: FakeClock, shop: Shop, payment_status: PaymentStatus
) -> None:
    order = await shop.order(due_at=NOW)
    payment = await shop.payment(order)
    memory.state.payments[payment.id] = replace(payment, status=payment_status)

    await deadlines.enforce()

    dead = payment_status in {PaymentStatus.FAILED, PaymentStatus.CANCELED}
    assert after(memory, order).status == (OrderStatus.EXPIRED if dead else OrderStatus.PENDING)
    assert after(memory, order).due_at == (None if dead else clock.now() + PAYMENT_LOOK)


async def test_shipped_order_completes_some_time_after_its_last_shipment(
    deadlines: OrderDeadlines, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    order = await shop.order(shop.product, shop.other_product, due_at=NOW)
    shipments = [Shipment(order.id, seller.id, "DHL", "1", NOW) for seller in (shop.seller, shop.other_seller)]
    memory.state.shipments += [replace(shipments[0], created_at=NOW + timedelta(seconds=5)), shipments[1]]
    memory.state.orders[order.id] = replace(order, status=OrderStatus.SHIPPED)
    looks = []

    for at_s in (0, COMPLETES_AFTER_S + 4, COMPLETES_AFTER_S + 5):
        clock.time = NOW + timedelta(seconds=at_s)
        looks.append(await deadlines.enforce())
        assert (after(memory, order).status is OrderStatus.COMPLETED) == (at_s == COMPLETES_AFTER_S + 5)

    assert looks == [1, 0, 1]
    (told,) = memory.state.events
    assert (told.type, told.data["by"], told.data["reason"]) == (
        "order.completed",
        "system",
        "no objection in time",
    )


async def test_order_that_is_shipped_without_a_shipment_completes_some_time_after_its_last_step(
    shop: Shop,
) -> None:
    order = replace(await shop.order(), status=OrderStatus.SHIPPED, updated_at=NOW)
    lasts = timedelta(seconds=COMPLETES_AFTER_S)

    assert next_step(DueOrder(order, is_paying=False, shipments=()), NOW, lasts) == Step(due_at=NOW + lasts)


@pytest.mark.parametrize(
    ("status", "becomes"),
    [
        (status, OrderStatus.COMPLETED if status is OrderStatus.SHIPPED else status)
        for status in OrderStatus
        if status is not OrderStatus.PENDING
    ],
)
async def test_time_takes_the_steps_that_are_its_own(
    deadlines: OrderDeadlines,
    memory: Memory,
    clock: FakeClock,
    shop: Shop,
    status: OrderStatus,
    becomes: OrderStatus,
) -> None:
    order = await shop.order(due_at=NOW)
    memory.state.orders[order.id] = replace(order, status=status)
    memory.state.shipments.append(Shipment(order.id, shop.seller.id, "DHL", "1", NOW))
    clock.advance(COMPLETES_AFTER_S)

    await deadlines.enforce()

    assert after(memory, order).status is becomes
    assert after(memory, order).due_at is None
    assert [event.type for event in memory.state.events] == ["order.completed"] * (status is OrderStatus.SHIPPED)


async def test_one_run_is_bounded_and_the_next_goes_on(deadlines: OrderDeadlines, shop: Shop) -> None:
    for number in range(8):
        await shop.order(due_at=NOW, idempotency_key=f"key {number}")

    assert [await deadlines.enforce() for _ in range(3)] == [6, 2, 0]


async def test_order_that_the_database_refuses_is_left_alone_and_holds_nobody_up(
    deadlines: OrderDeadlines, memory: Memory, shop: Shop
) -> None:
    orders = [await shop.order(due_at=NOW, idempotency_key=f"key {number}") for number in range(4)]
    memory.state.refused_orders.add(orders[1].id)

    assert await deadlines.enforce() == 4

    assert [after(memory, order).status for order in orders] == [
        OrderStatus.EXPIRED, OrderStatus.PENDING, OrderStatus.EXPIRED, OrderStatus.EXPIRED
    ]  # fmt: skip
    assert after(memory, orders[1]).due_at == NOW + REFUSED_LOOK
