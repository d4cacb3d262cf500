"""`marketflow reconcile` waits for its turn, and goes by the database's clock."""

from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.unit_of_work import Database
from domain.clock import SystemClock
from domain.reconciliation.desk import ReconciliationDesk
from ops.cli import reconciliation
from ops.errors import OperatorError
from tests.domain.fakes import FakeClock

LOOKS = 5


@pytest.fixture(autouse=True)
async def nobody_works(engine: AsyncEngine) -> AsyncIterator[None]:
    """No run that other tests have left moves, and none of these is left to them."""
    yield
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE reconciliations SET due_at = 'infinity' WHERE due_at IS NOT NULL"))


async def test_run_that_waits_for_another_is_waited_for(
    database: Database, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore there is one for each night that was missed."""
    now = SystemClock().now()
    desk = ReconciliationDesk(database.begin, database.clock)
    first = await desk.order(now - timedelta(days=2), now - timedelta(days=1), requested_by=None)
    looks = 0

    async def look_again(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks <= LOOKS:
            async with engine.begin() as connection:
                values = {"id": first.id, "cursor": f"txn_{looks}"}
                await connection.execute(
                    text("UPDATE reconciliations SET cursor = :cursor WHERE id = :id"), values
                )

    # For this command alone: the event loop and the connections keep their time.
    monkeypatch.setattr(reconciliation, "asyncio", SimpleNamespace(sleep=look_again))
    patience = SimpleNamespace(monotonic=lambda: looks * reconciliation._PATIENCE_S)
    monkeypatch.setattr(reconciliation, "time", patience)

    with pytest.raises(OperatorError, match="Nobody works"):
        await reconciliation._run(database, "2d", "1d", wait=True)

    assert looks == LOOKS + 2


async def test_now_is_the_databases(engine: AsyncEngine) -> None:
    """A machine that is ahead of it would ask for what is still to come."""
    behind = FakeClock()
    behind.time = SystemClock().now() - timedelta(minutes=10)

    report = await reconciliation._run(Database(engine, clock=behind), "1h", None, wait=False)

    assert report.run.to_at == behind.now().replace(microsecond=0)
    assert report.run.to_at - report.run.from_at == timedelta(hours=1)
