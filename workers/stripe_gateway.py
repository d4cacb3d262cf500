"""Stripe through its own SDK; the only module that imports it. Every end of a call becomes an answer."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import stripe
import structlog
from stripe import RequestOptions
from stripe.params import (
    PaymentIntentCreateParams,
    PaymentIntentListParams,
    PaymentIntentRetrieveParams,
    RefundCreateParams,
    RefundListParams,
)

from domain.ids import PaymentId
from domain.payments.model import Capture, Payment
from domain.settlement.model import (
    Absent,
    Answer,
    Refund,
    RefundStatus,
    Refusal,
    StripeRefund,
    Throttled,
    Unsure,
)
from domain.settlement.ports import RefundAnswer
from domain.settlement.stripe_objects import JsonObject, read_failure_code, read_intent, read_payment_id

API_VERSION = "2025-09-30.clover"
"""Pinned, so that an upgrade of the SDK does not change what Stripe answers."""

_INTENTS = "/v1/payment_intents"
_REFUNDS = "/v1/refunds"
_EXPAND = ["latest_charge.balance_transaction"]
_PAGE = 100
_CLOCK_SKEW = timedelta(minutes=5)
# 409 is a key in use by a request under way (docs.stripe.com/api/idempotent_requests).
_CONFLICT = 409
_SERVER_ERROR = 500

log = structlog.get_logger(__name__)


class StripeGateway:
    """`domain.settlement.ports.ChargeGateway` over one HTTP session of this process."""

    def __init__(self, *, api_key: str, api_base: str, timeout_s: float, concurrency: int = 64) -> None:
        """Open a client; an empty `api_base` is Stripe itself. At most `concurrency` calls run at once."""
        self._http = stripe.AIOHTTPClient(timeout=timeout_s)
        self._client = stripe.StripeClient(
            api_key,
            base_addresses={"api": api_base} if api_base else {},
            http_client=self._http,
            max_network_retries=0,
            stripe_version=API_VERSION,
        )
        self._slots = asyncio.Semaphore(concurrency)

    async def close(self) -> None:
        """Close the HTTP session."""
        await self._http.close_async()

    async def charge(self, payment: Payment) -> Answer:
        """Create and confirm the payment's intent under the key `charge-{payment.id}`; safe to repeat."""
        params: PaymentIntentCreateParams = {
            "amount": payment.amount_minor,
            "currency": payment.currency.lower(),
            "payment_method": payment.payment_method,
            # NOTE: this is the name at API_VERSION; the SDK's types speak of a newer version, where it is
            # `allowed_payment_method_types`. Cards alone need no return URL.
            "payment_method_types": ["card"],  # type: ignore[typeddict-unknown-key]
            "confirm": True,
            "capture_method": "manual" if payment.capture is Capture.MANUAL else "automatic",
            "metadata": {"payment_id": str(payment.id)},
            "transfer_group": str(payment.order_id or payment.id),
            "expand": _EXPAND,
        }
        return await self._intent("post", _INTENTS, params, key=f"charge-{payment.id}")

    async def retrieve(self, payment: Payment) -> Answer:
        """Return the present state of the payment's known intent."""
        return await self._retrieve(payment.stripe_intent_id or "")

    async def cancel(self, payment_id: PaymentId, intent_id: str) -> Answer:
        """Cancel an intent; when it cannot be cancelled any more, return its present state.

        Without an idempotency key: cancelling twice is harmless by itself, and under a key an error that Stripe
        recorded would be all that any later attempt gets.
        """
        answer = await self._intent("post", f"{_intent_path(intent_id)}/cancel", {})
        return await self._retrieve(intent_id) if isinstance(answer, Refusal) else answer

    async def find(self, payments: Sequence[Payment]) -> Mapping[PaymentId, Answer]:
        """Search Stripe's list, by creation time and our id in the metadata; Absent for those not there.

        The list is complete where Stripe's search is only eventually so. It is read once for all payments,
        from the first charge of any to the last.
        """
        started = min(payment.first_charged_at or payment.created_at for payment in payments)
        ended = max(payment.updated_at for payment in payments)
        params: PaymentIntentListParams = {
            "created": {
                "gte": int((started - _CLOCK_SKEW).timestamp()),
                "lte": int((ended + _CLOCK_SKEW).timestamp()),
            },
            "limit": _PAGE,
        }
        wanted = {payment.id for payment in payments}
        found: dict[PaymentId, Answer] = {}
        while len(found) < len(wanted):
            page = await self._call("get", _INTENTS, params)
            if not isinstance(page, Mapping):
                # Absence needs the whole list: whatever was not found so far stays unsure. Nor is a refusal to
                # list anything a refusal of the charges.
                unread = Unsure("the list was refused") if isinstance(page, Refusal) else page
                return {payment_id: found.get(payment_id, unread) for payment_id in wanted}
            for raw in page["data"]:
                payment_id = read_payment_id(raw)
                if payment_id in wanted and payment_id is not None:
                    found[payment_id] = _read_intent(raw)
            if not page["has_more"]:
                break
            params["starting_after"] = page["data"][-1]["id"]
        return {payment_id: found.get(payment_id, Absent()) for payment_id in wanted}

    async def refund(self, refund: Refund) -> RefundAnswer:
        """Refund a charge under the key `refund-{refund.id}`; safe to repeat.

        A repeated attempt looks first whether an earlier one arrived, so that an error that Stripe recorded
        under the key is not taken for the truth.
        """
        if refund.attempts > 1:
            earlier: RefundListParams = {"charge": refund.stripe_charge_id, "limit": _PAGE}
            known = await self._call("get", _REFUNDS, earlier)
            if not isinstance(known, Mapping):
                return known
            for raw in known["data"]:
                if raw["metadata"].get("refund_id") == str(refund.id):
                    return _read_refund(raw)
        params: RefundCreateParams = {
            "charge": refund.stripe_charge_id,
            "amount": refund.amount_minor,
            "metadata": {"payment_id": str(refund.payment_id), "refund_id": str(refund.id)},
        }
        raw = await self._call("post", _REFUNDS, params, key=f"refund-{refund.id}")
        if isinstance(raw, Unsure) and raw.lookup_only:
            return Refusal("refund_not_made")  # Stripe's list had none, and the key brings an old error for ever
        return _read_refund(raw) if isinstance(raw, Mapping) else raw

    async def _retrieve(self, intent_id: str) -> Answer:
        params: PaymentIntentRetrieveParams = {"expand": _EXPAND}
        return await self._intent("get", _intent_path(intent_id), params)

    async def _intent(
        self, method: str, path: str, params: Mapping[str, Any], *, key: str | None = None
    ) -> Answer:
        raw = await self._call(method, path, params, key=key)
        return _read_intent(raw) if isinstance(raw, Mapping) else raw

    async def _call(
        self, method: str, path: str, params: Mapping[str, Any], *, key: str | None = None
    ) -> JsonObject | Refusal | Unsure | Throttled:
        """Make one call, perhaps under a key; return the object that it answers with, or what its error means.

        The object of an error is returned as well: a declined or an already captured intent.
        """
        options: RequestOptions = {"idempotency_key": key} if key else {}
        async with self._slots:
            try:
                # PERF: the SDK's services make an object of every part of an answer, a third of what a call costs.
                answer = await self._client.raw_request_async(method, path, **params, **options)
            except stripe.StripeError as error:
                return _read_error(error)
        data: JsonObject = answer.data
        return data


def _intent_path(intent_id: str) -> str:
    return f"{_INTENTS}/{quote(intent_id, safe='')}"


def _read_intent(raw: JsonObject) -> Answer:
    try:
        return read_intent(raw)
    except (KeyError, ValueError, TypeError) as error:
        return Unsure(f"an intent that cannot be read: {error!r}")


def _read_error(  # noqa: PLR0911 - a table of errors, one answer each
    error: stripe.StripeError,
) -> JsonObject | Refusal | Unsure | Throttled:
    details = _details(error)
    intent = details.get("payment_intent")
    match error:
        case stripe.RateLimitError():
            return Throttled("rate limit", _retry_after_s(error))
        case stripe.APIConnectionError():
            return Unsure("no answer")
        case stripe.IdempotencyError():
            log.error("stripe_idempotency_mismatch", code=error.code, request_id=error.request_id)
            return Unsure("the key was used with other parameters", lookup_only=True)
        case stripe.AuthenticationError() | stripe.PermissionError():
            log.error("stripe_refuses_our_key", code=error.code, request_id=error.request_id)
            return Throttled("our key is refused")
        case stripe.CardError() | stripe.InvalidRequestError():
            return intent if isinstance(intent, Mapping) else Refusal(read_failure_code(details) or "refused")
        case _ if error.http_status == _CONFLICT:
            return Throttled("the key is in use")
        case _:
            replayed = (error.headers or {}).get("Idempotent-Replayed") == "true"
            recorded = replayed and (error.http_status or 0) >= _SERVER_ERROR
            return Unsure(f"status {error.http_status}", lookup_only=recorded)


def _details(error: stripe.StripeError) -> JsonObject:
    body = error.json_body
    details = body.get("error") if isinstance(body, Mapping) else None
    return details if isinstance(details, Mapping) else {}


def _retry_after_s(error: stripe.StripeError) -> float | None:
    value = (error.headers or {}).get("Retry-After", "")
    return float(value) if value.isdecimal() else None


def _read_refund(raw: JsonObject) -> StripeRefund:
    """Read a Refund; `canceled` and `failed` both mean that no money went back."""
    status = {"succeeded": RefundStatus.SUCCEEDED, "failed": RefundStatus.FAILED, "canceled": RefundStatus.FAILED}
    return StripeRefund(raw["id"], status.get(raw["status"], RefundStatus.PENDING))
