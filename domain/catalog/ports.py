"""What the catalogue needs from outside."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.catalog.model import Product
from domain.ids import ProductId
from domain.pages import Page, PageRequest
from domain.transactions import Transaction


class ProductRepository(Protocol):
    """The products."""

    async def add(self, product: Product) -> None:
        """Insert a product."""
        ...

    async def by_ids(self, ids: Sequence[ProductId]) -> Mapping[ProductId, Product]:
        """Return the products that exist, by id."""
        ...

    async def page(self, request: PageRequest) -> Page[Product]:
        """Return a page of all products, newest first."""
        ...


class CatalogTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def products(self) -> ProductRepository:
        """The products."""
        ...
