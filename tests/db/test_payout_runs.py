"""Scheduled payouts on the real database: each seller once a run, whoever else pays it out at that moment."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.unit_of_work import Database
from domain.identity.model import Principal, Role, User
from domain.ids import UserId, uuid7
from domain.pages import PageRequest
from domain.payouts.run import PayoutRun, RunPolicy
from domain.payouts.service import PayoutPolicy
from domain.sellers.model import OnboardingStatus
from tests.builders import NOW, Shop, a_seller_account, unique
from tests.domain.fakes import FakeClock, RecordingAnnouncer
from tests.paid_out import earned, earned_by


async def make_able(database: Database, *sellers: User) -> None:
    """Let Stripe pay sellers out."""
    able = {"status": OnboardingStatus.COMPLETE, "payouts_enabled": True}
    async with database.begin() as tx:
        for seller in sellers:
            account = a_seller_account(seller.id)
            await tx.seller_accounts.add(account, publish_at=NOW)
            known = replace(account, stripe_account_id=unique("acct"), **able)  # type: ignore[arg-type]  # by name
            await tx.seller_accounts.save(known, due_at=None)
        await tx.commit()


async def test_run_waits_for_a_seller_that_somebody_else_pays_out(
    database: Database, real_shop: Shop, clock: FakeClock
) -> None:
    await make_able(database, real_shop.seller)
    await earned(real_shop)
    clock.time = datetime.now(UTC)  # later than any run that is there
    schedule = RunPolicy(interval_s=0.001, lease_s=60, budget_s=30)
    run = PayoutRun(database.begin, RecordingAnnouncer(), clock, PayoutPolicy(0, 30), schedule)
    await run.run()  # the first one of all pays nobody
    await earned(real_shop)
    clock.advance(0.01)

    async with database.begin() as tx:
        await tx.payouts.claim_seller(real_shop.seller.id)
        running = asyncio.create_task(run.run())
        await asyncio.sleep(0.3)
        assert not running.done()

    assert await running >= 1


async def test_suspended_seller_is_in_no_run(database: Database, real_shop: Shop) -> None:
    await make_able(database, real_shop.seller, real_shop.other_seller)
    async with database.begin() as tx:
        await tx.users.set_suspended(real_shop.seller.id, NOW)
        found = await tx.destinations.enabled(after=None, limit=100_000)

    assert {real_shop.seller.id, real_shop.other_seller.id} & {each.seller_id for each in found} == {
        real_shop.other_seller.id
    }


async def test_two_schedulers_at_once_pay_each_seller_out_once_a_run(
    database: Database, real_shop: Shop, clock: FakeClock
) -> None:
    """Many processes are asked at once, and again; while they run, more and more becomes available."""
    sellers = (real_shop.seller, real_shop.other_seller)
    await make_able(database, *sellers)
    clock.time = datetime.now(UTC)  # later than any run that is there
    schedule = RunPolicy(interval_s=0.001, lease_s=60, budget_s=30)
    processes = [
        PayoutRun(database.begin, RecordingAnnouncer(), clock, PayoutPolicy(0, 30), schedule, page_size=1)
        for _ in range(4)
    ]
    await processes[0].run()  # the first of all only remembers its interval

    for runs in range(1, 4):
        clock.advance(1)
        for seller in sellers:
            await earned_by(real_shop, seller)
        async with asyncio.timeout(30):
            await asyncio.gather(*(process.run() for process in processes), earned(real_shop))

        made = await runs_of(database, real_shop)
        assert len({run_at for run_at, _ in made}) == runs
        assert max(Counter(made).values()) == 1, "a seller was paid out twice in a run"


async def runs_of(database: Database, shop: Shop) -> list[tuple[datetime, UserId]]:
    """Return the run and the seller of each payout that a run has made."""
    async with database.begin() as tx:
        page = await tx.payouts.page(Principal(UserId(uuid7()), Role.FINANCE), PageRequest(100))
    sellers = {shop.seller.id, shop.other_seller.id}
    return [(each.run_at, each.seller_id) for each in page.rows if each.run_at and each.seller_id in sellers]


async def test_one_run_at_most_is_under_way(owner_engine: AsyncEngine) -> None:
    begin = text("INSERT INTO payout_runs (run_at, started_at, locked_until) VALUES (:at, :at, :at)")
    async with owner_engine.connect() as connection:
        await connection.execute(text("UPDATE payout_runs SET finished_at = now() WHERE finished_at IS NULL"))
        await connection.execute(begin, {"at": NOW - timedelta(days=1)})
        with pytest.raises(IntegrityError, match="payout_runs_one_at_a_time"):
            await connection.execute(begin, {"at": NOW - timedelta(days=2)})
        await connection.rollback()
