"""Products as their sellers write them and everybody reads them."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from domain.identity.model import Role, User
from tests.api.conftest import Open
from tests.api.operations import assert_problem
from tests.builders import Shop

TokenOf = Callable[[User | Role], dict[str, str]]

DESK: dict[str, Any] = {
    "title": "Walnut desk",
    "description": "Oiled by hand",
    "category": "furniture",
    "price_minor": 19_900,
    "currency": "USD",
    "stock": 12,
    "attributes": {"material": "walnut", "width_cm": 140, "weight_kg": 31.5, "new": True, "colours": ["brown", 1]},
    "image_urls": ["https://images.example.com/desk.jpg"],
}


@pytest.fixture
def seller(shop: Shop, token_of: TokenOf) -> dict[str, str]:
    return token_of(shop.seller)


@pytest.fixture
async def desk(api: httpx.AsyncClient, seller: dict[str, str]) -> str:
    answer = await api.post("/v1/products", json=DESK, headers=seller)
    assert answer.status_code == 201, answer.text
    return str(answer.headers["Location"])


async def test_product_is_read_as_it_was_offered(api: httpx.AsyncClient, shop: Shop, desk: str) -> None:
    product = (await api.get(desk)).json()

    assert {name: product[name] for name in DESK} == DESK
    assert product["attributes"]["new"] is True
    assert (product["seller_id"], product["withdrawn_at"]) == (str(shop.seller.id), None)
    assert product["updated_at"] == product["created_at"]


READS = re.compile(r'^marketflow_product_cache_total\{result="(\w+)"\} ([\d.]+)$', re.MULTILINE)


async def reads(api: httpx.AsyncClient) -> dict[str, float]:
    """How products were read so far, by what became of it."""
    return {result: float(count) for result, count in READS.findall((await api.get("/metrics")).text)}


async def test_metrics_tell_how_many_reads_the_cache_answers(api: httpx.AsyncClient, desk: str) -> None:
    before = await reads(api)

    for _ in range(3):
        await api.get(desk)

    after = await reads(api)
    assert after["miss"] - before.get("miss", 0) == 1
    answered = {result: after.get(result, 0) - before.get(result, 0) for result in ("hit", "early")}
    assert sum(answered.values()) == 2


async def test_edit_is_read_at_once_by_everybody(
    api: httpx.AsyncClient, open_app: Open, seller: dict[str, str], desk: str
) -> None:
    other, _ = await open_app()
    assert [(await each.get(desk)).json()["stock"] for each in (api, other)] == [12, 12]

    await api.patch(desk, json={"stock": 11}, headers=seller)

    assert [(await each.get(desk)).json()["stock"] for each in (api, other)] == [11, 11]


async def test_without_redis_products_are_read_from_the_database(
    open_app: Open, closed_port: int, seller: dict[str, str], desk: str
) -> None:
    without, _ = await open_app(redis_url=f"redis://127.0.0.1:{closed_port}")
    before = (await reads(without)).get("bypass", 0)

    assert (await without.get(desk)).json()["stock"] == 12
    assert (await without.patch(desk, json={"stock": 11}, headers=seller)).status_code == 200
    assert (await without.get(desk)).json()["stock"] == 11

    assert (await reads(without))["bypass"] == before + 2


async def test_edit_changes_what_is_given_and_nothing_else(
    api: httpx.AsyncClient, seller: dict[str, str], desk: str
) -> None:
    before = (await api.get(desk)).json()
    changes = {"price_minor": 17_900, "attributes": {}, "image_urls": [], "description": ""}

    answer = await api.patch(desk, json=changes, headers=seller)

    assert answer.status_code == 200
    assert answer.json() == {**before, **changes, "updated_at": answer.json()["updated_at"]}
    assert answer.json()["updated_at"] > before["updated_at"]
    assert (await api.get(desk)).json() == answer.json()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seller_id": "x"},
        {"title": None},
        {"title": " \t"},
        {"attributes": None},
        {"image_urls": None},
        {"stock": 1_000_001},
        {"currency": "usd"},
        {"currency": "XXX"},
        {"withdrawn_at": "2026-11-25T09:00:00Z"},
    ],
)
async def test_edit_of_nothing_or_of_what_cannot_be_is_refused(
    api: httpx.AsyncClient, seller: dict[str, str], desk: str, changes: dict[str, Any]
) -> None:
    assert_problem(await api.patch(desk, json=changes, headers=seller), 422)


async def test_text_that_is_too_long_is_told_in_characters(
    api: httpx.AsyncClient, seller: dict[str, str], desk: str
) -> None:
    answer = await api.patch(desk, json={"title": "x" * 201, "description": "x" * 10_001}, headers=seller)

    problem = assert_problem(answer, 422, "fields_invalid")
    assert [error["message"].partition(",")[0] for error in problem["errors"]] == [
        "String should have at most 200 characters",
        "Value should have at most 10000 characters after validation",
    ]


@pytest.mark.parametrize(
    "attributes",
    [
        "[]",
        "null",
        '"text"',
        '{"": 1}',
        '{"a": null}',
        '{"a": {}}',
        '{"a": [[]]}',
        '{"a": [null]}',
        '{"a": 1e999}',
        '{"a": NaN}',
        '{"a": 10000000000000000}',
        '{"a": -1e16}',
        '{"a": "\\u0000"}',
        '{"\\u0000": 1}',
        '{"a": ["\\u0000"]}',
        '{"a": "\\ud800"}',
        json.dumps({"n" * 65: 1}),
        json.dumps({"a": "v" * 501}),
        json.dumps({"a": [1] * 21}),
        json.dumps(dict.fromkeys(map(str, range(51)), 1)),
        json.dumps(dict.fromkeys(map(str, range(20)), "v" * 490)),
    ],
)
async def test_attributes_that_are_no_small_object_are_refused(
    api: httpx.AsyncClient, seller: dict[str, str], desk: str, attributes: str
) -> None:
    headers = {**seller, "Content-Type": "application/json"}

    problem = assert_problem(
        await api.patch(desk, content=f'{{"attributes": {attributes}}}'.encode(), headers=headers)
    )

    assert problem["code"] in {"json_invalid", "fields_invalid"}


@pytest.mark.parametrize("attributes", [{"a": [[]] * 20_000}, {str(number): [[], {}] for number in range(4_000)}])
async def test_attributes_are_read_up_to_the_first_mistake(
    api: httpx.AsyncClient, seller: dict[str, str], desk: str, attributes: dict[str, Any]
) -> None:
    """All of them would be tens of thousands, for which everybody would wait."""
    content = json.dumps({"attributes": attributes}, separators=(",", ":"))
    headers = {**seller, "Content-Type": "application/json"}

    problem = assert_problem(await api.patch(desk, content=content, headers=headers), 422, "fields_invalid")

    assert [error["field"] for error in problem["errors"]] == ["attributes"]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"a": 10**15, "b": -(10**15), "c": 1e-300, "d": 0.1, "e": False, "f": "", "g": []},
        {"€": "日本語 \u202e \x01 ' \" \\ %s :id $1"},
        {str(number): number for number in range(50)},
        {str(number): "v" * 395 for number in range(20)},
        {str(number): ["w"] * 20 for number in range(50)},
    ],
)
async def test_attributes_come_back_as_they_went_in(
    api: httpx.AsyncClient, seller: dict[str, str], desk: str, attributes: dict[str, Any]
) -> None:
    answer = await api.patch(desk, json={"attributes": attributes}, headers=seller)

    assert answer.status_code == 200, answer.text
    assert (await api.get(desk)).json()["attributes"] == attributes


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "https:///a.jpg",
        "http://images.example.com/a.jpg",
        "HTTPS://images.example.com/a.jpg",
        "javascript:alert(1)",
        "//images.example.com/a.jpg",
        "images.example.com/a.jpg",
        "https://me:secret@images.example.com/a.jpg",
        "https://images.example.com/a b.jpg",
        "https://images.example.com/a\n.jpg",
        "https://images.example.com/\u2028.jpg",
        "https://images.example.com/\x00.jpg",
        "https://[::1/a.jpg",
        f"https://images.example.com/{'a' * 2048}",
    ],
)
async def test_image_that_no_shop_can_show_is_refused(
    api: httpx.AsyncClient, seller: dict[str, str], desk: str, url: str
) -> None:
    answer = await api.patch(desk, json={"image_urls": [url]}, headers=seller)

    assert_problem(answer, 422, "fields_invalid")


async def test_images_are_ten_at_most(api: httpx.AsyncClient, seller: dict[str, str], desk: str) -> None:
    longest = f"https://images.example.com/{'a' * 2021}"

    ten = await api.patch(desk, json={"image_urls": [longest] * 10}, headers=seller)
    eleven = await api.patch(desk, json={"image_urls": [longest] * 11}, headers=seller)

    assert (ten.status_code, eleven.status_code) == (200, 422)


async def test_withdrawn_product_is_read_by_its_seller_alone(
    api: httpx.AsyncClient, shop: Shop, seller: dict[str, str], token_of: TokenOf, desk: str
) -> None:
    gone = [await api.delete(desk, headers=seller) for _ in range(2)]

    assert [(answer.status_code, answer.content) for answer in gone] == [(204, b"")] * 2
    assert (await api.get(desk, headers=seller)).json()["withdrawn_at"] is not None
    assert (await api.get(desk, headers=token_of(Role.FINANCE))).status_code == 200
    for stranger in ({}, token_of(shop.buyer), token_of(shop.other_seller)):
        assert_problem(await api.get(desk, headers=stranger), 404, "product_not_found")
    assert_problem(await api.patch(desk, json={"stock": 1}, headers=seller), 409, "product_withdrawn")


async def test_orders_of_a_withdrawn_product_go_on(
    api: httpx.AsyncClient, shop: Shop, seller: dict[str, str], token_of: TokenOf
) -> None:
    order = await shop.order()
    await api.delete(f"/v1/products/{shop.product.id}", headers=seller)

    read = await api.get(f"/v1/orders/{order.id}", headers=token_of(shop.buyer))

    assert [line["product_id"] for line in read.json()["items"]] == [str(shop.product.id)]


async def test_token_that_comes_along_must_be_a_good_one(api: httpx.AsyncClient, desk: str) -> None:
    assert_problem(await api.get(desk, headers={"Authorization": "Bearer nonsense"}), 401, "token_invalid")
