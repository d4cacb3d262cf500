"""Every end of a call to Stripe becomes the right answer."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest

from domain.payments.model import Capture, Payment
from domain.settlement.answers import Absent, CaptureRefused, Intent, IntentStatus, Refusal, Throttled, Unsure
from domain.settlement.look_ups import LookUp
from domain.settlement.model import Outcome
from tests.builders import a_payment
from tests.eventually import eventually
from tests.workers.held import HELD, HELD_S, are_held, let_go
from workers.stripe_calls import StripeCalls
from workers.stripe_gateway import StripeGateway
from workers.stripe_intent_lists import Seconds, cut

Fault = Callable[..., Awaitable[None]]
Connect = Callable[..., StripeCalls]
SEED_OF_A_LATE_HIT = 13
"""By it a fault at a rate of 0.1 hits the seventeenth call, and none before."""


async def charged(gateway: StripeGateway, **changes: Any) -> tuple[Payment, Intent]:
    """A payment, and the intent with which Stripe answered."""
    payment = a_payment(**changes)
    intent = await gateway.charge(payment)
    assert isinstance(intent, Intent)
    return payment, intent


async def count(sandbox: httpx.AsyncClient, kind: str) -> int:
    return len((await sandbox.get("/state")).json()[kind])


async def test_charge_tells_amount_charge_and_fee(gateway: StripeGateway) -> None:
    _, intent = await charged(gateway)

    assert (intent.status, intent.received_minor, intent.currency) == (IntentStatus.SUCCEEDED, 1999, "USD")
    assert intent.charge_id is not None
    assert intent.transaction is not None
    assert (intent.transaction.amount_minor, intent.transaction.fee_minor) == (1999, 88)
    assert (intent.transaction.currency, intent.transaction.exchange_rate) == ("USD", None)


@pytest.mark.parametrize(
    ("payment_method", "status", "failure_code"),
    [
        ("pm_card_visa", IntentStatus.SUCCEEDED, None),
        ("pm_card_createDispute", IntentStatus.SUCCEEDED, None),
        ("pm_card_authenticationRequired", IntentStatus.REQUIRES_ACTION, None),
        ("pm_card_chargeDeclined", IntentStatus.REQUIRES_PAYMENT_METHOD, "card_declined"),
        (
            "pm_card_visa_chargeDeclinedInsufficientFunds",
            IntentStatus.REQUIRES_PAYMENT_METHOD,
            "insufficient_funds",
        ),
        ("pm_card_chargeDeclinedExpiredCard", IntentStatus.REQUIRES_PAYMENT_METHOD, "expired_card"),
    ],
)
async def test_card_decides_the_intent(
    gateway: StripeGateway, payment_method: str, status: IntentStatus, failure_code: str | None
) -> None:
    _, intent = await charged(gateway, payment_method=payment_method)

    assert (intent.status, intent.failure_code) == (status, failure_code)


async def test_unknown_payment_method_is_refused(gateway: StripeGateway) -> None:
    assert await gateway.charge(a_payment(payment_method="pm_of_nobody")) == Refusal("resource_missing")


async def test_manual_capture_only_reserves(gateway: StripeGateway) -> None:
    _, intent = await charged(gateway, capture=Capture.MANUAL)

    assert (intent.status, intent.received_minor) == (IntentStatus.REQUIRES_CAPTURE, 0)


async def test_charge_again_is_the_same_intent(gateway: StripeGateway, sandbox: httpx.AsyncClient) -> None:
    payment, first = await charged(gateway)

    assert await gateway.charge(payment) == first
    assert await count(sandbox, "charges") == 1


@pytest.mark.parametrize("effect", ["drop_before", "drop_after", "error_500", "error_500_after"])
async def test_lost_answer_leaves_unsure_and_may_be_asked_again(
    gateway: StripeGateway, fault: Fault, effect: str
) -> None:
    await fault(effect)

    answer = await gateway.charge(a_payment())

    assert isinstance(answer, Unsure)
    assert not answer.lookup_only


@pytest.mark.parametrize("effect", ["error_500", "error_500_after"])
async def test_recorded_error_forbids_the_key(gateway: StripeGateway, fault: Fault, effect: str) -> None:
    await fault(effect)
    payment = a_payment()
    await gateway.charge(payment)

    assert await gateway.charge(payment) == Unsure("status 500", lookup_only=True)


async def test_cut_connection_charges_once(
    gateway: StripeGateway, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    await fault("drop_after")
    payment = a_payment()
    await gateway.charge(payment)

    answer = await gateway.charge(payment)

    assert isinstance(answer, Intent)
    assert answer.status is IntentStatus.SUCCEEDED
    assert await count(sandbox, "charges") == 1


async def test_key_with_another_amount_is_only_looked_up(gateway: StripeGateway) -> None:
    payment, _ = await charged(gateway)

    answer = await gateway.charge(replace(payment, amount_minor=2000))

    assert isinstance(answer, Unsure)
    assert answer.lookup_only


async def test_rate_limit_says_when_to_come_back(gateway: StripeGateway, fault: Fault) -> None:
    await fault("error_429")

    assert await gateway.charge(a_payment()) == Throttled("rate limit", 1.0)


async def test_key_in_use_is_throttled(gateway: StripeGateway, fault: Fault, sandbox: httpx.AsyncClient) -> None:
    await fault(HELD)
    payment = a_payment()
    first = asyncio.create_task(gateway.charge(payment))
    await eventually(lambda: are_held(sandbox, 1))

    assert isinstance(await gateway.charge(payment), Throttled)

    await let_go(sandbox)
    assert isinstance(await first, Intent)


async def test_refused_api_key_is_throttled(connect: Connect) -> None:
    answer = await StripeGateway(connect(api_key="sk_of_nobody")).charge(a_payment())

    assert answer == Throttled("our key is refused")


async def test_nobody_listening_is_unsure(connect: Connect, closed_port: int) -> None:
    gateway = StripeGateway(connect(api_base=f"http://127.0.0.1:{closed_port}"))

    assert await gateway.charge(a_payment()) == Unsure("no answer")


async def test_timeout_is_unsure(connect: Connect, silent_port: int) -> None:
    gateway = StripeGateway(connect(api_base=f"http://127.0.0.1:{silent_port}", timeout_s=0.2))

    assert await gateway.charge(a_payment()) == Unsure("no answer")


async def test_late_balance_transaction_is_a_charge_without_fee(gateway: StripeGateway, fault: Fault) -> None:
    await fault("late_balance_transaction:50")
    _, intent = await charged(gateway)
    assert (intent.status, intent.transaction) == (IntentStatus.SUCCEEDED, None)

    answer = await gateway.retrieve(intent.intent_id)

    assert isinstance(answer, Intent)
    assert answer.charge_id == intent.charge_id


async def test_retrieve_tells_the_present_state(gateway: StripeGateway) -> None:
    _, intent = await charged(gateway)

    assert await gateway.retrieve(intent.intent_id) == intent


async def test_cancel_tells_that_the_intent_is_canceled(gateway: StripeGateway) -> None:
    _, intent = await charged(gateway, payment_method="pm_card_chargeDeclined")

    answer = await gateway.cancel(intent.intent_id)

    assert isinstance(answer, Intent)
    assert answer.status is IntentStatus.CANCELED


async def test_cancel_of_a_succeeded_intent_tells_its_success(gateway: StripeGateway) -> None:
    _, intent = await charged(gateway)

    answer = await gateway.cancel(intent.intent_id)

    assert isinstance(answer, Intent)
    assert (answer.status, answer.received_minor) == (IntentStatus.SUCCEEDED, 1999)


async def test_recorded_error_of_a_cancellation_is_looked_behind(gateway: StripeGateway, fault: Fault) -> None:
    _, intent = await charged(gateway, payment_method="pm_card_chargeDeclined")
    await fault("error_500_after")
    assert isinstance(await gateway.cancel(intent.intent_id), Unsure)

    answer = await gateway.cancel(intent.intent_id)

    assert isinstance(answer, Intent)
    assert answer.status is IntentStatus.CANCELED


def looked_up(*payments: Payment, minutes: int = 0) -> LookUp:
    """Look for payments that were charged in these last minutes, by the sandbox's clock: it is the machine's."""
    now = datetime.now(UTC)
    return LookUp(payments, now - timedelta(minutes=minutes), now)


async def charged_for(minutes: int, gateway: StripeGateway, sandbox: httpx.AsyncClient) -> list[Payment]:
    """Charge more than a page of payments in the last minutes; return one of each minute."""
    kept = []
    for minute in range(minutes):
        await sandbox.post("/clock", json={"offset_s": 60 * (minute - minutes)})
        made = await asyncio.gather(*(charged(gateway) for _ in range(1 + 100 // minutes)))
        kept.append(made[0][0])
    await sandbox.post("/clock", json={"offset_s": 0})
    return kept


async def test_find_reads_the_whole_list(gateway: StripeGateway) -> None:
    first, _ = await charged(gateway)
    await asyncio.gather(*(charged(gateway) for _ in range(101)))
    last, _ = await charged(gateway)
    stranger = a_payment()

    found = await gateway.find(looked_up(first, last, stranger))

    assert {type(found[first.id]), type(found[last.id])} == {Intent}
    assert found[stranger.id] == Absent()


async def test_long_list_is_read_in_slices_that_leave_nothing_out(
    gateway: StripeGateway, sandbox: httpx.AsyncClient
) -> None:
    made, stranger = await charged_for(10, gateway, sandbox), a_payment()

    found = await gateway.find(looked_up(*made, stranger, minutes=10))

    assert {type(found[payment.id]) for payment in made} == {Intent}
    assert found[stranger.id] == Absent()


async def test_slices_of_a_list_are_read_at_the_same_time(
    gateway: StripeGateway, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    await charged_for(10, gateway, sandbox)
    await fault(HELD, "GET /v1/payment_intents", count=1 + 8)
    stranger = a_payment()

    finding = asyncio.create_task(gateway.find(looked_up(stranger, minutes=10)))
    await eventually(lambda: are_held(sandbox, 1))
    await let_go(sandbox)
    await eventually(lambda: are_held(sandbox, 1 + 8))
    await sandbox.post("/clock", json={"offset_s": 3 * HELD_S})

    assert await finding == {stranger.id: Absent()}


async def test_slice_that_cannot_be_read_proves_no_absence(
    gateway: StripeGateway, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    await charged_for(10, gateway, sandbox)
    await fault("error_500", "GET /v1/payment_intents", rate=0.1, seed=SEED_OF_A_LATE_HIT)
    stranger = a_payment()

    assert await gateway.find(looked_up(stranger, minutes=10)) == {stranger.id: Unsure("status 500")}


async def test_list_is_read_until_all_are_found(
    gateway: StripeGateway, fault: Fault, sandbox: httpx.AsyncClient
) -> None:
    """The newest are on the page that is read first, and none is read after it."""
    last = (await charged_for(10, gateway, sandbox))[-1]
    await fault("error_500", "GET /v1/payment_intents", rate=0.1, seed=SEED_OF_A_LATE_HIT)

    found = await gateway.find(looked_up(last, minutes=10))

    assert type(found[last.id]) is Intent
    assert await are_held(sandbox, 0)


@pytest.mark.parametrize("count", [1, 2, 31, 32, 33, 601, 86_400])
def test_slices_hold_each_second_once(count: int) -> None:
    span = Seconds(1_000, 1_000 + count - 1)

    slices = cut(span)

    assert (slices[0].first, slices[-1].last) == span
    assert all(later.first == earlier.last + 1 for earlier, later in pairwise(slices))
    assert all(each.first <= each.last for each in slices)
    assert len(slices) <= 32


async def test_refused_list_is_no_refusal_of_the_charge(gateway: StripeGateway) -> None:
    before_stripes_time, payment = datetime(1960, 1, 1, tzinfo=UTC), a_payment()

    found = await gateway.find(LookUp((payment,), before_stripes_time, before_stripes_time))

    assert found == {payment.id: Unsure("the list was refused")}


async def test_find_without_the_whole_list_proves_no_absence(gateway: StripeGateway, fault: Fault) -> None:
    await fault("error_500", "GET /v1/payment_intents")
    payment = a_payment()

    assert await gateway.find(looked_up(payment)) == {payment.id: Unsure("status 500")}


async def test_calls_beyond_the_concurrency_wait_and_succeed(connect: Connect) -> None:
    gateway = StripeGateway(connect(concurrency=2))

    answers = await asyncio.gather(*(gateway.charge(a_payment()) for _ in range(8)))

    assert all(isinstance(answer, Intent) for answer in answers)


async def test_list_that_cannot_be_read_proves_no_absence(connect: Connect, unreadable_stripe: str) -> None:
    payment = a_payment()

    found = await StripeGateway(connect(api_base=unreadable_stripe)).find(looked_up(payment))

    assert found == {payment.id: Unsure("a list that cannot be read")}


async def test_object_that_cannot_be_read_is_unsure(connect: Connect, unreadable_stripe: str) -> None:
    answer = await StripeGateway(connect(api_base=unreadable_stripe)).charge(a_payment())

    assert isinstance(answer, Unsure)


async def test_intent_names_the_payment_that_it_was_made_for(gateway: StripeGateway, connect: Connect) -> None:
    payment, intent = await charged(gateway)
    calls = connect()
    params = {"amount": 500, "currency": "usd", "payment_method_types": ["card"]}
    foreign = await calls.call("post", "/v1/payment_intents", params)
    assert isinstance(foreign, Mapping)

    assert await gateway.identify(intent.intent_id) == Outcome(payment.id, intent)
    assert await gateway.identify(foreign["id"]) is None
    assert await gateway.identify("pi_of_nobody") == Refusal("resource_missing")


@pytest.mark.parametrize(("asked", "received"), [(None, 1999), (1000, 1000)])
async def test_capture_takes_what_is_asked_for(gateway: StripeGateway, asked: int | None, received: int) -> None:
    _, intent = await charged(gateway, capture=Capture.MANUAL)

    answer = await gateway.capture(intent.intent_id, asked)

    assert isinstance(answer, Intent)
    assert (answer.status, answer.received_minor) == (IntentStatus.SUCCEEDED, received)
    assert answer.transaction is not None


async def test_capture_twice_is_one_capture(gateway: StripeGateway, sandbox: httpx.AsyncClient) -> None:
    _, intent = await charged(gateway, capture=Capture.MANUAL)

    answers = [await gateway.capture(intent.intent_id, 1000) for _ in range(2)]

    assert all(isinstance(answer, Intent) and answer.received_minor == 1000 for answer in answers)
    assert await count(sandbox, "balance_transactions") == 1


async def test_capture_that_was_made_before_tells_its_fee(gateway: StripeGateway) -> None:
    _, intent = await charged(gateway, capture=Capture.MANUAL)
    first = await gateway.capture(intent.intent_id, None)

    assert await gateway.capture(intent.intent_id, None) == first
    assert isinstance(first, Intent)
    assert first.transaction is not None


async def test_capture_of_a_canceled_intent_tells_that_it_is_canceled(gateway: StripeGateway) -> None:
    _, intent = await charged(gateway, capture=Capture.MANUAL)
    await gateway.cancel(intent.intent_id)

    answer = await gateway.capture(intent.intent_id, None)

    assert isinstance(answer, Intent)
    assert answer.status is IntentStatus.CANCELED


async def test_capture_that_stripe_does_not_make_is_refused(gateway: StripeGateway) -> None:
    _, intent = await charged(gateway, capture=Capture.MANUAL)

    assert await gateway.capture(intent.intent_id, 5000) == CaptureRefused("amount_too_large")
