"""Products in PostgreSQL."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import text

from db.connection import Connection
from db.paging import cut
from domain.catalog.model import Product
from domain.ids import ProductId
from domain.pages import Page, PageRequest

_COLUMNS = "id, seller_id, title, description, category, price_minor, currency, stock, created_at"

_ADD = text(
    f"""
    INSERT INTO products ({_COLUMNS})
    VALUES (:id, :seller_id, :title, :description, :category, :price_minor, :currency, :stock, :created_at)
    """
)
_BY_IDS = text(f"SELECT {_COLUMNS} FROM products WHERE id = ANY(:ids) ORDER BY id")
_PAGE = text(
    f"""
    SELECT {_COLUMNS} FROM products
    WHERE CAST(:after AS uuid) IS NULL OR id < :after
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
        await self._connection.execute(_ADD, asdict(product))

    async def by_ids(self, ids: Sequence[ProductId]) -> Mapping[ProductId, Product]:
        """Return the products that exist, by id."""
        rows = await self._connection.execute(_BY_IDS, {"ids": list(ids)})
        return {row.id: Product(**row._mapping) for row in rows}

    async def page(self, request: PageRequest) -> Page[Product]:
        """Return a page of all products, newest first."""
        rows = await self._connection.execute(_PAGE, {"after": request.after, "limit": request.limit + 1})
        return cut([Product(**row._mapping) for row in rows], request)
