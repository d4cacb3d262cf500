"""Refunds at Stripe: every end of a call becomes the right answer."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx

from domain.settlement.model import Intent, Refund, RefundStatus, Refusal, StripeRefund, Throttled, Unsure
from tests.builders import a_payment, a_refund
from workers.stripe_gateway import StripeGateway
from workers.stripe_refunds import StripeRefunds

Fault = Callable[..., Awaitable[None]]


async def refund_of(gateway: StripeGateway, **changes: Any) -> Refund:
    """A refund of all of a new charge of 19.99 USD."""
    payment = a_payment()
    intent = await gateway.charge(payment)
    assert isinstance(intent, Intent)
    return a_refund(payment.id, stripe_charge_id=intent.charge_id, **{"attempts": 1, **changes})


async def count(sandbox: httpx.AsyncClient) -> int:
    return len((await sandbox.get("/state")).json()["refunds"])


async def test_refund_gives_the_money_back(gateway: StripeGateway, refunds: StripeRefunds) -> None:
    answer = await refunds.refund(await refund_of(gateway))

    assert isinstance(answer, StripeRefund)
    assert answer.status is RefundStatus.SUCCEEDED


async def test_refund_twice_is_one_refund(
    gateway: StripeGateway, refunds: StripeRefunds, sandbox: httpx.AsyncClient
) -> None:
    refund = await refund_of(gateway)

    answers = [await refunds.refund(refund), await refunds.refund(replace(refund, attempts=2))]

    assert answers[0] == answers[1]
    assert await count(sandbox) == 1


async def test_refund_that_arrived_is_found_behind_a_recorded_error(
    gateway: StripeGateway, refunds: StripeRefunds, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    refund = await refund_of(gateway)
    await fault("error_500_after", "POST /v1/refunds")
    assert isinstance(await refunds.refund(refund), Unsure)

    assert isinstance(await refunds.refund(replace(refund, attempts=2)), StripeRefund)
    assert await count(sandbox) == 1


async def test_unknown_whether_a_refund_arrived_sends_none(
    gateway: StripeGateway, refunds: StripeRefunds, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    refund = await refund_of(gateway, attempts=2)
    await fault("error_429", "GET /v1/refunds")

    assert isinstance(await refunds.refund(refund), Throttled)
    assert await count(sandbox) == 0


async def test_refund_of_more_than_was_charged_is_refused(gateway: StripeGateway, refunds: StripeRefunds) -> None:
    refund = await refund_of(gateway, amount_minor=2000)

    assert isinstance(await refunds.refund(refund), Refusal)
