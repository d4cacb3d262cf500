"""Stripe's webhooks: what Stripe signed is stored once, all else is refused and leaves nothing behind."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.api.conftest import OLD_WEBHOOK_SECRET
from tests.api.operations import WEBHOOK_SECRET, assert_problem


def an_event(**changes: Any) -> dict[str, Any]:
    return {"id": f"evt_{uuid4().hex}", "type": "payment_intent.succeeded", "data": {"object": {}}, **changes}


def digest(body: bytes, timestamp: object, secret: str = WEBHOOK_SECRET) -> str:
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def signature(body: bytes, *, secret: str = WEBHOOK_SECRET, age_s: int = 0) -> str:
    timestamp = int(time.time()) - age_s
    return f"t={timestamp},v1={digest(body, timestamp, secret)}"


async def deliver(api: httpx.AsyncClient, body: bytes, header: str | None = None) -> httpx.Response:
    headers = {"Stripe-Signature": (signature(body) if header is None else header).encode("latin-1")}
    return await api.post("/v1/webhooks/stripe", content=body, headers=headers)


async def stored(engine: AsyncEngine, event_id: str | None = None) -> int:
    """How many events are stored, or how often one is."""
    query = "SELECT count(*) FROM stripe_events" + (" WHERE id = :id" if event_id else "")
    async with engine.connect() as connection:
        return int((await connection.execute(text(query), {"id": event_id} if event_id else {})).scalar_one())


@pytest.fixture
async def nothing_is_stored(engine: AsyncEngine) -> AsyncIterator[None]:
    before = await stored(engine)
    yield
    assert await stored(engine) == before


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"object": {"id": "pi_1", "metadata": None}},
        {"object": {"id": "pi_1", "metadata": {"payment_id": 7}}},
        {"object": {"id": "pi_1", "metadata": {"payment_id": "00000000-0000-4000-8000-000000000000"}}},
    ],
)
async def test_signed_event_is_stored_whatever_it_tells_of(
    api: httpx.AsyncClient, engine: AsyncEngine, data: Any
) -> None:
    event = an_event(data=data)
    assert (await deliver(api, json.dumps(event).encode())).status_code == 200
    assert await stored(engine, event["id"]) == 1


async def test_signed_event_is_stored_once_however_often_it_comes(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    event = an_event()
    body = json.dumps(event).encode()

    answers = await asyncio.gather(*(deliver(api, body) for _ in range(5)))

    assert {(answer.status_code, answer.text) for answer in answers} == {(200, '{"received":true}')}
    assert await stored(engine, event["id"]) == 1


@pytest.mark.parametrize(
    "make_header",
    [
        lambda body: signature(body, secret=OLD_WEBHOOK_SECRET),
        lambda body: signature(body, age_s=290),
        lambda body: signature(body, age_s=-290),
        lambda body: f"{signature(body)},v1={'0' * 64}",
        lambda body: signature(body).replace(",", f",v0=x,v1={'0' * 64},"),
        lambda body: signature(body).replace(",", " , "),
    ],
    ids=["old secret", "five minutes ago", "in five minutes", "another signature", "two signatures", "spaces"],
)
async def test_good_signature_is_accepted(api: httpx.AsyncClient, make_header: Any) -> None:
    body = json.dumps(an_event()).encode()

    assert (await deliver(api, body, make_header(body))).status_code == 200


BODY = json.dumps(an_event()).encode()


def bad_headers(now: int) -> dict[str, str]:
    """Signatures made now, each with something wrong."""
    return {
        "none": "",
        "no timestamp": f"v1={digest(BODY, now)}",
        "no signature": f"t={now}",
        "empty values": "t=,v1=",
        "word for a time": "t=now,v1=00",
        "signed time": f"t=+{now},v1={digest(BODY, now)}",
        "time with underscores": f"t=1_0,v1={digest(BODY, 10)}",
        "superscript": "t=\xb2,v1=00",
        "huge time": f"t={'9' * 40},v1=00",
        "not ASCII": f"t={now},v1=\xff",
        "garbage": ",,,=,=,;",
        "too long": f"t={now}," + "v1=0," * 1_000,
        "stranger's secret": f"t={now},v1={digest(BODY, now, 'whsec_stranger')}",
        "other body": f"t={now},v1={digest(BODY + b' ', now)}",
        "other scheme": f"t={now},v0={digest(BODY, now)}",
        "two times": f"t={now},t={now},v1={digest(BODY, now)}",
        "a stale time first": f"t=1,t={now},v1={digest(BODY, now)}",
        "negative time": f"t=-{now},v1={digest(BODY, f'-{now}')}",
        "time with a fraction": f"t={now}.5,v1={digest(BODY, f'{now}.5')}",
        "hundreds of signatures": f"t={now}" + f",v1={'0' * 64}" * 300,
        "digits of another script": f"t={now},v1={digest(BODY, now)}".replace("1", "\xb9"),
        "capitals": f"t={now},v1={digest(BODY, now).upper()}",
    }


@pytest.mark.usefixtures("nothing_is_stored")
@pytest.mark.parametrize("fault", bad_headers(0))
async def test_bad_signature_is_refused(api: httpx.AsyncClient, fault: str) -> None:
    header = bad_headers(int(time.time()))[fault]

    assert_problem(await deliver(api, BODY, header), 400, "signature_invalid")


@pytest.mark.usefixtures("nothing_is_stored")
async def test_missing_signature_is_refused(api: httpx.AsyncClient) -> None:
    assert_problem(await api.post("/v1/webhooks/stripe", content=BODY), 400, "signature_invalid")


@pytest.mark.usefixtures("nothing_is_stored")
@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 60_000, b"{}"], ids=["empty", "bytes", "deep", "JSON"])
async def test_unsigned_garbage_is_refused_before_it_is_read(api: httpx.AsyncClient, body: bytes) -> None:
    assert_problem(await deliver(api, body, signature(BODY)), 400, "signature_invalid")


@pytest.mark.usefixtures("nothing_is_stored")
@pytest.mark.parametrize("age_s", [301, 400, 10**9, -310, -400, -(10**9)])
async def test_signature_of_another_time_is_refused(api: httpx.AsyncClient, age_s: int) -> None:
    answer = await deliver(api, BODY, signature(BODY, age_s=age_s))

    assert_problem(answer, 400, "signature_expired")


BAD_BODIES = {
    "empty": b"",
    "text": b"hello",
    "array": b"[]",
    "null": b"null",
    "cut off": BODY[:-1],
    "two of them": BODY + BODY,
    "byte order mark": b"\xef\xbb\xbf" + BODY,
    "UTF-16": BODY.decode().encode("utf-16"),
    "number": b"1e999",
    "NUL": b"\x00",
    "id in a list": b'{"id": ["evt_1"], "type": "a"}',
    "no object": b'"evt_1"',
    "deep": b"[" * 60_000,
    "not UTF-8": b'{"id": "evt_1", "type": "\xff"}',
    "lone surrogate": rb'{"id": "evt_1", "type": "\ud800"}',
    "no id": b'{"type": "a"}',
    "no type": b'{"id": "evt_1"}',
    "other id": b'{"id": "pi_1", "type": "a"}',
    "id with a space": b'{"id": "evt_ 1", "type": "a"}',
    "id that is a number": b'{"id": 1, "type": "a"}',
    "long id": json.dumps(an_event(id="evt_" + "x" * 255)).encode(),
    "NUL in the type": rb'{"id": "evt_1", "type": "a\u0000"}',
    "empty type": b'{"id": "evt_1", "type": ""}',
}


@pytest.mark.usefixtures("nothing_is_stored")
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_signed_garbage_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    assert_problem(await deliver(api, body), 400, "event_invalid")


async def test_large_event_is_stored(api: httpx.AsyncClient, engine: AsyncEngine) -> None:
    event = an_event(data={"object": {"evidence": "x" * 900_000}})

    assert (await deliver(api, json.dumps(event).encode())).status_code == 200
    assert await stored(engine, event["id"]) == 1


@pytest.mark.usefixtures("nothing_is_stored")
async def test_body_above_the_limit_is_refused_before_it_is_read(api: httpx.AsyncClient) -> None:
    body = json.dumps(an_event(more="x" * 1_100_000)).encode()

    assert_problem(await deliver(api, body), 413, "body_too_large")


async def test_strange_but_good_json_is_stored_as_it_is(api: httpx.AsyncClient, engine: AsyncEngine) -> None:
    event = an_event(data={"object": {"name": "a\x00b", "smile": "\U0001f600"}}, more=1)

    assert (await deliver(api, json.dumps(event).encode())).status_code == 200
    assert await stored(engine, event["id"]) == 1
