"""Tables of sellers and their accounts at Stripe."""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from db.tables.columns import AT, metadata, work_columns

sellers = Table(
    "sellers",
    metadata,
    Column("user_id", Uuid, ForeignKey("users.id"), primary_key=True),
    Column("commission_bps", Integer),
)


seller_accounts = Table(
    "seller_accounts",
    metadata,
    Column("seller_id", Uuid, ForeignKey("sellers.user_id"), primary_key=True),
    Column("status", Text, nullable=False),
    Column("stripe_account_id", Text),
    Column("payouts_enabled", Boolean, nullable=False, server_default="false"),
    Column("link", Text),
    Column("link_expires_at", AT),
    Column("failure_code", Text),
    Column("created_at", AT, nullable=False),
    Column("updated_at", AT, nullable=False),
    *work_columns(),
    Column("wakes", Integer, nullable=False, server_default="0"),
    Column("key_number", Integer, nullable=False, server_default="0"),
    Column("first_sent_at", AT),
    Column("key_burnt_at", AT),
    Column("request_id", Text),
    Column("traceparent", Text),
    UniqueConstraint("stripe_account_id", name="seller_accounts_stripe_account_id_key"),
    Index("seller_accounts_publish_at_idx", "publish_at", postgresql_where=text("publish_at IS NOT NULL")),
)
