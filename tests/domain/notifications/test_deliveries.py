"""Delivering: each event to each endpoint that wants it, and no endpoint at the expense of another."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from domain.errors import Refused, Unavailable
from domain.event_types import EventType
from domain.notifications.model import (
    Answered,
    DeliveryStatus,
    DisabledReason,
    EndpointStatus,
    Unanswered,
    WebhookEndpoint,
)
from domain.notifications.signatures import new_secret
from tests.builders import Shop
from tests.domain.fakes.notifications import FakeDeliveries
from tests.domain.notifications.conftest import Desk

TIMEOUT = Unanswered("timeout", 15_000)


def statuses(desk: Desk, endpoint: WebhookEndpoint) -> list[DeliveryStatus]:
    return [delivery.status for delivery in desk.deliveries(endpoint)]


async def test_event_is_delivered_signed_and_logged(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    await desk.tell(endpoint)
    desk.clock.time = datetime.now(UTC)  # the library goes by its own clock

    await desk.work(endpoint)

    (sent,) = desk.outside.to(endpoint.url)
    (delivery,) = desk.deliveries(endpoint)
    assert sent.headers["webhook-id"] == str(delivery.event_id) == json.loads(sent.body)["id"]
    secret = endpoint.secret.removeprefix("sealed ")
    assert Webhook(secret).verify(sent.body, dict(sent.headers))["type"] == "order.paid"
    assert (delivery.status, delivery.attempts, delivery.due_at) == (DeliveryStatus.DELIVERED, 1, None)
    assert [(a.number, a.response_status, a.response_start) for a in delivery.log] == [(1, 200, "ok")]
    assert desk.broken == []


async def test_delivery_goes_out_once_however_often_it_is_named(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    await desk.tell(endpoint)

    for _ in range(3):
        await desk.work(endpoint, endpoint)

    assert len(desk.outside.sent) == 1


async def test_only_what_is_wanted_and_may_be_seen_is_delivered(desk: Desk) -> None:
    one = await desk.endpoint()
    stranger = await desk.endpoint()
    picky = await desk.endpoint(one.owner_id, events=("payment.*",))
    finance = await desk.endpoint(sees_all=True)
    disabled = await desk.endpoint(
        one.owner_id, status=EndpointStatus.DISABLED, disabled_reason=DisabledReason.GONE
    )
    await desk.tell(one)

    await desk.work(one, stranger, picky, finance, disabled)

    assert sorted(sent.url for sent in desk.outside.sent) == sorted([one.url, finance.url])


async def test_both_secrets_sign_until_the_old_one_expires(desk: Desk) -> None:
    old = new_secret()
    endpoint = await desk.endpoint(previous_secret=f"sealed {old}", previous_expires_at=desk.clock.now())
    overlapping = await desk.endpoint(previous_secret=f"sealed {old}", previous_expires_at=desk.later(1))
    await desk.tell(endpoint, overlapping)

    await desk.work(endpoint, overlapping)

    counts = {sent.url: len(sent.headers["webhook-signature"].split()) for sent in desk.outside.sent}
    assert counts == {endpoint.url: 1, overlapping.url: 2}


async def test_failed_attempt_is_repeated_when_it_is_due(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    desk.outside.will(endpoint.url, Answered(500, 7, "oh no"), TIMEOUT)
    await desk.tell(endpoint)

    for pause_s in (0, 4, 1, 299, 1):
        desk.clock.advance(pause_s)
        await desk.work(endpoint)

    (delivery,) = desk.deliveries(endpoint)
    assert delivery.status is DeliveryStatus.DELIVERED
    assert [(a.number, a.response_status, a.error) for a in delivery.log] == [
        (3, 200, None),
        (2, None, "timeout"),
        (1, 500, None),
    ]
    first, *others = desk.outside.sent
    assert {(other.headers["webhook-id"], other.body) for other in others} == {
        (first.headers["webhook-id"], first.body)
    }
    began = int(first.headers["webhook-timestamp"])
    assert [int(sent.headers["webhook-timestamp"]) - began for sent in desk.outside.sent] == [0, 5, 305]
    assert len({sent.headers["webhook-signature"] for sent in desk.outside.sent}) == 3
    assert desk.now(endpoint).failures == 0


async def test_whole_schedule_is_tried_and_then_the_delivery_has_failed(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    desk.outside.will(endpoint.url, *[TIMEOUT] * 20)
    await desk.tell(endpoint)

    for _ in range(15):
        await desk.work(endpoint)
        desk.clock.advance(86_401)

    (delivery,) = desk.deliveries(endpoint)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.FAILED, 10)
    assert len(desk.outside.sent) == 10


async def test_gone_endpoint_is_disabled_with_an_event_and_gets_nothing_more(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    other = await desk.endpoint(endpoint.owner_id)
    desk.outside.will(endpoint.url, Answered(410, 3))
    await desk.tell(endpoint)
    await desk.work(endpoint, other)

    await desk.tell(endpoint)
    await desk.work(endpoint, other)

    assert desk.now(endpoint).disabled_reason is DisabledReason.GONE
    (told,) = [event for event in desk.memory.state.events if event.type == EventType.WEBHOOK_ENDPOINT_DISABLED]
    assert (told.subject_id, told.audience) == (endpoint.id, (endpoint.owner_id,))
    assert told.data == {"url": endpoint.url, "reason": "gone"}
    assert len(desk.outside.to(endpoint.url)) == 1
    types = [json.loads(sent.body)["type"] for sent in desk.outside.to(other.url)]
    assert sorted(types) == ["order.paid", "order.paid", "webhook_endpoint.disabled"]


async def test_black_hole_with_a_backlog_delays_nobody_else(desk: Desk) -> None:
    dead, well = await desk.endpoint(), await desk.endpoint()
    desk.outside.black_holes.add(dead.url)
    await desk.tell(dead, times=100)
    await desk.work(dead)

    await desk.tell(well, times=20)
    await desk.work(dead, well)

    assert statuses(desk, well) == [DeliveryStatus.DELIVERED] * 20
    assert len(desk.outside.to(dead.url)) == desk.policy.per_endpoint
    assert desk.outside.most_at_once[dead.url] == desk.policy.per_endpoint


async def test_slow_endpoints_of_one_owner_take_no_slot_from_others(desk: Desk) -> None:
    """They answer in the end, and well: so they never fail, and hold each slot for as long as they like."""
    one = await desk.endpoint()
    slow = [one, *[await desk.endpoint(one.owner_id) for _ in range(4)]]
    well = await desk.endpoint()
    desk.outside.black_holes.update(endpoint.url for endpoint in slow)
    await desk.tell(one, times=10)
    await desk.work(*slow)

    await desk.tell(well, times=10)
    await desk.work(well)

    assert statuses(desk, well) == [DeliveryStatus.DELIVERED] * 10
    assert sorted(desk.outside.most_at_once[endpoint.url] for endpoint in slow) == [0, 0, 1, 1, 1]


async def test_endpoint_whose_owner_has_no_slot_left_gets_the_next_one(desk: Desk) -> None:
    slow = await desk.endpoint(events=("order.*",))
    well = await desk.endpoint(slow.owner_id, events=("order.paid",))
    desk.outside.black_holes.add(slow.url)
    await desk.tell(slow, times=10)
    await desk.work(slow)
    assert desk.outside.most_at_once[slow.url] == desk.policy.per_owner
    await desk.work(well)
    assert desk.outside.to(well.url) == []

    desk.outside.let_answer()
    await desk.work()

    assert statuses(desk, well) == [DeliveryStatus.DELIVERED] * 10
    assert statuses(desk, slow) == [DeliveryStatus.DELIVERED] * 10


async def test_many_dead_endpoints_share_half_of_the_slots_once_they_are_known(desk: Desk) -> None:
    dead = [await desk.endpoint(failures=3, failing_since=desk.clock.now()) for _ in range(20)]
    well = await desk.endpoint()
    desk.outside.black_holes.update(endpoint.url for endpoint in dead)
    await desk.tell(*dead, times=50)
    await desk.work(*dead)

    await desk.tell(well, times=10)
    await desk.work(*dead, well)

    assert statuses(desk, well) == [DeliveryStatus.DELIVERED] * 10
    assert len(desk.outside.sent) == desk.policy.slots // 2 + 10
    assert {desk.outside.most_at_once[endpoint.url] for endpoint in dead} == {0, 1}


async def test_dead_endpoints_make_room_as_their_requests_end(desk: Desk) -> None:
    dead = [await desk.endpoint() for _ in range(3)]
    well = await desk.endpoint()
    desk.outside.black_holes.update(endpoint.url for endpoint in dead)
    for endpoint in dead:
        desk.outside.will(endpoint.url, *[TIMEOUT] * 3)
    await desk.tell(*dead, times=50)
    await desk.work(*dead)  # none is known to be dead: they take all slots, once
    await desk.tell(well, times=10)
    await desk.work(well)
    assert desk.outside.to(well.url) == []

    desk.outside.let_answer()
    await desk.work()

    assert statuses(desk, well) == [DeliveryStatus.DELIVERED] * 10


async def test_slots_are_dealt_out_one_an_endpoint_and_round(desk: Desk) -> None:
    endpoints = [await desk.endpoint() for _ in range(4)]
    desk.outside.black_holes.update(endpoint.url for endpoint in endpoints)
    for endpoint in endpoints:
        await desk.tell(endpoint, times=10)

    await desk.work(*endpoints)

    assert [len(desk.outside.to(endpoint.url)) for endpoint in endpoints] == [2, 2, 2, 2]


async def test_endpoint_for_which_no_slot_was_left_gets_one_as_they_become_free(desk: Desk) -> None:
    """It has room of its own: of the eight slots, three endpoints may have three each."""
    endpoints = [await desk.endpoint() for _ in range(3)]
    await desk.tell(*endpoints, times=10)

    await desk.work(*endpoints)

    assert [statuses(desk, endpoint) for endpoint in endpoints] == [[DeliveryStatus.DELIVERED] * 10] * 3


async def test_messages_that_come_at_once_share_the_slots(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = desk.memory.begin

    @asynccontextmanager
    async def begin_later() -> AsyncIterator[object]:
        await asyncio.sleep(0)
        async with begin() as tx:
            yield tx

    endpoints = [await desk.endpoint() for _ in range(6)]
    desk.outside.black_holes.update(endpoint.url for endpoint in endpoints)
    await desk.tell(*endpoints, times=10)
    monkeypatch.setattr(desk.memory, "begin", begin_later)
    desk.service = desk.another_process()

    await asyncio.gather(*(desk.work(endpoint) for endpoint in endpoints))

    assert len(desk.outside.sent) == desk.policy.slots


async def test_limit_of_an_endpoint_holds_for_all_processes(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    desk.outside.black_holes.add(endpoint.url)
    await desk.tell(endpoint, times=10)
    other = desk.another_process()

    await desk.work(endpoint)
    await other.process([endpoint.id])
    await desk.work()

    assert desk.outside.most_at_once[endpoint.url] == desk.policy.per_endpoint


async def test_backlog_drains_within_the_limit(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    await desk.tell(endpoint, times=50)

    await desk.work(endpoint)
    await desk.service.close()

    assert statuses(desk, endpoint) == [DeliveryStatus.DELIVERED] * 50
    assert desk.outside.most_at_once[endpoint.url] == desk.policy.per_endpoint
    assert len({sent.headers["webhook-id"] for sent in desk.outside.sent}) == 50


async def test_resting_endpoint_is_left_alone(desk: Desk) -> None:
    endpoint = await desk.endpoint(resume_at=desk.later(10))
    await desk.tell(endpoint)

    await desk.work(endpoint)
    assert desk.outside.sent == []
    desk.clock.advance(10)
    await desk.work(endpoint)

    assert statuses(desk, endpoint) == [DeliveryStatus.DELIVERED]


async def test_lost_worker_delays_a_delivery_until_its_lease_ends(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    desk.outside.black_holes.add(endpoint.url)
    await desk.tell(endpoint)
    await desk.work(endpoint)
    desk.outside.black_holes.clear()

    successor = desk.another_process()
    await successor.process([endpoint.id])
    assert len(desk.outside.sent) == 1
    desk.clock.advance(desk.policy.lease_s)
    await successor.process([endpoint.id])
    await successor.close()
    desk.outside.let_answer()
    await desk.service.close()

    (delivery,) = desk.deliveries(endpoint)
    assert (delivery.status, delivery.attempts) == (DeliveryStatus.DELIVERED, 2)
    assert len({sent.headers["webhook-id"] for sent in desk.outside.sent}) == 1


async def test_nothing_is_sent_to_whom_is_kept_out(desk: Desk, shop: Shop) -> None:
    endpoint = await desk.endpoint(shop.seller.id)
    await desk.tell(endpoint)
    async with desk.memory.begin() as tx:
        await tx.users.set_suspended(shop.seller.id, desk.clock.now())
        await tx.commit()
    await desk.work(endpoint)
    assert desk.outside.sent == []

    async with desk.memory.begin() as tx:
        await tx.users.set_suspended(shop.seller.id, None)
        await tx.commit()
    await desk.work(endpoint)

    assert statuses(desk, endpoint) == [DeliveryStatus.DELIVERED]


async def test_late_failure_does_not_undo_what_another_worker_achieved(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    desk.outside.black_holes.add(endpoint.url)
    await desk.tell(endpoint)
    await desk.work(endpoint)
    desk.outside.black_holes.clear()
    desk.clock.advance(desk.policy.lease_s)
    successor = desk.another_process()
    await successor.process([endpoint.id])
    await successor.close()

    desk.outside.will(endpoint.url, TIMEOUT)
    desk.outside.let_answer()
    await desk.service.close()

    (delivery,) = desk.deliveries(endpoint)
    assert delivery.status is DeliveryStatus.DELIVERED
    assert [attempt.number for attempt in delivery.log] == [1, 2]


async def test_missing_key_sends_nothing_and_blames_nobody(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    await desk.tell(endpoint)
    desk.box.is_lost = True
    await desk.work(endpoint)
    assert (desk.outside.sent, desk.now(endpoint).failures) == ([], 0)
    assert len(desk.broken) == 1

    desk.box.is_lost = False
    desk.clock.advance(desk.policy.lease_s)
    await desk.work(endpoint)

    assert statuses(desk, endpoint) == [DeliveryStatus.DELIVERED]


async def test_answer_that_the_database_refuses_is_forgotten_and_spares_its_neighbours(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = await desk.endpoint()
    desk.outside.will(endpoint.url, Answered(500, 5, "poison"))
    write = FakeDeliveries.conclude

    async def refuse_poison(self: FakeDeliveries, conclusions: list[object]) -> None:
        if any(one.attempt.response_start == "poison" for one in conclusions):
            raise Refused("not as text")
        await write(self, conclusions)

    monkeypatch.setattr(FakeDeliveries, "conclude", refuse_poison)
    await desk.tell(endpoint, times=3)
    await desk.work(endpoint)

    assert statuses(desk, endpoint).count(DeliveryStatus.DELIVERED) == 2
    (left,) = [one for one in desk.deliveries(endpoint) if one.status is DeliveryStatus.PENDING]
    assert [attempt.error for attempt in left.log] == ["answer_unreadable"]
    assert left.due_at == desk.later(5)


async def test_error_of_ours_in_sending_is_an_end_as_well(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the delivery came again with each end of its lease, for ever and outside of its schedule."""
    endpoint = await desk.endpoint()

    async def stumble(*_: object) -> Answered:
        raise OverflowError("an odd header")

    monkeypatch.setattr(desk.outside, "send", stumble)
    await desk.tell(endpoint)
    await desk.work(endpoint)

    (delivery,) = desk.deliveries(endpoint)
    assert (delivery.status, delivery.due_at) == (DeliveryStatus.PENDING, desk.later(5))
    assert [attempt.error for attempt in delivery.log] == ["sender_failed"]
    assert desk.now(endpoint).failing_since == desk.clock.now()
    assert [type(error) for error in desk.broken] == [OverflowError]


async def test_end_that_cannot_be_written_is_heard_of(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No message waits for it any more."""

    async def be_away(*_: object) -> None:
        raise Unavailable("the database is out of reach", code="database_unavailable")

    endpoint = await desk.endpoint()
    await desk.tell(endpoint)
    monkeypatch.setattr(FakeDeliveries, "conclude", be_away)

    await desk.work(endpoint)

    assert [type(error) for error in desk.broken] == [Unavailable]


async def test_closing_finishes_what_is_on_its_way_and_takes_no_more(desk: Desk) -> None:
    endpoint = await desk.endpoint()
    desk.outside.black_holes.add(endpoint.url)
    await desk.tell(endpoint, times=5)
    await desk.work(endpoint)

    desk.outside.let_answer()
    await desk.service.close()

    assert statuses(desk, endpoint).count(DeliveryStatus.DELIVERED) == desk.policy.per_endpoint
    await desk.service.process([endpoint.id])
    assert len(desk.outside.sent) == desk.policy.per_endpoint
