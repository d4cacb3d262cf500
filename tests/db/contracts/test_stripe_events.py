"""The contract of the repositories, in PostgreSQL and in memory: Stripe's events."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.payments.model import Payment, PaymentStatus
from domain.settlement.model import Arrival, ChargeReport, EventWindow, PaymentChange, StripeEventStatus
from tests.builders import NOW, Begin, Shop, a_stripe_event
from tests.db.contracts.reading import LATER


async def test_stripe_event_is_stored_once_leased_and_finished(any_begin: Begin) -> None:
    one, two = a_stripe_event(), a_stripe_event()

    async with any_begin() as tx:
        assert set(await tx.stripe_events.add([one, two], publish_at=LATER)) == {one.id, two.id}
        assert set(await tx.stripe_events.add([two], publish_at=LATER)) == set()
        leased = await tx.stripe_events.lease([one.id, two.id], NOW, LATER)
        assert sorted(leased, key=lambda row: row.id) == sorted(
            [replace(one, attempts=1), replace(two, attempts=1)], key=lambda row: row.id
        )
        await tx.stripe_events.finish({one.id: StripeEventStatus.IGNORED}, LATER)
        await tx.stripe_events.finish({}, LATER)
        assert [row.id for row in await tx.stripe_events.lease([one.id, two.id], LATER, LATER)] == [two.id]


@pytest.mark.parametrize(
    ("fee_minor", "object_id", "arrival"),
    [
        (88, "pi_booked", Arrival.TOLD),
        (88, "ch_booked", Arrival.TOLD),
        (None, "pi_booked", Arrival.NEWS),
        (88, "pi_another", Arrival.NEWS),
    ],
)
async def test_stripe_event_of_a_payment_booked_to_the_last_cent_is_done_with(
    any_begin: Begin, shop: Shop, fee_minor: int | None, object_id: str, arrival: Arrival
) -> None:
    payment = await shop.payment(await shop.order())
    event = a_stripe_event(report=ChargeReport(payment.id, object_id))
    async with any_begin() as tx:
        await tx.payment_work.save([PaymentChange(_captured(payment, fee_minor), None)])
        assert await tx.stripe_events.add([event], publish_at=LATER) == {event.id: arrival}
        leased = await tx.stripe_events.lease([event.id], NOW, LATER)
    assert [row.id for row in leased] == ([] if arrival is Arrival.TOLD else [event.id])


async def test_stripe_event_of_a_payment_that_a_worker_holds_is_done_with_when_that_is_booked(
    any_begin: Begin, shop: Shop
) -> None:
    payment, other = await shop.payment(await shop.order()), await shop.payment(await shop.order())
    of = {each.id: ChargeReport(each.id, "pi_booked") for each in (payment, other)}
    early, tried, unbooked, forged = (
        a_stripe_event(report=report)
        for report in (of[payment.id], of[payment.id], of[other.id], ChargeReport(payment.id, "pi_another"))
    )
    events = [early, tried, unbooked, forged]
    reports = {event.id: event.report for event in events if event.report is not None}
    async with any_begin() as tx:
        await tx.payment_work.lease([payment.id], NOW, LATER)
        arrivals = await tx.stripe_events.add(events, publish_at=LATER)
        assert await tx.stripe_events.finish_booked(reports, NOW) == set()
        await tx.payment_work.save([PaymentChange(_captured(payment, 88), None)])
        await tx.stripe_events.lease([tried.id], NOW, NOW)

        finished = [await tx.stripe_events.finish_booked(reports, NOW) for _ in range(2)]

        leased = await tx.stripe_events.lease([event.id for event in events], NOW, LATER)
    awaited = Arrival.AWAITED
    assert arrivals == {early.id: awaited, tried.id: awaited, unbooked.id: Arrival.NEWS, forged.id: awaited}
    assert finished == [{early.id}, set()]
    assert {row.id for row in leased} == {tried.id, unbooked.id, forged.id}


def _captured(payment: Payment, fee_minor: int | None) -> Payment:
    return replace(
        payment,
        status=PaymentStatus.SUCCEEDED,
        captured_minor=payment.amount_minor,
        fee_minor=fee_minor,
        stripe_intent_id="pi_booked",
        stripe_charge_id="ch_booked",
    )


LONG_AGO = NOW - timedelta(days=4_000)


async def test_newest_untried_stripe_events_are_leased_first(any_begin: Begin) -> None:
    future = NOW + timedelta(days=4_000)
    events = [a_stripe_event(received_at=future + timedelta(seconds=age_s)) for age_s in (1, 3, 0, 2)]
    when = future + timedelta(seconds=10)
    async with any_begin() as tx:
        await tx.stripe_events.add(events, publish_at=when)
        await tx.stripe_events.lease([events[1].id], when, when)

        leased = [await tx.stripe_events.lease_newest(2, when, when + timedelta(seconds=60)) for _ in range(2)]

    assert [{event.id for event in each} & {event.id for event in events} for each in leased] == [
        {events[3].id, events[0].id}, {events[2].id}
    ]  # fmt: skip
    assert {event.attempts for event in leased[0]} == {1}


async def test_handled_stripe_events_are_pruned_by_age_but_none_in_quarantine(any_begin: Begin) -> None:
    waits, kept, young, old = (a_stripe_event() for _ in range(4))
    async with any_begin() as tx:
        await tx.stripe_events.add([waits, kept, young, old], publish_at=LATER)
        await tx.stripe_events.finish({old.id: StripeEventStatus.PROCESSED}, LONG_AGO)
        await tx.stripe_events.finish({kept.id: StripeEventStatus.QUARANTINED}, LONG_AGO)
        await tx.stripe_events.finish({young.id: StripeEventStatus.IGNORED}, LONG_AGO + timedelta(seconds=2))

        before = LONG_AGO + timedelta(seconds=1)
        assert [await tx.stripe_events.prune(before, limit=10) for _ in range(2)] == [1, 0]
        ids = [waits.id, kept.id, young.id, old.id]
        assert set(await tx.stripe_events.missing(ids)) == {old.id}


async def test_handled_stripe_events_of_a_window_become_due_again_once(any_begin: Begin) -> None:
    at = [LONG_AGO + timedelta(seconds=seconds) for seconds in range(6)]
    kinds = ("charge.updated", "charge.refunded", "charge_updated", "charge.updated", "charge.updated")
    events = [a_stripe_event(kind, received_at=at[number]) for number, kind in enumerate(kinds)]
    window = EventWindow(at[0], at[4], "charge.*")
    async with any_begin() as tx:
        await tx.stripe_events.add(events, publish_at=LATER)
        await tx.stripe_events.lease([event.id for event in events], NOW, LATER)
        done = {event.id: StripeEventStatus.PROCESSED for event in events if event is not events[3]}
        await tx.stripe_events.finish(done, at[5])
        assert await tx.stripe_events.count(window, handled_since=at[0]) == {"processed": 2, "received": 1}
        assert await tx.stripe_events.count(window, handled_since=LATER) == {"received": 1}

        async def again(limit: int) -> int:
            return await tx.stripe_events.again(window, handled_before=LATER, now=NOW, limit=limit)

        assert [await again(1), await again(10), await again(10)] == [1, 1, 0]

        assert await tx.stripe_events.count(window, handled_since=at[0]) == {"received": 3}
        leased = await tx.stripe_events.lease([event.id for event in events], NOW, LATER)
        assert {(event.id, event.attempts) for event in leased} == {(events[0].id, 1), (events[1].id, 1)}
        await tx.stripe_events.finish({events[0].id: StripeEventStatus.PROCESSED}, LATER)
        assert await again(10) == 0
        exact = EventWindow(at[0], at[5], "charge.updated")
        assert await tx.stripe_events.count(exact, handled_since=LATER) == {"processed": 1, "received": 1}
