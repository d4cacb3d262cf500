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
from domain.settlement.stripe_objects import read_intent, read_payment_id
from workers.stripe_answers import read_object
from workers.stripe_calls import StripeCalls
from workers.stripe_intent_lists import INTENTS, IntentLists

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

    async def retrieve(self, intent_id: str) -> Answer:
        """Return the present state of an intent."""
        params: PaymentIntentRetrieveParams = {"expand": _EXPAND}
        return await self._intent("get", _intent_path(intent_id), params)

    async def capture(self, intent_id: str, amount_minor: int | None) -> Answer:
        """Capture that much of an authorized intent, or all of it (None); the rest is released.

        When it can no longer be captured, return its present state. CaptureRefused when Stripe refuses and the
        intent is still authorized. It needs no idempotency key, as `cancel` needs none: Stripe refuses a second
        capture.
        """
        params: PaymentIntentCaptureParams = {"expand": _EXPAND}
        if amount_minor is not None:
            params["amount_to_capture"] = amount_minor
        # The intent inside a refusal says neither why Stripe refuses nor what fee an earlier capture had.
        answer = await self._intent("post", f"{_intent_path(intent_id)}/capture", params, code_alone=True)
        if not isinstance(answer, Refusal):
            return answer
        state = await self.retrieve(intent_id)
        as_before = isinstance(state, Intent) and state.status is IntentStatus.REQUIRES_CAPTURE
        return CaptureRefused(answer.failure_code) if as_before else state

    async def cancel(self, intent_id: str) -> Answer:
        """Cancel an intent; when it can no longer be cancelled, return its present state.

        It uses no idempotency key: cancelling twice is harmless, while an error that Stripe recorded under a key
        would be all that later attempts get.
        """
        answer = await self._intent("post", f"{_intent_path(intent_id)}/cancel", {})
        return await self.retrieve(intent_id) if isinstance(answer, Refusal) else answer

    async def find(self, look_up: LookUp) -> Mapping[PaymentId, Answer]:
        """Search Stripe's list by creation time and by our id in the metadata; Absent for those not in it.

        The list is always complete; Stripe's search API is only eventually so.
        """
        return await self._lists.find(look_up)

    async def identify(self, intent_id: str) -> Outcome | Refusal | Unsure | Throttled | None:
        """Return the present state of an intent and the payment that it was made for; None when not by us."""
        params: PaymentIntentRetrieveParams = {"expand": _EXPAND}
        raw = await self._calls.call("get", _intent_path(intent_id), params)
        if not isinstance(raw, Mapping):
            return raw
        payment_id = read_payment_id(raw)
        return Outcome(payment_id, read_object(raw, read_intent)) if payment_id is not None else None

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
        return read_object(raw, read_intent)


def _intent_path(intent_id: str) -> str:
    return f"{INTENTS}/{quote(intent_id, safe='')}"
