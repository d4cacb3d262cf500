"""What the catalogue needs from outside."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from domain.catalog.model import Product
from domain.catalog.query import Hit, Place, ProductQuery, Slab
from domain.events import EventLog
from domain.ids import ProductId
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


LoadProduct = Callable[[], Awaitable[Product | None]]


class ProductCache(Protocol):
    """Products as they were a moment ago. Whatever befalls it, products are still read and changed."""

    async def get(self, product_id: ProductId, load: LoadProduct) -> Product | None:
        """Return a product from the cache, or load it and keep it; what is not there is not kept."""
        ...

    async def put(self, product: Product) -> None:
        """Keep a product as it is after a committed change; an older entry gives way, a newer one stays."""
        ...


class ProductSearch(Protocol):
    """The index of the products that are not withdrawn."""

    async def slab(
        self, query: ProductQuery, place: Place, *, limit: int, size: int, is_counting: bool = False
    ) -> Slab:
        """Return the first hits of a slab after a place, at most `limit`, and its facets when it is counting.

        A slab that is still to be taken gets at most `size` matches, the newest ones that are not newer than the
        place, and possibly fewer, even none, when looking takes too long.
        """
        ...

    async def by_price(
        self, query: ProductQuery, place: Place, *, limit: int
    ) -> tuple[Sequence[Hit], Place | None]:
        """Return hits in the order of their prices, and the place to go on from; None at the end.

        There may be fewer than `limit` although more follow, when too many products had to be looked at.
        """
        ...

    async def near_words(self, words: Sequence[str]) -> Mapping[str, tuple[str, Sequence[str]]]:
        """Return for each word that no product bears its plain form and the words most like it, best first."""
        ...


class SearchTransaction(Transaction, Protocol):
    """What searching needs."""

    @property
    def product_search(self) -> ProductSearch:
        """The index."""
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
