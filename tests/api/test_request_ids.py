"""What a worker does later remembers the request that asked for it: the id that its client was told, its trace."""

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import httpx
import pytest

from domain.identity.model import User
from domain.ids import PayoutId, RefundId
from domain.payments.model import Capture, Payment, PaymentStatus
from domain.sellers.model import OnboardingStatus, SellerAccount
from domain.settlement.model import PaymentChange
from tests.builders import Shop, unique
from tests.captured import captured, stored
from tests.paid_out import complete

TokenOf = Callable[[User], dict[str, str]]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def authorized(shop: Shop) -> Payment:
    payment = await shop.payment(await shop.order(), capture=Capture.MANUAL, request_id="of the payment")
    known = replace(payment, status=PaymentStatus.REQUIRES_CAPTURE, stripe_intent_id=f"pi_{payment.id}")
    async with shop.begin() as tx:
        await tx.payment_work.save([PaymentChange(known, None)])
        await tx.commit()
    return known


@pytest.mark.parametrize("wish", ["capture", "cancellation"])
async def test_payment_remembers_who_asked_for_its_end(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, authorized: Payment, wish: str
) -> None:
    answer = await api.post(f"/v1/payments/{authorized.id}/{wish}", headers=token_of(shop.seller))

    assert answer.status_code == 202
    assert (await stored(shop, authorized)).request_id == answer.headers["X-Request-Id"]


async def test_refund_remembers_who_asked_for_it(api: httpx.AsyncClient, shop: Shop, token_of: TokenOf) -> None:
    payment = await captured(shop, await shop.order())
    headers = {**token_of(shop.buyer), "Idempotency-Key": uuid4().hex, "X-Request-Id": "of-the-refund"}
    headers["traceparent"] = f"{TRACEPARENT}-and-more"

    answer = await api.post(f"/v1/payments/{payment.id}/refunds", json={"reason": "too small"}, headers=headers)

    async with shop.begin() as tx:
        refund = await tx.refund_work.lock(RefundId(UUID(answer.json()["id"])))
    assert (refund.request_id, refund.traceparent) == ("of-the-refund", TRACEPARENT)


async def test_payout_and_onboarding_remember_who_asked_for_them(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf
) -> None:
    seller = {**token_of(shop.seller), "traceparent": TRACEPARENT}
    asked = await api.post("/v1/sellers/me/onboarding", headers={**seller, "X-Request-Id": "of-the-onboarding"})
    async with shop.begin() as tx:
        account: SellerAccount = await tx.seller_accounts.lock(shop.seller.id)
        known = replace(account, status=OnboardingStatus.COMPLETE, stripe_account_id=unique("acct"))
        await tx.seller_accounts.save(replace(known, payouts_enabled=True), due_at=None)
        await tx.commit()
    order = await shop.order()
    await captured(shop, order, fee_minor=88)
    await complete(shop, order)

    headers = {**seller, "Idempotency-Key": uuid4().hex, "X-Request-Id": "of-the-payout"}
    made = await api.post("/v1/payouts", json={"currency": "USD"}, headers=headers)

    assert (asked.status_code, account.request_id) == (202, "of-the-onboarding")
    assert account.traceparent == TRACEPARENT
    async with shop.begin() as tx:
        (payout,) = await tx.payout_work.lock([PayoutId(UUID(made.json()["id"]))])
    assert (payout.request_id, payout.traceparent) == ("of-the-payout", TRACEPARENT)
