"""Signatures as the library of the specification reads them."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from domain.notifications.signatures import new_secret, signed_headers

BODY = b'{"type":"payment.succeeded"}'


def now() -> datetime:
    return datetime.now(UTC)


def test_secret_has_the_form_of_the_specification() -> None:
    secret = new_secret()

    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
    assert secret != new_secret()


@given(body=st.binary(min_size=2).map(lambda raw: b'"' + base64.b64encode(raw) + b'"'), message_id=st.uuids())
def test_library_verifies_what_is_signed(body: bytes, message_id: object) -> None:
    secret = new_secret()

    headers = signed_headers(str(message_id), body, [secret], now())

    assert Webhook(secret).verify(body, dict(headers)) is not None


def test_both_secrets_verify_while_rotating() -> None:
    new, old = new_secret(), new_secret()

    headers = dict(signed_headers("msg", BODY, [new, old], now()))

    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (new, old):
        Webhook(secret).verify(BODY, headers)


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp", "secret"])
def test_library_refuses_what_was_changed(changed: str) -> None:
    secret = new_secret()
    headers = dict(signed_headers("msg", BODY, [secret], now()))
    body = BODY + b" " if changed == "body" else BODY
    if changed == "webhook-timestamp":
        headers[changed] = str(int(headers[changed]) + 1)
    elif changed == "webhook-id":
        headers[changed] = "other"

    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret() if changed == "secret" else secret).verify(body, headers)
