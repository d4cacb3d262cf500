"""Hand-written stand-ins for what the domain needs from outside. `tests/db/test_contracts.py` holds the
in-memory repositories to the same contract as the real ones."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from domain.cart.model import CartItem
from domain.catalog.model import Product
from domain.catalog.ports import LoadProduct
from domain.catalog.query import (
    PRICE_STEPS_MINOR,
    Count,
    Facets,
    Highlight,
    Hit,
    Place,
    PriceCount,
    ProductQuery,
    Slab,
    Sort,
)
from domain.disputes.model import DISPUTE_TRANSITIONS, GONE, OPEN, Dispute, DisputeFunds, DisputeStatus
from domain.errors import Refused, Unavailable
from domain.events import Event
from domain.identity.model import ApiKey, EndReason, Principal, RefreshToken, Role, Session, User
from domain.ids import (
    ApiKeyId,
    DeliveryId,
    DisputeId,
    JournalId,
    OrderId,
    PaymentId,
    PayoutId,
    ProductId,
    RefundId,
    ReversalId,
    SessionId,
    UserId,
    WebhookEndpointId,
)
from domain.ledger.model import (
    Account,
    Balance,
    Entry,
    Journal,
    JournalKind,
    seller_disputed,
    seller_of,
    seller_payable,
)
from domain.money import movable, step_minor
from domain.notifications.model import EndpointStatus, WebhookEndpoint
from domain.orders.model import Order, OrderStatus, Shipment, StockGone
from domain.pages import Page, PageRequest
from domain.payments.model import DEAD, PAYMENT_TRANSITIONS, Payment, PaymentStatus
from domain.payments.ports import Work
from domain.payouts.model import (
    PAYOUT_TRANSITIONS,
    REVERSAL_TRANSITIONS,
    UNDER_WAY,
    Destination,
    PaidDebit,
    Payout,
    PayoutStatus,
    Release,
    Reversal,
    ReversalStatus,
    RunLease,
    SellerBalance,
)
from domain.refunds.model import REFUND_TRANSITIONS, Refund, RefundStatus
from domain.sellers.model import ONBOARDING_TRANSITIONS, SellerAccount
from domain.settlement.model import (
    Answer,
    Arrival,
    Backlog,
    Change,
    ChargeReport,
    EventWindow,
    Returned,
    StripeEvent,
    StripeEventStatus,
    StuckPayment,
    StuckReason,
    WorkState,
)
from tests.builders import NOW
from tests.domain.fake_notifications import (
    DeliveryRow,
    FakeDeliveries,
    FakeWebhookEndpoints,
    append_events,
    is_due,
)


class FakeClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class FakeMonotonic:
    """A clock like `time.monotonic` that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class RecordingAnnouncer:
    """Keeps what was announced."""

    def __init__(self) -> None:
        self.announced: defaultdict[Work, list[UUID | str]] = defaultdict(list)

    def announce(self, work: Work, ids: Sequence[UUID | str]) -> None:
        self.announced[work].extend(ids)


class FakeQueue:
    """A broker that keeps its messages, or is away."""

    def __init__(self) -> None:
        self.messages: defaultdict[Work, list[list[UUID | str]]] = defaultdict(list)
        self.away = False

    async def publish(self, work: Work, ids: Sequence[UUID | str]) -> None:
        if self.away:
            raise Unavailable("the broker is out of reach", code="broker_unavailable")
        self.messages[work].append(list(ids))

    async def depth(self, work: Work) -> int:
        return len(self.messages[work])


class ScriptedGateway:
    """A Stripe that gives the answers it was told to, in order, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, UUID]] = []
        self.keys: list[str] = []
        self.intents: list[str] = []
        self._script: defaultdict[str, deque[Any]] = defaultdict(deque)

    def will(self, question: str, *answers: object) -> None:
        self._script[question].extend(answers)

    @property
    def questions(self) -> list[str]:
        return [question for question, _ in self.asked]

    async def charge(self, payment: Payment) -> Answer:
        return self._answer("charge", payment.id)

    async def retrieve(self, payment: Payment) -> Answer:
        assert payment.stripe_intent_id is not None
        return self._answer("retrieve", payment.id)

    async def capture(self, payment: Payment) -> Answer:
        assert payment.stripe_intent_id is not None
        return self._answer("capture", payment.id)

    async def cancel(self, payment_id: PaymentId, intent_id: str) -> Answer:
        return self._answer("cancel", payment_id)

    async def find(self, payments: Sequence[Payment]) -> Mapping[PaymentId, Answer]:
        return {payment.id: self._answer("find", payment.id) for payment in payments}

    async def identify(self, intent_id: str) -> Any:
        self.intents.append(intent_id)
        return self._script["identify"].popleft()

    async def refund(self, refund: Refund) -> Any:
        self.keys.append(refund.stripe_key)
        return self._answer("refund", refund.id)

    async def retrieve_refund(self, refund: Refund) -> Any:
        assert refund.stripe_refund_id is not None
        return self._answer("retrieve_refund", refund.id)

    async def find_refund(self, refund: Refund) -> Any:
        return self._answer("find_refund", refund.id)

    async def open_account(self, account: SellerAccount) -> Any:
        self.keys.append(account.stripe_key)
        return self._answer("open_account", account.seller_id)

    async def retrieve_account(self, account: SellerAccount) -> Any:
        assert account.stripe_account_id is not None
        return self._answer("retrieve_account", account.seller_id)

    async def find_account(self, account: SellerAccount) -> Any:
        return self._answer("find_account", account.seller_id)

    async def make_link(self, stripe_account_id: str) -> Any:
        return self._script["make_link"].popleft()

    async def refunds_of(self, charge_id: str) -> Any:
        return self._script["refunds_of"].popleft()

    async def transfer(self, payout: Payout) -> Any:
        self.keys.append(payout.stripe_key)
        return self._answer("transfer", payout.id)

    async def find_transfer(self, payout: Payout) -> Any:
        return self._answer("find_transfer", payout.id)

    async def reverse(self, reversal: Reversal, transfer_id: str) -> Any:
        self.keys.append(reversal.stripe_key)
        return self._answer("reverse", reversal.id)

    async def reversals_of(self, transfer_id: str) -> Any:
        return self._script["reversals_of"].popleft()

    async def bank_payout(self, account_id: str, stripe_payout_id: str) -> Any:
        return self._script["bank_payout"].popleft()

    async def own_payout(self, stripe_payout_id: str) -> Any:
        return self._script["own_payout"].popleft()

    def _answer(self, question: str, subject_id: UUID) -> Any:
        self.asked.append((question, subject_id))
        return self._script[question].popleft()


@dataclass
class Due:
    """When a row wants to be looked at, may be announced, and until when somebody holds it."""

    due_at: datetime | None
    publish_at: datetime | None
    locked_until: datetime | None = None

    def copy(self) -> "Due":
        # PERF: every transaction copies all rows, and `replace` takes three times as long.
        return Due(self.due_at, self.publish_at, self.locked_until)

    def is_free(self, now: datetime) -> bool:
        return (
            self.due_at is not None
            and self.due_at <= now
            and (self.locked_until is None or self.locked_until <= now)
        )


@dataclass(frozen=True)
class PayoutRunRow:
    """A scheduled run."""

    locked_until: datetime
    after: UserId | None = None
    is_finished: bool = False


@dataclass
class State:
    """All rows."""

    users: dict[UserId, User] = field(default_factory=dict)
    rates: dict[UserId, int | None] = field(default_factory=dict)
    sessions: dict[SessionId, Session] = field(default_factory=dict)
    end_reasons: dict[SessionId, EndReason] = field(default_factory=dict)
    refresh_tokens: dict[bytes, RefreshToken] = field(default_factory=dict)
    api_keys: dict[ApiKeyId, ApiKey] = field(default_factory=dict)
    revoked: set[UUID] = field(default_factory=set)
    products: dict[ProductId, Product] = field(default_factory=dict)
    orders: dict[OrderId, Order] = field(default_factory=dict)
    shipments: list[Shipment] = field(default_factory=list)
    payments: dict[PaymentId, Payment] = field(default_factory=dict)
    refunds: dict[RefundId, Refund] = field(default_factory=dict)
    seller_accounts: dict[UserId, SellerAccount] = field(default_factory=dict)
    disputes: dict[DisputeId, Dispute] = field(default_factory=dict)
    destinations: dict[UserId, Destination] = field(default_factory=dict)
    payouts: dict[PayoutId, Payout] = field(default_factory=dict)
    payout_entries: dict[tuple[JournalId, int], PayoutId | None] = field(default_factory=dict)
    payout_runs: dict[datetime, PayoutRunRow] = field(default_factory=dict)
    reversals: dict[ReversalId, Reversal] = field(default_factory=dict)
    quarantined_payouts: dict[PayoutId | ReversalId, str] = field(default_factory=dict)
    stripe_events: dict[str, StripeEvent] = field(default_factory=dict)
    stripe_statuses: dict[str, StripeEventStatus] = field(default_factory=dict)
    stripe_handled: dict[str, datetime] = field(default_factory=dict)
    quarantined: dict[PaymentId, str] = field(default_factory=dict)
    quarantined_at: dict[PaymentId, datetime] = field(default_factory=dict)
    quarantined_refunds: dict[RefundId, str] = field(default_factory=dict)
    due: dict[Work, dict[Any, Due]] = field(default_factory=lambda: {work: {} for work in Work})
    refused_orders: set[OrderId] = field(default_factory=set)
    """Orders that may take no step, as if a trigger held them."""
    journals: list[Journal] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    webhook_endpoints: dict[WebhookEndpointId, WebhookEndpoint] = field(default_factory=dict)
    deliveries: dict[DeliveryId, DeliveryRow] = field(default_factory=dict)

    def copy(self) -> "State":
        due = {work: {key: row.copy() for key, row in rows.items()} for work, rows in self.due.items()}
        others = {name: getattr(self, name).copy() for name in self.__dataclass_fields__ if name != "due"}
        return State(**others, due=due)


class Memory:
    """A database in memory: transactions one after the other, each rolled back unless it is committed."""

    def __init__(self) -> None:
        self.state = State()
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator["MemoryUnitOfWork"]:
        async with self._lock:
            yield MemoryUnitOfWork(self)


class MemoryUnitOfWork:
    """The repositories over a copy of all rows, which takes their place at commit."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._state = state = memory.state.copy()
        self.users = FakeUsers(state)
        self.sessions = FakeSessions(state)
        self.api_keys = FakeApiKeys(state)
        self.revocations = FakeRevocations(state)
        self.seller_accounts = FakeSellerAccounts(state)
        self.products = FakeProducts(state)
        self.product_search = FakeProductSearch(state)
        self.orders = FakeOrders(state)
        self.shipments = FakeShipments(state)
        self.payments = FakePayments(state)
        self.payment_work = FakePaymentWork(state)
        self.disputes = FakeDisputes(state)
        self.refunds = FakeRefunds(state)
        self.refund_work = FakeRefundWork(state)
        self.destinations = FakeDestinations(state)
        self.payouts = FakePayouts(state)
        self.payout_runs = FakePayoutRuns(state)
        self.payout_work = FakePayoutWork(state)
        self.reversal_work = FakeReversalWork(state)
        self.stripe_events = FakeStripeEvents(state)
        self.due_work = FakeDueWork(state)
        self.ledger = FakeLedger(state)
        self.events = FakeEvents(state)
        self.webhook_endpoints = FakeWebhookEndpoints(state)
        self.deliveries = FakeDeliveries(state)

    async def commit(self) -> None:
        self._memory.state = self._state


class FakeProductCache:
    """A cache that is always empty."""

    async def get(self, product_id: ProductId, load: LoadProduct) -> Product | None:
        return await load()

    async def put(self, product: Product) -> None:
        pass


class FakeCarts:
    """Carts in memory, which can be away."""

    def __init__(self) -> None:
        self.carts: defaultdict[UserId, dict[ProductId, CartItem]] = defaultdict(dict)
        self.away = False

    async def get(self, user_id: UserId) -> Sequence[CartItem]:
        return sorted(self._of(user_id).values(), key=lambda item: (item.put_at, item.product_id))

    async def put(self, user_id: UserId, item: CartItem, *, max_items: int) -> bool:
        cart = self._of(user_id)
        if item.product_id not in cart and len(cart) >= max_items:
            return False
        cart[item.product_id] = item
        return True

    async def remove(self, user_id: UserId, product_id: ProductId) -> None:
        self._of(user_id).pop(product_id, None)

    async def discard(self, user_id: UserId, items: Sequence[CartItem]) -> None:
        for item in items:
            if self._of(user_id).get(item.product_id) == item:
                del self.carts[user_id][item.product_id]

    async def clear(self, user_id: UserId) -> None:
        self._of(user_id).clear()

    def _of(self, user_id: UserId) -> dict[ProductId, CartItem]:
        if self.away:
            raise Unavailable("the carts are out of reach", code="cart_unavailable")
        return self.carts[user_id]


class _Repository:
    def __init__(self, state: State) -> None:
        self._state = state


class FakeUsers(_Repository):
    async def add(self, user: User) -> bool:
        if await self.by_email(user.email):
            return False
        self._state.users[user.id] = user
        if user.role is Role.SELLER:
            self._state.rates[user.id] = None
        return True

    async def by_email(self, email: str) -> User | None:
        return next((user for user in self._state.users.values() if user.email == email), None)

    async def by_id(self, user_id: UserId) -> User | None:
        return self._state.users.get(user_id)

    async def lock(self, user_id: UserId) -> User | None:
        return self._state.users.get(user_id)

    async def set_password(self, user_id: UserId, password_hash: str) -> None:
        self._state.users[user_id] = replace(self._state.users[user_id], password_hash=password_hash)

    async def set_suspended(self, user_id: UserId, suspended_at: datetime | None) -> None:
        self._state.users[user_id] = replace(self._state.users[user_id], suspended_at=suspended_at)

    async def page(self, request: PageRequest, *, email: str | None) -> Page[User]:
        return _page([user for user in self._state.users.values() if email in {None, user.email}], request)

    async def seller_rates(self, ids: Collection[UserId]) -> Mapping[UserId, int | None]:
        return {seller_id: self._state.rates[seller_id] for seller_id in ids if seller_id in self._state.rates}

    async def set_seller_rate(self, seller_id: UserId, commission_bps: int | None) -> bool:
        if seller_id not in self._state.rates:
            return False
        self._state.rates[seller_id] = commission_bps
        return True


class FakeSellerAccounts(_Repository):
    async def add(self, account: SellerAccount, *, publish_at: datetime) -> bool:
        if account.seller_id not in self._state.rates:
            raise Refused("seller_accounts_seller_id_fkey")
        if account.seller_id in self._state.seller_accounts:
            return False
        self._state.seller_accounts[account.seller_id] = account
        self._state.due[Work.ONBOARDINGS][account.seller_id] = Due(account.created_at, publish_at)
        return True

    async def by_sellers(self, ids: Collection[UserId]) -> Mapping[UserId, SellerAccount]:
        return _present(self._state.seller_accounts, ids)

    async def lock(self, seller_id: UserId) -> SellerAccount | None:
        return self._state.seller_accounts.get(seller_id)

    async def lease(self, ids: Sequence[UserId], now: datetime, locked_until: datetime) -> Sequence[SellerAccount]:
        accounts = self._state.seller_accounts
        leased = _lease(self._state.due[Work.ONBOARDINGS], ids, now, locked_until)
        for seller_id in leased:
            _count_attempt(accounts, seller_id)
            account = accounts[seller_id]
            if account.stripe_account_id is None:
                accounts[seller_id] = replace(account, first_sent_at=account.first_sent_at or now)
        return [accounts[seller_id] for seller_id in leased]

    async def save(self, account: SellerAccount, *, due_at: datetime | None) -> None:
        self._change(account)
        self._state.due[Work.ONBOARDINGS][account.seller_id] = Due(due_at, due_at)

    async def ask(self, account: SellerAccount, *, due_at: datetime, publish_at: datetime) -> None:
        self._change(account)
        self._wake(account.seller_id, due_at, publish_at)

    async def wake(
        self, stripe_account_id: str, seller_id: UserId | None, *, due_at: datetime, publish_at: datetime
    ) -> UserId | None:
        for account in self._state.seller_accounts.values():
            if account.stripe_account_id in {None, stripe_account_id} and (
                account.stripe_account_id is not None or account.seller_id == seller_id
            ):
                self._wake(account.seller_id, due_at, publish_at)
                return account.seller_id
        return None

    def _change(self, account: SellerAccount) -> None:
        before = self._state.seller_accounts[account.seller_id]
        moves = account.status is not before.status
        if moves and account.status not in ONBOARDING_TRANSITIONS[before.status]:
            raise Refused("a trigger of seller_accounts")
        if before.stripe_account_id not in {None, account.stripe_account_id}:
            raise Refused("a trigger of seller_accounts")
        self._state.seller_accounts[account.seller_id] = account

    def _wake(self, seller_id: UserId, due_at: datetime, publish_at: datetime) -> None:
        account = self._state.seller_accounts[seller_id]
        self._state.seller_accounts[seller_id] = replace(account, wakes=account.wakes + 1)
        row = self._state.due[Work.ONBOARDINGS][seller_id]
        row.due_at, row.publish_at = due_at, publish_at


class FakeSessions(_Repository):
    async def start(self, session: Session, token: RefreshToken) -> None:
        self._state.sessions[session.id] = session
        self._state.refresh_tokens[token.hash] = token

    async def lock(self, token_hash: bytes) -> tuple[Session, RefreshToken] | None:
        token = self._state.refresh_tokens.get(token_hash)
        return (self._state.sessions[token.session_id], token) if token else None

    async def rotate(self, old: RefreshToken, new: RefreshToken) -> None:
        tokens = self._state.refresh_tokens
        if self._state.sessions[old.session_id].ended_at is not None:
            raise Refused("the session is over")
        tokens[old.hash], tokens[new.hash] = old, new
        for token in list(tokens.values()):
            if (token.session_id, token.generation) == (old.session_id, old.generation - 1):
                tokens[token.hash] = replace(token, seed=None)

    async def end(self, session_id: SessionId, reason: EndReason, at: datetime) -> bool:
        session = self._state.sessions.get(session_id)
        if session is None or session.ended_at is not None:
            return False
        self._state.sessions[session_id] = replace(session, ended_at=at)
        self._state.end_reasons[session_id] = reason
        self._state.revoked.add(session_id)
        return True

    async def end_all(self, user_id: UserId, reason: EndReason, at: datetime, *, except_newest: int = 0) -> None:
        live = [s.id for s in self._state.sessions.values() if s.user_id == user_id and s.ended_at is None]
        for session_id in sorted(live, reverse=True)[except_newest:]:
            await self.end(session_id, reason, at)

    async def ended(self, ids: Collection[SessionId]) -> Collection[SessionId]:
        return {session_id for session_id in ids if session_id in self._state.end_reasons}

    async def prune(self, before: datetime, *, limit: int) -> int:
        sessions, tokens = self._state.sessions, self._state.refresh_tokens
        old = [session.id for session in sessions.values() if session.expires_at < before][:limit]
        for session_id in old:
            del sessions[session_id]
        for token in [token for token in tokens.values() if token.session_id not in sessions]:
            del tokens[token.hash]
        expired = [token.hash for token in tokens.values() if token.expires_at < before][: limit - len(old)]
        for token_hash in expired:
            del tokens[token_hash]
        return len(old) + len(expired)


class FakeApiKeys(_Repository):
    async def add(self, key: ApiKey) -> None:
        self._state.api_keys[key.id] = key

    async def count(self, user_id: UserId) -> int:
        return len([key for key in self._alive() if key.user_id == user_id])

    async def by_prefixes(self, prefixes: Collection[str]) -> Mapping[str, tuple[ApiKey, User]]:
        found = [key for key in self._alive() if key.prefix in prefixes]
        return {key.prefix: (key, self._state.users[key.user_id]) for key in found}

    async def page(self, principal: Principal, request: PageRequest, *, user_id: UserId | None) -> Page[ApiKey]:
        seen = [key for key in self._alive() if _may_see(principal, key) and user_id in {None, key.user_id}]
        return _page(seen, request)

    async def end(self, principal: Principal, key_id: ApiKeyId, at: datetime) -> ApiKey | None:
        key = next((key for key in self._alive() if key.id == key_id and _may_see(principal, key)), None)
        if key is None:
            return None
        self._state.revoked.add(key_id)
        self._state.api_keys[key_id] = replace(key, ended_at=at)
        return self._state.api_keys[key_id]

    async def end_all(self, user_id: UserId, at: datetime) -> None:
        for key in self._alive():
            if key.user_id == user_id:
                await self.end(Principal(user_id, Role.BUYER), key.id, at)

    async def note_uses(self, ids: Sequence[ApiKeyId], at: datetime) -> None:
        for key_id in ids:
            self._state.api_keys[key_id] = replace(self._state.api_keys[key_id], last_used_at=at)

    def _alive(self) -> list[ApiKey]:
        return [key for key in self._state.api_keys.values() if key.ended_at is None]


class FakeRevocations(_Repository):
    """Without a clock: everything is recent, and old at once when it is to be pruned."""

    async def recent(self, within_s: float, *, after: UUID | None, limit: int) -> Sequence[UUID]:
        return [found for found in sorted(self._state.revoked) if after is None or found > after][:limit]

    async def prune(self, older_than_s: float, *, limit: int) -> int:
        return 0


class FakeProducts(_Repository):
    async def add(self, product: Product) -> None:
        self._state.products[product.id] = product

    async def by_ids(self, ids: Sequence[ProductId]) -> Mapping[ProductId, Product]:
        return _present(self._state.products, ids)

    async def lock(self, product_id: ProductId) -> Product | None:
        return self._state.products.get(product_id)

    async def save(self, product: Product) -> None:
        self._state.products[product.id] = product


class FakeProductSearch(_Repository):
    """Finds words as they are written."""

    async def slab(
        self, query: ProductQuery, place: Place, *, limit: int, size: int, is_counting: bool = False
    ) -> Slab:
        hits = self._hits(query, place.respelled)
        newest = len(self._state.products) if place.newest is None else place.newest
        slab = [hit for hit in hits if (place.oldest or 0) <= hit.position <= newest]
        oldest = place.oldest or 0
        if place.oldest is None and len(slab) >= size:
            slab = sorted(slab, key=lambda hit: -hit.position)[:size]
            oldest = slab[-1].position
        facets = _facets([hit.product for hit in slab], is_complete=oldest <= 1) if is_counting else None
        return Slab(_after(query, place, slab)[:limit], newest, oldest, len(slab), facets)

    async def by_price(
        self, query: ProductQuery, place: Place, *, limit: int
    ) -> tuple[Sequence[Hit], Place | None]:
        return _after(query, place, self._hits(query))[:limit], None

    def _hits(self, query: ProductQuery, respelled: str | None = None) -> list[Hit]:
        return [
            Hit(product, _key(query, product, position), position, _marked(query, product))
            for position, product in enumerate(self._state.products.values(), 1)
            if _matches(query, _words(query.q), product) or _matches(query, _words(respelled or query.q), product)
        ]

    async def near_words(self, words: Sequence[str]) -> Mapping[str, tuple[str, Sequence[str]]]:
        known = sorted({w for product in self._state.products.values() for w in product.title.casefold().split()})
        return {word: (word.casefold(), known) for word in words if word.casefold() not in known}


def _after(query: ProductQuery, place: Place, hits: Sequence[Hit]) -> list[Hit]:
    """Sort hits, and leave out those that the place has behind it."""
    sign = 1 if query.sort is Sort.PRICE_ASC else -1
    ordered = sorted(hits, key=lambda hit: (sign * hit.key, sign * hit.product.id.int))
    if place.key is None or place.id is None:
        return ordered
    seen = (sign * place.key, sign * place.id.int)
    return [hit for hit in ordered if (sign * hit.key, sign * hit.product.id.int) > seen]


def _words(q: str | None) -> list[str]:
    return (q or "").casefold().split()


def _matches(query: ProductQuery, words: Sequence[str], product: Product) -> bool:
    said = f"{product.title} {product.description}".casefold().split()
    wanted = {"seller_id": query.seller_id, "category": query.category, "currency": query.currency}
    return (
        product.withdrawn_at is None
        and all(word in said for word in words)
        and all(value is None or getattr(product, name) == value for name, value in wanted.items())
        and (query.price_min_minor is None or product.price_minor >= query.price_min_minor)
        and (query.price_max_minor is None or product.price_minor <= query.price_max_minor)
        and (query.in_stock is None or (product.stock > 0) == query.in_stock)
    )


def _key(query: ProductQuery, product: Product, position: int) -> float:
    if query.order is Sort.RELEVANCE:
        return float(sum(word in product.title.casefold().split() for word in _words(query.q)))
    return float(position if query.order is Sort.NEWEST else product.price_minor)


def _marked(query: ProductQuery, product: Product) -> Highlight | None:
    return Highlight(product.title, product.description) if query.q is not None else None


def _facets(products: Sequence[Product], *, is_complete: bool) -> Facets:
    bounds = (0, *PRICE_STEPS_MINOR, None)
    steps = Counter(sum(product.price_minor >= bound for bound in PRICE_STEPS_MINOR) for product in products)
    return Facets(
        counted=len(products),
        is_complete=is_complete,
        category=_counts(product.category for product in products),
        seller_id=_counts(str(product.seller_id) for product in products),
        in_stock=_counts(product.stock > 0 for product in products),
        price=[PriceCount(bounds[step] or 0, bounds[step + 1], count) for step, count in sorted(steps.items())],
    )


def _counts(values: Iterable[Any]) -> list[Count]:
    counted = Counter(values)
    return [Count(value, counted[value]) for value in sorted(counted, key=lambda v: (-counted[v], v))]


class FakeOrders(_Repository):
    async def add(self, order: Order) -> bool:
        if await self.by_key(order.buyer_id, order.idempotency_key):
            return False
        self._state.orders[order.id] = order
        self._move_stock(order, -1)
        return True

    async def by_key(self, buyer_id: UserId, idempotency_key: str) -> Order | None:
        orders = self._state.orders.values()
        return next((o for o in orders if (o.buyer_id, o.idempotency_key) == (buyer_id, idempotency_key)), None)

    async def visible(self, principal: Principal, order_id: OrderId) -> Order | None:
        order = self._state.orders.get(order_id)
        return order if order and (principal.sees_all or principal.user_id in order.parties) else None

    async def page(
        self, principal: Principal, request: PageRequest, status: OrderStatus | None = None
    ) -> Page[Order]:
        orders = [order for order in self._state.orders.values() if await self.visible(principal, order.id)]
        return _page([order for order in orders if status in {None, order.status}], request)

    async def lock(self, ids: Sequence[OrderId]) -> Mapping[OrderId, Order]:
        return _present(self._state.orders, ids)

    async def advance(self, statuses: Mapping[OrderId, OrderStatus], at: datetime) -> None:
        if self._state.refused_orders & statuses.keys():
            raise Refused("a trigger of orders")
        for order_id, status in statuses.items():
            before = self._state.orders[order_id]
            if status in {OrderStatus.CANCELLED, OrderStatus.EXPIRED} and before.status is OrderStatus.PENDING:
                self._move_stock(before, 1)
            due_at = at if status is OrderStatus.SHIPPED else before.due_at
            resumes_as = _resumes_as(before, status)
            self._state.orders[order_id] = replace(
                before, status=status, updated_at=at, due_at=due_at, resumes_as=resumes_as
            )

    async def due(self, now: datetime, *, limit: int) -> Sequence[OrderId]:
        orders = [order for order in self._state.orders.values() if order.due_at and order.due_at <= now]
        return [order.id for order in sorted(orders, key=lambda order: (order.due_at, order.id))[:limit]]

    async def lock_due(self, ids: Sequence[OrderId], now: datetime) -> Sequence[Order]:
        due = await self.due(now, limit=len(self._state.orders))
        return [self._state.orders[order_id] for order_id in sorted(ids) if order_id in due]

    async def live_payments(self, ids: Sequence[OrderId]) -> Mapping[OrderId, str]:
        payments = self._state.payments.values()
        return {p.order_id: p.status for p in payments if p.order_id in ids and p.status not in DEAD}

    async def schedule(self, due_ats: Mapping[OrderId, datetime | None]) -> None:
        for order_id, due_at in due_ats.items():
            self._state.orders[order_id] = replace(self._state.orders[order_id], due_at=due_at)

    def _move_stock(self, order: Order, sign: int) -> None:
        for line in order.lines:
            if (product := self._state.products.get(line.product_id)) is None:
                continue  # a test that does not care
            stock = product.stock + sign * line.quantity
            if stock < 0:
                raise StockGone("not enough of a product is left")
            self._state.products[product.id] = replace(product, stock=stock)


class FakeShipments(_Repository):
    async def add(self, shipment: Shipment) -> None:
        order = self._state.orders[shipment.order_id]
        taken = any(
            (other.order_id, other.seller_id) == (order.id, shipment.seller_id) for other in self._state.shipments
        )
        if order.status is not OrderStatus.PAID or shipment.seller_id not in order.sellers or taken:
            raise Refused("a constraint of shipments")
        self._state.shipments.append(shipment)

    async def of_orders(self, order_ids: Sequence[OrderId]) -> Mapping[OrderId, Sequence[Shipment]]:
        sent = sorted(self._state.shipments, key=lambda shipment: (shipment.created_at, shipment.seller_id))
        return {order_id: [each for each in sent if each.order_id == order_id] for order_id in order_ids}


class FakePayments(_Repository):
    async def add(
        self, payments: Sequence[Payment], *, publish_at: datetime, events: Sequence[Event] = ()
    ) -> Mapping[PaymentId, int | None]:
        added: dict[PaymentId, int | None] = {}
        for payment in sorted(payments, key=lambda payment: (payment.payer_id, payment.idempotency_key)):
            is_seller = payment.seller_id is None or payment.seller_id in self._state.rates
            if not is_seller or any(_collide(payment, other) for other in self._state.payments.values()):
                continue
            own = self._state.rates.get(payment.seller_id) if payment.seller_id else None
            commission_bps = payment.commission_bps if own is None else own
            self._state.payments[payment.id] = replace(payment, commission_bps=commission_bps)
            self._state.due[Work.CHARGES][payment.id] = Due(payment.created_at, publish_at)
            added[payment.id] = commission_bps
        append_events(self._state, [event for event in events if event.subject_id in added])
        return added

    async def by_keys(self, keys: Sequence[tuple[UserId, str]]) -> Mapping[tuple[UserId, str], Payment]:
        found = {(p.payer_id, p.idempotency_key): p for p in self._state.payments.values()}
        return _present(found, keys)

    async def visible(self, asked: Sequence[tuple[Principal, PaymentId]]) -> Sequence[Payment | None]:
        return [self._visible(principal, self._state.payments.get(payment_id)) for principal, payment_id in asked]

    async def ask_for_capture(
        self,
        payment_id: PaymentId,
        amount_minor: int,
        *,
        request_id: str | None = None,
        due_at: datetime,
        publish_at: datetime,
    ) -> None:
        self._ask(payment_id, request_id, due_at, publish_at, capture_minor=amount_minor)

    async def ask_for_cancellation(
        self, payment_id: PaymentId, *, request_id: str | None = None, due_at: datetime, publish_at: datetime
    ) -> None:
        self._ask(payment_id, request_id, due_at, publish_at, cancel_requested=True)

    def _ask(
        self,
        payment_id: PaymentId,
        request_id: str | None,
        due_at: datetime,
        publish_at: datetime,
        **wish: Any,
    ) -> None:
        before = self._state.payments[payment_id]
        payment = replace(before, request_id=request_id or before.request_id, **wish)
        if payment.cancel_requested and payment.capture_minor is not None:
            raise Refused("payments_one_wish")
        self._state.payments[payment_id] = payment
        row = self._state.due[Work.CHARGES][payment_id]
        row.due_at, row.publish_at = due_at, publish_at

    async def lock(self, payment_id: PaymentId) -> Payment:
        return self._state.payments[payment_id]

    async def page(self, principal: Principal, request: PageRequest) -> Page[Payment]:
        return _page([p for p in self._state.payments.values() if self._visible(principal, p)], request)

    def _visible(self, principal: Principal, payment: Payment | None) -> Payment | None:
        if payment is None:
            return None
        order = self._state.orders.get(payment.order_id) if payment.order_id else None
        return payment if principal.sees_all or principal.user_id in payment.parties(order) else None


class FakePaymentWork(_Repository):
    async def lease(self, ids: Sequence[PaymentId], now: datetime, locked_until: datetime) -> Sequence[Payment]:
        for payment_id in (leased := _lease(self._state.due[Work.CHARGES], ids, now, locked_until)):
            payment = self._state.payments[payment_id]
            pending = payment.status is PaymentStatus.PENDING
            self._state.payments[payment_id] = replace(
                payment,
                status=PaymentStatus.PROCESSING if pending else payment.status,
                attempts=payment.attempts + 1,
                first_charged_at=payment.first_charged_at or now,
            )
        return [self._state.payments[payment_id] for payment_id in leased]

    async def by_ids(self, ids: Sequence[PaymentId]) -> Mapping[PaymentId, Payment]:
        return _present(self._state.payments, ids)

    async def orders_of(self, ids: Collection[PaymentId]) -> Mapping[PaymentId, OrderId | None]:
        return {key: payment.order_id for key, payment in _present(self._state.payments, ids).items()}

    async def parties_of(self, ids: Collection[PaymentId]) -> Mapping[PaymentId, Collection[UserId]]:
        payments, orders = _present(self._state.payments, ids), self._state.orders
        return {key: payment.parties(orders.get(payment.order_id)) for key, payment in payments.items()}

    async def lock(self, ids: Sequence[PaymentId]) -> Sequence[tuple[Payment, bool]]:
        return [(p, self._order_has_other(p)) for p in _present(self._state.payments, sorted(ids)).values()]

    async def save(self, changes: Sequence[Change]) -> None:
        for change in changes:
            payment, before = change.payment, self._state.payments[change.payment.id]
            moves = payment.status is not before.status
            if payment.captured_minor > payment.amount_minor or (
                moves and payment.status not in PAYMENT_TRANSITIONS[before.status]
            ):
                raise Refused("a constraint of payments")
            self._state.payments[payment.id] = replace(
                payment, attempts=before.attempts, first_charged_at=before.first_charged_at
            )
            self._state.due[Work.CHARGES][payment.id] = Due(change.due_at, change.due_at)
            self._state.quarantined.pop(payment.id, None)

    async def drop_captures(self, ids: Sequence[PaymentId]) -> None:
        for payment_id in ids:
            self._state.payments[payment_id] = replace(self._state.payments[payment_id], capture_minor=None)

    async def quarantine(self, payment_id: PaymentId, reason: str, at: datetime) -> None:
        self._state.quarantined[payment_id] = reason
        self._state.quarantined_at[payment_id] = at
        self._state.due[Work.CHARGES][payment_id] = Due(None, None)

    async def stuck(self, now: datetime, overdue_before: datetime, *, limit: int) -> Sequence[StuckPayment]:
        found = [self._stuck(payment, now, overdue_before) for payment in self._state.payments.values()]
        return sorted((one for one in found if one is not None), key=lambda one: (one.since, one.id))[:limit]

    def _stuck(self, payment: Payment, now: datetime, overdue_before: datetime) -> StuckPayment | None:
        row, detail = self._state.due[Work.CHARGES][payment.id], self._state.quarantined.get(payment.id)
        if detail is not None:
            reason, since = StuckReason.QUARANTINED, self._state.quarantined_at[payment.id]
        elif row.due_at is None or (row.locked_until is not None and row.locked_until > now):
            return None
        elif row.locked_until is not None:
            reason, since = StuckReason.LEASE_OVERDUE, row.locked_until
        elif payment.status is PaymentStatus.UNKNOWN:
            reason, since = StuckReason.UNKNOWN, payment.updated_at
        elif row.due_at < overdue_before:
            reason, since = StuckReason.OVERDUE, row.due_at
        else:
            return None
        return StuckPayment(payment.id, payment.status, reason, since, payment.attempts, row.due_at, detail)

    async def work_state(self, payment_id: PaymentId) -> WorkState:
        row = self._state.due[Work.CHARGES][payment_id]
        quarantined_at = self._state.quarantined_at.get(payment_id)
        return WorkState(
            row.due_at, row.locked_until, quarantined_at if payment_id in self._state.quarantined else None
        )

    async def release(self, payment_id: PaymentId, at: datetime) -> None:
        self._state.quarantined.pop(payment_id, None)
        self._state.due[Work.CHARGES][payment_id] = Due(at, at)

    def _order_has_other(self, payment: Payment) -> bool:
        return payment.order_id is not None and any(
            other.order_id == payment.order_id and other.id != payment.id and other.status not in DEAD
            for other in self._state.payments.values()
        )


class FakeRefunds(_Repository):
    async def add(self, refunds: Sequence[Refund], *, publish_at: datetime) -> Collection[RefundId]:
        added = set()
        for refund in refunds:
            key = (refund.requested_by, refund.idempotency_key)
            if refund.requested_by is not None and await self.by_key(*key):
                continue
            self._state.refunds[refund.id] = refund
            self._state.due[Work.REFUNDS][refund.id] = Due(refund.created_at, publish_at)
            _count_refunds(self._state, refund.payment_id)
            added.add(refund.id)
        return added

    async def by_key(self, requested_by: UserId, idempotency_key: str) -> Refund | None:
        refunds = self._state.refunds.values()
        key = (requested_by, idempotency_key)
        return next((r for r in refunds if (r.requested_by, r.idempotency_key) == key), None)

    async def of_payment(self, payment_id: PaymentId) -> Sequence[Refund]:
        found = [refund for refund in self._state.refunds.values() if refund.payment_id == payment_id]
        return sorted(found, key=lambda refund: refund.id)

    async def visible(self, principal: Principal, refund_id: RefundId) -> Refund | None:
        refund = self._state.refunds.get(refund_id)
        if refund is None:
            return None
        parties = {self._state.payments[refund.payment_id].payer_id, *(part.seller_id for part in refund.lines)}
        return refund if principal.sees_all or principal.user_id in parties else None


class FakeDisputes(_Repository):
    async def by_stripe_id(self, stripe_dispute_id: str) -> Dispute | None:
        disputes = self._state.disputes.values()
        return next((dispute for dispute in disputes if dispute.stripe_dispute_id == stripe_dispute_id), None)

    async def save(self, dispute: Dispute) -> None:
        before = self._state.disputes.get(dispute.id, dispute)
        if dispute.status is not before.status and dispute.status not in DISPUTE_TRANSITIONS[before.status]:
            raise Refused("a constraint of disputes")
        self._state.disputes[dispute.id] = dispute

    async def holds_money_of(self, payment_id: PaymentId) -> bool:
        return any(d.funds in GONE for d in self._state.disputes.values() if d.payment_id == payment_id)

    async def visible(self, principal: Principal, dispute_id: DisputeId) -> Dispute | None:
        dispute = self._state.disputes.get(dispute_id)
        return dispute if dispute and (principal.sees_all or self._sells(principal, dispute)) else None

    async def page(
        self, principal: Principal, request: PageRequest, status: DisputeStatus | None
    ) -> Page[Dispute]:
        found = [d for d in self._state.disputes.values() if await self.visible(principal, d.id)]
        return _page([d for d in found if status in {None, d.status}], request)

    def _sells(self, principal: Principal, dispute: Dispute) -> bool:
        payment = self._state.payments[dispute.payment_id]
        order = self._state.orders.get(payment.order_id) if payment.order_id else None
        return principal.user_id in (order.sellers if order else {payment.seller_id})


class FakeRefundWork(_Repository):
    async def lease(self, ids: Sequence[RefundId], now: datetime, locked_until: datetime) -> Sequence[Refund]:
        leased = _lease(self._state.due[Work.REFUNDS], ids, now, locked_until)
        for refund_id in leased:
            refund = _count_attempt(self._state.refunds, refund_id)
            self._state.refunds[refund_id] = replace(refund, first_sent_at=refund.first_sent_at or now)
        return [self._state.refunds[refund_id] for refund_id in leased]

    async def find(self, refund_id: RefundId | None, stripe_refund_id: str | None) -> Refund | None:
        refunds = self._state.refunds
        known = next((r for r in refunds.values() if r.stripe_refund_id == stripe_refund_id is not None), None)
        return known or (refunds.get(refund_id) if refund_id is not None else None)

    async def lock(self, refund_id: RefundId) -> Refund:
        return self._state.refunds[refund_id]

    async def save(self, refund: Refund, *, due_at: datetime | None) -> None:
        before = self._state.refunds[refund.id]
        if refund.status is not before.status and refund.status not in REFUND_TRANSITIONS[before.status]:
            raise Refused("a constraint of refunds")
        self._state.refunds[refund.id] = refund
        self._state.due[Work.REFUNDS][refund.id] = Due(due_at, due_at)
        self._state.quarantined_refunds.pop(refund.id, None)
        _count_refunds(self._state, refund.payment_id)

    async def quarantine(self, refund_id: RefundId, reason: str, at: datetime) -> None:
        self._state.quarantined_refunds[refund_id] = reason
        self._state.due[Work.REFUNDS][refund_id] = Due(None, None)

    async def returned(self, payment_id: PaymentId) -> Returned:
        refunds = [refund for refund in self._state.refunds.values() if refund.payment_id == payment_id]
        disputes = [dispute for dispute in self._state.disputes.values() if dispute.payment_id == payment_id]
        return Returned(
            refunded_minor=sum(r.amount_minor for r in refunds if r.status is RefundStatus.SUCCEEDED),
            lost_minor=sum(d.withdrawn_minor for d in disputes if d.funds is DisputeFunds.LOST),
            is_disputed=any(d.status in OPEN for d in disputes),
        )


class FakeDestinations(_Repository):
    async def of_seller(self, seller_id: UserId) -> Destination | None:
        return self._state.destinations.get(seller_id)

    async def enabled(self, *, after: UserId | None, limit: int) -> Sequence[Destination]:
        accounts = sorted(self._state.destinations.values(), key=lambda account: account.seller_id)
        found = [each for each in accounts if each.payouts_enabled and (after is None or each.seller_id > after)]
        return found[:limit]


class FakePayouts(_Repository):
    async def claim_seller(self, seller_id: UserId, *, wait: bool) -> bool:
        return True

    async def available(self, seller_id: UserId, release: Release) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for journal, _, entry in _open_entries(self._state, seller_id):
            if _is_released(self._state, journal, release):
                sums[journal.currency] -= entry.amount_minor
        return dict(sorted(sums.items()))

    async def draft(
        self, payout: Payout, release: Release, *, least_minor: int, publish_at: datetime
    ) -> Payout | None:
        taken = [
            (journal.id, line, entry.amount_minor)
            for journal, line, entry in _open_entries(self._state, payout.seller_id)
            if journal.currency == payout.currency and _is_released(self._state, journal, release)
        ]
        total_minor = -sum(amount_minor for _, _, amount_minor in taken)
        step = step_minor(payout.currency)
        if total_minor < max(least_minor, step):
            return None
        amount_minor = movable(total_minor, payout.currency)
        drafted = replace(payout, amount_minor=amount_minor, carried_minor=total_minor - amount_minor)
        self._state.payouts[payout.id] = drafted
        self._state.payout_entries |= {(journal_id, line): payout.id for journal_id, line, _ in taken}
        self._state.due[Work.PAYOUTS][payout.id] = Due(payout.created_at, publish_at)
        return drafted

    async def net(self, seller_id: UserId, release: Release) -> None:
        sums: Counter[tuple[PaymentId | None, str]] = Counter()
        released = [
            (journal, line, entry)
            for journal, line, entry in _open_entries(self._state, seller_id)
            if journal.payment_id is not None and _is_released(self._state, journal, release)
        ]
        for journal, _, entry in released:
            sums[journal.payment_id, journal.currency] += entry.amount_minor
        for journal, line, _ in released:
            if not sums[journal.payment_id, journal.currency]:
                self._state.payout_entries[journal.id, line] = None

    async def raise_floor(self, seller_id: UserId, now: datetime) -> None:
        pass

    async def by_key(self, requested_by: UserId, idempotency_key: str) -> Payout | None:
        key = (requested_by, idempotency_key)
        payouts = self._state.payouts.values()
        return next((p for p in payouts if (p.requested_by, p.idempotency_key) == key), None)

    async def visible(self, principal: Principal, payout_id: PayoutId) -> Payout | None:
        payout = self._state.payouts.get(payout_id)
        return payout if payout and (principal.sees_all or principal.user_id == payout.seller_id) else None

    async def page(self, principal: Principal, request: PageRequest) -> Page[Payout]:
        return _page([p for p in self._state.payouts.values() if await self.visible(principal, p.id)], request)

    async def balance(self, seller_id: UserId, release: Release) -> Sequence[SellerBalance]:
        pending, available, going, disputed = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        for journal, _, entry in _open_entries(self._state, seller_id):
            side = available if _is_released(self._state, journal, release) else pending
            side[journal.currency] -= entry.amount_minor
        for payout in self._state.payouts.values():
            if payout.seller_id == seller_id and payout.status in UNDER_WAY:
                going[payout.currency] += payout.amount_minor + payout.carried_minor
        accounts, currencies = {seller_payable(seller_id), seller_disputed(seller_id)}, set()
        for journal in self._state.journals:
            for entry in journal.entries:
                if entry.account in accounts:
                    currencies.add(journal.currency)
                if entry.account == seller_disputed(seller_id):
                    disputed[journal.currency] -= entry.amount_minor
        return [
            SellerBalance(currency, *(side[currency] for side in (pending, available, going, disputed)))
            for currency in sorted(currencies)
        ]


def _open_entries(state: State, seller_id: UserId) -> list[tuple[Journal, int, Entry]]:
    return [
        (journal, line, entry)
        for journal in state.journals
        for line, entry in enumerate(journal.entries, 1)
        if entry.account == seller_payable(seller_id) and (journal.id, line) not in state.payout_entries
    ]


def _is_released(state: State, journal: Journal, release: Release) -> bool:
    if journal.payment_id is None:
        return True
    payment = state.payments[journal.payment_id]
    if payment.funds_available_at is None or payment.funds_available_at > release.now:
        return False
    if payment.order_id is None:
        return payment.created_at <= release.direct_before
    order = state.orders[payment.order_id]
    interrupted = order.status is OrderStatus.DISPUTED and order.resumes_as is OrderStatus.COMPLETED
    return order.status in {OrderStatus.COMPLETED, OrderStatus.REFUNDED} or interrupted


def _check_payout(state: State, payout_id: PayoutId) -> None:
    """What triggers hold: the entries that a payout takes come to its amount, and once it is booked to nothing."""
    payout = state.payouts[payout_id]
    total_minor = -sum(
        journal.entries[line - 1].amount_minor
        for journal in state.journals
        for line in range(1, len(journal.entries) + 1)
        if state.payout_entries.get((journal.id, line)) == payout_id
    )
    over = payout.is_booked or payout.status is PayoutStatus.FAILED
    if total_minor != (0 if over else payout.amount_minor + payout.carried_minor):
        raise Refused("payout_entries_sum")


class FakePayoutRuns(_Repository):
    async def claim(self, run_at: datetime, now: datetime, locked_until: datetime) -> RunLease | None:
        runs = self._state.payout_runs
        for begun_at, row in runs.items():
            if not row.is_finished:
                if row.locked_until > now:
                    return None
                runs[begun_at] = replace(row, locked_until=locked_until)
                return RunLease(begun_at, locked_until, row.after)
        is_first = not runs
        if not is_first and run_at <= max(runs):
            return None
        runs[run_at] = PayoutRunRow(locked_until, is_finished=is_first)
        return None if is_first else RunLease(run_at, locked_until)

    async def advance(self, lease: RunLease, seller_id: UserId, *, made: int) -> bool:
        return self._change(lease, after=seller_id)

    async def pause(self, lease: RunLease, now: datetime) -> None:
        self._change(lease, locked_until=now)

    async def finish(self, lease: RunLease, now: datetime) -> None:
        self._change(lease, is_finished=True)

    def _change(self, lease: RunLease, **changes: Any) -> bool:
        row = self._state.payout_runs[lease.run_at]
        if row.is_finished or row.locked_until != lease.locked_until:
            return False
        self._state.payout_runs[lease.run_at] = replace(row, **changes)
        return True


class FakePayoutWork(_Repository):
    async def lease(self, ids: Sequence[PayoutId], now: datetime, locked_until: datetime) -> Sequence[Payout]:
        for payout_id in (leased := _lease(self._state.due[Work.PAYOUTS], ids, now, locked_until)):
            payout = _count_attempt(self._state.payouts, payout_id)
            pending = payout.status is PayoutStatus.PENDING
            self._state.payouts[payout_id] = replace(
                payout,
                status=PayoutStatus.PROCESSING if pending else payout.status,
                first_sent_at=payout.first_sent_at or now,
            )
        return [self._state.payouts[payout_id] for payout_id in leased]

    async def by_ids(self, ids: Collection[PayoutId]) -> Mapping[PayoutId, Payout]:
        return _present(self._state.payouts, ids)

    async def of_transfers(self, transfer_ids: Collection[str]) -> Sequence[Payout]:
        return [p for p in self._state.payouts.values() if p.stripe_transfer_id in transfer_ids]

    async def of_bank_payouts(self, stripe_payout_ids: Collection[str]) -> Sequence[Payout]:
        return [p for p in self._state.payouts.values() if p.stripe_payout_id in stripe_payout_ids]

    async def lock(self, ids: Sequence[PayoutId]) -> Sequence[Payout]:
        return list(_present(self._state.payouts, sorted(ids)).values())

    async def save(self, payout: Payout, *, due_at: datetime | None) -> None:
        before = self._state.payouts[payout.id]
        if payout.status is not before.status and payout.status not in PAYOUT_TRANSITIONS[before.status]:
            raise Refused("a constraint of payouts")
        self._state.payouts[payout.id] = replace(payout, reversed_minor=before.reversed_minor)
        self._state.due[Work.PAYOUTS][payout.id] = Due(due_at, due_at)
        self._state.quarantined_payouts.pop(payout.id, None)

    async def close(self, payout_id: PayoutId, journal_id: JournalId) -> None:
        self._state.payout_entries[journal_id, 1] = payout_id
        _check_payout(self._state, payout_id)

    async def let_go(self, payout_id: PayoutId) -> None:
        payout = self._state.payouts[payout_id]
        if payout.status is not PayoutStatus.FAILED or payout.is_booked:
            raise Refused("payout_entries_stay")
        for entry in [entry for entry, taker in self._state.payout_entries.items() if taker == payout_id]:
            del self._state.payout_entries[entry]

    async def quarantine(self, payout_id: PayoutId, reason: str, at: datetime) -> None:
        self._state.quarantined_payouts[payout_id] = reason
        self._state.due[Work.PAYOUTS][payout_id] = Due(None, None)


class FakeReversalWork(_Repository):
    async def debits_of(self, journal_ids: Collection[JournalId]) -> Sequence[PaidDebit]:
        return [debit for debit in self._debits() if debit.journal_id in journal_ids]

    async def debits_of_payout(self, payout_id: PayoutId) -> Sequence[PaidDebit]:
        return [debit for debit in self._debits() if debit.payout_id == payout_id]

    def _debits(self) -> list[PaidDebit]:
        return sorted(
            (
                PaidDebit(
                    journal.id,
                    line,
                    entry.amount_minor,
                    journal.payment_id,
                    payout.id,
                    payout.currency,
                    payout.amount_minor - payout.reversed_minor,
                )
                for journal in self._state.journals
                if journal.payment_id and self._takes_from_sellers(journal)
                for line, entry in enumerate(journal.entries, 1)
                if entry.amount_minor > 0 and seller_of(entry.account) is not None
                if (journal.id, line) not in self._state.payout_entries
                if not any((r.journal_id, r.line) == (journal.id, line) for r in self._state.reversals.values())
                if (payout := self._payer(journal, entry.account)) is not None and payout.is_booked
            ),
            key=lambda debit: (debit.payout_id, debit.journal_id, debit.line),
        )

    def _takes_from_sellers(self, journal: Journal) -> bool:
        """Whether a journal's debits are what sellers lose; of what is exchanged the other half has them."""
        if journal.kind in {JournalKind.REFUND, JournalKind.DISPUTE_OPENED}:
            return not any(
                other.kind is JournalKind.CONVERSION_CHARGED and other.payment_id == journal.payment_id
                for other in self._state.journals
            )
        return journal.kind is JournalKind.CONVERSION_SETTLED

    def _payer(self, debit: Journal, account: Account) -> Payout | None:
        """The payout that took the share of a charge, in the currency of a debit."""
        shares = [
            (journal.id, line)
            for journal in self._state.journals
            if journal.kind in {JournalKind.CHARGE, JournalKind.CONVERSION_SETTLED}
            if (journal.payment_id, journal.currency) == (debit.payment_id, debit.currency)
            for line, entry in enumerate(journal.entries, 1)
            if entry.account == account and entry.amount_minor < 0
        ]
        payout_id = self._state.payout_entries.get(min(shares)) if shares else None
        return self._state.payouts[payout_id] if payout_id is not None else None

    async def add(self, reversals: Sequence[Reversal]) -> None:
        for reversal in reversals:
            self._state.reversals[reversal.id] = reversal
            self._state.due[Work.REVERSALS][reversal.id] = Due(reversal.created_at, reversal.created_at)
            _count_reversals(self._state, reversal.payout_id)

    async def lease(self, ids: Sequence[ReversalId], now: datetime, locked_until: datetime) -> Sequence[Reversal]:
        for reversal_id in (leased := _lease(self._state.due[Work.REVERSALS], ids, now, locked_until)):
            reversal = _count_attempt(self._state.reversals, reversal_id)
            self._state.reversals[reversal_id] = replace(reversal, first_sent_at=reversal.first_sent_at or now)
        return [self._state.reversals[reversal_id] for reversal_id in leased]

    async def find(self, reversal_id: ReversalId | None, stripe_reversal_id: str | None) -> Reversal | None:
        reversals = self._state.reversals
        known = (r for r in reversals.values() if r.stripe_reversal_id == stripe_reversal_id is not None)
        return next(known, None) or (reversals.get(reversal_id) if reversal_id is not None else None)

    async def of_payout(self, payout_id: PayoutId) -> Sequence[Reversal]:
        found = [reversal for reversal in self._state.reversals.values() if reversal.payout_id == payout_id]
        return sorted(found, key=lambda reversal: reversal.id)

    async def lock(self, reversal_id: ReversalId) -> Reversal:
        return self._state.reversals[reversal_id]

    async def save(self, reversal: Reversal, *, due_at: datetime | None) -> None:
        before = self._state.reversals[reversal.id]
        if reversal.status is not before.status and reversal.status not in REVERSAL_TRANSITIONS[before.status]:
            raise Refused("a constraint of payout_reversals")
        self._state.reversals[reversal.id] = reversal
        self._state.due[Work.REVERSALS][reversal.id] = Due(due_at, due_at)
        self._state.quarantined_payouts.pop(reversal.id, None)
        _count_reversals(self._state, reversal.payout_id)

    async def reversed_minor(self, payout_id: PayoutId) -> int:
        made = [r for r in await self.of_payout(payout_id) if r.status is ReversalStatus.SUCCEEDED]
        return sum(reversal.amount_minor for reversal in made)

    async def quarantine(self, reversal_id: ReversalId, reason: str, at: datetime) -> None:
        self._state.quarantined_payouts[reversal_id] = reason
        self._state.due[Work.REVERSALS][reversal_id] = Due(None, None)


def _count_reversals(state: State, payout_id: PayoutId) -> None:
    """What triggers count, and a CHECK holds to what was transferred."""
    reversals = [r for r in state.reversals.values() if r.payout_id == payout_id]
    reversed_minor = sum(r.amount_minor for r in reversals if r.status is not ReversalStatus.FAILED)
    payout = state.payouts[payout_id]
    if reversed_minor > (payout.amount_minor if payout.is_booked else 0):
        raise Refused("payouts_reversed")
    state.payouts[payout_id] = replace(payout, reversed_minor=reversed_minor)


class FakeStripeEvents(_Repository):
    async def add(self, events: Sequence[StripeEvent], *, publish_at: datetime) -> Mapping[str, Arrival]:
        new = {event.id: event for event in events if event.id not in self._state.stripe_events}
        for event in new.values():
            self._state.stripe_events[event.id] = replace(event, report=None)
            self._state.stripe_statuses[event.id] = StripeEventStatus.RECEIVED
            self._state.due[Work.STRIPE_EVENTS][event.id] = Due(event.received_at, publish_at)
        arrivals = {event.id: self._arrival(event) for event in new.values()}
        for event_id, arrival in arrivals.items():
            if arrival is Arrival.TOLD:
                await self.finish({event_id: StripeEventStatus.PROCESSED}, new[event_id].received_at)
        return arrivals

    def _arrival(self, event: StripeEvent) -> Arrival:
        if self._is_booked(event.report):
            return Arrival.TOLD
        due = self._state.due[Work.CHARGES].get(event.report.payment_id) if event.report else None
        is_held = due is not None and due.locked_until is not None and due.locked_until > event.received_at
        return Arrival.AWAITED if is_held else Arrival.NEWS

    def _is_booked(self, report: ChargeReport | None) -> bool:
        payment = self._state.payments.get(report.payment_id) if report is not None else None
        if report is None or payment is None or payment.fee_minor is None:
            return False
        return report.object_id in {payment.stripe_intent_id, payment.stripe_charge_id}

    async def lease(self, ids: Sequence[str], now: datetime, locked_until: datetime) -> Sequence[StripeEvent]:
        leased = _lease(self._state.due[Work.STRIPE_EVENTS], ids, now, locked_until)
        return [_count_attempt(self._state.stripe_events, event_id) for event_id in leased]

    async def lease_newest(self, limit: int, now: datetime, locked_until: datetime) -> Sequence[StripeEvent]:
        due = self._state.due[Work.STRIPE_EVENTS]
        untried = [e for e in self._state.stripe_events.values() if not e.attempts and due[e.id].is_free(now)]
        newest = sorted(untried, key=lambda event: event.received_at, reverse=True)[:limit]
        return await self.lease([event.id for event in newest], now, locked_until)

    async def finish(self, statuses: Mapping[str, StripeEventStatus], at: datetime) -> None:
        for event_id, status in statuses.items():
            self._state.stripe_statuses[event_id] = status
            self._state.stripe_handled[event_id] = at
            self._state.due[Work.STRIPE_EVENTS][event_id] = Due(None, None)

    async def finish_booked(self, reports: Mapping[str, ChargeReport], at: datetime) -> Collection[str]:
        due, events = self._state.due[Work.STRIPE_EVENTS], _present(self._state.stripe_events, reports)
        booked = {
            event_id
            for event_id, event in events.items()
            if self._is_booked(reports[event_id]) and due[event_id].due_at and not event.attempts
        }
        await self.finish(dict.fromkeys(booked, StripeEventStatus.PROCESSED), at)
        return booked

    async def missing(self, ids: Sequence[str]) -> Collection[str]:
        return set(ids) - self._state.stripe_events.keys()

    async def again(self, window: EventWindow, *, handled_before: datetime, now: datetime, limit: int) -> int:
        handled = self._state.stripe_handled
        past = [e for e in _within(window, self._state) if e.id in handled and handled[e.id] < handled_before]
        chosen = sorted(past, key=lambda event: handled[event.id])[:limit]
        for event in chosen:
            self._state.stripe_events[event.id] = replace(event, attempts=0)
            self._state.stripe_statuses[event.id] = StripeEventStatus.RECEIVED
            self._state.due[Work.STRIPE_EVENTS][event.id] = Due(now, now)
            del handled[event.id]
        return len(chosen)

    async def count(self, window: EventWindow, *, handled_since: datetime) -> Mapping[StripeEventStatus, int]:
        handled = self._state.stripe_handled
        return Counter(
            self._state.stripe_statuses[event.id]
            for event in _within(window, self._state)
            if event.id not in handled or handled[event.id] >= handled_since
        )

    async def prune(self, before: datetime, *, limit: int) -> int:
        handled = self._state.stripe_handled
        old = [
            event_id
            for event_id, status in self._state.stripe_statuses.items()
            if status not in {StripeEventStatus.RECEIVED, StripeEventStatus.QUARANTINED}
            and handled[event_id] < before
        ]
        gone = sorted(old, key=lambda event_id: handled[event_id])[:limit]
        for event_id in gone:
            del self._state.stripe_events[event_id], self._state.stripe_statuses[event_id], handled[event_id]
            del self._state.due[Work.STRIPE_EVENTS][event_id]
        return len(gone)


def _within(window: EventWindow, state: State) -> list[StripeEvent]:
    kind = window.type or "*"
    return [
        event
        for event in state.stripe_events.values()
        if window.since <= event.received_at < window.until
        and (event.type.startswith(kind[:-1]) if kind.endswith("*") else event.type == kind)
    ]


class FakeDueWork(_Repository):
    async def claim(
        self, work: Work, now: datetime, *, republish_after_s: float, limit: int
    ) -> Sequence[UUID | str]:
        rows = {key: row for key, row in self._state.due[work].items() if row.publish_at and row.publish_at <= now}
        if work is Work.DELIVERIES:
            return self._waiting_endpoints(now)[:limit]
        claimed = sorted(rows, key=lambda key: (rows[key].publish_at, key))[:limit]
        for key in claimed:
            age_s = (now - rows[key].due_at).total_seconds()
            delay_s = min(max(republish_after_s, 2 * age_s), max(republish_after_s, 300))
            rows[key].publish_at = now + timedelta(seconds=delay_s)
        return sorted(claimed, key=lambda key: (rows[key].due_at, key))

    async def give_back(self, work: Work, ids: Sequence[UUID | str], publish_at: datetime) -> None:
        for row in _present(self._state.due[work], ids).values():
            if row.locked_until is None and row.publish_at:
                row.publish_at = min(publish_at, row.publish_at)

    async def tried(self, work: Work, ids: Sequence[UUID | str]) -> Collection[UUID | str]:
        tables: dict[Work, Mapping[Any, Any]] = {
            Work.CHARGES: self._state.payments,
            Work.REFUNDS: self._state.refunds,
            Work.PAYOUTS: self._state.payouts,
            Work.REVERSALS: self._state.reversals,
            Work.STRIPE_EVENTS: self._state.stripe_events,
            Work.ONBOARDINGS: self._state.seller_accounts,
        }
        return {row_id for row_id, row in _present(tables[work], ids).items() if row.attempts}

    async def backlogs(self, now: datetime) -> Sequence[Backlog]:
        due = {
            work: [row.due_at for row in self._state.due[work].values() if row.publish_at and row.is_free(now)]
            for work in Work
        }
        endpoints = self._state.webhook_endpoints.values()
        well = {each.id for each in endpoints if each.status is EndpointStatus.ENABLED and not each.is_failing}
        waiting = [
            row.delivery.due_at
            for row in self._state.deliveries.values()
            if is_due(row, now) and row.delivery.endpoint_id in well
        ]
        due[Work.DELIVERIES] = [at for at in waiting if at is not None]
        return [Backlog(work, len(rows), min(rows, default=None)) for work, rows in due.items()]

    async def postpone(self, work: Work, dues: Mapping[Any, datetime], now: datetime) -> None:
        for row_id, due_at in dues.items():
            if row_id in self._state.due[work] and self._state.due[work][row_id].is_free(now):
                self._state.due[work][row_id] = Due(due_at, due_at)

    def _waiting_endpoints(self, now: datetime) -> list[WebhookEndpointId]:
        waiting = {row.delivery.endpoint_id for row in self._state.deliveries.values() if is_due(row, now)}
        return [
            endpoint.id
            for endpoint in (self._state.webhook_endpoints[key] for key in waiting)
            if endpoint.status is EndpointStatus.ENABLED
            and (endpoint.resume_at is None or endpoint.resume_at <= now)
        ]


class FakeLedger(_Repository):
    async def post(self, journals: Sequence[Journal]) -> None:
        for journal in journals:
            if any((other.kind, other.source) == (journal.kind, journal.source) for other in self._state.journals):
                raise Refused("journals_kind_source_key")
            self._state.journals.append(journal)

    async def by_source(self, kind: JournalKind, source: str) -> Journal | None:
        return next((j for j in self._state.journals if (j.kind, j.source) == (kind, source)), None)

    async def balances_of(self, accounts: Collection[Account]) -> Sequence[Balance]:
        return [balance for balance in await self.balances() if balance.account in accounts]

    async def payments_of(self, charge_ids: Collection[str]) -> Mapping[str, PaymentId]:
        return {
            journal.source: journal.payment_id
            for journal in self._state.journals
            if journal.kind in _CHARGES and journal.source in charge_ids and journal.payment_id is not None
        }

    async def balances(self, *, at: datetime | None = None) -> Sequence[Balance]:
        sums: defaultdict[tuple[Any, str], int] = defaultdict(int)
        for journal in self._state.journals:
            if at is None or journal.created_at <= at:
                for entry in journal.entries:
                    sums[entry.account, journal.currency] += entry.amount_minor
        return [Balance(*key, balance_minor) for key, balance_minor in sorted(sums.items())]


class FakeEvents(_Repository):
    async def append(self, events: Sequence[Event]) -> None:
        append_events(self._state, events)

    async def of_subject(self, subject_id: UUID) -> Sequence[Event]:
        return [event for event in self._state.events if event.subject_id == subject_id]


_CHARGES = {JournalKind.CHARGE, JournalKind.UNAPPLIED_CHARGE}
_INTERRUPTED = {OrderStatus.DISPUTED, OrderStatus.REFUNDED}


def _resumes_as(order: Order, status: OrderStatus) -> OrderStatus | None:
    """What a trigger remembers of an order that is interrupted."""
    if status not in _INTERRUPTED:
        return None
    return order.resumes_as if order.status in _INTERRUPTED else order.status


def _count_refunds(state: State, payment_id: PaymentId) -> None:
    """What triggers count, and a CHECK holds to what was captured."""
    refunds = [refund for refund in state.refunds.values() if refund.payment_id == payment_id]
    refunded_minor = sum(refund.amount_minor for refund in refunds if refund.status is not RefundStatus.FAILED)
    payment = state.payments[payment_id]
    if refunded_minor > payment.captured_minor:
        raise Refused("payments_refunded")
    state.payments[payment_id] = replace(payment, refunded_minor=refunded_minor)


def _present(rows: Mapping[Any, Any], keys: Iterable[Any]) -> dict[Any, Any]:
    return {key: rows[key] for key in keys if key in rows}


def _may_see(principal: Principal, key: ApiKey) -> bool:
    return principal.role is Role.ADMIN or principal.user_id == key.user_id


def _collide(payment: Payment, other: Payment) -> bool:
    same_key = (payment.payer_id, payment.idempotency_key) == (other.payer_id, other.idempotency_key)
    same_order = payment.order_id is not None and payment.order_id == other.order_id
    return same_key or (same_order and other.status not in DEAD)


def _page(rows: Iterable[Any], request: PageRequest) -> Page[Any]:
    after = request.after
    found = sorted((row for row in rows if after is None or row.id < after), key=lambda row: row.id, reverse=True)
    page = found[: request.limit]
    return Page(page, page[-1].id if len(found) > request.limit else None)


def _lease(rows: Mapping[Any, Due], ids: Sequence[Any], now: datetime, locked_until: datetime) -> list[Any]:
    leased = [key for key in ids if key in rows and rows[key].is_free(now)]
    for key in leased:
        rows[key].locked_until = rows[key].publish_at = locked_until
    return leased


def _count_attempt(rows: dict[Any, Any], key: Any) -> Any:
    rows[key] = replace(rows[key], attempts=rows[key].attempts + 1)
    return rows[key]
