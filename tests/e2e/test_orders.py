"""Orders on the whole stack: from the cart to the end, and the ends that time makes."""

import asyncio
from collections import Counter

import httpx
import psycopg
import pytest

from tests.e2e.market import Caller, Json, Market, Sandbox, new_key
from tests.eventually import eventually

PARCEL = {"carrier": "Parcel Post", "tracking_number": "PP-1"}


@pytest.fixture
async def scarce(market: Market, seller: Caller) -> Json:
    """A product of ten pieces."""
    return await market.product(seller, stock=10)


async def order_becomes(market: Market, buyer: Caller, order: Json, status: str) -> None:
    async def look() -> bool:
        assert await market.order_status(buyer, order) == status
        return True

    await eventually(look)


async def run_out(market: Market, order: Json) -> None:
    """Let the time of a pending order be over."""
    async with await psycopg.AsyncConnection.connect(market.info.database_url) as connection:
        await connection.execute("UPDATE orders SET due_at = now() WHERE id = %s", (order["id"],))


async def paid_order(market: Market, buyer: Caller, *products: Json) -> Json:
    order = await market.order(buyer, *products)
    await market.become(buyer, await market.pay(buyer, order), "succeeded")
    return order


async def test_cart_becomes_an_order_that_goes_all_the_way(
    market: Market, buyer: Caller, seller: Caller, scarce: Json
) -> None:
    put = await buyer.put(f"/v1/cart/items/{scarce['id']}", {"quantity": 3})
    assert (put.status_code, len(put.json()["items"])) == (200, 1)
    key = new_key()

    order = (await buyer.post("/v1/orders", {}, key=key)).json()
    await market.become(buyer, await market.pay(buyer, order), "succeeded")
    shipped = await seller.post(f"/v1/orders/{order['id']}/shipments", PARCEL)
    completed = await buyer.post(f"/v1/orders/{order['id']}/completion", None)

    assert order["amount_minor"] == 3 * 1999
    assert (shipped.status_code, shipped.json()["status"]) == (201, "shipped")
    assert (completed.status_code, completed.json()["status"]) == (200, "completed")
    again = await buyer.post("/v1/orders", {}, key=key)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (completed.json(), "true")
    assert (await buyer.get("/v1/cart")).json() == {"items": []}
    assert await market.stock(seller, scarce) == 7


async def test_200_requests_race_for_10_pieces(
    market: Market, buyer: Caller, seller: Caller, scarce: Json
) -> None:
    """Over several processes of the API; who waits for the product too long is told to ask again, and does."""
    body = {"items": [{"product_id": scarce["id"], "quantity": 1}]}

    async def order() -> str:
        key = new_key()
        for _ in range(60):
            answer = await buyer.post("/v1/orders", body, key=key)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(float(answer.headers["Retry-After"]))
        return str(answer.json().get("code", "ordered"))

    codes = Counter(await asyncio.gather(*(order() for _ in range(200))))
    assert codes == {"ordered": 10, "insufficient_stock": 190}
    assert await market.stock(seller, scarce) == 0


async def test_unpaid_order_expires_and_a_late_success_is_refunded(
    market: Market, sandbox: Sandbox, buyer: Caller, seller: Caller, scarce: Json
) -> None:
    order = await market.order(buyer, scarce)
    lost = await market.given_up(buyer, order)
    assert await market.stock(seller, scarce) == 9

    await run_out(market, order)
    await order_becomes(market, buyer, order, "expired")
    assert await market.stock(seller, scarce) == 10
    assert (await market.ask_to_pay(buyer, order)).json()["order_status"] == "expired"
    await sandbox.charge_behind_our_back(lost)

    await market.booked(lost, "unapplied_charge", "stripe_fee", "unapplied_refund")
    assert await market.order_status(buyer, order) == "expired"
    assert await market.stock(seller, scarce) == 10


async def test_order_that_is_being_paid_neither_expires_nor_is_cancelled(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    payment = await market.pay(buyer, order, payment_method="pm_card_authenticationRequired")
    await market.become(buyer, payment, "requires_action")

    await run_out(market, order)

    async def is_looked_at_later() -> bool:
        found = (await buyer.get(f"/v1/orders/{order['id']}")).json()
        assert found["expires_at"] > found["created_at"]
        return bool(found["status"] == "pending" and await due_later(market, order))

    await eventually(is_looked_at_later)
    refused = await buyer.post(f"/v1/orders/{order['id']}/cancellation", None)
    assert (refused.status_code, refused.json()["payment_status"]) == (409, "requires_action")
    await sandbox.authenticate(payment, succeed=True)
    await market.become(buyer, payment, "succeeded")
    assert await market.order_status(buyer, order) == "paid"


async def due_later(market: Market, order: Json) -> bool:
    async with await psycopg.AsyncConnection.connect(market.info.database_url) as connection:
        found = await connection.execute("SELECT due_at > now() FROM orders WHERE id = %s", (order["id"],))
        row = await found.fetchone()
    return bool(row and row[0])


async def test_shipped_order_completes_by_itself(
    market: Market, buyer: Caller, seller: Caller, product: Json
) -> None:
    order = await paid_order(market, buyer, product)

    shipped = await seller.post(f"/v1/orders/{order['id']}/shipments", PARCEL)

    assert shipped.json()["status"] == "shipped"
    await order_becomes(market, buyer, order, "completed")


async def test_order_of_two_sellers_is_shipped_when_both_have(
    market: Market, buyer: Caller, seller: Caller, product: Json
) -> None:
    other = await market.register("seller")
    order = await paid_order(market, buyer, product, await market.product(other))
    path = f"/v1/orders/{order['id']}/shipments"

    seen = [(await caller.post(path, PARCEL)).json()["status"] for caller in (seller, seller, other)]

    assert seen == ["paid", "paid", "shipped"]


async def test_cancelled_order_frees_its_stock(
    market: Market, buyer: Caller, seller: Caller, scarce: Json
) -> None:
    order = await market.order(buyer, scarce)
    path = f"/v1/orders/{order['id']}/cancellation"

    answers = [await buyer.post(path, None) for _ in range(2)]

    assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "cancelled")] * 2
    assert await market.stock(seller, scarce) == 10
    assert (await market.ask_to_pay(buyer, order)).json()["code"] == "order_not_payable"
