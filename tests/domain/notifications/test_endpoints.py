"""Webhook endpoints as their owners use them."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from domain.errors import Conflict, DomainError, Invalid, NotFound
from domain.identity.model import Principal, Role
from domain.ids import DeliveryId, UserId, WebhookEndpointId, uuid7
from domain.notifications.endpoints import MAX_ENDPOINTS, EndpointService
from domain.notifications.model import Answered, DeliveryStatus, EndpointStatus
from domain.pages import PageRequest
from domain.payments.ports import Work
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer
from tests.domain.notifications.conftest import Desk

URL = "https://example.com/hooks"


class FakeResolver:
    """Names lead where a test says."""

    def __init__(self) -> None:
        self.addresses: Sequence[str] = ["93.184.216.34", "2606:4700::1111"]
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.addresses


@pytest.fixture
def resolver() -> FakeResolver:
    return FakeResolver()


@pytest.fixture
def service(
    memory: Memory, announcer: RecordingAnnouncer, resolver: FakeResolver, desk: Desk, clock: FakeClock
) -> EndpointService:
    return EndpointService(memory.begin, announcer, resolver, desk.box, clock, allow_private_targets=False)


def someone(role: Role = Role.SELLER) -> Principal:
    return Principal(UserId(uuid7()), role)


async def refusal(call: object) -> str:
    with pytest.raises(DomainError) as refused:
        await call  # type: ignore[misc]  # any coroutine
    return refused.value.code


async def test_endpoint_is_made_with_a_secret_that_is_kept_sealed(service: EndpointService) -> None:
    owner = someone()

    endpoint, secret = await service.create(owner, URL, ["payment.*", "order.paid", "order.paid"])

    assert (endpoint.owner_id, endpoint.url, endpoint.events) == (owner.user_id, URL, ("order.paid", "payment.*"))
    assert endpoint.status is EndpointStatus.ENABLED
    assert (endpoint.secret, endpoint.sees_all) == (f"sealed {secret}", False)
    assert await service.get(owner, endpoint.id) == endpoint


@pytest.mark.parametrize("role", [Role.FINANCE, Role.ADMIN])
async def test_endpoint_of_one_who_sees_all_hears_all(service: EndpointService, role: Role) -> None:
    endpoint, _ = await service.create(someone(role), URL, ["*"])

    assert endpoint.sees_all


@pytest.mark.parametrize(
    ("url", "addresses", "code"),
    [
        ("http://example.com/", ["8.8.8.8"], "url_invalid"),
        (URL, ["127.0.0.1"], "target_refused"),
        (URL, ["8.8.8.8", "10.0.0.1"], "target_refused"),
        (URL, ["::ffff:169.254.169.254"], "target_refused"),
    ],
)
async def test_target_that_is_not_public_is_refused(
    service: EndpointService, resolver: FakeResolver, url: str, addresses: list[str], code: str
) -> None:
    resolver.addresses = addresses

    assert await refusal(service.create(someone(), url, ["*"])) == code


async def test_private_target_is_allowed_for_development_without_asking_for_it(
    memory: Memory, announcer: RecordingAnnouncer, resolver: FakeResolver, desk: Desk, clock: FakeClock
) -> None:
    service = EndpointService(memory.begin, announcer, resolver, desk.box, clock, allow_private_targets=True)

    endpoint, _ = await service.create(someone(), "http://127.0.0.1:9/", ["*"])

    assert endpoint.url == "http://127.0.0.1:9/"
    assert resolver.asked == []


@pytest.mark.parametrize("event", ["payment", "payment.", "payment.*.x", "nothing.*", "**", "order.lost", ""])
async def test_unknown_event_is_refused(service: EndpointService, event: str) -> None:
    with pytest.raises(Invalid) as refused:
        await service.create(someone(), URL, ["*", event])
    assert refused.value.code == "event_type_unknown"
    assert refused.value.facts["events"] == [event]


async def test_number_of_endpoints_is_bounded_and_a_deleted_one_makes_room(service: EndpointService) -> None:
    owner = someone()
    endpoints = [(await service.create(owner, URL, ["*"]))[0] for _ in range(MAX_ENDPOINTS)]
    assert await refusal(service.create(owner, URL, ["*"])) == "too_many_endpoints"

    await service.delete(owner, endpoints[0].id)

    await service.create(owner, URL, ["*"])


async def test_endpoint_is_its_owners_and_an_admins_business(service: EndpointService) -> None:
    owner, admin = someone(), someone(Role.ADMIN)
    endpoint, _ = await service.create(owner, URL, ["*"])

    for stranger in (someone(), someone(Role.BUYER), someone(Role.FINANCE)):
        for call in (
            service.get(stranger, endpoint.id),
            service.delete(stranger, endpoint.id),
            service.rotate(stranger, endpoint.id, overlap_s=0),
            service.activate(stranger, endpoint.id),
            service.deliveries(stranger, endpoint.id, PageRequest()),
            service.redeliver(stranger, endpoint.id, endpoint.created_at - timedelta(1), None, only_failed=True),
        ):
            assert await refusal(call) == "webhook_endpoint_not_found"
        assert (await service.page(stranger, PageRequest())).rows == []
    assert await service.get(admin, endpoint.id) == endpoint
    assert (await service.page(admin, PageRequest())).rows == [endpoint]
    await service.delete(admin, endpoint.id)
    assert await refusal(service.get(owner, endpoint.id)) == "webhook_endpoint_not_found"


async def test_deleted_endpoint_forgets_its_secrets_and_gets_nothing(
    service: EndpointService, desk: Desk, memory: Memory
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    await service.rotate(owner, endpoint.id, overlap_s=60)
    await desk.tell(endpoint)

    await service.delete(owner, endpoint.id)
    await desk.tell(endpoint)
    await desk.work(endpoint)

    kept = memory.state.webhook_endpoints[endpoint.id]
    assert (kept.status, kept.secret, kept.previous_secret) == (EndpointStatus.DELETED, "", None)
    assert desk.outside.sent == []
    assert (await service.page(owner, PageRequest())).rows == []
    with pytest.raises(NotFound):
        await service.delete(owner, endpoint.id)


async def test_rotation_keeps_the_old_secret_for_a_while(service: EndpointService, clock: FakeClock) -> None:
    owner = someone()
    endpoint, first = await service.create(owner, URL, ["*"])

    rotated, second = await service.rotate(owner, endpoint.id, overlap_s=60)
    assert rotated.sealed_secrets(clock.now()) == (f"sealed {second}", f"sealed {first}")
    clock.advance(60)
    assert rotated.sealed_secrets(clock.now()) == (f"sealed {second}",)
    replaced, third = await service.rotate(owner, endpoint.id, overlap_s=0)

    assert replaced.sealed_secrets(clock.now()) == (f"sealed {third}",)
    assert len({first, second, third}) == 3


async def test_disabled_endpoint_comes_back_with_what_waits_for_it(
    service: EndpointService, desk: Desk, announcer: RecordingAnnouncer
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    desk.outside.will(URL, Answered(500, 1), Answered(410, 1))
    await desk.tell(endpoint, times=2)
    await desk.work(endpoint)
    assert desk.now(endpoint).status is EndpointStatus.DISABLED

    active = await service.activate(owner, endpoint.id)
    assert (active.status, active.failures, active.disabled_reason) == (EndpointStatus.ENABLED, 0, None)
    assert announcer.announced[Work.DELIVERIES] == [endpoint.id]
    desk.clock.advance(5)
    await desk.work(endpoint)

    assert sorted(one.status for one in desk.deliveries(endpoint)) == [
        DeliveryStatus.DELIVERED, DeliveryStatus.FAILED
    ]  # fmt: skip
    assert await service.activate(owner, endpoint.id) == desk.now(endpoint)


async def test_endpoint_whose_name_leads_inside_meanwhile_does_not_come_back(
    service: EndpointService, resolver: FakeResolver
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    resolver.addresses = ["10.0.0.1"]

    assert await refusal(service.activate(owner, endpoint.id)) == "target_refused"


@pytest.mark.parametrize("end", [DeliveryStatus.DELIVERED, DeliveryStatus.FAILED])
async def test_what_is_over_can_be_sent_again(
    service: EndpointService, desk: Desk, announcer: RecordingAnnouncer, end: DeliveryStatus
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

    again = await service.retry(owner, delivery.id)
    await desk.work(endpoint)

    assert (again.status, again.due_at) == (DeliveryStatus.PENDING, desk.clock.now())
    assert announcer.announced[Work.DELIVERIES] == [endpoint.id]
    first, second = desk.outside.sent
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    (after,) = desk.deliveries(endpoint)
    assert (after.status, after.attempts, len(after.log)) == (DeliveryStatus.DELIVERED, 2, 2)


async def test_delivery_is_not_retried_while_it_is_sent_nor_by_a_stranger(
    service: EndpointService, desk: Desk
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    desk.outside.black_holes.add(URL)
    await desk.tell(endpoint)
    await desk.work(endpoint)
    (delivery,) = desk.deliveries(endpoint)

    assert await refusal(service.retry(owner, delivery.id)) == "delivery_in_progress"
    assert await refusal(service.retry(someone(), delivery.id)) == "delivery_not_found"
    assert await refusal(service.retry(owner, DeliveryId(uuid7()))) == "delivery_not_found"
    desk.outside.let_answer()
    await desk.service.close()


async def test_disabled_endpoint_must_be_activated_before_anything_is_sent_again(
    service: EndpointService, desk: Desk
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    desk.outside.will(URL, Answered(410, 1))
    await desk.tell(endpoint)
    await desk.work(endpoint)
    (delivery,) = desk.deliveries(endpoint)
    since = desk.clock.now() - timedelta(hours=1)

    for call in (
        service.retry(owner, delivery.id),
        service.redeliver(owner, endpoint.id, since, None, only_failed=True),
    ):
        with pytest.raises(Conflict) as refused:
            await call
        assert refused.value.code == "endpoint_disabled"


@pytest.mark.parametrize(("only_failed", "scheduled"), [(True, 2), (False, 3)])
async def test_span_is_delivered_again_with_what_was_missed(
    service: EndpointService, desk: Desk, *, only_failed: bool, scheduled: int
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

    asked = await service.redeliver(
        owner,
        endpoint.id,
        since_the_second - timedelta(seconds=0 if only_failed else 10),
        None,
        only_failed=only_failed,
    )
    await desk.work(endpoint)

    assert (asked.scheduled, asked.next_since) == (scheduled, None)
    assert [one.status for one in desk.deliveries(endpoint)] == [DeliveryStatus.DELIVERED] * 3
    assert len(desk.outside.sent) == 2 + scheduled


async def test_span_must_lie_in_the_past(service: EndpointService, clock: FakeClock) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    now = clock.now()
    spans = [(now, None), (now + timedelta(days=1), None), (now - timedelta(1), now - timedelta(2))]

    for since, until in spans:
        call = service.redeliver(owner, endpoint.id, since, until, only_failed=True)
        assert await refusal(call) == "span_invalid"


async def test_deliveries_are_listed_newest_first_by_page_and_status(service: EndpointService, desk: Desk) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    await desk.tell(endpoint, times=5)

    first = await service.deliveries(owner, endpoint.id, PageRequest(3))
    second = await service.deliveries(owner, endpoint.id, PageRequest(3, first.next_after))
    delivered = await service.deliveries(owner, endpoint.id, PageRequest(), status=DeliveryStatus.DELIVERED)

    listed = [*first.rows, *second.rows]
    assert [one.event_id for one in listed] == sorted((one.event_id for one in listed), reverse=True)
    assert (len(listed), second.next_after, delivered.rows) == (5, None, [])
    assert await refusal(service.deliveries(owner, WebhookEndpointId(uuid7()), PageRequest())) == (
        "webhook_endpoint_not_found"
    )
