"""Builders of domain objects: a test names what matters to it and takes the rest as it comes."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from domain.cart.model import CartItem
from domain.catalog.model import Product
from domain.disputes.model import Dispute, DisputeStatus
from domain.fingerprints import fingerprint
from domain.identity.model import ApiKey, Principal, RefreshToken, Role, Scope, Session, User
from domain.identity.tokens import digest, new_api_key
from domain.ids import (
    ApiKeyId,
    DeliveryId,
    DisputeId,
    EventId,
    JournalId,
    OrderId,
    PaymentId,
    PayoutId,
    ProductId,
    RefundId,
    SessionId,
    UserId,
    WebhookEndpointId,
    uuid7,
)
from domain.ledger.model import (
    COMMISSION_REVENUE,
    STRIPE_BALANCE,
    Account,
    Entry,
    Journal,
    JournalKind,
    seller_payable,
)
from domain.ledger.postings import Part
from domain.notifications.model import EndpointStatus, LeasedDelivery, WebhookEndpoint
from domain.notifications.signatures import new_secret
from domain.orders.model import Order, OrderLine, OrderPolicy, OrderStatus
from domain.payments.model import Capture, Payment, PaymentRequest, PaymentStatus
from domain.payments.service import PaymentPolicy
from domain.payouts.model import Payout, PayoutOrigin, PayoutStatus
from domain.reconciliation.model import BookedJournal, StripeLine
from domain.refunds.model import Refund, RefundOrigin, RefundStatus
from domain.sellers.model import OnboardingStatus, SellerAccount
from domain.settlement.model import StripeEvent

NOW = datetime.now(UTC)
PAYMENT_POLICY = PaymentPolicy(commission_bps=250, max_amount_minor=99_999_999, republish_after_s=30)
ORDER_POLICY = OrderPolicy(commission_bps=250, max_amount_minor=99_999_999, ttl_s=600)

Begin = Callable[[], AbstractAsyncContextManager[Any]]


def unique(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"


def a_user(role: Role) -> User:
    return User(UserId(uuid7()), f"{unique(role)}@example.com", "hash", role, NOW)


def a_session(user: User, **changes: Any) -> Session:
    return replace(Session(SessionId(uuid7()), user.id, NOW, NOW + timedelta(days=30)), **changes)


def a_refresh_token(session: Session, **changes: Any) -> RefreshToken:
    token = RefreshToken(os.urandom(32), session.id, 1, NOW + timedelta(days=14))
    return replace(token, **changes)


def an_api_key(user_id: UserId, **changes: Any) -> ApiKey:
    prefix, credential = new_api_key()
    scopes = frozenset({Scope.ORDERS_READ})
    key = ApiKey(ApiKeyId(uuid7()), user_id, "shop backend", prefix, digest(credential), scopes, NOW)
    return replace(key, **changes)


def a_product(seller_id: UserId, **changes: Any) -> Product:
    product = Product(ProductId(uuid7()), seller_id, "Lamp", "Bright", "home", 1999, "USD", 1_000, NOW, NOW)
    return replace(product, **changes)


def a_cart_item(**changes: Any) -> CartItem:
    return replace(CartItem(ProductId(uuid7()), 1, 1999, "USD", NOW), **changes)


def a_line(seller_id: UserId | None = None, price_minor: int = 1999, **changes: Any) -> OrderLine:
    line = OrderLine(1, ProductId(uuid7()), seller_id or UserId(uuid7()), 1, price_minor, 250)
    return replace(line, **changes)


def an_order(lines: Sequence[OrderLine] = (), **changes: Any) -> Order:
    lines = tuple(replace(line, line=number) for number, line in enumerate(lines or [a_line()], 1))
    order = Order(
        id=OrderId(uuid7()),
        buyer_id=UserId(uuid7()),
        status=OrderStatus.PENDING,
        amount_minor=sum(line.amount_minor for line in lines),
        currency="USD",
        lines=lines,
        idempotency_key=unique("order"),
        request_hash=fingerprint(),
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(order, **changes)


def a_payment(order: Order | None = None, **changes: Any) -> Payment:
    """Return a pending payment of the order, or a direct one of 19.99 USD."""
    payment = Payment(
        id=PaymentId(uuid7()),
        payer_id=order.buyer_id if order else UserId(uuid7()),
        order_id=order.id if order else None,
        seller_id=None if order else UserId(uuid7()),
        amount_minor=order.amount_minor if order else 1999,
        currency=order.currency if order else "USD",
        commission_bps=None if order else 250,
        payment_method="pm_card_visa",
        capture=Capture.AUTOMATIC,
        status=PaymentStatus.PENDING,
        idempotency_key=unique("payment"),
        request_hash=fingerprint(),
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(payment, **changes)


def a_request(order: Order, **changes: Any) -> PaymentRequest:
    request = PaymentRequest(order.buyer_id, Role.BUYER, unique("key"), "pm_card_visa", order_id=order.id)
    return replace(request, **changes)


def a_direct_request(payer_id: UserId, seller_id: UserId, **changes: Any) -> PaymentRequest:
    request = PaymentRequest(
        payer_id, Role.BUYER, unique("key"), "pm_card_visa", seller_id=seller_id, amount_minor=1999, currency="USD"
    )
    return replace(request, **changes)


def a_refund(payment: Payment, **changes: Any) -> Refund:
    """Return a pending refund of all that was captured of a payment, or is to be; it falls on no line."""
    refund = Refund(
        id=RefundId(uuid7()),
        payment_id=payment.id,
        origin=RefundOrigin.EXTERNAL,
        stripe_charge_id=payment.stripe_charge_id or unique("ch"),
        amount_minor=payment.captured_minor or payment.amount_minor,
        currency=payment.currency,
        status=RefundStatus.PENDING,
        reason="external",
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(refund, **changes)


def a_dispute(payment: Payment, **changes: Any) -> Dispute:
    """Return a dispute of all that was captured of a payment, of which Stripe has taken nothing yet."""
    dispute = Dispute(
        id=DisputeId(uuid7()),
        payment_id=payment.id,
        stripe_dispute_id=unique("dp"),
        stripe_charge_id=payment.stripe_charge_id or unique("ch"),
        amount_minor=payment.captured_minor or payment.amount_minor,
        currency=payment.currency,
        reason="fraudulent",
        status=DisputeStatus.NEEDS_RESPONSE,
        evidence_due_at=NOW + timedelta(days=9),
        opened_at=NOW,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(dispute, **changes)


def a_requested_refund(payment: Payment, shop: "Shop", amount_minor: int = 1000, **changes: Any) -> Refund:
    """Return a refund that the shop's buyer asks for, on the line of the shop's seller."""
    refund = a_refund(
        payment,
        origin=RefundOrigin.REQUESTED,
        amount_minor=amount_minor,
        reason="too small",
        lines=(Part(1, shop.seller.id, amount_minor, 25),),
        requested_by=shop.buyer.id,
        idempotency_key=unique("refund"),
        request_hash=fingerprint(),
    )
    return replace(refund, **changes)


def a_seller_account(seller_id: UserId | None = None, **changes: Any) -> SellerAccount:
    """Return an account that a seller has just asked for."""
    account = SellerAccount(seller_id or UserId(uuid7()), OnboardingStatus.PENDING, created_at=NOW, updated_at=NOW)
    return replace(account, **changes)


def a_payout(seller_id: UserId | None = None, **changes: Any) -> Payout:
    """Return a pending payout of 19.49 USD to a seller's account, made by the schedule."""
    payout = Payout(
        id=PayoutId(uuid7()),
        seller_id=seller_id or UserId(uuid7()),
        stripe_account_id=unique("acct"),
        amount_minor=1949,
        currency="USD",
        status=PayoutStatus.PENDING,
        origin=PayoutOrigin.SCHEDULED,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(payout, **changes)


def a_stripe_event(kind: str = "payment_intent.succeeded", body: str = "{}", **changes: Any) -> StripeEvent:
    return replace(StripeEvent(unique("evt"), kind, body, NOW), **changes)


def a_journal(*entries: tuple[Account, int], **changes: Any) -> Journal:
    """Return a journal of those entries, or of a charge of 19.99 USD for a new seller."""
    legs = entries or (
        (STRIPE_BALANCE, 1999),
        (seller_payable(UserId(uuid7())), -1949),
        (COMMISSION_REVENUE, -50),
    )
    journal = Journal(
        id=JournalId(uuid7()),
        kind=JournalKind.CHARGE,
        source=unique("ch"),
        payment_id=None,
        currency="USD",
        entries=tuple(Entry(account, amount_minor) for account, amount_minor in legs),
        created_at=NOW,
    )
    return replace(journal, **changes)


def a_line_of_stripe(**changes: Any) -> StripeLine:
    """Return Stripe's line of a charge of 19.99 USD, two hours old, with its fee."""
    created_at = (NOW - timedelta(hours=2)).replace(microsecond=0)
    line = StripeLine(unique("txn"), "charge", unique("ch"), 1999, 88, "USD", created_at)
    return replace(line, **changes)


def a_booked_journal(kind: JournalKind, source: str, balance_minor: int, **changes: Any) -> BookedJournal:
    """Return a journal that did so much to our balance at Stripe, in USD, two hours ago."""
    journal = BookedJournal(
        JournalId(uuid7()), kind, source, "USD", balance_minor, NOW - timedelta(hours=2), PaymentId(uuid7())
    )
    return replace(journal, **changes)


def an_endpoint(owner_id: UserId | None = None, **changes: Any) -> WebhookEndpoint:
    """Return an endpoint that hears everything of its owner's; its secret is sealed by `PlainBox`."""
    endpoint = WebhookEndpoint(
        id=WebhookEndpointId(uuid7()),
        owner_id=owner_id or UserId(uuid7()),
        sees_all=False,
        url=f"https://{unique('hook').replace('_', '-')}.example.com/",
        events=("*",),
        secret=f"sealed {new_secret()}",
        status=EndpointStatus.ENABLED,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(endpoint, **changes)


def a_leased_delivery(endpoint: WebhookEndpoint, **changes: Any) -> LeasedDelivery:
    leased = LeasedDelivery(
        id=DeliveryId(uuid7()),
        endpoint_id=endpoint.id,
        attempts=1,
        tries=1,
        busy=0,
        sequence=7,
        event_id=EventId(uuid7()),
        event_type="order.paid",
        subject_id=uuid7(),
        data={"payment_id": str(uuid7())},
        occurred_at=NOW,
    )
    return replace(leased, **changes)


def principal(user: User) -> Principal:
    return Principal(user.id, user.role)


@dataclass(frozen=True)
class Shop:
    """Stored users who trade with each other: a buyer and two sellers with a product each."""

    begin: Begin
    buyer: User = field(default_factory=lambda: a_user(Role.BUYER))
    seller: User = field(default_factory=lambda: a_user(Role.SELLER))
    other_seller: User = field(default_factory=lambda: a_user(Role.SELLER))
    product: Product = field(init=False)
    other_product: Product = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "product", a_product(self.seller.id))
        object.__setattr__(self, "other_product", a_product(self.other_seller.id, price_minor=501))

    async def open(self) -> "Shop":
        async with self.begin() as tx:
            for user in (self.buyer, self.seller, self.other_seller):
                await tx.users.add(user)
            for product in (self.product, self.other_product):
                await tx.products.add(product)
            await tx.commit()
        return self

    async def order(self, *products: Product, **changes: Any) -> Order:
        """Store a pending order of one piece of each product, by default of the seller's."""
        lines = [
            a_line(product.seller_id, product.price_minor, product_id=product.id)
            for product in products or (self.product,)
        ]
        order = an_order(lines, **{"buyer_id": self.buyer.id, **changes})
        async with self.begin() as tx:
            assert await tx.orders.add(order)
            await tx.commit()
        return order

    async def payment(self, order: Order | None = None, **changes: Any) -> Payment:
        """Store a pending payment of the order, or a direct one to the seller; due at once."""
        direct = {} if order else {"payer_id": self.buyer.id, "seller_id": self.seller.id}
        payment = a_payment(order, **direct, **changes)
        async with self.begin() as tx:
            assert payment.id in await tx.payments.add([payment], publish_at=payment.created_at)
            await tx.commit()
        return payment
