"""Servers with both sides in them: a PostgreSQL of payments, and a sandbox that begins with what was written."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from db.pool import make_pool
from db.unit_of_work import Database
from domain.clock import SystemClock
from domain.ids import ReconciliationId
from domain.ledger.model import Verification
from domain.ledger.service import LedgerService
from domain.reconciliation.desk import ReconciliationDesk
from domain.reconciliation.model import BreakKind, ExceptionStatus, Report
from ops.settings import Settings
from ops.stack import Stack
from tests.reconciliation.breaks import Breaks
from tests.reconciliation.sides import Plant, Sides
from tests.reconciliation.world import GRACE_S, World

REPLACING = ("DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "BROKER_URL", "STRIPE_API_BASE")
_FOUND = """
    SELECT key, kind, status FROM reconciliation_exceptions x
    WHERE %(run)s::uuid IS NULL
        OR EXISTS (SELECT FROM reconciliation_findings WHERE exception_id = x.id AND reconciliation_id = %(run)s)
"""
# All that a second run must leave as it is.
_LASTING = (
    "journals",
    "entries",
    "reconciled_journals",
    "reconciliation_exceptions",
    "payments",
    "refunds",
    "payouts",
    "stripe_payout_contents",
    "events",
)


@dataclass(frozen=True)
class Bed:
    """Running servers, and what was planted in them."""

    database: Database
    database_url: str
    settings: Settings
    sides: Sides
    now: datetime

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of a worker here."""
        given = {
            "DATABASE_URL": self.settings.database_url,
            "REDIS_URL": self.settings.redis_url,
            "BROKER_URL": self.settings.broker_url,
            "STRIPE_API_BASE": self.settings.stripe_api_base,
            "STRIPE_API_KEY": self.settings.stripe_api_key.get_secret_value(),
            "STRIPE_RATE_PER_SECOND": "0",
            "RECONCILE_GRACE_S": str(GRACE_S),
        }
        return {**os.environ, **{f"MARKETFLOW_{name}": value for name, value in given.items()}}

    def found(self, run_id: ReconciliationId | None = None) -> dict[str, Plant]:
        """Return what a run found, or all runs together, by key."""
        with psycopg.connect(self.database_url) as connection:
            rows = connection.execute(_FOUND, {"run": run_id}).fetchall()
        return {key: (BreakKind(kind), ExceptionStatus(status)) for key, kind, status in rows}

    def lasting(self) -> list[Any]:
        """Return a digest of all that a second run must leave as it is."""
        query = "SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY md5(t::text))) FROM {} t"
        with psycopg.connect(self.database_url) as connection:
            return [connection.execute(query.format(table)).fetchone() for table in _LASTING]  # type: ignore[arg-type]  # names of ours

    async def report(self, run_id: ReconciliationId) -> Report:
        """Return a run's report."""
        return await ReconciliationDesk(self.database.begin, SystemClock()).read(run_id)

    async def verify(self) -> Verification:
        """Recompute the books."""
        return await LedgerService(self.database.begin).verify()


@asynccontextmanager
async def open_bed(directory: Path, payments: int, breaks_each: int, *, seed: int = 1) -> AsyncIterator[Bed]:
    """Make both sides, and start what serves them."""
    now = datetime.now(UTC)
    with Stack(directory / "books", programs={"postgres"}) as books:
        pool = make_pool(books.info.database_url, pool_size=8, statement_timeout_s=600)
        database = Database(pool)
        world = World(database, seed, now)
        await world.make(payments)
        await Breaks(world).plant(breaks_each)
        world.sides.write(directory / "stripe" / "stripe" / "state.json")
        with Stack(directory / "stripe", programs={"stripe", "valkey"}) as stripe:
            values: dict[str, Any] = {
                "database_url": books.info.database_url,
                "redis_url": stripe.info.redis_url,
                "broker_url": stripe.info.broker_url,
                "stripe_api_base": stripe.info.stripe,
                "stripe_api_key": stripe.info.stripe_api_key,
                "stripe_rate_per_second": 0,
                "reconcile_grace_s": GRACE_S,
            }
            yield Bed(database, books.info.database_url, Settings(**values), world.sides, now)
        await pool.close()
