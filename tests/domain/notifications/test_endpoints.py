"""Webhook endpoints as their owners use them."""

import pytest

from domain.errors import Invalid, NotFound
from domain.identity.model import Role
from domain.ids import WebhookEndpointId, uuid7
from domain.notifications.endpoints import MAX_ENDPOINTS, EndpointService
from domain.notifications.model import MAX_FORMER_SECRETS, Answered, DeliveryStatus, EndpointStatus
from domain.pages import PageRequest
from domain.work import Work
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer
from tests.domain.notifications.conftest import URL, Desk, FakeResolver, refusal, someone


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
        ):
            assert await refusal(call) == "webhook_endpoint_not_found"
        for whose in (None, owner.user_id):
            assert not (await service.page(stranger, PageRequest(), user_id=whose)).rows
    assert await service.get(admin, endpoint.id) == endpoint
    assert (await service.page(admin, PageRequest())).rows == [endpoint]
    assert (await service.page(admin, PageRequest(), user_id=owner.user_id)).rows == [endpoint]
    assert not (await service.page(admin, PageRequest(), user_id=admin.user_id)).rows
    await service.delete(admin, endpoint.id)
    assert await refusal(service.get(owner, endpoint.id)) == "webhook_endpoint_not_found"


async def test_deleted_endpoint_forgets_its_secrets_and_gets_nothing(
    service: EndpointService, desk: Desk, memory: Memory
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    for _ in range(2):
        await service.rotate(owner, endpoint.id, overlap_s=60)
    await desk.tell(endpoint)

    await service.delete(owner, endpoint.id)
    await desk.tell(endpoint)
    await desk.work(endpoint)

    kept = memory.state.webhook_endpoints[endpoint.id]
    assert (kept.status, kept.secret, kept.previous_secret, kept.older) == (EndpointStatus.DELETED, "", None, ())
    assert kept.previous_expires_at is None
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


async def test_secret_that_is_replaced_while_the_one_before_still_signs_ends_neither(
    service: EndpointService, clock: FakeClock
) -> None:
    """Whoever lost the answer to a rotation asks again; the receiver knows the first secret alone."""
    owner = someone()
    endpoint, first = await service.create(owner, URL, ["*"])

    _, second = await service.rotate(owner, endpoint.id, overlap_s=60)
    clock.advance(20)
    rotated, third = await service.rotate(owner, endpoint.id, overlap_s=60)

    assert rotated.sealed_secrets(clock.now()) == tuple(f"sealed {each}" for each in (third, second, first))
    clock.advance(40)
    assert rotated.sealed_secrets(clock.now()) == tuple(f"sealed {each}" for each in (third, second))
    clock.advance(20)
    assert rotated.sealed_secrets(clock.now()) == (f"sealed {third}",)


async def test_no_former_secret_signs_for_longer_than_the_newest_rotation_lets_it(
    service: EndpointService, clock: FakeClock
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])

    await service.rotate(owner, endpoint.id, overlap_s=3_600)
    hurried, _ = await service.rotate(owner, endpoint.id, overlap_s=60)
    await service.rotate(owner, endpoint.id, overlap_s=3_600)
    stopped, newest = await service.rotate(owner, endpoint.id, overlap_s=0)
    again, _ = await service.rotate(owner, endpoint.id, overlap_s=60)

    assert len(hurried.former_secrets(clock.now())) == 2
    assert stopped.sealed_secrets(clock.now()) == (f"sealed {newest}",)
    assert (stopped.previous_secret, stopped.previous_expires_at, stopped.older) == (None, None, ())
    assert [former.sealed for former in again.former_secrets(clock.now())] == [f"sealed {newest}"]
    clock.advance(60)
    assert hurried.former_secrets(clock.now()) == ()


async def test_secrets_of_many_rotations_are_bounded(service: EndpointService, clock: FakeClock) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])

    made = [await service.rotate(owner, endpoint.id, overlap_s=60) for _ in range(20)]

    newest = [f"sealed {secret}" for _, secret in reversed(made)]
    assert list(made[-1][0].sealed_secrets(clock.now())) == newest[: MAX_FORMER_SECRETS + 1]


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
    assert active.failing_since is None
    assert announcer.announced[Work.DELIVERIES] == [endpoint.id]
    desk.clock.advance(5)
    await desk.work(endpoint)

    assert sorted(one.status for one in desk.deliveries(endpoint)) == [
        DeliveryStatus.DELIVERED, DeliveryStatus.FAILED
    ]  # fmt: skip
    assert await service.activate(owner, endpoint.id) == desk.now(endpoint)


async def test_endpoint_that_is_enabled_is_no_better_for_being_activated(
    service: EndpointService, desk: Desk, announcer: RecordingAnnouncer
) -> None:
    owner = someone()
    failing = await desk.endpoint(owner.user_id, failures=1, failing_since=desk.clock.now())
    desk.clock.advance(1)

    assert await service.activate(owner, failing.id) == failing

    assert desk.now(failing) == failing
    assert announcer.announced == {}


async def test_each_change_of_an_endpoint_is_dated(
    service: EndpointService, memory: Memory, desk: Desk, clock: FakeClock
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    desk.outside.will(URL, Answered(410, 1))
    await desk.tell(endpoint)
    await desk.work(endpoint)

    clock.advance(1)
    assert (await service.activate(owner, endpoint.id)).updated_at == clock.now()
    clock.advance(1)
    assert (await service.rotate(owner, endpoint.id, overlap_s=60))[0].updated_at == clock.now()
    clock.advance(1)
    await service.delete(owner, endpoint.id)
    assert memory.state.webhook_endpoints[endpoint.id].updated_at == clock.now()


async def test_endpoint_whose_name_leads_inside_meanwhile_does_not_come_back(
    service: EndpointService, resolver: FakeResolver
) -> None:
    owner = someone()
    endpoint, _ = await service.create(owner, URL, ["*"])
    resolver.addresses = ["10.0.0.1"]

    assert await refusal(service.activate(owner, endpoint.id)) == "target_refused"


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
