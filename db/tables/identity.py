"""Tables of users and how they prove who they are."""

from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from db.tables.columns import AT, metadata

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", AT, nullable=False),
    Column("suspended_at", AT),
    UniqueConstraint("email", name="users_email_key"),
)


_alive = text("ended_at IS NULL")


sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("created_at", AT, nullable=False),
    Column("expires_at", AT, nullable=False),
    Column("ended_at", AT),
    Column("end_reason", Text),
    Index("sessions_user_id_idx", "user_id", "id", postgresql_where=_alive),
    Index("sessions_expires_at_idx", "expires_at"),
)


refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("session_id", Uuid, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("expires_at", AT, nullable=False),
    Column("rotated_at", AT),
    Column("seed", LargeBinary),
    UniqueConstraint("session_id", "generation", name="refresh_tokens_session_id_generation_key"),
    Index("refresh_tokens_one_newest", "session_id", unique=True, postgresql_where=text("rotated_at IS NULL")),
    Index("refresh_tokens_expires_at_idx", "expires_at"),
)


api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", AT, nullable=False),
    Column("last_used_at", AT),
    Column("ended_at", AT),
    UniqueConstraint("prefix", name="api_keys_prefix_key"),
    Index("api_keys_user_id_idx", "user_id", "id", postgresql_where=_alive),
)


revocations = Table(
    "revocations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", AT, nullable=False, server_default=text("clock_timestamp()")),
    Index("revocations_at_idx", "at"),
)
