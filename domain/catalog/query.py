"""What is asked of the catalogue, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from domain.catalog.model import Product
from domain.ids import ProductId, UserId

PRICE_STEPS_MINOR = (1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)
"""Where the price buckets of the facets begin, after the first one that begins at 0."""


class Language(StrEnum):
    """By whose grammar the words of a query are read; every product is indexed in each."""

    EN = "en"
    ES = "es"


class Sort(StrEnum):
    """How products are ordered."""

    RELEVANCE = "relevance"
    NEWEST = "newest"
    PRICE_ASC = "price_asc"
    PRICE_DESC = "price_desc"


@dataclass(frozen=True, slots=True)
class ProductQuery:
    """Which products are asked for; None does not narrow. Prices are compared as numbers, in any currency."""

    q: str | None = None
    language: Language = Language.EN
    seller_id: UserId | None = None
    category: str | None = None
    currency: str | None = None
    price_min_minor: int | None = None
    price_max_minor: int | None = None
    in_stock: bool | None = None
    sort: Sort = Sort.RELEVANCE

    @property
    def order(self) -> Sort:
        """How the answer is ordered: without words nothing is more relevant, so newest first."""
        return Sort.NEWEST if self.q is None and self.sort is Sort.RELEVANCE else self.sort

    @property
    def is_by_price(self) -> bool:
        """Whether prices order the answer."""
        return self.sort in {Sort.PRICE_ASC, Sort.PRICE_DESC}


@dataclass(frozen=True, slots=True)
class Place:
    """Where in an answer a page begins.

    An answer is read in slabs: the newest matches, at most so many, in the order that is asked for; then the
    matches before them. `newest` and `oldest` are the positions of the slab, which never change, so that products
    which come in meanwhile move nothing. Without `oldest` the slab is still to be taken. `key` and `id` are those
    of the last product that was seen. A list that is walked by price has these alone.
    """

    newest: int | None = None
    oldest: int | None = None
    key: float | None = None
    id: ProductId | None = None
    respelled: str | None = None


@dataclass(frozen=True, slots=True)
class Highlight:
    """Where the words stand, as HTML: text is escaped, and each match is in `<mark>`."""

    title: str
    description: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A product that matches. Hits of one key are ordered by id; `position` tells older from newer."""

    product: Product
    key: float
    position: int
    highlight: Highlight | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """How many products have a value."""

    value: str | bool
    count: int


@dataclass(frozen=True, slots=True)
class PriceCount:
    """How many products cost as much as `from_minor` or more, and less than `below_minor`."""

    from_minor: int
    below_minor: int | None
    count: int


@dataclass(frozen=True, slots=True)
class Facets:
    """The values of the products of a slab, the most frequent first, and how many products were counted."""

    counted: int
    is_complete: bool
    category: Sequence[Count]
    seller_id: Sequence[Count]
    in_stock: Sequence[Count]
    price: Sequence[PriceCount]


@dataclass(frozen=True, slots=True)
class Slab:
    """The first hits of a slab after a place, one more than was asked for where there are more."""

    hits: Sequence[Hit]
    newest: int
    oldest: int
    counted: int
    facets: Facets | None = None

    @property
    def is_last(self) -> bool:
        """Whether no older match is left."""
        return self.oldest <= 1


@dataclass(frozen=True, slots=True)
class Found:
    """A page of an answer; `facets` come with the first one, `respelled` is what was looked for as well."""

    hits: Sequence[Hit]
    next: Place | None
    facets: Facets | None = None
    respelled: str | None = None
