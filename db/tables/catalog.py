"""Tables of products and of the words that find them."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from db.tables.columns import AT, metadata

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
    Column("created_at", AT, nullable=False),
    Column("attributes", JSONB, nullable=False, server_default="{}"),
    Column("image_urls", ARRAY(Text), nullable=False, server_default="{}"),
    Column("updated_at", AT, nullable=False, server_default=text("now()")),
    Column("withdrawn_at", AT),
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
