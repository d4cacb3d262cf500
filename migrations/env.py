"""How Alembic runs here: as the owner, one migration at a time, each in a transaction of its own."""

import os

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from db.engine import sqlalchemy_url
from db.tables import metadata

# Two deployments at once: the second waits here. The number names the migrations among advisory locks.
MIGRATION_LOCK = 0x6D66_0001


def run() -> None:
    """Upgrade or compare, over the owner's connection that MARKETFLOW_MIGRATION_DATABASE_URL names."""
    url = context.config.attributes.get("url") or os.environ["MARKETFLOW_MIGRATION_DATABASE_URL"]
    engine = create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        # A migration that would wait for a lock gives up instead of stopping the traffic behind it.
        connection.execute(text("SET lock_timeout = '4s'"))
        connection.execute(text("SET statement_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            transaction_per_migration=True,
            compare_server_default=False,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()
    engine.dispose()


run()
