"""The cart and its checkout as clients see them."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from db.unit_of_work import Database
from domain.identity.model import Role, User
from tests.api.conftest import Open
from tests.api.operations import assert_problem
from tests.builders import Shop, a_product

TokenOf = Callable[[User | Role], dict[str, str]]


@dataclass(frozen=True)
class Client:
    """A buyer."""

    api: httpx.AsyncClient
    token: dict[str, str]

    async def put(self, product_id: object, quantity: int) -> httpx.Response:
        path = f"/v1/cart/items/{product_id}"
        return await self.api.put(path, json={"quantity": quantity}, headers=self.token)

    async def items(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await self.api.get("/v1/cart", headers=self.token)).json()["items"]
        return items

    async def check_out(self, key: str | None = None, **parts: Any) -> httpx.Response:
        headers = {**self.token, "Idempotency-Key": key or uuid4().hex}
        return await self.api.post("/v1/orders", headers=headers, **(parts or {"json": {}}))


@pytest.fixture
def buyer(api: httpx.AsyncClient, shop: Shop, token_of: TokenOf) -> Client:
    return Client(api, token_of(shop.buyer))


@pytest.fixture
async def without_redis(open_app: Open, closed_port: int, shop: Shop, token_of: TokenOf) -> Client:
    api, _ = await open_app(redis_url=f"redis://127.0.0.1:{closed_port}")
    return Client(api, token_of(shop.buyer))


async def test_cart_is_filled_changed_and_emptied(buyer: Client, shop: Shop) -> None:
    assert await buyer.items() == []

    first = await buyer.put(shop.product.id, 1)
    both = await buyer.put(shop.other_product.id, 2)
    changed = await buyer.put(shop.product.id, 3)

    assert [answer.status_code for answer in (first, both, changed)] == [200, 200, 200]
    assert changed.json()["items"] == await buyer.items()
    assert [(item["product_id"], item["quantity"], item["price_minor"]) for item in await buyer.items()] == [
        (str(shop.other_product.id), 2, 501),
        (str(shop.product.id), 3, 1999),
    ]
    for _ in range(2):
        gone = await buyer.api.delete(f"/v1/cart/items/{shop.product.id}", headers=buyer.token)
        assert (gone.status_code, gone.content) == (204, b"")
    assert [item["quantity"] for item in await buyer.items()] == [2]
    emptied = await buyer.api.delete("/v1/cart", headers=buyer.token)
    assert (emptied.status_code, await buyer.items()) == (204, [])


async def test_product_of_nobody_is_not_put_in(buyer: Client) -> None:
    assert_problem(await buyer.put(uuid4(), 1), 404, "product_not_found")


@pytest.mark.parametrize("body", [{"json": {}}, {"content": b""}], ids=["empty object", "no body"])
async def test_cart_is_ordered_and_empty_then(buyer: Client, shop: Shop, body: dict[str, Any]) -> None:
    await buyer.put(shop.product.id, 2)
    await buyer.put(shop.other_product.id, 1)

    made, again = [await buyer.check_out("key", **body) for _ in range(2)]

    assert (made.status_code, made.json()["amount_minor"]) == (201, 2 * 1999 + 501)
    assert await buyer.items() == []
    assert (again.status_code, again.headers["Location"]) == (201, made.headers["Location"])
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (made.json(), "true")


async def test_cart_that_several_order_at_once_is_ordered_once(buyer: Client, shop: Shop) -> None:
    """As of two windows, or of a button that is pressed twice; each has a key of its own."""
    await buyer.put(shop.product.id, 1)

    answers = await asyncio.gather(*(buyer.check_out() for _ in range(8)))

    codes = Counter(answer.json().get("code", "ordered") for answer in answers)
    assert codes["ordered"] == 1
    assert codes.keys() <= {"ordered", "checkout_in_progress", "cart_empty"}
    assert await buyer.items() == []


async def test_empty_cart_is_a_conflict(buyer: Client) -> None:
    assert_problem(await buyer.check_out(), 409, "cart_empty")


@pytest.mark.parametrize("items", [[], None, {}])
async def test_items_that_are_none_do_not_mean_the_cart(buyer: Client, shop: Shop, items: object) -> None:
    await buyer.put(shop.product.id, 1)

    assert_problem(await buyer.check_out(json={"items": items}), 422, "fields_invalid")
    assert len(await buyer.items()) == 1


async def test_body_without_its_media_type_is_not_left_out(buyer: Client, shop: Shop) -> None:
    await buyer.put(shop.product.id, 1)

    assert_problem(await buyer.check_out(content=b"{}"), 415, "media_type_unsupported")


async def test_changed_price_is_told_and_accepted(
    buyer: Client, database: Database, shop: Shop, token_of: TokenOf
) -> None:
    product = a_product(shop.seller.id)
    async with database.begin() as tx:
        await tx.products.add(product)
        await tx.commit()
    await buyer.put(product.id, 1)
    changes = {"json": {"price_minor": 2499}, "headers": token_of(shop.seller)}
    assert (await buyer.api.patch(f"/v1/products/{product.id}", **changes)).status_code == 200

    problem = assert_problem(await buyer.check_out("key"), 409, "prices_changed")

    assert problem["changes"] == [
        {
            "product_id": str(product.id),
            "seen": {"price_minor": 1999, "currency": "USD"},
            "now": {"price_minor": 2499, "currency": "USD"},
        }
    ]
    assert "again" in problem["detail"]
    await buyer.put(product.id, 1)
    made = await buyer.check_out("key")
    assert (made.status_code, made.json()["amount_minor"]) == (201, 2499)


async def test_stock_that_is_too_little_is_told(buyer: Client, shop: Shop) -> None:
    await buyer.put(shop.product.id, shop.product.stock + 1)

    problem = assert_problem(await buyer.check_out(), 409, "insufficient_stock")

    assert problem["products"] == [
        {
            "product_id": str(shop.product.id),
            "quantity": shop.product.stock + 1,
            "stock": shop.product.stock,
        }
    ]
    assert len(await buyer.items()) == 1


async def test_cart_without_redis_is_unavailable_and_orders_of_items_go_on(
    buyer: Client, without_redis: Client, shop: Shop
) -> None:
    await buyer.put(shop.product.id, 1)
    made = await buyer.check_out("of the cart")
    items = {"items": [{"product_id": str(shop.product.id), "quantity": 1}]}
    path = f"/v1/cart/items/{shop.product.id}"

    refused = [
        await without_redis.api.get("/v1/cart", headers=without_redis.token),
        await without_redis.api.delete("/v1/cart", headers=without_redis.token),
        await without_redis.api.delete(path, headers=without_redis.token),
        await without_redis.put(shop.product.id, 1),
        await without_redis.check_out(),
    ]

    for answer in refused:
        assert_problem(answer, 503, "cart_unavailable")
        assert answer.headers["Retry-After"] == "1"
    assert (await without_redis.check_out(json=items)).status_code == 201
    replayed = await without_redis.check_out("of the cart")
    assert (replayed.status_code, replayed.json()["id"]) == (201, made.json()["id"])


async def test_order_without_items_is_described(api: httpx.AsyncClient) -> None:
    described = (await api.get("/openapi.json")).json()["paths"]

    assert described["/v1/orders"]["post"]["requestBody"]["required"] is False
    assert described["/v1/cart/items/{product_id}"]["put"]["requestBody"]["required"] is True
    assert "content" not in described["/v1/cart"]["delete"]["responses"]["204"]


async def test_lost_carts_are_empty_ones(buyer: Client, shop: Shop, services: Any) -> None:
    await buyer.put(shop.product.id, 1)
    made = await buyer.check_out("key")
    await buyer.put(shop.product.id, 1)

    await services.redis.flushdb()

    assert await buyer.items() == []
    assert (await buyer.check_out("key")).json() == made.json()
    assert_problem(await buyer.check_out("other"), 409, "cart_empty")
