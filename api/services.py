"""The API's composition root: what one process shares."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry, multiprocess
from redis.asyncio import Redis

from api.events import render_event
from api.identity.services import Identity, build_identity
from api.metrics import (
    ANNOUNCEMENTS_LOST,
    BATCH_SIZE,
    BREAKER_UNREAD,
    CHANGES_LOST,
    PRODUCT_READS,
    RATE_LIMITER_FAILURES,
    STREAMS_STALLED,
    TRANSACTIONS_OPEN,
    backlog_page,
    breaker_page,
    drift_page,
    sealing_page,
)
from api.webhooks.targets import SystemResolver
from db.announcer import GatheringAnnouncer
from db.breaker_rules import BreakerPolicy, RedisRules
from db.broker import CeleryQueue
from db.carts import Carts
from db.changes import ChangeListener, ChangePublisher
from db.clock import DatabaseClock
from db.connection import borrow
from db.pool import Pool, make_pool
from db.product_cache import ProductCache
from db.rate_limits import RateLimits
from db.redis_client import make_redis
from db.secret_box import FernetBox
from db.shared_state import SharedState
from db.sql import Sql
from db.unit_of_work import Database
from domain.audit.watch import SealingWatch
from domain.cart.service import CartService
from domain.catalog.search import SearchService
from domain.catalog.service import CatalogService
from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.disputes.service import DisputeService
from domain.errors import DomainError, Unavailable
from domain.feed.service import EventFeed
from domain.fulfilment.service import OrderService
from domain.ids import correct_time
from domain.ledger.service import LedgerService
from domain.notifications.endpoints import EndpointService
from domain.notifications.redelivery import RedeliveryService
from domain.orders.checkout import Checkout
from domain.orders.model import OrderPolicy
from domain.payments.actions import PaymentActions
from domain.payments.model import AcceptedPayment, Glance, PaymentRequest, Sight
from domain.payments.service import PaymentPolicy, PaymentService
from domain.payouts.service import PayoutPolicy, PayoutService
from domain.reconciliation.desk import ReconciliationDesk
from domain.refunds.rules import RefundPolicy
from domain.refunds.service import RefundService
from domain.sellers.service import SellerPolicy, SellerService
from domain.sellers.statements import StatementService
from domain.settlement.backlogs import BacklogService
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import StripeEvent
from domain.traces.service import TraceService
from domain.work import Work
from ops.settings import Settings
from ops.tracing import TracedCoalescer, publishing, transaction_span

_MAX_BATCH = 64
# PERF: at a thousand payments a second a batch is of ten instead of five, and costs hardly more.
_SPACING_S = 0.02
# PERF: without a pause most reads come just after a batch has gone, and a batch costs what ten of its payments do.
_READ_SPACING_S = 0.004
# PERF: Stripe is in no hurry. Webhooks come one by one, and each batch of them is one commit. Most come while the
# answer that told the same is being booked: those that are stored after that are done with.
_INBOX_SPACING_S = 0.15
_INBOX_BATCH = 256
# The answer that an event's payment waits for is booked by then, even under load.
_HOLD_EVENTS_S = 1.0


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases of the API, and what it watches and closes."""

    settings: Settings
    clock: Clock
    identity: Identity
    catalog: CatalogService
    search: SearchService
    orders: OrderService
    checkout: Checkout
    cart: CartService
    payments: PaymentService
    payment_actions: PaymentActions
    refunds: RefundService
    payouts: PayoutService
    disputes: DisputeService
    sellers: SellerService
    statements: StatementService
    ledger: LedgerService
    traces: TraceService
    reconciliations: ReconciliationDesk
    sealing: SealingWatch
    webhooks: EndpointService
    redeliveries: RedeliveryService
    accept: Coalescer[PaymentRequest, AcceptedPayment]
    look: Coalescer[Glance, Sight]
    stripe_inbox: StripeInbox
    inbox: Coalescer[StripeEvent, bool]
    rate_limits: RateLimits
    registry: CollectorRegistry
    pool: Pool
    redis: Redis
    queue: CeleryQueue
    announcer: GatheringAnnouncer
    changes: ChangeListener
    change_publisher: ChangePublisher
    shared_state: SharedState
    breaker_rules: RedisRules
    backlogs: BacklogService
    feed: EventFeed

    async def check_database(self) -> None:
        """Fail when PostgreSQL does not answer."""
        async with borrow(self.pool, autocommit=True) as connection:
            await connection.execute(Sql("SELECT 1"))

    async def check_redis(self) -> None:
        """Fail when Redis does not answer."""
        await self.redis.ping()

    async def check_broker(self) -> None:
        """Fail when the broker does not answer."""
        await self.queue.depth(Work.CHARGES)

    async def breaker_page(self) -> bytes:
        """Render where the breaker before Stripe stands; nothing without Redis."""
        verdict = await self.shared_state.ask(lambda: self.breaker_rules.enter(""))
        if verdict is None:
            return b""
        return breaker_page("half_open" if verdict.word == "busy" else verdict.word)

    async def backlog_page(self) -> bytes:
        """Render how much work is due, and for how long; nothing without the database."""
        now = self.clock.now()
        try:
            return backlog_page(await self.backlogs.read(now), now)
        except Unavailable:
            return b""

    async def drift_page(self) -> bytes:
        """Render by how much ledger and Stripe differ; nothing without the database."""
        try:
            return drift_page(await self.reconciliations.drift(), self.clock.now())
        except Unavailable:
            return b""

    async def sealing_page(self) -> bytes:
        """Render how far the sealing of the audit log is behind; nothing without the database."""
        try:
            return sealing_page(await self.sealing.oldest_unsealed(), self.clock.now())
        except Unavailable:
            return b""

    async def close(self) -> None:
        """Publish what is gathered, then close every connection."""
        await self.identity.revocations.close()
        await self.stripe_inbox.close()
        await self.announcer.drain()
        await self.change_publisher.drain()
        await self.feed.close()
        await self.changes.close()
        self.queue.close()
        await self.redis.aclose()
        await self.pool.close()


def build_services(settings: Settings) -> Services:
    """Put the API together. Nothing connects before the first use."""
    clock = DatabaseClock(on_correction=correct_time)
    pool = make_pool(
        settings.database_url,
        pool_size=settings.database_pool_size,
        statement_timeout_s=settings.database_statement_timeout_s,
        clock=clock,
    )
    redis = make_redis(settings.redis_url, timeout_s=settings.redis_timeout_s, pool_size=settings.redis_pool_size)
    queue = CeleryQueue(settings.broker_url, socket_timeout_s=settings.broker_timeout_s, envelope=publishing)
    announcer = GatheringAnnouncer(queue, batch_size=settings.charge_batch_size, on_lost=ANNOUNCEMENTS_LOST.inc)
    change_publisher = ChangePublisher(redis, on_lost=CHANGES_LOST.inc)
    on_deliveries = announcer.announce_deliveries
    database = Database(pool, on_change=change_publisher.publish, on_deliveries=on_deliveries, around=_transaction)
    begin = database.begin
    # PERF: nobody waits for a payment to be accepted or a webhook to be stored, so these tell nobody.
    quiet = Database(pool, on_deliveries=on_deliveries, around=_transaction)
    products = ProductCache(
        redis,
        ttl_s=settings.product_cache_ttl_s,
        timeout_s=settings.redis_timeout_s,
        on_read=lambda result: PRODUCT_READS.labels(result).inc(),
    )
    carts = Carts(redis, ttl_s=settings.cart_ttl_s)
    policy = PaymentPolicy(settings.commission_bps, settings.max_amount_minor, settings.republish_after_s)
    payments = PaymentService(quiet.begin, announcer, clock, policy, each=quiet.each)
    inbox = StripeInbox(
        quiet.each, announcer, clock, republish_after_s=settings.republish_after_s, hold_s=_HOLD_EVENTS_S
    )
    identity = build_identity(settings, database, redis, clock)
    changes = ChangeListener(redis, on_word=identity.authenticator.hear)
    return Services(
        settings=settings,
        clock=clock,
        identity=identity,
        catalog=CatalogService(begin, products, clock, max_amount_minor=settings.max_amount_minor),
        search=SearchService(quiet.each),
        orders=OrderService(begin, clock),
        checkout=Checkout(begin, carts, clock, order_policy(settings)),
        cart=CartService(begin, carts, clock),
        payments=payments,
        disputes=DisputeService(begin),
        sellers=SellerService(
            begin, announcer, clock, SellerPolicy(settings.commission_bps, settings.republish_after_s)
        ),
        statements=StatementService(quiet.each, clock),
        payment_actions=PaymentActions(begin, announcer, clock, republish_after_s=settings.republish_after_s),
        refunds=RefundService(
            begin, announcer, clock, RefundPolicy(settings.direct_hold_s, settings.republish_after_s)
        ),
        payouts=PayoutService(
            begin,
            announcer,
            clock,
            PayoutPolicy(
                settings.direct_hold_s,
                settings.republish_after_s,
                settings.payout_least_minor,
                is_paused=settings.payouts_paused,
            ),
        ),
        ledger=LedgerService(begin),
        traces=TraceService(begin),
        reconciliations=ReconciliationDesk(begin, clock),
        sealing=SealingWatch(begin),
        accept=TracedCoalescer("accept", _accepting(payments), max_batch=_MAX_BATCH, spacing_s=_SPACING_S),
        look=TracedCoalescer("read", payments.look, max_batch=_MAX_BATCH, spacing_s=_READ_SPACING_S),
        stripe_inbox=inbox,
        inbox=TracedCoalescer("store event", inbox.receive, max_batch=_INBOX_BATCH, spacing_s=_INBOX_SPACING_S),
        webhooks=EndpointService(
            begin,
            announcer,
            SystemResolver(),
            FernetBox(settings.encryption_key_list),
            clock,
            allow_private_targets=settings.webhooks_allow_private_targets,
        ),
        redeliveries=RedeliveryService(begin, announcer, clock),
        rate_limits=RateLimits(redis, on_failure=RATE_LIMITER_FAILURES.inc),
        registry=_registry(settings),
        pool=pool,
        redis=redis,
        queue=queue,
        announcer=announcer,
        shared_state=SharedState(on_failure=BREAKER_UNREAD.inc),
        breaker_rules=RedisRules(redis, BreakerPolicy()),
        backlogs=BacklogService(quiet.each),
        changes=changes,
        change_publisher=change_publisher,
        feed=EventFeed(
            quiet.each,
            changes,
            render_event,
            max_readers=settings.streams_per_process,
            max_readers_per_user=settings.streams_per_user,
            on_wait=STREAMS_STALLED.set,
        ),
    )


def order_policy(settings: Settings) -> OrderPolicy:
    """Return the settings of placing orders."""
    return OrderPolicy(
        commission_bps=settings.commission_bps,
        max_amount_minor=settings.max_amount_minor,
        ttl_s=settings.order_ttl_s,
    )


def _accepting(payments: PaymentService) -> Callable[..., Awaitable[list[AcceptedPayment | DomainError]]]:
    async def accept(requests: Sequence[PaymentRequest]) -> list[AcceptedPayment | DomainError]:
        BATCH_SIZE.labels("accept").observe(len(requests))
        return await payments.accept(requests)

    return accept


@contextmanager
def _transaction() -> Iterator[None]:
    """Count a transaction while it is open, within its span."""
    with TRANSACTIONS_OPEN.track_inprogress(), transaction_span():
        yield


def _registry(settings: Settings) -> CollectorRegistry:
    """Return the registry that adds up the processes' metrics, where there are several."""
    if settings.prometheus_dir is None:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(settings.prometheus_dir))  # type: ignore[no-untyped-call]  # it has no types
    return registry
