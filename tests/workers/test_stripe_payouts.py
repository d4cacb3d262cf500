"""Transfers at Stripe: every end of a call becomes the right answer, and nothing is transferred twice."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from domain.ids import PayoutId, ReversalId, uuid7
from domain.payouts.model import Payout, PayoutStatus, Reversal, ReversalStatus
from domain.settlement.answers import (
    Absent,
    BankPayout,
    Intent,
    Refusal,
    StripeReversal,
    StripeTransfer,
    Throttled,
    Unsure,
)
from tests.builders import NOW, a_payment, a_payout
from workers.stripe_calls import StripeCalls
from workers.stripe_gateway import StripeGateway
from workers.stripe_payouts import StripePayouts

Fault = Callable[..., Awaitable[None]]
Connect = Callable[..., StripeCalls]


@pytest.fixture
async def payout(gateway: StripeGateway, calls: StripeCalls, sandbox: httpx.AsyncClient) -> Payout:
    """A payout of 10.00 USD to an account that Stripe pays out, while the platform has enough."""
    assert isinstance(await gateway.charge(a_payment()), Intent)
    await sandbox.post("/clock", json={"offset_s": 3 * 86_400})
    account = await calls.call("post", "/v1/accounts", {"type": "express", "country": "US"})
    assert isinstance(account, dict)
    await sandbox.post(f"/accounts/{account['id']}", json={"payouts_enabled": True})
    return a_payout(stripe_account_id=account["id"], amount_minor=1000)


def a_reversal(payout: Payout, amount_minor: int = 400) -> Reversal:
    return Reversal(
        ReversalId(uuid7()), payout.id, amount_minor, payout.currency, ReversalStatus.PENDING, NOW, NOW
    )


async def count(sandbox: httpx.AsyncClient, kind: str = "transfers") -> int:
    return len((await sandbox.get("/state")).json()[kind])


async def test_transfer_twice_is_one_transfer(
    payouts: StripePayouts, payout: Payout, sandbox: httpx.AsyncClient
) -> None:
    answers = [await payouts.transfer(payout) for _ in range(2)]

    assert isinstance(answers[0], StripeTransfer)
    assert answers[0] == answers[1]
    assert (answers[0].amount_minor, answers[0].destination) == (1000, payout.stripe_account_id)
    assert answers[0].payout_id == payout.id
    assert await count(sandbox) == 1


async def test_transfer_whose_answer_was_lost_is_found(
    payouts: StripePayouts, payout: Payout, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    await fault("drop_after", "POST /v1/transfers")
    assert isinstance(await payouts.transfer(payout), Unsure)

    assert isinstance(await payouts.find_transfer(payout), StripeTransfer)
    assert await count(sandbox) == 1


async def test_transfer_that_never_arrived_is_absent(payouts: StripePayouts, payout: Payout, fault: Fault) -> None:
    await fault("drop_before", "POST /v1/transfers")
    assert isinstance(await payouts.transfer(payout), Unsure)

    assert await payouts.find_transfer(payout) == Absent()
    assert await payouts.find_transfer(replace(payout, id=PayoutId(uuid7()))) == Absent()


async def test_throttled_list_proves_no_absence(payouts: StripePayouts, payout: Payout, fault: Fault) -> None:
    await fault("error_429", "GET /v1/transfers")

    assert isinstance(await payouts.find_transfer(payout), Throttled)


async def test_transfer_of_more_than_there_is_is_refused(payouts: StripePayouts, payout: Payout) -> None:
    answer = await payouts.transfer(replace(payout, amount_minor=1_000_000))

    assert answer == Refusal("balance_insufficient")


async def test_reversal_takes_a_part_back_once(
    payouts: StripePayouts, payout: Payout, sandbox: httpx.AsyncClient
) -> None:
    sent = await payouts.transfer(payout)
    assert isinstance(sent, StripeTransfer)
    reversal = a_reversal(payout)

    answers = [await payouts.reverse(reversal, sent.transfer_id) for _ in range(2)]

    assert isinstance(answers[0], StripeReversal)
    assert answers[0] == answers[1]
    assert (answers[0].amount_minor, answers[0].reversal_id) == (400, reversal.id)
    assert await payouts.reversals_of(sent.transfer_id) == [answers[0]]
    assert await count(sandbox, "transfer_reversals") == 1


async def test_reversal_of_more_than_is_left_is_refused(payouts: StripePayouts, payout: Payout) -> None:
    sent = await payouts.transfer(payout)
    assert isinstance(sent, StripeTransfer)

    assert isinstance(await payouts.reverse(a_reversal(payout, 1001), sent.transfer_id), Refusal)


async def test_payout_to_the_bank_tells_what_is_in_it(
    payouts: StripePayouts, payout: Payout, sandbox: httpx.AsyncClient
) -> None:
    sent = await payouts.transfer(payout)
    assert isinstance(sent, StripeTransfer)
    (made,) = (await sandbox.post(f"/accounts/{payout.stripe_account_id}/payouts")).json()["data"]

    seen = [await payouts.bank_payout(payout.stripe_account_id, made["id"])]
    for status in ("paid", "failed"):
        await sandbox.post(f"/payouts/{made['id']}", json={"status": status})
        seen.append(await payouts.bank_payout(payout.stripe_account_id, made["id"]))
    (again,) = (await sandbox.post(f"/accounts/{payout.stripe_account_id}/payouts")).json()["data"]
    later = await payouts.bank_payout(payout.stripe_account_id, again["id"])

    told: list[Any] = [each for each in seen if isinstance(each, BankPayout)]
    assert [each.status for each in told] == [PayoutStatus.IN_TRANSIT, PayoutStatus.PAID, PayoutStatus.FAILED]
    assert {each.transfer_ids for each in told} == {(sent.transfer_id,)}
    assert {each.payout_ids for each in told} == {(payout.id,)}
    assert told[-1].failure_code == "account_closed"
    assert isinstance(later, BankPayout)
    assert later.earlier_ids == (made["id"],)


async def test_payout_to_the_bank_of_another_world_is_absent(payouts: StripePayouts, payout: Payout) -> None:
    """A test payout, of which a live endpoint is told; or that of an account that is not connected any more."""
    for account_id in (payout.stripe_account_id, "acct_none"):
        assert await payouts.bank_payout(account_id, "po_none") == Absent()


async def test_unreadable_answers_are_unsure(connect: Connect, unreadable_stripe: str) -> None:
    payouts = StripePayouts(connect(api_base=unreadable_stripe))
    payout = a_payout()

    for answer in (
        await payouts.transfer(payout),
        await payouts.find_transfer(payout),
        await payouts.reverse(a_reversal(payout), "tr_1"),
        await payouts.reversals_of("tr_1"),
        await payouts.bank_payout("acct_1", "po_1"),
        await payouts.own_payout("po_1"),
    ):
        assert isinstance(answer, Unsure)
