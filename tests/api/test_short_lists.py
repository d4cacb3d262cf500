"""Lists that are short as a rule come in pages as well, and their pages make the whole."""

import base64
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from domain.identity.model import Role, User
from tests.api.operations import assert_problem
from tests.builders import Shop
from tests.captured import captured

TokenOf = Callable[[User | Role], dict[str, str]]


@pytest.fixture
def buyer(shop: Shop, token_of: TokenOf) -> dict[str, str]:
    return token_of(shop.buyer)


async def pages(
    api: httpx.AsyncClient, path: str, headers: dict[str, str], limit: int
) -> AsyncIterator[list[Any]]:
    """Yield page after page; each but the last one is full."""
    cursor = ""
    while True:
        page = (await api.get(f"{path}?limit={limit}{cursor}", headers=headers)).json()
        yield page["data"]
        if page["next_cursor"] is None:
            return
        assert len(page["data"]) == limit
        cursor = f"&cursor={page['next_cursor']}"


async def is_the_sum_of_its_pages(
    api: httpx.AsyncClient, path: str, headers: dict[str, str], limit: int
) -> list[Any]:
    """Return the whole list, which is as long as several of its pages."""
    whole = (await api.get(path, headers=headers)).json()
    assert whole["next_cursor"] is None
    assert len(whole["data"]) > limit
    assert [row async for page in pages(api, path, headers, limit) for row in page] == whole["data"]
    rows: list[Any] = whole["data"]
    return rows


async def test_events_of_a_payment_come_in_pages(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]
) -> None:
    body = {"order_id": str((await shop.order()).id), "payment_method": "pm_card_visa"}
    made = await api.post("/v1/payments", json=body, headers={**buyer, "Idempotency-Key": uuid4().hex})
    path = made.headers["Location"]
    assert (await api.post(f"{path}/cancellation", headers=buyer)).status_code == 202

    events = await is_the_sum_of_its_pages(api, f"{path}/events", buyer, 1)

    assert events[0]["type"] == "payment.accepted"


@pytest.mark.parametrize("limit", [1, 2])
async def test_refunds_of_a_payment_come_in_pages(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str], limit: int
) -> None:
    path = f"/v1/payments/{(await captured(shop, await shop.order())).id}/refunds"
    asked = []
    for amount_minor in (100, 200, 300, 400):
        body = {"amount_minor": amount_minor, "reason": "too small"}
        made = await api.post(path, json=body, headers={**buyer, "Idempotency-Key": uuid4().hex})
        asked.append(made.json()["id"])

    refunds = await is_the_sum_of_its_pages(api, path, buyer, limit)

    assert [refund["id"] for refund in refunds] == asked


async def test_accounts_come_in_pages(api: httpx.AsyncClient, shop: Shop, token_of: TokenOf) -> None:
    for currency in ("USD", "EUR"):
        await captured(shop, await shop.order(), currency=currency)

    accounts = await is_the_sum_of_its_pages(api, "/v1/ledger/accounts", token_of(Role.FINANCE), 1)

    assert {"stripe_balance", f"seller_payable:{shop.seller.id}"} <= {row["account"] for row in accounts}


@pytest.mark.parametrize("limit", [1_001, 0])
async def test_page_of_accounts_is_bounded(api: httpx.AsyncClient, token_of: TokenOf, limit: int) -> None:
    answer = await api.get(f"/v1/ledger/accounts?limit={limit}", headers=token_of(Role.FINANCE))

    assert_problem(answer, 422, "fields_invalid")


@pytest.mark.parametrize(
    "content", ["", "a", "stripe_balance", "stripe_balance XXX", "nobody USD", "a b c", "\0 USD"]
)
async def test_cursor_of_no_account_is_refused(api: httpx.AsyncClient, token_of: TokenOf, content: str) -> None:
    cursor = base64.urlsafe_b64encode(content.encode()).decode()

    answer = await api.get(f"/v1/ledger/accounts?cursor={cursor}", headers=token_of(Role.FINANCE))

    assert_problem(answer, 422, "cursor_invalid")


async def test_page_of_accounts_follows_one_in_a_currency_that_is_not_traded(
    api: httpx.AsyncClient, token_of: TokenOf
) -> None:
    cursor = base64.urlsafe_b64encode(b"stripe_balance CAD").decode()

    answer = await api.get(f"/v1/ledger/accounts?cursor={cursor}", headers=token_of(Role.FINANCE))

    assert answer.status_code == 200
