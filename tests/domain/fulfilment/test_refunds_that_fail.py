"""An order of two sellers goes on without the one that is refunded, and then that refund fails."""

from dataclasses import replace

import pytest

from domain.errors import Conflict, IllegalTransition
from domain.fulfilment.deadlines import OrderDeadlines
from domain.fulfilment.service import OrderService, OrderView
from domain.ids import OrderId
from domain.ledger.postings import Part
from domain.orders.model import Order, OrderStatus
from domain.payments.model import Payment
from domain.refunds.model import Refund, RefundStatus
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from tests.builders import Shop, a_requested_refund, principal
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory
from tests.stripe_answers import refunded

COMPLETES_AFTER_S = 100


@pytest.fixture
def orders(memory: Memory, clock: FakeClock) -> OrderService:
    return OrderService(memory.begin, clock)


@pytest.fixture
def deadlines(memory: Memory, clock: FakeClock) -> OrderDeadlines:
    return OrderDeadlines(memory.begin, clock, completes_after_s=COMPLETES_AFTER_S)


@pytest.fixture
def settlement(memory: Memory, clock: FakeClock) -> RefundSettlement:
    return RefundSettlement(memory.begin, clock, SettlementPolicy())


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    """Of an order of both sellers."""
    return await captured(shop, await shop.order(shop.product, shop.other_product))


def order_of(memory: Memory, payment: Payment) -> Order:
    return memory.state.orders[OrderId(payment.order_id)]


async def asked_back(memory: Memory, shop: Shop, payment: Payment) -> Refund:
    """Store a refund of all of the other seller's part."""
    refund = a_requested_refund(payment, shop, 501, lines=(Part(2, shop.other_seller.id, 501, 13),))
    async with memory.begin() as tx:
        await tx.refunds.add([refund], publish_at=refund.created_at)
        await tx.commit()
    return refund


@pytest.fixture
async def refund(
    orders: OrderService, settlement: RefundSettlement, memory: Memory, shop: Shop, payment: Payment
) -> Refund:
    """The refund of the other seller's part, without whom the order is shipped."""
    refund = await asked_back(memory, shop, payment)
    await settlement.settle(refund.id, refunded(refund))
    view = await orders.ship(
        principal(shop.seller), order_of(memory, payment).id, carrier="DHL", tracking_number="1"
    )
    assert view.order.status is OrderStatus.SHIPPED
    return refund


async def fail(settlement: RefundSettlement, refund: Refund) -> None:
    assert await settlement.settle(refund.id, refunded(refund, RefundStatus.FAILED))


async def ship_the_rest(orders: OrderService, shop: Shop, order: Order) -> OrderView:
    return await orders.ship(principal(shop.other_seller), order.id, carrier="UPS", tracking_number="2")


@pytest.mark.parametrize("status", [OrderStatus.SHIPPED, OrderStatus.COMPLETED])
async def test_seller_ships_though_the_order_went_on_and_no_state_goes_back(
    orders: OrderService,
    settlement: RefundSettlement,
    memory: Memory,
    clock: FakeClock,
    shop: Shop,
    payment: Payment,
    refund: Refund,
    status: OrderStatus,
) -> None:
    if status is OrderStatus.COMPLETED:
        await orders.complete(principal(shop.buyer), order_of(memory, payment).id)
    await fail(settlement, refund)
    before = order_of(memory, payment)
    assert before.status is status
    told = len(memory.state.events)
    clock.advance(1)

    first, again = [await ship_the_rest(orders, shop, before) for _ in range(2)]

    assert first == again == await orders.get(principal(shop.buyer), before.id)
    due_at = clock.now() if status is OrderStatus.SHIPPED else before.due_at
    assert first.order == replace(before, due_at=due_at)
    assert [sent.carrier for sent in first.shipments] == ["DHL", "UPS"]
    assert [(event.type, event.data["by"]) for event in memory.state.events[told:]] == [
        ("shipment.created", str(shop.other_seller.id))
    ]


@pytest.mark.parametrize("then", ["ships", "is refunded"])
@pytest.mark.parametrize("by_itself", [False, True])
async def test_order_does_not_complete_before_that_seller_ships_or_is_refunded_again(
    orders: OrderService,
    deadlines: OrderDeadlines,
    settlement: RefundSettlement,
    memory: Memory,
    clock: FakeClock,
    shop: Shop,
    payment: Payment,
    refund: Refund,
    then: str,
    *,
    by_itself: bool,
) -> None:
    await fail(settlement, refund)
    order = order_of(memory, payment)
    clock.advance(COMPLETES_AFTER_S)
    assert await deadlines.enforce() == 1
    assert order_of(memory, payment) == replace(order, due_at=None)
    with pytest.raises(Conflict) as refusal:
        await orders.complete(principal(shop.buyer), order.id)
    assert refusal.value.code == "seller_yet_to_ship"

    if then == "ships":
        await ship_the_rest(orders, shop, order)
    else:
        second = await asked_back(memory, shop, payment)
        await settlement.settle(second.id, refunded(second))
    assert order_of(memory, payment) == replace(order, due_at=clock.now())
    if by_itself:
        looks = 0
        while await deadlines.enforce() and order_of(memory, payment).status is not OrderStatus.COMPLETED:
            looks += 1
            clock.advance(COMPLETES_AFTER_S)
        assert looks == (then == "ships")  # its own shipment makes the time for objections begin anew
    else:
        await orders.complete(principal(shop.buyer), order.id)

    assert order_of(memory, payment).status is OrderStatus.COMPLETED
    assert [event.type for event in memory.state.events].count("order.completed") == 1


async def test_seller_whose_refund_stands_ships_nothing(
    orders: OrderService,
    settlement: RefundSettlement,
    memory: Memory,
    shop: Shop,
    payment: Payment,
    refund: Refund,
) -> None:
    order = order_of(memory, payment)
    with pytest.raises(IllegalTransition):
        await ship_the_rest(orders, shop, order)

    await fail(settlement, refund)
    await asked_back(memory, shop, payment)
    with pytest.raises(Conflict) as refusal:
        await ship_the_rest(orders, shop, order)

    assert refusal.value.code == "nothing_to_ship"
    assert len(memory.state.shipments) == 1


@pytest.mark.parametrize(
    "status", sorted(set(OrderStatus) - {OrderStatus.PAID, OrderStatus.SHIPPED, OrderStatus.COMPLETED})
)
async def test_seller_does_not_ship_of_an_order_that_is_interrupted_or_over(
    orders: OrderService,
    settlement: RefundSettlement,
    memory: Memory,
    shop: Shop,
    payment: Payment,
    refund: Refund,
    status: OrderStatus,
) -> None:
    await fail(settlement, refund)
    order = replace(order_of(memory, payment), status=status)
    memory.state.orders[order.id] = order

    with pytest.raises(IllegalTransition) as refusal:
        await ship_the_rest(orders, shop, order)

    assert refusal.value.facts == {"order_status": str(status)}
