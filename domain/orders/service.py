"""Reading orders."""

from domain.errors import NotFound
from domain.identity.model import Principal
from domain.ids import OrderId
from domain.orders.model import Order
from domain.orders.ports import OrdersTransaction
from domain.pages import Page, PageRequest
from domain.transactions import Begin


class OrderService:
    """The orders."""

    def __init__(self, begin: Begin[OrdersTransaction]) -> None:
        """Keep how transactions begin."""
        self._begin = begin

    async def get(self, principal: Principal, order_id: OrderId) -> Order:
        """Return an order that the caller may see. Errors: NotFound."""
        async with self._begin() as tx:
            order = await tx.orders.visible(principal, order_id)
        if order is None:
            raise NotFound("there is no such order", code="order_not_found")
        return order

    async def page(self, principal: Principal, request: PageRequest) -> Page[Order]:
        """Return a page of the orders that the caller may see, newest first."""
        async with self._begin() as tx:
            return await tx.orders.page(principal, request)
