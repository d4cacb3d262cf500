"""The inbox of Stripe's webhooks: stored once, and announced when nothing else brings what they tell."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from domain.errors import Unavailable
from domain.payments.model import Payment
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import ChargeReport, StripeEvent, StripeEventStatus
from domain.settlement.ports import SettlementTransaction
from domain.work import Work
from tests.builders import Shop, a_stripe_event
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer
from tests.domain.settlement.told import told


async def test_event_is_stored_and_announced_once(
    inbox: StripeInbox, announcer: RecordingAnnouncer, memory: Memory
) -> None:
    one, two = a_stripe_event(), a_stripe_event()

    assert await inbox.receive([one, two, one]) == [True, True, False]
    assert await inbox.receive([two]) == [False]

    assert sorted(announcer.announced[Work.STRIPE_EVENTS]) == sorted([one.id, two.id])
    assert memory.state.stripe_events == {one.id: one, two.id: two}


async def awaited_events(memory: Memory, clock: FakeClock, *payments: Payment) -> list[StripeEvent]:
    """Let a worker hold payments, and return the events that come meanwhile."""
    async with memory.begin() as tx:
        ids = [payment.id for payment in payments]
        await tx.payment_work.lease(ids, clock.now(), clock.now() + timedelta(seconds=30))
        await tx.commit()
    return [
        replace(told("payment_intent.succeeded", each), report=ChargeReport(each.id, f"pi_{each.id}"))
        for each in payments
    ]


async def test_event_of_a_payment_that_is_being_charged_is_held_until_that_is_booked(
    announcer: RecordingAnnouncer, memory: Memory, clock: FakeClock, payment: Payment, shop: Shop
) -> None:
    inbox = StripeInbox(memory.begin, announcer, clock, republish_after_s=30, hold_s=3_600)
    events = await awaited_events(memory, clock, payment, await shop.payment(await shop.order()))

    assert await inbox.receive(events) == [True, True]
    assert not announcer.announced[Work.STRIPE_EVENTS]
    memory.state.payments[payment.id] = replace(payment, stripe_intent_id=f"pi_{payment.id}", fee_minor=88)
    await inbox.close()

    assert announcer.announced[Work.STRIPE_EVENTS] == [events[1].id]
    assert memory.state.stripe_statuses[events[0].id] is StripeEventStatus.PROCESSED


async def test_held_event_is_announced_when_the_database_is_away(
    announcer: RecordingAnnouncer, memory: Memory, clock: FakeClock, payment: Payment
) -> None:
    is_away = False

    @asynccontextmanager
    async def begin() -> AsyncIterator[SettlementTransaction]:
        if is_away:
            raise Unavailable("the database is out of reach", code="database_unavailable")
        async with memory.begin() as tx:
            yield tx

    inbox = StripeInbox(begin, announcer, clock, republish_after_s=30, hold_s=3_600)
    (event,) = await awaited_events(memory, clock, payment)
    await inbox.receive([event])

    is_away = True
    await inbox.close()

    assert announcer.announced[Work.STRIPE_EVENTS] == [event.id]
