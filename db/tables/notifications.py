"""Tables of webhooks to clients."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from db.tables.columns import AT, metadata

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("owner_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("sees_all", Boolean, nullable=False),
    Column(
        "listens_to",
        Uuid,
        Computed(
            "CASE WHEN sees_all THEN '00000000-0000-0000-0000-000000000000' ELSE owner_id END", persisted=True
        ),
        nullable=False,
    ),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    Column("secret", Text, nullable=False),
    Column("previous_secret", Text),
    Column("previous_expires_at", AT),
    Column("older_secrets", ARRAY(Text), nullable=False, server_default="{}"),
    Column("older_expires_at", ARRAY(AT), nullable=False, server_default="{}"),
    Column("status", Text, nullable=False),
    Column("disabled_reason", Text),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("failing_since", AT),
    Column("resume_at", AT),
    Column("created_at", AT, nullable=False),
    Column("updated_at", AT, nullable=False),
    Index("webhook_endpoints_owner_id_idx", "owner_id", "id"),
    Index("webhook_endpoints_listens_to_idx", "listens_to", postgresql_where=text("status = 'enabled'")),
    Index("webhook_endpoints_sees_all_idx", "id", postgresql_where=text("sees_all")),
)


deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("endpoint_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("due_at", AT),
    Column("locked_until", AT),
    Column("created_at", AT, nullable=False),
    UniqueConstraint("endpoint_id", "event_id", name="deliveries_endpoint_id_event_id_key"),
    Index("deliveries_due_idx", "endpoint_id", "due_at", postgresql_where=text("due_at IS NOT NULL")),
    Index("deliveries_locked_idx", "endpoint_id", postgresql_where=text("locked_until IS NOT NULL")),
    Index("deliveries_failed_idx", "endpoint_id", "event_id", postgresql_where=text("status = 'failed'")),
)


delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery_id", Uuid, ForeignKey("deliveries.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", AT, nullable=False),
    Column("latency_ms", Integer, nullable=False),
    Column("response_status", Integer),
    Column("response_start", Text, nullable=False),
    Column("error", Text),
    PrimaryKeyConstraint("delivery_id", "number"),
)
