"""`/v1/orders`."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from falcon.asgi import Request, Response
from pydantic import Field, field_validator

from api.metrics import IDEMPOTENT_REPLAYS
from api.operations import operation
from api.rendering import render, render_accepted
from api.schemas import AnswerModel, PageAnswer, PageQuery, RequestModel
from domain.ids import OrderId, ProductId
from domain.orders.checkout import Checkout, OrderItem
from domain.orders.model import Order, OrderLine, OrderStatus
from domain.orders.service import OrderService

_MAX_LINES = 100


class OrderItemBody(RequestModel):
    """How many pieces of a product."""

    product_id: UUID
    quantity: Annotated[int, Field(ge=1, le=1_000_000)]


class OrderBody(RequestModel):
    """What is ordered."""

    items: Annotated[list[OrderItemBody], Field(min_length=1, max_length=_MAX_LINES)]

    @field_validator("items")
    @classmethod
    def _each_product_once(cls, items: list[OrderItemBody]) -> list[OrderItemBody]:
        if len({item.product_id for item in items}) != len(items):
            raise ValueError("a product stands in one line")
        return items


class OrderLineAnswer(AnswerModel):
    """A product in an order."""

    product_id: UUID
    seller_id: UUID
    quantity: int
    price_minor: int

    @classmethod
    def of(cls, line: OrderLine) -> "OrderLineAnswer":
        """Render a line."""
        return cls.model_validate(line, from_attributes=True)


class OrderAnswer(AnswerModel):
    """An order."""

    id: UUID
    buyer_id: UUID
    status: OrderStatus
    items: Sequence[OrderLineAnswer]
    amount_minor: int
    currency: str
    created_at: datetime
    updated_at: datetime
    expires_at: Annotated[
        datetime | None, Field(description="until when a pending order holds its stock, unless it is being paid")
    ]

    @classmethod
    def of(cls, order: Order) -> "OrderAnswer":
        """Render an order."""
        return cls(
            id=order.id,
            buyer_id=order.buyer_id,
            status=order.status,
            items=[OrderLineAnswer.of(line) for line in order.lines],
            amount_minor=order.amount_minor,
            currency=order.currency,
            created_at=order.created_at,
            updated_at=order.updated_at,
            expires_at=order.due_at if order.status is OrderStatus.PENDING else None,
        )


class OrderPage(PageAnswer[OrderAnswer]):
    """A page of orders."""


class Orders:
    """The orders."""

    def __init__(self, orders: OrderService, checkout: Checkout) -> None:
        """Keep the services."""
        self._orders = orders
        self._checkout = checkout

    @operation(
        "Place an order",
        "orders",
        OrderAnswer,
        status=HTTPStatus.CREATED,
        body=OrderBody,
        idempotent=True,
        location=True,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Place an order of the calling buyer."""
        body: OrderBody = req.context.body
        items = [OrderItem(ProductId(item.product_id), item.quantity) for item in body.items]
        placed = await self._checkout.place(req.context.principal, req.context.idempotency_key, items)
        if placed.replayed:
            IDEMPOTENT_REPLAYS.labels("order").inc()
        render_accepted(
            resp,
            OrderAnswer.of(placed.order),
            HTTPStatus.CREATED,
            location=f"/v1/orders/{placed.order.id}",
            replayed=placed.replayed,
        )

    @operation("List orders", "orders", OrderPage, query=PageQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List the orders that the caller may see, newest first."""
        page = await self._orders.page(req.context.principal, req.context.query.request())
        render(resp, OrderPage.of(page, OrderAnswer.of))

    @operation("Get an order", "orders", OrderAnswer)
    async def on_get_one(self, req: Request, resp: Response, order_id: UUID) -> None:
        """Get an order."""
        render(resp, OrderAnswer.of(await self._orders.get(req.context.principal, OrderId(order_id))))
