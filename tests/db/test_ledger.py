"""What the ledger's tables refuse, to the application's role and to their owner alike."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.ledger import Ledger
from domain.ids import JournalId, UserId, uuid7
from domain.ledger.model import (
    COMMISSION_REVENUE,
    PROCESSING_FEES,
    STRIPE_BALANCE,
    Journal,
    JournalKind,
    seller_payable,
)
from tests.builders import NOW, Begin, a_journal, unique
from tests.engines import as_product_sees

Leg = tuple[int, str, str, int]

HISTORY = ("journals", "entries", "events", "order_lines")
KEPT = ("conversions", "disputes", "payout_reversals", "payout_runs", "seller_accounts", "audit_seals")
BALANCED: Sequence[Leg] = [(1, STRIPE_BALANCE, "USD", 100), (2, COMMISSION_REVENUE, "USD", -100)]
JOURNAL = """
    INSERT INTO journals (id, kind, source, currency, entry_count, created_at)
    VALUES (:journal_id, :kind, :source, 'USD', :entry_count, now())
"""
ENTRIES = """
    INSERT INTO entries (journal_id, line, account, currency, amount_minor)
    SELECT :journal_id, * FROM unnest(CAST(:lines AS smallint[]), CAST(:accounts AS text[]),
                                      CAST(:currencies AS text[]), CAST(:amounts AS bigint[]))
"""
WITH_ENTRIES = f"WITH journal AS ({JOURNAL}) {ENTRIES}"


@pytest.fixture(params=["application", "owner"])
async def role(
    request: pytest.FixtureRequest, engine: AsyncEngine, owner_engine: AsyncEngine
) -> AsyncIterator[AsyncConnection]:
    """A connection of either role, in a transaction that is rolled back."""
    chosen = engine if request.param == "application" else owner_engine
    async with chosen.connect() as connection:
        yield connection
        await connection.rollback()


@pytest.fixture
async def journal(role: AsyncConnection) -> Journal:
    """A journal of two legs that is in the books."""
    posted = a_journal((STRIPE_BALANCE, 100), (COMMISSION_REVENUE, -100))
    await Ledger(await as_product_sees(role)).post([posted])
    return posted


async def execute(connection: AsyncConnection, statement: str, legs: Sequence[Leg] = (), **values: Any) -> None:
    """Execute in a savepoint, with columns for the legs and a fresh journal unless the values name one."""
    lines, accounts, currencies, amounts = zip(*legs, strict=True) if legs else ((), (), (), ())
    columns = {"lines": lines, "accounts": accounts, "currencies": currencies, "amounts": amounts}
    fresh = {"journal_id": uuid7(), "kind": "charge", "source": unique("ch"), "entry_count": len(legs)}
    async with connection.begin_nested():
        await connection.execute(
            text(statement), {**{key: list(column) for key, column in columns.items()}, **fresh, **values}
        )


async def test_journal_with_its_entries_is_accepted(role: AsyncConnection) -> None:
    await execute(role, WITH_ENTRIES, BALANCED)


def legs(*amounts: tuple[str, int], currency: str = "USD", first: int = 1) -> Sequence[Leg]:
    return [(line, account, currency, amount) for line, (account, amount) in enumerate(amounts, first)]


SELLER = "01a2163a-5db0-736e-87d7-08db1a8100fa"
WRONG: Mapping[str, tuple[Sequence[Leg], Mapping[str, Any]]] = {
    "unbalanced": (legs((STRIPE_BALANCE, 100), (COMMISSION_REVENUE, -99)), {}),
    "fewer entries than it names": (BALANCED, {"entry_count": 3}),
    "more entries than it names": (
        legs((STRIPE_BALANCE, 100), (COMMISSION_REVENUE, -60), (PROCESSING_FEES, -40)),
        {"entry_count": 2},
    ),
    "gap in the lines": ([BALANCED[0], (3, COMMISSION_REVENUE, "USD", -100)], {}),
    "line that is left out": ([BALANCED[0], (3, COMMISSION_REVENUE, "USD", -100)], {"entry_count": 3}),
    "line twice": ([BALANCED[0], (1, COMMISSION_REVENUE, "USD", -100)], {}),
    "line zero": ([(0, STRIPE_BALANCE, "USD", 100), BALANCED[1]], {}),
    "two currencies": ([BALANCED[0], (2, COMMISSION_REVENUE, "EUR", -100)], {}),
    "currency of another": (legs((STRIPE_BALANCE, 100), (COMMISSION_REVENUE, -100), currency="EUR"), {}),
    "entry of nothing": (legs((STRIPE_BALANCE, 1), (PROCESSING_FEES, 0), (COMMISSION_REVENUE, -1)), {}),
    "unknown account": (legs(("cash", 100), (COMMISSION_REVENUE, -100)), {}),
    "seller who is no id": (legs(("seller_payable:me", 100), (COMMISSION_REVENUE, -100)), {}),
    "seller without an id": (legs(("seller_payable", 100), (COMMISSION_REVENUE, -100)), {}),
    "seller in another spelling": (
        legs((f"seller_payable:{SELLER.upper()}", 100), (COMMISSION_REVENUE, -100)),
        {},
    ),
    "seller in braces": (legs((f"seller_payable:{{{SELLER}}}", 100), (COMMISSION_REVENUE, -100)), {}),
    "seller and more": (legs((f"seller_payable:{SELLER}:", 100), (COMMISSION_REVENUE, -100)), {}),
    "seller of no account": (legs((f"seller_owed:{SELLER}", 100), (COMMISSION_REVENUE, -100)), {}),
    "unknown kind": (BALANCED, {"kind": "gift"}),
    "no source": (BALANCED, {"source": ""}),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_wrong_journal_is_refused(role: AsyncConnection, wrong: str) -> None:
    entries, values = WRONG[wrong]

    with pytest.raises(IntegrityError):
        await execute(role, WITH_ENTRIES, entries, **values)


async def test_one_wrong_journal_refuses_the_whole_batch(role: AsyncConnection) -> None:
    good, bad = a_journal(), a_journal()
    object.__setattr__(bad, "entries", bad.entries[:2])

    with pytest.raises(psycopg.IntegrityError, match=f"journal {bad.id}"):
        async with role.begin_nested():
            await Ledger(await as_product_sees(role)).post([good, bad])

    assert await Ledger(await as_product_sees(role)).journal(good.id) is None


async def test_journal_without_entries_is_refused(role: AsyncConnection) -> None:
    with pytest.raises(IntegrityError, match="has no entries"):
        await execute(role, JOURNAL, entry_count=2)


async def test_entries_without_a_journal_are_refused(role: AsyncConnection) -> None:
    with pytest.raises(IntegrityError, match="does not balance or has other entries"):
        await execute(role, ENTRIES, BALANCED)


async def test_journal_has_one_kind_and_source(role: AsyncConnection) -> None:
    source = unique("ch")
    await execute(role, WITH_ENTRIES, BALANCED, source=source)
    await execute(role, WITH_ENTRIES, BALANCED, source=source, kind="stripe_fee")

    with pytest.raises(IntegrityError, match="journals_kind_source_key"):
        await execute(role, WITH_ENTRIES, BALANCED, source=source)


ADDED: Mapping[str, Sequence[Leg]] = {
    "one": legs((STRIPE_BALANCE, 5), first=3),
    "as many as it names": legs((STRIPE_BALANCE, 5), (COMMISSION_REVENUE, -5), first=3),
    "the same lines": legs((STRIPE_BALANCE, 5), (COMMISSION_REVENUE, -5)),
    "three": legs((STRIPE_BALANCE, 5), (PROCESSING_FEES, 5), (COMMISSION_REVENUE, -10), first=3),
}


@pytest.mark.parametrize("added", ADDED)
async def test_nothing_can_be_added_to_a_journal(role: AsyncConnection, journal: Journal, added: str) -> None:
    with pytest.raises(IntegrityError):
        await execute(role, ENTRIES, ADDED[added], journal_id=journal.id)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journals SET created_at = now()",
        "UPDATE journals SET entry_count = 3 WHERE false",
        "UPDATE entries SET amount_minor = amount_minor",
        "UPDATE entries SET account = 'stripe_balance' WHERE false",
        "UPDATE events SET data = '{}'",
        "UPDATE order_lines SET price_minor = 1",
        *(f"DELETE FROM {table}" for table in HISTORY + KEPT),
        *(f"TRUNCATE {table} CASCADE" for table in HISTORY + KEPT),
    ],
)
async def test_history_is_not_edited(role: AsyncConnection, statement: str) -> None:
    """The application lacks the right; the owner is stopped by a trigger, even when no row is touched."""
    with pytest.raises(DBAPIError, match=r"permission denied|its rows are history"):
        await execute(role, statement)


async def test_ledger_keeps_what_is_posted(begin: Begin) -> None:
    seller = seller_payable(UserId(uuid7()))
    journals = [
        a_journal((STRIPE_BALANCE, amount), (seller, -amount), kind=kind, created_at=NOW)
        for amount, kind in ((1, JournalKind.CHARGE), (2, JournalKind.UNAPPLIED_CHARGE), (3, JournalKind.CHARGE))
    ]

    async with begin() as tx:
        await tx.ledger.post(journals)
        await tx.ledger.post([])
        assert [await tx.ledger.journal(journal.id) for journal in journals] == journals
        assert await tx.ledger.journal(JournalId(uuid7())) is None
        first = await tx.ledger.journals_of(seller, limit=2, after=None)
        second = await tx.ledger.journals_of(seller, limit=2, after=first[-1].id)

    assert [*first, *second] == journals[::-1]


async def test_amounts_of_any_size_come_back_to_the_cent(begin: Begin) -> None:
    huge = a_journal((STRIPE_BALANCE, 2**62 - 1), (COMMISSION_REVENUE, 1 - 2**62))

    async with begin() as tx:
        await tx.ledger.post([huge])
        assert await tx.ledger.journal(huge.id) == huge


async def test_correction_of_what_nobody_has_is_refused(role: AsyncConnection) -> None:
    most, more = (legs((STRIPE_BALANCE, minor), (PROCESSING_FEES, -minor)) for minor in (10**12, 10**12 + 1))

    await execute(role, WITH_ENTRIES, most, kind="correction")
    await execute(role, WITH_ENTRIES, more)
    with pytest.raises(IntegrityError, match="moves more than"):
        await execute(role, WITH_ENTRIES, more, kind="correction")
