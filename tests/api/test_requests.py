"""What is left of a request once it is answered."""

import asyncio
import gc
from collections.abc import Callable

import httpx
import pytest

from api.requests import WholeRequest
from domain.identity.model import Role
from domain.ids import uuid7


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [("GET", "/v1/products", None, 200), ("POST", "/v1/tokens", b"{}", 422), ("GET", "/v1/cart", None, 401)],
)
async def test_answered_request_is_freed_without_a_search_for_cycles(
    api: httpx.AsyncClient, method: str, path: str, body: bytes | None, status: int
) -> None:
    headers = {"Content-Type": "application/json"} if body else {}
    await answer_and_free(api, method, path, headers, body, status)


async def test_request_for_a_payment_that_is_not_there_is_freed_so_too(
    api: httpx.AsyncClient, token_of: Callable[[Role], dict[str, str]]
) -> None:
    await answer_and_free(api, "GET", f"/v1/payments/{uuid7()}", token_of(Role.BUYER), None, 404)


async def answer_and_free(
    api: httpx.AsyncClient, method: str, path: str, headers: dict[str, str], body: bytes | None, status: int
) -> None:
    gc.collect()
    gc.disable()
    try:
        answer = await api.request(method, path, headers=headers, content=body)
        await asyncio.sleep(0)  # until the loop has let go of what woke it
        left = [each for each in gc.get_objects() if isinstance(each, WholeRequest)]
    finally:
        gc.enable()

    assert answer.status_code == status
    assert not left
