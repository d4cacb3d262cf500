"""Finding products. However many match, a page costs no more than reading the newest of them."""

from dataclasses import replace

from domain.catalog.ports import ProductSearch, SearchTransaction
from domain.catalog.query import Found, Place, ProductQuery, Slab, Sort
from domain.catalog.spelling import nearest, respell, words_of
from domain.transactions import Begin

_MORE_LOOKS = 3
SLAB = 500
"""How many matches are ranked, sorted and counted together."""
FEW = 3
"""With fewer hits than this a query may have been misspelt."""


class SearchService:
    """The catalogue's search."""

    def __init__(self, begin: Begin[SearchTransaction], *, slab_size: int = SLAB) -> None:
        """Keep how transactions begin: no two statements here depend on each other's snapshot."""
        self._begin = begin
        self._slab_size = slab_size

    async def search(self, query: ProductQuery, place: Place | None, *, limit: int) -> Found:
        """Return a page of the products that match, from the start or from a place.

        Text is looked for in slabs, see Place: ranks and prices order each slab, and slabs follow each other from
        new to old. Without text every order holds for the whole answer. A page can hold fewer than `limit` hits
        although more follow.
        """
        async with self._begin() as tx:
            if place is None:
                return await self._first(tx.product_search, query, limit)
            if place.newest is None:
                return await self._by_price(tx.product_search, query, place, limit)
            size = limit + 1 if query.order is Sort.NEWEST else self._slab_size
            slab = await _look(tx.product_search, query, place, limit=limit, size=size)
            return _page(query, place, slab, limit)

    async def _first(self, search: ProductSearch, query: ProductQuery, limit: int) -> Found:
        place = Place()
        slab = await _look(search, query, place, limit=limit, size=self._slab_size, is_counting=True)
        if query.q is not None and slab.is_last and slab.counted < FEW:
            respelled = Place(respelled=await self._respell(search, query.q))
            if respelled != place:
                more = await _look(search, query, respelled, limit=limit, size=self._slab_size, is_counting=True)
                if more.counted > slab.counted:
                    place, slab = respelled, more
        if query.q is None and query.is_by_price and not slab.is_last:
            return replace(await self._by_price(search, query, place, limit), facets=slab.facets)
        return _page(query, place, slab, limit)

    async def _respell(self, search: ProductSearch, q: str) -> str | None:
        near = await search.near_words(words_of(q))
        meant = {given: nearest(plain, known) for given, (plain, known) in near.items()}
        return respell(q, {given: word for given, word in meant.items() if word is not None})

    async def _by_price(self, search: ProductSearch, query: ProductQuery, place: Place, limit: int) -> Found:
        hits, seen = await search.by_price(query, place, limit=limit + 1)
        if len(hits) > limit:
            last = hits[limit - 1]
            return Found(hits[:limit], Place(key=last.key, id=last.product.id))
        return Found(hits, seen)


async def _look(
    search: ProductSearch,
    query: ProductQuery,
    place: Place,
    *,
    limit: int,
    size: int,
    is_counting: bool = False,
) -> Slab:
    """Return a slab; where it took too long to find anything, the next one, a few times over."""
    slab = await search.slab(query, place, limit=limit + 1, size=size, is_counting=is_counting)
    for _ in range(_MORE_LOOKS):
        if slab.hits or slab.is_last:
            break
        older = Place(newest=slab.oldest - 1, respelled=place.respelled)
        slab = await search.slab(query, older, limit=limit + 1, size=size, is_counting=is_counting)
    return slab


def _page(query: ProductQuery, place: Place, slab: Slab, limit: int) -> Found:
    hits = slab.hits[:limit]
    after: Place | None = None
    if len(slab.hits) <= limit:
        if not slab.is_last:
            after = Place(newest=slab.oldest - 1, respelled=place.respelled)
    elif query.order is Sort.NEWEST:
        after = Place(newest=hits[-1].position - 1, respelled=place.respelled)
    else:
        after = Place(slab.newest, slab.oldest, hits[-1].key, hits[-1].product.id, place.respelled)
    return Found(hits, after, slab.facets, place.respelled)
