"""Offering products and finding them."""

from dataclasses import dataclass

from domain.catalog.model import Product
from domain.catalog.ports import CatalogTransaction
from domain.clock import Clock
from domain.errors import NotFound
from domain.identity.model import Principal, Role, require_role
from domain.ids import ProductId, uuid7
from domain.money import check_amount
from domain.pages import Page, PageRequest
from domain.transactions import Begin


@dataclass(frozen=True, slots=True)
class NewProduct:
    """What a seller says of a new product."""

    title: str
    description: str
    category: str
    price_minor: int
    currency: str
    stock: int


class CatalogService:
    """The catalogue."""

    def __init__(self, begin: Begin[CatalogTransaction], clock: Clock, *, max_amount_minor: int) -> None:
        """Keep the collaborators and the highest price in minor units."""
        self._begin = begin
        self._clock = clock
        self._max_amount_minor = max_amount_minor

    async def offer(self, principal: Principal, new: NewProduct) -> Product:
        """Create a product of the calling seller.

        Errors: Forbidden for other roles; Invalid for a price that cannot be charged.
        """
        require_role(principal, Role.SELLER)
        check_amount(new.price_minor, new.currency, max_minor=self._max_amount_minor)
        product = Product(
            id=ProductId(uuid7()),
            seller_id=principal.user_id,
            title=new.title,
            description=new.description,
            category=new.category,
            price_minor=new.price_minor,
            currency=new.currency,
            stock=new.stock,
            created_at=self._clock.now(),
        )
        async with self._begin() as tx:
            await tx.products.add(product)
            await tx.commit()
        return product

    async def get(self, product_id: ProductId) -> Product:
        """Return a product. Errors: NotFound."""
        async with self._begin() as tx:
            found = await tx.products.by_ids([product_id])
        if product_id not in found:
            raise NotFound("there is no such product", code="product_not_found")
        return found[product_id]

    async def page(self, request: PageRequest) -> Page[Product]:
        """Return a page of products, newest first."""
        async with self._begin() as tx:
            return await tx.products.page(request)
