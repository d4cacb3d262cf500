"""What products say, as PostgreSQL finds it: grammar, weights, marks, spelling; and how little a query reads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.connection import Connection, Driver
from db.product_search import ProductIndex
from db.unit_of_work import Database
from domain.catalog.model import Product
from domain.catalog.query import Found, Highlight, Language, Place, ProductQuery, Sort
from domain.catalog.search import SearchService
from domain.ids import ProductId, uuid7
from tests.builders import Begin, Shop, a_product


@pytest.fixture
def search(begin: Begin) -> SearchService:
    return SearchService(begin)


Offer = Callable[..., Any]


@pytest.fixture
def offer(begin: Begin, shop: Shop) -> Offer:
    """Store products of the shop's seller."""

    async def store(*products: dict[str, Any]) -> list[Product]:
        made = [a_product(shop.seller.id, **{"title": "Thing", "description": "", **each}) for each in products]
        async with begin() as tx:
            for product in made:
                await tx.products.add(product)
            await tx.commit()
        return made

    return store


async def titles(search: SearchService, shop: Shop, q: str, **narrowed: Any) -> list[str]:
    query = ProductQuery(q=q, seller_id=shop.seller.id, **narrowed)
    return [hit.product.title for hit in (await search.search(query, None, limit=50)).hits]


@pytest.mark.parametrize(
    ("language", "q", "found"),
    [
        (Language.EN, "desk", True),
        (Language.EN, "DESKS", True),
        (Language.EN, "walnut desks", True),
        (Language.EN, "wooden desk", False),
        (Language.EN, "desk -walnut", False),
        (Language.EN, "wooden or walnut", True),
        (Language.EN, '"walnut desk"', True),
        (Language.EN, '"desk walnut"', False),
        (Language.EN, 'office -"desk walnut"', True),
        (Language.EN, 'office -"walnut desk"', False),
        (Language.EN, "lampara", True),
        (Language.EN, "cafe", True),
        (Language.EN, "office", True),
        (Language.EN, "oiled", True),
        (Language.EN, "oil", True),
        (Language.EN, "the", False),
        (Language.EN, "-lamp", False),
        (Language.ES, "lamparas", True),
        (Language.ES, "LÁMPARAS ROJAS", True),
        (Language.ES, "lámpara roja", True),
        (Language.ES, "de la", False),
        (Language.ES, "hablar", True),
        (Language.EN, "hablar", False),
    ],
)
async def test_words_are_found_by_the_grammar_of_the_language(
    search: SearchService, offer: Offer, shop: Shop, language: Language, q: str, *, found: bool
) -> None:
    await offer(
        {
            "title": "Walnut desk",
            "category": "office",
            "description": "With lámparas rojas, hablando, for your café",
            "attributes": {"finish": "oiled", "legs": 4, "woods": ["walnut"]},
        }
    )

    assert bool(await titles(search, shop, q, language=language)) == found


async def test_title_counts_more_than_category_attributes_and_description(
    search: SearchService, offer: Offer, shop: Shop
) -> None:
    await offer(
        {"title": "Plain", "description": "A walnut"},
        {"title": "Attributed", "attributes": {"wood": "walnut"}},
        {"title": "Walnut"},
        {"title": "Categorised", "category": "walnut"},
    )

    assert await titles(search, shop, "walnut") == ["Walnut", "Categorised", "Attributed", "Plain"]


async def test_equal_ranks_are_ordered_by_id(search: SearchService, offer: Offer, shop: Shop) -> None:
    products = await offer(*[{"title": f"Walnut {letter}"} for letter in "abcde"])

    assert await titles(search, shop, "walnut") == [product.title for product in products[::-1]]


async def test_matches_are_marked_and_the_rest_is_escaped(search: SearchService, offer: Offer, shop: Shop) -> None:
    await offer(
        {
            "title": "Walnut & \x02oak\x03 desk",
            "description": "See <img src=x onerror=alert(1)> 'walnut' at <3 " + "filling " * 100 + "walnuts",
        }
    )

    query = ProductQuery(q="walnut", seller_id=shop.seller.id)
    (hit,) = (await search.search(query, None, limit=5)).hits

    assert isinstance(hit.highlight, Highlight)
    assert hit.highlight.title == "<mark>Walnut</mark> &amp; oak desk"
    assert hit.highlight.description.count("<mark>") == 2
    assert "<mark>walnut</mark>" in hit.highlight.description
    assert "<mark>walnuts</mark>" in hit.highlight.description
    plain = hit.highlight.description.replace("<mark>", "").replace("</mark>", "")
    assert "<" not in plain
    assert "'" not in plain
    assert len(plain) < 400


async def test_product_is_found_by_what_it_says_now(
    begin: Begin, search: SearchService, offer: Offer, shop: Shop
) -> None:
    (product,) = await offer({"title": "Walnut desk", "stock": 1, "price_minor": 500})
    changed = replace(product, title="Oak table", stock=0, price_minor=900, category="attic")
    async with begin() as tx:
        await tx.products.save(changed)
        await tx.commit()

    assert await titles(search, shop, "walnut") == []
    assert await titles(search, shop, "oak", in_stock=True) == []
    assert await titles(search, shop, "oak", price_max_minor=899) == []
    assert await titles(search, shop, "oak", in_stock=False, price_min_minor=900, category="attic") == [
        "Oak table"
    ]


@pytest.mark.parametrize(
    ("q", "respelled"),
    [
        ("qwertzwalunt", "qwertzwalnut"),
        ("QWERTZWALNUTT", "qwertzwalnut"),
        ("qwertzlámprara", "qwertzlampara"),
        ("qwertzwalnut qwertzlampra", "qwertzwalnut qwertzlampara"),
        ('"qwertzwalnut qwertzlampra"', '"qwertzwalnut qwertzlampara"'),
        ("qwertzcow", None),
        ("qwertzwalnuts", None),
    ],
)
async def test_misspelt_words_find_what_was_meant(
    search: SearchService, offer: Offer, shop: Shop, q: str, respelled: str | None
) -> None:
    await offer({"title": "Qwertzwalnut qwertzlámpara"})
    query = ProductQuery(q=q, seller_id=shop.seller.id)

    found = await search.search(query, None, limit=5)

    assert found.respelled == respelled
    assert len(found.hits) == (q != "qwertzcow")


async def test_two_letters_of_a_short_word_have_changed_places(
    search: SearchService, offer: Offer, shop: Shop
) -> None:
    await offer({"title": "Jqxz"})

    assert await titles(search, shop, "jxqz") == ["Jqxz"]


async def test_new_title_teaches_its_words(begin: Begin, search: SearchService, offer: Offer, shop: Shop) -> None:
    (product,) = await offer({"title": "Thing"})
    async with begin() as tx:
        await tx.products.save(replace(product, title="Qwertzbirch"))
        await tx.commit()

    assert await titles(search, shop, "qwertzbrich") == ["Qwertzbirch"]


async def test_products_with_the_same_new_words_are_offered_at_once(database: Database, real_shop: Shop) -> None:
    words = [f"{uuid7().hex.translate(str.maketrans('0123456789', 'ghijklmnop'))[:20]}" for _ in range(8)]

    async def offer_one(number: int) -> None:
        async with database.begin() as tx:
            mixed = words[number:] + words[:number]
            await tx.products.add(a_product(real_shop.seller.id, title=" ".join(mixed)))
            await tx.commit()

    await asyncio.gather(*(offer_one(number) for number in range(8)))


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
    driver = cast("Driver", (await connection.get_raw_connection()).driver_connection)

    class OnlyIndex:
        product_search = ProductIndex(Connection(driver), **index)

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


async def test_stock_is_taken_without_touching_an_index(
    database: Database, real_shop: Shop, owner_engine: AsyncEngine
) -> None:
    product = a_product(real_shop.seller.id)
    async with database.begin() as tx:
        await tx.products.add(product)
        await tx.commit()
    updates = text("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'products'")

    async with owner_engine.connect() as connection:
        await connection.execute(text("UPDATE products SET stock = stock - 1 WHERE id = :id"), {"id": product.id})
        updated, in_place = (await connection.execute(updates)).one()
        await connection.rollback()

    assert (updated, in_place) == (1, 1)


# Whatever is asked is an answer. `any_text` prefers what means something to PostgreSQL.

any_text = st.one_of(
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=200),
    st.text("'\"\\:*&|!<->()$%;_-. \t\n\x01\x02\x03\x7f\u202elampor", max_size=200),
    st.builds(
        lambda text, count: (text * count)[:200], st.text("-\"'(!& a_:", min_size=1, max_size=4), st.just(200)
    ),
    st.lists(st.sampled_from(["lamp", "-", "or", "and", '"', "'", "\\", ":*", "<->", "!", "((", "%s", "🦄"])).map(
        lambda parts: " ".join(parts)[:200]
    ),
)


@settings(max_examples=200)
@given(q=any_text, language=st.sampled_from(Language), category=any_text, sort=st.sampled_from(Sort))
async def test_no_text_is_too_odd_to_look_for(
    database: Database, q: str, language: Language, category: str, sort: Sort
) -> None:
    search = SearchService(database.each)
    query = ProductQuery(q=q.strip() or None, language=language, category=category[:100], sort=sort)

    found = await search.search(query, None, limit=2)
    if found.next is not None:
        await search.search(query, found.next, limit=2)
    await search.search(replace(query, category=None), None, limit=2)


@settings(max_examples=50)
@given(one=any_text, other=any_text)
async def test_what_a_product_says_is_found_whatever_it_is(database: Database, one: str, other: str) -> None:
    shop = await Shop(database.begin).open()
    product = a_product(shop.seller.id, title=f"Lamp {one}"[:200], description=other, category=one[:100])
    async with database.begin() as tx:
        await tx.products.add(replace(product, attributes={"a": other, "b": [one, 1]}))
        await tx.commit()

    for query in (
        ProductQuery(q="lamp", seller_id=shop.seller.id, category=one[:100]),
        ProductQuery(seller_id=shop.seller.id, category=one[:100]),
    ):
        found = await SearchService(database.each).search(query, None, limit=5)
        assert product.id in [hit.product.id for hit in found.hits]
