"""A payment is found by the request that asked to capture or to cancel it, too, to begin a trace there.

The request that made it is found by time, so payments of which nothing was asked since need no entry.
"""

from alembic import op

revision = "requests_of_captures"
down_revision = "payout_floors_anew"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("SET statement_timeout = 0")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS payments_request_id_idx")
        op.execute(
            """
            CREATE INDEX CONCURRENTLY payments_request_id_idx ON payments (request_id)
            WHERE capture = 'manual' OR cancel_requested
            """
        )
        op.execute("SET statement_timeout = '60s'")
