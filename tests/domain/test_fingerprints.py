from dataclasses import replace
from typing import Any

import pytest

from domain.fingerprints import fingerprint
from domain.ids import OrderId, UserId, uuid7
from domain.payments.model import Capture
from tests.builders import a_direct_request


def test_fingerprint_does_not_depend_on_the_order_of_fields() -> None:
    assert fingerprint(a=1, b="x") == fingerprint(b="x", a=1)


def test_fingerprint_tells_fields_values_and_types_apart() -> None:
    payloads: list[dict[str, Any]] = [
        {"a": 1},
        {"a": "1"},
        {"a": None},
        {"b": 1},
        {"a": 1, "b": 1},
        {"a": [1]},
        {},
    ]

    assert len({fingerprint(**payload) for payload in payloads}) == len(payloads)


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": 2000},
        {"currency": "EUR"},
        {"seller_id": UserId(uuid7())},
        {"order_id": OrderId(uuid7())},
        {"payment_method": "pm_card_mastercard"},
        {"capture": Capture.MANUAL},
    ],
)
def test_every_field_of_a_payment_request_counts(change: dict[str, Any]) -> None:
    request = a_direct_request(UserId(uuid7()), UserId(uuid7()))

    assert replace(request, **change).fingerprint() != request.fingerprint()


def test_key_and_trace_of_a_payment_request_do_not_count() -> None:
    request = a_direct_request(UserId(uuid7()), UserId(uuid7()))

    assert replace(request, idempotency_key="other", traceparent="00-1").fingerprint() == request.fingerprint()
