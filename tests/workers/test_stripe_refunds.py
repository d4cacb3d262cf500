"""Refunds at Stripe: every end of a call becomes the right answer."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from domain.ids import RefundId, UserId, uuid7
from domain.ledger.postings import Part
from domain.refunds.model import Refund, RefundStatus
from domain.settlement.answers import Absent, Intent, Refusal, StripeRefund, Throttled, Unsure
from tests.builders import a_payment, a_refund
from workers.stripe_calls import StripeCalls
from workers.stripe_gateway import StripeGateway
from workers.stripe_refunds import StripeRefunds

Fault = Callable[..., Awaitable[None]]
Connect = Callable[..., StripeCalls]


async def refund_of(gateway: StripeGateway, **changes: Any) -> Refund:
    """A refund of all of a new charge of 19.99 USD."""
    payment = a_payment()
    intent = await gateway.charge(payment)
    assert isinstance(intent, Intent)
    return a_refund(payment, **{"stripe_charge_id": intent.charge_id, "attempts": 1, **changes})


async def count(sandbox: httpx.AsyncClient) -> int:
    return len((await sandbox.get("/state")).json()["refunds"])


async def test_refund_gives_the_money_back(gateway: StripeGateway, refunds: StripeRefunds) -> None:
    answer = await refunds.refund(await refund_of(gateway))

    assert isinstance(answer, StripeRefund)
    assert answer.status is RefundStatus.SUCCEEDED


@pytest.mark.parametrize(("lines", "named"), [(100, 0), (30, 30), (0, 0)])
async def test_refund_carries_its_lines_as_far_as_stripe_takes_them(
    gateway: StripeGateway, refunds: StripeRefunds, lines: int, named: int
) -> None:
    seller_id = UserId(uuid7())
    parts = tuple(Part(line, seller_id, 1_000_000 + line, 25_000) for line in range(1, lines + 1))
    refund = await refund_of(gateway, lines=parts)

    answer = await refunds.refund(refund)

    assert isinstance(answer, StripeRefund)
    assert answer.lines == tuple((part.line, part.amount_minor) for part in parts[:named])
    assert await refunds.find_refund(refund) == answer


async def test_refund_twice_is_one_refund(
    gateway: StripeGateway, refunds: StripeRefunds, sandbox: httpx.AsyncClient
) -> None:
    refund = await refund_of(gateway)

    answers = [await refunds.refund(refund) for _ in range(2)]

    assert answers[0] == answers[1]
    assert await count(sandbox) == 1


async def test_refund_that_arrived_is_found_behind_a_recorded_error(
    gateway: StripeGateway, refunds: StripeRefunds, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    refund = await refund_of(gateway)
    await fault("error_500_after", "POST /v1/refunds")
    assert isinstance(await refunds.refund(refund), Unsure)

    assert isinstance(await refunds.find_refund(refund), StripeRefund)
    assert await count(sandbox) == 1


async def test_throttled_list_proves_no_absence(
    gateway: StripeGateway, refunds: StripeRefunds, fault: Fault
) -> None:
    refund = await refund_of(gateway)
    await fault("error_429", "GET /v1/refunds")

    assert isinstance(await refunds.find_refund(refund), Throttled)


async def test_refund_of_more_than_was_charged_is_refused(gateway: StripeGateway, refunds: StripeRefunds) -> None:
    refund = await refund_of(gateway, amount_minor=2000)

    assert isinstance(await refunds.refund(refund), Refusal)


async def test_refund_is_read_again(gateway: StripeGateway, refunds: StripeRefunds) -> None:
    refund = await refund_of(gateway, amount_minor=1000)
    sent = await refunds.refund(refund)
    assert isinstance(sent, StripeRefund)
    assert (sent.amount_minor, sent.currency, sent.refund_id) == (1000, "USD", refund.id)
    assert sent.transaction_id is not None

    assert await refunds.retrieve_refund(replace(refund, stripe_refund_id=sent.stripe_refund_id)) == sent
    assert await refunds.find_refund(refund) == sent
    assert await refunds.refunds_of(refund.stripe_charge_id) == [sent]


async def test_refund_that_stripe_does_not_know_is_absent(gateway: StripeGateway, refunds: StripeRefunds) -> None:
    refund = await refund_of(gateway, amount_minor=1000)
    await refunds.refund(replace(refund, id=RefundId(uuid7())))

    assert await refunds.find_refund(refund) == Absent()


async def test_absence_needs_the_whole_list(
    gateway: StripeGateway, refunds: StripeRefunds, sandbox: httpx.AsyncClient
) -> None:
    refund = await refund_of(gateway, amount_minor=1)
    others = [replace(refund, id=RefundId(uuid7())) for _ in range(100)]
    first = await refunds.refund(refund)
    for other in others:
        await refunds.refund(other)

    assert await refunds.find_refund(refund) == first
    assert await count(sandbox) == 101


async def test_new_key_after_a_recorded_error_refunds_once(
    gateway: StripeGateway, refunds: StripeRefunds, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    refund = await refund_of(gateway)
    await fault("error_500", "POST /v1/refunds")
    assert isinstance(await refunds.refund(refund), Unsure)
    burnt = await refunds.refund(refund)
    assert isinstance(burnt, Unsure)
    assert burnt.lookup_only
    assert await refunds.find_refund(refund) == Absent()

    assert isinstance(await refunds.refund(replace(refund, key_number=1)), StripeRefund)
    assert await count(sandbox) == 1


async def test_charge_that_is_known_by_its_intent_alone_is_refunded(
    gateway: StripeGateway, refunds: StripeRefunds
) -> None:
    payment = a_payment()
    intent = await gateway.charge(payment)
    assert isinstance(intent, Intent)
    refund = a_refund(payment, stripe_charge_id=intent.intent_id)

    sent = await refunds.refund(refund)

    assert isinstance(sent, StripeRefund)
    assert await refunds.find_refund(refund) == sent


async def test_refund_that_cannot_be_read_is_unsure(connect: Connect, unreadable_stripe: str) -> None:
    refund = a_refund(a_payment(), stripe_refund_id="re_1")

    refunds = StripeRefunds(connect(api_base=unreadable_stripe))

    assert isinstance(await refunds.retrieve_refund(refund), Unsure)
    assert isinstance(await refunds.find_refund(refund), Unsure)
