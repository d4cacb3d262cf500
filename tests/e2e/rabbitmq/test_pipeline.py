"""The pipeline's tests on RabbitMQ, and what a broker of its own adds: it can go and come back by itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from db.broker import CeleryQueue
from domain.errors import Unavailable
from domain.work import Work
from tests.e2e.market import Caller, Json, Market
from tests.e2e.test_essentials import (
    test_create_payment_success,
    test_health_check,
    test_idempotency_same_key_returns_same_payment,
    test_webhook_payment_succeeded_updates_status,
)
from tests.eventually import eventually
from tests.rabbitmq import PARTS, RabbitNode

__all__ = [
    "test_create_payment_success",
    "test_health_check",
    "test_idempotency_same_key_returns_same_payment",
    "test_webhook_payment_succeeded_updates_status",
]


@pytest.fixture
async def absent(rabbitmq: RabbitNode) -> AsyncIterator[RabbitNode]:
    """The node, stopped; whoever starts it earlier than the end of the test may."""
    await asyncio.to_thread(rabbitmq.stop)
    yield rabbitmq
    await asyncio.to_thread(rabbitmq.ensure_started)


@pytest.fixture
async def publisher(rabbitmq: RabbitNode) -> AsyncIterator[CeleryQueue]:
    """A publisher of this process, on queues that nobody listens to, with a connection that it has used."""
    queue = CeleryQueue(rabbitmq.url(PARTS), socket_timeout_s=10)
    await queue.publish(Work.REFUNDS, ["a"])
    yield queue
    queue.close()


async def test_without_rabbitmq_payments_are_accepted_and_settle_later(
    market: Market, buyer: Caller, order: Json, publisher: CeleryQueue, absent: RabbitNode
) -> None:
    payment = await market.pay(buyer, order)
    assert (await buyer.get(f"/v1/payments/{payment['id']}")).json()["status"] == "pending"
    assert (await market.http.get("/health/ready")).json()["checks"]["broker"] != "ok"
    with pytest.raises(Unavailable):
        await publisher.publish(Work.REFUNDS, ["b"])

    await asyncio.to_thread(absent.ensure_started)

    await market.become(buyer, payment, "succeeded")
    await publisher.publish(Work.REFUNDS, ["c"])
    assert await publisher.depth(Work.REFUNDS) >= 2
    await eventually(lambda: _broker_is_ok(market))


async def _broker_is_ok(market: Market) -> bool:
    return bool((await market.http.get("/health/ready")).json()["checks"]["broker"] == "ok")
