"""Pages of a search, on an index in memory that takes slabs as small as a test wants."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalog.model import Product
from domain.catalog.query import Found, Place, ProductQuery, Sort
from domain.catalog.search import SearchService
from domain.ids import UserId, uuid7
from tests.builders import NOW, Shop, a_product
from tests.domain.fakes import Memory

SELLER = UserId(uuid7())


def lamps(*prices: int) -> list[Product]:
    return [
        a_product(SELLER, title="Lamp" if price % 2 else "Shade", description="lamp", price_minor=price)
        for price in prices
    ]


def filled(products: list[Product]) -> Memory:
    memory = Memory()
    for product in products:
        memory.state.products[product.id] = product
    return memory


async def read_all(search: SearchService, query: ProductQuery, limit: int) -> list[Found]:
    pages: list[Found] = []
    place: Place | None = None
    while not pages or place is not None:
        assert len(pages) < 100
        pages.append(await search.search(query, place, limit=limit))
        place = pages[-1].next
    return pages


@given(
    prices=st.lists(st.integers(1, 9), max_size=25),
    query=st.builds(ProductQuery, q=st.sampled_from([None, "lamp"]), sort=st.sampled_from(Sort)),
    limit=st.integers(1, 8),
    slab_size=st.integers(1, 12),
)
async def test_pages_hold_every_match_once(
    prices: list[int], query: ProductQuery, limit: int, slab_size: int
) -> None:
    products = lamps(*prices)
    search = SearchService(filled(products).begin, slab_size=slab_size)

    pages = await read_all(search, query, limit)

    found = [hit.product for page in pages for hit in page.hits]
    assert sorted(product.id for product in found) == sorted(product.id for product in products)
    assert all(len(page.hits) <= limit for page in pages)
    if query.q is None or slab_size > len(products):
        assert found == in_order(products, query)


def in_order(products: list[Product], query: ProductQuery) -> list[Product]:
    keys = {
        Sort.NEWEST: lambda product: -product.id.int,
        Sort.PRICE_ASC: lambda product: (product.price_minor, product.id),
        Sort.PRICE_DESC: lambda product: (-product.price_minor, -product.id.int),
        Sort.RELEVANCE: lambda product: (-("Lamp" in product.title), -product.id.int),
    }
    return sorted(products, key=keys[query.order])


@given(
    prices=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    more=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    query=st.builds(ProductQuery, q=st.sampled_from([None, "lamp"]), sort=st.sampled_from(Sort)),
    limit=st.integers(1, 6),
    slab_size=st.integers(1, 12),
)
async def test_pages_stay_as_they_are_while_products_are_added(
    prices: list[int], more: list[int], query: ProductQuery, limit: int, slab_size: int
) -> None:
    before, coming = lamps(*prices), lamps(*more)
    memory = filled(before)
    search = SearchService(memory.begin, slab_size=slab_size)
    undisturbed = [page.hits for page in await read_all(search, query, limit)]
    place: Place | None = None
    seen: list[Product] = []

    for _ in range(100):
        page = await search.search(query, place, limit=limit)
        seen += [hit.product for hit in page.hits]
        for product in coming[:2]:
            memory.state.products[product.id] = product
        coming, place = coming[2:], page.next
        if place is None:
            break

    expected = [hit.product for hits in undisturbed for hit in hits]
    assert [product for product in seen if product in before] == expected
    assert len(seen) == len({product.id for product in seen})


async def test_facets_come_with_the_first_page_alone() -> None:
    products = lamps(500, 1500, 1501, 999_999)
    products[0] = replace(products[0], stock=0, category="attic")
    search = SearchService(filled(products).begin)

    first, last = await read_all(search, ProductQuery(q="lamp"), 2)

    assert first.facets is not None
    assert (first.facets.counted, first.facets.is_complete) == (4, True)
    assert [(count.value, count.count) for count in first.facets.category] == [("home", 3), ("attic", 1)]
    assert [(count.value, count.count) for count in first.facets.in_stock] == [(True, 3), (False, 1)]
    assert [(count.from_minor, count.below_minor, count.count) for count in first.facets.price] == [
        (0, 1000, 1),
        (1000, 2500, 2),
        (250_000, 1_000_000, 1),
    ]
    assert last.facets is None


async def test_facets_say_when_not_all_are_counted() -> None:
    search = SearchService(filled(lamps(*range(1, 9))).begin, slab_size=5)

    found = await search.search(ProductQuery(q="lamp"), None, limit=2)

    assert found.facets is not None
    assert (found.facets.counted, found.facets.is_complete) == (5, False)


@pytest.mark.parametrize(
    ("q", "respelled", "count"),
    [
        ("shade", None, 3),
        ("hsade", "shade", 3),
        ("hsade -lmap", "shade -lamp", 0),
        ("zebra", None, 0),
    ],
)
async def test_query_that_finds_little_is_corrected(q: str, respelled: str | None, count: int) -> None:
    found = await SearchService(filled(lamps(2, 4, 6, 1)).begin).search(ProductQuery(q=q), None, limit=2)

    assert found.respelled == (respelled if count else None)
    assert found.facets is not None
    assert found.facets.counted == count


async def test_corrected_query_is_corrected_on_every_page() -> None:
    search = SearchService(filled(lamps(*range(2, 20, 2))).begin, slab_size=4)

    pages = await read_all(search, ProductQuery(q="hsade"), 2)

    assert {page.respelled for page in pages} == {"shade"}
    assert sum(len(page.hits) for page in pages) == 9


async def test_word_that_is_known_is_not_corrected() -> None:
    products = [*lamps(2), a_product(SELLER, title="Shape"), a_product(SELLER, title="Shaper")]

    found = await SearchService(filled(products).begin).search(ProductQuery(q="shape"), None, limit=9)

    assert (found.respelled, [hit.product.title for hit in found.hits]) == (None, ["Shape"])


async def test_withdrawn_product_is_not_found(shop: Shop, memory: Memory) -> None:
    memory.state.products[shop.product.id] = replace(shop.product, withdrawn_at=NOW)

    found = await SearchService(memory.begin).search(ProductQuery(), None, limit=9)

    assert [hit.product for hit in found.hits] == [shop.other_product]
