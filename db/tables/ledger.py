"""Tables of the ledger."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from db.tables.columns import AT, metadata

journals = Table(
    "journals",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("payment_id", Uuid),
    Column("currency", Text, nullable=False),
    Column("entry_count", SmallInteger, nullable=False),
    Column("created_at", AT, nullable=False),
    UniqueConstraint("kind", "source", name="journals_kind_source_key"),
    Index("journals_payment_id_idx", "payment_id", postgresql_where=text("payment_id IS NOT NULL")),
)


conversions = Table(
    "conversions",
    metadata,
    Column("journal_id", Uuid, primary_key=True),
    Column("from_currency", Text, nullable=False),
    Column("from_minor", BigInteger, nullable=False),
    Column("to_currency", Text, nullable=False),
    Column("to_minor", BigInteger, nullable=False),
    Column("exchange_rate", Numeric),
)


TRANSACTION_ID = "(pg_current_xact_id()::text::bigint)"


entries = Table(
    "entries",
    metadata,
    Column("journal_id", Uuid, nullable=False),
    Column("line", SmallInteger, nullable=False),
    Column("account", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("transaction_id", BigInteger, nullable=False, server_default=text(TRANSACTION_ID)),
    PrimaryKeyConstraint("journal_id", "line"),
    Index("entries_account_idx", "account", "journal_id"),
    Index("entries_transaction_id_idx", "transaction_id"),
)


balances = Table(
    "balances",
    metadata,
    Column("account", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("balance_minor", BigInteger, nullable=False),
    PrimaryKeyConstraint("account", "currency"),
)


balance_folds = Table(
    "balance_folds",
    metadata,
    Column("id", Boolean, primary_key=True, server_default="true"),
    Column("through", BigInteger, nullable=False),
)
