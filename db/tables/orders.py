"""Tables of orders, and of the steps that states may take."""

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

from db.tables.columns import AT, metadata

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
    Column("created_at", AT, nullable=False),
    Column("updated_at", AT, nullable=False),
    Column("due_at", AT),
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
    Column("carrier", Text),
    Column("tracking_number", Text),
    Column("created_at", AT, nullable=False),
    PrimaryKeyConstraint("order_id", "seller_id"),
)
