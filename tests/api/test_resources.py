"""The resources as clients see them: status, Location, pages, replays."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from api.cursors import encode_cursor
from db.unit_of_work import Database
from domain.identity.model import Role, User
from domain.ledger.model import STRIPE_BALANCE, Journal, seller_payable
from tests.api.operations import assert_problem
from tests.builders import Shop, a_journal, a_product
from tests.captured import captured

TokenOf = Callable[[User | Role], dict[str, str]]


def with_key(header: dict[str, str]) -> dict[str, str]:
    return {**header, "Idempotency-Key": uuid4().hex}


@pytest.fixture
def buyer(shop: Shop, token_of: TokenOf) -> dict[str, str]:
    return token_of(shop.buyer)


@pytest.fixture
def seller(shop: Shop, token_of: TokenOf) -> dict[str, str]:
    return token_of(shop.seller)


async def test_product_is_offered_and_found(api: httpx.AsyncClient, shop: Shop, seller: dict[str, str]) -> None:
    body = {"title": "Desk", "price_minor": 1999, "currency": "USD"}

    made = await api.post("/v1/products", json=body, headers=seller)

    assert (made.status_code, made.json()["seller_id"]) == (201, str(shop.seller.id))
    assert (await api.get(made.headers["Location"])).json() == made.json()


async def test_currency_nobody_knows_is_refused(api: httpx.AsyncClient, seller: dict[str, str]) -> None:
    body = {"title": "Desk", "price_minor": 1999, "currency": "XXX"}

    assert_problem(await api.post("/v1/products", json=body, headers=seller), 422)


async def test_product_of_nobody_is_not_found(api: httpx.AsyncClient) -> None:
    assert_problem(await api.get(f"/v1/products/{uuid4()}"), 404, "product_not_found")


async def test_pages_follow_each_other_without_gap_or_repeat(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]
) -> None:
    orders = [str((await shop.order()).id) for _ in range(5)]
    found: list[str] = []
    query = "?limit=2"

    for _ in range(3):
        page = (await api.get(f"/v1/orders{query}", headers=buyer)).json()
        found += [order["id"] for order in page["data"]]
        query = f"?limit=2&cursor={page['next_cursor']}"

    assert found == orders[::-1]
    assert page["next_cursor"] is None


async def test_order_shows_its_lines(api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]) -> None:
    items = [{"product_id": str(product.id), "quantity": 2} for product in (shop.product, shop.other_product)]

    made = await api.post("/v1/orders", json={"items": items}, headers=with_key(buyer))

    order = made.json()
    assert (made.status_code, order["status"], order["amount_minor"]) == (201, "pending", 5000)
    assert [line["price_minor"] for line in order["items"]] == [1999, 501]
    assert (await api.get(made.headers["Location"], headers=buyer)).json() == order


async def test_product_stands_in_one_line_of_an_order(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]
) -> None:
    items = [{"product_id": str(shop.product.id), "quantity": 1}] * 2

    assert_problem(
        await api.post("/v1/orders", json={"items": items}, headers=with_key(buyer)), 422, "fields_invalid"
    )


async def test_repeated_order_is_answered_again(api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]) -> None:
    body = {"items": [{"product_id": str(shop.product.id), "quantity": 1}]}
    headers = with_key(buyer)

    first, again = [await api.post("/v1/orders", json=body, headers=headers) for _ in range(2)]

    assert (again.status_code, again.headers["Location"]) == (first.status_code, first.headers["Location"])
    assert ("Idempotent-Replayed" in first.headers, again.headers["Idempotent-Replayed"]) == (False, "true")
    assert again.json() == first.json()


async def test_200_requests_race_for_10_pieces(
    api: httpx.AsyncClient, database: Database, shop: Shop, buyer: dict[str, str], seller: dict[str, str]
) -> None:
    product = a_product(shop.seller.id, stock=10)
    async with database.begin() as tx:
        await tx.products.add(product)
        await tx.commit()
    body = {"items": [{"product_id": str(product.id), "quantity": 1}]}

    async with asyncio.timeout(60):
        answers = await asyncio.gather(
            *(api.post("/v1/orders", json=body, headers=with_key(buyer)) for _ in range(200))
        )

    refused = [answer for answer in answers if answer.status_code != 201]
    assert len(answers) - len(refused) == 10
    for answer in refused:
        assert_problem(answer, 409, "insufficient_stock")
    assert (await api.get(f"/v1/products/{product.id}", headers=seller)).json()["stock"] == 0


async def test_pending_order_says_until_when_it_holds_its_stock(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]
) -> None:
    body = {"items": [{"product_id": str(shop.product.id), "quantity": 1}]}

    order = (await api.post("/v1/orders", json=body, headers=with_key(buyer))).json()

    held = datetime.fromisoformat(order["expires_at"]) - datetime.fromisoformat(order["created_at"])
    assert held == timedelta(hours=1)


async def test_repeated_payment_is_answered_again(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]
) -> None:
    body = {"order_id": str((await shop.order()).id), "payment_method": "pm_card_visa"}
    headers = {**with_key(buyer), "traceparent": "00-" + "a" * 100}

    first, again = [await api.post("/v1/payments", json=body, headers=headers) for _ in range(2)]

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    events = (await api.get(f"{first.headers['Location']}/events", headers=buyer)).json()["data"]
    assert [event["type"] for event in events] == ["payment.accepted"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"order_id": None}, 422),
        ({"amount_minor": 1999}, 422),
        ({"seller_id": str(uuid4())}, 422),
        ({"order_id": str(uuid4())}, 404),
        ({"capture": "later"}, 422),
        ({"payment_method": "pm card"}, 422),
        ({"order_id": None, "seller_id": str(uuid4()), "amount_minor": 1999, "currency": "USD"}, 422),
    ],
)
async def test_payment_of_nothing_or_of_two_things_is_refused(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str], changes: dict[str, Any], status: int
) -> None:
    body = {"order_id": str((await shop.order()).id), "payment_method": "pm_card_visa", **changes}
    body = {name: value for name, value in body.items() if value is not None}

    assert_problem(await api.post("/v1/payments", json=body, headers=with_key(buyer)), status)


async def test_direct_payment_over_the_limit_is_refused(
    api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]
) -> None:
    body = {
        "seller_id": str(shop.seller.id),
        "amount_minor": 100_000_000,
        "currency": "USD",
        "payment_method": "pm_card_visa",
    }

    assert_problem(await api.post("/v1/payments", json=body, headers=with_key(buyer)), 422)


async def test_payments_are_listed_newest_first(api: httpx.AsyncClient, shop: Shop, buyer: dict[str, str]) -> None:
    payments = [str((await shop.payment()).id) for _ in range(3)]

    listed = (await api.get("/v1/payments", headers=buyer)).json()["data"]

    assert [payment["id"] for payment in listed] == payments[::-1]


async def test_journal_of_nobody_is_not_found(api: httpx.AsyncClient, finance: dict[str, str]) -> None:
    assert_problem(await api.get(f"/v1/ledger/journals/{uuid4()}", headers=finance), 404)


async def test_trial_balance_of_a_time_before_all_is_empty(
    api: httpx.AsyncClient, finance: dict[str, str]
) -> None:
    answer = await api.get("/v1/ledger/trial-balance?at=2001-01-01T00:00:00Z", headers=finance)

    assert (answer.status_code, answer.json()["accounts"], answer.json()["totals"]) == (200, [], [])


async def test_time_with_another_offset_is_told_in_utc(api: httpx.AsyncClient, finance: dict[str, str]) -> None:
    answer = await api.get("/v1/ledger/trial-balance?at=2001-01-01T03:00:00%2B02:00", headers=finance)

    assert answer.json()["at"] == "2001-01-01T01:00:00Z"


async def test_trial_balance_has_equal_sides(api: httpx.AsyncClient, finance: dict[str, str]) -> None:
    answer = (await api.get("/v1/ledger/trial-balance", headers=finance)).json()

    assert all(total["debit_minor"] == total["credit_minor"] for total in answer["totals"])


async def test_trial_balance_comes_in_pages_of_one_time_with_the_totals_of_all(
    api: httpx.AsyncClient, shop: Shop, finance: dict[str, str]
) -> None:
    await captured(shop)
    at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    whole = (await api.get("/v1/ledger/trial-balance", params={"at": at}, headers=finance)).json()
    half = len(whole["accounts"]) // 2

    query = {"at": at, "limit": half}
    first = (await api.get("/v1/ledger/trial-balance", params=query, headers=finance)).json()
    query = {"cursor": first["next_cursor"], "limit": half + 1}
    second = (await api.get("/v1/ledger/trial-balance", params=query, headers=finance)).json()

    assert half
    assert first["accounts"] + second["accounts"] == whole["accounts"]
    assert first["totals"] == second["totals"] == whole["totals"]
    assert (second["at"], second["next_cursor"]) == (whole["at"], None)


@pytest.mark.parametrize("is_of_now", [True, False])
async def test_pages_of_a_trial_balance_are_of_the_first_ones_moment(
    api: httpx.AsyncClient, database: Database, shop: Shop, finance: dict[str, str], *, is_of_now: bool
) -> None:
    """What is committed between two pages is on neither, also if it was posted before the first one."""

    def owed(seller: User) -> Journal:
        return a_journal((STRIPE_BALANCE, 5), (seller_payable(seller.id), -5), created_at=datetime.now(UTC))

    async def read(**query: object) -> dict[str, Any]:
        found: dict[str, Any] = (await api.get("/v1/ledger/trial-balance", params=query, headers=finance)).json()
        return found

    async with database.begin() as slow:
        await slow.ledger.post([owed(shop.seller)])
        of = {} if is_of_now else {"at": datetime.now(UTC).isoformat()}
        whole, first = await read(**of), await read(limit=1, **of)
        await slow.commit()
    async with database.begin() as tx:
        await tx.ledger.post([owed(shop.other_seller)])
        await tx.commit()
    second = await read(cursor=first["next_cursor"])

    assert first["accounts"] + second["accounts"] == whole["accounts"]
    assert first["totals"] == second["totals"] == whole["totals"]
    assert second["at"] == first["at"]


@pytest.mark.parametrize(
    "place",
    [
        "bank USD",
        "a b c d e",
        "bank USD yesterday 2026-11-01T00:00:00+00:00 5:5:",
        "bank USD - yesterday 5:5:",
        "bank XXX - 2026-11-01T00:00:00+00:00 5:5:",
        *(f"bank USD - 2026-11-01T00:00:00+00:00 {snapshot}" for snapshot in ("now", "5:4:", "0:5:", "5:9:7,6")),
    ],
)
async def test_cursor_of_another_list_is_refused_by_the_trial_balance(
    api: httpx.AsyncClient, finance: dict[str, str], place: str
) -> None:
    cursor = encode_cursor(place.encode())

    answer = await api.get("/v1/ledger/trial-balance", params={"cursor": cursor}, headers=finance)

    assert_problem(answer, 422, "cursor_invalid")
