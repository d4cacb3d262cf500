"""What products say, as PostgreSQL finds it: grammar, weights, marks, spelling."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from db.unit_of_work import Database
from domain.catalog.model import Product
from domain.catalog.query import Highlight, Language, ProductQuery
from domain.catalog.search import SearchService
from domain.ids import uuid7
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
