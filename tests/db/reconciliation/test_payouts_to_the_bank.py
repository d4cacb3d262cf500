"""A payout to our bank is compared with what Stripe lists in it."""

from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation.model import BreakKind, ExceptionStatus
from tests.db.reconciliation.books import PAGE, Books, ListedStripe
from tests.db.reconciliation.findings import Reconcile, closing


async def test_payout_to_our_bank_is_compared_with_what_stripe_lists_in_it(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    lines = [await books.paid() for _ in range(PAGE + 1)]
    whole, short = await books.paid_out(lines), await books.paid_out(lines[:2], less_minor=1)

    report, (exception,) = await reconcile()

    assert (exception.kind, exception.stripe_transaction_id) == (BreakKind.AMOUNT_MISMATCH, short.id)
    assert (exception.stripe_amount_minor, exception.ledger_amount_minor) == (-2 * 1911 + 1, -2 * 1911 + 1)
    assert exception.contents_minor == 2 * 1911
    assert await closing(report) == (0, 0)
    contents = text("SELECT net_minor, lines, is_whole FROM stripe_payout_contents WHERE transaction_id = :id")
    assert (await connection.execute(contents, {"id": whole.id})).one() == ((PAGE + 1) * 1911, PAGE + 1, True)
    stripe.payouts[short.source or ""] = [short, *lines[:2], replace(lines[2], amount_minor=87)]

    _, (again,) = await reconcile()

    assert (again.id, again.status) == (exception.id, ExceptionStatus.CLOSED)


async def test_payout_whose_contents_stripe_does_not_list_is_compared_with_its_journal_alone(
    books: Books, stripe: ListedStripe, reconcile: Reconcile
) -> None:
    payout = await books.paid_out([await books.paid()], less_minor=100)
    del stripe.payouts[payout.source or ""]

    assert (await reconcile())[1] == []


async def test_payout_that_stripe_has_not_listed_is_compared_when_it_has(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, next_night: Reconcile
) -> None:
    lines = [await books.paid() for _ in range(2)]
    good, short = await books.paid_out(lines), await books.paid_out(lines, less_minor=1)
    stripe.in_progress = {good.source or "", short.source or ""}

    assert (await reconcile())[1] == []

    stripe.in_progress.clear()
    _, (exception,) = await next_night()
    assert (exception.kind, exception.stripe_transaction_id) == (BreakKind.AMOUNT_MISMATCH, short.id)


async def test_payout_whose_contents_were_wrong_is_asked_for_until_they_are_right(
    books: Books,
    stripe: ListedStripe,
    reconcile: Reconcile,
    next_night: Reconcile,
    connection: AsyncConnection,
) -> None:
    lines = [await books.paid() for _ in range(2)]
    payout = await books.paid_out(lines)
    stripe.payouts[payout.source or ""] = [payout, lines[0]]
    _, (exception,) = await reconcile()
    stripe.payouts[payout.source or ""] = [payout, *lines]

    _, exceptions = await next_night()

    assert exceptions == []
    status = text("SELECT status FROM reconciliation_exceptions WHERE id = :id")
    assert (await connection.execute(status, {"id": exception.id})).scalar_one() == "closed"
    stripe.payouts.clear()
    await next_night()
    contents = text("SELECT is_whole FROM stripe_payout_contents WHERE transaction_id = :id")
    assert (await connection.execute(contents, {"id": payout.id})).scalar_one(), "nobody has asked again"
