"""A webhook is believed when its secret signed it a moment ago."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from api.client import WebhookInvalid, verify_webhook

# The example of the specification (github.com/standard-webhooks/standard-webhooks).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
AT = 1614265330
OTHER = f"whsec_{base64.b64encode(bytes(32)).decode()}"


def verify(body: bytes = BODY, secret: Any = SECRET, now: float = AT, **changes: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    headers = {name: value for name, value in {**HEADERS, **named}.items() if value is not None}
    return verify_webhook(body, headers, secret, now=now)


def sign(body: bytes, secret: str = SECRET) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = b".".join((HEADERS["webhook-id"].encode(), str(AT).encode(), body))
    return "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def test_example_of_the_specification_is_believed() -> None:
    assert verify() == json.loads(BODY)


def test_names_of_headers_may_be_written_anyhow() -> None:
    shouted = {name.upper(): value for name, value in HEADERS.items()}

    assert verify_webhook(BODY, shouted, SECRET, now=AT)


def test_one_of_several_signatures_and_secrets_suffices() -> None:
    both = f"v1,AAAA v1a,xyz {HEADERS['webhook-signature']}"

    assert verify(webhook_signature=both)
    assert verify(secret=[OTHER, SECRET])


@pytest.mark.parametrize("seconds", [-300, 300])
def test_moment_may_differ_a_little(seconds: int) -> None:
    assert verify(now=AT + seconds)


@pytest.mark.parametrize(
    "bad",
    [
        {"now": AT + 301},
        {"now": AT - 301},
        {"now": time.time()},
        {"body": BODY + b" "},
        {"secret": OTHER},
        {"webhook_id": "msg_of_another"},
        {"webhook_timestamp": str(AT + 1)},
        {"webhook_timestamp": "yesterday"},
        {"webhook_timestamp": ""},
        {"webhook_signature": ""},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v1,\u00e9"},
        {"webhook_signature": HEADERS["webhook-signature"].replace("v1", "v2")},
        {"webhook_id": None},
        {"webhook_timestamp": None},
        {"webhook_signature": None},
    ],
)
def test_anything_else_is_not_believed(bad: dict[str, Any]) -> None:
    with pytest.raises(WebhookInvalid):
        verify(**bad)


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b'"text"', b"\xff"])
def test_signed_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookInvalid):
        verify(body, webhook_signature=sign(body))


def test_secret_of_another_form_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="whsec_"):
        verify(secret="whsec_!")
