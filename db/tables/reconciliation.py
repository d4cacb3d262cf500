"""Tables of reconciliations with Stripe."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from db.tables.columns import AT, metadata

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("from_at", AT, nullable=False),
    Column("to_at", AT, nullable=False),
    Column("created_at", AT, nullable=False),
    Column("updated_at", AT, nullable=False),
    Column("requested_by", Uuid, ForeignKey("users.id")),
    Column("is_nightly", Boolean, nullable=False),
    Column("listed_from_at", AT),
    Column("cursor", Text),
    Column("started_at", AT),
    Column("finished_at", AT),
    Column("lines", Integer, nullable=False, server_default="0"),
    Column("statement", JSONB),
    Column("due_at", AT),
    Column("locked_until", AT),
    Index(
        "reconciliations_one_a_night",
        "from_at",
        "to_at",
        unique=True,
        postgresql_where=text("is_nightly"),
    ),
    Index("reconciliations_due_at_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
)


stripe_transactions = Table(
    "stripe_transactions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("category", Text, nullable=False),
    Column("source", Text),
    Column("amount_minor", BigInteger, nullable=False),
    Column("fee_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("created_at", AT, nullable=False),
    Column("payment_id", Uuid),
    Column("charge_id", Text),
    Column("intent_id", Text),
    Column("verdict", Text),
    Column("ledger_minor", BigInteger),
    Column("ledger_fee_minor", BigInteger),
    Column("seen_at", AT, nullable=False),
    Column("payout_id", Text),
    Index("stripe_transactions_created_at_idx", "created_at"),
    Index("stripe_transactions_source_idx", "source", "category"),
    Index("stripe_transactions_payout_id_idx", "payout_id", "id", postgresql_where=text("payout_id IS NOT NULL")),
)


stripe_days = Table(
    "stripe_days",
    metadata,
    Column("day", Date, nullable=False),
    Column("currency", Text, nullable=False),
    Column("net_minor", BigInteger, nullable=False),
    Column("lines", BigInteger, nullable=False),
    PrimaryKeyConstraint("day", "currency"),
)


stripe_payout_contents = Table(
    "stripe_payout_contents",
    metadata,
    Column("transaction_id", Text, primary_key=True),
    Column("net_minor", BigInteger, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("is_whole", Boolean, nullable=False),
)


reconciled_journals = Table(
    "reconciled_journals",
    metadata,
    Column("journal_id", Uuid, ForeignKey("journals.id"), primary_key=True),
    Column("transaction_id", Text, nullable=False),
    Column("reconciliation_id", Uuid, ForeignKey("reconciliations.id"), nullable=False),
    Column("is_healing", Boolean, nullable=False),
    Index("reconciled_journals_transaction_id_idx", "transaction_id"),
)


reconciliation_exceptions = Table(
    "reconciliation_exceptions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("stripe_transaction_id", Text),
    Column("stripe_source", Text),
    Column("stripe_amount_minor", BigInteger),
    Column("stripe_fee_minor", BigInteger),
    Column("stripe_currency", Text),
    Column("stripe_created_at", AT),
    Column("journal_ids", ARRAY(Uuid), nullable=False),
    Column("ledger_amount_minor", BigInteger),
    Column("ledger_fee_minor", BigInteger),
    Column("ledger_currency", Text),
    Column("ledger_created_at", AT),
    Column("payment_id", Uuid),
    Column("opened_at", AT, nullable=False),
    Column("updated_at", AT, nullable=False),
    Column("closed_at", AT),
    Column("closed_by", Uuid, ForeignKey("reconciliations.id")),
    Column("contents_minor", BigInteger),
    Index(
        "reconciliation_exceptions_one_a_movement",
        "key",
        unique=True,
        postgresql_where=text("status IN ('open', 'resolved')"),
    ),
    Index("reconciliation_exceptions_open_idx", "id", postgresql_where=text("status = 'open'")),
    Index("reconciliation_exceptions_key_idx", "key"),
    Index(
        "reconciliation_exceptions_payment_id_idx",
        "payment_id",
        postgresql_where=text("payment_id IS NOT NULL"),
    ),
)


reconciliation_findings = Table(
    "reconciliation_findings",
    metadata,
    Column("reconciliation_id", Uuid, ForeignKey("reconciliations.id"), nullable=False),
    Column("exception_id", Uuid, ForeignKey("reconciliation_exceptions.id"), nullable=False),
    PrimaryKeyConstraint("reconciliation_id", "exception_id"),
)


reconciliation_resolutions = Table(
    "reconciliation_resolutions",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("uuidv7()")),
    Column("exception_id", Uuid, ForeignKey("reconciliation_exceptions.id"), nullable=False),
    Column("resolved_by", Uuid, ForeignKey("users.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("journal_id", Uuid, ForeignKey("journals.id")),
    Column("resolved_at", AT, nullable=False),
    Index("reconciliation_resolutions_exception_id_idx", "exception_id", "id"),
)
