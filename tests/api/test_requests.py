"""What is left of a request once it is answered."""

import gc

import httpx
import pytest

from api.requests import WholeRequest


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [("GET", "/v1/products", None, 200), ("POST", "/v1/tokens", b"{}", 422), ("GET", "/v1/cart", None, 401)],
)
async def test_answered_request_is_freed_without_a_search_for_cycles(
    api: httpx.AsyncClient, method: str, path: str, body: bytes | None, status: int
) -> None:
    headers = {"Content-Type": "application/json"} if body else {}
    gc.collect()
    gc.disable()
    try:
        answer = await api.request(method, path, headers=headers, content=body)
        left = [each for each in gc.get_objects() if isinstance(each, WholeRequest)]
    finally:
        gc.enable()

    assert answer.status_code == status
    assert not left
