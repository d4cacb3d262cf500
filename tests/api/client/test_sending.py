"""What is safe is sent again, under the same key; what is not is said to be unknown."""

import email.utils
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from api.client import (
    NEVER,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    RateLimited,
    Refused,
    Request,
    Retry,
    Unanswered,
    Unauthenticated,
    Unavailable,
)
from api.client.sending import retry_after_s
from tests.api.client.conftest import Server, ok, problem

PAYMENT = {"id": "p1", "status": "pending"}
BROKEN = [
    httpx.ConnectError("refused"),
    httpx.ConnectTimeout("slow"),
    httpx.ReadTimeout("slow"),
    httpx.ReadError("cut"),
    httpx.WriteError("cut"),
    httpx.RemoteProtocolError("ended"),
    problem(503),
    problem(429),
    httpx.Response(502, text="<html>"),
    httpx.Response(504),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda step: getattr(step, "status_code", type(step).__name__))
async def test_write_under_a_key_is_repeated_with_the_same_key(
    server: Server, client: Client, broken: Any
) -> None:
    server.will(broken, broken, ok(PAYMENT, 202))

    assert await client.payments.pay("o1", "pm_card_visa") == PAYMENT

    keys = server.headers("Idempotency-Key")
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert {request.content for request in server.asked} == {server.asked[0].content}


@pytest.mark.parametrize("base_url", ["http://api.test/shop", "http://api.test/shop/"])
async def test_address_of_the_client_counts_and_not_that_of_a_shared_pool(server: Server, base_url: str) -> None:
    server.will(ok(PAYMENT), problem(403))
    async with httpx.AsyncClient(transport=httpx.MockTransport(server.answer)) as http:
        client = Client(base_url, http=http, retry=NEVER)

        await client.payments.get("p1")
        with pytest.raises(Forbidden):
            await anext(client.events())

    assert [str(request.url) for request in server.asked] == [
        "http://api.test/shop/v1/payments/p1",
        "http://api.test/shop/v1/events",
    ]


@pytest.mark.parametrize("base_url", ["", "localhost:8000", "api.test", "ftp://api.test"])
def test_address_that_is_none_is_refused_at_once(base_url: str) -> None:
    for http in (None, httpx.AsyncClient()):
        with pytest.raises(ValueError, match="http://"):
            Client(base_url, http=http)


async def test_each_call_has_a_key_of_its_own_or_the_callers(server: Server, client: Client) -> None:
    server.will(ok(PAYMENT, 202))

    for key in (None, None, "mine"):
        await client.payments.pay("o1", "pm_card_visa", key=key)

    one, other, mine = server.headers("Idempotency-Key")
    assert one != other
    assert mine == "mine"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_what_is_idempotent_by_itself_is_repeated(server: Server, client: Client, method: str) -> None:
    server.will(httpx.ReadError("cut"), problem(503), ok({"done": True}))

    assert await client.request(method, "/v1/cart") == {"done": True}


STEPS: list[Callable[[Client], Awaitable[object]]] = [
    lambda client: client.orders.ship("o1", "DHL", "1"),
    lambda client: client.orders.complete("o1"),
    lambda client: client.orders.cancel("o1"),
    lambda client: client.payments.capture("p1", 500),
    lambda client: client.payments.cancel("p1"),
    lambda client: client.sellers.onboard(),
    lambda client: client.webhook_endpoints.activate("e1"),
]


@pytest.mark.parametrize("step", STEPS)
async def test_step_that_the_server_takes_once_is_repeated(
    server: Server, client: Client, step: Callable[[Client], Awaitable[object]]
) -> None:
    server.will(httpx.ReadError("cut"), problem(503), ok({"id": "x1"}))

    assert await step(client) == {"id": "x1"}

    assert len({(request.url, request.content) for request in server.asked}) == 1


LOST = [httpx.ReadTimeout("slow"), httpx.ReadError("cut"), problem(503), httpx.Response(502)]


@pytest.mark.parametrize("lost", LOST, ids=lambda step: getattr(step, "status_code", type(step).__name__))
async def test_what_is_gone_when_its_deletion_is_repeated_was_deleted(
    server: Server, client: Client, lost: Any
) -> None:
    server.will(lost, httpx.ConnectError("refused"), problem(404, "api_key_not_found"))

    await client.api_keys.revoke("k1")

    assert len(server.asked) == 3


@pytest.mark.parametrize("not_done", [httpx.ConnectError("refused"), problem(429, Retry_After="0"), None])
async def test_what_was_not_there_to_be_deleted_is_not_found(
    server: Server, client: Client, not_done: Any
) -> None:
    server.will(*([not_done] if not_done else []), problem(404, "api_key_not_found"))

    with pytest.raises(NotFound):
        await client.api_keys.revoke("k1")


async def test_repetition_that_is_refused_is_refused(server: Server, client: Client) -> None:
    server.will(httpx.ReadError("cut"), problem(403, "scope_missing"))

    with pytest.raises(Forbidden):
        await client.webhook_endpoints.delete("e1")


async def test_what_is_read_and_gone_is_not_found(server: Server, client: Client) -> None:
    server.will(httpx.ReadError("cut"), problem(404))

    with pytest.raises(NotFound):
        await client.payments.get("p1")


async def test_write_without_a_key_is_repeated_only_when_it_was_not_sent(server: Server, client: Client) -> None:
    server.will(httpx.ConnectError("refused"), problem(429, Retry_After="0"), httpx.ReadError("cut"))

    with pytest.raises(Unanswered):
        await client.products.offer("Desk", 1999, "USD")

    assert len(server.asked) == 3


async def test_write_without_a_key_is_not_repeated_when_the_server_may_have_done_it(
    server: Server, client: Client
) -> None:
    server.will(problem(503, "database_unavailable"))

    with pytest.raises(Unavailable):
        await client.products.offer("Desk", 1999, "USD")


async def test_unanswered_bears_the_key_under_which_to_ask_again(
    server: Server, make: Callable[..., Client]
) -> None:
    server.will(httpx.ReadTimeout("slow"))

    with pytest.raises(Unanswered) as raised:
        await make(retry=NEVER).payments.pay("o1", "pm_card_visa")

    assert raised.value.key == server.headers("Idempotency-Key")[0]


LATER = [problem(503, "database_unavailable"), httpx.Response(502, text="<html>"), problem(429, Retry_After="9")]


@pytest.mark.parametrize("later", LATER, ids=lambda answer: answer.status_code)
async def test_refusal_bears_the_key_too_since_the_server_may_have_done_it(
    server: Server, make: Callable[..., Client], later: httpx.Response
) -> None:
    server.will(httpx.ReadTimeout("slow"), later)

    with pytest.raises(Refused) as raised:
        await make(retry=Retry(for_s=0.05, base_s=0.01)).payments.pay("o1", "pm_card_visa")

    keys = server.headers("Idempotency-Key")
    assert len(keys) > 1
    assert {raised.value.key} == set(keys)


async def test_server_that_asks_for_more_patience_than_there_is_is_refused_at_once(
    server: Server, client: Client
) -> None:
    server.will(problem(429, "rate_limited", Retry_After="3600"))

    with pytest.raises(RateLimited):
        await client.payments.get("p1")

    assert len(server.asked) == 1


async def test_retry_after_is_waited_for(server: Server, client: Client) -> None:
    server.will(problem(503, Retry_After="1"), ok(PAYMENT))
    began = time.monotonic()

    await client.payments.get("p1")

    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("²", None),
        ("1 Jan 2020 00:00:00 +9999", None),
        ("1 Jan 2020 00:00:00 +999999999999999999", None),
        ("1 Jan 99999999999999999999 00:00:00 GMT", None),
        ("1 Jan 2020 00:00:00", None),
        ("1 Jan 2020 00:00:00 -0000", None),
    ],
)
def test_retry_after_is_read(header: str, seconds: float | None) -> None:
    assert retry_after_s(httpx.Response(503, headers={"Retry-After": header.encode()})) == seconds


def test_retry_after_may_be_a_date() -> None:
    at = email.utils.formatdate(time.time() + 100, usegmt=True)

    assert 90 < (retry_after_s(httpx.Response(503, headers={"Retry-After": at})) or 0) <= 100
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert retry_after_s(httpx.Response(503, headers={"Retry-After": past})) == 0


def test_pauses_double_up_to_the_longest_and_differ() -> None:
    retry = Retry(base_s=1.0, cap_s=4.0)

    for attempt, longest in enumerate([1, 2, 4, 4, 4]):
        pauses = {retry.pause_s(attempt) for _ in range(50)}
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
    assert retry.pause_s(10_000) <= 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Invalid),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (422, Invalid),
        (418, Refused),
        (500, Refused),
    ],
)
async def test_refusal_says_what_the_problem_says(
    server: Server, client: Client, status: int, kind: type[Refused]
) -> None:
    server.will(problem(status, "some_code"))

    with pytest.raises(kind) as raised:
        await client.payments.pay("o1", "pm_card_visa")

    error = raised.value
    assert (error.status, error.code, error.detail, error.facts) == (status, "some_code", "why", {"fact": 7})
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (
            [{"field": "items.0.quantity", "message": "too few"}, {"field": "", "message": "and more"}],
            ": items.0.quantity: too few; and more",
        ),
        ([], ""),
        ("odd", ""),
        ([7, {"field": "x"}], ""),
    ],
)
async def test_refusal_names_the_fields_that_are_wrong(
    server: Server, client: Client, errors: object, said: str
) -> None:
    problem = {"code": "fields_invalid", "detail": "some fields are wrong", "errors": errors}
    server.will(httpx.Response(422, json=problem))

    with pytest.raises(Invalid) as raised:
        await client.orders.place([("d1", 0)])

    assert str(raised.value) == f"422 fields_invalid: some fields are wrong{said}"
    assert raised.value.facts == {"errors": errors}


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'"text"', b"{}"])
async def test_refusal_that_is_no_problem_document_is_one_too(
    server: Server, client: Client, content: bytes
) -> None:
    server.will(httpx.Response(404, content=content))

    with pytest.raises(NotFound) as raised:
        await client.payments.get("p1")

    assert raised.value.code == "unknown"


async def test_whatever_is_answered_can_be_seen(server: Server, client: Client) -> None:
    server.will(problem(409))

    assert (await client.ask(Request("POST", "/v1/orders", {}))).status_code == 409
