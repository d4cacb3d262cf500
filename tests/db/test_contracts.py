"""One contract for the repositories in PostgreSQL and for the fakes in memory that the domain's tests stand on."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.catalog.model import Product
from domain.catalog.query import Place, ProductQuery, Sort
from domain.disputes.model import Dispute, DisputeFunds, DisputeStatus
from domain.errors import Refused
from domain.events import event
from domain.identity.model import Principal, Role
from domain.ids import (
    DisputeId,
    OrderId,
    PaymentId,
    ProductId,
    RefundId,
    UserId,
    uuid7,
)
from domain.ledger.model import CURRENCY_CONVERSION, STRIPE_BALANCE, Balance, Conversion, JournalKind
from domain.orders.model import Order, OrderStatus, Shipment, StockGone
from domain.pages import Page, PageRequest
from domain.payments.model import Capture, Payment, PaymentStatus
from domain.payments.ports import Work
from domain.refunds.model import RefundStatus
from domain.sellers.model import OnboardingStatus
from domain.settlement.model import (
    Arrival,
    Backlog,
    Change,
    ChargeReport,
    EventWindow,
    Returned,
    StripeEventStatus,
)
from tests.builders import (
    NOW,
    Begin,
    Shop,
    a_dispute,
    a_journal,
    a_line,
    a_payment,
    a_product,
    a_refund,
    a_requested_refund,
    a_seller_account,
    a_stripe_event,
    a_user,
    an_order,
    principal,
    unique,
)
from tests.captured import captured
from tests.paid_out import payouts_due, reversals_due

# Deliveries are leased and announced by their endpoints (test_delivery_contracts.py).
KINDS = [work for work in Work if work is not Work.DELIVERIES]
LATER = NOW + timedelta(seconds=60)


@pytest.fixture
async def shop(any_begin: Begin) -> Shop:
    return await Shop(any_begin).open()


@pytest.fixture
def finance() -> Principal:
    return Principal(UserId(uuid7()), Role.FINANCE)


async def read_all(read: Callable[[PageRequest], Any], limit: int) -> list[Any]:
    """Read a list page by page to its end."""
    rows: list[Any] = []
    request = PageRequest(limit)
    # Other tests leave rows behind, some of them thousands.
    for _ in range(20_000):
        page: Page[Any] = await read(request)
        rows += page.rows
        if page.next_after is None:
            return rows
        assert len(page.rows) == limit
        request = PageRequest(limit, page.next_after)
    raise AssertionError("the list does not end")


async def test_uncommitted_work_is_gone(any_begin: Begin, shop: Shop) -> None:
    order = an_order(buyer_id=shop.buyer.id)
    async with any_begin() as tx:
        await tx.events.append([event("order.placed", order.id, NOW, audience=order.parties)])

    async with any_begin() as tx:
        assert list(await tx.events.of_subject(order.id)) == []


async def test_user_is_found_by_address_and_the_address_is_taken_once(any_begin: Begin) -> None:
    user, namesake = a_user(Role.FINANCE), a_user(Role.BUYER)

    async with any_begin() as tx:
        assert await tx.users.add(user)
        assert not await tx.users.add(replace(namesake, email=user.email))
        assert await tx.users.by_email(user.email) == user
        assert await tx.users.by_email(namesake.email) is None


async def test_sellers_alone_have_rates(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        rates = await tx.users.seller_rates({shop.seller.id, shop.buyer.id, UserId(uuid7())})

    assert rates == {shop.seller.id: None}


async def test_sellers_rate_is_set_and_taken_back(any_begin: Begin, shop: Shop) -> None:
    ids = [shop.seller.id, shop.other_seller.id]
    async with any_begin() as tx:
        assert await tx.users.set_seller_rate(shop.seller.id, 0)
        assert await tx.users.seller_rates(ids) == dict(zip(ids, [0, None], strict=True))
        assert await tx.users.set_seller_rate(shop.seller.id, None)
        assert await tx.users.seller_rates(ids) == dict.fromkeys(ids)
        assert not await tx.users.set_seller_rate(shop.buyer.id, 100)


async def test_products_are_found_by_id(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        found = await tx.products.by_ids([shop.product.id, ProductId(uuid7()), shop.other_product.id])

    assert found == {product.id: product for product in (shop.product, shop.other_product)}


async def test_changed_product_comes_back_whole(any_begin: Begin, shop: Shop) -> None:
    changed = replace(
        shop.product,
        title="Lámpara de pie",
        stock=0,
        attributes={"colours": ["red", "blue"], "width_cm": 14, "weight_kg": 1.5, "new": True, "name": "\u20ac"},
        image_urls=("https://images.example.com/1.jpg", "https://images.example.com/2.jpg"),
        updated_at=LATER,
        withdrawn_at=LATER,
    )
    async with any_begin() as tx:
        assert await tx.products.lock(shop.product.id) == shop.product
        assert await tx.products.lock(ProductId(uuid7())) is None
        await tx.products.save(changed)
        await tx.commit()

    async with any_begin() as tx:
        found = await tx.products.by_ids([changed.id, shop.other_product.id])

    assert found == {changed.id: changed, shop.other_product.id: shop.other_product}
    assert json.dumps(found[changed.id].attributes, sort_keys=True) == json.dumps(
        changed.attributes, sort_keys=True
    )


SEARCHES: dict[str, tuple[dict[str, Any], Callable[[Product], bool]]] = {
    "all of a seller": ({}, lambda _: True),
    "in stock": ({"in_stock": True}, lambda product: product.stock > 0),
    "out of stock": ({"in_stock": False}, lambda product: product.stock == 0),
    "category": ({"category": "garden"}, lambda product: product.category == "garden"),
    "category of none": ({"category": "home%"}, lambda _: False),
    "currency": ({"currency": "EUR"}, lambda product: product.currency == "EUR"),
    "prices": (
        {"price_min_minor": 1002, "price_max_minor": 1005},
        lambda product: 1002 <= product.price_minor <= 1005,
    ),
    "lowest price": ({"price_min_minor": 1006}, lambda product: product.price_minor >= 1006),
    "highest price": ({"price_max_minor": 1001}, lambda product: product.price_minor <= 1001),
    "no price": ({"price_min_minor": 1005, "price_max_minor": 1004}, lambda _: False),
    "free": ({"price_max_minor": 0}, lambda _: False),
    "any price": ({"price_min_minor": 0, "price_max_minor": 2**53}, lambda _: True),
    "two things": (
        {"category": "garden", "in_stock": True},
        lambda product: product.category == "garden" and product.stock > 0,
    ),
    "words": ({"q": "lamp brass"}, lambda _: True),
    "words of nothing": ({"q": "brass cow"}, lambda _: False),
    "a word and a price": ({"q": "lamp", "price_min_minor": 1003}, lambda product: product.price_minor >= 1003),
}
ORDERS: dict[Sort, Callable[[Product, ProductQuery], Any]] = {
    Sort.RELEVANCE: lambda product, query: (
        -(query.q == "lamp brass" and product.title == "Brass lamp"),
        -product.id.int,
    ),
    Sort.NEWEST: lambda product, _: -product.id.int,
    Sort.PRICE_ASC: lambda product, _: (product.price_minor, product.id),
    Sort.PRICE_DESC: lambda product, _: (-product.price_minor, -product.id.int),
}


@pytest.mark.parametrize(("narrowed", "matches"), SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("sort", Sort)
async def test_search_finds_what_matches_in_the_order_that_is_asked_for(
    any_begin: Begin, shop: Shop, narrowed: dict[str, Any], matches: Callable[[Product], bool], sort: Sort
) -> None:
    products = [
        a_product(
            shop.seller.id,
            title="Brass lamp" if number % 3 else "Lamp",
            description="brass lamp",
            category="garden" if number % 2 else "home",
            currency="EUR" if number == 7 else "USD",
            price_minor=1000 + (number * 5) % 7,
            stock=number % 4,
        )
        for number in range(8)
    ]
    query = ProductQuery(**narrowed, seller_id=shop.seller.id, sort=sort)
    async with any_begin() as tx:
        for product in [*products, a_product(shop.other_seller.id, title="Brass lamp", description="brass lamp")]:
            await tx.products.add(product)
        await tx.products.save(replace(shop.product, withdrawn_at=NOW))

        slab = await tx.product_search.slab(query, Place(), limit=50, size=50, is_counting=True)
        walked = await tx.product_search.by_price(query, Place(), limit=50) if query.is_by_price else None

    expected = sorted(filter(matches, products), key=lambda product: ORDERS[query.order](product, query))
    assert [hit.product for hit in slab.hits] == expected
    assert slab.is_last
    assert slab.facets is not None
    assert slab.counted == slab.facets.counted == len(expected)
    assert sum(count.count for count in slab.facets.price) == len(expected)
    if query.q is None and walked is not None:
        assert ([hit.product for hit in walked[0]], walked[1]) == (expected, None)


async def test_order_comes_back_with_its_lines(any_begin: Begin, shop: Shop) -> None:
    order = await shop.order(shop.other_product, shop.product)

    async with any_begin() as tx:
        assert await tx.orders.by_key(shop.buyer.id, order.idempotency_key) == order
        assert await tx.orders.by_key(shop.seller.id, order.idempotency_key) is None
        assert await tx.orders.lock([order.id, OrderId(uuid7())]) == {order.id: order}
        assert not await tx.orders.add(replace(order, id=OrderId(uuid7())))


async def test_order_advances(any_begin: Begin, shop: Shop) -> None:
    order, other = await shop.order(), await shop.order()

    async with any_begin() as tx:
        await tx.orders.advance({order.id: OrderStatus.CANCELLED}, LATER)
        await tx.orders.advance({}, LATER)
        locked = await tx.orders.lock(sorted([order.id, other.id]))

    assert locked[order.id] == replace(order, status=OrderStatus.CANCELLED, updated_at=LATER)
    assert locked[other.id] == other


async def stock_of(begin: Begin, *products: Product) -> list[int]:
    async with begin() as tx:
        found = await tx.products.by_ids([product.id for product in products])
    return [found[product.id].stock for product in products]


async def test_order_takes_stock_and_gives_it_back_when_it_ends_unpaid(any_begin: Begin, shop: Shop) -> None:
    both = shop.product, shop.other_product
    before = await stock_of(any_begin, *both)
    orders = [await shop.order(*both, shop.product) for _ in range(3)]
    assert await stock_of(any_begin, *both) == [before[0] - 6, before[1] - 3]

    async with any_begin() as tx:
        await tx.orders.advance({orders[0].id: OrderStatus.CANCELLED, orders[1].id: OrderStatus.EXPIRED}, LATER)
        await tx.orders.advance({orders[0].id: OrderStatus.CANCELLED}, LATER)  # no step, and so nothing again
        await tx.commit()

    assert await stock_of(any_begin, *both) == [before[0] - 2, before[1] - 1]


async def test_order_beyond_the_stock_is_refused_and_takes_nothing(any_begin: Begin, shop: Shop) -> None:
    both = shop.product, shop.other_product
    before = await stock_of(any_begin, *both)
    lines = [a_line(product.seller_id, product_id=product.id) for product in both]
    order = an_order([lines[0], replace(lines[1], quantity=before[1] + 1)], buyer_id=shop.buyer.id)

    with pytest.raises(StockGone):
        async with any_begin() as tx:
            await tx.orders.add(order)

    async with any_begin() as tx:
        assert await tx.orders.by_key(order.buyer_id, order.idempotency_key) is None
    assert await stock_of(any_begin, *both) == before


async def test_due_orders_are_found_and_locked(any_begin: Begin, shop: Shop) -> None:
    never, later = await shop.order(), await shop.order(due_at=LATER)
    now, long_ago = await shop.order(due_at=NOW), await shop.order(due_at=NOW - timedelta(days=9))
    ours = {never.id, later.id, now.id, long_ago.id}

    async with any_begin() as tx:
        due = await tx.orders.due(NOW, limit=100_000)
        assert [order_id for order_id in due if order_id in ours] == [long_ago.id, now.id]
        assert await tx.orders.due(NOW - timedelta(days=8), limit=1) == [long_ago.id]
        assert await tx.orders.lock_due(sorted(ours), NOW) == sorted([now, long_ago], key=lambda order: order.id)
        await tx.orders.schedule({long_ago.id: None, now.id: LATER})
        assert await tx.orders.lock_due(sorted(ours), NOW) == []
        assert (await tx.orders.lock([now.id]))[now.id].due_at == LATER
        await tx.orders.schedule({})


async def paid(begin: Begin, order: Order, payment: Payment) -> Order:
    """Let an order be paid; the database believes it of a captured payment alone."""
    captured = replace(payment, status=PaymentStatus.SUCCEEDED, captured_minor=payment.amount_minor, fee_minor=0)
    async with begin() as tx:
        await tx.payment_work.save([Change(captured, None)])
        await tx.orders.advance({order.id: OrderStatus.PAID}, NOW)
        await tx.commit()
    return replace(order, status=OrderStatus.PAID, updated_at=NOW)


async def test_shipments_come_back_and_the_shipped_order_is_due(any_begin: Begin, shop: Shop) -> None:
    order = await shop.order(shop.product, shop.other_product, due_at=LATER)
    other = await shop.order()
    order = await paid(any_begin, order, await shop.payment(order))
    first = Shipment(order.id, shop.other_seller.id, "UPS", "2", NOW)
    second = Shipment(order.id, shop.seller.id, "DHL", "1", LATER)

    async with any_begin() as tx:
        assert (await tx.orders.lock([order.id]))[order.id].due_at == LATER
        await tx.shipments.add(second)
        await tx.shipments.add(first)
        assert await tx.shipments.of_orders([order.id, other.id]) == {order.id: [first, second], other.id: []}
        assert await tx.shipments.of_orders([]) == {}
        await tx.orders.advance({order.id: OrderStatus.SHIPPED}, NOW)
        assert (await tx.orders.lock([order.id]))[order.id].due_at == NOW


@pytest.mark.parametrize("wrong", ["not paid", "no line", "twice"])
async def test_shipment_that_cannot_be_is_refused(any_begin: Begin, shop: Shop, wrong: str) -> None:
    order = await shop.order()
    if wrong != "not paid":
        await paid(any_begin, order, await shop.payment(order))
    seller = shop.other_seller if wrong == "no line" else shop.seller
    shipment = Shipment(order.id, seller.id, "UPS", "2", NOW)

    async def add() -> None:
        async with any_begin() as tx:
            for _ in range(2):
                await tx.shipments.add(shipment)

    with pytest.raises(Refused):
        await add()


async def test_pages_of_orders_of_one_state(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    orders = [await shop.order() for _ in range(4)]
    async with any_begin() as tx:
        await tx.orders.advance({orders[1].id: OrderStatus.CANCELLED, orders[3].id: OrderStatus.CANCELLED}, NOW)
        for who in (principal(shop.buyer), principal(shop.seller), finance):
            rows = await read_all(lambda page, who=who: tx.orders.page(who, page, OrderStatus.CANCELLED), 1)
            assert [row.id for row in rows if row.id in {order.id for order in orders}] == [
                orders[3].id,
                orders[1].id,
            ]


async def test_live_payment_of_an_order_is_known_by_its_state(any_begin: Begin, shop: Shop) -> None:
    unpaid, paying, failed = [await shop.order() for _ in range(3)]
    await shop.payment(paying)
    dead = replace(await shop.payment(failed), status=PaymentStatus.FAILED, failure_code="expired_card")

    async with any_begin() as tx:
        await tx.payment_work.save([Change(dead, None)])
        found = await tx.orders.live_payments([unpaid.id, paying.id, failed.id])

    assert found == {paying.id: "pending"}


async def test_orders_are_visible_to_those_they_concern(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    order = await shop.order()
    admin = Principal(UserId(uuid7()), Role.ADMIN)
    stranger = Principal(UserId(uuid7()), Role.BUYER)

    async with any_begin() as tx:
        for who in (principal(shop.buyer), principal(shop.seller), finance, admin):
            assert await tx.orders.visible(who, order.id) == order
        for who in (principal(shop.other_seller), stranger):
            assert await tx.orders.visible(who, order.id) is None
        assert await tx.orders.visible(finance, OrderId(uuid7())) is None


async def test_pages_of_orders_are_complete_and_stable(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    mixed = [await shop.order(shop.product, shop.other_product) for _ in range(3)]
    single = [await shop.order() for _ in range(2)]
    newest_first = [*mixed, *single][::-1]

    async with any_begin() as tx:
        assert await read_all(lambda request: tx.orders.page(principal(shop.buyer), request), 2) == newest_first
        assert await read_all(lambda request: tx.orders.page(principal(shop.seller), request), 2) == newest_first
        assert await read_all(lambda r: tx.orders.page(principal(shop.other_seller), r), 1) == mixed[::-1]
        everything = await read_all(lambda request: tx.orders.page(finance, request), 100)
        first = await tx.orders.page(principal(shop.buyer), PageRequest(2))
    await shop.order()
    async with any_begin() as tx:
        second = await tx.orders.page(principal(shop.buyer), PageRequest(2, first.next_after))

    assert [order for order in everything if order in newest_first] == newest_first
    assert [*first.rows, *second.rows] == newest_first[:4]


async def test_payment_comes_back_as_it_was_added(any_begin: Begin, shop: Shop) -> None:
    payment = await shop.payment(await shop.order(), traceparent="00-1", request_id="request-1")
    unknown = PaymentId(uuid7())

    async with any_begin() as tx:
        assert await tx.payment_work.by_ids([payment.id, unknown]) == {payment.id: payment}
        assert await tx.payment_work.orders_of([payment.id, unknown]) == {payment.id: payment.order_id}
        key = (payment.payer_id, payment.idempotency_key)
        assert await tx.payments.by_keys([key, (payment.payer_id, "other")]) == {key: payment}


async def test_payment_concerns_its_payer_and_its_sellers(any_begin: Begin, shop: Shop) -> None:
    mixed = await shop.payment(await shop.order(shop.product, shop.other_product, shop.product))
    direct = await shop.payment()

    async with any_begin() as tx:
        parties = await tx.payment_work.parties_of([mixed.id, direct.id, PaymentId(uuid7())])

    assert {payment_id: sorted(concerned) for payment_id, concerned in parties.items()} == {
        mixed.id: sorted([shop.buyer.id, shop.seller.id, shop.other_seller.id]),
        direct.id: sorted([shop.buyer.id, shop.seller.id]),
    }


async def test_payments_that_collide_are_left_out(any_begin: Begin, shop: Shop) -> None:
    order = await shop.order()
    direct = {"payer_id": shop.buyer.id, "seller_id": shop.seller.id}
    first = a_payment(**direct, idempotency_key="b")
    same_key = a_payment(**direct, idempotency_key="b")
    alive, second_of_order = a_payment(order, idempotency_key="c"), a_payment(order, idempotency_key="d")

    async with any_begin() as tx:
        added = await tx.payments.add([second_of_order, alive, first, same_key], publish_at=NOW)
        again = await tx.payments.add([first], publish_at=NOW)
        nothing = await tx.payments.add([], publish_at=NOW)

    assert set(added) == {first.id, alive.id}
    assert (set(again), set(nothing)) == (set(), set())


async def test_payments_go_in_with_their_events_and_the_commission_of_their_seller(
    any_begin: Begin, shop: Shop
) -> None:
    first = a_payment(payer_id=shop.buyer.id, seller_id=shop.seller.id, commission_bps=300)
    of_nobody = a_payment(payer_id=shop.buyer.id, seller_id=shop.buyer.id)
    told = [event("payment.accepted", payment.id, NOW, audience=[shop.buyer.id]) for payment in (first, of_nobody)]

    async with any_begin() as tx:
        added = await tx.payments.add([first, of_nobody], publish_at=NOW, events=told)
        seen = [*await tx.events.of_subject(first.id), *await tx.events.of_subject(of_nobody.id)]

    assert added == {first.id: 300}
    assert seen == told[:1]


async def test_payments_are_visible_to_those_they_concern(
    any_begin: Begin, shop: Shop, finance: Principal
) -> None:
    of_order, direct = await shop.payment(await shop.order()), await shop.payment()
    stranger = Principal(UserId(uuid7()), Role.BUYER)
    for payment in (of_order, direct):
        asked = [
            (principal(shop.buyer), payment.id),
            (principal(shop.other_seller), payment.id),
            (principal(shop.seller), payment.id),
            (stranger, payment.id),
            (finance, payment.id),
            (finance, PaymentId(uuid7())),
        ]
        async with any_begin() as tx:
            assert await tx.payments.visible(asked) == [payment, None, payment, None, payment, None]


async def test_pages_of_payments_are_complete_and_stable(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    both = shop.product, shop.other_product
    mixed, direct = await shop.payment(await shop.order(*both)), await shop.payment()
    single, other = await shop.payment(await shop.order()), await shop.payment(await shop.order(*both))
    newest_first = [other, single, direct, mixed]

    async with any_begin() as tx:
        for limit in (1, 2, 3, 4, 5):
            pages = {
                who.id: await read_all(lambda request, who=who: tx.payments.page(principal(who), request), limit)
                for who in (shop.buyer, shop.seller, shop.other_seller)
            }
            assert pages[shop.buyer.id] == newest_first
            assert pages[shop.seller.id] == newest_first
            assert pages[shop.other_seller.id] == [other, mixed]
        everything = await read_all(lambda request: tx.payments.page(finance, request), 100)
        first = await tx.payments.page(principal(shop.seller), PageRequest(2))
    await shop.payment()
    async with any_begin() as tx:
        second = await tx.payments.page(principal(shop.seller), PageRequest(2, first.next_after))

    assert [payment for payment in everything if payment in newest_first] == newest_first
    assert [*first.rows, *second.rows] == newest_first
    assert second.next_after is None


async def test_wishes_about_a_payment_are_kept_and_make_it_due(any_begin: Begin, shop: Shop) -> None:
    captured_later = await shop.payment(capture=Capture.MANUAL, request_id="request-1")
    cancelled = await shop.payment(request_id="request-1")

    async with any_begin() as tx:
        for payment in (captured_later, cancelled):
            await tx.payment_work.save([Change(payment, None)])
        await tx.payments.ask_for_capture(
            captured_later.id, 1000, request_id="request-2", due_at=NOW, publish_at=LATER
        )
        await tx.payments.ask_for_cancellation(cancelled.id, due_at=NOW, publish_at=LATER)
        assert await tx.payments.lock(captured_later.id) == replace(
            captured_later, capture_minor=1000, request_id="request-2"
        )
        assert await tx.payments.lock(cancelled.id) == replace(cancelled, cancel_requested=True)
        assert len(await tx.payment_work.lease([captured_later.id, cancelled.id], NOW, LATER)) == 2
        await tx.payment_work.drop_captures([captured_later.id])
        assert (await tx.payments.lock(captured_later.id)).capture_minor is None


async def test_payment_has_one_wish(any_begin: Begin, shop: Shop) -> None:
    payment = await shop.payment(capture=Capture.MANUAL)

    async def ask_for_both() -> None:
        async with any_begin() as tx:
            await tx.payments.ask_for_capture(payment.id, 1000, due_at=NOW, publish_at=LATER)
            await tx.payments.ask_for_cancellation(payment.id, due_at=NOW, publish_at=LATER)

    with pytest.raises(Refused):
        await ask_for_both()


async def test_locked_payment_knows_whether_its_order_has_another(any_begin: Begin, shop: Shop) -> None:
    order = await shop.order()
    first = await shop.payment(order)
    direct = await shop.payment()
    failed = replace(first, status=PaymentStatus.FAILED, failure_code="expired_card")
    async with any_begin() as tx:
        await tx.payment_work.save([Change(failed, None)])
        await tx.commit()
    second = await shop.payment(order)

    async with any_begin() as tx:
        locked = await tx.payment_work.lock([direct.id, second.id, PaymentId(uuid7()), first.id])

    assert list(locked) == sorted([(failed, True), (second, False), (direct, False)], key=lambda row: row[0].id)


async def test_saved_change_is_read_again_and_due_when_it_says(any_begin: Begin, shop: Shop) -> None:
    payment = await shop.payment()
    changed = replace(
        payment,
        status=PaymentStatus.SUCCEEDED,
        failure_code="x",
        client_secret="s",
        stripe_intent_id="pi_1",
        stripe_charge_id="ch_1",
        captured_minor=1000,
        fee_minor=5,
        lookup_only=True,
        updated_at=LATER,
    )

    async with any_begin() as tx:
        await tx.payment_work.lease([payment.id], NOW, LATER)
        await tx.payment_work.save([Change(changed, due_at=LATER)])
        found = (await tx.payment_work.by_ids([payment.id]))[payment.id]
        assert await tx.payment_work.lease([payment.id], LATER - timedelta(seconds=1), LATER) == []
        (leased,) = await tx.payment_work.lease([payment.id], LATER, LATER)

    assert replace(found, attempts=0, first_charged_at=None) == changed
    assert (leased.status, leased.attempts, leased.first_charged_at) == (PaymentStatus.SUCCEEDED, 2, NOW)


@pytest.mark.parametrize(
    "changes",
    [{"captured_minor": 2000, "status": PaymentStatus.SUCCEEDED}, {"status": PaymentStatus.PROCESSING}],
    ids=["captured above the amount", "step backwards"],
)
async def test_change_against_the_rules_is_refused(any_begin: Begin, shop: Shop, changes: dict[str, Any]) -> None:
    payment = await shop.payment()

    async def save(*versions: Payment) -> None:
        async with any_begin() as tx:
            for version in versions:
                await tx.payment_work.save([Change(version, NOW)])

    with pytest.raises(Refused):
        await save(replace(payment, status=PaymentStatus.UNKNOWN), replace(payment, **changes))


async def test_journals_have_one_kind_and_source(any_begin: Begin) -> None:
    journal = a_journal()

    async def post(journals: Sequence[Any]) -> None:
        async with any_begin() as tx:
            await tx.ledger.post(journals)
            await tx.commit()

    await post([journal])
    with pytest.raises(Refused):
        await post([a_journal(), replace(a_journal(), source=journal.source)])

    async with any_begin() as tx:
        seller = journal.entries[1].account
        balances = {row.account: row.balance_minor for row in await tx.ledger.balances()}
    assert balances[seller] == -1949


async def test_events_of_a_subject_are_kept_in_order(any_begin: Begin) -> None:
    subject, other = uuid7(), uuid7()
    two, nobody = [UserId(uuid7()), UserId(uuid7())], ()
    facts = [
        event("payment.accepted", subject, NOW, audience=two, order_id=other, amount_minor=5, currency=None),
        event("payment.succeeded", subject, NOW, audience=nobody),
        event("order.paid", other, NOW, audience=two[:1]),
    ]

    async with any_begin() as tx:
        await tx.events.append(facts[:1])
        await tx.events.append(facts[1:])
        await tx.events.append([])
        assert list(await tx.events.of_subject(subject)) == facts[:2]
        assert list(await tx.events.of_subject(uuid7())) == []

    assert facts[0].data == {"order_id": str(other), "amount_minor": 5, "currency": None}


async def test_refund_comes_back_with_its_lines(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    refund = a_requested_refund(payment, shop, request_id="request-1")
    same_key = replace(a_requested_refund(payment, shop), idempotency_key=refund.idempotency_key)

    async with any_begin() as tx:
        assert set(await tx.refunds.add([refund, same_key], publish_at=LATER)) == {refund.id}
        assert set(await tx.refunds.add([], publish_at=LATER)) == set()
        assert await tx.refunds.by_key(shop.buyer.id, refund.idempotency_key) == refund
        assert await tx.refunds.by_key(shop.seller.id, refund.idempotency_key) is None
        assert await tx.refunds.of_payment(payment.id) == [refund]
        assert (await tx.payments.lock(payment.id)).refunded_minor == 1000


async def test_refunds_are_visible_to_those_they_concern(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    payment = await captured(shop, await shop.order(shop.product, shop.other_product))
    refund = a_requested_refund(payment, shop)

    async with any_begin() as tx:
        await tx.refunds.add([refund], publish_at=LATER)
        for who in (principal(shop.buyer), principal(shop.seller), finance):
            assert await tx.refunds.visible(who, refund.id) == refund
        for who in (principal(shop.other_seller), Principal(UserId(uuid7()), Role.BUYER)):
            assert await tx.refunds.visible(who, refund.id) is None
        assert await tx.refunds.visible(finance, RefundId(uuid7())) is None


async def test_refund_is_leased_found_and_saved(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop)
    refund, other = a_refund(payment, amount_minor=1000), a_refund(payment, amount_minor=999)

    async with any_begin() as tx:
        await tx.refunds.add([refund, other], publish_at=LATER)
        leased = replace(refund, attempts=1, first_sent_at=NOW)
        assert await tx.refund_work.lease([refund.id], NOW, LATER) == [leased]
        assert await tx.refund_work.lease([refund.id], NOW, LATER) == []
        assert await tx.refund_work.lock(refund.id) == leased
        done = replace(
            leased,
            status=RefundStatus.SUCCEEDED,
            stripe_refund_id=f"re_{refund.id}",
            is_booked=True,
            transaction_id="txn_1",
            failure_transaction_id="txn_2",
            key_number=1,
            first_sent_at=None,
            key_burnt_at=LATER,
            updated_at=LATER,
        )
        await tx.refund_work.save(done, due_at=None)
        assert await tx.refund_work.find(refund.id, None) == done
        assert await tx.refund_work.find(other.id, done.stripe_refund_id) == done
        assert await tx.refund_work.find(other.id, "re_of_nobody") == other
        assert await tx.refund_work.find(None, "re_of_nobody") is None
        assert await tx.refund_work.lease([refund.id], LATER, LATER) == []
        assert await tx.refund_work.returned(payment.id) == Returned(1000)
        assert await tx.refund_work.returned(PaymentId(uuid7())) == Returned(0)


async def test_dispute_is_saved_and_saved_again(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop, await shop.order())
    dispute = a_dispute(payment)
    taken = replace(
        dispute,
        status=DisputeStatus.UNDER_REVIEW,
        evidence_due_at=LATER,
        updated_at=LATER,
        funds=DisputeFunds.WITHDRAWN,
        withdrawn_minor=1999,
        withdrawal_id="txn_1",
        transaction_ids=("txn_1",),
    )

    async with any_begin() as tx:
        assert await tx.disputes.by_stripe_id(dispute.stripe_dispute_id) is None
        await tx.disputes.save(dispute)
        assert await tx.disputes.by_stripe_id(dispute.stripe_dispute_id) == dispute
        assert not await tx.disputes.holds_money_of(payment.id)
        assert await tx.refund_work.returned(payment.id) == Returned(is_disputed=True)
        await tx.disputes.save(taken)
        assert await tx.disputes.by_stripe_id(dispute.stripe_dispute_id) == taken
        assert await tx.disputes.holds_money_of(payment.id)
        await tx.disputes.save(replace(taken, status=DisputeStatus.LOST, funds=DisputeFunds.LOST))
        assert await tx.disputes.holds_money_of(payment.id)
        assert await tx.refund_work.returned(payment.id) == Returned(lost_minor=1999)
        await tx.disputes.save(replace(taken, status=DisputeStatus.WON, funds=DisputeFunds.REINSTATED))
        assert not await tx.disputes.holds_money_of(payment.id)


async def test_dispute_does_not_go_back(any_begin: Begin, shop: Shop) -> None:
    dispute = a_dispute(await captured(shop), status=DisputeStatus.WON)

    async def save_twice() -> None:
        async with any_begin() as tx:
            await tx.disputes.save(dispute)
            await tx.disputes.save(replace(dispute, status=DisputeStatus.UNDER_REVIEW))

    with pytest.raises(Refused):
        await save_twice()


async def test_disputes_are_visible_to_those_who_sell(any_begin: Begin, shop: Shop, finance: Principal) -> None:
    of_order = a_dispute(await captured(shop, await shop.order()))
    direct = a_dispute(await captured(shop), status=DisputeStatus.WON)
    newest_first = [direct, of_order]

    async with any_begin() as tx:
        for dispute in newest_first:
            await tx.disputes.save(dispute)
            for who in (principal(shop.seller), finance):
                assert await tx.disputes.visible(who, dispute.id) == dispute
            for who in (principal(shop.other_seller), principal(shop.buyer)):
                assert await tx.disputes.visible(who, dispute.id) is None
        assert await tx.disputes.visible(finance, DisputeId(uuid7())) is None

        async def read(who: Principal, status: DisputeStatus | None = None) -> list[Dispute]:
            return await read_all(lambda request: tx.disputes.page(who, request, status), 1)

        assert await read(principal(shop.seller)) == newest_first
        assert await read(principal(shop.seller), DisputeStatus.WON) == [direct]
        assert await read(principal(shop.other_seller)) == []
        assert [each for each in await read(finance) if each in newest_first] == newest_first


async def test_journals_are_found_by_what_caused_them_and_balances_by_account(any_begin: Begin) -> None:
    journal = a_journal()
    seller = journal.entries[1].account

    async with any_begin() as tx:
        await tx.ledger.post([journal, a_journal((STRIPE_BALANCE, 5), (seller, -5), currency="EUR")])
        assert await tx.ledger.by_source(journal.kind, journal.source) == journal
        assert await tx.ledger.by_source(JournalKind.REFUND, journal.source) is None
        balances = await tx.ledger.balances_of([seller])

    assert balances == [Balance(seller, "EUR", -5), Balance(seller, "USD", -1949)]


async def test_exchange_comes_back_with_its_rate(any_begin: Begin) -> None:
    conversion = Conversion("EUR", 1999, "USD", 2199, Decimal("1.10005"))
    charged = a_journal(
        (STRIPE_BALANCE, -1999),
        (CURRENCY_CONVERSION, 1999),
        kind=JournalKind.CONVERSION_CHARGED,
        currency="EUR",
        conversion=conversion,
    )

    async with any_begin() as tx:
        await tx.ledger.post([a_journal(), charged])
        assert await tx.ledger.by_source(charged.kind, charged.source) == charged


async def test_failed_refund_makes_room_for_another(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop)
    refund = a_refund(payment)
    failed = replace(refund, status=RefundStatus.FAILED, failure_code="lost_or_stolen_card")

    async with any_begin() as tx:
        await tx.refunds.add([refund], publish_at=LATER)
        assert (await tx.payments.lock(payment.id)).refunded_minor == 1999
        await tx.refund_work.save(failed, due_at=None)
        assert (await tx.payments.lock(payment.id)).refunded_minor == 0
        assert await tx.refunds.add([a_refund(payment)], publish_at=LATER)


async def test_refunds_above_what_was_captured_are_refused(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop)

    async def refund(*amounts: int) -> None:
        async with any_begin() as tx:
            for amount_minor in amounts:
                await tx.refunds.add([a_refund(payment, amount_minor=amount_minor)], publish_at=LATER)

    with pytest.raises(Refused):
        await refund(1000, 1000)
    with pytest.raises(Refused):
        await refund(2000)
    await refund(1000, 999)


async def test_refund_that_is_quarantined_is_due_no_more(any_begin: Begin, shop: Shop) -> None:
    refund = a_refund(await captured(shop))

    async with any_begin() as tx:
        await tx.refunds.add([refund], publish_at=LATER)
        await tx.refund_work.quarantine(refund.id, "another amount", NOW)
        assert await tx.refund_work.lease([refund.id], LATER, LATER) == []
        await tx.refund_work.save(refund, due_at=LATER)
        assert await tx.refund_work.lease([refund.id], LATER, LATER)


async def test_booked_charges_name_their_payments(any_begin: Begin, shop: Shop) -> None:
    payment = await captured(shop)

    async with any_begin() as tx:
        found = await tx.ledger.payments_of([payment.stripe_charge_id, "ch_of_nobody"])

    assert found == {payment.stripe_charge_id: payment.id}


@pytest.mark.parametrize("interruption", [OrderStatus.REFUNDED, OrderStatus.DISPUTED])
async def test_interrupted_order_remembers_where_it_was(
    any_begin: Begin, shop: Shop, interruption: OrderStatus
) -> None:
    payment = await captured(shop, await shop.order())
    assert payment.order_id is not None
    seen = []

    async with any_begin() as tx:
        await tx.shipments.add(Shipment(payment.order_id, shop.seller.id, "DHL", "1", LATER))
        for status in (OrderStatus.SHIPPED, OrderStatus.DISPUTED, interruption, OrderStatus.SHIPPED):
            await tx.orders.advance({payment.order_id: status}, LATER)
            order = (await tx.orders.lock([payment.order_id]))[payment.order_id]
            seen.append((order.status, order.resumes_as))

    assert seen == [
        (OrderStatus.SHIPPED, None),
        (OrderStatus.DISPUTED, OrderStatus.SHIPPED),
        (interruption, OrderStatus.SHIPPED),
        (OrderStatus.SHIPPED, None),
    ]


async def test_seller_has_one_account_which_is_leased_and_saved(any_begin: Begin, shop: Shop) -> None:
    account = a_seller_account(shop.seller.id, request_id="request-1")
    async with any_begin() as tx:
        assert await tx.seller_accounts.add(account, publish_at=LATER)
        assert not await tx.seller_accounts.add(account, publish_at=LATER)
        assert await tx.seller_accounts.by_sellers([shop.seller.id, shop.other_seller.id]) == {
            shop.seller.id: account
        }
        assert await tx.seller_accounts.lock(shop.other_seller.id) is None
        (leased,) = await tx.seller_accounts.lease([shop.seller.id, shop.other_seller.id], NOW, LATER)
        assert leased == replace(account, attempts=1, first_sent_at=NOW)
        assert await tx.seller_accounts.lease([shop.seller.id], NOW, LATER) == []

        opened = replace(
            leased,
            status=OnboardingStatus.OPEN,
            stripe_account_id=unique("acct"),
            link="https://stripe.test/setup",
            link_expires_at=LATER,
            attempts=0,
            first_sent_at=None,
        )
        await tx.seller_accounts.save(opened, due_at=LATER)
        assert await tx.seller_accounts.lock(shop.seller.id) == opened
        assert await tx.seller_accounts.lease([shop.seller.id], NOW, LATER) == []
        (again,) = await tx.seller_accounts.lease([shop.seller.id], LATER, LATER + timedelta(seconds=60))
        assert again == replace(opened, attempts=1)


async def test_account_that_is_asked_for_or_told_of_is_due_though_somebody_holds_it(
    any_begin: Begin, shop: Shop
) -> None:
    known = unique("acct")
    async with any_begin() as tx:

        async def wake(stripe_account_id: str, seller_id: UserId | None = None) -> UserId | None:
            return await tx.seller_accounts.wake(stripe_account_id, seller_id, due_at=LATER, publish_at=LATER)

        await tx.seller_accounts.add(a_seller_account(shop.seller.id), publish_at=NOW)
        (leased,) = await tx.seller_accounts.lease([shop.seller.id], NOW, LATER)
        assert await wake(known) is None
        assert await wake(known, shop.seller.id) == shop.seller.id
        woken = await tx.seller_accounts.lock(shop.seller.id)
        assert woken == replace(leased, wakes=1)

        await tx.seller_accounts.save(
            replace(woken, status=OnboardingStatus.OPEN, stripe_account_id=known), due_at=None
        )
        assert await wake(unique("acct"), shop.seller.id) is None
        assert await wake(known) == shop.seller.id
        asked = await tx.seller_accounts.lock(shop.seller.id)
        assert asked is not None
        wish = replace(asked, status=OnboardingStatus.PENDING, request_id="request-2")
        await tx.seller_accounts.ask(wish, due_at=NOW, publish_at=LATER)
        (again,) = await tx.seller_accounts.lease([shop.seller.id], NOW, LATER)
        assert (again.status, again.wakes, again.stripe_account_id) == (OnboardingStatus.PENDING, 3, known)
        assert again.request_id == "request-2"


@pytest.mark.parametrize(
    "changes",
    [
        {"status": OnboardingStatus.FAILED, "failure_code": "x"},
        {"status": OnboardingStatus.PENDING, "stripe_account_id": "acct_of_another"},
    ],
)
async def test_account_does_not_go_back(any_begin: Begin, shop: Shop, changes: dict[str, Any]) -> None:
    account = a_seller_account(shop.seller.id)
    opened = replace(account, status=OnboardingStatus.OPEN, stripe_account_id=unique("acct"))
    async with any_begin() as tx:
        await tx.seller_accounts.add(account, publish_at=LATER)
        await tx.seller_accounts.save(opened, due_at=None)
        await tx.commit()

    with pytest.raises(Refused):
        async with any_begin() as tx:
            await tx.seller_accounts.save(replace(opened, **changes), due_at=None)


async def test_who_is_no_seller_has_no_account(any_begin: Begin, shop: Shop) -> None:
    with pytest.raises(Refused):
        async with any_begin() as tx:
            await tx.seller_accounts.add(a_seller_account(shop.buyer.id), publish_at=LATER)


async def test_stripe_event_is_stored_once_leased_and_finished(any_begin: Begin) -> None:
    one, two = a_stripe_event(), a_stripe_event()

    async with any_begin() as tx:
        assert set(await tx.stripe_events.add([one, two], publish_at=LATER)) == {one.id, two.id}
        assert set(await tx.stripe_events.add([two], publish_at=LATER)) == set()
        leased = await tx.stripe_events.lease([one.id, two.id], NOW, LATER)
        assert sorted(leased, key=lambda row: row.id) == sorted(
            [replace(one, attempts=1), replace(two, attempts=1)], key=lambda row: row.id
        )
        await tx.stripe_events.finish({one.id: StripeEventStatus.IGNORED}, LATER)
        await tx.stripe_events.finish({}, LATER)
        assert [row.id for row in await tx.stripe_events.lease([one.id, two.id], LATER, LATER)] == [two.id]


@pytest.mark.parametrize(
    ("fee_minor", "object_id", "arrival"),
    [
        (88, "pi_booked", Arrival.TOLD),
        (88, "ch_booked", Arrival.TOLD),
        (None, "pi_booked", Arrival.NEWS),
        (88, "pi_another", Arrival.NEWS),
    ],
)
async def test_stripe_event_of_a_payment_booked_to_the_last_cent_is_done_with(
    any_begin: Begin, shop: Shop, fee_minor: int | None, object_id: str, arrival: Arrival
) -> None:
    payment = await shop.payment(await shop.order())
    event = a_stripe_event(report=ChargeReport(payment.id, object_id))
    async with any_begin() as tx:
        await tx.payment_work.save([Change(_captured(payment, fee_minor), None)])
        assert await tx.stripe_events.add([event], publish_at=LATER) == {event.id: arrival}
        leased = await tx.stripe_events.lease([event.id], NOW, LATER)
    assert [row.id for row in leased] == ([] if arrival is Arrival.TOLD else [event.id])


async def test_stripe_event_of_a_payment_that_a_worker_holds_is_done_with_when_that_is_booked(
    any_begin: Begin, shop: Shop
) -> None:
    payment, other = await shop.payment(await shop.order()), await shop.payment(await shop.order())
    of = {each.id: ChargeReport(each.id, "pi_booked") for each in (payment, other)}
    early, tried, unbooked, forged = (
        a_stripe_event(report=report)
        for report in (of[payment.id], of[payment.id], of[other.id], ChargeReport(payment.id, "pi_another"))
    )
    events = [early, tried, unbooked, forged]
    reports = {event.id: event.report for event in events if event.report is not None}
    async with any_begin() as tx:
        await tx.payment_work.lease([payment.id], NOW, LATER)
        arrivals = await tx.stripe_events.add(events, publish_at=LATER)
        assert await tx.stripe_events.finish_booked(reports, NOW) == set()
        await tx.payment_work.save([Change(_captured(payment, 88), None)])
        await tx.stripe_events.lease([tried.id], NOW, NOW)

        finished = [await tx.stripe_events.finish_booked(reports, NOW) for _ in range(2)]

        leased = await tx.stripe_events.lease([event.id for event in events], NOW, LATER)
    awaited = Arrival.AWAITED
    assert arrivals == {early.id: awaited, tried.id: awaited, unbooked.id: Arrival.NEWS, forged.id: awaited}
    assert finished == [{early.id}, set()]
    assert {row.id for row in leased} == {tried.id, unbooked.id, forged.id}


def _captured(payment: Payment, fee_minor: int | None) -> Payment:
    return replace(
        payment,
        status=PaymentStatus.SUCCEEDED,
        captured_minor=payment.amount_minor,
        fee_minor=fee_minor,
        stripe_intent_id="pi_booked",
        stripe_charge_id="ch_booked",
    )


LONG_AGO = NOW - timedelta(days=4_000)


async def test_newest_untried_stripe_events_are_leased_first(any_begin: Begin) -> None:
    future = NOW + timedelta(days=4_000)
    events = [a_stripe_event(received_at=future + timedelta(seconds=age_s)) for age_s in (1, 3, 0, 2)]
    when = future + timedelta(seconds=10)
    async with any_begin() as tx:
        await tx.stripe_events.add(events, publish_at=when)
        await tx.stripe_events.lease([events[1].id], when, when)

        leased = [await tx.stripe_events.lease_newest(2, when, when + timedelta(seconds=60)) for _ in range(2)]

    assert [{event.id for event in each} & {event.id for event in events} for each in leased] == [
        {events[3].id, events[0].id}, {events[2].id}
    ]  # fmt: skip
    assert {event.attempts for event in leased[0]} == {1}


async def test_handled_stripe_events_are_pruned_by_age_but_none_in_quarantine(any_begin: Begin) -> None:
    waits, kept, young, old = (a_stripe_event() for _ in range(4))
    async with any_begin() as tx:
        await tx.stripe_events.add([waits, kept, young, old], publish_at=LATER)
        await tx.stripe_events.finish({old.id: StripeEventStatus.PROCESSED}, LONG_AGO)
        await tx.stripe_events.finish({kept.id: StripeEventStatus.QUARANTINED}, LONG_AGO)
        await tx.stripe_events.finish({young.id: StripeEventStatus.IGNORED}, LONG_AGO + timedelta(seconds=2))

        before = LONG_AGO + timedelta(seconds=1)
        assert [await tx.stripe_events.prune(before, limit=10) for _ in range(2)] == [1, 0]
        ids = [waits.id, kept.id, young.id, old.id]
        assert set(await tx.stripe_events.missing(ids)) == {old.id}


async def test_handled_stripe_events_of_a_window_become_due_again_once(any_begin: Begin) -> None:
    at = [LONG_AGO + timedelta(seconds=seconds) for seconds in range(6)]
    kinds = ("charge.updated", "charge.refunded", "charge_updated", "charge.updated", "charge.updated")
    events = [a_stripe_event(kind, received_at=at[number]) for number, kind in enumerate(kinds)]
    window = EventWindow(at[0], at[4], "charge.*")
    async with any_begin() as tx:
        await tx.stripe_events.add(events, publish_at=LATER)
        await tx.stripe_events.lease([event.id for event in events], NOW, LATER)
        done = {event.id: StripeEventStatus.PROCESSED for event in events if event is not events[3]}
        await tx.stripe_events.finish(done, at[5])
        assert await tx.stripe_events.count(window, handled_since=at[0]) == {"processed": 2, "received": 1}
        assert await tx.stripe_events.count(window, handled_since=LATER) == {"received": 1}

        async def again(limit: int) -> int:
            return await tx.stripe_events.again(window, handled_before=LATER, now=NOW, limit=limit)

        assert [await again(1), await again(10), await again(10)] == [1, 1, 0]

        assert await tx.stripe_events.count(window, handled_since=at[0]) == {"received": 3}
        leased = await tx.stripe_events.lease([event.id for event in events], NOW, LATER)
        assert {(event.id, event.attempts) for event in leased} == {(events[0].id, 1), (events[1].id, 1)}
        await tx.stripe_events.finish({events[0].id: StripeEventStatus.PROCESSED}, LATER)
        assert await again(10) == 0
        exact = EventWindow(at[0], at[5], "charge.updated")
        assert await tx.stripe_events.count(exact, handled_since=LATER) == {"processed": 1, "received": 1}


async def test_due_rows_are_claimed_once_a_while(any_begin: Begin, shop: Shop) -> None:
    old, new = await shop.payment(created_at=NOW - timedelta(seconds=100)), await shop.payment()
    ours = [old.id, new.id]

    async def claim(at_s: float) -> list[Any]:
        now = NOW + timedelta(seconds=at_s)
        async with any_begin() as tx:
            claimed = await tx.due_work.claim(Work.CHARGES, now, republish_after_s=30, limit=100_000)
            await tx.commit()
        return [row for row in claimed if row in ours]

    # The old one waits for 200 s then, twice its age; the new one for 30 s and later for 60 s.
    assert [await claim(at_s) for at_s in (0, 29, 30, 89, 90, 199, 200)] == [
        ours, [], [new.id], [], [new.id], [], [old.id]
    ]  # fmt: skip


@pytest.mark.parametrize("work", KINDS)
async def test_claimed_rows_can_be_given_back_unless_somebody_holds_them(
    any_begin: Begin, shop: Shop, work: Work
) -> None:
    async def claim(after_s: float) -> set[Any]:
        now = NOW + timedelta(seconds=after_s)
        claimed = await tx.due_work.claim(work, now, republish_after_s=30, limit=100_000)
        return {free, held} & set(claimed)

    free, held, absent = await _rows(any_begin, shop, work)
    async with any_begin() as tx:
        await _lease(tx, work, [held], NOW + timedelta(seconds=900))
        assert await claim(600) == {free}
        for after_s in (630, 640):
            at = NOW + timedelta(seconds=after_s)
            await tx.due_work.give_back(work, [free, held, absent], at)

        assert await claim(629) == set()
        assert await claim(630) == {free}


@pytest.mark.parametrize("work", KINDS)
async def test_backlog_counts_what_is_due_and_that_nobody_holds(any_begin: Begin, shop: Shop, work: Work) -> None:
    async def backlog(at: datetime) -> Backlog:
        return next(each for each in await tx.due_work.backlogs(at) if each.work is work)

    async with any_begin() as tx:
        before = await backlog(NOW)
    _, held, _ = await _rows(any_begin, shop, work)
    async with any_begin() as tx:
        both = await backlog(NOW)
        await _lease(tx, work, [held], NOW + timedelta(seconds=60))
        one = await backlog(NOW)
        assert (both.due - before.due, one.due - before.due) == (2, 1)
        assert one.oldest_at is not None
        assert one.oldest_at <= NOW
        assert (await backlog(NOW + timedelta(seconds=60))).due >= both.due


@pytest.mark.parametrize("work", KINDS)
async def test_due_rows_can_be_put_back_unless_somebody_holds_them(
    any_begin: Begin, shop: Shop, work: Work
) -> None:
    free, held, absent = await _rows(any_begin, shop, work)
    until = NOW + timedelta(seconds=60)
    async with any_begin() as tx:
        assert await tx.due_work.tried(work, [free, held, absent]) == set()
        await _lease(tx, work, [held], until)
        assert await tx.due_work.tried(work, [free, held, absent]) == {held}

        later = {free: NOW + timedelta(seconds=90), held: NOW + timedelta(seconds=120), absent: NOW}
        await tx.due_work.postpone(work, later, NOW)
        await tx.due_work.postpone(work, {}, NOW)

        assert await _lease(tx, work, [free, held], NOW + timedelta(seconds=89)) == [held]
        claimed = await tx.due_work.claim(work, NOW + timedelta(seconds=90), republish_after_s=30, limit=100_000)
        assert free in claimed


async def _rows(begin: Begin, shop: Shop, work: Work) -> list[Any]:
    """Store two rows that are due; return their ids, and that of a row that is not there."""
    if work is Work.CHARGES:
        return [*[(await shop.payment()).id for _ in range(2)], uuid7()]
    if work is Work.PAYOUTS:
        return [*await payouts_due(shop, 2), uuid7()]
    if work is Work.REVERSALS:
        return [*await reversals_due(shop, 2), uuid7()]
    refunds = [a_refund(await captured(shop)) for _ in range(2)]
    async with begin() as tx:
        if work is Work.REFUNDS:
            await tx.refunds.add(refunds, publish_at=LATER)
            ids = [*(refund.id for refund in refunds), uuid7()]
        elif work is Work.ONBOARDINGS:
            ids = [shop.seller.id, shop.other_seller.id, uuid7()]
            for seller_id in ids[:2]:
                await tx.seller_accounts.add(a_seller_account(seller_id), publish_at=LATER)
        else:
            ids = [
                *await tx.stripe_events.add([a_stripe_event(), a_stripe_event()], publish_at=LATER),
                "evt_absent",
            ]
        await tx.commit()
    return ids


async def _lease(tx: Any, work: Work, ids: Sequence[Any], now: datetime) -> list[Any]:
    repository = {
        Work.CHARGES: tx.payment_work,
        Work.REFUNDS: tx.refund_work,
        Work.STRIPE_EVENTS: tx.stripe_events,
        Work.ONBOARDINGS: tx.seller_accounts,
        Work.PAYOUTS: tx.payout_work,
        Work.REVERSALS: tx.reversal_work,
    }[work]
    key = "seller_id" if work is Work.ONBOARDINGS else "id"
    return [getattr(row, key) for row in await repository.lease(ids, now, now)]
