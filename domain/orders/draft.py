"""What an order would be: its lines, its amount, and what forbids it. Pure; no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.cart.model import CartItem
from domain.catalog.model import Product
from domain.errors import Conflict, Invalid
from domain.ids import OrderId, ProductId, UserId, uuid7
from domain.money import check_amount
from domain.orders.model import Order, OrderLine, OrderPolicy, OrderStatus, OutOfStock, PricesChanged


@dataclass(frozen=True, slots=True)
class OrderItem:
    """How many pieces of a product."""

    product_id: ProductId
    quantity: int


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What is asked for, by whom, under which key; of a cart's products also the prices that were seen."""

    buyer_id: UserId
    idempotency_key: str
    request_hash: bytes
    items: Sequence[OrderItem | CartItem]

    @property
    def seen(self) -> Sequence[CartItem]:
        """The items whose buyer was told a price."""
        return [item for item in self.items if isinstance(item, CartItem)]


def draft(
    request: OrderRequest,
    products: Mapping[ProductId, Product],
    rates: Mapping[UserId, int | None],
    now: datetime,
    policy: OrderPolicy,
) -> Order:
    """Return the pending order that is asked for; `rates` are the sellers' own commissions, None for the default.

    Errors: `product_not_found` and `currencies_mixed`, Invalid of a request and Conflict of a cart; OutOfStock;
    PricesChanged; Invalid for an amount that cannot be charged.
    """
    _check_products(request, products)
    _check_stock(request, products)
    _check_prices(request, products)
    lines = tuple(
        _line(number, item, products[item.product_id], rates, policy)
        for number, item in enumerate(request.items, 1)
    )
    amount_minor = sum(line.amount_minor for line in lines)
    currency = products[request.items[0].product_id].currency
    check_amount(amount_minor, currency, max_minor=policy.max_amount_minor)
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
        due_at=now + timedelta(seconds=policy.ttl_s),
    )


def _line(
    number: int,
    item: OrderItem | CartItem,
    product: Product,
    rates: Mapping[UserId, int | None],
    policy: OrderPolicy,
) -> OrderLine:
    own = rates.get(product.seller_id)
    return OrderLine(
        line=number,
        product_id=product.id,
        seller_id=product.seller_id,
        quantity=item.quantity,
        price_minor=product.price_minor,
        commission_bps=policy.commission_bps if own is None else own,
    )


def _check_products(request: OrderRequest, products: Mapping[ProductId, Product]) -> None:
    # The client sent the items, but not what is in its cart: that is a state.
    kind = Conflict if request.seen else Invalid
    for item in request.items:
        product = products.get(item.product_id)
        if product is None or product.withdrawn_at is not None:
            raise kind("there is no such product", code="product_not_found", product_id=str(item.product_id))
    if len({product.currency for product in products.values()}) > 1:
        raise kind("an order has one currency", code="currencies_mixed")


def _check_stock(request: OrderRequest, products: Mapping[ProductId, Product]) -> None:
    short = [
        {"product_id": str(item.product_id), "quantity": item.quantity, "stock": products[item.product_id].stock}
        for item in request.items
        if products[item.product_id].stock < item.quantity
    ]
    if short:
        raise OutOfStock("not enough of a product is left", products=short)


def _check_prices(request: OrderRequest, products: Mapping[ProductId, Product]) -> None:
    """Refuse an order of products that cost something else than the buyer was told."""
    pairs = [(item, products[item.product_id]) for item in request.seen]
    changes = [
        {
            "product_id": str(item.product_id),
            "seen": {"price_minor": item.price_minor, "currency": item.currency},
            "now": {"price_minor": product.price_minor, "currency": product.currency},
        }
        for item, product in pairs
        if (product.price_minor, product.currency) != (item.price_minor, item.currency)
    ]
    if changes:
        raise PricesChanged(
            "products cost something else than when they were put into the cart: put a product into the cart "
            "again to accept its present price, or take it out",
            changes=changes,
        )
