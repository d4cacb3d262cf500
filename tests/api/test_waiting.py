"""Clients that wait for a payment to settle cost one statement for all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.payments.resources import read_wait_s, retry_after_s
from api.payments.waiting import PaymentReader
from api.services import Services
from db.changes import ChangeListener, ChangePublisher
from domain.coalescer import Coalescer
from domain.errors import DomainError, NotFound
from domain.identity.model import Role, User
from domain.ids import SessionId, uuid7
from domain.payments.model import Glance, Payment, PaymentStatus, Sight
from ops.settings import Settings
from ops.stack import Stack
from tests.api.conftest import Open
from tests.builders import NOW, Shop, principal
from tests.eventually import eventually

TokenOf = Callable[[User | Role], dict[str, str]]
_CLIENTS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    return await shop.payment()


@pytest.fixture
def statements() -> list[int]:
    """How many payments each statement has read."""
    return []


@pytest.fixture
async def redis(valkey: Stack) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey.info.redis_url) as client:
        yield client


@pytest.fixture
async def changes(redis: Redis) -> AsyncIterator[ChangeListener]:
    """A listener that hears."""
    listener = ChangeListener(redis)
    with listener.watch():
        await eventually(lambda: listener.is_live)
    yield listener
    await listener.close()


@pytest.fixture
def publisher(redis: Redis) -> ChangePublisher:
    return ChangePublisher(redis, on_lost=lambda _: None)


@pytest.fixture
def reader(services: Services, statements: list[int], changes: ChangeListener) -> PaymentReader:
    async def look(glances: Sequence[Glance]) -> list[Sight | DomainError]:
        seen = await services.payments.look(glances)
        statements.append(len(glances))
        return seen

    return PaymentReader(Coalescer(look, max_batch=64), changes)


@pytest.fixture
def only_word_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits looks again when word comes, and does not by itself before its time is over."""
    monkeypatch.setattr("api.payments.waiting._LIVE_PAUSE_S", 1_000)


async def fail(engine: AsyncEngine, payment: Payment, status: str = "failed") -> None:
    """Settle the payment behind the reader's back."""
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE payments SET status = :status, failure_code = 'card_declined' WHERE id = :id"),
            {"id": payment.id, "status": status},
        )


@pytest.mark.usefixtures("only_word_wakes")
async def test_word_of_the_settlement_ends_the_wait(
    reader: PaymentReader,
    shop: Shop,
    payment: Payment,
    engine: AsyncEngine,
    publisher: ChangePublisher,
    statements: list[int],
) -> None:
    waiting = [
        asyncio.create_task(reader.settled(principal(shop.buyer), payment.id, wait_s=30)) for _ in range(100)
    ]
    await eventually(lambda: sum(statements) >= 100)
    await fail(engine, payment)
    publisher.publish([payment.id])

    assert {found.status for found in await asyncio.gather(*waiting)} == {PaymentStatus.FAILED}
    assert sum(statements) == 200


@pytest.mark.usefixtures("only_word_wakes")
async def test_settlement_between_the_look_and_the_wait_is_not_missed(
    services: Services,
    changes: ChangeListener,
    shop: Shop,
    payment: Payment,
    engine: AsyncEngine,
    publisher: ChangePublisher,
) -> None:
    async def look(glances: Sequence[Glance]) -> list[Sight | DomainError]:
        """Answer with what was there before the settlement that everybody has heard of meanwhile."""
        seen = await services.payments.look(glances)
        with changes.watch(payment.id) as heard:
            await fail(engine, payment)
            publisher.publish([payment.id])
            await heard.changed(30)
        return seen

    reader = PaymentReader(Coalescer(look, max_batch=64), changes)

    found = await reader.settled(principal(shop.buyer), payment.id, wait_s=30)

    assert found.status is PaymentStatus.FAILED


async def test_lost_word_delays_the_wait_and_no_more(
    reader: PaymentReader, shop: Shop, payment: Payment, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.payments.waiting._LIVE_PAUSE_S", 0.05)
    waiting = asyncio.create_task(reader.settled(principal(shop.buyer), payment.id, wait_s=30))
    await fail(engine, payment)

    assert (await waiting).status is PaymentStatus.FAILED


@pytest.mark.usefixtures("only_word_wakes")
async def test_without_redis_waiting_clients_look_by_themselves(
    services: Services, shop: Shop, payment: Payment, engine: AsyncEngine, closed_port: int
) -> None:
    async with Redis.from_url(f"redis://127.0.0.1:{closed_port}") as away:
        changes = ChangeListener(away)
        reader = PaymentReader(services.look, changes)
        waiting = asyncio.create_task(reader.settled(principal(shop.buyer), payment.id, wait_s=30))
        await fail(engine, payment)

        assert (await waiting).status is PaymentStatus.FAILED
        await changes.close()


async def test_waiting_ends_when_the_time_is_over(reader: PaymentReader, shop: Shop, payment: Payment) -> None:
    found = await reader.settled(principal(shop.buyer), payment.id, wait_s=0.1)

    assert found.status is PaymentStatus.PENDING


@pytest.mark.usefixtures("only_word_wakes")
async def test_waiting_ends_when_the_process_is_about_to(
    reader: PaymentReader, shop: Shop, payment: Payment, changes: ChangeListener, statements: list[int]
) -> None:
    waiting = asyncio.create_task(reader.settled(principal(shop.buyer), payment.id, wait_s=1_000))
    await eventually(lambda: statements)

    changes.release()

    assert (await waiting).status is PaymentStatus.PENDING
    assert not reader.can_wait


async def test_many_waiting_clients_share_statements(
    reader: PaymentReader, shop: Shop, payment: Payment, statements: list[int]
) -> None:
    await asyncio.gather(*(reader.settled(principal(shop.buyer), payment.id, wait_s=0) for _ in range(50)))

    assert sum(statements) == 50
    assert len(statements) <= 2


@pytest.mark.usefixtures("only_word_wakes")
async def test_thousand_waiting_clients_cost_no_connection_each(
    open_app: Open, settings: Settings, shop: Shop, payment: Payment, engine: AsyncEngine, redis: Redis
) -> None:
    api, services = await open_app()
    token = {"Authorization": f"Bearer {services.identity.tokens.issue(shop.buyer, SessionId(uuid7()))}"}

    async def connections() -> tuple[int, int]:
        async with engine.connect() as connection:
            found = await connection.execute(text(_CLIENTS))
            return found.scalar_one(), len(await redis.client_list())

    before = await connections()
    waiting = [asyncio.create_task(get(api, payment, token, Prefer="wait=30")) for _ in range(1_000)]
    await eventually(lambda: len(services.changes._watches[payment.id.bytes]) == len(waiting))
    during = await connections()
    await fail(engine, payment)
    services.change_publisher.publish([payment.id])

    answers = await asyncio.gather(*waiting)

    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(200, "failed")}
    assert during[0] - before[0] <= settings.database_pool_size
    # One that hears of changes, and a few that limit rates; other applications of the tests come and go.
    assert during[1] - before[1] <= settings.redis_pool_size + 10


async def test_strangers_do_not_wait(reader: PaymentReader, shop: Shop, payment: Payment) -> None:
    with pytest.raises(NotFound):
        await reader.settled(principal(shop.other_seller), payment.id, wait_s=30)


async def test_preferred_wait_is_applied(
    api: httpx.AsyncClient, shop: Shop, payment: Payment, token_of: TokenOf, engine: AsyncEngine
) -> None:
    await fail(engine, payment)

    answer = await api.get(
        f"/v1/payments/{payment.id}", headers={**token_of(shop.buyer), "Prefer": "respond-async, wait=20"}
    )

    assert (answer.status_code, answer.headers["Preference-Applied"]) == (200, "wait=20")
    assert (answer.json()["status"], answer.json()["failure_code"]) == ("failed", "card_declined")


# RFC 7240, section 2: a preference that is not understood is ignored, and is no reason to refuse.
@pytest.mark.parametrize(
    "prefer", ["wait", "wait=", "wait=-1", "wait=1e3", "wait=99999", "await=5", "\xff", "x" * 9_000]
)
async def test_preference_that_makes_no_sense_is_ignored(
    api: httpx.AsyncClient, shop: Shop, payment: Payment, token_of: TokenOf, prefer: str
) -> None:
    answer = await api.get(
        f"/v1/payments/{payment.id}",
        headers={**token_of(shop.buyer), "Prefer": prefer.encode("latin-1")},  # type: ignore[dict-item]
    )

    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [(None, 0), ("wait=10", 10), ('Wait = "5"', 5), ("handling=lenient, wait=7; x=y", 7), ("wait=600", 30)],
)
def test_wait_is_read_and_bounded(prefer: str | None, wait_s: int) -> None:
    assert read_wait_s(prefer) == wait_s


async def test_payment_of_nobody_is_not_found(api: httpx.AsyncClient, token_of: TokenOf) -> None:
    answer = await api.get(f"/v1/payments/{uuid4()}", headers=token_of(Role.FINANCE))

    assert (answer.status_code, answer.json()["code"]) == (404, "payment_not_found")


async def get(api: httpx.AsyncClient, payment: Payment, token: dict[str, str], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.get(f"/v1/payments/{payment.id}", headers={**token, **named})


@pytest.mark.parametrize("form", ["{}", "W/{}", '"another", {}', "*"])
async def test_version_that_the_client_has_is_not_sent_again(
    api: httpx.AsyncClient, shop: Shop, payment: Payment, token_of: TokenOf, form: str
) -> None:
    first = await get(api, payment, token_of(shop.buyer))

    again = await get(api, payment, token_of(shop.buyer), If_None_Match=form.format(first.headers["ETag"]))

    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert again.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("known", ["", '""', "x", '"x', ",,", "W/", "\xff"])
async def test_version_that_the_client_does_not_have_is_sent(
    api: httpx.AsyncClient, shop: Shop, payment: Payment, token_of: TokenOf, known: str
) -> None:
    headers: dict[str, Any] = {**token_of(shop.buyer), "If-None-Match": known.encode("latin-1")}

    answer = await api.get(f"/v1/payments/{payment.id}", headers=headers)

    assert (answer.status_code, answer.json()["id"]) == (200, str(payment.id))


async def test_change_makes_another_version(
    api: httpx.AsyncClient, shop: Shop, payment: Payment, token_of: TokenOf, engine: AsyncEngine
) -> None:
    first = await get(api, payment, token_of(shop.buyer))
    await fail(engine, payment)

    again = await get(api, payment, token_of(shop.buyer), If_None_Match=first.headers["ETag"])

    assert (again.status_code, again.json()["status"]) == (200, "failed")
    assert again.headers["ETag"] != first.headers["ETag"]


async def test_client_waits_for_another_version_than_the_settled_one_it_has(
    api: httpx.AsyncClient, shop: Shop, payment: Payment, token_of: TokenOf, engine: AsyncEngine
) -> None:
    await fail(engine, payment, "requires_action")
    known = (await get(api, payment, token_of(shop.buyer))).headers["ETag"]

    same = await get(api, payment, token_of(shop.buyer), Prefer="wait=1", If_None_Match=known)
    waiting = asyncio.create_task(
        get(api, payment, token_of(shop.buyer), Prefer="wait=30", If_None_Match=known),
    )
    await fail(engine, payment)

    assert (same.status_code, same.headers["Preference-Applied"]) == (304, "wait=1")
    assert (await waiting).json()["status"] == "failed"


async def test_client_is_told_when_to_ask_again_until_the_payment_is_settled(
    api: httpx.AsyncClient, shop: Shop, payment: Payment, token_of: TokenOf, engine: AsyncEngine
) -> None:
    pending = await get(api, payment, token_of(shop.buyer))
    await fail(engine, payment)
    settled = await get(api, payment, token_of(shop.buyer))

    assert int(pending.headers["Retry-After"]) >= 1
    assert "Retry-After" not in settled.headers


@pytest.mark.parametrize(("age_s", "wait_s"), [(-5, 1), (0, 1), (7, 1), (8, 2), (60, 15), (86_400, 30)])
def test_older_payments_are_asked_for_more_seldom(age_s: int, wait_s: int) -> None:
    assert retry_after_s(NOW - timedelta(seconds=age_s), NOW) == wait_s
