"""Webhook endpoints and deliveries as clients see them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.services import Services
from api.webhooks.payloads import DATA_OF, PAYLOADS
from api.webhooks.targets import SystemResolver
from db.unit_of_work import Database
from domain.errors import Invalid, Unavailable
from domain.event_types import EventType
from domain.events import event
from domain.identity.model import Role, User
from domain.ids import UserId, WebhookEndpointId, uuid7
from domain.notifications.decide import conclude
from domain.notifications.model import Answered, DeliveryPolicy, DisabledReason, EndpointStatus
from domain.notifications.payload import render
from tests.api.operations import assert_problem
from tests.builders import Shop, a_leased_delivery, a_user, an_endpoint, unique
from tests.dead_names import dead_names

TokenOf = Callable[[User | Role], dict[str, str]]
Open = Callable[..., Awaitable[tuple[httpx.AsyncClient, Services]]]
URL = "https://hooks.example.com/marketflow"
PATH = "/v1/webhook-endpoints"


@pytest.fixture
def buyer(shop: Shop, token_of: TokenOf) -> dict[str, str]:
    return token_of(shop.buyer)


@pytest.fixture
async def endpoint(api: httpx.AsyncClient, buyer: dict[str, str]) -> dict[str, Any]:
    """An endpoint as its creation showed it."""
    made = await api.post(PATH, json={"url": URL, "events": ["order.*"]}, headers=buyer)
    assert made.status_code == 201, made.text
    shown: dict[str, Any] = made.json()
    return shown


async def tell(database: Database, user: User) -> None:
    async with database.begin() as tx:
        await tx.events.append([event("order.paid", uuid7(), datetime.now(UTC), audience=[user.id])])
        await tx.commit()


async def attempt(database: Database, endpoint_id: str, status: int) -> None:
    """Send what waits, as a worker would, and be answered so."""
    key, now = WebhookEndpointId(UUID(endpoint_id)), datetime.now(UTC)
    async with database.begin() as tx:
        leased = await tx.deliveries.lease({key: 8}, now, now + timedelta(minutes=1), limit=8)
        answer = Answered(status, 12, "thanks")
        await tx.deliveries.conclude([conclude(one, answer, now, DeliveryPolicy(), 0.5) for one in leased])
        await tx.commit()


async def test_secret_is_shown_once(
    api: httpx.AsyncClient, buyer: dict[str, str], endpoint: dict[str, Any]
) -> None:
    assert endpoint["secret"].startswith("whsec_")
    assert (endpoint["url"], endpoint["events"], endpoint["status"]) == (URL, ["order.*"], "enabled")

    shown = (await api.get(f"{PATH}/{endpoint['id']}", headers=buyer)).json()
    listed = (await api.get(PATH, headers=buyer)).json()["data"]

    assert listed == [shown]
    assert shown == {name: value for name, value in endpoint.items() if name != "secret"}


async def test_admin_asks_whose_endpoints_and_others_are_shown_nothing(
    api: httpx.AsyncClient, token_of: TokenOf, shop: Shop, endpoint: dict[str, Any]
) -> None:
    admin, query = token_of(Role.ADMIN), {"user_id": endpoint["owner_id"]}
    await api.post(PATH, json={"url": URL}, headers=token_of(shop.seller))

    found = (await api.get(PATH, params=query, headers=admin)).json()["data"]

    assert [shown["id"] for shown in found] == [endpoint["id"]]
    assert (await api.get(PATH, params=query, headers=token_of(shop.seller))).json()["data"] == []
    wrong = await api.get(PATH, params={"user_id": "me"}, headers=admin)
    assert_problem(wrong, 422, "fields_invalid")


async def test_secret_is_not_in_the_database(
    api: httpx.AsyncClient, database: Database, endpoint: dict[str, Any]
) -> None:
    async with database.begin() as tx:
        stored = await tx.webhook_endpoints.lock([endpoint["id"]])

    assert all(endpoint["secret"] not in kept.secret for kept in stored.values())
    assert len(stored) == 1


async def test_endpoint_hears_everything_unless_it_says_what(
    api: httpx.AsyncClient, buyer: dict[str, str]
) -> None:
    assert (await api.post(PATH, json={"url": URL}, headers=buyer)).json()["events"] == ["*"]


@pytest.mark.parametrize("body", [None, {"overlap_s": 60}])
async def test_rotation_gives_a_new_secret_and_says_how_long_the_old_one_signs(
    api: httpx.AsyncClient, buyer: dict[str, str], endpoint: dict[str, Any], body: dict[str, Any] | None
) -> None:
    content = {"json": body} if body else {}
    rotated = (await api.post(f"{PATH}/{endpoint['id']}/secret", headers=buyer, **content)).json()

    assert rotated["secret"] not in {endpoint["secret"], None}
    assert datetime.fromisoformat(rotated["previous_secret_expires_at"]) > datetime.now(UTC)


async def test_deliveries_are_logged_and_sent_again_on_request(
    api: httpx.AsyncClient, buyer: dict[str, str], database: Database, shop: Shop, endpoint: dict[str, Any]
) -> None:
    await tell(database, shop.buyer)
    await attempt(database, endpoint["id"], 200)

    path = f"{PATH}/{endpoint['id']}/deliveries"
    (delivery,) = (await api.get(f"{path}?status=delivered", headers=buyer)).json()["data"]
    again = await api.post(f"/v1/deliveries/{delivery['id']}/retry", headers=buyer)

    assert (delivery["event_type"], delivery["status"], delivery["attempts"]) == ("order.paid", "delivered", 1)
    (logged,) = delivery["log"]
    assert (logged["response_status"], logged["latency_ms"], logged["response_start"]) == (200, 12, "thanks")
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    assert (await api.get(f"{path}?status=delivered", headers=buyer)).json()["data"] == []


async def test_span_is_sent_again(
    api: httpx.AsyncClient, buyer: dict[str, str], database: Database, shop: Shop, endpoint: dict[str, Any]
) -> None:
    since = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    await tell(database, shop.buyer)
    await attempt(database, endpoint["id"], 410)

    path = f"{PATH}/{endpoint['id']}/redeliveries"
    asked = await api.post(path, json={"since": since}, headers=buyer)

    assert (asked.status_code, asked.json()) == (202, {"scheduled": 1, "next_cursor": None})
    late = {"since": "2999-01-01T00:00:00Z"}
    assert_problem(await api.post(path, json=late, headers=buyer), 422, "span_invalid")


async def test_named_events_are_sent_again_even_if_they_were_delivered(
    api: httpx.AsyncClient, buyer: dict[str, str], database: Database, shop: Shop, endpoint: dict[str, Any]
) -> None:
    await tell(database, shop.buyer)
    await attempt(database, endpoint["id"], 200)
    (delivery,) = (await api.get(f"{PATH}/{endpoint['id']}/deliveries", headers=buyer)).json()["data"]

    named = {"event_ids": [delivery["event_id"], str(uuid7())]}
    asked = await api.post(f"{PATH}/{endpoint['id']}/redeliveries", json=named, headers=buyer)

    assert (asked.status_code, asked.json()) == (202, {"scheduled": 1, "next_cursor": None})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"event_ids": []},
        {"event_ids": [str(uuid7())] * 101},
        {"event_ids": [str(uuid7())], "since": "2026-11-25T00:00:00Z"},
        {"event_ids": [str(uuid7())], "until": "2026-11-25T00:00:00Z"},
        {"event_ids": [str(uuid7())], "only_failed": False},
        {"until": "2026-11-25T00:00:00Z"},
        {"since": "0001-01-01T00:00:00Z"},
        {"since": "0001-01-01T00:00:00+23:59"},
        {"since": "2026-11-25T00:00:00Z", "until": "9999-12-31T23:59:59Z"},
    ],
)
async def test_redelivery_is_of_named_events_or_of_a_span(
    api: httpx.AsyncClient, buyer: dict[str, str], endpoint: dict[str, Any], body: dict[str, Any]
) -> None:
    asked = await api.post(f"{PATH}/{endpoint['id']}/redeliveries", json=body, headers=buyer)

    assert_problem(asked, 422, "fields_invalid")


async def test_disabled_endpoint_is_brought_back(
    api: httpx.AsyncClient, buyer: dict[str, str], database: Database, shop: Shop
) -> None:
    gone = an_endpoint(shop.buyer.id)
    async with database.begin() as tx:
        await tx.webhook_endpoints.add(gone, most=9)
        await tx.commit()
    async with database.begin() as tx:
        disabled = an_endpoint(
            shop.buyer.id, id=gone.id, status=EndpointStatus.DISABLED, disabled_reason=DisabledReason.GONE
        )
        await tx.webhook_endpoints.save([disabled])
        await tx.commit()
    since = {"since": "2026-11-25T00:00:00Z"}
    refused = await api.post(f"{PATH}/{gone.id}/redeliveries", json=since, headers=buyer)
    assert_problem(refused, 409, "endpoint_disabled")

    back = (await api.post(f"{PATH}/{gone.id}/activation", headers=buyer)).json()

    assert (back["status"], back["disabled_reason"]) == ("enabled", None)


async def test_deleted_endpoint_is_gone(
    api: httpx.AsyncClient, buyer: dict[str, str], endpoint: dict[str, Any]
) -> None:
    path = f"{PATH}/{endpoint['id']}"

    assert (await api.delete(path, headers=buyer)).status_code == 204

    assert_problem(await api.get(path, headers=buyer), 404, "webhook_endpoint_not_found")
    assert_problem(await api.delete(path, headers=buyer), 404, "webhook_endpoint_not_found")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "ftp://example.com"}, "url_invalid"),
        ({"url": "https://user:pw@example.com"}, "url_invalid"),
        ({"url": URL, "events": ["no.such"]}, "event_type_unknown"),
        ({"url": URL, "events": []}, "fields_invalid"),
    ],
)
async def test_endpoint_that_cannot_be_is_refused(
    api: httpx.AsyncClient, buyer: dict[str, str], body: dict[str, Any], code: str
) -> None:
    assert_problem(await api.post(PATH, json=body, headers=buyer), 422, code)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://93.184.216.34/", "url_invalid"),
        ("https://127.0.0.1/", "target_refused"),
        ("https://localhost/", "target_refused"),
        ("https://169.254.169.254/latest/meta-data", "target_refused"),
        ("https://[::ffff:10.0.0.1]/", "target_refused"),
        ("https://0.0.0.0/", "target_refused"),
        ("https://2130706433/", "target_refused"),
        ("https://no-such-host.invalid/", "url_unresolvable"),
    ],
)
async def test_private_target_is_refused_in_production(
    open_app: Open, token_of: TokenOf, shop: Shop, url: str, code: str
) -> None:
    strict, _ = await open_app(webhooks_allow_private_targets=False)

    assert_problem(await strict.post(PATH, json={"url": url}, headers=token_of(shop.buyer)), 422, code)


async def test_user_has_so_many_endpoints_and_no_more(api: httpx.AsyncClient, buyer: dict[str, str]) -> None:
    made = [await api.post(PATH, json={"url": URL}, headers=buyer) for _ in range(17)]

    assert [answer.status_code for answer in made] == [201] * 16 + [409]
    assert_problem(made[-1], 409, "too_many_endpoints")


async def test_openapi_describes_every_event_as_a_webhook(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()

    assert document["webhooks"].keys() == {str(kind) for kind in EventType} == DATA_OF.keys()
    described = document["webhooks"]["payment.succeeded"]["post"]
    model = described["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = document["components"]["schemas"][model]
    assert {"id", "type", "version", "timestamp", "subject_id", "sequence", "data"} <= set(schema["required"])
    assert schema["properties"]["type"]["const"] == "payment.succeeded"


async def test_events_of_a_payment_are_what_the_document_says(
    api: httpx.AsyncClient, buyer: dict[str, str], database: Database, shop: Shop
) -> None:
    made = (await api.post(PATH, json={"url": URL}, headers=buyer)).json()
    body = {"seller_id": str(shop.seller.id), "amount_minor": 500, "currency": "USD", "payment_method": "pm"}
    accepted = await api.post("/v1/payments", json=body, headers={**buyer, "Idempotency-Key": made["id"]})
    assert accepted.status_code == 202, accepted.text

    now = datetime.now(UTC)
    async with database.begin() as tx:
        (leased,) = await tx.deliveries.lease({WebhookEndpointId(UUID(made["id"])): 8}, now, now, limit=8)
        payload = PAYLOADS[leased.event_type].model_validate_json(render(leased), strict=True)

    assert (payload.type, str(payload.subject_id)) == ("payment.accepted", accepted.json()["id"])
    assert not payload.data.model_extra


async def test_events_of_a_user_are_what_the_document_says(
    api: httpx.AsyncClient, token_of: TokenOf, database: Database
) -> None:
    user = a_user(Role.ADMIN)
    async with database.begin() as tx:
        await tx.users.add(user)
        await tx.commit()
    admin, types = token_of(user), ["user.created", "user.suspended", "user.reinstated"]
    made = await api.post(PATH, json={"url": URL, "events": types}, headers=admin)
    assert made.status_code == 201, made.text
    registration = {"email": f"{unique('new')}@example.com", "password": "correct horse battery", "role": "seller"}
    new = (await api.post("/v1/users", json=registration)).json()
    await api.post(f"/v1/users/{new['id']}/suspension", headers=admin)
    await api.delete(f"/v1/users/{new['id']}/suspension", headers=admin)

    now = datetime.now(UTC)
    async with database.begin() as tx:
        leased = await tx.deliveries.lease({WebhookEndpointId(UUID(made.json()["id"])): 8}, now, now, limit=8)
    payloads = [PAYLOADS[one.event_type].model_validate_json(render(one), strict=True) for one in leased]

    assert {payload.type for payload in payloads} == set(types)
    assert {payload.subject_id for payload in payloads} == {UUID(new["id"])}
    assert not any(payload.data.model_extra for payload in payloads)


def test_payload_of_another_type_is_none_of_this_type() -> None:
    delivery = a_leased_delivery(an_endpoint(), event_type="order.placed")

    with pytest.raises(ValueError, match=r"order\.placed"):
        PAYLOADS["order.paid"].model_validate_json(render(delivery))


async def test_names_for_which_no_server_answers_hold_up_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.webhooks.targets._TIMEOUT_S", 0.01)
    resolver = SystemResolver()

    users = [UserId(uuid7()) for _ in range(5)]
    with dead_names(monkeypatch):
        for user_id in users[:4]:
            for number in range(4):
                with pytest.raises(Invalid, match="not found"):
                    await resolver.resolve(f"dead-{number}.example", 443, user_id=user_id)
        with pytest.raises(Unavailable):
            await resolver.resolve("localhost", 443, user_id=users[4])
        # As a new connection to the database or to Redis does.
        async with asyncio.timeout(30):
            assert await asyncio.get_running_loop().getaddrinfo("localhost", 443)


async def test_user_with_dead_names_keeps_nobody_else_from_an_endpoint(
    open_app: Open, token_of: TokenOf, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.webhooks.targets._TIMEOUT_S", 0.01)
    strict, _ = await open_app(webhooks_allow_private_targets=False)

    async def create(user: User, host: str) -> httpx.Response:
        return await strict.post(PATH, json={"url": f"https://{host}/"}, headers=token_of(user))

    with dead_names(monkeypatch):
        answers = [await create(shop.buyer, f"dead-{number}.example") for number in range(17)]
        monkeypatch.setattr("api.webhooks.targets._TIMEOUT_S", 60)
        other = await create(shop.seller, "93.184.216.34")

    assert [answer.status_code for answer in answers] == [422] * 4 + [429] * 13
    assert_problem(answers[-1], 429, "too_many_lookups")
    assert other.status_code == 201, other.text
