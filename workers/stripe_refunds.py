"""Refunds at Stripe, as settlement asks for them."""

from collections.abc import Mapping

from stripe.params import RefundCreateParams, RefundListParams

from domain.settlement.model import Refund, RefundStatus, Refusal, StripeRefund, Unsure
from domain.settlement.ports import RefundAnswer
from domain.settlement.stripe_objects import JsonObject
from workers.stripe_calls import StripeCalls

_REFUNDS = "/v1/refunds"
_PAGE = 100


class StripeRefunds:
    """`domain.settlement.ports.RefundGateway`."""

    def __init__(self, calls: StripeCalls) -> None:
        """Keep what makes the calls."""
        self._calls = calls

    async def refund(self, refund: Refund) -> RefundAnswer:
        """Refund a charge under the key `refund-{refund.id}`; safe to repeat.

        A repeated attempt looks first whether an earlier one arrived, so that an error that Stripe recorded
        under the key is not taken for the truth.
        """
        if refund.attempts > 1:
            earlier: RefundListParams = {"charge": refund.stripe_charge_id, "limit": _PAGE}
            known = await self._calls.call("get", _REFUNDS, earlier)
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
        raw = await self._calls.call("post", _REFUNDS, params, key=f"refund-{refund.id}")
        if isinstance(raw, Unsure) and raw.lookup_only:
            return Refusal("refund_not_made")  # Stripe's list had none, and the key brings an old error for ever
        return _read_refund(raw) if isinstance(raw, Mapping) else raw


def _read_refund(raw: JsonObject) -> StripeRefund:
    """Read a Refund; `canceled` and `failed` both mean that no money went back."""
    status = {"succeeded": RefundStatus.SUCCEEDED, "failed": RefundStatus.FAILED, "canceled": RefundStatus.FAILED}
    return StripeRefund(raw["id"], status.get(raw["status"], RefundStatus.PENDING))
