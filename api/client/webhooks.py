"""Checking webhooks (Standard Webhooks, github.com/standard-webhooks)."""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import WebhookInvalid

_PREFIX = "whsec_"
_VERSION = "v1"


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secret: str | Sequence[str],
    *,
    tolerance_s: float = 300.0,
    now: float | None = None,
) -> dict[str, Any]:
    """Return the JSON of a webhook that is signed by the secret, or by one of several while they rotate.

    `body` is what came over the wire, byte for byte. The header `webhook-id` names the message: keep it, and do
    nothing when it comes again. Errors: WebhookInvalid.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
        sent_at, signatures = int(timestamp), given["webhook-signature"].split()
    except (KeyError, ValueError):
        raise WebhookInvalid("the headers of a webhook are missing or malformed") from None
    if abs((time.time() if now is None else now) - sent_at) > tolerance_s:
        raise WebhookInvalid("the webhook is too old, or of the future")
    content = b".".join((message_id.encode(), timestamp.encode(), body))
    secrets = [secret] if isinstance(secret, str) else secret
    wanted = [f"{_VERSION},{_sign(content, each)}".encode() for each in secrets]
    if not any(hmac.compare_digest(signature.encode(), each) for signature in signatures for each in wanted):
        raise WebhookInvalid("no signature fits")
    try:
        payload = json.loads(body)
    except ValueError:
        raise WebhookInvalid("the body is not JSON") from None
    if not isinstance(payload, dict):
        raise WebhookInvalid("the body is no JSON object")
    return payload


def _sign(content: bytes, secret: str) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a secret is whsec_ and base64") from None
    return base64.b64encode(hmac.digest(key, content, "sha256")).decode()
