"""The contract of the repositories, in PostgreSQL and in memory: products and the search for them."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from domain.catalog.model import Product
from domain.catalog.query import Place, ProductQuery, Sort
from domain.ids import ProductId, uuid7
from tests.builders import NOW, Begin, Shop, a_product
from tests.db.contracts.reading import LATER


async def test_products_are_found_by_id(any_begin: Begin, shop: Shop) -> None:
    async with any_begin() as tx:
        found = await tx.products.by_ids([shop.product.id, ProductId(uuid7()), shop.other_product.id])

    assert found == {product.id: product for product in (shop.product, shop.other_product)}


async def test_changed_product_comes_back_whole(any_begin: Begin, shop: Shop) -> None:
    changed = replace(
        shop.product,
        title="Lámpara de pie",
        stock=0,
        attributes={"colours": ["red", "blue"], "width_cm": 14, "weight_kg": 1.5, "new": True, "name": "\u20ac"},
        image_urls=("https://images.example.com/1.jpg", "https://images.example.com/2.jpg"),
        updated_at=LATER,
        withdrawn_at=LATER,
    )
    async with any_begin() as tx:
        assert await tx.products.lock(shop.product.id) == shop.product
        assert await tx.products.lock(ProductId(uuid7())) is None
        await tx.products.save(changed)
        await tx.commit()

    async with any_begin() as tx:
        found = await tx.products.by_ids([changed.id, shop.other_product.id])

    assert found == {changed.id: changed, shop.other_product.id: shop.other_product}
    assert json.dumps(found[changed.id].attributes, sort_keys=True) == json.dumps(
        changed.attributes, sort_keys=True
    )


SEARCHES: dict[str, tuple[dict[str, Any], Callable[[Product], bool]]] = {
    "all of a seller": ({}, lambda _: True),
    "in stock": ({"in_stock": True}, lambda product: product.stock > 0),
    "out of stock": ({"in_stock": False}, lambda product: product.stock == 0),
    "category": ({"category": "garden"}, lambda product: product.category == "garden"),
    "category of none": ({"category": "home%"}, lambda _: False),
    "currency": ({"currency": "EUR"}, lambda product: product.currency == "EUR"),
    "prices": (
        {"price_min_minor": 1002, "price_max_minor": 1005},
        lambda product: 1002 <= product.price_minor <= 1005,
    ),
    "lowest price": ({"price_min_minor": 1006}, lambda product: product.price_minor >= 1006),
    "highest price": ({"price_max_minor": 1001}, lambda product: product.price_minor <= 1001),
    "no price": ({"price_min_minor": 1005, "price_max_minor": 1004}, lambda _: False),
    "free": ({"price_max_minor": 0}, lambda _: False),
    "any price": ({"price_min_minor": 0, "price_max_minor": 2**53}, lambda _: True),
    "two things": (
        {"category": "garden", "in_stock": True},
        lambda product: product.category == "garden" and product.stock > 0,
    ),
    "words": ({"q": "lamp brass"}, lambda _: True),
    "words of nothing": ({"q": "brass cow"}, lambda _: False),
    "a word and a price": ({"q": "lamp", "price_min_minor": 1003}, lambda product: product.price_minor >= 1003),
}

ORDERS: dict[Sort, Callable[[Product, ProductQuery], Any]] = {
    Sort.RELEVANCE: lambda product, query: (
        -(query.q == "lamp brass" and product.title == "Brass lamp"),
        -product.id.int,
    ),
    Sort.NEWEST: lambda product, _: -product.id.int,
    Sort.PRICE_ASC: lambda product, _: (product.price_minor, product.id),
    Sort.PRICE_DESC: lambda product, _: (-product.price_minor, -product.id.int),
}


@pytest.mark.parametrize(("narrowed", "matches"), SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("sort", Sort)
async def test_search_finds_what_matches_in_the_order_that_is_asked_for(
    any_begin: Begin, shop: Shop, narrowed: dict[str, Any], matches: Callable[[Product], bool], sort: Sort
) -> None:
    products = [
        a_product(
            shop.seller.id,
            title="Brass lamp" if number % 3 else "Lamp",
            description="brass lamp",
            category="garden" if number % 2 else "home",
            currency="EUR" if number == 7 else "USD",
            price_minor=1000 + (number * 5) % 7,
            stock=number % 4,
        )
        for number in range(8)
    ]
    query = ProductQuery(**narrowed, seller_id=shop.seller.id, sort=sort)
    async with any_begin() as tx:
        for product in [*products, a_product(shop.other_seller.id, title="Brass lamp", description="brass lamp")]:
            await tx.products.add(product)
        await tx.products.save(replace(shop.product, withdrawn_at=NOW))

        slab = await tx.product_search.slab(query, Place(), limit=50, size=50, is_counting=True)
        walked = await tx.product_search.by_price(query, Place(), limit=50) if query.is_by_price else None

    expected = sorted(filter(matches, products), key=lambda product: ORDERS[query.order](product, query))
    assert [hit.product for hit in slab.hits] == expected
    assert slab.is_last
    assert slab.facets is not None
    assert slab.counted == slab.facets.counted == len(expected)
    assert sum(count.count for count in slab.facets.price) == len(expected)
    if query.q is None and walked is not None:
        assert ([hit.product for hit in walked[0]], walked[1]) == (expected, None)
