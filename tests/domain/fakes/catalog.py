"""Products and the search for them, in memory."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from domain.catalog.model import Product
from domain.catalog.query import (
    PRICE_STEPS_MINOR,
    Count,
    Facets,
    Highlight,
    Hit,
    Place,
    PriceCount,
    ProductQuery,
    Slab,
    Sort,
)
from domain.ids import ProductId
from tests.domain.fakes.state import Repository, present_of


class FakeProducts(Repository):
    async def add(self, product: Product) -> None:
        self._state.products[product.id] = product

    async def by_ids(self, ids: Sequence[ProductId]) -> Mapping[ProductId, Product]:
        return present_of(self._state.products, ids)

    async def lock(self, product_id: ProductId) -> Product | None:
        return self._state.products.get(product_id)

    async def save(self, product: Product) -> None:
        self._state.products[product.id] = product


class FakeProductSearch(Repository):
    """Finds words as they are written."""

    async def slab(
        self, query: ProductQuery, place: Place, *, limit: int, size: int, is_counting: bool = False
    ) -> Slab:
        hits = self._hits(query, place.respelled)
        newest = len(self._state.products) if place.newest is None else place.newest
        slab = [hit for hit in hits if (place.oldest or 0) <= hit.position <= newest]
        oldest = place.oldest or 0
        if place.oldest is None and len(slab) >= size:
            slab = sorted(slab, key=lambda hit: -hit.position)[:size]
            oldest = slab[-1].position
        facets = _facets([hit.product for hit in slab], is_complete=oldest <= 1) if is_counting else None
        return Slab(_after(query, place, slab)[:limit], newest, oldest, len(slab), facets)

    async def by_price(
        self, query: ProductQuery, place: Place, *, limit: int
    ) -> tuple[Sequence[Hit], Place | None]:
        return _after(query, place, self._hits(query))[:limit], None

    def _hits(self, query: ProductQuery, respelled: str | None = None) -> list[Hit]:
        return [
            Hit(product, _key(query, product, position), position, _marked(query, product))
            for position, product in enumerate(self._state.products.values(), 1)
            if _matches(query, _words(query.q), product) or _matches(query, _words(respelled or query.q), product)
        ]

    async def near_words(self, words: Sequence[str]) -> Mapping[str, tuple[str, Sequence[str]]]:
        known = sorted({w for product in self._state.products.values() for w in product.title.casefold().split()})
        return {word: (word.casefold(), known) for word in words if word.casefold() not in known}


def _after(query: ProductQuery, place: Place, hits: Sequence[Hit]) -> list[Hit]:
    """Sort hits, and leave out those that the place has behind it."""
    sign = 1 if query.sort is Sort.PRICE_ASC else -1
    ordered = sorted(hits, key=lambda hit: (sign * hit.key, sign * hit.product.id.int))
    if place.key is None or place.id is None:
        return ordered
    seen = (sign * place.key, sign * place.id.int)
    return [hit for hit in ordered if (sign * hit.key, sign * hit.product.id.int) > seen]


def _words(q: str | None) -> list[str]:
    return (q or "").casefold().split()


def _matches(query: ProductQuery, words: Sequence[str], product: Product) -> bool:
    said = f"{product.title} {product.description}".casefold().split()
    wanted = {"seller_id": query.seller_id, "category": query.category, "currency": query.currency}
    return (
        product.withdrawn_at is None
        and all(word in said for word in words)
        and all(value is None or getattr(product, name) == value for name, value in wanted.items())
        and (query.price_min_minor is None or product.price_minor >= query.price_min_minor)
        and (query.price_max_minor is None or product.price_minor <= query.price_max_minor)
        and (query.in_stock is None or (product.stock > 0) == query.in_stock)
    )


def _key(query: ProductQuery, product: Product, position: int) -> float:
    if query.order is Sort.RELEVANCE:
        return float(sum(word in product.title.casefold().split() for word in _words(query.q)))
    return float(position if query.order is Sort.NEWEST else product.price_minor)


def _marked(query: ProductQuery, product: Product) -> Highlight | None:
    return Highlight(product.title, product.description) if query.q is not None else None


def _facets(products: Sequence[Product], *, is_complete: bool) -> Facets:
    bounds = (0, *PRICE_STEPS_MINOR, None)
    steps = Counter(sum(product.price_minor >= bound for bound in PRICE_STEPS_MINOR) for product in products)
    return Facets(
        counted=len(products),
        is_complete=is_complete,
        category=_counts(product.category for product in products),
        seller_id=_counts(str(product.seller_id) for product in products),
        in_stock=_counts(product.stock > 0 for product in products),
        price=[PriceCount(bounds[step] or 0, bounds[step + 1], count) for step, count in sorted(steps.items())],
    )


def _counts(values: Iterable[Any]) -> list[Count]:
    counted = Counter(values)
    return [Count(value, counted[value]) for value in sorted(counted, key=lambda v: (-counted[v], v))]
