"""Carts: what a buyer means to order. They may be lost; an order never depends on one."""

from dataclasses import dataclass
from datetime import datetime

from domain.ids import ProductId

MAX_ITEMS = 100
"""A cart becomes one order, and has no more items than an order has lines."""


@dataclass(frozen=True, slots=True)
class CartItem:
    """How many pieces of a product, and the price of one that the buyer saw when it was put in."""

    product_id: ProductId
    quantity: int
    price_minor: int
    currency: str
    put_at: datetime
