"""What a customer does before paying: carts and orders."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

from api.client import SyncClient
from loadtest.bed import Bed, http_request, run_client
from loadtest.client import KEY, Plan, Result
from loadtest.figures import Figure, Findings, Tell

_PRODUCTS = 20
_STOCK = 1_000_000
_OK, _CREATED = 200, 201


def measure(bed: Bed, tell: Tell) -> Findings:
    """Put products into carts, then place orders of one line each, 64 connections each time."""
    seconds = 3.0 if bed.quick else 6.0
    products = _offer(bed)
    carts = [
        http_request("PUT", f"/v1/cart/items/{product}", _headers(token), {"quantity": 1 + number % 3})
        for number, (token, product) in enumerate(zip(bed.tokens, _cycle(products, len(bed.tokens)), strict=True))
    ]
    orders = [
        http_request(
            "POST",
            "/v1/orders",
            {**_headers(token), "Idempotency-Key": KEY},
            {"items": [{"product_id": product, "quantity": 1}]},
        )
        for token, product in zip(bed.tokens, _cycle(products, len(bed.tokens)), strict=True)
    ]
    into_carts = _run(bed, carts, seconds, lambda done: tell(f"{done:,} put into carts"))
    placed = _run(bed, orders, seconds, lambda done: tell(f"{done:,} orders placed"))
    return Findings(
        (
            *_figures("products put into carts", into_carts, _OK),
            *_figures("orders placed", placed, _CREATED),
        ),
        {"carts": asdict(into_carts), "orders": asdict(placed)},
    )


def _figures(name: str, result: Result, expected: int) -> tuple[Figure, Figure]:
    return (
        Figure(name, result.per_second, "/s", f"p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"),
        Figure(
            f"{name}: other answers than {expected}",
            result.failures(expected),
            "",
            f"{result.statuses}",
            must=0,
            lower_is_better=True,
        ),
    )


def _run(bed: Bed, requests: Sequence[str], seconds: float, tell: Callable[[int], None]) -> Result:
    return run_client(Plan(*bed.address, requests, seconds=seconds, warm_up_s=0.5), tell)


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


def _offer(bed: Bed) -> Sequence[str]:
    """Let a seller offer products of which there are always enough."""
    with SyncClient(bed.stack.info.api, timeout_s=30) as market:
        market.log_in(*bed.seller_login)
        products = market.client.products
        offers = [market.run(lambda: products.offer("lamp", 1999, "USD", stock=_STOCK)) for _ in range(_PRODUCTS)]
    return [str(product["id"]) for product in offers]


def _cycle(values: Sequence[str], count: int) -> Sequence[str]:
    return [values[number % len(values)] for number in range(count)]
