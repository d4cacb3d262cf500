import pytest

from domain.catalog.service import CatalogService, NewProduct
from domain.errors import Forbidden, Invalid, NotFound
from domain.identity.model import Principal, Role
from domain.ids import ProductId, UserId, uuid7
from domain.pages import PageRequest
from tests.builders import NOW, Shop, principal
from tests.domain.fakes import FakeClock, Memory

LAMP = NewProduct("Lamp", "Bright", "home", 1999, "USD", 3)


@pytest.fixture
def catalog(memory: Memory, clock: FakeClock) -> CatalogService:
    return CatalogService(memory.begin, clock, max_amount_minor=5000)


async def test_offered_product_is_found(catalog: CatalogService, shop: Shop) -> None:
    product = await catalog.offer(principal(shop.seller), LAMP)

    assert await catalog.get(product.id) == product
    assert (product.seller_id, product.title, product.price_minor) == (shop.seller.id, "Lamp", 1999)
    assert (product.stock, product.created_at) == (3, NOW)
    assert (await catalog.page(PageRequest(1))).rows == [product]


@pytest.mark.parametrize("price_minor", [0, 5001])
async def test_price_that_cannot_be_charged_is_refused(
    catalog: CatalogService, shop: Shop, price_minor: int
) -> None:
    with pytest.raises(Invalid):
        await catalog.offer(principal(shop.seller), NewProduct("Lamp", "", "home", price_minor, "USD", 3))


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.SELLER])
async def test_sellers_alone_offer(catalog: CatalogService, role: Role) -> None:
    with pytest.raises(Forbidden):
        await catalog.offer(Principal(UserId(uuid7()), role), LAMP)


async def test_unknown_product_is_not_there(catalog: CatalogService) -> None:
    with pytest.raises(NotFound):
        await catalog.get(ProductId(uuid7()))
