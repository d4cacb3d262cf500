"""Products on the real database: who edits at once loses nothing, and what cannot be is refused."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.unit_of_work import Database
from domain.catalog.model import ProductChanges
from domain.catalog.service import CatalogService
from domain.orders.checkout import Checkout
from domain.orders.draft import OrderItem
from tests.builders import ORDER_POLICY, Shop, principal
from tests.domain.fakes import FakeCarts, FakeClock, FakeProductCache


@pytest.fixture
def catalog(database: Database, clock: FakeClock) -> CatalogService:
    return CatalogService(database.begin, FakeProductCache(), clock, max_amount_minor=99_999_999)


async def test_edits_at_the_same_moment_are_all_kept(catalog: CatalogService, real_shop: Shop) -> None:
    seller, product_id = principal(real_shop.seller), real_shop.product.id

    await asyncio.gather(
        catalog.edit(seller, product_id, ProductChanges(title="Desk")),
        catalog.edit(seller, product_id, ProductChanges(description="Walnut")),
        catalog.edit(seller, product_id, ProductChanges(category="office")),
        catalog.edit(seller, product_id, ProductChanges(price_minor=2100)),
    )

    product = await catalog.get(None, product_id)
    assert (product.title, product.description, product.category, product.price_minor) == (
        ("Desk", "Walnut", "office", 2100)
    )


async def test_edit_gives_no_stock_back_that_an_order_takes_meanwhile(
    catalog: CatalogService, database: Database, clock: FakeClock, real_shop: Shop
) -> None:
    checkout = Checkout(database.begin, FakeCarts(), clock, ORDER_POLICY)
    product = real_shop.product

    await asyncio.gather(
        *(
            checkout.place(principal(real_shop.buyer), f"key {number}", [OrderItem(product.id, 1)])
            for number in range(10)
        ),
        *(
            catalog.edit(principal(real_shop.seller), product.id, ProductChanges(title=f"Desk {number}"))
            for number in range(10)
        ),
    )

    assert (await catalog.get(None, product.id)).stock == product.stock - 10


@pytest.mark.parametrize(
    "values",
    [
        {"attributes": "[]"},
        {"attributes": "null"},
        {"attributes": '{"a": "' + "x" * 70_000 + '"}'},
        {"image_urls": ["http://images.example.com/1.jpg"]},
        {"image_urls": ["https://images.example.com/1.jpg", "javascript:alert(1)"]},
        {"image_urls": ["https://images.example.com/1 2.jpg"]},
        {"image_urls": [""]},
        {"image_urls": [None]},
        {"image_urls": ["https://images.example.com/1.jpg"] * 11},
        {"stock": -1},
        {"title": ""},
    ],
)
async def test_database_refuses_what_cannot_be(
    connection: AsyncConnection, shop: Shop, values: dict[str, object]
) -> None:
    ((name, value),) = values.items()
    kind = {"attributes": "jsonb", "image_urls": "text[]", "stock": "integer", "title": "text"}[name]

    with pytest.raises(IntegrityError, match="check constraint"):
        await connection.execute(
            text(f"UPDATE products SET {name} = CAST(:value AS {kind}) WHERE id = :id"),
            {"value": value, "id": shop.product.id},
        )
