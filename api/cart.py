"""`/v1/cart`."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from falcon.asgi import Request, Response
from pydantic import ConfigDict, Field

from api.operations import operation
from api.rendering import render
from api.schemas import AnswerModel, Quantity, RequestModel
from domain.cart.model import CartItem
from domain.cart.service import CartService
from domain.ids import ProductId


class CartItemBody(RequestModel):
    """How many pieces."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"quantity": 2}]})

    quantity: Quantity


class CartItemAnswer(AnswerModel):
    """A product in a cart."""

    product_id: UUID
    quantity: int
    price_minor: Annotated[int, Field(description="the price of one piece when it was put in", examples=[1999])]
    currency: str
    put_at: datetime


class CartAnswer(AnswerModel):
    """A cart, in the order in which it was filled."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "product_id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11",
                            "quantity": 2,
                            "price_minor": 19900,
                            "currency": "USD",
                            "put_at": "2026-11-25T09:00:00Z",
                        }
                    ]
                }
            ]
        }
    )

    items: Sequence[CartItemAnswer]

    @classmethod
    def of(cls, items: Sequence[CartItem]) -> "CartAnswer":
        """Render a cart."""
        return cls(items=[CartItemAnswer.model_validate(item, from_attributes=True) for item in items])


class Cart:
    """The caller's cart."""

    def __init__(self, cart: CartService) -> None:
        """Keep the service."""
        self._cart = cart

    @operation("Get the cart", "cart", CartAnswer)
    async def on_get(self, req: Request, resp: Response) -> None:
        """Get the cart of the calling buyer."""
        render(resp, CartAnswer.of(await self._cart.get(req.context.principal)))

    @operation("Empty the cart", "cart", status=HTTPStatus.NO_CONTENT)
    async def on_delete(self, req: Request, resp: Response) -> None:
        """Take everything out."""
        await self._cart.clear(req.context.principal)
        resp.status = int(HTTPStatus.NO_CONTENT)

    @operation("Put a product into the cart, at its present price", "cart", CartAnswer, body=CartItemBody)
    async def on_put_item(self, req: Request, resp: Response, product_id: UUID) -> None:
        """Put a product in, or change its quantity and accept its price."""
        quantity = req.context.body.quantity
        render(resp, CartAnswer.of(await self._cart.put(req.context.principal, ProductId(product_id), quantity)))

    @operation("Take a product out of the cart", "cart", status=HTTPStatus.NO_CONTENT)
    async def on_delete_item(self, req: Request, resp: Response, product_id: UUID) -> None:
        """Take a product out, if it is there."""
        await self._cart.remove(req.context.principal, ProductId(product_id))
        resp.status = int(HTTPStatus.NO_CONTENT)
