"""Balances are what was folded plus the entries since, however transactions overlap."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.unit_of_work import Database
from domain.errors import Forbidden, NotFound
from domain.identity.model import Principal, Role
from domain.ids import JournalId, UserId, uuid7
from domain.ledger.model import COMMISSION_REVENUE, STRIPE_BALANCE, Account, Balance, Journal, seller_payable
from domain.ledger.service import LedgerService
from tests.balances import all_balances
from tests.builders import NOW, Begin, a_journal

FINANCE = Principal(UserId(uuid7()), Role.FINANCE)


@pytest.fixture
def account() -> Account:
    """An account that no other test uses."""
    return seller_payable(UserId(uuid7()))


@pytest.fixture
def owed(account: Account) -> Callable[[int], Journal]:
    return lambda amount_minor: a_journal((STRIPE_BALANCE, amount_minor), (account, -amount_minor))


async def balance(begin: Begin, account: Account) -> int:
    async with begin() as tx:
        return sum(row.balance_minor for row in await all_balances(tx) if row.account == account)


async def post(begin: Begin, *journals: Journal) -> None:
    async with begin() as tx:
        await tx.ledger.post(journals)
        await tx.commit()


async def fold_until(database: Database, engine: AsyncEngine, account: Account, expected_minor: int) -> None:
    """Roll up until so much of the account is folded; transactions of the server's own may hold it up."""
    async with asyncio.timeout(30):
        while True:
            await LedgerService(database.begin).roll_up()
            async with engine.connect() as connection:
                folded = await connection.execute(
                    text("SELECT balance_minor FROM balances WHERE account = :account"), {"account": account}
                )
                if folded.scalar() == expected_minor:
                    return


async def test_balance_is_the_same_before_and_after_a_roll_up(
    database: Database, engine: AsyncEngine, account: Account, owed: Callable[[int], Journal]
) -> None:
    await post(database.begin, owed(5), owed(7))
    before = await balance(database.begin, account)

    await fold_until(database, engine, account, -12)
    after = await balance(database.begin, account)
    await post(database.begin, owed(1))

    assert (before, after) == (-12, -12)
    assert await balance(database.begin, account) == -13
    await fold_until(database, engine, account, -13)
    assert await balance(database.begin, account) == -13


async def test_transaction_that_commits_late_is_counted_once(
    database: Database, engine: AsyncEngine, account: Account, owed: Callable[[int], Journal]
) -> None:
    async with database.begin() as late:
        await late.ledger.post([owed(100)])
        await post(database.begin, owed(1))
        await LedgerService(database.begin).roll_up()
        assert await balance(database.begin, account) == -1

        await late.commit()

    assert await balance(database.begin, account) == -101
    await fold_until(database, engine, account, -101)
    assert await balance(database.begin, account) == -101


async def test_transaction_that_rolls_back_is_not_counted(
    database: Database, engine: AsyncEngine, account: Account, owed: Callable[[int], Journal]
) -> None:
    async with database.begin() as lost:
        await lost.ledger.post([owed(100)])

    await post(database.begin, owed(1))
    await fold_until(database, engine, account, -1)

    assert await balance(database.begin, account) == -1


async def test_second_roll_up_at_the_same_time_leaves_it_to_the_first(
    database: Database, account: Account, owed: Callable[[int], Journal]
) -> None:
    await post(database.begin, owed(5))

    async with database.begin() as one, database.begin() as two:
        await one.ledger.roll_up()
        assert await two.ledger.roll_up() == 0
        await one.commit()

    assert await balance(database.begin, account) == -5


async def test_postings_and_roll_ups_at_once_lose_and_double_nothing(
    database: Database, engine: AsyncEngine, account: Account, owed: Callable[[int], Journal]
) -> None:
    async def watch() -> list[int]:
        return [await balance(database.begin, account) for _ in range(15)]

    async with asyncio.timeout(30):
        seen, *_ = await asyncio.gather(
            watch(),
            *(post(database.begin, *(owed(1) for _ in range(3))) for _ in range(40)),
            *(LedgerService(database.begin).roll_up() for _ in range(20)),
        )

    assert seen == sorted(seen, reverse=True), "a balance that only grows has shrunk"
    assert await balance(database.begin, account) == -120
    await fold_until(database, engine, account, -120)
    async with database.begin() as tx:
        assert (await tx.ledger.verify()).faults == []


async def test_balance_at_a_time_counts_what_was_posted_by_then(begin: Begin, account: Account) -> None:
    for days in range(3):
        journal = a_journal(
            (STRIPE_BALANCE, 10**days), (account, -(10**days)), created_at=NOW + timedelta(days=days)
        )
        await post(begin, journal)

    async with begin() as tx:
        found = [
            sum(row.balance_minor for row in await all_balances(tx, at=at) if row.account == account)
            for at in (NOW - timedelta(seconds=1), NOW, NOW + timedelta(days=1), NOW + timedelta(days=5))
        ]

    assert found == [0, -1, -11, -111]


async def test_balances_at_the_end_are_those_of_now_also_what_came_to_nothing(
    begin: Begin, account: Account
) -> None:
    await post(begin, *(a_journal((STRIPE_BALANCE, amount), (account, -amount)) for amount in (5, -5)))

    async with begin() as tx:
        at_the_end = await all_balances(tx, at=datetime.now(UTC) + timedelta(days=1))
        assert at_the_end == await all_balances(tx)
    assert (account, 0) in {(row.account, row.balance_minor) for row in at_the_end}


async def test_currencies_are_kept_apart(begin: Begin, account: Account) -> None:
    await post(begin, *(a_journal((STRIPE_BALANCE, 5), (account, -5), currency=code) for code in ("EUR", "USD")))

    async with begin() as tx:
        rows = [row for row in await all_balances(tx) if row.account == account]

    assert [(row.currency, row.balance_minor) for row in rows] == [("EUR", -5), ("USD", -5)]


async def test_books_are_open_to_finance(begin: Begin, account: Account) -> None:
    service = LedgerService(begin)
    journal = a_journal((STRIPE_BALANCE, 5), (account, -4), (COMMISSION_REVENUE, -1))
    await post(begin, journal)

    assert await service.journal(FINANCE, journal.id) == journal
    assert await service.journals_of(FINANCE, account, limit=5, after=None) == [journal]
    trial = await service.trial_balance(FINANCE, (account, ""), at=None, limit=1)
    assert trial.balances == [Balance(account, "USD", -4)]
    assert (await service.verify()).faults == []
    with pytest.raises(NotFound):
        await service.journal(FINANCE, JournalId(uuid7()))


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.FINANCE])
async def test_books_are_closed_to_others(begin: Begin, role: Role) -> None:
    service, other = LedgerService(begin), Principal(UserId(uuid7()), role)

    with pytest.raises(Forbidden):
        await service.trial_balance(other, ("", ""), at=None, limit=1)
    with pytest.raises(Forbidden):
        await service.journal(other, JournalId(uuid7()))
    with pytest.raises(Forbidden):
        await service.journals_of(other, STRIPE_BALANCE, limit=1, after=None)
