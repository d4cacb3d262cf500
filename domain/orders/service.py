"""Placing orders and reading them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.catalog.model import Product
from domain.clock import Clock
from domain.errors import Conflict, IdempotencyMismatch, Invalid, NotFound
from domain.events import Event, event
from domain.fingerprints import fingerprint
from domain.identity.model import Principal, Role, require_role
from domain.ids import OrderId, ProductId, UserId, uuid7
from domain.money import check_amount
from domain.orders.model import Order, OrderLine, OrderStatus
from domain.orders.ports import OrdersTransaction
from domain.pages import Page, PageRequest
from domain.transactions import Begin


@dataclass(frozen=True, slots=True)
class OrderItem:
    """How many pieces of a product."""

    product_id: ProductId
    quantity: int


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order, and whether the same request had placed it before."""

    order: Order
    replayed: bool


class OrderService:
    """The orders."""

    def __init__(
        self,
        begin: Begin[OrdersTransaction],
        clock: Clock,
        *,
        commission_bps: int,
        max_amount_minor: int,
    ) -> None:
        """Keep the collaborators, the default commission in basis points and the highest amount."""
        self._begin = begin
        self._clock = clock
        self._commission_bps = commission_bps
        self._max_amount_minor = max_amount_minor

    async def place(self, principal: Principal, idempotency_key: str, items: Sequence[OrderItem]) -> PlacedOrder:
        """Place an order of the calling buyer under an idempotency key; a retry is safe.

        Errors: Forbidden for other roles; Invalid `product_not_found`, `currencies_mixed` or an amount out of
        range; Conflict `insufficient_stock`; IdempotencyMismatch.
        """
        require_role(principal, Role.BUYER)
        request_hash = fingerprint(items=[(item.product_id, item.quantity) for item in items])
        async with self._begin() as tx:
            earlier = await tx.orders.by_key(principal.user_id, idempotency_key)
            if earlier is None:
                order = await self._draft(tx, principal.user_id, idempotency_key, request_hash, items)
                if await tx.orders.add(order):
                    await tx.events.append([_placed(order)])
                    await tx.commit()
                    return PlacedOrder(order, replayed=False)
                # Another request with this key committed between the look and the insert.
                earlier = await tx.orders.by_key(principal.user_id, idempotency_key)
        if earlier is None or earlier.request_hash != request_hash:
            raise IdempotencyMismatch("this Idempotency-Key was used for another order")
        return PlacedOrder(earlier, replayed=True)

    async def get(self, principal: Principal, order_id: OrderId) -> Order:
        """Return an order that the caller may see. Errors: NotFound."""
        async with self._begin() as tx:
            order = await tx.orders.visible(principal, order_id)
        if order is None:
            raise NotFound("there is no such order", code="order_not_found")
        return order

    async def page(self, principal: Principal, request: PageRequest) -> Page[Order]:
        """Return a page of the orders that the caller may see, newest first."""
        async with self._begin() as tx:
            return await tx.orders.page(principal, request)

    async def _draft(
        self,
        tx: OrdersTransaction,
        buyer_id: UserId,
        idempotency_key: str,
        request_hash: bytes,
        items: Sequence[OrderItem],
    ) -> Order:
        products = await tx.products.by_ids([item.product_id for item in items])
        _check_products(items, products)
        sellers = sorted({product.seller_id for product in products.values()})
        rates = await tx.users.seller_rates(sellers)
        lines = tuple(
            self._line(number, item, products[item.product_id], rates) for number, item in enumerate(items, 1)
        )
        amount_minor = sum(line.amount_minor for line in lines)
        currency = products[items[0].product_id].currency
        check_amount(amount_minor, currency, max_minor=self._max_amount_minor)
        now = self._clock.now()
        return Order(
            id=OrderId(uuid7()),
            buyer_id=buyer_id,
            status=OrderStatus.PENDING,
            amount_minor=amount_minor,
            currency=currency,
            lines=lines,
            idempotency_key=idempotency_key,
            request_hash=request_hash,
            created_at=now,
            updated_at=now,
        )

    def _line(
        self, number: int, item: OrderItem, product: Product, rates: Mapping[UserId, int | None]
    ) -> OrderLine:
        own = rates.get(product.seller_id)
        return OrderLine(
            line=number,
            product_id=product.id,
            seller_id=product.seller_id,
            quantity=item.quantity,
            price_minor=product.price_minor,
            commission_bps=self._commission_bps if own is None else own,
        )


def _check_products(items: Sequence[OrderItem], products: Mapping[ProductId, Product]) -> None:
    for item in items:
        product = products.get(item.product_id)
        if product is None:
            raise Invalid("there is no such product", code="product_not_found", product_id=item.product_id)
        if product.stock < item.quantity:
            raise Conflict(
                "not enough of a product is left",
                code="insufficient_stock",
                product_id=product.id,
                stock=product.stock,
            )
    if len({product.currency for product in products.values()}) > 1:
        raise Invalid("an order has one currency", code="currencies_mixed")


def _placed(order: Order) -> Event:
    return event(
        "order.placed",
        order.id,
        order.created_at,
        audience=order.parties,
        buyer_id=order.buyer_id,
        amount_minor=order.amount_minor,
        currency=order.currency,
    )
