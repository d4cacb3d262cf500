"""What the database holds of sellers' accounts, whoever writes them."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.unit_of_work import Database
from domain.ids import UserId, uuid7
from domain.sellers.model import ONBOARDING_TRANSITIONS, OnboardingStatus
from tests.builders import NOW, Shop, a_seller_account, unique
from tests.db.test_transitions import is_accepted, triggers

INSERT = """
    INSERT INTO seller_accounts (seller_id, status, stripe_account_id, payouts_enabled, failure_code,
                                 created_at, updated_at)
    VALUES (:id, :status, :account, :status = 'complete', CASE WHEN :status = 'failed' THEN 'x' END, now(), now())
"""
STEP = """
    UPDATE seller_accounts
    SET status = :status, payouts_enabled = (:status = 'complete'),
        failure_code = CASE WHEN :status = 'failed' THEN 'x' END
    WHERE seller_id = :id
"""
STATUSES = sorted(ONBOARDING_TRANSITIONS)


async def plant(connection: AsyncConnection, status: str) -> UserId:
    """Insert an account in any state."""
    seller_id = UserId(uuid7())
    await triggers(connection, on=False)
    await connection.execute(
        text("INSERT INTO users VALUES (:id, CAST(:id AS text), 'hash', 'seller', now())"), {"id": seller_id}
    )
    await connection.execute(text("INSERT INTO sellers VALUES (:id)"), {"id": seller_id})
    await connection.execute(text(INSERT), {"id": seller_id, "status": status, "account": unique("acct")})
    await triggers(connection, on=True)
    return seller_id


async def test_database_holds_the_domains_table(connection: AsyncConnection) -> None:
    rows = await connection.execute(
        text("SELECT from_status, to_status FROM legal_transitions WHERE machine = 'seller_accounts'")
    )

    assert {tuple(row) for row in rows} == {
        (str(start), str(end)) for start, ends in ONBOARDING_TRANSITIONS.items() for end in ends
    }


@pytest.mark.parametrize("start", STATUSES)
async def test_legal_steps_are_accepted_and_all_others_refused(
    superuser: AsyncConnection, start: OnboardingStatus
) -> None:
    for end in STATUSES:
        seller_id = await plant(superuser, start)
        legal = end == start or end in ONBOARDING_TRANSITIONS[start]
        assert await is_accepted(superuser, STEP, status=str(end), id=seller_id) == legal, (start, end)


@pytest.mark.parametrize(
    "change",
    [
        "payouts_enabled = true",
        "link = 'https://stripe.test'",
        "link_expires_at = now()",
        "failure_code = 'x'",
        "stripe_account_id = NULL",
        "stripe_account_id = 'acct_of_another'",
    ],
)
async def test_rows_that_contradict_themselves_are_refused(superuser: AsyncConnection, change: str) -> None:
    seller_id = await plant(superuser, "pending")

    statement = f"UPDATE seller_accounts SET {change} WHERE seller_id = :id"
    assert not await is_accepted(superuser, statement, id=seller_id)


async def test_account_does_not_move_to_another_seller(superuser: AsyncConnection) -> None:
    one, other = await plant(superuser, "open"), await plant(superuser, "open")
    await triggers(superuser, on=False)
    await superuser.execute(text("DELETE FROM seller_accounts WHERE seller_id = :id"), {"id": other})
    await triggers(superuser, on=True)

    move = "UPDATE seller_accounts SET seller_id = :other WHERE seller_id = :id"
    assert not await is_accepted(superuser, move, id=one, other=other)


async def test_account_at_stripe_belongs_to_one_seller(superuser: AsyncConnection) -> None:
    one, other = await plant(superuser, "open"), await plant(superuser, "open")
    same = "UPDATE seller_accounts SET stripe_account_id = 'acct_1' WHERE seller_id = :id"
    await triggers(superuser, on=False)

    assert await is_accepted(superuser, same, id=one)
    assert not await is_accepted(superuser, same, id=other)


async def test_account_that_somebody_leases_is_skipped(database: Database, real_shop: Shop) -> None:
    seller_id = real_shop.seller.id
    async with database.begin() as tx:
        await tx.seller_accounts.add(a_seller_account(seller_id), publish_at=NOW)
        await tx.commit()

    async with database.begin() as one, database.begin() as other:
        leased: list[Any] = [await tx.seller_accounts.lease([seller_id], NOW, NOW) for tx in (one, other)]

    assert [len(accounts) for accounts in leased] == [1, 0]
