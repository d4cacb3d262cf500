"""The contract of the repositories, in PostgreSQL and in memory: rows that are due, whatever their kind."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.ids import uuid7
from domain.settlement.model import Backlog
from domain.work import Work
from tests.builders import NOW, Begin, Shop
from tests.db.contracts.reading import LATER
from tests.due_rows import KINDS, lease, save, store_due


async def test_due_rows_are_claimed_once_a_while(any_begin: Begin, shop: Shop) -> None:
    old, new = await shop.payment(created_at=NOW - timedelta(seconds=100)), await shop.payment()
    ours = [old.id, new.id]

    async def claim(at_s: float) -> list[Any]:
        now = NOW + timedelta(seconds=at_s)
        async with any_begin() as tx:
            claimed = await tx.due_work.claim(Work.CHARGES, now, republish_after_s=30, limit=100_000)
            await tx.commit()
        return [row for row in claimed if row in ours]

    # The old one waits for 200 s then, twice its age; the new one for 30 s and later for 60 s.
    assert [await claim(at_s) for at_s in (0, 29, 30, 89, 90, 199, 200)] == [
        ours, [], [new.id], [], [new.id], [], [old.id]
    ]  # fmt: skip


@pytest.mark.parametrize("work", KINDS)
async def test_claimed_rows_can_be_given_back_unless_somebody_holds_them(
    any_begin: Begin, shop: Shop, work: Work
) -> None:
    async def claim(after_s: float) -> set[Any]:
        now = NOW + timedelta(seconds=after_s)
        claimed = await tx.due_work.claim(work, now, republish_after_s=30, limit=100_000)
        return {free, held} & set(claimed)

    free, held, absent = await _rows(any_begin, shop, work)
    async with any_begin() as tx:
        await lease(tx, work, [held], NOW + timedelta(seconds=900))
        assert await claim(600) == {free}
        for after_s in (630, 640):
            at = NOW + timedelta(seconds=after_s)
            await tx.due_work.give_back(work, [free, held, absent], at)

        assert await claim(629) == set()
        assert await claim(630) == {free}


@pytest.mark.parametrize("work", KINDS)
async def test_backlog_counts_what_is_due_and_that_nobody_holds(any_begin: Begin, shop: Shop, work: Work) -> None:
    async def backlog(at: datetime) -> Backlog:
        return next(each for each in await tx.due_work.backlogs(at) if each.work is work)

    async with any_begin() as tx:
        before = await backlog(NOW)
    _, held, _ = await _rows(any_begin, shop, work)
    async with any_begin() as tx:
        both = await backlog(NOW)
        await lease(tx, work, [held], NOW + timedelta(seconds=60))
        one = await backlog(NOW)
        assert (both.due - before.due, one.due - before.due) == (2, 1)
        assert one.oldest_at is not None
        assert one.oldest_at <= NOW
        assert (await backlog(NOW + timedelta(seconds=60))).due >= both.due


@pytest.mark.parametrize("work", KINDS)
async def test_due_rows_can_be_put_back_unless_somebody_holds_them(
    any_begin: Begin, shop: Shop, work: Work
) -> None:
    free, held, absent = await _rows(any_begin, shop, work)
    until = NOW + timedelta(seconds=60)
    async with any_begin() as tx:
        assert await tx.due_work.tried(work, [free, held, absent]) == set()
        await lease(tx, work, [held], until)
        assert await tx.due_work.tried(work, [free, held, absent]) == {held}

        later = {free: NOW + timedelta(seconds=90), held: NOW + timedelta(seconds=120), absent: NOW}
        await tx.due_work.postpone(work, later, NOW)
        await tx.due_work.postpone(work, {}, NOW)

        assert await lease(tx, work, [free, held], NOW + timedelta(seconds=89)) == [held]
        claimed = await tx.due_work.claim(work, NOW + timedelta(seconds=90), republish_after_s=30, limit=100_000)
        assert free in claimed


@pytest.mark.parametrize("work", [work for work in KINDS if work is not Work.STRIPE_EVENTS])
async def test_row_that_is_saved_is_held_by_nobody(any_begin: Begin, shop: Shop, work: Work) -> None:
    """Whoever has looked at it says when it is due again, however long its lease was to last."""
    row_id, _, _ = await _rows(any_begin, shop, work)
    async with any_begin() as tx:
        assert await lease(tx, work, [row_id], NOW, LATER) == [row_id]
        await save(tx, work, row_id, NOW)

        assert await lease(tx, work, [row_id], NOW, LATER) == [row_id]


async def _rows(begin: Begin, shop: Shop, work: Work) -> list[Any]:
    """Store two rows that are due; return their ids, and that of a row that is not there."""
    absent = "evt_absent" if work is Work.STRIPE_EVENTS else uuid7()
    return [*await store_due(begin, shop, work, 2, publish_at=LATER), absent]
