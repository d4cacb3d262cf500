"""What the catalogue needs from outside."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from domain.catalog.model import Product
from domain.events import EventLog
from domain.ids import ProductId
from domain.pages import Page, PageRequest
from domain.transactions import Transaction


class ProductRepository(Protocol):
    """The products."""

    async def add(self, product: Product) -> None:
        """Insert a product."""
        ...

    async def by_ids(self, ids: Sequence[ProductId]) -> Mapping[ProductId, Product]:
        """Return the products that exist, by id, the withdrawn ones among them."""
        ...

    async def lock(self, product_id: ProductId) -> Product | None:
        """Lock a product until the transaction ends, and return it if it exists."""
        ...

    async def save(self, product: Product) -> None:
        """Write what a seller may change of a locked product."""
        ...

    async def page(self, request: PageRequest) -> Page[Product]:
        """Return a page of all products that are not withdrawn, newest first."""
        ...


class CatalogTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def products(self) -> ProductRepository:
        """The products."""
        ...

    @property
    def events(self) -> EventLog:
        """The event log."""
        ...
