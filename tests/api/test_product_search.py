"""Searching over HTTP: what is asked for is found, pages follow each other, and nothing that is asked breaks."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.identity.model import Role, User
from tests.api.operations import assert_problem
from tests.builders import Shop, a_product

TokenOf = Callable[[User | Role], dict[str, str]]


@pytest.fixture
async def desks(shop: Shop) -> list[str]:
    """Seven desks beside the shop's lamp: their ids, oldest first."""
    products = [
        a_product(
            shop.seller.id,
            title="Walnut desk",
            description="Solid <walnut>",
            category="furniture",
            price_minor=10_000 + number % 3,
            stock=number % 2,
        )
        for number in range(7)
    ]
    async with shop.begin() as tx:
        for product in products:
            await tx.products.add(product)
        await tx.commit()
    return [str(product.id) for product in products]


async def search(api: httpx.AsyncClient, **parameters: Any) -> dict[str, Any]:
    answer = await api.get("/v1/products", params=parameters)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_answer_shows_marks_facets_and_no_more_than_is_asked_for(
    api: httpx.AsyncClient, shop: Shop, desks: list[str]
) -> None:
    found = await search(api, q="desks", seller_id=str(shop.seller.id), limit=2)

    assert [product["id"] for product in found["data"]] == desks[:-3:-1]
    assert found["data"][0]["highlight"] == {
        "title": "Walnut <mark>desk</mark>",
        "description": found["data"][0]["highlight"]["description"],
    }
    assert found["facets"] == {
        "counted": 7,
        "is_complete": True,
        "category": [{"value": "furniture", "count": 7}],
        "seller_id": [{"value": str(shop.seller.id), "count": 7}],
        "in_stock": [{"value": False, "count": 4}, {"value": True, "count": 3}],
        "price": [{"from_minor": 10_000, "below_minor": 25_000, "count": 7}],
    }
    assert found["respelled"] is None


@pytest.mark.parametrize("q", [None, "desk", "wlanut dsek"])
@pytest.mark.parametrize("sort", ["relevance", "newest", "price_asc", "price_desc"])
async def test_pages_follow_each_other(
    api: httpx.AsyncClient, shop: Shop, desks: list[str], q: str | None, sort: str
) -> None:
    parameters: dict[str, Any] = {"seller_id": str(shop.seller.id), "category": "furniture", "sort": sort}
    parameters |= {"limit": 3} | ({"q": q} if q else {})
    pages = [await search(api, **parameters)]
    while pages[-1]["next_cursor"]:
        pages.append(await search(api, **parameters, cursor=pages[-1]["next_cursor"]))

    products = [product for page in pages for product in page["data"]]
    assert [len(page["data"]) for page in pages] == [3, 3, 1]
    assert sorted(product["id"] for product in products) == sorted(desks)
    keys = [(product["price_minor"], product["id"]) for product in products]
    expected = {
        "price_asc": sorted(keys),
        "price_desc": sorted(keys, reverse=True),
    }.get(sort, sorted(keys, key=lambda key: key[1], reverse=True))
    assert keys == expected
    assert [page["facets"] is None for page in pages] == [False, True, True]
    assert all((product["highlight"] is None) == (q is None) for product in products)


async def test_list_without_parameters_is_newest_first(api: httpx.AsyncClient, desks: list[str]) -> None:
    found = await search(api)

    assert [product["id"] for product in found["data"][:7]] == desks[::-1]


async def test_withdrawn_product_is_not_found(
    api: httpx.AsyncClient, shop: Shop, desks: list[str], token_of: TokenOf
) -> None:
    await api.delete(f"/v1/products/{desks[3]}", headers=token_of(shop.seller))

    for parameters in ({"q": "desk"}, {"category": "furniture"}, {"sort": "price_asc", "category": "furniture"}):
        found = await search(api, seller_id=str(shop.seller.id), **parameters)
        assert {product["id"] for product in found["data"]} == set(desks) - {desks[3]}
        assert found["facets"]["counted"] == 6


async def test_query_of_spaces_is_none(api: httpx.AsyncClient, desks: list[str]) -> None:
    assert (await search(api, q=" \t ", limit=3))["data"] == (await search(api, limit=3))["data"]


@pytest.mark.parametrize(
    "query",
    [
        "q=" + "a" * 201,
        "q=" + "a" * 10_000,
        "q=%00",
        "q=a&q=b",
        "language=de",
        "sort=price",
        "seller_id=me",
        "category=" + "c" * 101,
        "currency=usd",
        "price_min_minor=-1",
        "price_max_minor=1.5",
        "price_max_minor=" + "9" * 30,
        "price_min_minor=NaN",
        "in_stock=maybe",
        "limit=0",
    ],
)
async def test_parameter_that_cannot_be_is_refused(api: httpx.AsyncClient, query: str) -> None:
    assert_problem(await api.get(f"/v1/products?{query}"), 422, "fields_invalid")


async def test_cursor_belongs_to_its_search(api: httpx.AsyncClient, shop: Shop, desks: list[str]) -> None:
    seller = {"seller_id": str(shop.seller.id)}
    cursor = (await search(api, q="desk", **seller, limit=2))["next_cursor"]

    for other in ({"q": "desks"}, {}, {"q": "desk", "sort": "newest"}, {"q": "desk", "language": "es"}):
        answer = await api.get("/v1/products", params={**seller, **other, "cursor": cursor})
        assert_problem(answer, 422, "cursor_invalid")
    assert len((await search(api, q="desk", **seller, limit=9, cursor=cursor))["data"]) == 5


def as_cursor(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(cursor + "=="))
    return content


numbers = st.one_of(st.integers(-1, 3), st.integers(), st.floats(), st.sampled_from([2**53, 2**63, 2**64]))
changes = st.dictionaries(
    st.sampled_from(["n", "o", "k", "i", "r", "d", "x"]),
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=30), st.just(str(uuid4())), st.lists(numbers)),
    min_size=1,
)


@settings(max_examples=150)
@given(changes=changes, sort=st.sampled_from(["relevance", "price_asc"]), q=st.sampled_from([None, "desk"]))
async def test_forged_cursor_is_answered_or_refused(
    api: httpx.AsyncClient, changes: dict[str, Any], sort: str, q: str | None
) -> None:
    parameters: dict[str, Any] = {"sort": sort, "limit": 1} | ({"q": q} if q else {})
    content = {"d": "", "n": 100, "o": 1, "k": 0.5, "i": str(uuid4())}
    cursor = (await api.get("/v1/products", params=parameters)).json()["next_cursor"]
    if cursor:
        content = read_cursor(cursor)
    forged = {name: value for name, value in {**content, **changes}.items() if value is not None}

    answer = await api.get("/v1/products", params={**parameters, "cursor": as_cursor(forged)})

    if answer.status_code != 200:
        assert_problem(answer, 422)


@settings(max_examples=150)
@given(
    raw=st.one_of(st.binary(max_size=200), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
)
async def test_no_query_is_too_odd_to_be_answered(api: httpx.AsyncClient, raw: bytes) -> None:
    answers = [
        await api.get(f"/v1/products?q={quote(raw)}"),
        await api.get(f"/v1/products?language=es&q={quote(raw)}&category={quote(raw[:30])}"),
    ]

    for answer in answers:
        if answer.status_code != 200:
            assert_problem(answer, 422, "fields_invalid")


@pytest.mark.parametrize(
    "q", ["'", '"', '"' * 199, "\\" * 200, "(" * 200, "-" * 200, "a " * 100, "a or " * 40, "-a " * 60, "é" * 200]
)
async def test_query_of_nothing_but_operators_is_answered(api: httpx.AsyncClient, q: str) -> None:
    assert (await api.get("/v1/products", params={"q": q})).status_code == 200


async def test_description_of_the_search_is_complete(api: httpx.AsyncClient) -> None:
    described = (await api.get("/openapi.json")).json()
    operation = described["paths"]["/v1/products"]["get"]

    assert "$defs" not in json.dumps(operation)
    assert {parameter["name"] for parameter in operation["parameters"]} >= {"q", "language", "sort", "cursor"}
    schemas = described["components"]["schemas"]
    for name in ("ProductBody", "ProductAnswer"):
        assert schemas[name]["examples"]
    assert "default" not in json.dumps(schemas["ProductChangesBody"])
