"""Stripe's list of what moved our balance, and mending from it, against the sandbox."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from domain.errors import Unavailable
from domain.payments.model import Payment
from domain.settlement.model import Intent, StripeRefund
from tests.builders import a_payment, a_refund
from workers import stripe_balance
from workers.stripe_balance import StripeBalance
from workers.stripe_calls import StripeCalls
from workers.stripe_gateway import StripeGateway
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


async def test_what_stripe_does_not_have_is_none(balance: StripeBalance) -> None:
    assert await balance.line("txn_of_nobody") is None
    assert list(await balance.of_source("ch_of_nobody")) == []
    assert await balance.refund("re_of_nobody") is None
    assert await balance.dispute("dp_of_nobody") is None


async def test_silence_of_stripe_is_no_empty_list(balance: StripeBalance, fault: Fault) -> None:
    await fault("error_500", "GET /v1/balance_transactions")

    with pytest.raises(Unavailable):
        await balance.page(*period(), None)
