from dataclasses import replace
from datetime import timedelta

import pytest

from domain.orders.deadlines import DISPUTE_LOOK, PAYMENT_LOOK, REFUSED_LOOK, OrderDeadlines
from domain.orders.model import Order, OrderStatus
from domain.payments.model import PaymentStatus
from tests.builders import NOW, Shop
from tests.domain.fakes import FakeClock, Memory


@pytest.fixture
def deadlines(memory: Memory, clock: FakeClock) -> OrderDeadlines:
    return OrderDeadlines(memory.begin, clock, batch_size=2, batches=3)


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


@pytest.mark.parametrize(
    ("status", "becomes", "looked_at_again"),
    [
        (OrderStatus.PAID, OrderStatus.PAID, None),
        (OrderStatus.SHIPPED, OrderStatus.COMPLETED, None),
        (OrderStatus.DISPUTED, OrderStatus.DISPUTED, DISPUTE_LOOK),
        (OrderStatus.COMPLETED, OrderStatus.COMPLETED, None),
        (OrderStatus.CANCELLED, OrderStatus.CANCELLED, None),
        (OrderStatus.EXPIRED, OrderStatus.EXPIRED, None),
        (OrderStatus.REFUNDED, OrderStatus.REFUNDED, None),
    ],
)
async def test_time_takes_the_steps_that_are_its_own(
    deadlines: OrderDeadlines,
    memory: Memory,
    shop: Shop,
    status: OrderStatus,
    becomes: OrderStatus,
    looked_at_again: timedelta | None,
) -> None:
    order = await shop.order(due_at=NOW)
    memory.state.orders[order.id] = replace(order, status=status)

    await deadlines.enforce()

    assert after(memory, order).status is becomes
    assert after(memory, order).due_at == (looked_at_again and NOW + looked_at_again)
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
