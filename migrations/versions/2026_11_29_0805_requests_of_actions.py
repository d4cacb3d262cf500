"""A refund and a payout are found by the request that asked for them, to begin a trace there."""

from alembic import op

revision = "requests_of_actions"
down_revision = "traceparents_of_actions"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        for table in ("refunds", "payouts"):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {table}_request_id_idx")
            op.execute(
                f"""
                CREATE INDEX CONCURRENTLY {table}_request_id_idx ON {table} (request_id)
                WHERE request_id IS NOT NULL
                """
            )
        op.execute("SET statement_timeout = '60s'")
