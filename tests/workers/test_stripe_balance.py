"""Stripe's list of what moved our balance, and mending from it, against the sandbox."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from domain.errors import Unavailable
from domain.payments.model import Payment
from domain.settlement.answers import Absent, Intent, OwnPayout, StripeRefund
from tests.builders import a_payment, a_refund
from workers import stripe_balance
from workers.stripe_balance import StripeBalance
from workers.stripe_calls import StripeCalls
from workers.stripe_gateway import StripeGateway
from workers.stripe_payouts import StripePayouts
from workers.stripe_refunds import StripeRefunds

Fault = Callable[..., Awaitable[None]]


@pytest.fixture
def balance(calls: StripeCalls, monkeypatch: pytest.MonkeyPatch) -> StripeBalance:
    """The list in small pages."""
    monkeypatch.setattr(stripe_balance, "_PAGE", 2)
    return StripeBalance(calls)


def period() -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return now - timedelta(minutes=5), now + timedelta(minutes=5)


async def charged(gateway: StripeGateway) -> tuple[Payment, Intent]:
    payment = a_payment()
    intent = await gateway.charge(payment)
    assert isinstance(intent, Intent)
    return payment, intent


async def test_lines_tell_whose_they_are(
    balance: StripeBalance, gateway: StripeGateway, refunds: StripeRefunds
) -> None:
    payment, intent = await charged(gateway)
    refund = a_refund(payment, stripe_charge_id=intent.charge_id)
    assert isinstance(sent := await refunds.refund(refund), StripeRefund)

    refunded, paid = (await balance.page(*period(), None)).lines

    assert (paid.category, paid.source, paid.amount_minor, paid.fee_minor) == (
        "charge",
        intent.charge_id,
        1999,
        88,
    )
    assert (paid.payment_id, paid.charge_id, paid.intent_id) == (payment.id, intent.charge_id, intent.intent_id)
    assert (refunded.category, refunded.source, refunded.amount_minor) == ("refund", sent.stripe_refund_id, -1999)
    assert (refunded.payment_id, refunded.charge_id) == (payment.id, intent.charge_id)
    assert await balance.line(paid.id) == paid
    assert list(await balance.of_source(paid.source or "")) == [paid]


async def test_pages_follow_each_other_to_the_end(balance: StripeBalance, gateway: StripeGateway) -> None:
    for _ in range(3):
        await charged(gateway)

    first = await balance.page(*period(), None)
    rest = await balance.page(*period(), first.lines[-1].id)

    assert (len(first.lines), first.has_more, len(rest.lines), rest.has_more) == (2, True, 1, False)


async def test_dispute_is_read_with_its_movements(
    balance: StripeBalance, gateway: StripeGateway, sandbox: httpx.AsyncClient
) -> None:
    _, intent = await charged(gateway)
    await sandbox.post("/disputes", json={"charge": intent.charge_id, "status": "needs_response"})

    line = (await balance.page(*period(), None)).lines[0]
    dispute = await balance.dispute(line.source or "")

    assert (line.category, line.amount_minor, line.fee_minor) == ("dispute", -1999, 1500)
    assert line.charge_id == intent.charge_id
    assert dispute is not None
    assert [moved.id for moved in dispute.transactions] == [line.id]


async def test_payout_to_our_own_bank_names_what_is_in_it_and_what_it_moved(
    balance: StripeBalance, gateway: StripeGateway, payouts: StripePayouts, sandbox: httpx.AsyncClient
) -> None:
    paid = [await charged(gateway) for _ in range(2)]
    await sandbox.post("/clock", json={"offset_s": 3 * 86_400})
    (made,) = (await sandbox.post("/payouts")).json()["data"]

    first = await balance.in_payout(made["id"], None)
    assert first is not None
    rest = await balance.in_payout(made["id"], first.lines[-1].id)
    sent = await payouts.own_payout(made["id"])
    await sandbox.post(f"/payouts/{made['id']}", json={"status": "failed"})
    failed = await payouts.own_payout(made["id"])

    assert rest is not None
    own, *others = [*first.lines, *rest.lines]
    assert (first.has_more, rest.has_more) == (True, False)
    assert (own.category, own.source, own.amount_minor) == ("payout", made["id"], -made["amount"])
    assert {line.source for line in others} == {intent.charge_id for _, intent in paid}
    assert sum(line.net_minor for line in others) == made["amount"] == 2 * 1911
    assert isinstance(sent, OwnPayout)
    assert isinstance(failed, OwnPayout)
    assert (sent.transaction, sent.returned) == (failed.transaction, None)
    assert failed.returned is not None
    assert failed.returned.amount_minor == made["amount"]


async def test_what_is_in_a_payout_that_somebody_made_is_not_told(
    balance: StripeBalance, gateway: StripeGateway, calls: StripeCalls, sandbox: httpx.AsyncClient
) -> None:
    await charged(gateway)
    await sandbox.post("/clock", json={"offset_s": 3 * 86_400})
    made = await calls.call("post", "/v1/payouts", {"amount": 500, "currency": "usd"})
    assert isinstance(made, dict)

    assert await balance.in_payout(made["id"], None) is None


async def test_what_is_in_a_payout_is_not_told_until_stripe_has_listed_all(
    balance: StripeBalance, gateway: StripeGateway, sandbox: httpx.AsyncClient
) -> None:
    await charged(gateway)
    await sandbox.post("/clock", json={"offset_s": 3 * 86_400})
    (made,) = (await sandbox.post("/payouts")).json()["data"]
    await sandbox.post(f"/payouts/{made['id']}", json={"reconciliation_status": "in_progress"})

    before = await balance.in_payout(made["id"], None)
    await sandbox.post(f"/payouts/{made['id']}", json={"reconciliation_status": "completed"})
    after = await balance.in_payout(made["id"], None)

    assert before is None
    assert after is not None
    assert len(after.lines) == 2


async def test_what_stripe_does_not_have_is_none(balance: StripeBalance, payouts: StripePayouts) -> None:
    assert await payouts.own_payout("po_of_nobody") == Absent()
    assert await balance.line("txn_of_nobody") is None
    assert list(await balance.of_source("ch_of_nobody")) == []
    assert await balance.refund("re_of_nobody") is None
    assert await balance.dispute("dp_of_nobody") is None


async def test_silence_of_stripe_is_no_empty_list(balance: StripeBalance, fault: Fault) -> None:
    await fault("error_500", "GET /v1/balance_transactions")

    with pytest.raises(Unavailable):
        await balance.page(*period(), None)
