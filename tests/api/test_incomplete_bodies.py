"""A request whose client left before its end is not done, however good what came looks (RFC 9112, section 8)."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.app import create_app
from api.services import Services
from db.unit_of_work import Database
from domain.identity.model import Role
from tests.api.operations import CALLS, Call
from tests.api.test_sessions import TokenOf
from tests.builders import Shop, an_endpoint

Message = dict[str, Any]
WITH_BODY = [call for call in CALLS if call.operation.body is not None or call.operation.raw_body]
WITH_DEFAULTS = [call for call in CALLS if call.operation.optional_body]
ANNOUNCED = {"Content-Length": "60000"}
CHUNKED = {"Transfer-Encoding": "chunked"}


async def send(
    services: Services, method: str, path: str, headers: dict[str, str], messages: list[Message]
) -> tuple[int, Message]:
    """Send a request over ASGI, leave, and return the status and the body of what is answered."""
    coming = iter([*messages, {"type": "http.disconnect"}])
    answer: Message = {}

    async def receive() -> Message:
        return next(coming)

    async def answered(message: Message) -> None:
        answer.update(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    await create_app(services)(scope, receive, answered)
    return answer["status"], json.loads(answer["body"])


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def cut_off(body: bytes) -> Iterator[Any]:
    """A whole body, in one part or in several, of which none was said to be the last."""
    yield pytest.param(ANNOUNCED, [part(body)], id="announced length")
    yield pytest.param(CHUNKED, [part(body[:5]), part(body[5:])], id="chunks")


CASES = [
    pytest.param(call, *case.values, id=f"{call} {case.id}")
    for call in WITH_BODY
    for case in cut_off(json.dumps(call.body).encode())
]


@pytest.mark.parametrize(("call", "framing", "messages"), CASES)
async def test_body_without_its_end_is_refused(
    services: Services, token_of: TokenOf, call: Call, framing: dict[str, str], messages: list[Message]
) -> None:
    headers = {**call.headers, **token_of(Role.FINANCE), **framing}

    status, problem = await send(services, call.method, call.path, headers, messages)

    assert (status, problem["code"]) == (400, "body_incomplete")


@pytest.mark.parametrize("framing", [ANNOUNCED, CHUNKED], ids=["announced length", "chunks"])
@pytest.mark.parametrize("call", WITH_DEFAULTS, ids=str)
async def test_missing_body_is_not_taken_for_the_defaults_where_one_was_coming(
    services: Services, token_of: TokenOf, call: Call, framing: dict[str, str]
) -> None:
    """The default of a capture is all that was authorized."""
    headers = {**token_of(Role.FINANCE), **framing, "Idempotency-Key": uuid4().hex}

    status, problem = await send(services, call.method, call.path, headers, [part(b"")])

    assert (status, problem["code"]) == (400, "body_incomplete")


@pytest.mark.parametrize("is_whole", [False, True])
async def test_secret_rotates_by_a_whole_request_alone(
    services: Services, token_of: TokenOf, shop: Shop, database: Database, engine: AsyncEngine, *, is_whole: bool
) -> None:
    endpoint = an_endpoint(shop.buyer.id)
    async with database.begin() as tx:
        await tx.webhook_endpoints.add(endpoint, most=1)
        await tx.commit()
    path = f"/v1/webhook-endpoints/{endpoint.id}/secret"

    await send(
        services, "POST", path, {**token_of(shop.buyer), **CHUNKED}, [part(b""), part(b"", more=not is_whole)]
    )

    async with engine.connect() as connection:
        query = text("SELECT secret FROM webhook_endpoints WHERE id = :id")
        stored = (await connection.execute(query, {"id": endpoint.id})).scalar_one()
    assert (stored != endpoint.secret) is is_whole
