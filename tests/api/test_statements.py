"""`/v1/sellers/me/statement`, as JSON and CSV."""

import base64
import csv
import io
import struct
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import httpx
import pytest

from api.statements import guarded
from domain.identity.model import Role, User
from domain.ledger.model import STRIPE_BALANCE, seller_payable
from tests.api.operations import assert_problem
from tests.builders import NOW, Shop, a_journal

TokenOf = Callable[[User | Role], dict[str, str]]
PATH = "/v1/sellers/me/statement"
AMOUNTS = [1949, -88, 500, -2500, 3]


@pytest.fixture
async def sources(shop: Shop) -> list[str]:
    """What caused five movements of the seller's balance, a second apart; one looks like a formula."""
    named = [f"ch_{uuid4().hex}" for _ in AMOUNTS[1:]] + [f"=HYPERLINK({uuid4().hex})"]
    for number, (source, amount_minor) in enumerate(zip(named, AMOUNTS, strict=True)):
        journal = a_journal(
            (STRIPE_BALANCE, amount_minor),
            (seller_payable(shop.seller.id), -amount_minor),
            source=source,
            created_at=NOW + timedelta(seconds=number),
        )
        async with shop.begin() as tx:
            await tx.ledger.post([journal])
            await tx.commit()
    return named


def span(start_s: int, end_s: int) -> str:
    """The period from so many seconds after the first movement until so many."""
    start, end = (quote((NOW + timedelta(seconds=seconds)).isoformat()) for seconds in (start_s, end_s))
    return f"from={start}&to={end}"


def a_cursor(xmin: int = 700, length: int = 0, under_way: Sequence[int] = ()) -> str:
    """A cursor as the service makes them, or nearly."""
    raw = struct.pack(f"!16sQI{len(under_way)}I", UUID(int=7).bytes, xmin, length, *under_way)
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


async def read_csv(api: httpx.AsyncClient, query: str, caller: dict[str, str]) -> list[dict[str, str]]:
    answer = await api.get(f"{PATH}?{query}", headers={**caller, "Accept": "text/csv"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


async def test_parts_follow_each_other(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, sources: list[str]
) -> None:
    caller, cursor, parts = token_of(shop.seller), "", []
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        answer = await api.get(f"{PATH}?{span(1, 5)}&limit=2{more}", headers=caller)
        assert answer.status_code == 200, answer.text
        parts.append(answer.json())
        cursor = parts[-1]["next_cursor"]

    lines: list[Any] = [line for part in parts for line in part["lines"]]
    assert [line["source"] for line in lines] == sources[1:]
    assert [line["amount_minor"] for line in lines] == AMOUNTS[1:]
    assert [part["opening_minor"] for part in parts] == [1949, 1949 - 88 + 500]
    assert [part["closing_minor"] for part in parts] == [parts[1]["opening_minor"], sum(AMOUNTS)]
    assert parts[0]["from"] < parts[0]["to"]
    assert (parts[0]["seller_id"], parts[0]["currency"]) == (str(shop.seller.id), "USD")


async def test_csv_is_whole_and_adds_up(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, finance: dict[str, str], sources: list[str]
) -> None:
    rows = await read_csv(api, f"{span(1, 5)}&limit=1", token_of(shop.seller))

    assert [row["kind"] for row in rows] == ["opening_balance", *["charge"] * 4, "closing_balance"]
    assert [int(row["balance_minor"]) for row in rows] == [1949, 1861, 2361, -139, -136, -136]
    assert [int(row["amount_minor"]) for row in rows[1:-1]] == AMOUNTS[1:]
    assert rows[-2]["source"] == f"'{sources[-1]}"
    assert {row["currency"] for row in rows} == {"USD"}
    assert rows[0]["at"].endswith("Z")
    of_seller = f"{span(1, 5)}&seller_id={shop.seller.id}"
    assert await read_csv(api, of_seller, finance) == rows


@pytest.mark.parametrize("accept", ["Text/CSV", "TEXT/*", "application/JSON;q=0.1, Text/csv;Q=0.2"])
async def test_media_type_is_the_same_in_capitals(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, sources: list[str], accept: str
) -> None:
    answer = await api.get(PATH, headers={**token_of(shop.seller), "Accept": accept})

    assert answer.headers["Content-Type"].startswith("text/csv")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "period_invalid"),
        ("from=2026-11-02T00:00:00", "fields_invalid"),
        ("from=0001-01-01T00:00:00%2B14:00", "fields_invalid"),
        ("to=9999-12-31T23:59:59-14:00", "fields_invalid"),
        ("start=2026-11-02T00:00:00Z", "fields_invalid"),
        ("currency=usd", "fields_invalid"),
        ("cursor=x", "cursor_invalid"),
        ("cursor=", "cursor_invalid"),
        (f"cursor={a_cursor()[:-2]}", "cursor_invalid"),
        (f"cursor={a_cursor(xmin=0)}", "cursor_invalid"),
        (f"cursor={a_cursor(xmin=2**62 - 1, length=2)}", "cursor_invalid"),
        (f"cursor={a_cursor(xmin=2**40)}", "cursor_invalid"),
        (f"cursor={a_cursor(xmin=2**40 - 1, length=1)}", "cursor_invalid"),
        (f"cursor={a_cursor(xmin=2**40 - 1, length=3, under_way=(1, 2))}", "cursor_invalid"),
        (f"cursor={a_cursor(length=2, under_way=(0, 2))}", "cursor_invalid"),
        (f"cursor={a_cursor(length=9, under_way=(4, 3))}", "cursor_invalid"),
        (f"cursor={a_cursor(length=9, under_way=(3, 3))}", "cursor_invalid"),
        (f"cursor={'A' * 4_097}", "fields_invalid"),
    ],
)
async def test_what_cannot_be_is_refused(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, query: str, code: str
) -> None:
    answer = await api.get(f"{PATH}?{query}", headers=token_of(shop.seller))

    assert_problem(answer, 422, code)


@pytest.mark.parametrize(
    "cursor",
    [a_cursor(), a_cursor(length=2**32 - 1, under_way=(0, 1, 2**32 - 2)), a_cursor(2**61 + 1, 700, range(700))],
)
async def test_whatever_snapshot_a_cursor_names_is_read(
    api: httpx.AsyncClient, shop: Shop, token_of: TokenOf, cursor: str
) -> None:
    answer = await api.get(f"{PATH}?cursor={cursor}", headers=token_of(shop.seller))

    assert answer.status_code == 200, answer.text


async def test_others_sellers_look_like_none(api: httpx.AsyncClient, shop: Shop, token_of: TokenOf) -> None:
    for seller_id in (shop.other_seller.id, uuid4()):
        answer = await api.get(f"{PATH}?seller_id={seller_id}", headers=token_of(shop.seller))
        assert_problem(answer, 404, "seller_not_found")


async def test_refusal_of_csv_is_a_problem_document(api: httpx.AsyncClient, finance: dict[str, str]) -> None:
    answer = await api.get(PATH, headers={**finance, "Accept": "text/csv"})

    assert_problem(answer, 422, "seller_needed")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_is_a_formula(start: str) -> None:
    assert guarded(f"{start}1+1") == f"'{start}1+1"
    assert guarded(f"1{start}1") == f"1{start}1"
