"""Intents that turn up after their payments were given up: nothing comes of them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from domain.coalescer import Coalescer
from domain.payments.model import Capture, Payment, PaymentStatus
from domain.settlement.answers import Absent, IntentStatus, Unsure
from domain.settlement.charges import ChargeService
from domain.settlement.inbox.intent_events import IntentEvents
from domain.settlement.inbox.stripe_events import StripeEventService
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import Outcome, SettlementPolicy, StripeEvent, StripeEventStatus
from tests.builders import Shop
from tests.domain.fakes import FakeClock, Memory, ScriptedGateway
from tests.domain.settlement.test_charges import now_of
from tests.domain.settlement.told import told
from tests.stripe_answers import an_intent, succeeded

AUTHORIZED = "payment_intent.amount_capturable_updated"


@pytest.fixture
def events(
    memory: Memory,
    gateway: ScriptedGateway,
    settle: Coalescer[Outcome, bool],
    clock: FakeClock,
    policy: SettlementPolicy,
) -> StripeEventService:
    return StripeEventService(memory.begin, [IntentEvents(memory.begin, gateway, settle)], clock, policy)


@pytest.fixture
async def given_up(
    charges: ChargeService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    shop: Shop,
) -> Payment:
    """A payment to be captured later that Stripe did not know when the grace was over."""
    payment = await shop.payment(await shop.order(), capture=Capture.MANUAL)
    gateway.will("charge", Unsure("replayed 500", lookup_only=True))
    gateway.will("find", Absent())
    await charges.process([payment.id])
    clock.advance(policy.lookup_grace_s)
    await charges.process([payment.id])
    assert now_of(memory, payment).status is PaymentStatus.FAILED
    assert gateway.questions == ["charge", "find"]
    return now_of(memory, payment)


async def process(
    memory: Memory, inbox: StripeInbox, events: StripeEventService, event: StripeEvent
) -> StripeEventStatus:
    await inbox.receive([event])
    await events.process([event.id])
    return memory.state.stripe_statuses[event.id]


@pytest.mark.parametrize(
    ("kind", "standing"),
    [
        (AUTHORIZED, IntentStatus.REQUIRES_CAPTURE),
        ("payment_intent.requires_action", IntentStatus.REQUIRES_ACTION),
        ("payment_intent.payment_failed", IntentStatus.REQUIRES_PAYMENT_METHOD),
    ],
)
async def test_intent_that_an_event_tells_of_late_is_cancelled(
    charges: ChargeService,
    events: StripeEventService,
    inbox: StripeInbox,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    given_up: Payment,
    kind: str,
    standing: IntentStatus,
) -> None:
    gateway.will("cancel", an_intent(IntentStatus.CANCELED, given_up))

    for _ in range(2):  # the second one tells what is known
        assert await process(memory, inbox, events, told(kind, given_up, standing)) == "processed"
        await charges.process([given_up.id])

    assert gateway.questions[2:] == ["cancel"]
    after = now_of(memory, given_up)
    assert (after.status, after.failure_code) == (PaymentStatus.FAILED, "charge_not_made")
    assert after.stripe_intent_id == f"pi_{given_up.id}"
    clock.advance(policy.lease_s)
    assert await charges.process([given_up.id]) == 0


async def test_authorization_that_a_stalled_worker_tells_of_is_cancelled(
    charges: ChargeService,
    settle: Coalescer[Outcome, bool],
    gateway: ScriptedGateway,
    memory: Memory,
    given_up: Payment,
) -> None:
    gateway.will("cancel", an_intent(IntentStatus.CANCELED, given_up))

    await settle.submit(Outcome(given_up.id, an_intent(IntentStatus.REQUIRES_CAPTURE, given_up)))
    await charges.process([given_up.id])

    assert gateway.questions[2:] == ["cancel"]
    assert now_of(memory, given_up).status is PaymentStatus.FAILED


async def test_authorization_is_cancelled_though_its_payment_is_given_up_while_its_event_is_read(
    charges: ChargeService,
    inbox: StripeInbox,
    settle: Coalescer[Outcome, bool],
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    given_up: Payment,
    gateway: ScriptedGateway,
) -> None:
    """The event's reader saw the payment alive; settlement, which locks it, does not."""
    payment = replace(given_up, status=PaymentStatus.UNKNOWN, failure_code=None)
    memory.state.payments[payment.id] = payment
    gateway.will("cancel", an_intent(IntentStatus.CANCELED, payment))

    async def give_up_first(outcomes: Sequence[Outcome]) -> Sequence[bool]:
        memory.state.payments[payment.id] = given_up
        return [await settle.submit(outcome) for outcome in outcomes]

    late: Coalescer[Outcome, bool] = Coalescer(give_up_first, max_batch=1)
    events = StripeEventService(memory.begin, [IntentEvents(memory.begin, gateway, late)], clock, policy)
    await process(memory, inbox, events, told(AUTHORIZED, payment, IntentStatus.REQUIRES_CAPTURE))
    await charges.process([payment.id])

    assert gateway.questions[2:] == ["cancel"]
    assert now_of(memory, payment).status is PaymentStatus.FAILED


@pytest.mark.parametrize("standing", [None, IntentStatus.PROCESSING, IntentStatus.REQUIRES_CAPTURE])
async def test_cancellation_that_fails_is_tried_again(
    charges: ChargeService,
    events: StripeEventService,
    inbox: StripeInbox,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    given_up: Payment,
    standing: IntentStatus | None,
) -> None:
    failure = Unsure("timeout") if standing is None else an_intent(standing, given_up)
    gateway.will("cancel", failure, an_intent(IntentStatus.CANCELED, given_up))
    await process(memory, inbox, events, told(AUTHORIZED, given_up, IntentStatus.REQUIRES_CAPTURE))

    for _ in range(3):
        await charges.process([given_up.id])
        clock.advance(policy.lease_s)

    assert gateway.questions[2:] == ["cancel", "cancel"]


async def test_authorization_that_was_captured_before_it_could_be_cancelled_is_booked(
    charges: ChargeService,
    events: StripeEventService,
    inbox: StripeInbox,
    gateway: ScriptedGateway,
    memory: Memory,
    given_up: Payment,
) -> None:
    gateway.will("cancel", succeeded(given_up))
    await process(memory, inbox, events, told(AUTHORIZED, given_up, IntentStatus.REQUIRES_CAPTURE))

    await charges.process([given_up.id])

    after = now_of(memory, given_up)
    assert (after.status, after.captured_minor) == (PaymentStatus.SUCCEEDED, 1999)
    assert gateway.questions[2:] == ["cancel"]
