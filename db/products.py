"""Products in PostgreSQL."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import text

from db.connection import Connection, Row
from db.paging import cut
from domain.catalog.model import Product
from domain.ids import ProductId
from domain.pages import Page, PageRequest

COLUMNS = """id, seller_id, title, description, category, price_minor, currency, stock, created_at, updated_at,
    attributes, image_urls, withdrawn_at"""

_ADD = text(
    f"""
    INSERT INTO products ({COLUMNS})
    VALUES (:id, :seller_id, :title, :description, :category, :price_minor, :currency, :stock, :created_at,
            :updated_at, CAST(:attributes AS jsonb), CAST(:image_urls AS text[]), :withdrawn_at)
    """
)
_BY_IDS = text(f"SELECT {COLUMNS} FROM products WHERE id = ANY(:ids) ORDER BY id")
_LOCK = text(f"SELECT {COLUMNS} FROM products WHERE id = :id FOR NO KEY UPDATE")
_SAVE = text(
    """
    UPDATE products
    SET title = :title, description = :description, category = :category, price_minor = :price_minor,
        currency = :currency, stock = :stock, updated_at = :updated_at, withdrawn_at = :withdrawn_at,
        attributes = CAST(:attributes AS jsonb), image_urls = CAST(:image_urls AS text[])
    WHERE id = :id
    """
)
_PAGE = text(
    f"""
    SELECT {COLUMNS} FROM products
    WHERE withdrawn_at IS NULL AND (CAST(:after AS uuid) IS NULL OR id < :after)
    ORDER BY id DESC LIMIT :limit
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
        return {row.id: read_product(row) for row in rows}

    async def lock(self, product_id: ProductId) -> Product | None:
        """Lock a product until the transaction ends, and return it if it exists."""
        row = (await self._connection.execute(_LOCK, {"id": product_id})).first()
        return read_product(row) if row else None

    async def save(self, product: Product) -> None:
        """Write what a seller may change of a locked product."""
        await self._connection.execute(_SAVE, _values(product))

    async def page(self, request: PageRequest) -> Page[Product]:
        """Return a page of all products that are not withdrawn, newest first."""
        rows = await self._connection.execute(_PAGE, {"after": request.after, "limit": request.limit + 1})
        return cut([read_product(row) for row in rows], request)


def read_product(row: Row) -> Product:
    """Return the product that a row of COLUMNS holds."""
    return Product(**{**row._mapping, "image_urls": tuple(row.image_urls)})


def _values(product: Product) -> dict[str, Any]:
    return {
        **asdict(product),
        "attributes": json.dumps(product.attributes),
        "image_urls": list(product.image_urls),
    }
