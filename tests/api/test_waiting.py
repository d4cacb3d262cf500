"""Clients that wait for a payment to settle cost one statement for all of them."""

import asyncio
from collections.abc import Callable, Sequence
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.payments.resources import read_wait_s
from api.payments.waiting import PaymentReader
from api.services import Services
from domain.coalescer import Coalescer
from domain.errors import DomainError, NotFound
from domain.identity.model import Principal, Role, User
from domain.ids import PaymentId
from domain.payments.model import Payment, PaymentStatus
from tests.builders import Shop, principal

TokenOf = Callable[[User | Role], dict[str, str]]
Asked = Sequence[tuple[Principal, PaymentId]]


@pytest.fixture
async def payment(shop: Shop) -> Payment:
    return await shop.payment()


@pytest.fixture
def statements() -> list[int]:
    """How many payments each statement read."""
    return []


@pytest.fixture
def reader(services: Services, statements: list[int]) -> PaymentReader:
    async def read(asked: Asked) -> list[Payment | DomainError]:
        statements.append(len(asked))
        return await services.payments.get(asked)

    return PaymentReader(Coalescer(read, max_batch=64))


async def fail(engine: AsyncEngine, payment: Payment) -> None:
    """Settle the payment behind the reader's back."""
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE payments SET status = 'failed', failure_code = 'card_declined' WHERE id = :id"),
            {"id": payment.id},
        )


async def test_waiting_ends_as_soon_as_the_payment_is_settled(
    reader: PaymentReader, shop: Shop, payment: Payment, engine: AsyncEngine
) -> None:
    async with asyncio.timeout(20):
        waiting = asyncio.create_task(reader.settled(principal(shop.buyer), payment.id, wait_s=30))
        await fail(engine, payment)

        assert (await waiting).status is PaymentStatus.FAILED


async def test_waiting_ends_when_the_time_is_over(reader: PaymentReader, shop: Shop, payment: Payment) -> None:
    found = await reader.settled(principal(shop.buyer), payment.id, wait_s=0.1)

    assert found.status is PaymentStatus.PENDING


async def test_many_waiting_clients_share_statements(
    reader: PaymentReader, shop: Shop, payment: Payment, statements: list[int]
) -> None:
    await asyncio.gather(*(reader.settled(principal(shop.buyer), payment.id, wait_s=0) for _ in range(50)))

    assert sum(statements) == 50
    assert len(statements) <= 2


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
