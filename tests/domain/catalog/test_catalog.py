from dataclasses import fields, replace

import pytest

from domain.catalog.model import NewProduct, Product, ProductChanges
from domain.catalog.service import CatalogService
from domain.errors import Conflict, Forbidden, Invalid, NotFound
from domain.identity.model import Principal, Role
from domain.ids import ProductId, UserId, uuid7
from tests.builders import NOW, Shop, principal
from tests.domain.fakes import FakeClock, FakeProductCache, Memory

LAMP = NewProduct(
    "Lamp", "Bright", "home", 1999, "USD", 3, {"colour": "red"}, ("https://images.example.com/lamp.jpg",)
)
NOT_SELLERS = [role for role in Role if role is not Role.SELLER]


@pytest.fixture
def catalog(memory: Memory, clock: FakeClock) -> CatalogService:
    return CatalogService(memory.begin, FakeProductCache(), clock, max_amount_minor=5000)


@pytest.fixture
async def lamp(catalog: CatalogService, shop: Shop) -> Product:
    return await catalog.offer(principal(shop.seller), LAMP)


def events(memory: Memory, product: Product) -> list[tuple[str, object]]:
    found = [event for event in memory.state.events if event.subject_id == product.id]
    assert all(event.audience == (product.seller_id,) for event in found)
    return [(event.type, event.data.get("fields")) for event in found]


async def test_offered_product_is_found(catalog: CatalogService, shop: Shop, lamp: Product) -> None:
    assert await catalog.get(None, lamp.id) == lamp
    assert (lamp.seller_id, lamp.created_at, lamp.updated_at, lamp.withdrawn_at) == (
        shop.seller.id,
        NOW,
        NOW,
        None,
    )
    assert {each.name: getattr(lamp, each.name) for each in fields(LAMP)} == {
        each.name: getattr(LAMP, each.name) for each in fields(LAMP)
    }


@pytest.mark.parametrize("price_minor", [0, 5001])
async def test_price_that_cannot_be_charged_is_refused(
    catalog: CatalogService, shop: Shop, lamp: Product, price_minor: int
) -> None:
    with pytest.raises(Invalid):
        await catalog.offer(principal(shop.seller), replace(LAMP, price_minor=price_minor))
    with pytest.raises(Invalid):
        await catalog.edit(principal(shop.seller), lamp.id, ProductChanges(price_minor=price_minor))


async def test_price_and_currency_are_checked_together(catalog: CatalogService, shop: Shop, lamp: Product) -> None:
    with pytest.raises(Invalid) as refused:
        await catalog.edit(principal(shop.seller), lamp.id, ProductChanges(currency="KWD"))
    changed = await catalog.edit(principal(shop.seller), lamp.id, ProductChanges(currency="KWD", price_minor=1990))

    assert refused.value.code == "amount_not_chargeable"
    assert (changed.price_minor, changed.currency) == (1990, "KWD")


@pytest.mark.parametrize("role", NOT_SELLERS)
async def test_sellers_alone_offer_edit_and_withdraw(catalog: CatalogService, role: Role, lamp: Product) -> None:
    stranger = Principal(UserId(uuid7()), role)

    with pytest.raises(Forbidden):
        await catalog.offer(stranger, LAMP)
    with pytest.raises(Forbidden):
        await catalog.edit(stranger, lamp.id, ProductChanges(stock=0))
    with pytest.raises(Forbidden):
        await catalog.withdraw(stranger, lamp.id)


async def test_product_of_another_seller_is_not_there_to_be_changed(
    catalog: CatalogService, shop: Shop, lamp: Product
) -> None:
    for product_id in (lamp.id, ProductId(uuid7())):
        with pytest.raises(NotFound):
            await catalog.edit(principal(shop.other_seller), product_id, ProductChanges(stock=0))
        with pytest.raises(NotFound):
            await catalog.withdraw(principal(shop.other_seller), product_id)
    assert await catalog.get(None, lamp.id) == lamp


async def test_edit_changes_what_is_given_alone(
    memory: Memory, catalog: CatalogService, clock: FakeClock, shop: Shop, lamp: Product
) -> None:
    clock.advance(60)

    edited = await catalog.edit(
        principal(shop.seller), lamp.id, ProductChanges(title="Floor lamp", stock=0, attributes={}, image_urls=())
    )

    assert edited == replace(
        lamp, title="Floor lamp", stock=0, attributes={}, image_urls=(), updated_at=clock.time
    )
    assert await catalog.get(None, lamp.id) == edited
    assert events(memory, lamp) == [
        ("product.offered", None),
        ("product.edited", ["attributes", "image_urls", "stock", "title"]),
    ]


async def test_edit_that_says_what_is_so_already_changes_nothing(
    memory: Memory, catalog: CatalogService, clock: FakeClock, shop: Shop, lamp: Product
) -> None:
    clock.advance(60)
    same = ProductChanges(**{each.name: getattr(LAMP, each.name) for each in fields(LAMP)})

    assert await catalog.edit(principal(shop.seller), lamp.id, same) == lamp
    assert events(memory, lamp) == [("product.offered", None)]


async def test_number_and_truth_are_different_attributes(
    catalog: CatalogService, shop: Shop, lamp: Product
) -> None:
    await catalog.edit(principal(shop.seller), lamp.id, ProductChanges(attributes={"new": 1}))

    edited = await catalog.edit(principal(shop.seller), lamp.id, ProductChanges(attributes={"new": True}))

    assert edited.attributes["new"] is True


async def test_edits_grow_in_time_though_the_clock_stands_or_goes_back(
    catalog: CatalogService, clock: FakeClock, shop: Shop, lamp: Product
) -> None:
    times = [lamp.updated_at]

    for stock in (7, 8, 9):
        clock.advance(-1)
        edited = await catalog.edit(principal(shop.seller), lamp.id, ProductChanges(stock=stock))
        times.append(edited.updated_at)

    assert times == sorted(set(times))


async def test_withdrawn_product_is_gone_for_all_but_its_seller_and_those_who_see_all(
    catalog: CatalogService, shop: Shop, lamp: Product
) -> None:
    await catalog.withdraw(principal(shop.seller), lamp.id)

    for stranger in (None, principal(shop.buyer), principal(shop.other_seller)):
        with pytest.raises(NotFound):
            await catalog.get(stranger, lamp.id)
    for known in (principal(shop.seller), Principal(UserId(uuid7()), Role.FINANCE)):
        assert (await catalog.get(known, lamp.id)).withdrawn_at is not None


async def test_product_is_withdrawn_once_and_for_good(
    memory: Memory, catalog: CatalogService, shop: Shop, lamp: Product
) -> None:
    await catalog.withdraw(principal(shop.seller), lamp.id)
    withdrawn = await catalog.get(principal(shop.seller), lamp.id)

    await catalog.withdraw(principal(shop.seller), lamp.id)
    with pytest.raises(Conflict) as refused:
        await catalog.edit(principal(shop.seller), lamp.id, ProductChanges(stock=5))

    assert refused.value.code == "product_withdrawn"
    assert await catalog.get(principal(shop.seller), lamp.id) == withdrawn
    assert events(memory, lamp) == [("product.offered", None), ("product.withdrawn", None)]


async def test_unknown_product_is_not_there(catalog: CatalogService) -> None:
    with pytest.raises(NotFound):
        await catalog.get(None, ProductId(uuid7()))
