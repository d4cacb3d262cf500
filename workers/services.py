"""The workers' composition root: what the tasks of one process share."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from redis.asyncio import Redis

from db.announcer import GatheringAnnouncer
from db.breaker import Breaker
from db.breaker_rules import BreakerPolicy, LocalRules, RedisRules
from db.broker import CeleryQueue
from db.changes import ChangePublisher
from db.clock import DatabaseClock
from db.egress import LocalBucket, RedisBucket, SharedBucket
from db.pool import make_pool
from db.redis_client import make_redis
from db.secret_box import FernetBox
from db.shared_state import SharedState
from db.unit_of_work import Database
from domain.audit.sealing import AuditSealer
from domain.clock import Clock
from domain.coalescer import Coalescer
from domain.errors import DomainError, Unavailable
from domain.fulfilment.deadlines import OrderDeadlines
from domain.identity.upkeep import RevocationService
from domain.ids import UserId, correct_time
from domain.ledger.service import LedgerService
from domain.notifications.deliveries import DeliveryService
from domain.notifications.upkeep import DeliveryUpkeep
from domain.payments.model import Payment
from domain.payouts.run import PayoutRun
from domain.reconciliation.mending import Mending
from domain.reconciliation.service import Reconciler
from domain.settlement.admission import Admission
from domain.settlement.charges import ChargeService
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.inbox.account_events import AccountEvents
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.dispute_events import DisputeEvents
from domain.settlement.inbox.intent_events import IntentEvents
from domain.settlement.inbox.payout_events import PayoutEvents
from domain.settlement.inbox.refund_events import RefundEvents
from domain.settlement.inbox.stripe_events import StripeEventService
from domain.settlement.inbox.stripe_inbox import StripeEventUpkeep, StripeInbox
from domain.settlement.inbox.stripe_replay import StripeReplay
from domain.settlement.model import Outcome
from domain.settlement.onboarding import Onboarding
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.payouts import PayoutSender, PayoutSettlement
from domain.settlement.refunds import RefundSender, RefundSettlement
from domain.settlement.reversals import ReversalSender, ReversalSettlement
from domain.settlement.service import SettlementService
from domain.settlement.sweeper import Sweeper
from domain.work import Work
from ops.settings import Settings
from ops.tracing import TracedCoalescer, publishing, start_tracing, stop_tracing, transaction_span
from workers.audit_head import publish_head
from workers.counted_sender import CountedSender
from workers.following import follow_account, follow_delivery, follow_payment, follow_payout, follow_refund
from workers.metrics import (
    ANNOUNCEMENTS_LOST,
    BATCH_SIZE,
    CHANGES_LOST,
    EGRESS_ALONE,
    ROWS_POSTPONED,
    SETTLE_SECONDS,
    STRIPE_TURN_SECONDS,
    TRANSACTIONS_OPEN,
)
from workers.policies import (
    delivery_policy,
    onboarding_terms,
    payout_policy,
    reconciliation_policy,
    run_policy,
    settlement_policy,
)
from workers.stripe_accounts import StripeAccounts
from workers.stripe_balance import StripeBalance
from workers.stripe_calls import StripeCalls
from workers.stripe_egress import StripeEgress
from workers.stripe_gateway import StripeGateway
from workers.stripe_history import StripeHistory
from workers.stripe_payouts import StripePayouts
from workers.stripe_refunds import StripeRefunds
from workers.webhook_sender import AiohttpSender

log = structlog.get_logger(__name__)

_SETTLE_SPACING_S = 0.1
"""PERF: a transaction costs as much as settling twenty payments in it."""


@dataclass(frozen=True, slots=True)
class Services:
    """The use cases of the workers, and the clock that they go by."""

    clock: Clock
    admission: Admission
    charges: ChargeService
    stripe_events: StripeEventService
    stripe_upkeep: StripeEventUpkeep
    replay: StripeReplay
    refunds: RefundSender
    payouts: PayoutSender
    reversals: ReversalSender
    payout_run: PayoutRun
    onboarding: Onboarding
    sweeper: Sweeper
    ledger: LedgerService
    deadlines: OrderDeadlines
    revocations: RevocationService
    audit: AuditSealer
    reconciler: Reconciler
    deliveries: DeliveryService
    delivery_upkeep: DeliveryUpkeep


def check_settings(settings: Settings, queues: Collection[str]) -> None:
    """Refuse settings with which no task of some queues could do its work.

    Errors: ValueError that names what is wrong.
    """
    needed = {
        "MARKETFLOW_DATABASE_URL": settings.database_url,
        "MARKETFLOW_REDIS_URL": settings.redis_url,
        "MARKETFLOW_BROKER_URL": settings.broker_url,
    }
    if set(queues) != {Work.DELIVERIES}:  # who sends webhooks alone asks Stripe nothing
        needed["MARKETFLOW_STRIPE_API_KEY"] = settings.stripe_api_key.get_secret_value()
    if missing := [name for name, given in needed.items() if not given]:
        raise ValueError(f"not set: {', '.join(missing)}")
    FernetBox(settings.encryption_key_list)


@dataclass(frozen=True, slots=True)
class _Outside:
    """What a process holds open: PostgreSQL, Stripe, the broker, and the session that sends webhooks."""

    clock: Clock
    database: Database
    egress: StripeEgress
    calls: StripeCalls
    queue: CeleryQueue
    announcer: GatheringAnnouncer
    sender: AiohttpSender


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Open all that the workers of this process share; close it at the end."""
    async with _open_outside(settings) as outside:
        services = _put_together(settings, outside)
        try:
            yield services
        finally:
            await services.deliveries.close()


@asynccontextmanager
async def _open_outside(settings: Settings) -> AsyncIterator[_Outside]:
    clock = DatabaseClock(on_correction=correct_time)
    pool = make_pool(
        settings.database_url,
        pool_size=settings.database_pool_size,
        statement_timeout_s=settings.database_statement_timeout_s,
        clock=clock,
    )
    await pool.warm()
    redis = make_redis(settings.redis_url, timeout_s=settings.redis_timeout_s, pool_size=settings.redis_pool_size)
    egress = stripe_egress(settings, redis)
    calls = StripeCalls(
        egress,
        api_key=settings.stripe_api_key.get_secret_value(),
        api_base=settings.stripe_api_base,
        timeout_s=settings.stripe_timeout_s,
    )
    start_tracing("worker", otlp_endpoint=settings.otlp_endpoint, sample_ratio=settings.trace_sample_ratio)
    queue = CeleryQueue(settings.broker_url, socket_timeout_s=settings.broker_timeout_s, envelope=publishing)
    announcer = GatheringAnnouncer(queue, batch_size=settings.charge_batch_size, on_lost=ANNOUNCEMENTS_LOST.inc)
    changes = ChangePublisher(redis, on_lost=CHANGES_LOST.inc)
    database = Database(
        pool, on_change=changes.publish, on_deliveries=announcer.announce_deliveries, around=_transaction
    )
    sender = AiohttpSender(
        clock,
        timeout_s=settings.webhook_timeout_s,
        allow_private_targets=settings.webhooks_allow_private_targets,
        # A look-up outlives the request that gave up on it.
        most_lookups=2 * settings.webhook_slots,
    )
    try:
        yield _Outside(clock, database, egress, calls, queue, announcer, sender)
    finally:
        await sender.close()
        await announcer.drain()
        await changes.drain()
        queue.close()
        await redis.aclose()
        await calls.close()
        await pool.close()
        await asyncio.to_thread(stop_tracing)


def _put_together(settings: Settings, outside: _Outside) -> Services:
    clock, announcer, calls = outside.clock, outside.announcer, outside.calls
    # PERF: leasing, looking up and finishing are single statements, which need no BEGIN and COMMIT around them.
    begin, each = outside.database.begin, outside.database.each
    policy = settlement_policy(settings)
    gateway = StripeGateway(calls)
    settlement = SettlementService(begin, announcer, clock, policy, on_settled=_observe_settled)
    settle: Coalescer[Outcome, bool] = TracedCoalescer(
        "settle", _counted(settlement.settle), max_batch=settings.charge_batch_size, spacing_s=_SETTLE_SPACING_S
    )
    stripe_refunds = StripeRefunds(calls)
    refunds = RefundSettlement(begin, clock, policy)
    stripe_payouts = StripePayouts(calls)
    payouts = PayoutSettlement(begin, clock, policy)
    reversals = ReversalSettlement(begin, clock, policy)
    own_payouts = OwnPayouts(begin, stripe_payouts, clock)
    owners = ChargeOwners(begin, gateway, settle)
    refund_events = RefundEvents(begin, stripe_refunds, refunds, owners, follow=follow_refund)
    balance = StripeBalance(calls)
    dispute_events = DisputeEvents(DisputeSettlement(begin, clock, policy), owners, balance)
    deliveries = DeliveryService(
        begin,
        CountedSender(outside.sender),
        FernetBox(settings.encryption_key_list),
        clock,
        delivery_policy(settings),
        on_broken=_log_broken,
        follow=follow_delivery,
    )
    return Services(
        clock=clock,
        admission=Admission(each, outside.egress, clock, on_postponed=_count_postponed),
        charges=ChargeService(each, gateway, settle, clock, policy, follow=follow_payment),
        stripe_events=StripeEventService(
            each,
            [
                IntentEvents(each, gateway, settle, follow=follow_payment),
                refund_events,
                PayoutEvents(begin, stripe_payouts, payouts, reversals, own_payouts),
                dispute_events,
                AccountEvents(begin, announcer, clock, policy),
            ],
            clock,
            policy,
        ),
        stripe_upkeep=StripeEventUpkeep(each, clock, kept_s=settings.stripe_events_kept_s),
        replay=StripeReplay(
            each,
            StripeHistory(calls),
            StripeInbox(each, announcer, clock, republish_after_s=settings.republish_after_s),
            clock,
        ),
        payouts=PayoutSender(
            begin,
            stripe_payouts,
            payouts,
            clock,
            policy,
            follow=follow_payout,
            is_paused=settings.payouts_paused,
        ),
        reversals=ReversalSender(begin, stripe_payouts, reversals, clock, policy),
        payout_run=PayoutRun(
            begin, announcer, clock, payout_policy(settings), run_policy(settings), on_failure=_log_unpaid
        ),
        refunds=RefundSender(begin, stripe_refunds, refunds, clock, policy, follow=follow_refund),
        onboarding=Onboarding(
            begin, StripeAccounts(calls, onboarding_terms(settings)), clock, policy, follow=follow_account
        ),
        sweeper=Sweeper(
            begin,
            outside.queue,
            clock,
            republish_after_s=settings.republish_after_s,
            queue_depth_limit=settings.queue_depth_limit,
            batch_size=settings.charge_batch_size,
        ),
        ledger=LedgerService(begin),
        deadlines=OrderDeadlines(begin, clock, completes_after_s=settings.order_completes_after_s),
        revocations=RevocationService(begin, clock),
        audit=AuditSealer(begin, clock, on_seal=publish_head),
        reconciler=Reconciler(
            begin,
            balance,
            Mending(gateway, settle, balance, refund_events, dispute_events, own_payouts=own_payouts),
            clock,
            reconciliation_policy(settings),
        ),
        deliveries=deliveries,
        delivery_upkeep=DeliveryUpkeep(each, clock, kept_s=settings.webhook_deliveries_kept_s),
    )


def _observe_settled(payment: Payment, at: datetime) -> None:
    SETTLE_SECONDS.labels(str(payment.status)).observe((at - payment.created_at).total_seconds())


def _counted(settle: Callable[[Sequence[Outcome]], Awaitable[list[bool]]]) -> Callable[..., Awaitable[list[bool]]]:
    async def counted(outcomes: Sequence[Outcome]) -> list[bool]:
        BATCH_SIZE.labels("settle").observe(len(outcomes))
        return await settle(outcomes)

    return counted


@contextmanager
def _transaction() -> Iterator[None]:
    """Count a transaction while it is open, within its span."""
    with TRANSACTIONS_OPEN.track_inprogress(), transaction_span():
        yield


def stripe_egress(settings: Settings, redis: Redis) -> StripeEgress:
    """Return the way out to Stripe, shared by all workers through Redis."""
    state = SharedState(on_failure=EGRESS_ALONE.inc)
    policy = BreakerPolicy(
        failures=settings.breaker_failures,
        window_s=settings.breaker_window_s,
        open_s=settings.breaker_open_s,
        # Longer than any call, so that a trial ends by itself only where its process did.
        trial_s=settings.stripe_timeout_s + 2 * settings.stripe_wait_s + 1,
    )
    rate = settings.stripe_rate_per_second
    bucket = None
    if rate:
        alone = LocalBucket(rate_per_second=rate / settings.worker_processes)
        bucket = SharedBucket(RedisBucket(redis, rate_per_second=rate), alone, state)
    return StripeEgress(
        Breaker(RedisRules(redis, policy), LocalRules(policy), state),
        bucket,
        longest_wait_s=settings.stripe_wait_s,
        on_wait=STRIPE_TURN_SECONDS.observe,
    )


def _count_postponed(work: Work, count: int) -> None:
    ROWS_POSTPONED.labels(str(work)).inc(count)


def _log_unpaid(seller_id: UserId, failure: DomainError) -> None:
    """Tell of a seller that a scheduled run could not pay out."""
    log.error("payout_refused", seller_id=str(seller_id), reason=failure.message)


def _log_broken(error: BaseException) -> None:
    """Tell of a delivery that was cut off; its lease ends, and it is sent again."""
    if isinstance(error, Unavailable):
        log.warning("delivery_postponed", code=error.code)
    else:
        log.error("delivery_broken", exc_info=error)
