"""Deliveries that are asked for again: one contract for PostgreSQL and for the fakes of the domain's tests."""

from datetime import timedelta

import pytest

from tests.builders import (
    NOW,
    Begin,
    Shop,
)
from tests.db.contracts.delivering import LATER, add, ended, lease, told


async def test_delivery_that_is_over_can_be_asked_for_again(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        endpoint = await add(tx, shop.buyer.id)
        await tx.events.append([told(shop.buyer.id)])
        (leased,) = await lease(tx, endpoint)
        await tx.deliveries.conclude([ended(leased, 410)])
        assert await lease(tx, endpoint) == []

        await tx.deliveries.ask_again(leased.id, NOW)
        (again,) = await lease(tx, endpoint)

    assert (again.id, again.attempts, again.tries) == (leased.id, 2, 1)


async def test_span_is_asked_for_again_with_what_was_missed(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        missed = told(shop.buyer.id)
        await tx.events.append([missed, told(shop.buyer.id, "payment.failed"), told(shop.seller.id)])
        endpoint = await add(tx, shop.buyer.id, events=("order.*",))
        await tx.events.append([told(shop.buyer.id) for _ in range(3)])
        good, bad, _ = await lease(tx, endpoint)
        await tx.deliveries.conclude([ended(good, 200), ended(bad, 410)])

        async def again(*, only_failed: bool) -> int:
            asked = await tx.deliveries.ask_again_between(endpoint, NOW, LATER, NOW, only_failed=only_failed)
            assert asked.next_after is None
            return int(asked.scheduled)

        # One failed and one was missed; then the one that was delivered.
        assert [await again(only_failed=True), await again(only_failed=True)] == [2, 0]
        assert await again(only_failed=False) == 1
        assert (
            await tx.deliveries.ask_again_between(
                endpoint, LATER, LATER + timedelta(days=1), NOW, only_failed=False
            )
        ).scheduled == 0
        found = await lease(tx, endpoint)

    assert {delivery.event_id for delivery in found} == {missed.id, good.event_id, bad.event_id}


async def test_named_events_are_asked_for_again_with_what_was_missed(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        missed, unwanted, foreign = (
            told(shop.buyer.id), told(shop.buyer.id, "payment.failed"), told(shop.seller.id)
        )  # fmt: skip
        await tx.events.append([missed, unwanted, foreign])
        endpoint = await add(tx, shop.buyer.id, events=("order.*",))
        await tx.events.append([told(shop.buyer.id) for _ in range(4)])
        good, bad, later, _ = await lease(tx, endpoint)
        await tx.deliveries.conclude([ended(good, 200), ended(bad, 410), ended(later, 500)])

        named = [missed.id, unwanted.id, foreign.id, good.event_id, bad.event_id, later.event_id]
        asked = await tx.deliveries.ask_again_for(endpoint, sorted(named), NOW)
        found = await lease(tx, endpoint)
        # What is being sent is left alone.
        assert (await tx.deliveries.ask_again_for(endpoint, sorted(named), NOW)).scheduled == 0

    assert (asked.scheduled, asked.next_after) == (4, None)
    assert {delivery.event_id for delivery in found} == {
        missed.id, good.event_id, bad.event_id, later.event_id
    }  # fmt: skip
    assert {delivery.tries for delivery in found} == {1}


async def test_long_span_is_asked_for_in_parts_whatever_lies_before_it(
    any_begin: Begin, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happened in the minutes before is looked at too, since an id may be a little older than its event."""
    monkeypatch.setattr("db.deliveries.MAX_SCANNED", 3)
    async with any_begin() as tx:
        before = [told(shop.buyer.id, created_at=NOW - timedelta(seconds=10)) for _ in range(10)]
        wanted = [told(shop.buyer.id) for _ in range(5)]
        await tx.events.append([*before, *wanted])
        endpoint = await add(tx, shop.buyer.id)
        scheduled, parts, after = 0, 0, None

        while parts == 0 or after is not None:
            asked = await tx.deliveries.ask_again_between(endpoint, NOW, LATER, NOW, only_failed=True, after=after)
            scheduled, parts, after = scheduled + asked.scheduled, parts + 1, asked.next_after
            assert parts < 10_000

        assert scheduled == len(wanted)
        assert {delivery.event_id for delivery in await lease(tx, endpoint)} == {each.id for each in wanted}
