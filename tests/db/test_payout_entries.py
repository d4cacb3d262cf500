"""What the database refuses of the entries that payouts take, whoever writes: each rule by itself."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.ids import PaymentId, PayoutId, UserId, uuid7
from domain.ledger.model import (
    COMMISSION_REVENUE,
    PROCESSING_FEES,
    STRIPE_BALANCE,
    Journal,
    JournalKind,
    seller_payable,
)
from domain.payouts.model import PayoutStatus
from domain.settlement.answers import BankPayout, Refusal
from domain.settlement.model import SettlementPolicy
from domain.settlement.payouts import PayoutSettlement
from tests.builders import Begin, Shop, a_journal, unique
from tests.domain.fakes import FakeClock
from tests.paid_out import drafted, earned, paid_out, sent


async def post(begin: Begin, *journals: Journal) -> None:
    async with begin() as tx:
        await tx.ledger.post(list(journals))
        await tx.commit()


async def accepts(connection: AsyncConnection, *statements: str, **values: Any) -> bool:
    """Tell whether the statements are accepted, with what is deferred to the commit; they change nothing."""
    savepoint = await connection.begin_nested()
    try:
        for statement in statements:
            named = {name: value for name, value in values.items() if f":{name}" in statement}
            await connection.execute(text(statement), named)
        await connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    except IntegrityError:
        return False
    finally:
        await savepoint.rollback()
        await connection.execute(text("SET CONSTRAINTS ALL DEFERRED"))
    return True


@pytest.mark.parametrize(
    ("changes", "is_booked"),
    [
        ({}, True),
        ({"source": "tr_else"}, False),
        ({"kind": JournalKind.CORRECTION}, False),
        ({"minor": 1}, False),
        ({"account": PROCESSING_FEES}, False),
    ],
    ids=["as it was", "of another transfer", "of another kind", "of another amount", "not from Stripe"],
)
async def test_payout_is_transferred_by_a_journal_of_its_amount(
    connection: AsyncConnection, shop: Shop, changes: dict[str, Any], *, is_booked: bool
) -> None:
    """One that failed has let its entries go, so that they come to nothing without any journal."""
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    await sent(shop, payout, Refusal("balance_insufficient"))
    told = {"account": STRIPE_BALANCE, "minor": payout.amount_minor, "source": f"tr_{payout.id}", **changes}
    legs = ((seller_payable(shop.seller.id), told["minor"]), (told["account"], -told["minor"]))
    booked = a_journal(*legs, kind=told.get("kind", JournalKind.PAYOUT), source=told["source"])
    turned_up = """
        UPDATE payouts SET status = 'in_transit', failure_code = NULL, stripe_transfer_id = :transfer_id
        WHERE id = :id
    """
    known = {"id": payout.id, "transfer_id": f"tr_{payout.id}"}
    assert not await accepts(connection, turned_up, **known)

    await post(shop.begin, booked)

    assert await accepts(connection, turned_up, **known) == is_booked


async def test_payout_that_its_bank_sent_back_keeps_its_entries(connection: AsyncConnection, shop: Shop) -> None:
    """It was transferred all the same: who let them go could pay them out again."""
    await earned(shop)
    payout = await paid_out(shop)
    told = BankPayout(unique("po"), PayoutStatus.FAILED, "account_closed", (payout.stripe_transfer_id or "",))
    assert await PayoutSettlement(shop.begin, FakeClock(), SettlementPolicy()).follow(told)

    let_go = "DELETE FROM payout_entries WHERE payout_id = :id"

    assert not await accepts(connection, let_go, id=payout.id)


@pytest.mark.parametrize(
    ("seller", "currency", "legal"),
    [("seller", "USD", True), ("seller", "EUR", False), ("other_seller", "USD", False)],
    ids=["as it is owed", "in another currency", "to another seller"],
)
async def test_payout_takes_what_is_owed_to_its_seller_in_its_currency(
    connection: AsyncConnection, shop: Shop, seller: str, currency: str, *, legal: bool
) -> None:
    legs = ((seller_payable(getattr(shop, seller).id), -100), (STRIPE_BALANCE, 100))
    owed = a_journal(*legs, kind=JournalKind.CORRECTION, currency=currency)
    await post(shop.begin, owed)
    insert = """
        INSERT INTO payouts (id, seller_id, stripe_account_id, amount_minor, currency, status, origin, created_at,
                             updated_at)
        VALUES (:id, :seller_id, 'acct', 100, 'USD', 'pending', 'scheduled', now(), now())
    """
    take = "INSERT INTO payout_entries (journal_id, line, payout_id) VALUES (:journal_id, 1, :id)"
    values = {"id": PayoutId(uuid7()), "seller_id": shop.seller.id, "journal_id": owed.id}

    assert await accepts(connection, insert, take, **values) == legal


SELLER, OTHER_SELLER = (seller_payable(UserId(uuid7())) for _ in range(2))
PAYMENT, OTHER_PAYMENT = (PaymentId(uuid7()) for _ in range(2))


@pytest.mark.parametrize(
    ("of_both", "of_one", "legal"),
    [
        ({}, {}, True),
        ({}, {"account": OTHER_SELLER}, False),
        ({}, {"payment_id": OTHER_PAYMENT}, False),
        ({}, {"currency": "EUR"}, False),
        ({"payment_id": None}, {}, False),
        ({"account": COMMISSION_REVENUE}, {}, False),
    ],
    ids=["one of each", "two sellers", "two payments", "two currencies", "no payment", "no seller"],
)
async def test_no_payout_takes_what_comes_to_nothing_for_a_seller_in_a_payment_and_currency(
    connection: AsyncConnection,
    begin: Begin,
    of_both: dict[str, Any],
    of_one: dict[str, Any],
    *,
    legal: bool,
) -> None:
    """What one is owed makes up for no loss of another."""
    journals = []
    for minor, changes in ((-100, of_both), (100, {**of_both, **of_one})):
        told = {"account": SELLER, "payment_id": PAYMENT, **changes}
        legs = ((told.pop("account"), minor), (PROCESSING_FEES, -minor))
        journals.append(a_journal(*legs, kind=JournalKind.CORRECTION, **told))
    await post(begin, *journals)
    take = "INSERT INTO payout_entries (journal_id, line) VALUES (:first_id, 1), (:second_id, 1)"

    assert await accepts(connection, take, first_id=journals[0].id, second_id=journals[1].id) == legal
