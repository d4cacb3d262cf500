"""Tables of what happened, and of the seals on it."""

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from db.tables.columns import AT, metadata
from db.tables.ledger import TRANSACTION_ID

events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("type", Text, nullable=False),
    Column("subject_id", Uuid, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("created_at", AT, nullable=False),
    Column("transaction_id", BigInteger, nullable=False, server_default=text(TRANSACTION_ID)),
    Column("audience", ARRAY(Uuid), nullable=False, server_default="{}"),
    Index("events_subject_id_idx", "subject_id", "position"),
    Index("events_position_idx", "position", unique=True),
    Index(
        "events_brought_request_id_idx",
        text("(data ->> 'request_id')"),
        postgresql_where=text(
            "type = 'payment.accepted' AND (length(data ->> 'request_id') <> 32 "
            "OR substr(data ->> 'request_id', 13, 1) <> '7')"
        ),
    ),
)


audit_seals = Table(
    "audit_seals",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("log", Text, nullable=False),
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    Column("count", Integer, nullable=False),
    Column("index", LargeBinary, nullable=False),
    Column("previous_hash", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("sealed_at", AT, nullable=False),
    Column("previous_number", BigInteger, Computed("nullif(number, 1) - 1", persisted=True)),
    Column("previous_position", BigInteger, Computed("nullif(first_position, 1) - 1", persisted=True)),
    UniqueConstraint("number", "hash", name="audit_seals_number_hash_key"),
    UniqueConstraint("log", "first_position", name="audit_seals_log_first_position_key"),
    UniqueConstraint("log", "last_position", name="audit_seals_log_last_position_key"),
    ForeignKeyConstraint(
        ["previous_number", "previous_hash"],
        ["audit_seals.number", "audit_seals.hash"],
        name="audit_seals_follow",
    ),
    ForeignKeyConstraint(
        ["log", "previous_position"],
        ["audit_seals.log", "audit_seals.last_position"],
        name="audit_seals_go_on",
    ),
)
