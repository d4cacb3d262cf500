"""What a person makes of an exception, and what becomes of that when a side changes."""

from dataclasses import replace
from typing import Any

import pytest

from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.identity.model import Role
from domain.ids import ExceptionId, ReconciliationId, uuid7
from domain.ledger.model import PROCESSING_FEES, STRIPE_BALANCE, Entry, JournalKind
from domain.reconciliation.desk import Correction, ReconciliationDesk
from domain.reconciliation.model import BreakKind, ExceptionStatus
from tests.builders import Begin, a_line_of_stripe, a_user, principal
from tests.db.reconciliation.books import Books, ListedStripe
from tests.db.reconciliation.findings import Reconcile, closing, kinds


@pytest.fixture
async def finance(begin: Begin) -> Any:
    user = a_user(Role.FINANCE)
    async with begin() as tx:
        await tx.users.add(user)
        await tx.commit()
    return principal(user)


async def test_person_closes_an_exception_with_a_correction(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any, begin: Begin
) -> None:
    await books.post(await books.charge(), fee_minor=80)
    report, (exception,) = await reconcile()
    correction = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry(STRIPE_BALANCE, -8)])

    resolved = await desk.resolve(finance, report.run.id, exception.id, "a fee of another month", correction)

    assert resolved.resolution is not None
    async with begin() as tx:
        journal = await tx.ledger.journal(resolved.resolution.journal_id)
    assert journal.kind is JournalKind.CORRECTION
    again, exceptions = await reconcile()
    assert kinds(exceptions) == [(BreakKind.FEE_MISMATCH, ExceptionStatus.RESOLVED)]
    assert exceptions[0].resolution == resolved.resolution
    (usd,) = [each for each in again.statement.balances if each.currency == "USD"]
    assert usd.closing.unexplained_minor == usd.opening.unexplained_minor


async def test_resolved_exception_is_open_again_when_a_side_changes(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    line = await books.charge()
    await books.post(line, amount_minor=1990)
    report, (exception,) = await reconcile()
    await desk.resolve(finance, report.run.id, exception.id, "known", None)
    stripe.lines[:] = [replace(line, amount_minor=2100)]

    _, exceptions = await reconcile()

    assert [each.id for each in exceptions] == [exception.id]
    assert exceptions[0].status is ExceptionStatus.OPEN


async def test_resolved_line_that_vanishes_from_stripe_explains_nothing_any_more(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    await books.paid()
    line = a_line_of_stripe()
    stripe.lines.append(line)
    report, (exception,) = await reconcile()
    await desk.resolve(finance, report.run.id, exception.id, "of another shop", None)
    stripe.lines.remove(line)

    again, exceptions = await reconcile()

    assert exceptions == []
    assert await closing(again) == (0, 0)


async def test_what_is_wrong_is_refused(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    await books.charge()
    report, (exception,) = await reconcile()
    run_id = report.run.id
    unbalanced = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry(STRIPE_BALANCE, -7)])
    unknown = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry("petty_cash", -8)])  # type: ignore[arg-type]  # on purpose

    for correction in (unbalanced, unknown, Correction("USD", []), replace(unbalanced, currency="XXX")):
        with pytest.raises(Invalid):
            await desk.resolve(finance, run_id, exception.id, "why", correction)
    with pytest.raises(NotFound):
        await desk.resolve(finance, run_id, ExceptionId(uuid7()), "why", None)
    with pytest.raises(NotFound):
        await desk.resolve(finance, ReconciliationId(uuid7()), exception.id, "why", None)
    with pytest.raises(Forbidden):
        await desk.resolve(principal(a_user(Role.ADMIN)), run_id, exception.id, "why", None)
    await desk.resolve(finance, run_id, exception.id, "why", None)
    with pytest.raises(Conflict):
        await desk.resolve(finance, run_id, exception.id, "why", None)
