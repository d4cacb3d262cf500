"""The tables, for `alembic check`: what the migrations have built, as SQLAlchemy sees it.

Queries are written as SQL in the repositories; CHECKs, triggers and grants live in `migrations/`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

metadata = MetaData()

_at = DateTime(timezone=True)


def _work_columns() -> list[Column[object]]:
    return [
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("due_at", _at),
        Column("publish_at", _at),
        Column("locked_until", _at),
    ]


users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", _at, nullable=False),
    Column("suspended_at", _at),
    UniqueConstraint("email", name="users_email_key"),
)

_alive = text("ended_at IS NULL")

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("user_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("created_at", _at, nullable=False),
    Column("expires_at", _at, nullable=False),
    Column("ended_at", _at),
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
    Column("expires_at", _at, nullable=False),
    Column("rotated_at", _at),
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
    Column("created_at", _at, nullable=False),
    Column("last_used_at", _at),
    Column("ended_at", _at),
    UniqueConstraint("prefix", name="api_keys_prefix_key"),
    Index("api_keys_user_id_idx", "user_id", "id", postgresql_where=_alive),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("at", _at, nullable=False, server_default=text("clock_timestamp()")),
    Index("revocations_at_idx", "at"),
)

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
    Column("link_expires_at", _at),
    Column("failure_code", Text),
    Column("created_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    *_work_columns(),
    Column("wakes", Integer, nullable=False, server_default="0"),
    Column("key_number", Integer, nullable=False, server_default="0"),
    Column("first_sent_at", _at),
    Column("key_burnt_at", _at),
    Column("request_id", Text),
    Column("traceparent", Text),
    UniqueConstraint("stripe_account_id", name="seller_accounts_stripe_account_id_key"),
    Index("seller_accounts_publish_at_idx", "publish_at", postgresql_where=text("publish_at IS NOT NULL")),
)

_not_withdrawn = text("withdrawn_at IS NULL")

products = Table(
    "products",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("seller_id", Uuid, ForeignKey("sellers.user_id"), nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("stock", Integer, nullable=False),
    Column("created_at", _at, nullable=False),
    Column("attributes", JSONB, nullable=False, server_default="{}"),
    Column("image_urls", ARRAY(Text), nullable=False, server_default="{}"),
    Column("updated_at", _at, nullable=False, server_default=text("now()")),
    Column("withdrawn_at", _at),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("search_en", TSVECTOR),
    Column("search_es", TSVECTOR),
    Column("search_keys", ARRAY(Text)),
    UniqueConstraint("position", name="products_position_key"),
    Index("products_price_idx", "price_minor", "id", postgresql_where=_not_withdrawn),
    Index("products_category_price_idx", "category", "price_minor", "id", postgresql_where=_not_withdrawn),
    Index("products_seller_price_idx", "seller_id", "price_minor", "id", postgresql_where=_not_withdrawn),
    Index(
        "products_search_idx",
        "search_en",
        "search_es",
        "search_keys",
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
        postgresql_where=_not_withdrawn,
    ),
)

search_words = Table(
    "search_words",
    metadata,
    Column("word", Text, primary_key=True),
    Index(
        "search_words_trigrams_idx",
        "word",
        postgresql_using="gin",
        postgresql_ops={"word": "gin_trgm_ops"},
        postgresql_with={"fastupdate": "off"},
    ),
)

legal_transitions = Table(
    "legal_transitions",
    metadata,
    Column("machine", Text, primary_key=True),
    Column("from_status", Text, primary_key=True),
    Column("to_status", Text, primary_key=True),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("buyer_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("created_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    Column("due_at", _at),
    Column("resumes_as", Text),
    UniqueConstraint("idempotency_key", "buyer_id", name="orders_buyer_id_idempotency_key_key"),
    Index("orders_buyer_id_idx", "buyer_id", "id"),
    Index("orders_due_at_idx", "due_at", postgresql_where=text("due_at IS NOT NULL")),
)

order_lines = Table(
    "order_lines",
    metadata,
    Column("order_id", Uuid, ForeignKey("orders.id"), nullable=False),
    Column("line", SmallInteger, nullable=False),
    Column("product_id", Uuid, ForeignKey("products.id"), nullable=False),
    Column("seller_id", Uuid, ForeignKey("sellers.user_id"), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("commission_bps", Integer, nullable=False),
    PrimaryKeyConstraint("order_id", "line"),
    Index("order_lines_seller_id_idx", "seller_id", "order_id"),
)

shipments = Table(
    "shipments",
    metadata,
    Column("order_id", Uuid, ForeignKey("orders.id"), nullable=False),
    Column("seller_id", Uuid, ForeignKey("sellers.user_id"), nullable=False),
    Column("carrier", Text, nullable=False),
    Column("tracking_number", Text, nullable=False),
    Column("created_at", _at, nullable=False),
    PrimaryKeyConstraint("order_id", "seller_id"),
)

payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("payer_id", Uuid, ForeignKey("users.id"), nullable=False),
    Column("order_id", Uuid, ForeignKey("orders.id")),
    Column("seller_id", Uuid, ForeignKey("sellers.user_id")),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("commission_bps", Integer),
    Column("payment_method", Text, nullable=False),
    Column("capture", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("failure_code", Text),
    Column("client_secret", Text),
    Column("stripe_intent_id", Text),
    Column("stripe_charge_id", Text),
    Column("captured_minor", BigInteger, nullable=False, server_default="0"),
    Column("fee_minor", BigInteger),
    Column("idempotency_key", Text, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("traceparent", Text),
    Column("created_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    *_work_columns(),
    Column("first_charged_at", _at),
    Column("lookup_only", Boolean, nullable=False, server_default="false"),
    Column("quarantined_at", _at),
    Column("quarantine_reason", Text),
    Column("refunded_minor", BigInteger, nullable=False, server_default="0"),
    Column("capture_minor", BigInteger),
    Column("cancel_requested", Boolean, nullable=False, server_default="false"),
    Column("funds_available_at", _at),
    Column("request_id", Text),
    UniqueConstraint("idempotency_key", "payer_id", name="payments_payer_id_idempotency_key_key"),
    Index(
        "payments_one_live_per_order",
        "order_id",
        unique=True,
        postgresql_where=text("status NOT IN ('failed', 'canceled')"),
    ),
    Index("payments_order_id_idx", "order_id", postgresql_where=text("order_id IS NOT NULL")),
    Index("payments_payer_id_idx", "payer_id", "id"),
    Index("payments_seller_id_idx", "seller_id", "id", postgresql_where=text("seller_id IS NOT NULL")),
    Index(
        "payments_stripe_intent_id_idx",
        "stripe_intent_id",
        postgresql_where=text("stripe_intent_id IS NOT NULL"),
    ),
    Index("payments_publish_at_idx", "publish_at", postgresql_where=text("publish_at IS NOT NULL")),
    Index("payments_quarantined_at_idx", "quarantined_at", postgresql_where=text("quarantined_at IS NOT NULL")),
    Index(
        "payments_request_id_idx", "request_id", postgresql_where=text("capture = 'manual' OR cancel_requested")
    ),
)

journals = Table(
    "journals",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("payment_id", Uuid),
    Column("currency", Text, nullable=False),
    Column("entry_count", SmallInteger, nullable=False),
    Column("created_at", _at, nullable=False),
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

_transaction_id = "(pg_current_xact_id()::text::bigint)"

entries = Table(
    "entries",
    metadata,
    Column("journal_id", Uuid, nullable=False),
    Column("line", SmallInteger, nullable=False),
    Column("account", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("transaction_id", BigInteger, nullable=False, server_default=text(_transaction_id)),
    PrimaryKeyConstraint("journal_id", "line"),
    Index("entries_account_idx", "account", "journal_id"),
    Index(
        "entries_transaction_id_idx",
        "transaction_id",
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
    ),
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

events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Column("type", Text, nullable=False),
    Column("subject_id", Uuid, nullable=False),
    Column("data", JSONB, nullable=False),
    Column("created_at", _at, nullable=False),
    Column("transaction_id", BigInteger, nullable=False, server_default=text(_transaction_id)),
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
    Column("sealed_at", _at, nullable=False),
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

refunds = Table(
    "refunds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("payment_id", Uuid, ForeignKey("payments.id"), nullable=False),
    Column("stripe_charge_id", Text, nullable=False),
    Column("stripe_refund_id", Text),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    *_work_columns(),
    Column("origin", Text, nullable=False, server_default="late_success"),
    Column("requested_by", Uuid, ForeignKey("users.id")),
    Column("idempotency_key", Text),
    Column("request_hash", LargeBinary),
    Column("failure_code", Text),
    Column("is_booked", Boolean, nullable=False, server_default="false"),
    Column("transaction_id", Text),
    Column("failure_transaction_id", Text),
    Column("key_number", Integer, nullable=False, server_default="0"),
    Column("first_sent_at", _at),
    Column("key_burnt_at", _at),
    Column("quarantined_at", _at),
    Column("quarantine_reason", Text),
    Column("request_id", Text),
    Column("traceparent", Text),
    UniqueConstraint("stripe_refund_id", name="refunds_stripe_refund_id_key"),
    UniqueConstraint("idempotency_key", "requested_by", name="refunds_requested_by_idempotency_key_key"),
    Index("refunds_request_id_idx", "request_id", postgresql_where=text("request_id IS NOT NULL")),
    Index(
        "refunds_one_late_success",
        "payment_id",
        unique=True,
        postgresql_where=text("origin = 'late_success'"),
    ),
    Index("refunds_payment_id_idx", "payment_id", "id"),
    Index("refunds_publish_at_idx", "publish_at", postgresql_where=text("publish_at IS NOT NULL")),
)

refund_lines = Table(
    "refund_lines",
    metadata,
    Column("refund_id", Uuid, ForeignKey("refunds.id"), nullable=False),
    Column("line", SmallInteger, nullable=False),
    Column("seller_id", Uuid, ForeignKey("sellers.user_id"), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("commission_minor", BigInteger, nullable=False),
    PrimaryKeyConstraint("refund_id", "line"),
    Index("refund_lines_seller_id_idx", "seller_id", "refund_id"),
)

disputes = Table(
    "disputes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("payment_id", Uuid, ForeignKey("payments.id"), nullable=False),
    Column("stripe_dispute_id", Text, nullable=False),
    Column("stripe_charge_id", Text, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("evidence_due_at", _at),
    Column("opened_at", _at, nullable=False),
    Column("created_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    Column("funds", Text, nullable=False),
    Column("withdrawn_minor", BigInteger, nullable=False),
    Column("withdrawal_id", Text),
    Column("transaction_ids", ARRAY(Text), nullable=False),
    UniqueConstraint("stripe_dispute_id", name="disputes_stripe_dispute_id_key"),
    Index("disputes_payment_id_idx", "payment_id"),
)

_under_way = text("status IN ('pending', 'processing', 'unknown')")

payout_runs = Table(
    "payout_runs",
    metadata,
    Column("run_at", _at, primary_key=True),
    Column("started_at", _at, nullable=False),
    Column("locked_until", _at, nullable=False),
    Column("after_seller_id", Uuid),
    Column("payouts", Integer, nullable=False, server_default="0"),
    Column("finished_at", _at),
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
    Column("run_at", _at, ForeignKey("payout_runs.run_at")),
    Column("reversed_minor", BigInteger, nullable=False, server_default="0"),
    Column("created_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    *_work_columns(),
    Column("first_sent_at", _at),
    Column("key_burnt_at", _at),
    Column("quarantined_at", _at),
    Column("quarantine_reason", Text),
    Column("request_id", Text),
    Column("traceparent", Text),
    UniqueConstraint("stripe_transfer_id", name="payouts_stripe_transfer_id_key"),
    UniqueConstraint("idempotency_key", "requested_by", name="payouts_requested_by_idempotency_key_key"),
    Index("payouts_request_id_idx", "request_id", postgresql_where=text("request_id IS NOT NULL")),
    UniqueConstraint("run_at", "seller_id", "currency", name="payouts_one_a_run"),
    Index("payouts_seller_id_idx", "seller_id", "id"),
    Index("payouts_under_way_idx", "seller_id", postgresql_where=_under_way),
    Index(
        "payouts_stripe_payout_id_idx",
        "stripe_payout_id",
        postgresql_where=text("stripe_payout_id IS NOT NULL"),
    ),
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
    Column("created_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    *_work_columns(),
    Column("key_number", Integer, nullable=False, server_default="0"),
    Column("first_sent_at", _at),
    Column("key_burnt_at", _at),
    Column("quarantined_at", _at),
    Column("quarantine_reason", Text),
    UniqueConstraint("stripe_reversal_id", name="payout_reversals_stripe_reversal_id_key"),
    UniqueConstraint("journal_id", "line", name="payout_reversals_journal_id_line_key"),
    Index("payout_reversals_payout_id_idx", "payout_id", "id"),
    Index("payout_reversals_publish_at_idx", "publish_at", postgresql_where=text("publish_at IS NOT NULL")),
)

stripe_events = Table(
    "stripe_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("received_at", _at, nullable=False),
    Column("handled_at", _at),
    *_work_columns(),
    Index("stripe_events_publish_at_idx", "publish_at", postgresql_where=text("publish_at IS NOT NULL")),
    Index(
        "stripe_events_untried_idx",
        "received_at",
        postgresql_where=text("attempts = 0 AND due_at IS NOT NULL"),
    ),
    Index("stripe_events_handled_at_idx", "handled_at", postgresql_where=text("due_at IS NULL")),
)

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("status", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("from_at", _at, nullable=False),
    Column("to_at", _at, nullable=False),
    Column("created_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    Column("requested_by", Uuid, ForeignKey("users.id")),
    Column("is_nightly", Boolean, nullable=False),
    Column("listed_from_at", _at),
    Column("cursor", Text),
    Column("started_at", _at),
    Column("finished_at", _at),
    Column("lines", Integer, nullable=False, server_default="0"),
    Column("statement", JSONB),
    Column("due_at", _at),
    Column("locked_until", _at),
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
    Column("created_at", _at, nullable=False),
    Column("payment_id", Uuid),
    Column("charge_id", Text),
    Column("intent_id", Text),
    Column("verdict", Text),
    Column("ledger_minor", BigInteger),
    Column("ledger_fee_minor", BigInteger),
    Column("seen_at", _at, nullable=False),
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
    Column("stripe_created_at", _at),
    Column("journal_ids", ARRAY(Uuid), nullable=False),
    Column("ledger_amount_minor", BigInteger),
    Column("ledger_fee_minor", BigInteger),
    Column("ledger_currency", Text),
    Column("ledger_created_at", _at),
    Column("payment_id", Uuid),
    Column("opened_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    Column("closed_at", _at),
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
    Column("resolved_at", _at, nullable=False),
    Index("reconciliation_resolutions_exception_id_idx", "exception_id", "id"),
)

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
    Column("previous_expires_at", _at),
    Column("status", Text, nullable=False),
    Column("disabled_reason", Text),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("failing_since", _at),
    Column("resume_at", _at),
    Column("created_at", _at, nullable=False),
    Column("updated_at", _at, nullable=False),
    Index("webhook_endpoints_owner_id_idx", "owner_id", "id"),
    Index("webhook_endpoints_listens_to_idx", "listens_to", postgresql_where=text("status = 'enabled'")),
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
    Column("due_at", _at),
    Column("locked_until", _at),
    Column("created_at", _at, nullable=False),
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
    Column("at", _at, nullable=False),
    Column("latency_ms", Integer, nullable=False),
    Column("response_status", Integer),
    Column("response_start", Text, nullable=False),
    Column("error", Text),
    PrimaryKeyConstraint("delivery_id", "number"),
)
