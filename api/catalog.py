"""`/v1/products`."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from falcon.asgi import Request, Response
from pydantic import Field

from api.operations import operation
from api.rendering import render
from api.schemas import AmountMinor, AnswerModel, Currency, PageAnswer, PageQuery, RequestModel, Text
from domain.catalog.model import Product
from domain.catalog.service import CatalogService, NewProduct
from domain.ids import ProductId


class ProductBody(RequestModel):
    """What a seller says of a product."""

    title: Annotated[Text, Field(min_length=1, max_length=200, examples=["Walnut desk"])]
    description: Annotated[Text, Field(max_length=10_000)] = ""
    category: Annotated[Text, Field(max_length=100)] = ""
    price_minor: AmountMinor
    currency: Currency
    stock: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class ProductAnswer(AnswerModel):
    """A product."""

    id: UUID
    seller_id: UUID
    title: str
    description: str
    category: str
    price_minor: int
    currency: str
    stock: int
    created_at: datetime

    @classmethod
    def of(cls, product: Product) -> "ProductAnswer":
        """Render a product."""
        return cls.model_validate(product, from_attributes=True)


class ProductPage(PageAnswer[ProductAnswer]):
    """A page of products."""


class Products:
    """The products."""

    def __init__(self, catalog: CatalogService) -> None:
        """Keep the service."""
        self._catalog = catalog

    @operation(
        "Offer a product", "catalog", ProductAnswer, status=HTTPStatus.CREATED, body=ProductBody, location=True
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Create a product of the calling seller."""
        body: ProductBody = req.context.body
        product = await self._catalog.offer(req.context.principal, NewProduct(**body.model_dump()))
        render(resp, ProductAnswer.of(product), HTTPStatus.CREATED)
        resp.set_header("Location", f"/v1/products/{product.id}")

    @operation("List products", "catalog", ProductPage, query=PageQuery, public=True)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List products, newest first."""
        page = await self._catalog.page(req.context.query.request())
        render(resp, ProductPage.of(page, ProductAnswer.of))

    @operation("Get a product", "catalog", ProductAnswer, public=True)
    async def on_get_one(self, req: Request, resp: Response, product_id: UUID) -> None:
        """Get a product."""
        render(resp, ProductAnswer.of(await self._catalog.get(ProductId(product_id))))
