"""A run is of a period, works in turns, goes on where it was, and is one worker's alone."""

from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Forbidden, Invalid, Unavailable
from domain.identity.model import Role
from domain.ids import ExceptionId, ReconciliationId, uuid7
from domain.pages import PageRequest
from domain.reconciliation.desk import ReconciliationDesk
from domain.reconciliation.model import BreakKind, RunStatus, Step
from domain.reconciliation.ports import LinePage
from domain.reconciliation.service import Reconciler
from tests.builders import NOW, Begin, a_user, principal
from tests.db.reconciliation.books import PAGE, Books, ListedStripe
from tests.db.reconciliation.findings import found
from tests.domain.fakes import FakeClock


async def test_run_goes_on_at_the_page_where_it_was(
    books: Books, stripe: ListedStripe, reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock
) -> None:
    for _ in range(2 * PAGE + 1):
        await books.paid()
    clock.advance(1)
    run = await desk.order(NOW - timedelta(days=1), NOW, requested_by=None)
    stripe.fails_at = 3
    with pytest.raises(Unavailable):
        await reconciler.work(budget_s=60)
    clock.advance(9)
    assert await reconciler.work(budget_s=60) is None, "it waits a little"
    clock.advance(1)

    done = await reconciler.work(budget_s=60)

    assert done is not None
    assert (done.id, done.status, done.lines) == (run.id, RunStatus.SUCCEEDED, 2 * PAGE + 1)
    assert stripe.pages == 4


async def test_run_stops_when_its_time_is_up_and_goes_on_later(
    books: Books, reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock
) -> None:
    for _ in range(PAGE + 1):
        await books.paid()
    clock.advance(1)
    await desk.order(NOW - timedelta(days=1), NOW, requested_by=None)

    steps = []
    while (run := await reconciler.work(budget_s=0)) is not None:
        steps.append(run.step)

    # Journals that other tests have committed are looked at too.
    assert list(dict.fromkeys(steps)) == [Step.LISTING, Step.UNPACKING, Step.CHECKING, Step.MENDING, Step.DONE]


async def test_run_goes_on_within_the_payout_where_it_was(
    books: Books, stripe: ListedStripe, reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock
) -> None:
    await books.paid_out([await books.paid() for _ in range(2 * PAGE)])
    clock.advance(1)
    run = await desk.order(NOW - timedelta(days=1), NOW, requested_by=None)
    stripe.payout_fails_at = 3

    with pytest.raises(Unavailable):
        await reconciler.work(budget_s=60)
    clock.advance(60)
    done = await reconciler.work(budget_s=60)

    assert done is not None
    assert done.status is RunStatus.SUCCEEDED
    assert await found(run, desk) == []
    first, second, failed, again = stripe.asked_in_payouts
    assert first is None
    assert failed == again != second


async def test_what_lies_between_two_runs_is_compared_by_the_second(
    books: Books, reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock
) -> None:
    """Or its opening balance would not tie. All of it is later than what other tests have reconciled."""
    day = timedelta(days=1)
    clock.time = NOW + 10 * day
    await desk.order(NOW + 2 * day, NOW + 3 * day, requested_by=None)
    assert await reconciler.work(budget_s=60) is not None
    between = await books.charge(created_at=(NOW + 5 * day).replace(microsecond=0))

    run = await desk.order(NOW + 8 * day, NOW + 9 * day, requested_by=None)
    assert await reconciler.work(budget_s=60) is not None

    exceptions = {each.stripe_transaction_id: each.kind for each in await found(run, desk)}
    assert exceptions[between.id] is BreakKind.MISSING_IN_LEDGER


async def test_leased_run_is_nobody_elses(
    begin: Begin, reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock
) -> None:
    for _ in range(2):
        await desk.order(NOW - timedelta(days=1), NOW - timedelta(hours=1), requested_by=None)
    async with begin() as tx:
        mine = await tx.runs.lease(clock.now(), clock.now() + timedelta(seconds=60))
        await tx.commit()
    assert mine is not None

    assert await reconciler.work(budget_s=60) is None
    clock.advance(61)
    other = await reconciler.work(budget_s=60)

    assert other is not None
    assert other.id == mine.id, "the oldest goes first"
    async with begin() as tx:
        assert not await tx.runs.save(mine, due_at=clock.now(), until=None), "the lease is lost"


async def test_run_that_another_has_taken_over_meanwhile_is_left_to_it(
    begin: Begin,
    books: Books,
    reconciler: Reconciler,
    stripe: ListedStripe,
    desk: ReconciliationDesk,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await books.paid()
    clock.advance(1)
    run = await desk.order(NOW - timedelta(days=1), NOW, requested_by=None)
    page = stripe.page

    async def answer_late(from_at: datetime, to_at: datetime, after: str | None) -> LinePage:
        clock.advance(61)
        async with begin() as tx:
            assert await tx.runs.lease(clock.now(), clock.now() + timedelta(seconds=60)) is not None
            await tx.commit()
        return await page(from_at, to_at, after)

    monkeypatch.setattr(stripe, "page", answer_late)
    assert await reconciler.work(budget_s=600) is None

    left = (await desk.read(run.id)).run
    assert (left.step, left.lines, stripe.pages) == (Step.LISTING, 0, 1)


async def test_night_is_reconciled_two_hours_after_it_has_ended(reconciler: Reconciler, clock: FakeClock) -> None:
    clock.time = midnight = datetime.combine(NOW.date(), time(), UTC) + timedelta(days=1)
    await reconciler.plan_nights()

    clock.time = midnight + timedelta(hours=2) - timedelta(seconds=1)
    assert await reconciler.plan_nights() == 0
    clock.time = midnight + timedelta(hours=2)
    assert await reconciler.plan_nights() == 1


async def test_no_more_than_a_month_of_nights_is_caught_up(reconciler: Reconciler, clock: FakeClock) -> None:
    await reconciler.plan_nights()
    clock.advance(100 * 86_400)

    assert await reconciler.plan_nights() == 31


async def test_missed_nights_are_caught_up_once(
    begin: Begin, reconciler: Reconciler, clock: FakeClock, connection: AsyncConnection
) -> None:
    assert await reconciler.plan_nights() == 1
    assert await reconciler.plan_nights() == 0
    clock.advance(3 * 86_400)

    assert await reconciler.plan_nights() == 3
    assert await reconciler.plan_nights() == 0


async def test_period_must_be_one(desk: ReconciliationDesk, clock: FakeClock) -> None:
    for from_at, to_at in (
        (NOW, NOW - timedelta(days=1)),
        (NOW - timedelta(days=1), NOW + timedelta(days=1)),
        (NOW - timedelta(days=500), NOW),
    ):
        with pytest.raises(Invalid):
            await desk.order(from_at, to_at, requested_by=None)


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.FINANCE}))
async def test_finance_alone_asks_for_reconciliations_and_reads_them(desk: ReconciliationDesk, role: Role) -> None:
    caller, run_id = principal(a_user(role)), ReconciliationId(uuid7())

    for call in (
        desk.request(caller, None, None),
        desk.page(caller, PageRequest()),
        desk.report(caller, run_id),
        desk.resolve(caller, run_id, ExceptionId(uuid7()), "a reason", None),
    ):
        with pytest.raises(Forbidden):
            await call
