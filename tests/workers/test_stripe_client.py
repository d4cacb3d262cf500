"""What is kept from call to call is what the SDK would have made anew."""

from typing import Any

import pytest
import stripe

from workers.stripe_client import StripeClient, StripeHttp

OPTIONS: list[dict[str, Any]] = [
    {"idempotency_key": "charge-1"},
    {"idempotency_key": "charge-2"},
    {"idempotency_key": "account-1", "stripe_account": "acct_1"},
    {"idempotency_key": "charge-3", "stripe_version": "2025-01-01.other"},
    {"idempotency_key": "charge-4", "api_key": "sk_test_other"},
    {"idempotency_key": "charge-5"},
]


@pytest.fixture
def client() -> StripeClient:
    return StripeClient("sk_test_ours", StripeHttp(timeout_s=1), stripe_version="2025-09-30.clover")


@pytest.mark.parametrize("method", ["post", "get"])
def test_headers_of_each_call_are_those_of_the_sdk(client: StripeClient, method: str) -> None:
    plain = stripe.StripeClient(
        "sk_test_ours", http_client=StripeHttp(timeout_s=1), stripe_version="2025-09-30.clover"
    )
    for options in OPTIONS:
        given = {"api_key": "sk_test_ours", "stripe_version": "2025-09-30.clover", **options}
        made, expected = (each._requestor.request_headers(method, "V1", given) for each in (client, plain))
        assert made == expected


def test_each_post_without_a_key_has_one_of_its_own(client: StripeClient) -> None:
    made = [client._requestor.request_headers("post", "V1", {"api_key": "sk_test_ours"}) for _ in range(3)]

    assert len({headers["Idempotency-Key"] for headers in made}) == len(made)
