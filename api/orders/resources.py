"""`/v1/orders`."""

from http import HTTPStatus
from uuid import UUID

from falcon.asgi import Request, Response

from api.metrics import IDEMPOTENT_REPLAYS
from api.operations import operation
from api.orders.schemas import OrderAnswer, OrderBody, OrderPage, OrderQuery, ShipmentBody
from api.rendering import render, render_accepted
from domain.fulfilment.service import OrderService
from domain.ids import OrderId, ProductId
from domain.orders.checkout import Checkout
from domain.orders.draft import OrderItem


class Orders:
    """The orders, and the steps that people take with them."""

    def __init__(self, orders: OrderService, checkout: Checkout) -> None:
        """Keep the services."""
        self._orders = orders
        self._checkout = checkout

    @operation(
        "Place an order, of some items or of what is in the cart",
        "orders",
        OrderAnswer,
        status=HTTPStatus.CREATED,
        body=OrderBody,
        optional_body=True,
        idempotent=True,
        location=True,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Place an order of the calling buyer."""
        body: OrderBody = req.context.body
        principal, key = req.context.principal, req.context.idempotency_key
        items = [OrderItem(ProductId(item.product_id), item.quantity) for item in body.items]
        placed = await (
            self._checkout.place(principal, key, items) if items else self._checkout.place_cart(principal, key)
        )
        answer = OrderAnswer.of(placed.order)
        if placed.replayed:
            IDEMPOTENT_REPLAYS.labels("order").inc()
            answer = OrderAnswer.of_view(await self._orders.get(principal, placed.order.id))
        location = f"/v1/orders/{placed.order.id}"
        render_accepted(resp, answer, HTTPStatus.CREATED, location=location, replayed=placed.replayed)

    @operation("List orders", "orders", OrderPage, query=OrderQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List the orders that the caller may see, newest first."""
        query: OrderQuery = req.context.query
        page = await self._orders.page(req.context.principal, query.request(), query.status)
        render(resp, OrderPage.of(page, OrderAnswer.of_view))

    @operation("Get an order", "orders", OrderAnswer)
    async def on_get_one(self, req: Request, resp: Response, order_id: UUID) -> None:
        """Get an order."""
        render(resp, OrderAnswer.of_view(await self._orders.get(req.context.principal, OrderId(order_id))))

    @operation(
        "Ship the calling seller's lines of an order",
        "orders",
        OrderAnswer,
        status=HTTPStatus.CREATED,
        body=ShipmentBody,
        optional_body=True,
    )
    async def on_post_shipments(self, req: Request, resp: Response, order_id: UUID) -> None:
        """Note a shipment; safe to repeat."""
        body: ShipmentBody = req.context.body
        view = await self._orders.ship(
            req.context.principal,
            OrderId(order_id),
            carrier=body.carrier,
            tracking_number=body.tracking_number,
        )
        render(resp, OrderAnswer.of_view(view), HTTPStatus.CREATED)

    @operation("Complete an order that has arrived", "orders", OrderAnswer)
    async def on_post_completion(self, req: Request, resp: Response, order_id: UUID) -> None:
        """Complete an order of the calling buyer; safe to repeat."""
        view = await self._orders.complete(req.context.principal, OrderId(order_id))
        render(resp, OrderAnswer.of_view(view))

    @operation("Cancel an order that is not paid", "orders", OrderAnswer)
    async def on_post_cancellation(self, req: Request, resp: Response, order_id: UUID) -> None:
        """Cancel an order of the calling buyer; safe to repeat."""
        view = await self._orders.cancel(req.context.principal, OrderId(order_id))
        render(resp, OrderAnswer.of_view(view))
