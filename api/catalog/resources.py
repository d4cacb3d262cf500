"""`/v1/products`."""

from http import HTTPStatus
from uuid import UUID

from falcon.asgi import Request, Response

from api.catalog.schemas import ProductAnswer, ProductBody, ProductChangesBody
from api.catalog.search import ProductPage, ProductSearch
from api.operations import operation
from api.rendering import render
from domain.catalog.search import SearchService
from domain.catalog.service import CatalogService
from domain.ids import ProductId


class Products:
    """The products."""

    def __init__(self, catalog: CatalogService, search: SearchService) -> None:
        """Keep the services."""
        self._catalog = catalog
        self._search = search

    @operation(
        "Offer a product", "catalog", ProductAnswer, status=HTTPStatus.CREATED, body=ProductBody, location=True
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Create a product of the calling seller."""
        body: ProductBody = req.context.body
        product = await self._catalog.offer(req.context.principal, body.new())
        render(resp, ProductAnswer.of(product), HTTPStatus.CREATED)
        resp.set_header("Location", f"/v1/products/{product.id}")

    @operation("Search products", "catalog", ProductPage, query=ProductSearch, public=True)
    async def on_get(self, req: Request, resp: Response) -> None:
        """Find products by words and by what they can be narrowed by."""
        asked: ProductSearch = req.context.query
        query = asked.query()
        found = await self._search.search(query, asked.place(), limit=asked.limit)
        render(resp, ProductPage.of(found, query))

    @operation("Get a product", "catalog", ProductAnswer, public=True, greets=True)
    async def on_get_one(self, req: Request, resp: Response, product_id: UUID) -> None:
        """Get a product."""
        product = await self._catalog.get(req.context.principal, ProductId(product_id))
        render(resp, ProductAnswer.of(product))

    @operation("Edit a product", "catalog", ProductAnswer, body=ProductChangesBody)
    async def on_patch_one(self, req: Request, resp: Response, product_id: UUID) -> None:
        """Change a product of the calling seller."""
        body: ProductChangesBody = req.context.body
        product = await self._catalog.edit(req.context.principal, ProductId(product_id), body.changes())
        render(resp, ProductAnswer.of(product))

    @operation("Withdraw a product", "catalog", status=HTTPStatus.NO_CONTENT)
    async def on_delete_one(self, req: Request, resp: Response, product_id: UUID) -> None:
        """Take a product of the calling seller out of the catalogue; orders that hold it go on."""
        await self._catalog.withdraw(req.context.principal, ProductId(product_id))
        resp.status = int(HTTPStatus.NO_CONTENT)
