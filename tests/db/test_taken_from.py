"""Money goes back at the cost of those whom it concerns, whoever writes: in the currency of their payment."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Refused
from domain.ids import ReversalId, uuid7
from domain.ledger.postings import Part
from domain.payments.model import Payment
from tests.builders import NOW, Shop, a_requested_refund
from tests.captured import captured
from tests.paid_out import earned, paid_out, refund, reversals_of


async def add(shop: Shop, payment: Payment, **changes: Any) -> None:
    async with shop.begin() as tx:
        await tx.refunds.add([a_requested_refund(payment, shop, **changes)], publish_at=NOW)


async def test_refund_in_another_currency_than_its_payment_is_refused(real_shop: Shop) -> None:
    payment = await earned(real_shop)

    with pytest.raises(Refused, match="another currency"):
        await add(real_shop, payment, currency="EUR")


@pytest.mark.parametrize(("line", "is_of_other"), [(1, True), (2, False), (3, False)])
@pytest.mark.parametrize("is_order", [True, False], ids=["order", "direct"])
async def test_refund_over_a_line_that_its_payment_has_not_is_refused(
    real_shop: Shop, line: int, *, is_of_other: bool, is_order: bool
) -> None:
    """An order's first line is of one seller, its second of another; a direct payment has one."""
    order = await real_shop.order(real_shop.product, real_shop.other_product) if is_order else None
    payment = await captured(real_shop, order)
    seller = real_shop.other_seller if is_of_other else real_shop.seller

    with pytest.raises(Refused, match="no such line"):
        await add(real_shop, payment, amount_minor=100, lines=(Part(line, seller.id, 100, 2),))
    await add(real_shop, payment, amount_minor=100, lines=(Part(1, real_shop.seller.id, 100, 2),))


@pytest.mark.parametrize(
    "changed",
    [
        {"currency": "'EUR'"},
        {"line": "2"},
        {"journal_id": "gen_random_uuid()"},
        {"amount_minor": "amount_minor + 1"},
        {"payment_id": ":other_id"},
        {"payout_id": ":others_payout_id"},
        {"payout_id": ":euro_payout_id", "currency": "'EUR'"},
        {"currency": "'EUR'", "payment_id": "NULL", "journal_id": "NULL", "line": "NULL"},
    ],
    ids=" ".join,
)
async def test_reversal_for_what_the_seller_has_not_lost_is_refused(
    real_shop: Shop, owner_engine: AsyncEngine, changed: dict[str, str]
) -> None:
    payment, other = await earned(real_shop), await earned(real_shop)
    payout = await paid_out(real_shop)
    await earned(real_shop, currency="EUR")
    euro_payout = await paid_out(real_shop, currency="EUR")
    others = Shop(real_shop.begin, buyer=real_shop.buyer, seller=real_shop.other_seller)
    await earned(others)
    others_payout = await paid_out(others)
    await refund(real_shop, a_requested_refund(payment, real_shop))
    (made,) = await reversals_of(real_shop, payout)
    names = ("payout_id", "payment_id", "journal_id", "line", "amount_minor", "currency")
    columns, values = ", ".join(names), ", ".join(changed.get(name, name) for name in names)
    again = f"""
        INSERT INTO payout_reversals (id, {columns}, status, created_at, updated_at)
        SELECT :id, {values}, 'pending', now(), now() FROM payout_reversals WHERE id = :made_id
    """
    ids = {
        "id": ReversalId(uuid7()),
        "made_id": made.id,
        "other_id": other.id,
        "others_payout_id": others_payout.id,
        "euro_payout_id": euro_payout.id,
    }

    async with owner_engine.connect() as connection:
        # One entry has one reversal: that is another rule.
        await connection.execute(
            text("ALTER TABLE payout_reversals DROP CONSTRAINT payout_reversals_journal_id_line_key")
        )
        with pytest.raises(IntegrityError, match="has not lost that"):
            await connection.execute(text(again), {k: v for k, v in ids.items() if f":{k}" in again})
        await connection.rollback()
