"""Tables of payouts to sellers."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from db.tables.columns import AT, metadata, work_columns

_under_way = text("status IN ('pending', 'processing', 'unknown')")


payout_runs = Table(
    "payout_runs",
    metadata,
    Column("run_at", AT, primary_key=True),
    Column("started_at", AT, nullable=False),
    Column("locked_until", AT, nullable=False),
    Column("after_seller_id", Uuid),
    Column("payouts", Integer, nullable=False, server_default="0"),
    Column("finished_at", AT),
    Index(
        "payout_runs_one_at_a_time",
        text("(finished_at IS NULL)"),
        unique=True,
        postgresql_where=text("finished_at IS NULL"),
    ),
)


payouts = Table(
    "payouts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seller_id", Uuid, ForeignKey("sellers.user_id"), nullable=False),
    Column("stripe_account_id", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("carried_minor", BigInteger, nullable=False, server_default="0"),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("requested_by", Uuid, ForeignKey("users.id")),
    Column("idempotency_key", Text),
    Column("request_hash", LargeBinary),
    Column("failure_code", Text),
    Column("stripe_transfer_id", Text),
    Column("stripe_payout_id", Text),
    Column("run_at", AT, ForeignKey("payout_runs.run_at")),
    Column("reversed_minor", BigInteger, nullable=False, server_default="0"),
    Column("created_at", AT, nullable=False),
    Column("updated_at", AT, nullable=False),
    *work_columns(),
    Column("first_sent_at", AT),
    Column("key_burnt_at", AT),
    Column("quarantined_at", AT),
    Column("quarantine_reason", Text),
    Column("request_id", Text),
    Column("traceparent", Text),
    UniqueConstraint("stripe_transfer_id", name="payouts_stripe_transfer_id_key"),
    UniqueConstraint("idempotency_key", "requested_by", name="payouts_requested_by_idempotency_key_key"),
    Index("payouts_request_id_idx", "request_id", postgresql_where=text("request_id IS NOT NULL")),
    Index("payouts_seller_id_idx", "seller_id", "id"),
    Index("payouts_under_way_idx", "seller_id", postgresql_where=_under_way),
    Index(
        "payouts_stripe_payout_id_idx",
        "stripe_payout_id",
        postgresql_where=text("stripe_payout_id IS NOT NULL"),
    ),
    Index("payouts_quarantined_at_idx", "quarantined_at", postgresql_where=text("quarantined_at IS NOT NULL")),
    Index("payouts_publish_at_idx", "publish_at", postgresql_where=text("publish_at IS NOT NULL")),
)


payout_entries = Table(
    "payout_entries",
    metadata,
    Column("journal_id", Uuid, nullable=False),
    Column("line", SmallInteger, nullable=False),
    Column("payout_id", Uuid, ForeignKey("payouts.id")),
    PrimaryKeyConstraint("journal_id", "line"),
    Index("payout_entries_payout_id_idx", "payout_id"),
)


payout_floors = Table(
    "payout_floors",
    metadata,
    Column("seller_id", Uuid, ForeignKey("sellers.user_id"), primary_key=True),
    Column("journal_id", Uuid, nullable=False),
)


payout_reversals = Table(
    "payout_reversals",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("payout_id", Uuid, ForeignKey("payouts.id"), nullable=False),
    Column("journal_id", Uuid),
    Column("line", SmallInteger),
    Column("payment_id", Uuid, ForeignKey("payments.id")),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("failure_code", Text),
    Column("stripe_reversal_id", Text),
    Column("created_at", AT, nullable=False),
    Column("updated_at", AT, nullable=False),
    *work_columns(),
    Column("key_number", Integer, nullable=False, server_default="0"),
    Column("first_sent_at", AT),
    Column("key_burnt_at", AT),
    Column("quarantined_at", AT),
    Column("quarantine_reason", Text),
    UniqueConstraint("stripe_reversal_id", name="payout_reversals_stripe_reversal_id_key"),
    UniqueConstraint("journal_id", "line", name="payout_reversals_journal_id_line_key"),
    Index("payout_reversals_payout_id_idx", "payout_id", "id"),
    Index(
        "payout_reversals_quarantined_at_idx",
        "quarantined_at",
        postgresql_where=text("quarantined_at IS NOT NULL"),
    ),
    Index("payout_reversals_publish_at_idx", "publish_at", postgresql_where=text("publish_at IS NOT NULL")),
)
