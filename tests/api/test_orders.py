"""The steps of an order as its people take them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from db.unit_of_work import Database
from domain.clock import SystemClock
from domain.identity.model import Role, User
from domain.orders.model import Order
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.service import SettlementService
from tests.api.operations import assert_problem
from tests.builders import Shop
from tests.domain.fakes import RecordingAnnouncer
from tests.stripe_answers import succeeded

TokenOf = Callable[[User | Role], dict[str, str]]
DHL = {"carrier": "DHL", "tracking_number": "1"}


@dataclass(frozen=True)
class Caller:
    """A user who takes steps of one order."""

    api: httpx.AsyncClient
    token: dict[str, str]

    async def step(self, order: Order, noun: str, body: dict[str, Any] | None = None) -> httpx.Response:
        content = {"json": body} if body is not None else {}
        return await self.api.post(f"/v1/orders/{order.id}/{noun}", headers=self.token, **content)

    async def status(self, order: Order) -> str:
        return str((await self.api.get(f"/v1/orders/{order.id}", headers=self.token)).json()["status"])

    async def ids(self, query: str) -> list[str]:
        answer = await self.api.get(f"/v1/orders{query}", headers=self.token)
        return [order["id"] for order in answer.json()["data"]]


@pytest.fixture
def buyer(api: httpx.AsyncClient, shop: Shop, token_of: TokenOf) -> Caller:
    return Caller(api, token_of(shop.buyer))


@pytest.fixture
def sellers(api: httpx.AsyncClient, shop: Shop, token_of: TokenOf) -> list[Caller]:
    return [Caller(api, token_of(seller)) for seller in (shop.seller, shop.other_seller)]


@pytest.fixture
async def paid(database: Database, shop: Shop) -> Order:
    """A paid order of two sellers."""
    order = await shop.order(shop.product, shop.other_product)
    payment = await shop.payment(order)
    settlement = SettlementService(database.begin, RecordingAnnouncer(), SystemClock(), SettlementPolicy())
    assert await settlement.settle([Outcome(payment.id, succeeded(payment))]) == [True]
    return order


async def test_order_goes_its_way_to_the_end(buyer: Caller, sellers: list[Caller], paid: Order) -> None:
    assert_problem(await buyer.step(paid, "completion"), 409, "illegal_transition")

    half = await sellers[0].step(paid, "shipments", DHL)
    whole = await sellers[1].step(paid, "shipments", {"carrier": "UPS", "tracking_number": "2"})
    completed = await buyer.step(paid, "completion")

    assert [answer.status_code for answer in (half, whole, completed)] == [201, 201, 200]
    assert [answer.json()["status"] for answer in (half, whole, completed)] == ["paid", "shipped", "completed"]
    assert [(sent["carrier"], sent["tracking_number"]) for sent in completed.json()["shipments"]] == [
        ("DHL", "1"),
        ("UPS", "2"),
    ]
    for who in (buyer, *sellers):
        assert (await who.api.get(f"/v1/orders/{paid.id}", headers=who.token)).json() == completed.json()


async def test_repeated_steps_are_answered_again(buyer: Caller, sellers: list[Caller], paid: Order) -> None:
    for seller in sellers:
        first, again = [await seller.step(paid, "shipments", DHL) for _ in range(2)]
        assert (again.status_code, again.json()) == (first.status_code, first.json())
    problem = assert_problem(
        await sellers[0].step(paid, "shipments", {**DHL, "tracking_number": "other"}), 409, "already_shipped"
    )
    first, again = [await buyer.step(paid, "completion") for _ in range(2)]

    assert problem["tracking_number"] == "1"
    assert (again.status_code, again.json()) == (first.status_code, first.json()) == (200, first.json())


async def test_pending_order_is_cancelled_and_its_stock_is_free(
    buyer: Caller, sellers: list[Caller], shop: Shop
) -> None:
    order = await shop.order()

    first, again = [await buyer.step(order, "cancellation") for _ in range(2)]

    assert (first.status_code, first.json()["status"], first.json()["expires_at"]) == (200, "cancelled", None)
    assert again.json() == first.json()
    product = (await buyer.api.get(f"/v1/products/{shop.product.id}", headers=sellers[0].token)).json()
    assert product["stock"] == shop.product.stock


async def test_order_that_is_being_paid_is_not_cancelled(buyer: Caller, shop: Shop) -> None:
    order = await shop.order()
    await shop.payment(order)

    problem = assert_problem(await buyer.step(order, "cancellation"), 409, "payment_in_progress")

    assert (problem["order_status"], problem["payment_status"]) == ("pending", "pending")
    assert await buyer.status(order) == "pending"


async def test_paid_order_is_not_cancelled(buyer: Caller, paid: Order) -> None:
    problem = assert_problem(await buyer.step(paid, "cancellation"), 409, "illegal_transition")

    assert problem["order_status"] == "paid"


async def test_unpaid_order_is_not_shipped(sellers: list[Caller], shop: Shop) -> None:
    problem = assert_problem(await sellers[0].step(await shop.order(), "shipments", DHL), 409)

    assert (problem["code"], problem["order_status"]) == ("illegal_transition", "pending")


async def test_cancelled_order_is_not_paid(buyer: Caller, shop: Shop) -> None:
    order = await shop.order()
    await buyer.step(order, "cancellation")
    body = {"order_id": str(order.id), "payment_method": "pm_card_visa"}

    answer = await buyer.api.post("/v1/payments", json=body, headers={**buyer.token, "Idempotency-Key": "key"})

    assert assert_problem(answer, 409, "order_not_payable")["order_status"] == "cancelled"


async def test_orders_of_one_state_are_listed(buyer: Caller, shop: Shop, paid: Order) -> None:
    pending, cancelled = await shop.order(), await shop.order()
    await buyer.step(cancelled, "cancellation")

    assert await buyer.ids("?status=pending") == [str(pending.id)]
    assert await buyer.ids("?status=paid&limit=1") == [str(paid.id)]
    assert await buyer.ids("?status=cancelled") == [str(cancelled.id)]
    assert await buyer.ids("?status=shipped") == []


@pytest.mark.parametrize("status", ["", "lost", "PAID", "%00", "paid&status=pending"])
async def test_state_that_is_none_is_refused(buyer: Caller, status: str) -> None:
    answer = await buyer.api.get(f"/v1/orders?status={status}", headers=buyer.token)

    assert_problem(answer, 422, "fields_invalid")


@pytest.mark.parametrize("field", ["carrier", "tracking_number"])
@pytest.mark.parametrize("text", ["", "x" * 101])
async def test_shipment_of_no_or_endless_words_is_refused(
    sellers: list[Caller], paid: Order, field: str, text: str
) -> None:
    assert_problem(await sellers[0].step(paid, "shipments", {**DHL, field: text}), 422, "fields_invalid")


@pytest.mark.parametrize("body", [None, {}, {"carrier": None}])
async def test_what_is_brought_by_hand_has_nothing_to_follow(
    sellers: list[Caller], paid: Order, body: dict[str, Any] | None
) -> None:
    first, again = [await sellers[0].step(paid, "shipments", body) for _ in range(2)]

    assert (first.status_code, again.json()) == (201, first.json())
    (sent,) = first.json()["shipments"]
    assert (sent["carrier"], sent["tracking_number"]) == (None, None)
    assert_problem(await sellers[0].step(paid, "shipments", DHL), 409, "already_shipped")


async def test_replayed_order_is_answered_as_it_is_now(
    buyer: Caller, sellers: list[Caller], shop: Shop, database: Database
) -> None:
    body = {"items": [{"product_id": str(shop.product.id), "quantity": 1}]}
    headers = {**buyer.token, "Idempotency-Key": "a key"}
    made = (await buyer.api.post("/v1/orders", json=body, headers=headers)).json()
    async with database.begin() as tx:
        order = (await tx.orders.lock([made["id"]])).popitem()[1]
    payment = await shop.payment(order)
    settlement = SettlementService(database.begin, RecordingAnnouncer(), SystemClock(), SettlementPolicy())
    await settlement.settle([Outcome(payment.id, succeeded(payment))])
    await sellers[0].step(order, "shipments", DHL)

    again = await buyer.api.post("/v1/orders", json=body, headers=headers)

    assert (again.status_code, again.json()["status"]) == (201, "shipped")
    assert [sent["carrier"] for sent in again.json()["shipments"]] == ["DHL"]
