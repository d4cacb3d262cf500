import pytest

from domain.errors import NotFound
from domain.ids import OrderId, uuid7
from domain.orders.service import OrderService
from domain.pages import PageRequest
from tests.builders import Shop, principal
from tests.domain.fakes import Memory


@pytest.fixture
def orders(memory: Memory) -> OrderService:
    return OrderService(memory.begin)


async def test_other_peoples_order_is_not_there(orders: OrderService, shop: Shop) -> None:
    order = await shop.order()

    for who, order_id in ((shop.other_seller, order.id), (shop.buyer, OrderId(uuid7()))):
        with pytest.raises(NotFound):
            await orders.get(principal(who), order_id)
    assert (await orders.page(principal(shop.other_seller), PageRequest())).rows == []
    assert (await orders.page(principal(shop.seller), PageRequest())).rows == [order]
