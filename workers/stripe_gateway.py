"""PaymentIntents at Stripe, as settlement asks for them."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from stripe.params import (
    PaymentIntentCaptureParams,
    PaymentIntentCreateParams,
    PaymentIntentRetrieveParams,
)

from domain.ids import PaymentId
from domain.payments.model import Capture, Payment
from domain.settlement.answers import (
    Answer,
    CaptureRefused,
    Intent,
    IntentStatus,
    Refusal,
    Throttled,
    Unsure,
)
from domain.settlement.look_ups import LookUp
from domain.settlement.model import Outcome
from domain.settlement.stripe_objects import read_payment_id
from workers.stripe_calls import StripeCalls
from workers.stripe_intent_lists import INTENTS, IntentLists, read_answer

_EXPAND = ["latest_charge.balance_transaction"]


class StripeGateway:
    """`domain.settlement.gateways.ChargeGateway`."""

    def __init__(self, calls: StripeCalls) -> None:
        """Keep what makes the calls."""
        self._calls = calls
        self._lists = IntentLists(calls)

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
        return await self._intent("post", INTENTS, params, key=f"charge-{payment.id}")

    async def retrieve(self, payment: Payment) -> Answer:
        """Return the present state of the payment's known intent."""
        return await self._retrieve(payment.stripe_intent_id or "")

    async def capture(self, payment: Payment) -> Answer:
        """Capture what is asked for of an authorized intent, which releases the rest.

        When it cannot be captured any more, return its present state; CaptureRefused where it is as before.
        Without an idempotency key, for the same reason as `cancel`: a second capture is refused.
        """
        intent_id = payment.stripe_intent_id or ""
        params: PaymentIntentCaptureParams = {"expand": _EXPAND}
        if payment.capture_minor is not None:
            params["amount_to_capture"] = payment.capture_minor
        # The intent inside of a refusal tells neither why Stripe refuses, nor the fee of a capture before.
        answer = await self._intent("post", f"{_intent_path(intent_id)}/capture", params, code_alone=True)
        if not isinstance(answer, Refusal):
            return answer
        state = await self._retrieve(intent_id)
        as_before = isinstance(state, Intent) and state.status is IntentStatus.REQUIRES_CAPTURE
        return CaptureRefused(answer.failure_code) if as_before else state

    async def cancel(self, payment_id: PaymentId, intent_id: str) -> Answer:
        """Cancel an intent; when it cannot be cancelled any more, return its present state.

        Without an idempotency key: cancelling twice is harmless by itself, and under a key an error that Stripe
        recorded would be all that any later attempt gets.
        """
        answer = await self._intent("post", f"{_intent_path(intent_id)}/cancel", {})
        return await self._retrieve(intent_id) if isinstance(answer, Refusal) else answer

    async def find(self, look_up: LookUp) -> Mapping[PaymentId, Answer]:
        """Search Stripe's list, by creation time and our id in the metadata; Absent for those not there.

        The list is complete where Stripe's search is only eventually so.
        """
        return await self._lists.find(look_up)

    async def identify(self, intent_id: str) -> Outcome | Refusal | Unsure | Throttled | None:
        """Return the present state of an intent and the payment that it was made for; None when not by us."""
        params: PaymentIntentRetrieveParams = {"expand": _EXPAND}
        raw = await self._calls.call("get", _intent_path(intent_id), params)
        if not isinstance(raw, Mapping):
            return raw
        payment_id = read_payment_id(raw)
        return Outcome(payment_id, read_answer(raw)) if payment_id is not None else None

    async def _retrieve(self, intent_id: str) -> Answer:
        params: PaymentIntentRetrieveParams = {"expand": _EXPAND}
        return await self._intent("get", _intent_path(intent_id), params)

    async def _intent(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any],
        *,
        key: str | None = None,
        code_alone: bool = False,
    ) -> Answer:
        raw = await self._calls.call(method, path, params, key=key, code_alone=code_alone)
        return read_answer(raw) if isinstance(raw, Mapping) else raw


def _intent_path(intent_id: str) -> str:
    return f"{INTENTS}/{quote(intent_id, safe='')}"
