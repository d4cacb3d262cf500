"""Clients follow their events: each once, in order, without gaps, and only as long as they may."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.events import render_event
from api.identity.signing import HmacKey, KeyRing
from api.identity.tokens import TokenCodec
from api.services import Services
from db.unit_of_work import Database
from domain.clock import SystemClock
from domain.errors import Unauthenticated
from domain.events import Event, event
from domain.feed.model import LoggedEvent
from domain.identity.model import Role, Scope, User
from domain.ids import SessionId, uuid7
from tests.api.conftest import JWT_SECRET, Open
from tests.api.streams import open_stream
from tests.builders import NOW, Shop, a_user, principal
from tests.eventually import eventually

TokenOf = Callable[[User | Role], dict[str, str]]
App = tuple[httpx.AsyncClient, Services]


@pytest.fixture(scope="module")
async def app(open_app: Open) -> App:
    return await open_app(stream_heartbeat_s=0.2, streams_per_user=2, streams_per_process=6)


@pytest.fixture
def ann() -> User:
    return a_user(Role.BUYER)


@pytest.fixture
def tell(app: App) -> Callable[..., Any]:
    """Commit events for users, as the services do."""

    async def commit(*audience: User, count: int = 1) -> list[Event]:
        told = [
            event("test.happened", uuid4(), NOW, audience=[user.id for user in audience], number=number)
            for number in range(count)
        ]
        begin = Database(app[1].pool, on_change=app[1].change_publisher.publish).begin
        async with begin() as tx:
            await tx.events.append(told)
            await tx.commit()
        return told

    return commit


def ids(events: list[dict[str, str]]) -> list[UUID]:
    return [UUID(json.loads(event["data"])["id"]) for event in events]


async def test_client_follows_its_own_events(
    app: App, ann: User, token_of: TokenOf, tell: Callable[..., Any]
) -> None:
    async with open_stream(app[0], token_of(ann)) as stream:
        (mine,) = await tell(ann)
        await tell(a_user(Role.BUYER))
        (last,) = await tell(a_user(Role.SELLER), ann)

        received = await stream.received(2)

    assert ids(received) == [mine.id, last.id]
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    assert received[0]["event"] == "test.happened"
    assert json.loads(received[0]["data"]) == {
        "id": str(mine.id),
        "type": "test.happened",
        "subject_id": str(mine.subject_id),
        "data": {"number": 0},
        "created_at": NOW.isoformat().replace("+00:00", "Z"),
    }


async def test_event_is_three_lines_whatever_ends_a_line_for_its_reader() -> None:
    text = "a\u0085b\u2028c\u2029d\n\r\v\f\x1c\x1d\x1e é"

    sent = render_event(LoggedEvent(8, event("test.happened", uuid4(), NOW, audience=[], text=text))).decode()

    position, kind, data, end = sent.splitlines()
    assert (position, kind, end) == ("id: 8", "event: test.happened", "")
    assert json.loads(data.removeprefix("data: "))["data"] == {"text": text}


async def test_finance_follows_all_events(app: App, token_of: TokenOf, tell: Callable[..., Any]) -> None:
    async with open_stream(app[0], token_of(Role.FINANCE)) as stream:
        (told,) = await tell(a_user(Role.BUYER))

        await eventually(lambda: told.id in ids(stream.events))


async def test_real_changes_reach_payer_and_seller(
    app: App, database: Database, token_of: TokenOf, services: Services
) -> None:
    shop = await Shop(database.begin).open()
    body = {
        "seller_id": str(shop.seller.id),
        "amount_minor": 1999,
        "currency": "USD",
        "payment_method": "pm_card_visa",
    }
    async with (
        open_stream(app[0], token_of(shop.buyer)) as buyer,
        open_stream(app[0], token_of(shop.seller)) as seller,
        open_stream(app[0], token_of(shop.other_seller)) as stranger,
    ):
        headers = {**token_of(shop.buyer), "Idempotency-Key": "k"}
        payment = (await app[0].post("/v1/payments", json=body, headers=headers)).json()

        (told,) = await buyer.received(1)
        assert await seller.received(1) == [told]
    assert (told["event"], json.loads(told["data"])["subject_id"]) == ("payment.accepted", payment["id"])
    assert stranger.events == []


async def test_client_that_comes_back_misses_nothing_and_gets_nothing_twice(
    app: App, ann: User, token_of: TokenOf, tell: Callable[..., Any]
) -> None:
    async with open_stream(app[0], token_of(ann)) as stream:
        told = await tell(ann, count=3)
        last = (await stream.received(3))[1]["id"]
    told += await tell(ann, count=200)
    await tell(a_user(Role.BUYER), count=50)
    async with open_stream(app[0], token_of(ann), last=last) as stream:
        told += await tell(ann, count=5)

        received = await stream.received(206)

    assert ids(received) == [each.id for each in told[2:]]
    assert stream.places == sorted(stream.places)


async def test_place_moves_on_past_events_of_others(
    app: App, ann: User, token_of: TokenOf, tell: Callable[..., Any]
) -> None:
    async with open_stream(app[0], token_of(ann)) as stream:
        await eventually(lambda: stream.places)
        before = stream.places[-1]
        await tell(a_user(Role.BUYER))

        await eventually(lambda: stream.places[-1] > before)
    assert stream.events == []
    assert b": still here" in stream.body


async def test_stream_begins_with_its_place_and_a_time_to_come_back(
    app: App, ann: User, token_of: TokenOf, tell: Callable[..., Any]
) -> None:
    async with open_stream(app[0], token_of(ann)) as stream:
        assert stream.body.startswith(b"retry: ")
        place = stream.places[0]
    (missed,) = await tell(ann)
    async with open_stream(app[0], token_of(ann), last=place) as again:
        assert ids(await again.received(1)) == [missed.id]


async def test_place_that_the_log_has_not_reached_is_its_end(
    app: App, ann: User, token_of: TokenOf, tell: Callable[..., Any]
) -> None:
    """As a client has one whose database was restored to an earlier moment."""
    (before,) = await tell(ann)
    async with open_stream(app[0], token_of(ann), last="9" * 18) as stream:
        place = stream.places[0]
        (told,) = await tell(ann)

        # The log's end is what this process has read of it: what was told a moment before may come as well.
        first = ids(await stream.received(1))
        seen = first if first == [told.id] else ids(await stream.received(2))
        assert seen in ([told.id], [before.id, told.id])
    async with open_stream(app[0], token_of(ann), last=place) as again:
        assert ids(await again.received(len(seen))) == seen


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "1e3", "9" * 19, "", " ", "0x1", "\u0661"])
async def test_place_that_is_not_ours_is_refused(app: App, ann: User, token_of: TokenOf, last: str) -> None:
    headers: dict[str, Any] = {**token_of(ann), "Last-Event-ID": last.encode()}

    answer = await app[0].get("/v1/events", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "last_event_id_invalid")


async def test_expired_token_ends_the_stream(app: App, ann: User, tell: Callable[..., Any]) -> None:
    told = []
    for ttl_s in (2, 10, 60):  # the longer ones are for a machine on which two seconds are over in a moment
        codec = TokenCodec(KeyRing(HmacKey(JWT_SECRET), []), SystemClock(), ttl_s=ttl_s)
        token = codec.issue(ann, SessionId(uuid7()))
        async with open_stream(app[0], {"Authorization": f"Bearer {token}"}) as stream:
            told = await tell(ann)
            await eventually(lambda stream=stream: stream.is_over)
        if ids(stream.events):
            break

    assert ids(stream.events) == [told[0].id]


async def test_nothing_is_told_after_the_token_has_expired(
    open_app: Open, ann: User, tell: Callable[..., Any]
) -> None:
    """Also where no sign of life was due in between."""
    client, _ = await open_app(stream_heartbeat_s=1_000)
    codec = TokenCodec(KeyRing(HmacKey(JWT_SECRET), []), SystemClock(), ttl_s=1)
    token = codec.issue(ann, SessionId(uuid7()))
    async with open_stream(client, {"Authorization": f"Bearer {token}"}) as stream:
        await eventually(lambda: is_refused(codec, token))
        await tell(ann)

        await eventually(lambda: stream.is_over)
    assert stream.events == []


async def test_revoked_key_ends_the_stream(app: App, database: Database, tell: Callable[..., Any]) -> None:
    client, services = app
    shop = await Shop(database.begin).open()
    caller = principal(shop.buyer)
    made = await services.identity.api_keys.create(caller, "follower", {Scope.RESULTS_READ})
    async with open_stream(client, {"Authorization": f"Bearer {made.credential}"}) as stream:
        (told,) = await tell(shop.buyer)
        await stream.received(1)
        await services.identity.api_keys.revoke(caller, made.key.id)
        services.identity.authenticator.forget([made.key.id])
        (untold,) = await tell(shop.buyer)

        await eventually(lambda: stream.is_over)
    assert told.id in ids(stream.events)
    assert untold.id not in ids(stream.events)


async def test_key_without_the_scope_follows_nothing(app: App, database: Database) -> None:
    shop = await Shop(database.begin).open()
    made = await app[1].identity.api_keys.create(principal(shop.buyer), "other", {Scope.PAYMENTS_READ})

    answer = await app[0].get("/v1/events", headers={"Authorization": f"Bearer {made.credential}"})

    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


def is_refused(codec: TokenCodec, token: str) -> bool:
    try:
        codec.read(token)
    except Unauthenticated:
        return True
    return False


async def test_streams_of_a_user_are_bounded(app: App, ann: User, token_of: TokenOf) -> None:
    async with open_stream(app[0], token_of(ann)), open_stream(app[0], token_of(ann)):
        refused = await app[0].get("/v1/events", headers=token_of(ann))

        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
    async with open_stream(app[0], token_of(ann)) as stream:
        assert stream.status == 200


async def test_streams_of_a_process_are_bounded(app: App, token_of: TokenOf) -> None:
    others = [a_user(Role.BUYER) for _ in range(3)]
    async with (
        open_stream(app[0], token_of(others[0])),
        open_stream(app[0], token_of(others[0])),
        open_stream(app[0], token_of(others[1])),
        open_stream(app[0], token_of(others[1])),
        open_stream(app[0], token_of(others[2])),
        open_stream(app[0], token_of(others[2])),
    ):
        refused = await app[0].get("/v1/events", headers=token_of(Role.BUYER))

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert refused.headers["Retry-After"] == "1"
    await eventually(lambda: len(app[1].feed) == 0)


async def test_slow_reader_is_cut(
    app: App, ann: User, token_of: TokenOf, tell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.feed.subscription.MAX_BUFFERED", 5)
    async with open_stream(app[0], token_of(ann), reading=False) as slow:
        await eventually(lambda: len(app[1].feed) == 1)
        (subscription,) = app[1].feed._readers
        await eventually(lambda: subscription.start is not None)
        await tell(ann, count=20)
        await eventually(lambda: subscription.is_cut)
        assert subscription._buffer == []

        slow.reading.set()

        await eventually(lambda: slow.is_over)


async def test_end_of_the_process_ends_streams_and_waits(open_app: Open, ann: User, token_of: TokenOf) -> None:
    client, services = await open_app()
    async with open_stream(client, token_of(ann)) as stream:
        client._transport.app.release()  # type: ignore[attr-defined]

        await eventually(lambda: stream.is_over)
    async with open_stream(client, token_of(ann)) as late:
        await eventually(lambda: late.is_over)
    assert (late.status, services.changes.is_released) == (200, True)
