"""How little a search reads at a time, and that its pages hold every product once and in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.product_search import ProductIndex
from db.unit_of_work import Database
from domain.catalog.model import Product
from domain.catalog.query import Found, Place, ProductQuery, Sort
from domain.catalog.search import SearchService
from domain.ids import ProductId, uuid7
from tests.builders import Shop, a_product
from tests.engines import as_product_sees

# Products at positions of a test's choice: what a search reads follows from where they stand.


@asynccontextmanager
async def placed(
    connection: AsyncConnection, shop: Shop, positions: list[int], **index: Any
) -> AsyncIterator[tuple[SearchService, dict[int, ProductId]]]:
    """Put a lamp at each position, high above all others; yield the search and the products by position."""
    base = 2**20
    insert = text(
        """
        INSERT INTO products (id, position, seller_id, title, description, category, price_minor, currency, stock,
                              created_at)
        OVERRIDING SYSTEM VALUE
        VALUES (:id, :position, :seller_id, 'Lamp', '', '', :price, 'USD', 1, now())
        """
    )
    ids = {position: ProductId(uuid7()) for position in sorted(positions)}
    values = [
        {"id": id_, "position": base + position, "seller_id": shop.seller.id, "price": 1 + position % 7}
        for position, id_ in ids.items()
    ]
    await connection.execute(insert, values)
    seen = await as_product_sees(connection)

    class OnlyIndex:
        product_search = ProductIndex(seen, **index)

        async def commit(self) -> None:
            raise NotImplementedError

    @asynccontextmanager
    async def begin() -> AsyncIterator[OnlyIndex]:
        yield OnlyIndex()

    yield SearchService(begin, slab_size=6), ids


async def read_all(search: SearchService, query: ProductQuery, limit: int) -> list[Found]:
    pages: list[Found] = []
    place: Place | None = None
    while not pages or place is not None:
        assert len(pages) < 2_000
        pages.append(await search.search(query, place, limit=limit))
        place = pages[-1].next
    return pages


SCATTERED = [1, 2, 3, 1000, 1023, 1024, 1025, 4095, 4096, 5000, 16_384, 70_000, 70_001, 300_000, 999_999]


@pytest.mark.parametrize("sort", Sort)
@pytest.mark.parametrize("q", [None, "lamp"])
@pytest.mark.parametrize("limit", [1, 4, 50])
async def test_every_product_is_found_wherever_it_stands(
    connection: AsyncConnection, shop: Shop, sort: Sort, q: str | None, limit: int
) -> None:
    async with placed(connection, shop, SCATTERED, effort=3) as (search, ids):
        query = ProductQuery(q=q, seller_id=shop.seller.id, price_max_minor=7, sort=sort)
        pages = await read_all(search, query, limit)

    found = [hit.product.id for page in pages for hit in page.hits]
    assert sorted(found) == sorted(ids.values())
    if query.order is Sort.NEWEST:
        assert found == sorted(ids.values(), reverse=True)
    if q is None and sort is Sort.PRICE_ASC:
        assert found == sorted(ids.values(), key=lambda id_: (prices(pages)[id_], id_))


def prices(pages: list[Found]) -> dict[ProductId, int]:
    return {hit.product.id: hit.product.price_minor for page in pages for hit in page.hits}


async def test_walk_that_may_go_no_further_goes_on_from_there(connection: AsyncConnection, shop: Shop) -> None:
    async with placed(connection, shop, [1, 2, 3, 3000, 3001, 9000], steps=1) as (search, ids):
        query = ProductQuery(q="lamp", seller_id=shop.seller.id)
        place, found = None, []
        for _ in range(6):
            page = await search.search(query, place, limit=50)
            found.append([hit.product.id for hit in page.hits])
            place = page.next
            assert place is not None

    # A step of 1,024 positions, and up to three more while nothing is found.
    assert found == [[ids[9000]], [], [ids[3001], ids[3000]], [ids[3], ids[2], ids[1]], [], []]


async def test_page_without_a_hit_looks_further_before_it_gives_up(
    connection: AsyncConnection, shop: Shop
) -> None:
    async with placed(connection, shop, [1, 4000], steps=1) as (search, ids):
        query = ProductQuery(q="lamp", seller_id=shop.seller.id)
        first = await search.search(query, None, limit=50)
        second = await search.search(query, first.next, limit=50)

    assert [[hit.product.id for hit in page.hits] for page in (first, second)] == [[ids[4000]], [ids[1]]]
    assert first.facets is not None
    assert (first.facets.counted, first.facets.is_complete) == (1, False)


async def test_crowd_of_matches_after_a_long_gap_is_read_in_order(connection: AsyncConnection, shop: Shop) -> None:
    async with placed(connection, shop, [*range(1, 5001), 300_000]) as (search, ids):
        query = ProductQuery(q="lamp", seller_id=shop.seller.id, sort=Sort.NEWEST)
        pages = [await search.search(query, None, limit=3)]
        for _ in range(3):
            pages.append(await search.search(query, pages[-1].next, limit=3))

    found = [hit.product.id for page in pages for hit in page.hits]
    assert found == [ids[position] for position in (300_000, *range(5000, 4989, -1))]


async def test_rows_that_are_no_phrase_count_as_work(connection: AsyncConnection, shop: Shop) -> None:
    async with placed(connection, shop, list(range(1, 6001))) as (search, _):
        query = ProductQuery(q='"lamp attic" or "attic lamp"', seller_id=shop.seller.id)
        await connection.execute(
            text("UPDATE products SET description = 'by attic' WHERE seller_id = :seller_id"),
            {"seller_id": shop.seller.id},
        )
        page = await search.search(query, None, limit=3)

    assert not page.hits
    assert page.next is not None
    assert page.next.newest is not None
    assert page.next.newest > 2**20


async def test_rare_word_is_found_in_few_looks_however_far_back_it_stands(
    connection: AsyncConnection, shop: Shop
) -> None:
    async with placed(connection, shop, [1, 2_000_000], steps=6) as (search, ids):
        query = ProductQuery(q="lamp", seller_id=shop.seller.id, price_max_minor=7)
        found = await search.search(query, None, limit=5)

    assert [hit.product.id for hit in found.hits] == [ids[2_000_000], ids[1]]
    assert found.facets is not None
    assert found.facets.is_complete


async def test_prices_are_walked_in_bounded_steps(connection: AsyncConnection, shop: Shop) -> None:
    async with placed(connection, shop, list(range(1, 60)), effort=10) as (search, _):
        query = ProductQuery(seller_id=shop.seller.id, currency="USD", sort=Sort.PRICE_DESC, price_max_minor=7)
        pages = await read_all(search, query, 20)

    assert [len(page.hits) for page in pages[:3]] == [10, 10, 10]
    assert sum(len(page.hits) for page in pages) == 59


# What everybody commits for real: pages while others offer.


@pytest.mark.parametrize("sort", Sort)
@settings(max_examples=12)
@given(
    adding=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=12),
    limit=st.integers(1, 5),
    slab_size=st.integers(2, 9),
    q=st.sampled_from([None, "lamp"]),
)
async def test_pages_hold_what_was_there_once_and_in_order_while_others_offer(
    database: Database, sort: Sort, adding: list[tuple[int, int]], limit: int, slab_size: int, q: str | None
) -> None:
    shop = await Shop(database.begin).open()

    async def offer(price_minor: int) -> Product:
        title = "Lamp" if price_minor % 2 else "Shade"
        product = a_product(shop.seller.id, title=title, description="lamp", price_minor=price_minor)
        async with database.begin() as tx:
            await tx.products.add(product)
            await tx.commit()
        return product

    before = [(await offer(price)).id for price in (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5)]
    search = SearchService(database.each, slab_size=slab_size)
    query = ProductQuery(q=q, seller_id=shop.seller.id, currency="USD", sort=sort, price_max_minor=99)
    undisturbed = [hit.product.id for page in await read_all(search, query, limit) for hit in page.hits]
    seen, place, coming = [], None, iter(adding)

    for _ in range(100):
        page = await search.search(query, place, limit=limit)
        seen += [hit.product.id for hit in page.hits]
        count, price_minor = next(coming, (0, 1))
        await asyncio.gather(*(offer(price_minor) for _ in range(count)))
        place = page.next
        if place is None:
            break

    known = set(undisturbed)
    assert known - {shop.product.id} == set(before) - {shop.product.id}
    assert [id_ for id_ in seen if id_ in known] == undisturbed
    assert len(seen) == len(set(seen))
