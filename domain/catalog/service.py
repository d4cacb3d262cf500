"""Offering products, changing and withdrawing them, and reading one."""

from dataclasses import replace
from datetime import datetime, timedelta

from domain.catalog.model import NewProduct, Product, ProductChanges
from domain.catalog.ports import CatalogTransaction, ProductCache
from domain.clock import Clock
from domain.errors import Conflict, NotFound
from domain.events import Event, event
from domain.identity.model import Principal, Role, require_role
from domain.ids import ProductId, uuid7
from domain.money import check_amount
from domain.transactions import Begin

_TICK = timedelta(microseconds=1)


class CatalogService:
    """The catalogue."""

    def __init__(
        self, begin: Begin[CatalogTransaction], cache: ProductCache, clock: Clock, *, max_amount_minor: int
    ) -> None:
        """Keep the collaborators and the highest price in minor units."""
        self._begin = begin
        self._cache = cache
        self._clock = clock
        self._max_amount_minor = max_amount_minor

    async def offer(self, principal: Principal, new: NewProduct) -> Product:
        """Create a product of the calling seller.

        Errors: Forbidden for other roles; Invalid for a price that cannot be charged.
        """
        require_role(principal, Role.SELLER)
        check_amount(new.price_minor, new.currency, max_minor=self._max_amount_minor)
        now = self._clock.now()
        product = Product(
            id=ProductId(uuid7()),
            seller_id=principal.user_id,
            title=new.title,
            description=new.description,
            category=new.category,
            price_minor=new.price_minor,
            currency=new.currency,
            stock=new.stock,
            created_at=now,
            updated_at=now,
            attributes=new.attributes,
            image_urls=new.image_urls,
        )
        async with self._begin() as tx:
            await tx.products.add(product)
            await tx.events.append([_event("product.offered", product, now)])
            await tx.commit()
        return product

    async def edit(self, principal: Principal, product_id: ProductId, changes: ProductChanges) -> Product:
        """Change a product of the calling seller; a repeat changes nothing. Locks the product.

        Errors: Forbidden for other roles; NotFound; Conflict `product_withdrawn`; Invalid for a price that
        cannot be charged.
        """
        require_role(principal, Role.SELLER)
        async with self._begin() as tx:
            product = await _own(tx, principal, product_id)
            if product.withdrawn_at is not None:
                raise Conflict("the product is withdrawn", code="product_withdrawn")
            new = changes.beside(product)
            if not new:
                return product
            edited = replace(product, **new, updated_at=self._after(product))
            check_amount(edited.price_minor, edited.currency, max_minor=self._max_amount_minor)
            await tx.products.save(edited)
            await tx.events.append([_event("product.edited", edited, edited.updated_at, fields=sorted(new))])
            await tx.commit()
        await self._cache.put(edited)
        return edited

    async def withdraw(self, principal: Principal, product_id: ProductId) -> None:
        """Take a product of the calling seller out of the catalogue for good; a repeat changes nothing.

        Errors: Forbidden for other roles; NotFound. Locks the product.
        """
        require_role(principal, Role.SELLER)
        async with self._begin() as tx:
            product = await _own(tx, principal, product_id)
            if product.withdrawn_at is not None:
                return
            at = self._after(product)
            withdrawn = replace(product, updated_at=at, withdrawn_at=at)
            await tx.products.save(withdrawn)
            await tx.events.append([_event("product.withdrawn", withdrawn, at)])
            await tx.commit()
        await self._cache.put(withdrawn)

    async def get(self, principal: Principal | None, product_id: ProductId) -> Product:
        """Return a product, a withdrawn one to its seller and to those who see all. Errors: NotFound.

        Buyers and passers-by may read what was so a moment ago, above all of the stock; sellers read what is.
        """

        async def load() -> Product | None:
            async with self._begin() as tx:
                return (await tx.products.by_ids([product_id])).get(product_id)

        is_buying = principal is None or principal.role is Role.BUYER
        product = await (self._cache.get(product_id, load) if is_buying else load())
        if product is None or not _shows(product, principal):
            raise _not_found()
        return product

    def _after(self, product: Product) -> datetime:
        """Return the time of a change: it grows even where two hosts' clocks differ."""
        return max(self._clock.now(), product.updated_at + _TICK)


async def _own(tx: CatalogTransaction, principal: Principal, product_id: ProductId) -> Product:
    product = await tx.products.lock(product_id)
    if product is None or product.seller_id != principal.user_id:
        raise _not_found()
    return product


def _shows(product: Product, principal: Principal | None) -> bool:
    if product.withdrawn_at is None:
        return True
    return principal is not None and (principal.sees_all or principal.user_id == product.seller_id)


def _not_found() -> NotFound:
    return NotFound("there is no such product", code="product_not_found")


def _event(kind: str, product: Product, at: datetime, **data: object) -> Event:
    return event(kind, product.id, at, audience=[product.seller_id], by=product.seller_id, **data)
