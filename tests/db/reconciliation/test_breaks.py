"""Which breaks a run finds, mends and closes."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation import service
from domain.reconciliation.desk import ReconciliationDesk
from domain.reconciliation.model import BreakKind, ExceptionStatus, ReconciliationException
from domain.reconciliation.service import Reconciler
from tests.builders import NOW, a_line_of_stripe
from tests.db.reconciliation.books import Books, Healer, ListedStripe
from tests.db.reconciliation.findings import Reconcile, closing, kinds


async def test_each_break_is_found_with_its_kind_and_explains_the_difference(
    books: Books, stripe: ListedStripe, reconcile: Reconcile
) -> None:
    await books.paid()
    await books.charge()  # missing in the ledger
    await books.post(await books.charge(), amount_minor=1990)
    await books.post(await books.charge(), fee_minor=80)
    await books.post(replace(await books.charge(), currency="EUR"))
    doubled = await books.paid()
    stripe.lines.append(replace(doubled, id="txn_doubled", created_at=doubled.created_at + timedelta(seconds=9)))
    stripe.lines.append(a_line_of_stripe())  # of nobody
    stripe.lines.remove(await books.paid())  # missing at Stripe
    await books.charge(created_at=(NOW - timedelta(minutes=1)).replace(microsecond=0))  # late

    report, exceptions = await reconcile()

    assert sorted(each.kind for each in exceptions) == sorted(BreakKind)
    assert {each.status for each in exceptions} == {ExceptionStatus.OPEN}
    assert all(each.suggested_action for each in exceptions)
    (usd,) = [each for each in report.statement.balances if each.currency == "USD"]
    assert usd.closing.difference_minor - usd.opening.difference_minor != 0
    assert usd.closing.unexplained_minor == usd.opening.unexplained_minor
    assert sum(each.count for each in report.ages) == len(BreakKind)


async def test_exception_bears_both_sides(books: Books, reconcile: Reconcile) -> None:
    line = await books.charge()
    await books.post(line, amount_minor=1990)

    _, (exception,) = await reconcile()

    assert (exception.stripe_transaction_id, exception.stripe_source) == (line.id, line.source)
    assert (exception.stripe_amount_minor, exception.ledger_amount_minor) == (1999, 1990)
    assert len(exception.journal_ids) == 2
    assert exception.payment_id == line.payment_id


async def test_second_run_changes_nothing(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    await books.paid()
    await books.charge()
    await books.post(await books.charge(), amount_minor=1990)
    doubled = await books.paid()
    stripe.lines.append(replace(doubled, id="txn_doubled", created_at=doubled.created_at + timedelta(seconds=9)))
    stripe.lines.remove(await books.paid())
    first, exceptions = await reconcile()
    before = await everything(connection)

    second, again = await reconcile()

    assert again == exceptions
    assert second.statement == first.statement
    assert await everything(connection) == before


async def everything(connection: AsyncConnection) -> list[Any]:
    tables = ("journals", "entries", "reconciled_journals", "reconciliation_exceptions", "payments", "events")
    return [(await connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2"))).all() for table in tables]


async def test_what_is_mended_is_healed_and_marked_with_the_run(
    books: Books, healer: Healer, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    line = await books.charge()
    healer.heals.add(line.id)

    report, exceptions = await reconcile()

    assert kinds(exceptions) == [(BreakKind.MISSING_IN_LEDGER, ExceptionStatus.HEALED)]
    assert exceptions[0].closed_by == report.run.id
    marked = text("SELECT count(*) FROM reconciled_journals WHERE reconciliation_id = :id AND is_healing")
    assert (await connection.execute(marked, {"id": report.run.id})).scalar_one() == 2
    assert await closing(report) == (0, 0)


async def test_journals_and_exceptions_are_looked_at_page_by_page_to_the_end(
    books: Books, stripe: ListedStripe, healer: Healer, reconcile: Reconcile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_JOURNALS", 2)
    monkeypatch.setattr(service, "_EXCEPTIONS", 2)
    gone = [await books.paid() for _ in range(3)]
    stripe.lines.clear()
    lost = [await books.charge() for _ in range(3)]
    healer.heals.update(line.id for line in lost)

    _, exceptions = await reconcile()

    of_kind = {kind: {each.payment_id for each in exceptions if each.kind is kind} for kind in BreakKind}
    assert of_kind[BreakKind.MISSING_AT_STRIPE] >= {line.payment_id for line in gone}
    healed = [each for each in exceptions if each.status is ExceptionStatus.HEALED]
    assert sorted(each.stripe_transaction_id or "" for each in healed) == sorted(line.id for line in lost)


async def test_whatever_stripe_may_prove_is_asked_for_once(
    books: Books, stripe: ListedStripe, healer: Healer, reconcile: Reconcile
) -> None:
    missing = await books.charge()
    late = await books.charge(created_at=(NOW - timedelta(minutes=1)).replace(microsecond=0))
    fee, currency = await books.charge(), await books.charge()
    await books.post(fee, fee_minor=80)
    await books.post(replace(currency, currency="EUR"))
    nobodys = a_line_of_stripe()
    stripe.lines.append(nobodys)

    await reconcile()

    assert sorted(healer.asked) == sorted(line.id for line in (missing, late, fee, currency, nobodys))


async def test_wrong_amounts_and_duplicates_are_not_mended(
    books: Books, stripe: ListedStripe, healer: Healer, reconcile: Reconcile
) -> None:
    await books.post(await books.charge(), amount_minor=1990)
    doubled = await books.paid()
    stripe.lines.append(replace(doubled, id="txn_doubled", created_at=doubled.created_at + timedelta(seconds=9)))

    await reconcile()

    assert healer.asked == []


async def test_exception_that_a_later_run_finds_matched_closes(books: Books, reconcile: Reconcile) -> None:
    line = await books.charge()
    await reconcile()
    await books.post(line)

    report, exceptions = await reconcile()

    assert exceptions == []
    assert (await closing(report)) == (0, 0)


async def test_line_that_stripe_lists_again_closes_its_exception(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, connection: AsyncConnection
) -> None:
    line = await books.paid()
    stripe.lines.remove(line)
    _, (exception,) = await reconcile()
    assert exception.kind is BreakKind.MISSING_AT_STRIPE
    stripe.lines.append(line)

    _, exceptions = await reconcile()

    assert exceptions == []
    status = text("SELECT status FROM reconciliation_exceptions WHERE id = :id")
    assert (await connection.execute(status, {"id": exception.id})).scalar_one() == "closed"


async def test_line_that_vanishes_from_stripe_is_noticed(
    books: Books, stripe: ListedStripe, reconcile: Reconcile
) -> None:
    line = await books.paid()
    await reconcile()
    stripe.lines.remove(line)

    _, exceptions = await reconcile()

    assert kinds(exceptions) == [(BreakKind.MISSING_AT_STRIPE, ExceptionStatus.OPEN)]


async def test_break_is_over_when_it_is_booked_though_the_next_run_is_of_another_period(
    books: Books, reconcile: Reconcile, next_night: Reconcile, connection: AsyncConnection
) -> None:
    line = await books.charge()
    _, (exception,) = await reconcile()
    await books.post(line)

    await next_night()

    assert await status_of(connection, exception) is ExceptionStatus.CLOSED


async def test_journal_that_stripe_lists_late_is_asked_for_by_runs_of_other_periods(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, next_night: Reconcile, connection: AsyncConnection
) -> None:
    line = await books.paid(fee_minor=0)  # so that its charge alone can lead to it
    stripe.lines.remove(line)
    _, (exception,) = await reconcile()
    assert exception.kind is BreakKind.MISSING_AT_STRIPE
    await next_night()
    assert await status_of(connection, exception) is ExceptionStatus.OPEN
    stripe.lines.append(line)

    await next_night()

    assert await status_of(connection, exception) is ExceptionStatus.CLOSED


async def status_of(connection: AsyncConnection, exception: ReconciliationException) -> ExceptionStatus:
    status = text("SELECT status FROM reconciliation_exceptions WHERE id = :id")
    return ExceptionStatus((await connection.execute(status, {"id": exception.id})).scalar_one())


async def test_journal_whose_line_is_of_another_period_is_no_exception(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, reconciler: Reconciler
) -> None:
    line = await books.charge(created_at=(NOW - timedelta(days=2)).replace(microsecond=0))
    await books.post(line)

    report, exceptions = await reconcile()

    assert exceptions == []
    assert report.statement.totals == []
