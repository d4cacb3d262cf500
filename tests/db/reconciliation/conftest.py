"""Runs on the real database, against a Stripe that is a list."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.reconciliation.desk import ReconciliationDesk
from domain.reconciliation.model import ReconciliationException, Report, RunStatus
from domain.reconciliation.service import Reconciler, ReconciliationPolicy
from tests.builders import NOW, Begin, Shop
from tests.db.reconciliation.books import Books, Healer, ListedStripe
from tests.db.reconciliation.findings import Reconcile, closing, found
from tests.domain.fakes import FakeClock


@pytest.fixture(autouse=True)
async def alone(connection: AsyncConnection) -> None:
    """The runs and exceptions that other tests have committed are none of these tests'."""
    await connection.execute(text("UPDATE reconciliations SET due_at = 'infinity' WHERE due_at IS NOT NULL"))
    await connection.execute(
        text("UPDATE reconciliation_exceptions SET status = 'closed', closed_at = now() WHERE status = 'open'")
    )


@pytest.fixture
def stripe() -> ListedStripe:
    return ListedStripe()


@pytest.fixture
def books(shop: Shop, stripe: ListedStripe) -> Books:
    return Books(shop, stripe)


@pytest.fixture
def healer(books: Books) -> Healer:
    return Healer(books)


@pytest.fixture
def reconciler(begin: Begin, stripe: ListedStripe, healer: Healer, clock: FakeClock) -> Reconciler:
    return Reconciler(begin, stripe, healer, clock, ReconciliationPolicy())


@pytest.fixture
def desk(begin: Begin, clock: FakeClock) -> ReconciliationDesk:
    return ReconciliationDesk(begin, clock)


@pytest.fixture
def reconcile(reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock) -> Reconcile:
    """Reconcile the last day, and return what was found."""

    async def run_one(**budget: float) -> tuple[Report, list[ReconciliationException]]:
        clock.advance(1)
        run = await desk.order(NOW - timedelta(days=1), NOW, requested_by=None)
        done = await reconciler.work(budget_s=budget.get("budget_s", 60))
        assert done is not None
        assert done.status is RunStatus.SUCCEEDED
        return await desk.read(run.id), await found(run, desk)

    return run_one


@pytest.fixture
async def reconcile_until_now(reconciler: Reconciler, desk: ReconciliationDesk, clock: FakeClock) -> Reconcile:
    """Reconcile the last day and all that was decided since, and return what was found, and how the sides close.

    It is some minutes before NOW, when other tests begin to commit what would be found as well; what they have
    committed for the time before is not counted.
    """
    clock.time = NOW - timedelta(minutes=10)
    before = (0, 0)

    async def run_one() -> tuple[Report, list[ReconciliationException], tuple[int, int]]:
        clock.advance(60)
        run = await desk.order(NOW - timedelta(days=1), clock.now(), requested_by=None)
        done = await reconciler.work(budget_s=60)
        assert done is not None
        assert done.status is RunStatus.SUCCEEDED
        report = await desk.read(run.id)
        return report, await found(run, desk), await closing(report, before)

    _, _, before = await run_one()
    return run_one


@pytest.fixture
def next_night(
    reconciler: Reconciler, stripe: ListedStripe, desk: ReconciliationDesk, clock: FakeClock
) -> Reconcile:
    """Reconcile the day after the last one, and return what was found of Stripe's lines.

    That day also holds journals which other tests have committed, of which this Stripe knows nothing.
    """

    async def run_one() -> tuple[Report, list[ReconciliationException]]:
        day = clock.now() - (clock.now() - NOW) % timedelta(days=1)
        clock.advance(2 * 86_400)
        run = await desk.order(day, day + timedelta(days=1), requested_by=None)
        done = await reconciler.work(budget_s=60)
        assert done is not None
        assert done.status is RunStatus.SUCCEEDED
        ids = {line.id for line in stripe.lines}
        of_lines = [each for each in await found(run, desk) if each.stripe_transaction_id in ids]
        return await desk.read(run.id), of_lines

    return run_one
