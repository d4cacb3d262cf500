"""Captures and cancellations as clients ask for them."""

from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from domain.identity.model import Role, User
from domain.payments.model import Capture, Payment, PaymentStatus
from domain.settlement.model import PaymentChange
from tests.api.operations import assert_problem
from tests.builders import Shop

TokenOf = Callable[[User | Role], dict[str, str]]


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    """An authorized payment of an order of 19.99."""
    payment = await shop.payment(await shop.order(), capture=Capture.MANUAL)
    known = replace(payment, status=PaymentStatus.REQUIRES_CAPTURE, stripe_intent_id=f"pi_{payment.id}")
    async with shop.begin() as tx:
        await tx.payment_work.save([PaymentChange(known, None)])
        await tx.commit()
    return known


@pytest.mark.parametrize("body", [None, {}, {"amount_minor": 1999}])
async def test_capture_is_accepted_with_and_without_a_body(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, payment: Payment, body: dict[str, int] | None
) -> None:
    content = {} if body is None else {"json": body}

    answers = [
        await api.post(f"/v1/payments/{payment.id}/capture", headers=token_of(shop.seller), **content)
        for _ in range(2)
    ]

    for answer in answers:
        assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/payments/{payment.id}")
        assert answer.json()["status"] == "requires_capture"


async def test_other_capture_than_was_asked_for_is_a_conflict(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, payment: Payment
) -> None:
    path, seller = f"/v1/payments/{payment.id}", token_of(shop.seller)
    await api.post(f"{path}/capture", json={"amount_minor": 1000}, headers=seller)

    assert_problem(await api.post(f"{path}/capture", headers=seller), 409, "capture_requested")
    assert_problem(await api.post(f"{path}/cancellation", headers=seller), 409, "capture_requested")


async def test_capture_above_what_is_authorized_is_refused(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, payment: Payment
) -> None:
    answer = await api.post(
        f"/v1/payments/{payment.id}/capture", json={"amount_minor": 2000}, headers=token_of(shop.seller)
    )

    assert_problem(answer, 422, "capture_exceeds_authorized")


async def test_cancellation_is_accepted_again(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, payment: Payment
) -> None:
    for _ in range(2):
        answer = await api.post(f"/v1/payments/{payment.id}/cancellation", headers=token_of(shop.buyer))
        assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/payments/{payment.id}")
