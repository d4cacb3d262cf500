"""Refunds as clients see them."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from domain.identity.model import Role, User
from domain.payments.model import Payment
from tests.api.operations import assert_problem
from tests.builders import Shop
from tests.captured import captured

TokenOf = Callable[[User | Role], dict[str, str]]


def with_key(header: dict[str, str]) -> dict[str, str]:
    return {**header, "Idempotency-Key": uuid4().hex}


@pytest.fixture
def buyer(shop: Shop, token_of: TokenOf) -> dict[str, str]:
    return token_of(shop.buyer)


@pytest.fixture
async def paid_order(shop: Shop) -> Payment:
    """A payment of 25.00 for a product of each seller."""
    return await captured(shop, await shop.order(shop.product, shop.other_product))


async def test_refund_is_accepted_and_shown(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str], paid_order: Payment
) -> None:
    body = {"amount_minor": 1000, "reason": "too small"}

    made = await api.post(f"/v1/payments/{paid_order.id}/refunds", json=body, headers=with_key(buyer))

    refund = made.json()
    assert (made.status_code, made.headers["Location"]) == (202, f"/v1/refunds/{refund['id']}")
    assert (refund["payment_id"], refund["status"]) == (str(paid_order.id), "pending")
    assert (refund["amount_minor"], refund["currency"], refund["reason"]) == (1000, "USD", "too small")
    assert refund["lines"] == [
        {"line": 1, "seller_id": str(shop.seller.id), "amount_minor": 800},
        {"line": 2, "seller_id": str(shop.other_seller.id), "amount_minor": 200},
    ]
    assert (await api.get(made.headers["Location"], headers=buyer)).json() == refund
    payment = (await api.get(f"/v1/payments/{paid_order.id}", headers=buyer)).json()
    assert (payment["captured_minor"], payment["refunded_minor"]) == (2500, 1000)


async def test_refunds_of_a_payment_are_listed_to_each_as_far_as_they_concern_it(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str], token_of: TokenOf, paid_order: Payment
) -> None:
    path = f"/v1/payments/{paid_order.id}/refunds"
    wanted = [
        {"reason": "both", "amount_minor": 1000},
        {"reason": "the other one", "lines": [{"product_id": str(shop.other_product.id)}]},
    ]
    made = [(await api.post(path, json=body, headers=with_key(buyer))).json() for body in wanted]

    seen = {
        who: (await api.get(path, headers=header)).json()["data"]
        for who, header in (
            ("buyer", buyer),
            ("seller", token_of(shop.seller)),
            ("other seller", token_of(shop.other_seller)),
            ("finance", token_of(Role.FINANCE)),
        )
    }

    assert seen == {"buyer": made, "seller": made[:1], "other seller": made, "finance": made}
    stranger = token_of(Role.BUYER)
    assert_problem(await api.get(path, headers=stranger), 404, "payment_not_found")


async def test_repeated_refund_is_answered_again(
    api: httpx.AsyncClient, buyer: dict[str, str], paid_order: Payment
) -> None:
    headers, path = with_key(buyer), f"/v1/payments/{paid_order.id}/refunds"

    first, again = [await api.post(path, json={"reason": "too small"}, headers=headers) for _ in range(2)]

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Location"] == first.headers["Location"]
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    other = {"reason": "too big"}
    assert_problem(await api.post(path, json=other, headers=headers), 422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "fields_invalid"),
        ({"reason": ""}, 422, "fields_invalid"),
        ({"reason": "x", "amount_minor": 2501}, 409, "refund_exceeds_captured"),
        ({"reason": "x", "amount_minor": 1, "lines": [{"product_id": str(uuid4())}]}, 422, "fields_invalid"),
        ({"reason": "x", "lines": [{"product_id": str(uuid4())}]}, 422, "line_not_found"),
        ({"reason": "x", "lines": [{"product_id": str(UUID(int=1))}] * 2}, 422, "fields_invalid"),
    ],
)
async def test_refund_that_cannot_be_is_refused(
    api: httpx.AsyncClient,
    buyer: dict[str, str],
    paid_order: Payment,
    body: dict[str, Any],
    status: int,
    code: str,
) -> None:
    path = f"/v1/payments/{paid_order.id}/refunds"

    assert_problem(await api.post(path, json=body, headers=with_key(buyer)), status, code)
