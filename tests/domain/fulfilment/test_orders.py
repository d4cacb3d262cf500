"""Reading orders, and the steps that people take with them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from domain.errors import Conflict, Forbidden, IllegalTransition, NotFound
from domain.fulfilment.service import OrderService, OrderView
from domain.identity.model import Principal, Role, User
from domain.ids import OrderId, UserId, uuid7
from domain.ledger.postings import Part
from domain.orders.model import Order, OrderStatus, Shipment
from domain.pages import PageRequest
from domain.payments.model import DEAD, PaymentStatus
from domain.refunds.model import RefundStatus
from tests.builders import Shop, a_product, a_requested_refund, principal
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory

Step = Callable[[OrderService, Principal, OrderId], Awaitable[OrderView]]


async def ship(orders: OrderService, who: Principal, order_id: OrderId) -> OrderView:
    return await orders.ship(who, order_id, carrier="DHL", tracking_number="1")


async def complete(orders: OrderService, who: Principal, order_id: OrderId) -> OrderView:
    return await orders.complete(who, order_id)


async def cancel(orders: OrderService, who: Principal, order_id: OrderId) -> OrderView:
    return await orders.cancel(who, order_id)


# Each step of a person: its role, and between which states it leads.
STEPS: list[tuple[Step, Role, OrderStatus, OrderStatus]] = [
    (ship, Role.SELLER, OrderStatus.PAID, OrderStatus.SHIPPED),
    (complete, Role.BUYER, OrderStatus.SHIPPED, OrderStatus.COMPLETED),
    (cancel, Role.BUYER, OrderStatus.PENDING, OrderStatus.CANCELLED),
]
every_step = pytest.mark.parametrize(
    ("step", "role", "start", "end"), STEPS, ids=lambda part: getattr(part, "__name__", part)
)


@pytest.fixture
def orders(memory: Memory, clock: FakeClock) -> OrderService:
    return OrderService(memory.begin, clock)


def become(memory: Memory, order: Order, status: OrderStatus) -> Order:
    memory.state.orders[order.id] = replace(order, status=status)
    return memory.state.orders[order.id]


def takes(shop: Shop, role: Role) -> User:
    """Whose the step is."""
    return shop.buyer if role is Role.BUYER else shop.seller


async def test_other_peoples_order_is_not_there(orders: OrderService, shop: Shop) -> None:
    order = await shop.order()

    for who, order_id in ((shop.other_seller, order.id), (shop.buyer, OrderId(uuid7()))):
        with pytest.raises(NotFound):
            await orders.get(principal(who), order_id)
    assert (await orders.page(principal(shop.other_seller), PageRequest())).rows == []
    assert (await orders.page(principal(shop.seller), PageRequest())).rows == [OrderView(order, [])]


async def test_orders_of_one_state_are_listed(orders: OrderService, memory: Memory, shop: Shop) -> None:
    pending, paid = await shop.order(), become(memory, await shop.order(), OrderStatus.PAID)
    shipment = Shipment(paid.id, shop.seller.id, "DHL", "1", paid.created_at)
    memory.state.shipments.append(shipment)

    found = {
        status: list((await orders.page(principal(shop.buyer), PageRequest(), status)).rows)
        for status in (OrderStatus.PENDING, OrderStatus.PAID, OrderStatus.SHIPPED, None)
    }

    assert found == {
        OrderStatus.PENDING: [OrderView(pending, [])],
        OrderStatus.PAID: [OrderView(paid, [shipment])],
        OrderStatus.SHIPPED: [],
        None: [OrderView(paid, [shipment]), OrderView(pending, [])],
    }


@every_step
async def test_step_is_taken_once_and_told_once(
    orders: OrderService,
    memory: Memory,
    clock: FakeClock,
    shop: Shop,
    step: Step,
    role: Role,
    start: OrderStatus,
    end: OrderStatus,
) -> None:
    order = become(memory, await shop.order(), start)
    if start is OrderStatus.SHIPPED:
        memory.state.shipments.append(Shipment(order.id, shop.seller.id, "DHL", "1", order.created_at))
    who = principal(takes(shop, role))
    clock.advance(1)
    taken_at = clock.now()

    first = await step(orders, who, order.id)
    clock.advance(1)
    again = await step(orders, who, order.id)

    assert (first.order.status, first.order.updated_at) == (end, taken_at)
    assert first == again == await orders.get(who, order.id)
    told = [event for event in memory.state.events if event.type == f"order.{end}"]
    assert [(event.subject_id, event.data["by"]) for event in told] == [(order.id, str(who.user_id))]
    assert told[0].data["reason"]
    assert told[0].audience == tuple(sorted(order.parties))


@every_step
async def test_step_from_another_state_is_refused_and_names_the_state(
    orders: OrderService,
    memory: Memory,
    shop: Shop,
    step: Step,
    role: Role,
    start: OrderStatus,
    end: OrderStatus,
) -> None:
    """Also where the table of steps has it: a dispute that is won leads back to shipped, and no seller does."""
    order = await shop.order()

    for status in OrderStatus:
        become(memory, order, status)
        if status is start or (status is end and step is not ship):
            continue  # the step itself, or again; shipping again is told by the shipment, and here there is none
        with pytest.raises(IllegalTransition) as refusal:
            await step(orders, principal(takes(shop, role)), order.id)
        assert refusal.value.facts == {"order_status": str(status)}
        assert memory.state.orders[order.id].status is status
    assert memory.state.events == []


@every_step
async def test_step_is_for_its_role_and_its_own_orders(
    orders: OrderService,
    memory: Memory,
    shop: Shop,
    step: Step,
    role: Role,
    start: OrderStatus,
    end: OrderStatus,
) -> None:
    order = become(memory, await shop.order(), start)

    for other in set(Role) - {role}:
        with pytest.raises(Forbidden):
            await step(orders, Principal(takes(shop, role).id, other), order.id)
    strangers = shop.other_seller.id, UserId(uuid7())
    for user_id, order_id in [(user_id, order.id) for user_id in strangers] + [(shop.buyer.id, OrderId(uuid7()))]:
        with pytest.raises(NotFound) as refusal:
            await step(orders, Principal(user_id, role), order_id)
        assert refusal.value.code == "order_not_found"
    assert memory.state.orders[order.id] == order
    assert memory.state.events == []


async def test_order_of_two_sellers_is_shipped_when_both_have(
    orders: OrderService, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    order = become(memory, await shop.order(shop.product, shop.other_product), OrderStatus.PAID)

    half = await ship(orders, principal(shop.seller), order.id)
    clock.advance(1)
    whole = await orders.ship(principal(shop.other_seller), order.id, carrier="UPS", tracking_number="2")

    assert (half.order.status, whole.order.status) == (OrderStatus.PAID, OrderStatus.SHIPPED)
    assert [shipment.carrier for shipment in whole.shipments] == ["DHL", "UPS"]
    assert whole.order.due_at == clock.now()
    events = [(event.type, event.data["by"]) for event in memory.state.events]
    assert events == [
        ("shipment.created", str(shop.seller.id)),
        ("shipment.created", str(shop.other_seller.id)),
        ("order.shipped", str(shop.other_seller.id)),
    ]
    assert memory.state.events[0].data["tracking_number"] == "1"


@pytest.mark.parametrize(
    ("status", "amount_minor", "then"),
    [
        (RefundStatus.SUCCEEDED, 501, OrderStatus.SHIPPED),
        (RefundStatus.SUCCEEDED, 500, OrderStatus.PAID),
        (RefundStatus.PENDING, 501, OrderStatus.PAID),
        (RefundStatus.FAILED, 501, OrderStatus.PAID),
    ],
)
async def test_seller_who_is_left_nothing_need_not_ship(
    orders: OrderService,
    memory: Memory,
    shop: Shop,
    status: RefundStatus,
    amount_minor: int,
    then: OrderStatus,
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    part = Part(2, shop.other_seller.id, amount_minor, 13)
    refund = a_requested_refund(payment, shop, amount_minor, lines=(part,), status=status)
    memory.state.refunds[refund.id] = refund

    view = await ship(orders, principal(shop.seller), OrderId(payment.order_id))

    assert view.order.status is then


@pytest.mark.parametrize(
    ("back_minor", "then"),
    [((10, 4994, 4996), OrderStatus.PAID), ((8, 4996, 4996), OrderStatus.SHIPPED)],
)
async def test_seller_who_keeps_less_than_stripe_moves_need_not_ship(
    orders: OrderService, memory: Memory, shop: Shop, back_minor: tuple[int, ...], then: OrderStatus
) -> None:
    """Of its lines together: two of 6 and 4 fils can give 10 back, two of 4 fils nothing."""
    sellers = shop.seller, shop.other_seller, shop.other_seller
    products = [a_product(seller.id, price_minor=5000, currency="KWD") for seller in sellers]
    payment = await captured(shop, await shop.order(*products, currency="KWD"))
    parts = tuple(
        Part(line, seller.id, minor, 0)
        for line, (seller, minor) in enumerate(zip(sellers, back_minor, strict=True), 1)
    )
    refund = a_requested_refund(payment, shop, sum(back_minor), lines=parts, status=RefundStatus.SUCCEEDED)
    memory.state.refunds[refund.id] = refund

    view = await ship(orders, principal(shop.seller), OrderId(payment.order_id))

    assert view.order.status is then


async def test_seller_whose_whole_part_goes_back_ships_nothing(
    orders: OrderService, memory: Memory, shop: Shop
) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    refund = a_requested_refund(payment, shop, 501, lines=(Part(2, shop.other_seller.id, 501, 13),))
    memory.state.refunds[refund.id] = refund

    with pytest.raises(Conflict) as refusal:
        await ship(orders, principal(shop.other_seller), OrderId(payment.order_id))

    assert refusal.value.code == "nothing_to_ship"
    assert memory.state.shipments == []


@pytest.mark.parametrize("then", [OrderStatus.SHIPPED, OrderStatus.COMPLETED, OrderStatus.DISPUTED])
async def test_shipment_repeated_late_changes_nothing_and_another_one_is_refused(
    orders: OrderService, memory: Memory, shop: Shop, then: OrderStatus
) -> None:
    order = become(memory, await shop.order(), OrderStatus.PAID)
    seller = principal(shop.seller)
    await ship(orders, seller, order.id)
    moved = become(memory, order, then)

    assert (await ship(orders, seller, order.id)).order == moved
    with pytest.raises(Conflict) as refusal:
        await orders.ship(seller, order.id, carrier="DHL", tracking_number="2")

    assert (refusal.value.code, refusal.value.facts["tracking_number"]) == ("already_shipped", "1")
    assert len(memory.state.shipments) == 1


@pytest.mark.parametrize("payment_status", list(PaymentStatus))
async def test_order_with_a_live_payment_is_not_cancelled(
    orders: OrderService, memory: Memory, shop: Shop, payment_status: PaymentStatus
) -> None:
    order = await shop.order()
    payment = await shop.payment(order)
    memory.state.payments[payment.id] = replace(payment, status=payment_status)

    if payment_status in DEAD:
        assert (await orders.cancel(principal(shop.buyer), order.id)).order.status is OrderStatus.CANCELLED
        return
    with pytest.raises(Conflict) as refusal:
        await orders.cancel(principal(shop.buyer), order.id)

    assert refusal.value.code == "payment_in_progress"
    assert refusal.value.facts == {"order_status": "pending", "payment_status": str(payment_status)}
    assert memory.state.orders[order.id] == order


async def test_cancelled_order_gives_its_stock_back(orders: OrderService, memory: Memory, shop: Shop) -> None:
    order = await shop.order()

    for _ in range(2):
        await orders.cancel(principal(shop.buyer), order.id)

    assert memory.state.products[shop.product.id].stock == shop.product.stock
