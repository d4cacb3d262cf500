"""What a person makes of an exception, and what becomes of that when a side changes."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.identity.model import Role
from domain.ids import ExceptionId, ReconciliationId, UserId, uuid7
from domain.ledger.model import (
    PROCESSING_FEES,
    STRIPE_BALANCE,
    UNAPPLIED_CHARGES,
    Entry,
    JournalKind,
    seller_payable,
)
from domain.reconciliation.desk import MAX_CORRECTION_MINOR, Correction, ReconciliationDesk
from domain.reconciliation.model import BreakKind, ExceptionStatus
from tests.builders import NOW, Begin, Shop, a_line_of_stripe, a_user, principal
from tests.db.reconciliation.books import Books, Healer, ListedStripe
from tests.db.reconciliation.findings import Reconcile, closing, kinds
from tests.domain.fakes import FakeClock
from tests.paid_out import RELEASE


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


async def test_correction_is_booked_in_a_currency_that_stripe_alone_settles_in(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    line = await books.charge(currency="CAD")
    await books.post(line, fee_minor=80)
    report, (exception,) = await reconcile()
    correction = Correction("CAD", [Entry(PROCESSING_FEES, 8), Entry(STRIPE_BALANCE, -8)])

    resolved = await desk.resolve(finance, report.run.id, exception.id, "a fee of another month", correction)

    assert resolved.status is ExceptionStatus.RESOLVED


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
    line = await books.charge()
    report, (exception,) = await reconcile()
    run_id = report.run.id
    of_nobody = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry(seller_payable(UserId(uuid7())), -8)])
    of_buyer = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry(seller_payable(books.shop.buyer.id), -8)])
    unbalanced = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry(STRIPE_BALANCE, -7)])
    unknown = Correction("USD", [Entry(PROCESSING_FEES, 8), Entry("petty_cash", -8)])  # type: ignore[arg-type]  # on purpose

    no_currency, nothing = replace(unbalanced, currency="XXX"), Correction("USD", [])
    for correction in (unbalanced, unknown, nothing, no_currency, of_nobody, of_buyer):
        with pytest.raises(Invalid):
            await desk.resolve(finance, run_id, exception.id, "why", correction)
    with pytest.raises(NotFound):
        await desk.resolve(finance, run_id, ExceptionId(uuid7()), "why", None)
    with pytest.raises(NotFound):
        await desk.resolve(finance, ReconciliationId(uuid7()), exception.id, "why", None)
    with pytest.raises(Forbidden):
        await desk.resolve(principal(a_user(Role.ADMIN)), run_id, exception.id, "why", None)
    await books.post(line)
    await reconcile()
    with pytest.raises(Conflict):
        await desk.resolve(finance, run_id, exception.id, "why", None)


async def test_correction_moves_no_more_than_anything_real(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    await books.charge()
    report, (exception,) = await reconcile()
    half_minor = MAX_CORRECTION_MINOR // 2
    parts = [Entry(PROCESSING_FEES, half_minor), Entry(UNAPPLIED_CHARGES, MAX_CORRECTION_MINOR - half_minor)]
    most = Correction("USD", [*parts, Entry(STRIPE_BALANCE, -MAX_CORRECTION_MINOR)])
    more = Correction("USD", [*parts, Entry(PROCESSING_FEES, 1), Entry(STRIPE_BALANCE, -MAX_CORRECTION_MINOR - 1)])

    with pytest.raises(Invalid) as refusal:
        await desk.resolve(finance, report.run.id, exception.id, "why", more)

    assert refusal.value.code == "amount_out_of_range"
    assert (await desk.resolve(finance, report.run.id, exception.id, "why", most)).resolution is not None


async def test_wrong_correction_is_taken_back(
    books: Books, reconcile_until_now: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    await books.post(await books.charge(), fee_minor=80)
    report, (exception,), _ = await reconcile_until_now()
    wrong, back, right = in_ledger(500_000), in_ledger(-500_000), in_ledger(-8)

    for reason, correction in (("a typo", wrong), ("taken back", back), ("the fee", right)):
        await desk.resolve(finance, report.run.id, exception.id, reason, correction)

    _, (resolved,), closed = await reconcile_until_now()
    assert (resolved.status, resolved.resolution.reason) == (ExceptionStatus.RESOLVED, "the fee")
    assert closed == (0, 0)


async def test_repeated_resolution_books_nothing(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any, begin: Begin
) -> None:
    await books.charge()
    report, (exception,) = await reconcile()
    whose = finance, report.run.id, exception.id
    correction = Correction("USD", [Entry(STRIPE_BALANCE, 1911), Entry(UNAPPLIED_CHARGES, -1911)])
    first = await desk.resolve(*whose, "its webhook is lost", correction)

    again = await desk.resolve(*whose, "its webhook is lost", correction)

    assert again == first
    without = await desk.resolve(*whose, "its webhook is lost", None)
    assert without.resolution is not None
    assert without.resolution.journal_id is None


async def test_two_who_work_through_one_list_book_it_once(
    books: Books, reconcile_until_now: Reconcile, desk: ReconciliationDesk, finance: Any, begin: Begin
) -> None:
    await books.paid()
    line = await books.charge()
    report, (exception,), _ = await reconcile_until_now()
    colleague = a_user(Role.FINANCE)
    async with begin() as tx:
        await tx.users.add(colleague)
        await tx.commit()
    same = Correction("USD", [Entry(STRIPE_BALANCE, 1911), Entry(seller_payable(books.shop.seller.id), -1911)])
    elsewhere = Correction("USD", [Entry(UNAPPLIED_CHARGES, 1911), *same.entries[1:]])
    await desk.resolve(finance, report.run.id, exception.id, "lost", in_ledger(line.net_minor))

    for correction in (in_ledger(line.net_minor), same):
        with pytest.raises(Conflict) as refused:
            await desk.resolve(principal(colleague), report.run.id, exception.id, "its webhook", correction)
        assert refused.value.code == "correction_booked"
    await desk.resolve(principal(colleague), report.run.id, exception.id, "whose it is", elsewhere)

    _, (resolved,), closed = await reconcile_until_now()
    assert (resolved.status, resolved.resolution.reason) == (ExceptionStatus.RESOLVED, "whose it is")
    assert closed == (0, 0)


async def test_two_who_say_whose_it_is_book_it_once(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any, begin: Begin, shop: Shop
) -> None:
    """It moves nothing at Stripe, and the seller would be paid twice; so it would by a request sent again."""
    line = await books.charge()
    report, (exception,) = await reconcile()
    colleague = a_user(Role.FINANCE)
    async with begin() as tx:
        await tx.users.add(colleague)
        await tx.commit()
    run_id, seller = report.run.id, seller_payable(shop.seller.id)
    its = Correction("USD", [Entry(UNAPPLIED_CHARGES, line.net_minor), Entry(seller, -line.net_minor)])
    not_its = Correction("USD", [Entry(seller, line.net_minor), Entry(UNAPPLIED_CHARGES, -line.net_minor)])
    await desk.resolve(finance, run_id, exception.id, "its webhook is lost", in_ledger(line.net_minor))
    await desk.resolve(finance, run_id, exception.id, "whose it is", its)
    before_minor = await available(begin, shop)

    with pytest.raises(Conflict) as refused:
        await desk.resolve(principal(colleague), run_id, exception.id, "it is the seller's", its)
    await desk.resolve(principal(colleague), run_id, exception.id, "noted", None)
    with pytest.raises(Conflict):
        await desk.resolve(finance, run_id, exception.id, "whose it is", its)

    assert refused.value.code == "correction_booked"
    assert await available(begin, shop) == before_minor
    await desk.resolve(finance, run_id, exception.id, "of another seller", not_its)
    with pytest.raises(Conflict):
        await desk.resolve(principal(colleague), run_id, exception.id, "not the seller's", not_its)
    await desk.resolve(finance, run_id, exception.id, "it was the seller's", its)
    assert await available(begin, shop) == before_minor


async def test_what_was_booked_is_booked_again_when_a_side_has_moved_as_much_again(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    line = await books.charge()
    report, (exception,) = await reconcile()
    await desk.resolve(finance, report.run.id, exception.id, "lost", in_ledger(line.net_minor))
    stripe.lines[:] = [replace(line, amount_minor=2 * line.amount_minor, fee_minor=2 * line.fee_minor)]
    report, (exception,) = await reconcile()
    assert exception.status is ExceptionStatus.OPEN

    resolved = await desk.resolve(finance, report.run.id, exception.id, "it is more", in_ledger(line.net_minor))

    assert resolved.status is ExceptionStatus.RESOLVED


async def test_seller_that_comes_to_owe_by_a_correction_is_told(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any, connection: AsyncConnection
) -> None:
    await books.post(await books.charge(), amount_minor=1990)
    report, (exception,) = await reconcile()
    seller_id = books.shop.seller.id
    correction = Correction("USD", [Entry(seller_payable(seller_id), 90_000), Entry(STRIPE_BALANCE, -90_000)])

    await desk.resolve(finance, report.run.id, exception.id, "a debt", correction)

    told = text(
        "SELECT data ->> 'owed_minor' FROM events WHERE type = 'seller.balance_negative' AND subject_id = :id"
    )
    assert (await connection.execute(told, {"id": seller_id})).scalars().all() == [str(90_000 - 1990 + 88)]


async def test_what_is_decided_and_not_booked_stays_a_difference_and_what_is_in_transit_is_none(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    await books.paid()
    await reconcile()
    before = dict((await desk.drift()).differences)["USD"]
    line, later = await books.charge(), await books.charge()
    await books.post(replace(later, created_at=NOW + timedelta(seconds=1)))
    report, (exception,) = await reconcile()
    await desk.resolve(finance, report.run.id, exception.id, "Stripe takes it back in December", None)

    again, _ = await reconcile()

    drift = await desk.drift()
    assert drift.open_exceptions == 0
    assert dict(drift.differences)["USD"] - before == -line.net_minor
    assert await closing(again) == (-line.net_minor - later.net_minor, 0)


async def test_decision_is_over_when_the_sides_agree(
    books: Books, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any, connection: AsyncConnection
) -> None:
    await books.paid()
    line = await books.charge()
    report, (exception,) = await reconcile()
    await desk.resolve(finance, report.run.id, exception.id, "in transit", None)
    await books.post(line)

    again, exceptions = await reconcile()

    assert exceptions == []
    assert await closing(again) == (0, 0)
    assert await status_of(connection, exception.id) == "closed"


async def test_decision_on_a_journal_is_over_when_stripe_lists_its_line(
    books: Books, stripe: ListedStripe, reconcile: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    await books.paid()
    line = await books.paid()
    stripe.lines.remove(line)
    report, (exception,) = await reconcile()
    await desk.resolve(finance, report.run.id, exception.id, "Stripe looks into it", None)
    stripe.lines.append(line)

    again, exceptions = await reconcile()

    assert exceptions == []
    assert await closing(again) == (0, 0)


def in_ledger(net_minor: int) -> Correction:
    return Correction("USD", [Entry(STRIPE_BALANCE, net_minor), Entry(UNAPPLIED_CHARGES, -net_minor)])


async def test_correction_of_what_is_booked_after_all_is_shown_until_somebody_takes_it_back(
    books: Books, reconcile_until_now: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    await books.paid()
    line = await books.charge()
    report, (exception,), _ = await reconcile_until_now()
    await desk.resolve(finance, report.run.id, exception.id, "its webhook is lost", in_ledger(line.net_minor))
    await books.post(line)

    again, exceptions, closed = await reconcile_until_now()

    assert [each.id for each in exceptions] == [exception.id]
    assert kinds(exceptions) == [(BreakKind.DUPLICATE, ExceptionStatus.OPEN)]
    assert (exceptions[0].stripe_amount_minor, exceptions[0].ledger_amount_minor) == (1999, 1999)
    assert closed == (line.net_minor, 0)
    await desk.resolve(finance, again.run.id, exception.id, "it came", in_ledger(-line.net_minor))

    _, exceptions, closed = await reconcile_until_now()

    assert exceptions == []
    assert closed == (0, 0)


async def test_correction_of_a_journal_is_shown_when_stripe_lists_its_line(
    books: Books, stripe: ListedStripe, reconcile_until_now: Reconcile, desk: ReconciliationDesk, finance: Any
) -> None:
    await books.paid()
    line = await books.paid()
    stripe.lines.remove(line)
    report, (exception,), _ = await reconcile_until_now()
    await desk.resolve(finance, report.run.id, exception.id, "it never moved", in_ledger(-line.net_minor))
    stripe.lines.append(line)

    _, (open_one,), closed = await reconcile_until_now()

    assert (open_one.kind, open_one.stripe_transaction_id) == (BreakKind.DUPLICATE, line.id)
    assert closed == (-line.net_minor, 0)


@pytest.mark.parametrize(
    ("correction_minor", "status"), [(1911, ExceptionStatus.RESOLVED), (None, ExceptionStatus.OPEN)]
)
async def test_what_stays_away_is_shown_again_unless_a_person_has_booked_it(
    books: Books,
    reconcile_until_now: Reconcile,
    desk: ReconciliationDesk,
    finance: Any,
    clock: FakeClock,
    correction_minor: int | None,
    status: ExceptionStatus,
) -> None:
    clock.time = NOW - timedelta(hours=4)
    await books.charge(created_at=(clock.now() - timedelta(minutes=1)).replace(microsecond=0))
    report, (exception,), _ = await reconcile_until_now()
    correction = in_ledger(correction_minor) if correction_minor else None
    await desk.resolve(finance, report.run.id, exception.id, "in transit", correction)
    clock.advance(2 * 3600)

    _, exceptions, _ = await reconcile_until_now()

    assert exception.kind is BreakKind.LATE
    assert kinds(exceptions) == [(BreakKind.MISSING_IN_LEDGER, status)]


async def test_what_a_person_has_booked_is_not_mended(
    books: Books,
    stripe: ListedStripe,
    healer: Healer,
    reconcile_until_now: Reconcile,
    desk: ReconciliationDesk,
    finance: Any,
) -> None:
    line = await books.charge()
    report, (exception,), _ = await reconcile_until_now()
    await desk.resolve(finance, report.run.id, exception.id, "its webhook is lost", in_ledger(line.net_minor))
    stripe.lines[:] = [replace(line, fee_minor=90)]
    healer.heals.add(line.id)
    healer.asked.clear()

    _, exceptions, _ = await reconcile_until_now()

    assert kinds(exceptions) == [(BreakKind.MISSING_IN_LEDGER, ExceptionStatus.OPEN)]
    assert healer.asked == []


async def test_transfer_that_a_restored_database_has_forgotten_is_not_paid_again(
    books: Books,
    stripe: ListedStripe,
    reconcile_until_now: Reconcile,
    desk: ReconciliationDesk,
    finance: Any,
    begin: Begin,
    shop: Shop,
) -> None:
    """As `ops/runbooks/restore.md` says: it is booked against its seller, before anybody is paid out."""
    stripe.lines.append(a_line_of_stripe(category="transfer", source="tr_lost", amount_minor=-1500, fee_minor=0))
    report, (exception,), _ = await reconcile_until_now()
    assert exception.kind is BreakKind.MISSING_IN_LEDGER
    before_minor = await available(begin, shop)

    lost = Correction("USD", [Entry(seller_payable(shop.seller.id), 1500), Entry(STRIPE_BALANCE, -1500)])
    await desk.resolve(finance, report.run.id, exception.id, "transferred before the restore", lost)

    assert await available(begin, shop) == before_minor - 1500
    _, _, closed = await reconcile_until_now()
    assert closed == (0, 0)


async def available(begin: Begin, shop: Shop) -> int:
    async with begin() as tx:
        found: dict[str, int] = await tx.payouts.available(shop.seller.id, RELEASE)
    return found.get("USD", 0)


async def status_of(connection: AsyncConnection, exception_id: ExceptionId) -> str:
    found = text("SELECT status FROM reconciliation_exceptions WHERE id = :id")
    status: str = (await connection.execute(found, {"id": exception_id})).scalar_one()
    return status
