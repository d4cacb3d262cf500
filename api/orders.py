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
from api.schemas import AnswerModel, PageAnswer, PageQuery, Quantity, RequestModel
from domain.cart.model import MAX_ITEMS
from domain.ids import OrderId, ProductId
from domain.orders.checkout import Checkout
from domain.orders.draft import OrderItem
from domain.orders.model import Order, OrderLine, OrderStatus
from domain.orders.service import OrderService


class OrderItemBody(RequestModel):
    """How many pieces of a product."""

    product_id: UUID
    quantity: Quantity


class OrderBody(RequestModel):
    """What is ordered: these items, or without any the cart."""

    # Absent means the cart. A default is not validated, so an empty list that is sent is refused.
    items: list[OrderItemBody] = Field(
        default_factory=list,
        min_length=1,
        max_length=MAX_ITEMS,
        description="absent: what is in the cart",
        examples=[[{"product_id": "019abd4e-0000-7000-8000-000000000001", "quantity": 2}]],
    )

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
