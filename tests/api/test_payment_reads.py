"""What was rendered before is told again for as long as it is true, and to nobody else."""

from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.payments.rendered import RenderedPayments
from api.payments.waiting import PaymentReader
from api.services import Services
from domain.identity.model import Role, User
from domain.payments.model import Payment
from tests.builders import Shop, principal

TokenOf = Callable[[User | Role], dict[str, str]]
READS = 3
ACTION = "UPDATE payments SET status = 'requires_action', client_secret = 'pi_1_secret_2' WHERE id = :id"


@pytest.fixture
def rendered(services: Services) -> RenderedPayments:
    return RenderedPayments(PaymentReader(services.look, services.changes))


async def change(engine: AsyncEngine, payment: Payment, statement: str) -> None:
    """Change a payment behind everybody's back, and its time not."""
    async with engine.begin() as connection:
        await connection.execute(text(statement), {"id": payment.id})


async def read(api: httpx.AsyncClient, payment: Payment, token: dict[str, str]) -> httpx.Response:
    """Read a payment several times, and return what all of them answer."""
    answers = [await api.get(f"/v1/payments/{payment.id}", headers=token) for _ in range(READS)]
    assert {(answer.status_code, answer.content, answer.headers["ETag"]) for answer in answers} == {
        (200, answers[0].content, answers[0].headers["ETag"])
    }
    return answers[0]


async def test_change_is_seen_at_once(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, engine: AsyncEngine
) -> None:
    payment = await shop.payment()
    before = await read(api, payment, token_of(shop.buyer))

    await change(engine, payment, "UPDATE payments SET status = 'canceled' WHERE id = :id")
    after = await read(api, payment, token_of(shop.buyer))

    assert (before.json()["status"], after.json()["status"]) == ("pending", "canceled")
    assert before.headers["ETag"] != after.headers["ETag"]
    assert ("Retry-After" in before.headers, "Retry-After" in after.headers) == (True, False)


async def test_secret_is_for_the_payer_alone_however_often_others_read(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, engine: AsyncEngine
) -> None:
    payment = await shop.payment()
    await change(engine, payment, ACTION)

    told = [(await read(api, payment, token_of(who))).json()["client_secret"] for who in (shop.buyer, shop.seller)]

    assert told == ["pi_1_secret_2", None]


async def test_who_may_not_see_it_is_not_told_what_is_kept(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf
) -> None:
    payment = await shop.payment()
    await read(api, payment, token_of(shop.buyer))

    stranger = await api.get(f"/v1/payments/{payment.id}", headers=token_of(shop.other_seller))

    assert stranger.status_code == 404


async def test_what_is_kept_is_bounded(
    rendered: RenderedPayments, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.payments.rendered._MAX_KEPT", 2)
    payments = [await shop.payment() for _ in range(4)]

    for payment in (*payments, *payments[::-1]):
        answer = await rendered.get(principal(shop.buyer), payment.id)
        assert str(payment.id).encode() in answer.body

    assert len(rendered._kept) == 2


async def test_unchanged_payment_is_rendered_once(
    rendered: RenderedPayments, shop: Shop, engine: AsyncEngine
) -> None:
    payment, buyer = await shop.payment(), principal(shop.buyer)

    first, second = [await rendered.get(buyer, payment.id) for _ in range(2)]
    await change(engine, payment, ACTION)
    third = await rendered.get(buyer, payment.id)

    assert second is first
    assert third.body != first.body
