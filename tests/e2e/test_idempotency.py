"""One key, one payment; one order, one live payment."""

import asyncio

from tests.e2e.market import Caller, Json, Market, new_key


async def test_hundred_requests_with_one_key_make_one_payment(market: Market, buyer: Caller, order: Json) -> None:
    key = new_key()

    answers = await asyncio.gather(*(market.ask_to_pay(buyer, order, key=key) for _ in range(100)))

    seen = {(answer.status_code, answer.headers["Location"], answer.json()["id"]) for answer in answers}
    assert seen == {(202, f"/v1/payments/{answers[0].json()['id']}", answers[0].json()["id"])}
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
    payment = await market.become(buyer, answers[0].json(), "succeeded")
    assert len(await market.sandbox.charges(payment)) == 1


async def test_order_has_one_live_payment(market: Market, buyer: Caller, order: Json) -> None:
    answers = await asyncio.gather(*(market.ask_to_pay(buyer, order, key=new_key()) for _ in range(2)))

    accepted, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert (accepted.status_code, refused.status_code) == (202, 409)
    assert refused.json()["code"] in {"payment_in_progress", "order_not_payable"}
    await market.become(buyer, accepted.json(), "succeeded")


async def test_key_of_another_payload_is_refused(market: Market, buyer: Caller, order: Json) -> None:
    key = new_key()
    payment = await market.pay(buyer, order, key=key)

    answer = await market.ask_to_pay(buyer, order, key=key, payment_method="pm_card_authenticationRequired")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    await market.become(buyer, payment, "succeeded")


async def test_key_belongs_to_its_caller(market: Market, buyer: Caller, product: Json) -> None:
    other = await market.register("buyer")
    key = new_key()

    mine = await market.pay(buyer, await market.order(buyer, product), key=key)
    theirs = await market.pay(other, await market.order(other, product), key=key)

    assert mine["id"] != theirs["id"]


async def test_order_is_placed_once_under_one_key(market: Market, buyer: Caller, product: Json) -> None:
    body = {"items": [{"product_id": product["id"], "quantity": 2}]}
    key = new_key()

    answers = await asyncio.gather(*(buyer.post("/v1/orders", body, key=key) for _ in range(5)))

    assert {(answer.status_code, answer.json()["id"]) for answer in answers} == {(201, answers[0].json()["id"])}


async def test_paid_order_is_not_paid_again(market: Market, buyer: Caller, order: Json) -> None:
    await market.become(buyer, await market.pay(buyer, order), "succeeded")

    answer = await market.ask_to_pay(buyer, order)

    assert (answer.status_code, answer.json()["code"]) == (409, "order_not_payable")
