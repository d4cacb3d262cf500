"""Deliveries to webhook endpoints: one contract for PostgreSQL and for the fakes of the domain's tests."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from domain.ids import uuid7
from domain.notifications.model import (
    DeliveryStatus,
    DisabledReason,
    EndpointStatus,
    Origin,
)
from domain.pages import PageRequest
from domain.work import Work
from tests.builders import (
    NOW,
    Begin,
    Shop,
    a_refund,
    a_requested_refund,
    a_seller_account,
)
from tests.db.contracts.delivering import LONG_AGO, UNTIL, add, ended, lease, told
from tests.paid_out import drafted, earned


async def test_event_is_promised_to_the_endpoints_that_want_it_and_may_know(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        everything = await add(tx, shop.buyer.id)
        kind = await add(tx, shop.buyer.id, events=("order.*", "order.paid"))
        sees_all = await add(tx, shop.seller.id, sees_all=True)
        deaf = [
            await add(tx, shop.buyer.id, events=("payment.*",)),
            await add(tx, shop.seller.id),
            await add(tx, shop.buyer.id, status=EndpointStatus.DISABLED, disabled_reason=DisabledReason.GONE),
            await add(tx, shop.buyer.id, status=EndpointStatus.DELETED, secret=""),
        ]
        one = told(shop.buyer.id)
        await tx.events.append([one])

        leased = await lease(tx, everything, kind, sees_all, *deaf)
        (again,) = (await tx.deliveries.page(kind.id, PageRequest(10), status=None)).rows

    assert sorted(one.endpoint_id for one in leased) == sorted(e.id for e in (everything, kind, sees_all))
    first = leased[0]
    assert (first.event_id, first.event_type, first.subject_id) == (one.id, one.type, one.subject_id)
    assert (dict(first.data), first.occurred_at, first.attempts, first.tries) == (one.data, NOW, 1, 1)
    assert (again.event_id, again.status, again.due_at, again.locked_until) == (one.id, "pending", UNTIL, UNTIL)


async def test_sequence_grows_with_the_events_of_a_subject(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        endpoint = await add(tx, shop.buyer.id)
        subject = uuid7()
        for kind in ("order.paid", "order.shipped", "order.completed"):
            await tx.events.append([told(shop.buyer.id, kind, subject_id=subject)])

        leased = sorted(await lease(tx, endpoint), key=lambda delivery: delivery.sequence)

    assert [delivery.event_type for delivery in leased] == ["order.paid", "order.shipped", "order.completed"]
    assert len({delivery.sequence for delivery in leased}) == 3


async def test_lease_deals_out_the_room_beside_what_is_on_its_way(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        one, other = await add(tx, shop.buyer.id), await add(tx, shop.seller.id)
        await tx.events.append([told(owner) for owner in (shop.buyer.id, shop.seller.id) for _ in range(5)])

        first = await lease(tx, one, room=2)
        second = await lease(tx, one, other, room=3, limit=2)
        third = await lease(tx, one, other, room=3)

    assert [(d.endpoint_id, d.busy) for d in first] == [(one.id, 0)] * 2
    assert [(d.endpoint_id, d.busy) for d in second] == [(other.id, 0)] * 2
    assert sorted((d.endpoint_id, d.busy) for d in third) == sorted([(one.id, 2), (other.id, 2)])


async def test_conclusion_ends_a_delivery_or_makes_it_due_later(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        endpoint = await add(tx, shop.buyer.id)
        await tx.events.append([told(shop.buyer.id) for _ in range(2)])
        good, bad = await lease(tx, endpoint)
        await tx.deliveries.conclude([ended(good, 204), ended(bad, 500)])
        await tx.deliveries.conclude([ended(good, 500)])  # told twice: the first word stands

        done, waits = await tx.deliveries.by_id(good.id), await tx.deliveries.by_id(bad.id)
        (listed,) = (await tx.deliveries.page(endpoint.id, PageRequest(9), status=DeliveryStatus.DELIVERED)).rows

    assert done == listed
    assert (done.status, done.due_at, done.locked_until, done.attempts) == ("delivered", None, None, 1)
    assert (waits.status, waits.due_at) == ("pending", NOW + timedelta(seconds=5))
    (attempt,) = waits.log
    assert (attempt.number, attempt.at, attempt.latency_ms, attempt.error) == (1, NOW, 12, None)
    assert (attempt.response_status, attempt.response_start) == (500, "the start")


async def test_lease_brings_the_payment_that_an_event_tells_of(any_begin: Begin, shop: Shop) -> None:
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    payment = await shop.payment(await shop.order(), traceparent=traceparent, request_id="request-1")
    async with any_begin() as tx:
        endpoint = await add(tx, shop.buyer.id)
        of_payment = told(shop.buyer.id, "payment.succeeded", subject_id=payment.id, data={})
        of_order = told(shop.buyer.id, "order.paid", data={"payment_id": str(payment.id)})
        of_neither = told(shop.buyer.id, "order.placed", data={"payment_id": None})
        await tx.events.append([of_payment, of_order, of_neither])

        leased = {delivery.event_id: delivery.origin for delivery in await lease(tx, endpoint)}

    origin = Origin(payment.id, traceparent, "request-1")
    assert leased == {of_payment.id: origin, of_order.id: origin, of_neither.id: None}


async def test_lease_brings_the_refund_payout_or_account_that_an_event_tells_of(
    any_begin: Begin, shop: Shop
) -> None:
    payment = await earned(shop, traceparent="00-1", request_id="of-the-payment")
    payout = await drafted(shop, traceparent="00-2", request_id="of-the-payout")
    assert payout is not None
    refund = a_requested_refund(payment, shop, lines=(), traceparent="00-3", request_id="of-the-refund")
    nobodys = a_refund(payment, amount_minor=1)
    account = a_seller_account(shop.seller.id, traceparent="00-4", request_id="of-the-onboarding")
    async with any_begin() as tx:
        await tx.refunds.add([refund, nobodys], publish_at=UNTIL)
        await tx.seller_accounts.add(account, publish_at=UNTIL)
        endpoint = await add(tx, shop.seller.id)
        of_payment = Origin(payment.id, "00-1", "of-the-payment")
        of_payout = Origin(None, "00-2", "of-the-payout")
        about = {"payment_id": str(payment.id)}
        seller, told_of = shop.seller.id, partial(told, shop.seller.id)
        events = [
            (
                told_of("refund.succeeded", data={"refund_id": str(refund.id)}),
                Origin(payment.id, "00-3", "of-the-refund"),
            ),
            (told_of("refund.failed", subject_id=payment.id, data={"refund_id": str(nobodys.id)}), of_payment),
            (told_of("payout.paid", subject_id=payout.id, data={}), of_payout),
            (
                told_of("payout.reversal_failed", subject_id=payout.id, data=about),
                of_payout,
            ),
            (
                told_of("seller.payouts_enabled", subject_id=seller, data={}),
                Origin(None, "00-4", "of-the-onboarding"),
            ),
            (told_of("seller.commission_changed", subject_id=seller, data={}), None),
        ]
        await tx.events.append([each for each, _ in events])

        leased = {delivery.event_id: delivery.origin for delivery in await lease(tx, endpoint)}

    assert leased == {each.id: origin for each, origin in events}


async def test_waiting_endpoints_are_announced_while_something_is_due(any_begin: Begin, shop: Shop) -> None:
    async def claimed() -> list[Any]:
        found = await tx.due_work.claim(Work.DELIVERIES, NOW, republish_after_s=30, limit=100_000)
        ours = {endpoint.id for endpoint in (waiting, resting, idle)}
        return [row for row in found if row in ours]

    async with any_begin() as tx:
        waiting = await add(tx, shop.buyer.id)
        resting = await add(tx, shop.buyer.id, resume_at=UNTIL)
        idle = await add(tx, shop.seller.id)
        await tx.events.append([told(shop.buyer.id) for _ in range(3)])

        assert [await claimed(), await claimed()] == [[waiting.id], [waiting.id]]
        await lease(tx, waiting)
        assert await claimed() == []


async def test_backlog_counts_what_endpoints_that_are_well_wait_for(any_begin: Begin, shop: Shop) -> None:
    async def due() -> int:
        return next(each.due for each in await tx.due_work.backlogs(NOW) if each.work is Work.DELIVERIES)

    async with any_begin() as tx:
        endpoint = await add(tx, shop.buyer.id)
        await tx.events.append([told(shop.buyer.id) for _ in range(3)])
        all_due = await due()  # with what other tests' endpoints wait for
        await lease(tx, endpoint, room=1)
        assert all_due - await due() == 1
        failing = replace(endpoint, failures=3, failing_since=NOW)
        gone = replace(endpoint, status=EndpointStatus.DISABLED, disabled_reason=DisabledReason.GONE)
        for ill in (failing, gone):
            await tx.webhook_endpoints.save([ill])
            assert all_due - await due() == 3
            await tx.webhook_endpoints.save([endpoint])
            assert all_due - await due() == 1


async def test_old_deliveries_that_are_over_are_forgotten_and_others_stay(any_begin: Begin, shop: Shop) -> None:
    cutoff = NOW + timedelta(days=1)  # later than all ids that this test makes
    async with any_begin() as tx:
        endpoint, deleted = await add(tx, shop.buyer.id), await add(tx, shop.seller.id)
        await tx.events.append([told(owner) for owner in (shop.buyer.id,) * 3 + (shop.seller.id,)])
        over, held = await lease(tx, endpoint, room=2)
        await tx.deliveries.conclude([ended(over, 200)])
        await tx.webhook_endpoints.save([replace(deleted, status=EndpointStatus.DELETED, secret="")])

        # What waits for a deleted endpoint goes, however young it is.
        assert await tx.deliveries.prune(LONG_AGO, NOW, limit=100_000) >= 1
        assert (await tx.deliveries.page(deleted.id, PageRequest(9), status=None)).rows == []
        assert await tx.deliveries.by_id(over.id) is not None

        assert await tx.deliveries.prune(cutoff, NOW, limit=100_000) >= 1
        assert await tx.deliveries.by_id(over.id) is None
        left = (await tx.deliveries.page(endpoint.id, PageRequest(9), status=None)).rows
        assert len(left) == 2
        assert held.id in {delivery.id for delivery in left}


async def test_owner_who_is_suspended_is_told_nothing(any_begin: Begin, shop: Shop) -> None:
    """What waited before goes on when the owner is let in again; what happens meanwhile is missed."""
    async with any_begin() as tx:
        endpoint = await add(tx, shop.buyer.id)
        other = await add(tx, shop.seller.id)
        waited, missed, later = (told(shop.buyer.id) for _ in range(3))
        await tx.events.append([waited])

        await tx.users.set_suspended(shop.buyer.id, NOW)
        await tx.events.append([missed, told(shop.seller.id)])
        locked = await tx.webhook_endpoints.lock(sorted([endpoint.id, other.id]))
        claimed = await tx.due_work.claim(Work.DELIVERIES, NOW, republish_after_s=30, limit=100_000)

        assert (locked[endpoint.id].is_owner_suspended, locked[other.id].is_owner_suspended) == (True, False)
        assert (endpoint.id in claimed, other.id in claimed) == (False, True)

        await tx.users.set_suspended(shop.buyer.id, None)
        await tx.events.append([later])
        locked = await tx.webhook_endpoints.lock([endpoint.id])
        claimed = await tx.due_work.claim(Work.DELIVERIES, NOW, republish_after_s=30, limit=100_000)

        assert not locked[endpoint.id].is_owner_suspended
        assert endpoint.id in claimed
        assert {delivery.event_id for delivery in await lease(tx, endpoint)} == {waited.id, later.id}
