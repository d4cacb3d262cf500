"""Placing orders."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from domain.catalog.model import Product
from domain.clock import Clock
from domain.errors import IdempotencyMismatch, Invalid
from domain.events import Event, event
from domain.fingerprints import fingerprint
from domain.identity.model import Principal, Role, require_role
from domain.ids import OrderId, ProductId, UserId, uuid7
from domain.money import check_amount
from domain.orders.model import Order, OrderLine, OrderPolicy, OrderStatus, OutOfStock, StockGone
from domain.orders.ports import OrdersTransaction
from domain.transactions import Begin

_ATTEMPTS = 3
"""How often an order is tried whose stock was there at the look and gone at the grasp."""


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


@dataclass(frozen=True, slots=True)
class _Request:
    """What is asked for, by whom, under which key."""

    buyer_id: UserId
    idempotency_key: str
    request_hash: bytes
    items: Sequence[OrderItem]


class Checkout:
    """Turns items into an order, which holds their stock until it is paid, cancelled or expires."""

    def __init__(self, begin: Begin[OrdersTransaction], clock: Clock, policy: OrderPolicy) -> None:
        """Keep the collaborators."""
        self._begin = begin
        self._clock = clock
        self._policy = policy

    async def place(self, principal: Principal, idempotency_key: str, items: Sequence[OrderItem]) -> PlacedOrder:
        """Place an order of the calling buyer under an idempotency key; a retry is safe.

        Errors: Forbidden for other roles; Invalid `product_not_found`, `currencies_mixed` or an amount out of
        range; OutOfStock; IdempotencyMismatch. Locks the products, sorted by id, at the very end.
        """
        require_role(principal, Role.BUYER)
        request_hash = fingerprint(items=[(item.product_id, item.quantity) for item in items])
        return await self._place(_Request(principal.user_id, idempotency_key, request_hash, items))

    async def _place(self, request: _Request) -> PlacedOrder:
        for _ in range(_ATTEMPTS - 1):
            # Somebody was faster. The next look tells what is left; it may also have come back.
            with suppress(StockGone):
                return await self._try_to_place(request)
        return await self._try_to_place(request)

    async def _try_to_place(self, request: _Request) -> PlacedOrder:
        async with self._begin() as tx:
            earlier = await tx.orders.by_key(request.buyer_id, request.idempotency_key)
            if earlier is None:
                order = await self._draft(tx, request)
                # The order goes in last: the fewer statements between its lock of a hot product and the commit,
                # the more orders of it a second.
                await tx.events.append([_placed(order)])
                if await tx.orders.add(order):
                    await tx.commit()
                    return PlacedOrder(order, replayed=False)
                # Another request with this key committed between the look and the insert.
                earlier = await tx.orders.by_key(request.buyer_id, request.idempotency_key)
        if earlier is None or earlier.request_hash != request.request_hash:
            raise IdempotencyMismatch("this Idempotency-Key was used for another order")
        return PlacedOrder(earlier, replayed=True)

    async def _draft(self, tx: OrdersTransaction, request: _Request) -> Order:
        items = request.items
        products = await tx.products.by_ids([item.product_id for item in items])
        _check_products(items, products)
        rates = await tx.users.seller_rates(sorted({product.seller_id for product in products.values()}))
        lines = tuple(
            self._line(number, item, products[item.product_id], rates) for number, item in enumerate(items, 1)
        )
        amount_minor = sum(line.amount_minor for line in lines)
        currency = products[items[0].product_id].currency
        check_amount(amount_minor, currency, max_minor=self._policy.max_amount_minor)
        now = self._clock.now()
        return Order(
            id=OrderId(uuid7()),
            buyer_id=request.buyer_id,
            status=OrderStatus.PENDING,
            amount_minor=amount_minor,
            currency=currency,
            lines=lines,
            idempotency_key=request.idempotency_key,
            request_hash=request.request_hash,
            created_at=now,
            updated_at=now,
            due_at=now + timedelta(seconds=self._policy.ttl_s),
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
            commission_bps=self._policy.commission_bps if own is None else own,
        )


def _check_products(items: Sequence[OrderItem], products: Mapping[ProductId, Product]) -> None:
    for item in items:
        product = products.get(item.product_id)
        if product is None or product.withdrawn_at is not None:
            raise Invalid("there is no such product", code="product_not_found", product_id=item.product_id)
    if len({product.currency for product in products.values()}) > 1:
        raise Invalid("an order has one currency", code="currencies_mixed")
    short = [
        {"product_id": str(item.product_id), "quantity": item.quantity, "stock": products[item.product_id].stock}
        for item in items
        if products[item.product_id].stock < item.quantity
    ]
    if short:
        raise OutOfStock("not enough of a product is left", products=short)


def _placed(order: Order) -> Event:
    return event(
        "order.placed",
        order.id,
        order.created_at,
        audience=order.parties,
        by=order.buyer_id,
        reason="ordered by the buyer",
        buyer_id=order.buyer_id,
        amount_minor=order.amount_minor,
        currency=order.currency,
    )
