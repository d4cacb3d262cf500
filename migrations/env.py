"""How Alembic runs here: as the owner, each migration in a transaction of its own.

`ops/migrate.py` calls it under an advisory lock, so that two deployments wait for each other.
"""

import os

import psycopg
from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from db.tables import metadata


def run() -> None:
    """Upgrade or compare, over the owner's connection that MARKETFLOW_MIGRATION_DATABASE_URL names."""
    url = context.config.attributes.get("url") or os.environ["MARKETFLOW_MIGRATION_DATABASE_URL"]
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
    with engine.connect() as connection:
        # A migration that would wait for a lock gives up instead of stopping the traffic behind it.
        connection.execute(text("SET lock_timeout = '4s'"))
        connection.execute(text("SET statement_timeout = '60s'"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            transaction_per_migration=True,
            compare_server_default=False,
        )
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
