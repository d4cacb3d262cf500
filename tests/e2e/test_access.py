"""Who may see and do what."""

import httpx
import pytest

from tests.e2e.market import Caller, Json, Market, new_key


@pytest.fixture(scope="module")
async def stranger(market: Market) -> Caller:
    return await market.register("buyer")


async def test_other_peoples_objects_are_not_found(
    market: Market, buyer: Caller, stranger: Caller, order: Json
) -> None:
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    paths = [f"/v1/orders/{order['id']}", f"/v1/payments/{payment['id']}", f"/v1/payments/{payment['id']}/events"]

    for path in paths:
        assert (await stranger.get(path)).status_code == 404
        assert (await buyer.get(path)).status_code == 200
    assert (await market.ask_to_pay(stranger, order)).json()["code"] == "order_not_found"


async def test_lists_hold_ones_own_alone(market: Market, buyer: Caller, stranger: Caller, order: Json) -> None:
    mine = (await buyer.get("/v1/orders?limit=1")).json()["data"]

    assert [found["id"] for found in mine] == [order["id"]]
    assert (await stranger.get("/v1/orders")).json() == {"data": [], "next_cursor": None}
    assert (await stranger.get("/v1/payments")).json() == {"data": [], "next_cursor": None}


async def test_seller_sees_the_payments_of_its_lines(
    market: Market, seller: Caller, buyer: Caller, order: Json
) -> None:
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    other = await market.register("seller")

    assert (await seller.get(f"/v1/payments/{payment['id']}")).status_code == 200
    assert (await other.get(f"/v1/payments/{payment['id']}")).status_code == 404


async def test_wrong_role_is_forbidden(
    market: Market, seller: Caller, buyer: Caller, product: Json, order: Json
) -> None:
    new_product = {"title": "Lamp", "price_minor": 1, "currency": "USD"}
    new_order = {"items": [{"product_id": product["id"], "quantity": 1}]}
    refused: list[httpx.Response] = [
        await buyer.post("/v1/products", new_product),
        await seller.post("/v1/orders", new_order, key=new_key()),
        await market.ask_to_pay(seller, order),
        await buyer.get("/v1/ledger/trial-balance"),
        await seller.get("/v1/ledger/accounts"),
        await buyer.get("/v1/ledger/accounts/stripe_balance/entries"),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(403, "role_not_allowed")}


async def test_finance_reads_all(market: Market, buyer: Caller, order: Json) -> None:
    payment = await market.become(buyer, await market.pay(buyer, order), "succeeded")
    finance = await market.log_in("finance")

    assert (await finance.get(f"/v1/payments/{payment['id']}")).status_code == 200
    journal = (await market.journals(payment))[0]
    assert (await finance.get(f"/v1/ledger/journals/{journal['id']}")).json() == journal


@pytest.mark.parametrize("role", ["finance", "admin"])
async def test_nobody_registers_a_role_with_power(market: Market, role: str) -> None:
    body = {"email": f"{new_key()}@example.com", "password": "a long enough password", "role": role}

    assert (await market.http.post("/v1/users", json=body)).status_code == 403


async def test_flower_wants_its_password(market: Market) -> None:
    async with httpx.AsyncClient(base_url=market.info.flower, timeout=35, trust_env=False) as flower:
        without = await flower.get("/api/workers")
        user = (market.info.flower_user, market.info.flower_password)
        with_password = await flower.get("/", auth=user)

    assert (without.status_code, with_password.status_code) == (401, 200)
