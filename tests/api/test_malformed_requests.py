"""Whatever is sent: a problem document, never a 5xx, and nothing changes."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args
from urllib.parse import quote

import httpx
import pytest
from pydantic.fields import FieldInfo
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.operations import CALLS, SOME_ID, Call, assert_problem

WITH_BODY = [call for call in CALLS if call.operation.body is not None]
WITH_KEY = [call for call in CALLS if call.operation.idempotent]
WANT_KEY = [call for call in WITH_KEY if not call.operation.optional_key]
WITH_PAGES = [call for call in CALLS if "cursor" in call.operation.query.model_fields]
WITH_ID = [call for call in CALLS if ":uuid}" in call.template]
TOO_LONG = b" " * 65_536 + b"{}"


async def count_rows(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        names = (
            await connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        ).all()
        readable = "SELECT has_table_privilege(:name, 'SELECT')"
        return {
            name: (await connection.execute(text(f'SELECT count(*) FROM "{name}"'))).scalar_one()
            for (name,) in names
            if (await connection.execute(text(readable), {"name": name})).scalar_one()
        }


@pytest.fixture(autouse=True, scope="module")
async def nothing_changes(engine: AsyncEngine) -> AsyncIterator[None]:
    before = await count_rows(engine)
    yield
    assert await count_rows(engine) == before


def calls(chosen: list[Call]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", chosen, ids=str)


async def send(
    api: httpx.AsyncClient, call: Call, token: dict[str, str], *, query: str = "", **parts: Any
) -> httpx.Response:
    headers = {**call.headers, **token, **parts.pop("headers", {})}
    path = parts.pop("path", call.path)
    wanted = {name: value.encode("latin-1") for name, value in headers.items() if value is not None}
    return await api.request(call.method, f"{path}{query}", headers=wanted, **parts)


def with_extra(call: Call, raw_value: str) -> bytes:
    """A good body with one more member."""
    return (json.dumps(call.body)[:-1] + f', "more": {raw_value}}}').encode()


def bad_bodies(call: Call) -> Iterator[tuple[str, bytes]]:
    first, value = next(iter((call.body or {}).items()))
    good = json.dumps(call.body)
    yield from {
        "empty": b"",
        "spaces": b"  ",
        "cut off": good[:-1].encode(),
        "followed": good.encode() + b"{}",
        "array": b"[]",
        "text": b'"text"',
        "null": b"null",
        "number": b"1",
        "array of depth 60,000": b"[" * 60_000,
        "array of depth 100,000": b"[" * 100_000,
        "deep objects": b'{"a":' * 10_000,
        "deep in a field": with_extra(call, "[" * 30_000 + "]" * 30_000),
        "NaN": b"NaN",
        "NaN in a field": with_extra(call, "NaN"),
        "1e999": with_extra(call, "1e999"),
        "huge integer": with_extra(call, "9" * 5_000),
        "repeated name": (good[:-1] + f', "{first}": {json.dumps(value)}}}').encode(),
        "unknown field": with_extra(call, "1"),
        "not UTF-8": good.encode()[:-1] + b', "a": "\xff\xfe"}',
        "byte order mark": b"\xef\xbb\xbf" + good.encode(),
        "UTF-16": good.encode("utf-16"),
        "lone surrogate": with_extra(call, r'"\ud800"'),
        "single quotes": good.replace('"', "'").encode(),
    }.items()


WRONG_TEXT: list[Any] = [None, 1, 1.5, True, [], {}, "\x00", "a\x00b"]
WRONG_NUMBER: list[Any] = [None, "1", 1.5, True, [], {}, -1, 10**18, 10**400]
WRONG_LIST: list[Any] = [None, "x", 1, {}, [], [None], [[]], [{}]]
WRONG_OBJECT: list[Any] = [None, "x", 1, [], {}, {"unknown": 1}]


def field_of(call: Call, name: str) -> FieldInfo:
    """The body's field that is so called in JSON."""
    assert call.operation.body is not None
    fields = call.operation.body.model_fields
    return next(field for each, field in fields.items() if name == (field.alias or each))


def may_be_null(call: Call, name: str) -> bool:
    return type(None) in get_args(field_of(call, name).annotation)


def wrong_fields(call: Call) -> Iterator[tuple[str, bytes]]:
    for name, value in (call.body or {}).items():
        wrong = {str: WRONG_TEXT, int: WRONG_NUMBER, list: WRONG_LIST, dict: WRONG_OBJECT}[type(value)]
        for number, instead in enumerate(wrong):
            if instead is None and may_be_null(call, name):
                continue
            yield f"{name} {number}", json.dumps({**(call.body or {}), name: instead}).encode()
        without = {key: kept for key, kept in (call.body or {}).items() if key != name}
        if field_of(call, name).is_required():
            yield f"{name} missing", json.dumps(without).encode()
        if isinstance(value, str):
            surrogate = json.dumps({**without, name: "@"}).replace('"@"', r'"\ud800"')
            yield f"{name} surrogate", surrogate.encode()


BODIES = [
    pytest.param(call, body, id=f"{call} {name}")
    for call in WITH_BODY
    for name, body in bad_bodies(call)
    if body or not call.operation.optional_body
]
WITHOUT_BODY = [
    call for call in CALLS if call.method == "POST" and not (call.operation.body or call.operation.raw_body)
]
FIELDS = [pytest.param(call, body, id=f"{call} {name}") for call in WITH_BODY for name, body in wrong_fields(call)]


@pytest.mark.parametrize(("call", "body"), BODIES)
async def test_body_that_is_no_good_object_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call, body: bytes
) -> None:
    problem = assert_problem(await send(api, call, finance, content=body))

    assert (problem["status"], problem["code"]) in {
        (400, "json_invalid"),
        (413, "body_too_large"),
        (422, "fields_invalid"),
    }


@pytest.mark.parametrize("call", [call for call in WITH_BODY if call.operation.optional_body], ids=str)
async def test_body_that_may_be_left_out_may_be_announced(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call
) -> None:
    """Many clients name a media type whatever they send."""
    answer = await send(api, call, finance, content=b"")

    assert answer.json()["code"] != "json_invalid"


@pytest.mark.parametrize("call", WITHOUT_BODY, ids=str)
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"reason": "x"}', 422, "fields_invalid"),
        (b"garbage{", 400, "json_invalid"),
        (b"[]", 422, "fields_invalid"),
    ],
)
async def test_body_that_nobody_reads_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call, body: bytes, status: int, code: str
) -> None:
    answer = await send(api, call, finance, content=body, headers={"Content-Type": "application/json"})

    assert_problem(answer, status, code)


@pytest.mark.parametrize(("call", "body"), FIELDS)
async def test_field_of_a_wrong_type_or_range_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call, body: bytes
) -> None:
    problem = assert_problem(await send(api, call, finance, content=body))

    assert (problem["status"], problem["code"]) in {(400, "json_invalid"), (422, "fields_invalid")}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"currency": "USD",}', "trailing comma at line 2 column 20"),
        (b"", "EOF while parsing a value at line 2 column 0"),
        (b'{"currency": "\\ud800"}', "unexpected end of hex escape at line 2 column 21"),
    ],
)
async def test_refusal_says_where_a_body_ends_to_be_json(
    api: httpx.AsyncClient, finance: dict[str, str], body: bytes, where: str
) -> None:
    answer = await api.post(
        "/v1/reconciliations", content=b"\n" + body, headers={**finance, "Content-Type": "application/json"}
    )

    assert assert_problem(answer, 400, "json_invalid")["detail"] == f"the body is not JSON: {where}"


@calls(WITH_BODY)
async def test_repeated_name_is_invalid_json(api: httpx.AsyncClient, finance: dict[str, str], call: Call) -> None:
    body = dict(bad_bodies(call))["repeated name"]

    assert_problem(await send(api, call, finance, content=body), 400, "json_invalid")


@calls(WITH_BODY)
@pytest.mark.parametrize(
    "media_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "json", "\xff"]
)
async def test_other_media_type_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call, media_type: str | None
) -> None:
    answer = await send(
        api, call, finance, content=json.dumps(call.body).encode(), headers={"Content-Type": media_type}
    )

    assert_problem(answer, 415, "media_type_unsupported")


@calls([call for call in CALLS if call.operation.body is not None or call.operation.raw_body])
@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_body_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call, *, chunked: bool
) -> None:
    body = TOO_LONG.rjust(call.operation.max_body_bytes + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 8_192):
            yield body[start : start + 8_192]

    answer = await send(api, call, finance, content=chunks() if chunked else body)

    assert_problem(answer, 413, "body_too_large")


@calls(WITH_BODY)
@pytest.mark.parametrize("length", ["-1", "many", "1e3"])
async def test_length_that_is_no_number_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call, length: str
) -> None:
    answer = await send(api, call, finance, content=b"{}", headers={"Content-Length": length})

    assert_problem(answer, 400)


@calls(WANT_KEY)
async def test_missing_key_is_refused(api: httpx.AsyncClient, finance: dict[str, str], call: Call) -> None:
    answer = await send(api, call, finance, json=call.body, headers={"Idempotency-Key": None})

    assert_problem(answer, 400, "idempotency_key_missing")


@calls(WITH_KEY)
@pytest.mark.parametrize("key", ["", " ", '""', '"', '"a', "k" * 256, "a\tb", "\xe9", '"a\\"', "a\x7f"])
async def test_bad_key_is_refused(api: httpx.AsyncClient, finance: dict[str, str], call: Call, key: str) -> None:
    answer = await send(api, call, finance, json=call.body, headers={"Idempotency-Key": key})

    assert_problem(answer, 400, "idempotency_key_invalid")


@calls(CALLS)
@pytest.mark.parametrize("query", ["?unknown=1", "?%00=1", "?%ff=%ff", "?limit[]=1", "?=&&=", "?a=b=c"])
async def test_unknown_parameter_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call, query: str
) -> None:
    assert_problem(await send(api, call, finance, query=query, json=call.body), 422, "fields_invalid")


BAD_LIMITS = ["", "0", "-1", "TOO_MANY", "x", "1.5", "1e999", "NaN", "%00", "%ff", "1&limit=2", "1,2", "9" * 5_000]
BAD_CURSORS = ["", "!", "a" * 65, "AAAA", "%00", "%ed%a0%80", "é", "a&cursor=b", "=" * 22, "A" * 23]


@calls(WITH_PAGES)
@pytest.mark.parametrize(
    "query", [f"?limit={bad}" for bad in BAD_LIMITS] + [f"?cursor={bad}" for bad in BAD_CURSORS]
)
async def test_bad_page_is_refused(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call, query: str
) -> None:
    longest = {"/v1/ledger/accounts": 1_000, "/v1/ledger/trial-balance": 10_000}.get(call.template, 100)
    query = query.replace("TOO_MANY", str(longest + 1))

    problem = assert_problem(await send(api, call, finance, query=query), 422)

    assert problem["code"] in {"fields_invalid", "cursor_invalid"}


@pytest.mark.parametrize("query", ["limit=1&limit=2", "cursor=a&cursor=a", "at=x&at=y&limit=0"])
async def test_repeated_parameter_is_said_to_be_repeated(
    api: httpx.AsyncClient, finance: dict[str, str], query: str
) -> None:
    answer = await api.get(f"/v1/ledger/trial-balance?{query}", headers=finance)

    problem = assert_problem(answer, 422, "fields_invalid")
    assert problem["errors"] == [{"field": query.partition("=")[0], "message": "is given more than once"}]


async def test_offset_whose_plus_became_a_space_is_told_how_to_write_it(
    api: httpx.AsyncClient, finance: dict[str, str]
) -> None:
    path = "/v1/ledger/trial-balance?at=2026-11-25T09:00:00"

    answer, written = [await api.get(f"{path}{plus}02:00", headers=finance) for plus in ("+", "%2B")]

    (told,) = assert_problem(answer, 422, "fields_invalid")["errors"]
    assert (told["field"], "%2B" in told["message"]) == ("at", True)
    assert written.json()["at"] == "2026-11-25T07:00:00Z"


BAD_TIMES = [
    *("", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "yesterday", "2026-01-01", "2026-01-01T00:00:00"),
    *("1764057600", "-1", "1.5", "1e999", "%00"),
]


@pytest.mark.parametrize("at", BAD_TIMES)
async def test_bad_time_is_refused(api: httpx.AsyncClient, finance: dict[str, str], at: str) -> None:
    answer = await api.get(f"/v1/ledger/trial-balance?at={at}", headers=finance)

    assert_problem(answer, 422, "fields_invalid")


@pytest.mark.parametrize("at", [1764057600, "1764057600", "1764057600.5", "2026-11-25"])
async def test_seconds_and_days_are_no_time(
    api: httpx.AsyncClient, finance: dict[str, str], at: str | int
) -> None:
    period = {"from": at, "to": "2026-11-26T00:00:00Z"}

    answer = await api.post("/v1/reconciliations", json=period, headers=finance)

    assert_problem(answer, 422, "fields_invalid")


@calls(WITH_ID)
@pytest.mark.parametrize("bad_id", ["x", "1", SOME_ID + "0", "%00", "%ff", "%2e%2e", "é" * 100, "g" * 36])
async def test_id_that_is_no_uuid_is_not_found(
    api: httpx.AsyncClient, finance: dict[str, str], call: Call, bad_id: str
) -> None:
    answer = await send(api, call, finance, path=call.path.replace(SOME_ID, bad_id), json=call.body)

    assert_problem(answer, 404)


@pytest.mark.parametrize(
    "account",
    [
        *("%00", "%ff", "%ed%a0%80", "x" * 10_000, "é", quote("'; DROP TABLE entries;--"), "stripe_balances"),
        *("seller_payable", "seller_payable:1", f"seller_payable:{SOME_ID[:-1]}A", f"BANK:{SOME_ID}", "bank:"),
    ],
)
async def test_account_that_cannot_be_is_not_found(
    api: httpx.AsyncClient, finance: dict[str, str], account: str
) -> None:
    assert_problem(await api.get(f"/v1/ledger/accounts/{account}/entries", headers=finance), 404)


@pytest.mark.parametrize("any_id", ["%00", "%ff", "%ed%a0%80", "x" * 10_000, "é", "pi_%00", f"{SOME_ID}:99999"])
async def test_id_that_cannot_be_has_no_trace(
    api: httpx.AsyncClient, finance: dict[str, str], any_id: str
) -> None:
    assert_problem(await api.get(f"/v1/trace/{any_id}", headers=finance), 404)


ABSENT = [
    pytest.param(call, method, id=f"{call} {method}")
    for call in CALLS
    for method in ("PUT", "PATCH", "DELETE", "TRACE")
    if not any((other.template, other.method) == (call.template, method) for other in CALLS)
]


@pytest.mark.parametrize(("call", "method"), ABSENT)
async def test_method_that_is_not_there_is_refused(api: httpx.AsyncClient, call: Call, method: str) -> None:
    assert_problem(await api.request(method, call.path), 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/payments/", "/%00", "/%ff", "//", "/v1/../etc"])
async def test_path_that_is_not_there_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    assert_problem(await api.get(path), 404, "not_found")


@pytest.mark.parametrize(("count", "named"), [(1, 1), (100, 20), (5_000, 1)])
async def test_mistakes_are_named_as_long_as_they_are_few(api: httpx.AsyncClient, count: int, named: int) -> None:
    body = {"email": "ann@example.com", "password": "correct horse", "role": "buyer"}

    answer = await api.post("/v1/users", json=body | dict.fromkeys(map(str, range(count)), 0))

    problem = assert_problem(answer, 422, "fields_invalid")
    assert len(problem["errors"]) == named
    assert (problem["errors"][0]["field"] == "0") is (count < 5_000)
