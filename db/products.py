"""Products in PostgreSQL."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from db.connection import Connection
from db.sql import Sql
from domain.catalog.model import Product
from domain.ids import ProductId

COLUMNS = """id, seller_id, title, description, category, price_minor, currency, stock, created_at, updated_at,
    attributes, image_urls, withdrawn_at"""

_ADD = Sql(
    f"""
    INSERT INTO products ({COLUMNS})
    VALUES (:id, :seller_id, :title, :description, :category, :price_minor, :currency, :stock, :created_at,
            :updated_at, CAST(:attributes AS jsonb), CAST(:image_urls AS text[]), :withdrawn_at)
    """
)
_BY_IDS = Sql(f"SELECT {COLUMNS} FROM products WHERE id = ANY(:ids) ORDER BY id")
_LOCK = Sql(f"SELECT {COLUMNS} FROM products WHERE id = :id FOR NO KEY UPDATE")
_SAVE = Sql(
    """
    UPDATE products
    SET title = :title, description = :description, category = :category, price_minor = :price_minor,
        currency = :currency, stock = :stock, updated_at = :updated_at, withdrawn_at = :withdrawn_at,
        attributes = CAST(:attributes AS jsonb), image_urls = CAST(:image_urls AS text[])
    WHERE id = :id
    """
)


class Products:
    """`domain.catalog.ports.ProductRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, product: Product) -> None:
        """Insert a product."""
        await self._connection.execute(_ADD, _values(product))

    async def by_ids(self, ids: Sequence[ProductId]) -> Mapping[ProductId, Product]:
        """Return the products that exist, by id, the withdrawn ones among them."""
        rows = await self._connection.execute(_BY_IDS, {"ids": list(ids)})
        return {row.id: read_product(row._mapping) for row in rows}

    async def lock(self, product_id: ProductId) -> Product | None:
        """Lock a product until the transaction ends, and return it if it exists."""
        row = (await self._connection.execute(_LOCK, {"id": product_id})).first()
        return read_product(row._mapping) if row else None

    async def save(self, product: Product) -> None:
        """Write what a seller may change of a locked product."""
        await self._connection.execute(_SAVE, _values(product))


def read_product(columns: Mapping[str, Any]) -> Product:
    """Return the product that COLUMNS hold."""
    return Product(**{**columns, "image_urls": tuple(columns["image_urls"])})


def _values(product: Product) -> dict[str, Any]:
    return {
        **asdict(product),
        "attributes": json.dumps(product.attributes),
        "image_urls": list(product.image_urls),
    }
