"""What sellers offer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from domain.ids import ProductId, UserId

Scalar = str | int | float | bool
Attributes = Mapping[str, Scalar | Sequence[Scalar]]


@dataclass(frozen=True, slots=True)
class Product:
    """An offer of one seller; the price is for one piece, in minor units, and the stock what is left to sell.

    `updated_at` grows with every edit. A withdrawn product can no longer be found or ordered, and stays readable
    for its seller and for those who see all, as the orders that hold it do.
    """

    id: ProductId
    seller_id: UserId
    title: str
    description: str
    category: str
    price_minor: int
    currency: str
    stock: int
    created_at: datetime
    updated_at: datetime
    attributes: Attributes = field(default_factory=dict)
    image_urls: Sequence[str] = ()
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewProduct:
    """What a seller says of a new product."""

    title: str
    description: str
    category: str
    price_minor: int
    currency: str
    stock: int
    attributes: Attributes = field(default_factory=dict)
    image_urls: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ProductChanges:
    """What a seller changes of a product; None leaves a field as it is. Attributes are replaced as a whole."""

    title: str | None = None
    description: str | None = None
    category: str | None = None
    price_minor: int | None = None
    currency: str | None = None
    stock: int | None = None
    attributes: Attributes | None = None
    image_urls: Sequence[str] | None = None

    def beside(self, product: Product) -> dict[str, Any]:
        """Return the fields, by name, that the product does not have like this already."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: new
            for name, new in given.items()
            if new is not None and _written(new) != _written(getattr(product, name))
        }


def _written(value: object) -> str:
    """Return a value as JSON, where `true`, 1 and 1.0 are three things, unlike in Python."""
    return json.dumps(value, sort_keys=True)
