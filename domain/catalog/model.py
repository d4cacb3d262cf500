"""What sellers offer."""

from dataclasses import dataclass
from datetime import datetime

from domain.ids import ProductId, UserId


@dataclass(frozen=True, slots=True)
class Product:
    """An offer of one seller; the price is for one piece, in minor units."""

    id: ProductId
    seller_id: UserId
    title: str
    description: str
    category: str
    price_minor: int
    currency: str
    stock: int
    created_at: datetime
