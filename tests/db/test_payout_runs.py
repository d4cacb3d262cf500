"""Scheduled payouts on the real database: each seller once a run, whoever else pays it out at that moment."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.sql import Sql
from db.unit_of_work import Database
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.ledger.model import seller_payable
from domain.pages import PageRequest
from domain.payouts.run import PayoutRun, RunPolicy
from domain.payouts.service import PayoutPolicy
from domain.settlement.answers import StripeTransaction
from tests.builders import NOW, Shop, unique
from tests.captured import captured
from tests.domain.fakes import FakeClock, RecordingAnnouncer
from tests.paid_out import SHARE, balance, earned, earned_by, make_able, parts


async def test_run_waits_for_a_seller_that_somebody_else_pays_out(
    database: Database, real_shop: Shop, clock: FakeClock
) -> None:
    await make_able(database.begin, real_shop.seller)
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
    await make_able(database.begin, real_shop.seller, real_shop.other_seller)
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
    await make_able(database.begin, *sellers)
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


@pytest.mark.parametrize("budget_s", [30, 0])
async def test_seller_with_more_than_one_payout_takes_is_paid_out_whole_by_one_run(
    database: Database, real_shop: Shop, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, budget_s: float
) -> None:
    """Also where the run is put aside after each of its payouts, and goes on with the same seller."""
    monkeypatch.setattr("db.payouts.MAX_ENTRIES", 2)
    await make_able(database.begin, real_shop.seller, real_shop.other_seller)
    clock.time = await after_all_runs(database)
    schedule = RunPolicy(interval_s=0.001, lease_s=60, budget_s=budget_s)
    run = PayoutRun(database.begin, RecordingAnnouncer(), clock, PayoutPolicy(0, 30), schedule)
    await run.run()  # the first of all only remembers its interval
    clock.advance(1)
    for _ in range(5):
        await earned(real_shop)
    await earned_by(real_shop, real_shop.other_seller)

    for _ in range(20):
        await run.run()

    made = Counter(await runs_of(database, real_shop))
    assert {seller_id: count for (_, seller_id), count in made.items()} == {
        real_shop.seller.id: 3,
        real_shop.other_seller.id: 1,
    }
    assert len({run_at for run_at, _ in made}) == 1
    assert parts(await balance(real_shop)) == (0, 0, 5 * SHARE)


async def test_run_closes_all_that_comes_to_nothing_however_much_it_is(
    database: Database, real_shop: Shop, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.payouts.MAX_NETTED", 2)
    await make_able(database.begin, real_shop.seller)
    clock.time = await after_all_runs(database)
    schedule = RunPolicy(interval_s=0.001, lease_s=60, budget_s=30)
    run = PayoutRun(database.begin, RecordingAnnouncer(), clock, PayoutPolicy(0, 30), schedule)
    await run.run()  # the first of all only remembers its interval
    clock.advance(1)
    for _ in range(5):
        moved = StripeTransaction(unique("txn"), 2100, 100, "USD", Decimal("1.05"), NOW)
        await captured(real_shop, currency="EUR", transaction=moved)

    await run.run()

    open_entries = Sql(
        """
        SELECT count(*) FROM entries e WHERE e.account = :account AND NOT EXISTS (
            SELECT FROM payout_entries x WHERE x.journal_id = e.journal_id AND x.line = e.line)
        """
    )
    async with database.begin() as tx:
        found = await tx._connection.execute(open_entries, {"account": seller_payable(real_shop.seller.id)})
        assert found.scalar_one() == 0


async def after_all_runs(database: Database) -> datetime:
    """Return a time at which no run was made yet."""
    async with database.begin() as tx:
        last = (await tx._connection.execute(Sql("SELECT max(run_at) FROM payout_runs"))).scalar_one()
    return max(datetime.now(UTC), last or NOW) + timedelta(seconds=1)


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
