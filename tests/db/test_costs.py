"""What a payment costs, in counts: no times, so that a busy machine changes nothing."""

import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from uuid import UUID

import psycopg
import pytest

from db.announcer import GatheringAnnouncer
from db.unit_of_work import Database
from domain.coalescer import Coalescer
from domain.ids import PaymentId, uuid7
from domain.payments.model import AcceptedPayment, Payment
from domain.payments.service import PaymentPolicy, PaymentService
from domain.settlement.answers import Answer
from domain.settlement.charges import ChargeService
from domain.settlement.inbox.intent_events import IntentEvents
from domain.settlement.inbox.stripe_events import StripeEventService
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import Outcome, SettlementPolicy, StripeEvent
from domain.settlement.service import SettlementService
from domain.work import Work
from ops.stack.layout import ROOT
from tests.builders import NOW, Shop, a_direct_request
from tests.domain.fakes import FakeClock, FakeQueue, RecordingAnnouncer, ScriptedGateway
from tests.stripe_answers import succeeded

PAYMENTS = 1_000
BATCH, MESSAGE = 50, 100
BOUNDS = tomllib.loads((ROOT / "loadtest" / "bounds.toml").read_text())

Count = Callable[[Callable[[], Awaitable[object]]], Awaitable[dict[str, int]]]

# Whole pages in the log come from checkpoints, not from us, and what else is asked from those who poll beside us.
_COUNTED = b"""
    SELECT coalesce(sum(s.calls) FILTER (WHERE NOT s.query ~ '^(BEGIN|COMMIT)'), 0)::int AS statements,
           coalesce(sum(s.calls) FILTER (WHERE s.query ~ '^COMMIT'), 0)::int AS transactions,
           coalesce(sum(s.wal_bytes - 8192 * s.wal_fpi), 0)::bigint AS wal_bytes
    FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid WHERE r.rolname = 'marketflow_app'
        AND s.query ~ 'payment|stripe_events|INTO events|^(BEGIN|COMMIT)'
"""


class WillingStripe(ScriptedGateway):
    """A Stripe that lets every charge succeed."""

    async def charge(self, payment: Payment) -> Answer:
        self.asked.append(("charge", payment.id))
        return succeeded(payment)


@pytest.fixture
async def count(superuser_url: str) -> AsyncIterator[Count]:
    async with await psycopg.AsyncConnection.connect(superuser_url, autocommit=True) as connection:
        await connection.execute(b"CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

        async def counted(work: Callable[[], Awaitable[object]]) -> dict[str, int]:
            await connection.execute(b"SELECT pg_stat_statements_reset()")
            await work()
            cursor = await connection.execute(_COUNTED)
            row = await cursor.fetchone()
            assert row is not None
            assert cursor.description is not None
            return dict(zip([column.name for column in cursor.description], map(int, row), strict=True))

        yield counted
        await connection.execute(b"DROP EXTENSION pg_stat_statements")


def check(name: str, counts: dict[str, int]) -> None:
    bounds: dict[str, int] = BOUNDS[name]
    assert set(counts) == set(bounds)
    over = {cost: (counts[cost], bound) for cost, bound in bounds.items() if counts[cost] > bound}
    assert not over, f"{name} costs more than its bound: {over}"
    idle = {cost: (counts[cost], bound) for cost, bound in bounds.items() if counts[cost] < 0.6 * bound}
    assert not idle, f"{name} costs less by now; lower the bounds: {idle}"


def cut(items: Sequence[UUID], size: int) -> list[Sequence[UUID]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


async def test_payments_cost_no_more_than_their_bounds(
    database: Database, real_shop: Shop, clock: FakeClock, count: Count
) -> None:
    """Accepted, announced, charged, settled, and told of once more by Stripe's webhook."""
    queue, stripe, quiet = FakeQueue(), WillingStripe(), RecordingAnnouncer()
    policy = PaymentPolicy(commission_bps=250, max_amount_minor=99_999_999, republish_after_s=30)
    accepting = PaymentService(database.begin, quiet, clock, policy, each=database.each)
    settling = SettlementService(database.begin, quiet, clock, SettlementPolicy())
    settle: Coalescer[Outcome, bool] = Coalescer(settling.settle, max_batch=MESSAGE)
    charging = ChargeService(database.each, stripe, settle, clock, SettlementPolicy())
    inbox = StripeInbox(database.each, quiet, clock, republish_after_s=30)
    hearing = StripeEventService(
        database.each, [IntentEvents(database.each, stripe, settle)], clock, SettlementPolicy()
    )
    ids: list[UUID] = []

    async def accept() -> None:
        for _ in range(PAYMENTS // BATCH):
            requests = [
                a_direct_request(real_shop.buyer.id, real_shop.seller.id, request_id=uuid7().hex)
                for _ in range(BATCH)
            ]
            for answer in await accepting.accept(requests):
                assert isinstance(answer, AcceptedPayment)
                ids.append(answer.payment.id)

    async def announce() -> None:
        announcer = GatheringAnnouncer(queue, batch_size=128, on_lost=lambda _: None)
        announcer.announce(Work.CHARGES, ids)
        await announcer.drain()

    async def charge() -> None:
        for message in cut(ids, MESSAGE):
            assert await charging.process([PaymentId(row_id) for row_id in message]) == MESSAGE

    async def hear() -> None:
        for batch in cut(ids, BATCH):
            await inbox.receive([webhook(payment_id) for payment_id in batch])
        for message in cut(ids, MESSAGE):
            assert await hearing.process([f"evt_{payment_id.hex}" for payment_id in message]) == MESSAGE

    accepted = await count(accept)
    await announce()
    settled = await count(charge)
    heard = await count(hear)

    check("accept", {**accepted, "messages": len(queue.messages[Work.CHARGES])})
    check("settle", {**settled, "stripe_calls": len(stripe.asked)})
    check("webhook", heard)


def webhook(payment_id: UUID) -> StripeEvent:
    body = (
        f'{{"data":{{"object":{{"id":"pi_{payment_id}","object":"payment_intent","status":"succeeded",'
        f'"currency":"usd","amount_received":1999,"latest_charge":"ch_{payment_id}",'
        f'"metadata":{{"payment_id":"{payment_id}"}},"filler":"{"x" * 1500}"}}}}}}'
    )
    return StripeEvent(f"evt_{payment_id.hex}", "payment_intent.succeeded", body, NOW)
