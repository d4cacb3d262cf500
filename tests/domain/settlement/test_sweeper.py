from collections.abc import Sequence
from uuid import UUID

import pytest

from domain.errors import Unavailable
from domain.events import event as event_of
from domain.settlement.sweeper import Sweeper
from domain.work import Work
from tests.builders import Shop, a_stripe_event, an_endpoint
from tests.domain.fakes import FakeClock, FakeQueue, Memory


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def sweeper(memory: Memory, queue: FakeQueue, clock: FakeClock) -> Sweeper:
    return Sweeper(memory.begin, queue, clock, republish_after_s=30, queue_depth_limit=5, batch_size=2, batches=3)


async def test_due_rows_of_every_kind_are_announced_in_batches(
    sweeper: Sweeper, queue: FakeQueue, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    payments = [await shop.payment(idempotency_key=f"key {number}") for number in range(3)]
    event = a_stripe_event()
    async with memory.begin() as tx:
        await tx.stripe_events.add([event], publish_at=clock.now())
        await tx.commit()

    endpoints = [an_endpoint(shop.seller.id) for _ in range(3)]
    async with memory.begin() as tx:
        for endpoint in endpoints:
            await tx.webhook_endpoints.add(endpoint, most=9)
        await tx.events.append(
            [
                event_of("seller.payouts_enabled", shop.seller.id, clock.now(), audience=[shop.seller.id])
                for _ in range(5)
            ]
        )
        await tx.commit()

    assert await sweeper.sweep() == {
        **dict.fromkeys(Work, 0),
        Work.CHARGES: 3,
        Work.STRIPE_EVENTS: 1,
        Work.DELIVERIES: 3,
    }

    assert queue.messages[Work.CHARGES] == [[payments[0].id, payments[1].id], [payments[2].id]]
    assert queue.messages[Work.STRIPE_EVENTS] == [[event.id]]
    named = [row for message in queue.messages[Work.DELIVERIES] for row in message]
    assert sorted(named) == sorted(endpoint.id for endpoint in endpoints)


async def test_sweep_is_bounded_and_the_next_one_goes_on(sweeper: Sweeper, queue: FakeQueue, shop: Shop) -> None:
    payments = [await shop.payment(idempotency_key=f"key {number}") for number in range(8)]

    counts = [(await sweeper.sweep())[Work.CHARGES] for _ in range(3)]

    assert counts == [6, 2, 0]
    assert [row for message in queue.messages[Work.CHARGES] for row in message] == [each.id for each in payments]


async def test_long_queue_gets_nothing_and_the_rows_stay_due(
    sweeper: Sweeper, queue: FakeQueue, shop: Shop
) -> None:
    payment = await shop.payment()
    queue.messages[Work.CHARGES] = [[] for _ in range(5)]

    assert (await sweeper.sweep())[Work.CHARGES] == 0
    queue.messages[Work.CHARGES].pop()
    assert (await sweeper.sweep())[Work.CHARGES] == 1

    assert queue.messages[Work.CHARGES][-1] == [payment.id]


@pytest.mark.parametrize("age_s", [0, 3_600])
async def test_rows_that_the_broker_did_not_take_are_announced_later_however_old_they_are(
    sweeper: Sweeper, queue: FakeQueue, clock: FakeClock, shop: Shop, age_s: int
) -> None:
    payment = await shop.payment()
    clock.advance(age_s)
    queue.away = True
    with pytest.raises(Unavailable):
        await sweeper.sweep()
    queue.away = False

    clock.advance(29)
    await sweeper.sweep()
    assert queue.messages[Work.CHARGES] == []
    clock.advance(1)
    await sweeper.sweep()

    assert queue.messages[Work.CHARGES] == [[payment.id]]


async def test_rows_that_the_broker_took_before_it_went_away_are_not_announced_again_with_the_others(
    memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    class LeavingQueue(FakeQueue):
        """A broker that goes away after its first message."""

        async def publish(self, work: Work, ids: Sequence[UUID | str]) -> None:
            await super().publish(work, ids)
            self.away = True

    queue = LeavingQueue()
    sweeper = Sweeper(memory.begin, queue, clock, republish_after_s=30, queue_depth_limit=5, batch_size=2)
    payments = [await shop.payment(idempotency_key=f"key {number}") for number in range(3)]
    clock.advance(3_600)
    with pytest.raises(Unavailable):
        await sweeper.sweep()
    queue.away = False

    clock.advance(30)
    await sweeper.sweep()

    assert queue.messages[Work.CHARGES] == [[payments[0].id, payments[1].id], [payments[2].id]]
