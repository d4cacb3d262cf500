"""What owners ask to be sent again."""

from datetime import timedelta

import pytest

from domain.errors import Conflict
from domain.identity.model import Principal, Role
from domain.ids import DeliveryId, EventId, uuid7
from domain.notifications.endpoints import EndpointService
from domain.notifications.model import Answered, Delivery, DeliveryStatus
from domain.notifications.redelivery import RedeliveryService
from domain.work import Work
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer
from tests.domain.notifications.conftest import URL, Desk, refusal, someone


@pytest.fixture
def redeliveries(memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock) -> RedeliveryService:
    return RedeliveryService(memory.begin, announcer, clock)


@pytest.mark.parametrize("end", [DeliveryStatus.DELIVERED, DeliveryStatus.FAILED])
async def test_what_is_over_can_be_sent_again(
    service: EndpointService,
    redeliveries: RedeliveryService,
    desk: Desk,
    announcer: RecordingAnnouncer,
    end: DeliveryStatus,
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    await desk.tell(endpoint)
    if end is DeliveryStatus.FAILED:
        desk.outside.will(URL, Answered(410, 1))
    await desk.work(endpoint)
    (delivery,) = desk.deliveries(endpoint)
    assert delivery.status is end
    await service.activate(owner, endpoint.id)
    announcer.announced.clear()

    again = await redeliveries.retry(owner, delivery.id)
    await desk.work(endpoint)

    assert (again.status, again.due_at) == (DeliveryStatus.PENDING, desk.clock.now())
    assert announcer.announced[Work.DELIVERIES] == [endpoint.id]
    first, second = desk.outside.sent
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    (after,) = desk.deliveries(endpoint)
    assert (after.status, after.attempts, len(after.log)) == (DeliveryStatus.DELIVERED, 2, 2)


async def under_way(service: EndpointService, desk: Desk, owner: Principal) -> Delivery:
    """A delivery to an endpoint that takes it and does not answer."""
    endpoint, _ = await service.create(owner, URL, ["*"])
    desk.outside.black_holes.add(URL)
    await desk.tell(endpoint)
    await desk.work(endpoint)
    (delivery,) = desk.deliveries(endpoint)
    return delivery


async def test_delivery_is_not_retried_while_it_is_sent_nor_by_a_stranger(
    service: EndpointService, redeliveries: RedeliveryService, desk: Desk
) -> None:
    owner = someone()
    delivery = await under_way(service, desk, owner)

    assert await refusal(redeliveries.retry(owner, delivery.id)) == "delivery_in_progress"
    assert await refusal(redeliveries.retry(someone(), delivery.id)) == "delivery_not_found"
    assert await refusal(redeliveries.retry(owner, DeliveryId(uuid7()))) == "delivery_not_found"
    desk.outside.let_answer()
    await desk.service.close()


async def test_delivery_that_a_lost_worker_was_at_is_sent_again_once_its_lease_has_ended(
    service: EndpointService, redeliveries: RedeliveryService, desk: Desk
) -> None:
    owner = someone()
    delivery = await under_way(service, desk, owner)

    desk.clock.advance(desk.policy.lease_s)

    assert (await redeliveries.retry(owner, delivery.id)).due_at == desk.clock.now()


async def test_disabled_endpoint_must_be_activated_before_anything_is_sent_again(
    service: EndpointService, redeliveries: RedeliveryService, desk: Desk
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    desk.outside.will(URL, Answered(410, 1))
    await desk.tell(endpoint)
    await desk.work(endpoint)
    (delivery,) = desk.deliveries(endpoint)
    since = desk.clock.now() - timedelta(hours=1)

    for call in (
        redeliveries.retry(owner, delivery.id),
        redeliveries.send_span(owner, endpoint.id, since, None, only_failed=True),
        redeliveries.send_events(owner, endpoint.id, [delivery.event_id]),
    ):
        with pytest.raises(Conflict) as refused:
            await call
        assert refused.value.code == "endpoint_disabled"


@pytest.mark.parametrize(("only_failed", "scheduled"), [(True, 2), (False, 3)])
async def test_span_is_delivered_again_with_what_was_missed(
    service: EndpointService, redeliveries: RedeliveryService, desk: Desk, *, only_failed: bool, scheduled: int
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["order.*"])
    await desk.tell(endpoint)
    await desk.work(endpoint)
    desk.clock.advance(10)
    since_the_second = desk.clock.now()
    desk.outside.will(URL, Answered(410, 1))
    await desk.tell(endpoint)
    await desk.work(endpoint)
    desk.clock.advance(10)
    await desk.tell(endpoint)  # missed: it is disabled
    desk.clock.advance(10)
    await service.activate(owner, endpoint.id)

    asked = await redeliveries.send_span(
        owner,
        endpoint.id,
        since_the_second - timedelta(seconds=0 if only_failed else 10),
        None,
        only_failed=only_failed,
    )
    await desk.work(endpoint)

    assert (asked.scheduled, asked.next_after) == (scheduled, None)
    assert [one.status for one in desk.deliveries(endpoint)] == [DeliveryStatus.DELIVERED] * 3
    assert len(desk.outside.sent) == 2 + scheduled


async def test_long_span_goes_on_after_the_event_that_its_last_part_ended_with(
    service: EndpointService, redeliveries: RedeliveryService, desk: Desk
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    since = desk.clock.now()
    await desk.tell(endpoint, times=3)
    await desk.work(endpoint)
    desk.clock.advance(10)
    first, *others = sorted(desk.deliveries(endpoint), key=lambda one: one.event_id)

    asked = await redeliveries.send_span(owner, endpoint.id, since, None, only_failed=False, after=first.event_id)
    await desk.work(endpoint)

    assert asked.scheduled == len(others)
    assert {one.event_id: one.attempts for one in desk.deliveries(endpoint)} == {
        first.event_id: 1,
        **{one.event_id: 2 for one in others},
    }


async def test_span_must_lie_in_the_past(
    service: EndpointService, redeliveries: RedeliveryService, clock: FakeClock
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    now = clock.now()
    spans = [(now, None), (now + timedelta(days=1), None), (now - timedelta(1), now - timedelta(2))]

    for since, until in spans:
        call = redeliveries.send_span(owner, endpoint.id, since, until, only_failed=True)
        assert await refusal(call) == "span_invalid"


async def test_named_events_are_sent_again_whatever_became_of_them(
    service: EndpointService, redeliveries: RedeliveryService, desk: Desk, announcer: RecordingAnnouncer
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["order.*"])
    await desk.tell(endpoint, times=2)
    await desk.work(endpoint)
    desk.outside.will(URL, Answered(500, 1))
    await desk.tell(endpoint)  # waits for its next attempt
    await desk.work(endpoint)
    announcer.announced.clear()
    delivered, other, waiting = desk.deliveries(endpoint)

    asked = await redeliveries.send_events(owner, endpoint.id, [waiting.event_id, delivered.event_id] * 2)
    await desk.work(endpoint)

    assert asked.scheduled == 2
    assert announcer.announced[Work.DELIVERIES] == [endpoint.id]
    assert [one.attempts for one in desk.deliveries(endpoint)] == [2, 1, 2]
    assert {one.status for one in desk.deliveries(endpoint)} == {DeliveryStatus.DELIVERED}
    assert [sent.headers["webhook-id"] for sent in desk.outside.sent].count(str(other.event_id)) == 1


async def test_named_events_that_are_none_of_the_endpoints_business_are_left_out(
    service: EndpointService, redeliveries: RedeliveryService, desk: Desk, announcer: RecordingAnnouncer
) -> None:
    owner, stranger = someone(), someone()
    endpoint, _ = await service.create(owner, URL, ["payment.*"])
    theirs, _ = await service.create(stranger, "https://example.com/theirs", ["*"])
    await desk.tell(endpoint)  # orders are not among what it wants
    await desk.tell(theirs)
    events = [one.id for one in desk.memory.state.events]

    asked = await redeliveries.send_events(owner, endpoint.id, [*events, EventId(uuid7())])

    assert (asked.scheduled, desk.deliveries(endpoint), announcer.announced) == (0, [], {})


async def test_only_owners_and_admins_ask_for_something_again(
    service: EndpointService, redeliveries: RedeliveryService
) -> None:
    endpoint, _ = await service.create(someone(), URL, ["*"])
    since = endpoint.created_at - timedelta(1)

    for caller in (someone(), someone(Role.BUYER), someone(Role.FINANCE)):
        for call in (
            redeliveries.send_events(caller, endpoint.id, [EventId(uuid7())]),
            redeliveries.send_span(caller, endpoint.id, since, None, only_failed=True),
        ):
            assert await refusal(call) == "webhook_endpoint_not_found"
    admin = someone(Role.ADMIN)
    assert (await redeliveries.send_span(admin, endpoint.id, since, None, only_failed=True)).scheduled == 0


@pytest.mark.parametrize("asked_for", ["one", "named", "span", "activation"])
async def test_whoever_asks_for_something_now_does_not_wait_for_the_end_of_a_rest(
    service: EndpointService, redeliveries: RedeliveryService, desk: Desk, asked_for: str
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    since = desk.clock.now()
    desk.outside.will(URL, Answered(503, 1, retry_after_s=3_600))
    await desk.tell(endpoint)
    await desk.work(endpoint)
    (delivery,) = desk.deliveries(endpoint)
    assert desk.now(endpoint).resume_at == desk.later(3_600)
    desk.clock.advance(1)

    if asked_for == "one":
        await redeliveries.retry(owner, delivery.id)
    elif asked_for == "named":
        await redeliveries.send_events(owner, endpoint.id, [delivery.event_id])
    elif asked_for == "span":
        await desk.tell(endpoint)
        await redeliveries.send_span(owner, endpoint.id, since, None, only_failed=True)
    else:
        await desk.tell(endpoint)
        assert (await service.activate(owner, endpoint.id)).resume_at is None
    await desk.work(endpoint)

    assert len(desk.outside.sent) == 2
    assert DeliveryStatus.DELIVERED in {one.status for one in desk.deliveries(endpoint)}
