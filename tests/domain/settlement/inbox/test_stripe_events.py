"""Webhooks, processed against a scripted Stripe."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, permutations

import pytest

from domain.coalescer import Coalescer
from domain.errors import Unavailable
from domain.payments.model import PAYMENT_TRANSITIONS, Capture, Payment, PaymentStatus
from domain.settlement.answers import Answer, Intent, IntentStatus, Refusal, Unsure
from domain.settlement.inbox.account_events import ACCOUNT_UPDATED, AccountEvents
from domain.settlement.inbox.intent_events import CHARGE_UPDATED, INTENT_EVENTS, IntentEvents
from domain.settlement.inbox.stripe_events import StripeEventService
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import ChargeReport, Outcome, SettlementPolicy, StripeEvent, StripeEventStatus
from domain.work import Work
from tests.builders import Shop, a_payment, a_seller_account, a_stripe_event
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer, ScriptedGateway
from tests.domain.settlement.told import told
from tests.stripe_answers import an_intent, declined, succeeded


@pytest.fixture
def service(
    memory: Memory,
    gateway: ScriptedGateway,
    settle: Coalescer[Outcome, bool],
    clock: FakeClock,
    policy: SettlementPolicy,
) -> StripeEventService:
    return StripeEventService(memory.begin, [IntentEvents(memory.begin, gateway, settle)], clock, policy)


async def process(
    memory: Memory, inbox: StripeInbox, service: StripeEventService, *events: StripeEvent
) -> list[StripeEventStatus]:
    """Receive and process events; return what became of each."""
    await inbox.receive(events)
    await service.process([event.id for event in events])
    return [memory.state.stripe_statuses[event.id] for event in events]


async def test_event_that_tells_what_is_booked_is_stored_and_not_announced(
    inbox: StripeInbox,
    service: StripeEventService,
    announcer: RecordingAnnouncer,
    memory: Memory,
    payment: Payment,
) -> None:
    first = told("payment_intent.succeeded", payment)
    await process(memory, inbox, service, first)
    booked = memory.state.payments[payment.id]
    assert booked.stripe_intent_id is not None
    memory.state.payments[payment.id] = replace(booked, fee_minor=88)

    again = replace(first, id=f"{first.id}_again", report=ChargeReport(payment.id, booked.stripe_intent_id))
    assert await inbox.receive([again]) == [True]

    assert announcer.announced[Work.STRIPE_EVENTS] == [first.id]
    assert memory.state.stripe_statuses[again.id] is StripeEventStatus.PROCESSED


async def test_success_is_settled_once(
    inbox: StripeInbox, service: StripeEventService, memory: Memory, payment: Payment
) -> None:
    first, second = (told("payment_intent.succeeded", payment) for _ in range(2))

    assert await process(memory, inbox, service, first, second) == [StripeEventStatus.PROCESSED] * 2
    assert await service.process([first.id]) == 0

    assert memory.state.payments[payment.id].status is PaymentStatus.SUCCEEDED
    assert len(memory.state.journals) == 1


async def test_second_intent_that_takes_money_for_a_payment_waits_for_a_person(
    inbox: StripeInbox, service: StripeEventService, memory: Memory, payment: Payment
) -> None:
    """Though all that the payment is to bring is booked."""
    await process(memory, inbox, service, told("payment_intent.succeeded", payment))
    booked = memory.state.payments[payment.id] = replace(memory.state.payments[payment.id], fee_minor=88)

    second = told("payment_intent.succeeded", payment, id="pi_second", latest_charge="ch_second")
    await process(memory, inbox, service, second)

    assert memory.state.payments[payment.id] == booked
    assert memory.state.quarantined == {payment.id: "a second intent of the payment was captured"}


async def test_success_that_names_no_charge_is_read_from_stripe(
    inbox: StripeInbox, service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("retrieve", succeeded(payment))
    of_an_old_version = told("payment_intent.succeeded", payment, latest_charge=None)

    assert await process(memory, inbox, service, of_an_old_version) == [StripeEventStatus.PROCESSED]

    assert memory.state.payments[payment.id].stripe_charge_id == f"ch_{payment.id}"
    assert [journal.source for journal in memory.state.journals][:1] == [f"ch_{payment.id}"]


async def test_failure_cancels_the_intent_before_the_payment_fails(
    inbox: StripeInbox, service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("retrieve", declined(payment, "lost_card"))
    gateway.will("cancel", an_intent(IntentStatus.CANCELED, payment))
    error = {"code": "card_declined", "decline_code": "lost_card"}
    failed = told(
        "payment_intent.payment_failed", payment, IntentStatus.REQUIRES_PAYMENT_METHOD, last_payment_error=error
    )

    await process(memory, inbox, service, failed)

    after = memory.state.payments[payment.id]
    assert (after.status, after.failure_code) == (PaymentStatus.FAILED, "lost_card")
    assert gateway.questions == ["retrieve", "cancel"]


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("payment_intent.requires_action", IntentStatus.REQUIRES_ACTION, PaymentStatus.REQUIRES_ACTION),
        (
            "payment_intent.amount_capturable_updated",
            IntentStatus.REQUIRES_CAPTURE,
            PaymentStatus.REQUIRES_CAPTURE,
        ),
        ("payment_intent.canceled", IntentStatus.CANCELED, PaymentStatus.CANCELED),
    ],
)
async def test_other_news_of_an_intent_are_settled(
    inbox: StripeInbox,
    service: StripeEventService,
    memory: Memory,
    payment: Payment,
    kind: str,
    status: IntentStatus,
    expected: PaymentStatus,
) -> None:
    await process(memory, inbox, service, told(kind, payment, status))

    assert memory.state.payments[payment.id].status is expected


@pytest.mark.parametrize("status", [IntentStatus.REQUIRES_PAYMENT_METHOD, IntentStatus.CANCELED])
async def test_stale_failure_after_success_changes_nothing(
    inbox: StripeInbox,
    service: StripeEventService,
    gateway: ScriptedGateway,
    memory: Memory,
    payment: Payment,
    status: IntentStatus,
) -> None:
    await process(memory, inbox, service, told("payment_intent.succeeded", payment))
    before = memory.state

    stale = told("payment_intent.payment_failed", payment, status)
    assert await process(memory, inbox, service, stale) == [StripeEventStatus.PROCESSED]

    assert memory.state.payments == before.payments
    assert memory.state.orders == before.orders
    assert memory.state.journals == before.journals
    assert gateway.questions == []


async def test_failure_that_is_told_after_the_authorization_changes_nothing(
    inbox: StripeInbox, service: StripeEventService, gateway: ScriptedGateway, memory: Memory, shop: Shop
) -> None:
    payment = await shop.payment(await shop.order(), capture=Capture.MANUAL)
    authorized = told("payment_intent.amount_capturable_updated", payment, IntentStatus.REQUIRES_CAPTURE)
    await process(memory, inbox, service, authorized)
    before = memory.state.payments[payment.id]
    gateway.will("retrieve", an_intent(IntentStatus.REQUIRES_CAPTURE, payment))

    late = told("payment_intent.payment_failed", payment, IntentStatus.REQUIRES_PAYMENT_METHOD)
    assert await process(memory, inbox, service, late) == [StripeEventStatus.PROCESSED]

    assert memory.state.payments[payment.id] == before
    assert gateway.questions == ["retrieve"]


async def test_failure_waits_until_stripe_says_how_the_intent_stands(
    inbox: StripeInbox,
    service: StripeEventService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
) -> None:
    gateway.will("retrieve", Unsure("timeout"), declined(payment))
    gateway.will("cancel", an_intent(IntentStatus.CANCELED, payment))
    failed = told("payment_intent.payment_failed", payment, IntentStatus.REQUIRES_PAYMENT_METHOD)

    assert await process(memory, inbox, service, failed) == [StripeEventStatus.RECEIVED]
    assert memory.state.payments[payment.id] == payment
    clock.advance(policy.lease_s)
    assert await process(memory, inbox, service, failed) == [StripeEventStatus.PROCESSED]

    assert memory.state.payments[payment.id].status is PaymentStatus.FAILED


async def test_failure_of_an_intent_that_stripe_denies_waits_for_a_person(
    inbox: StripeInbox, service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("retrieve", Refusal("resource_missing"))
    failed = told("payment_intent.payment_failed", payment, IntentStatus.REQUIRES_PAYMENT_METHOD)

    assert await process(memory, inbox, service, failed) == [StripeEventStatus.QUARANTINED]

    assert memory.state.payments[payment.id] == payment


STORY: dict[str, tuple[str, IntentStatus]] = {
    "asked to act": ("payment_intent.requires_action", IntentStatus.REQUIRES_ACTION),
    "declined once": ("payment_intent.payment_failed", IntentStatus.REQUIRES_PAYMENT_METHOD),
    "authorized": ("payment_intent.amount_capturable_updated", IntentStatus.REQUIRES_CAPTURE),
    "paid": ("payment_intent.succeeded", IntentStatus.SUCCEEDED),
    "given up": ("payment_intent.canceled", IntentStatus.CANCELED),
}


class StandingGateway(ScriptedGateway):
    """A Stripe where intents stand somewhere, and which cancels each that has not succeeded."""

    def __init__(self) -> None:
        super().__init__()
        self.standing: dict[str, Intent] = {}

    async def retrieve(self, intent_id: str) -> Answer:
        return self.standing[intent_id]

    async def cancel(self, intent_id: str) -> Answer:
        intent = self.standing[intent_id]
        if intent.status is not IntentStatus.SUCCEEDED:
            self.standing[intent_id] = replace(intent, status=IntentStatus.CANCELED)
        return self.standing[intent_id]


ENDS = {
    "authorized": PaymentStatus.REQUIRES_CAPTURE,
    "paid": PaymentStatus.SUCCEEDED,
    "given up": PaymentStatus.CANCELED,
}


@pytest.mark.parametrize("end", list(ENDS))
async def test_events_in_any_order_end_where_stripe_ended(
    inbox: StripeInbox,
    settle: Coalescer[Outcome, bool],
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    shop: Shop,
    end: str,
) -> None:
    """Each story is told in every order and its events come again at the end; none moves a state back."""
    truth, gateway = ENDS[end], StandingGateway()
    service = StripeEventService(memory.begin, [IntentEvents(memory.begin, gateway, settle)], clock, policy)
    for order in permutations(dict.fromkeys(["asked to act", "declined once", "authorized", end])):
        payment = await shop.payment(await shop.order())
        intent = an_intent(STORY[end][1], payment)
        gateway.standing[intent.intent_id] = intent
        walk = [payment.status]
        for part in (*order, *reversed(order)):
            kind, status = STORY[part]
            await process(memory, inbox, service, told(kind, payment, status))
            walk.append(memory.state.payments[payment.id].status)

        assert walk[-1] is truth, order
        steps = [(before, after) for before, after in pairwise(walk) if before is not after]
        assert all(after in PAYMENT_TRANSITIONS[before] for before, after in steps), (order, steps)
        assert truth not in [before for before, _ in steps], (order, steps)
        booked = [journal for journal in memory.state.journals if journal.payment_id == payment.id]
        assert len(booked) == (1 if end == "paid" else 0), order


async def test_fee_that_came_late_is_fetched_when_stripe_says_so(
    inbox: StripeInbox, service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("retrieve", succeeded(payment, fee_minor=88))
    await process(memory, inbox, service, told("payment_intent.succeeded", payment))

    for _ in range(2):
        await process(memory, inbox, service, told(CHARGE_UPDATED, payment))

    assert gateway.questions == ["retrieve"]
    assert memory.state.payments[payment.id].fee_minor == 88


async def test_repeated_success_of_a_payment_that_is_booked_to_the_cent_changes_nothing(
    inbox: StripeInbox, service: StripeEventService, gateway: ScriptedGateway, memory: Memory, payment: Payment
) -> None:
    gateway.will("retrieve", succeeded(payment, fee_minor=88))
    await process(memory, inbox, service, told("payment_intent.succeeded", payment))
    await process(memory, inbox, service, told(CHARGE_UPDATED, payment))
    before = memory.state

    again = told("payment_intent.succeeded", payment)
    assert await process(memory, inbox, service, again) == [StripeEventStatus.PROCESSED]

    assert memory.state.payments == before.payments
    assert memory.state.journals == before.journals


async def test_events_about_nothing_of_ours_are_sorted_out(
    inbox: StripeInbox, service: StripeEventService, memory: Memory, payment: Payment
) -> None:
    unknown_type = a_stripe_event("customer.created")
    foreign = told("payment_intent.succeeded", a_payment())
    without_metadata = told("payment_intent.succeeded", payment, metadata={})
    garbage = [
        a_stripe_event(body=body)
        for body in ("", "[]", "{}", '{"data":{"object":[1]}}', '{"data":{"object":"x"}}', "[" * 60_000)
    ]
    odd_intents = [
        told("payment_intent.succeeded", payment, **raw)
        for raw in ({"status": "melted"}, {"amount_received": "much"}, {"amount_received": [1]})
    ]
    good = told("payment_intent.succeeded", payment)

    statuses = await process(
        memory, inbox, service, unknown_type, foreign, without_metadata, *garbage, *odd_intents, good
    )

    assert statuses == [
        StripeEventStatus.IGNORED,
        StripeEventStatus.UNMATCHED,
        StripeEventStatus.UNMATCHED,
        *[StripeEventStatus.QUARANTINED] * 9,
        StripeEventStatus.PROCESSED,
    ]
    assert memory.state.payments[payment.id].status is PaymentStatus.SUCCEEDED


async def test_event_whose_processing_was_cut_off_is_due_again_when_its_lease_has_ended(
    inbox: StripeInbox,
    service: StripeEventService,
    gateway: ScriptedGateway,
    memory: Memory,
    clock: FakeClock,
    policy: SettlementPolicy,
    payment: Payment,
) -> None:
    event = told("payment_intent.succeeded", payment)
    settle: Coalescer[Outcome, bool] = Coalescer(out_of_reach, max_batch=1)
    cut_off = StripeEventService(memory.begin, [IntentEvents(memory.begin, gateway, settle)], clock, policy)
    with pytest.raises(Unavailable):
        await process(memory, inbox, cut_off, event)
    assert memory.state.stripe_statuses[event.id] is StripeEventStatus.RECEIVED

    clock.advance(policy.lease_s - 1)
    assert await service.process([event.id]) == 0
    clock.advance(1)
    assert await service.process([event.id]) == 1

    assert memory.state.stripe_statuses[event.id] is StripeEventStatus.PROCESSED
    assert memory.state.payments[payment.id].status is PaymentStatus.SUCCEEDED


async def test_newest_events_are_taken_beside_a_backlog(
    inbox: StripeInbox, service: StripeEventService, memory: Memory, clock: FakeClock
) -> None:
    backlog = [a_stripe_event("customer.created", received_at=clock.now()) for _ in range(200)]
    await inbox.receive(backlog)
    clock.advance(3600)
    new = [a_stripe_event("customer.created", received_at=clock.now()) for _ in range(10)]
    await inbox.receive(new)

    assert await service.process([event.id for event in backlog[:20]]) == 20 + 64

    assert {memory.state.stripe_statuses[event.id] for event in new} == {StripeEventStatus.IGNORED}
    handled = [memory.state.stripe_statuses[event.id] for event in backlog]
    assert handled.count(StripeEventStatus.IGNORED) == 20 + 64 - len(new)


async def test_events_in_time_are_taken_alone(
    inbox: StripeInbox, service: StripeEventService, clock: FakeClock
) -> None:
    events = [a_stripe_event("customer.created", received_at=clock.now()) for _ in range(20)]
    await inbox.receive(events)
    clock.advance(1)

    assert await service.process([event.id for event in events[:5]]) == 5


async def out_of_reach(_: Sequence[Outcome]) -> list[bool]:
    raise Unavailable("the database is out of reach")


def test_intent_events_are_stripes_names() -> None:
    assert all(kind.startswith("payment_intent.") for kind in INTENT_EVENTS)


async def test_what_a_connected_account_tells_of_its_own_intent_pays_for_nothing(
    service: StripeEventService, memory: Memory, payment: Payment
) -> None:
    """Whoever has such an account's keys may write our payment's id on it."""
    event = told("payment_intent.succeeded", payment, amount_received=1)
    theirs = replace(event, body=json.dumps({"account": "acct_1", **json.loads(event.body)}))
    async with memory.begin() as tx:
        await tx.stripe_events.add([theirs], publish_at=theirs.received_at)
        await tx.commit()

    await service.process([theirs.id])

    assert memory.state.stripe_statuses[theirs.id] is StripeEventStatus.IGNORED
    assert memory.state.payments[payment.id].status is PaymentStatus.PENDING


async def test_what_a_connected_account_tells_of_itself_is_read(
    memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, policy: SettlementPolicy, shop: Shop
) -> None:
    async with memory.begin() as tx:
        await tx.seller_accounts.add(a_seller_account(shop.seller.id), publish_at=clock.now())
        await tx.commit()
    raw = {
        "object": "account",
        "id": "acct_1",
        "payouts_enabled": True,
        "metadata": {"seller_id": str(shop.seller.id)},
    }
    event = a_stripe_event(ACCOUNT_UPDATED, json.dumps({"account": "acct_1", "data": {"object": raw}}))
    async with memory.begin() as tx:
        await tx.stripe_events.add([event], publish_at=event.received_at)
        await tx.commit()
    readers = [AccountEvents(memory.begin, announcer, clock, policy)]

    await StripeEventService(memory.begin, readers, clock, policy).process([event.id])

    assert memory.state.stripe_statuses[event.id] is StripeEventStatus.PROCESSED
    assert announcer.announced[Work.ONBOARDINGS] == [shop.seller.id]
