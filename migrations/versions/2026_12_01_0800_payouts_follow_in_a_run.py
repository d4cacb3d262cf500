"""A run pays a seller out whole, by several payouts where one does not take all.

One takes 50,000 entries at most, and a run made one: who sold more in an interval was owed more and more.
"""

from alembic import op

revision = "payouts_follow_in_a_run"
down_revision = "stock_given_back_has_room"


def upgrade() -> None:
    # What keeps a run from paying anybody out twice is that an entry is taken once, and that the cursor of the run
    # moves in the transaction that makes a payout.
    op.execute("ALTER TABLE payouts DROP CONSTRAINT payouts_one_a_run")
