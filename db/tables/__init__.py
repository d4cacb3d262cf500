"""The tables, for `alembic check`: what the migrations have built, as SQLAlchemy sees it.

Queries are written as SQL in the repositories; CHECKs, triggers and grants live in `migrations/`.
"""

from db.tables import (
    catalog,
    events,
    identity,
    ledger,
    notifications,
    orders,
    payments,
    payouts,
    reconciliation,
    sellers,
)
from db.tables.columns import metadata

__all__ = [
    "catalog",
    "events",
    "identity",
    "ledger",
    "metadata",
    "notifications",
    "orders",
    "payments",
    "payouts",
    "reconciliation",
    "sellers",
]
