"""What orders look like from outside."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, field_validator

from api.schemas import AnswerModel, PageAnswer, PageQuery, Quantity, RequestModel, Text
from domain.cart.model import MAX_ITEMS
from domain.fulfilment.service import OrderView
from domain.orders.model import Order, OrderStatus, Shipment


class OrderItemBody(RequestModel):
    """How many pieces of a product."""

    product_id: UUID
    quantity: Quantity


class OrderBody(RequestModel):
    """What is ordered: these items, or without any the cart."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {},
                {"items": [{"product_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11", "quantity": 2}]},
            ]
        }
    )

    # Absent means the cart. A default is not validated, so an empty list that is sent is refused.
    items: list[OrderItemBody] = Field(
        default_factory=list,
        min_length=1,
        max_length=MAX_ITEMS,
        description="absent: what is in the cart",
        examples=[[{"product_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11", "quantity": 2}]],
    )

    @field_validator("items")
    @classmethod
    def _each_product_once(cls, items: list[OrderItemBody]) -> list[OrderItemBody]:
        if len({item.product_id for item in items}) != len(items):
            raise ValueError("a product stands in one line")
        return items


class ShipmentBody(RequestModel):
    """By whom the calling seller has sent its lines, and how to follow them, where there is that to say."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"carrier": "DHL", "tracking_number": "JJD0003320012345678"}, {}]}
    )

    carrier: Annotated[Text, Field(min_length=1, max_length=100, examples=["DHL"])] | None = None
    tracking_number: (
        Annotated[Text, Field(min_length=1, max_length=100, examples=["JJD0003320012345678"])] | None
    ) = None


class OrderQuery(PageQuery):
    """Which page of the orders, and of which state."""

    status: OrderStatus | None = Field(
        default=None,
        description="orders of this state alone; more follow while `next_cursor` is not null, also after a page "
        "that is not full, as without a state",
    )


class OrderLineAnswer(AnswerModel):
    """A product in an order."""

    product_id: UUID
    seller_id: UUID
    quantity: int
    price_minor: int


class ShipmentAnswer(AnswerModel):
    """What one seller sent: all its lines."""

    seller_id: UUID
    carrier: str | None
    tracking_number: str | None
    created_at: datetime


class OrderAnswer(AnswerModel):
    """An order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "01935b8e-9c00-7000-8000-5b6c7d8e9f01",
                    "buyer_id": "01935b8e-7b00-7000-8000-1a2b3c4d5e6f",
                    "status": "shipped",
                    "items": [
                        {
                            "product_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11",
                            "seller_id": "01935b8e-7bff-7000-8000-0c9d1e2f3a4b",
                            "quantity": 2,
                            "price_minor": 19900,
                        }
                    ],
                    "amount_minor": 39800,
                    "currency": "USD",
                    "shipments": [
                        {
                            "seller_id": "01935b8e-7bff-7000-8000-0c9d1e2f3a4b",
                            "carrier": "DHL",
                            "tracking_number": "JJD0003320012345678",
                            "created_at": "2026-11-26T08:00:00Z",
                        }
                    ],
                    "created_at": "2026-11-25T09:00:00Z",
                    "updated_at": "2026-11-26T08:00:00Z",
                    "expires_at": None,
                }
            ]
        }
    )

    id: UUID
    buyer_id: UUID
    status: OrderStatus
    items: Sequence[OrderLineAnswer]
    amount_minor: int
    currency: str
    shipments: Sequence[ShipmentAnswer]
    created_at: datetime
    updated_at: datetime
    expires_at: Annotated[
        datetime | None, Field(description="until when a pending order holds its stock, unless it is being paid")
    ]

    @classmethod
    def of(cls, order: Order, shipments: Sequence[Shipment] = ()) -> "OrderAnswer":
        """Render an order."""
        return cls(
            id=order.id,
            buyer_id=order.buyer_id,
            status=order.status,
            items=[OrderLineAnswer.model_validate(line, from_attributes=True) for line in order.lines],
            amount_minor=order.amount_minor,
            currency=order.currency,
            shipments=[ShipmentAnswer.model_validate(shipment, from_attributes=True) for shipment in shipments],
            created_at=order.created_at,
            updated_at=order.updated_at,
            expires_at=order.due_at if order.status is OrderStatus.PENDING else None,
        )

    @classmethod
    def of_view(cls, view: OrderView) -> "OrderAnswer":
        """Render an order with its shipments."""
        return cls.of(view.order, view.shipments)


class OrderPage(PageAnswer[OrderAnswer]):
    """A page of orders."""
