"""Totals and balances of both sides are those of all that was booked and listed."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.builders import NOW, a_line_of_stripe
from tests.db.reconciliation.books import Books, ListedStripe
from tests.db.reconciliation.findings import Reconcile


async def test_books_that_agree_have_no_exception_and_tie(books: Books, reconcile: Reconcile) -> None:
    for _ in range(4):
        await books.paid()

    report, exceptions = await reconcile()

    assert exceptions == []
    assert report.run.lines == 4
    (total,) = report.statement.totals
    assert (total.category, total.lines, total.stripe_minor, total.ledger_minor) == ("charge", 4, 7996, 7996)
    assert total.difference_minor == 0
    assert sum(day.stripe_minor for day in report.statement.days) == 7996 - 4 * 88


WHOLE_SCAN = text(
    """
    SELECT (SELECT coalesce(sum(amount_minor - fee_minor), 0) FROM stripe_transactions
            WHERE currency = :currency AND created_at < :at),
           (SELECT coalesce(sum(e.amount_minor), 0) FROM entries e JOIN journals j ON j.id = e.journal_id
            WHERE e.account = 'stripe_balance' AND e.currency = :currency AND j.created_at < :at)
    """
)


async def test_balances_are_those_of_all_that_was_ever_booked_and_listed(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    """They are worked out from sums that are kept; a whole scan says the same, before and after a roll-up."""
    for hours in (2, 5, 30, 60):
        at = (NOW - timedelta(hours=hours)).replace(microsecond=0)
        line = await books.paid(created_at=at)
        stripe.lines.append(replace(a_line_of_stripe(), created_at=at))
    changed = replace(line, created_at=line.created_at + timedelta(hours=20), amount_minor=2222)
    await reconcile()
    stripe.lines[-2:] = [changed]
    async with books.shop.begin() as tx:
        await tx.ledger.roll_up()
    await books.paid()

    report, _ = await reconcile()

    assert report.statement.balances
    for each in report.statement.balances:
        for at, standing in ((report.run.from_at, each.opening), (report.run.to_at, each.closing)):
            values = {"at": at, "currency": each.currency}
            scanned = (await connection.execute(WHOLE_SCAN, values)).one()
            assert (standing.stripe_minor, standing.ledger_minor) == tuple(scanned)
