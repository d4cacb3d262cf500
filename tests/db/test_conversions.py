"""Exchanges on the real database: one half of a pair of journals, and history."""

from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Refused
from domain.ledger.model import CURRENCY_CONVERSION, STRIPE_BALANCE, Conversion, Journal, JournalKind
from domain.settlement.answers import StripeTransaction
from tests.builders import Begin, Shop, a_journal, unique
from tests.captured import captured


def exchange(**changes: object) -> Journal:
    conversion = Conversion("EUR", 1999, "USD", 2199, Decimal("1.1"))
    half = {"kind": JournalKind.CONVERSION_CHARGED, "currency": "EUR", "conversion": conversion}
    return a_journal((STRIPE_BALANCE, -1999), (CURRENCY_CONVERSION, 1999), **{**half, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": JournalKind.CONVERSION_SETTLED},
        {"currency": "GBP"},
        {"conversion": Conversion("EUR", 1999, "EUR", 2199, Decimal("1.1"))},
        {"conversion": Conversion("EUR", 1999, "USD", 2199, Decimal(0))},
    ],
    ids=["other half", "other currency", "one currency", "no rate"],
)
async def test_exchange_that_contradicts_its_journal_is_refused(begin: Begin, changes: dict[str, object]) -> None:
    async def post() -> None:
        async with begin() as tx:
            await tx.ledger.post([exchange(**changes)])

    with pytest.raises(Refused):
        await post()


@pytest.mark.parametrize("statement", ["UPDATE conversions SET exchange_rate = 2", "DELETE FROM conversions"])
async def test_exchange_is_history_also_to_the_owner(
    real_shop: Shop, owner_engine: AsyncEngine, statement: str
) -> None:
    transaction = StripeTransaction(unique("txn"), 2199, 94, "USD", Decimal("1.1"))
    await captured(real_shop, currency="EUR", transaction=transaction)

    async with owner_engine.connect() as connection:
        with pytest.raises(IntegrityError):
            await connection.execute(text(statement))
        await connection.rollback()
