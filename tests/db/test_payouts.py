"""Payouts on the real database: nothing is paid out twice, whoever writes and however much happens at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.sql import Sql
from db.unit_of_work import Database
from domain.errors import Refused
from domain.ids import PayoutId, uuid7
from domain.ledger.model import STRIPE_BALANCE, EntryRef, JournalKind, seller_payable
from domain.payouts.model import Payout, PayoutRequest
from domain.payouts.service import PayoutPolicy, PayoutService
from domain.settlement.answers import Refusal, StripeTransaction, Unsure
from domain.settlement.model import SettlementPolicy
from domain.settlement.refunds import RefundSettlement
from domain.settlement.reversals import ReversalSettlement
from tests.builders import NOW, Shop, a_journal, a_payout, a_requested_refund, principal, unique
from tests.captured import captured
from tests.domain.fakes import FakeClock, RecordingAnnouncer
from tests.paid_out import (
    RELEASE,
    SHARE,
    balance,
    drafted,
    earned,
    make_able,
    paid_out,
    parts,
    refund,
    reversals_of,
    sent,
    taken_back,
    whole,
)
from tests.stripe_answers import refunded


async def test_two_who_pay_out_at_once_take_each_share_once(real_shop: Shop) -> None:
    for _ in range(5):
        await earned(real_shop)

        async with asyncio.timeout(30):
            made = await asyncio.gather(*(drafted(real_shop) for _ in range(8)))

        assert [payout.amount_minor for payout in made if payout is not None] == [SHARE]


async def test_same_request_made_at_once_makes_one_payout_and_is_answered_with_it(
    database: Database, real_shop: Shop, clock: FakeClock
) -> None:
    await make_able(database.begin, real_shop.seller)
    await earned(real_shop)
    service = PayoutService(database.begin, RecordingAnnouncer(), clock, PayoutPolicy(0, 30))
    request = PayoutRequest(unique("key"), "USD")

    async with asyncio.timeout(30):
        answers = await asyncio.gather(*(service.request(principal(real_shop.seller), request) for _ in range(8)))

    assert {answer.payout.id for answer in answers} == {answers[0].payout.id}
    assert sorted(answer.replayed for answer in answers) == [False, *[True] * 7]


async def book(shop: Shop, amounts: list[int]) -> None:
    """Owe each amount to the seller, in that order."""
    owed = seller_payable(shop.seller.id)
    journals = [
        a_journal((owed, -amount), (STRIPE_BALANCE, amount), kind=JournalKind.CORRECTION) for amount in amounts
    ]
    async with shop.begin() as tx:
        await tx.ledger.post(journals)
        await tx.commit()


@pytest.mark.parametrize(
    ("amounts", "paid"),
    [
        ([100, 100, 100, 100], [300, 100]),
        ([100, 100, 100, 100, -150], [50, 200]),
        ([100, 100, 100, 100, -401], []),
        ([-1, -1, -1, -1, 500, 100], [496, 100]),
        ([-1, -1, -1, -1, 2, 2, 2, 100], [2, 100]),
    ],
)
async def test_payout_of_a_part_is_never_more_than_the_whole(
    real_shop: Shop, monkeypatch: pytest.MonkeyPatch, amounts: list[int], paid: list[int]
) -> None:
    monkeypatch.setattr("db.payouts.MAX_ENTRIES", 3)
    await book(real_shop, amounts)

    made = [await drafted(real_shop) for _ in range(3)]

    assert [payout.amount_minor for payout in made if payout is not None] == paid


async def test_refund_that_stands_still_is_waited_for_by_a_payout(database: Database, real_shop: Shop) -> None:
    """It has looked for payouts and not committed: one that is made meanwhile would not see it."""
    payment = await earned(real_shop)
    made = a_requested_refund(payment, real_shop, 1999, lines=whole(real_shop))
    async with real_shop.begin() as tx:
        await tx.refunds.add([made], publish_at=NOW)
        await tx.commit()
    has_looked, may_go_on = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def standing_still() -> AsyncIterator[Any]:
        async with database.begin() as tx:
            commit = tx.commit

            async def commit_late() -> None:
                has_looked.set()
                await may_go_on.wait()
                await commit()

            tx.commit = commit_late  # type: ignore[method-assign]  # of this one alone
            yield tx

    settlement = RefundSettlement(standing_still, FakeClock(), SettlementPolicy())
    refunding = asyncio.create_task(settlement.settle(made.id, refunded(made)))
    await has_looked.wait()
    paying = asyncio.create_task(drafted(real_shop))
    await asyncio.sleep(0.3)
    waits = not paying.done()
    may_go_on.set()
    await refunding

    assert waits
    assert await paying is None


async def test_fee_that_a_seller_bears_waits_for_no_payout(database: Database, real_shop: Shop) -> None:
    """Nothing is taken back for it; a large payout that is given up lets go of tens of thousands."""
    payment = await earned(real_shop)
    payout = await paid_out(real_shop)
    async with database.begin() as tx, database.begin() as other:
        fee = await tx.ledger.by_source(JournalKind.STRIPE_FEE, f"txn_{payment.id}")
        assert fee is not None
        await other.payout_work.lock([payout.id])
        await other.payouts.claim_seller(real_shop.seller.id)

        async with asyncio.timeout(2):
            await tx.reversal_work.lock_payers([EntryRef(fee.id, line) for line in (1, 2)])


async def test_two_programs_that_forget_to_claim_do_not_pay_twice(database: Database, real_shop: Shop) -> None:
    await earned(real_shop)

    async def draft() -> Payout | None:
        async with database.begin() as tx:
            draft = a_payout(real_shop.seller.id)
            payout = await tx.payouts.draft(draft, RELEASE, least_minor=1, publish_at=NOW)
            await tx.commit()
        return payout

    async with asyncio.timeout(30):
        made = await asyncio.gather(*(draft() for _ in range(8)), return_exceptions=True)

    assert sum(isinstance(payout, Payout) for payout in made) == 1
    assert all(payout is None or isinstance(payout, Payout | Refused) for payout in made)


async def test_refund_and_transfer_at_once_leave_nothing_that_is_not_taken_back(real_shop: Shop) -> None:
    for _ in range(8):
        payment = await earned(real_shop)
        payout = await drafted(real_shop)
        assert payout is not None

        async with asyncio.timeout(30):
            await asyncio.gather(
                sent(real_shop, payout), refund(real_shop, a_requested_refund(payment, real_shop))
            )

        (reversal,) = await reversals_of(real_shop, payout)
        await taken_back(real_shop, reversal)
        assert parts(await balance(real_shop)) == (0, 0, 0)


async def test_refunds_transfers_and_reversals_at_once_do_not_deadlock(
    database: Database, real_shop: Shop, clock: FakeClock
) -> None:
    shuffled, reversals = Random(1), ReversalSettlement(database.begin, clock, SettlementPolicy())
    payments = [await earned(real_shop) for _ in range(6)]
    payouts = [await paid_out(real_shop)]
    for payment in payments[:2]:
        await refund(real_shop, a_requested_refund(payment, real_shop, 100))
    payments += [await earned(real_shop) for _ in range(2)]
    under_way = await drafted(real_shop)
    assert under_way is not None
    made = await reversals_of(real_shop, payouts[0])
    jobs: list[Any] = [refund(real_shop, a_requested_refund(payment, real_shop, 50)) for payment in payments * 2]
    jobs += [sent(real_shop, under_way) for _ in range(3)]
    jobs += [taken_back(real_shop, reversal) for reversal in made * 3]
    jobs += [reversals.settle(reversal.id, Unsure("cut")) for reversal in made]
    shuffled.shuffle(jobs)

    async with asyncio.timeout(30):
        await asyncio.gather(*jobs)

    async with database.begin() as tx:
        assert (await tx.ledger.verify()).faults == []
    for payout in (*payouts, under_way):
        for reversal in await reversals_of(real_shop, payout):
            await taken_back(real_shop, reversal)
    # The payout under way has made up for the first two refunds, which are taken back besides: that is owed again.
    assert parts(await balance(real_shop)) == (0, 2 * 75, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payouts SET amount_minor = amount_minor - 1 WHERE id = :id",
        "UPDATE payouts SET reversed_minor = amount_minor + 1 WHERE id = :id",
        "UPDATE payouts SET status = 'pending' WHERE id = :id",
        "UPDATE payouts SET stripe_transfer_id = NULL WHERE id = :id",
        "DELETE FROM payouts WHERE id = :id",
        "TRUNCATE payouts CASCADE",
        "DELETE FROM payout_entries WHERE payout_id = :id",
        "UPDATE payout_entries SET line = line WHERE payout_id = :id",
        "TRUNCATE payout_entries",
        """INSERT INTO payout_entries
           SELECT e.journal_id, e.line, :id FROM entries e
           WHERE e.account LIKE 'seller_payable:%' AND NOT EXISTS (
               SELECT FROM payout_entries x WHERE x.journal_id = e.journal_id) LIMIT 1""",
        "INSERT INTO payout_entries SELECT gen_random_uuid(), 1, :id",
        """INSERT INTO payout_reversals (id, payout_id, amount_minor, currency, status, created_at, updated_at)
           SELECT gen_random_uuid(), id, amount_minor + 1, currency, 'pending', now(), now() FROM payouts
           WHERE id = :id""",
    ],
)
@pytest.mark.parametrize("is_booked", [True, False], ids=["booked", "under way"])
async def test_payout_is_history_also_to_the_owner(
    real_shop: Shop, owner_engine: AsyncEngine, statement: str, *, is_booked: bool
) -> None:
    await earned(real_shop)
    payout = await (paid_out if is_booked else drafted)(real_shop)
    await earned(real_shop)
    assert payout is not None
    if not is_booked and (("'pending'" in statement and "SET status" in statement) or "transfer_id" in statement):
        return  # it is so already

    async with owner_engine.connect() as connection:
        # What is deferred to the commit is looked at now.
        await connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        with pytest.raises(IntegrityError):
            await connection.execute(text(statement), {"id": payout.id} if ":id" in statement else {})
        await connection.rollback()


async def test_payout_without_its_entries_is_refused_at_commit(database: Database, real_shop: Shop) -> None:
    insert = Sql(
        """
        INSERT INTO payouts (id, seller_id, stripe_account_id, amount_minor, currency, status, origin, created_at,
                             updated_at)
        VALUES (:id, :seller_id, 'acct', 1, 'USD', 'pending', 'scheduled', now(), now())
        """
    )

    async def forge() -> None:
        async with database.begin() as tx:
            values = {"id": PayoutId(uuid7()), "seller_id": real_shop.seller.id}
            await tx._connection.execute(insert, values)
            await tx.commit()

    with pytest.raises(Refused, match="do not come to its amount"):
        await forge()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM payout_entries WHERE payout_id IS NULL",
        """INSERT INTO payout_entries (journal_id, line)
           SELECT e.journal_id, e.line FROM entries e JOIN journals j ON j.id = e.journal_id
           WHERE j.payment_id = :payment_id AND e.account LIKE 'seller_payable:%'""",
        """INSERT INTO payout_entries (journal_id, line)
           SELECT e.journal_id, e.line FROM entries e JOIN journals j ON j.id = e.journal_id
           WHERE j.payment_id = :payment_id""",
        "INSERT INTO payout_entries (journal_id, line) VALUES (gen_random_uuid(), 1)",
    ],
    ids=["let go", "not nothing", "not a seller's", "not there"],
)
async def test_no_payout_takes_only_what_comes_to_nothing(
    database: Database, real_shop: Shop, owner_engine: AsyncEngine, statement: str
) -> None:
    moved = StripeTransaction(unique("txn"), 2100, 100, "USD", Decimal("1.05"), NOW)
    await captured(real_shop, currency="EUR", transaction=moved)
    payment = await earned(real_shop)
    async with database.begin() as tx:
        await tx.payouts.net(real_shop.seller.id, RELEASE)
        await tx.commit()

    async with owner_engine.connect() as connection:
        values = {"payment_id": payment.id} if ":payment_id" in statement else {}
        with pytest.raises(IntegrityError):
            await connection.execute(text(statement), values)
        await connection.rollback()


async def test_entries_of_another_seller_are_refused(connection: AsyncConnection, shop: Shop) -> None:
    await captured(shop, await shop.order(shop.other_product))
    payment = await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    await sent(shop, payout, Refusal("no"))
    take = """
        INSERT INTO payout_entries
        SELECT e.journal_id, e.line, :id FROM entries e
        WHERE e.account = 'seller_payable:' || CAST(:seller_id AS text)
    """

    with pytest.raises(IntegrityError, match="do not come to its amount"):
        await connection.execute(text(take), {"id": payout.id, "seller_id": shop.other_seller.id})
    assert payment.seller_id == shop.seller.id
