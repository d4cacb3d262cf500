"""Refunds at Stripe, as settlement asks for them."""

from collections.abc import Sequence
from urllib.parse import quote

from stripe.params import RefundCreateParams, RefundListParams, RefundRetrieveParams

from domain.refunds.model import Refund
from domain.settlement.answers import Absent, Refusal, StripeRefund, Throttled, Unsure
from domain.settlement.refund_metadata import refund_metadata
from domain.settlement.stripe_objects import read_refund
from workers.stripe_answers import read_list, read_object
from workers.stripe_calls import StripeCalls

_REFUNDS = "/v1/refunds"
_EXPAND = ["balance_transaction", "failure_balance_transaction"]
_INTENT_PREFIX = "pi_"


class StripeRefunds:
    """`domain.settlement.gateways.RefundGateway`."""

    def __init__(self, calls: StripeCalls) -> None:
        """Keep what makes the calls."""
        self._calls = calls

    async def refund(self, refund: Refund) -> StripeRefund | Refusal | Unsure | Throttled:
        """Refund a charge under the refund's present key; safe to repeat."""
        params: RefundCreateParams = {
            "amount": refund.amount_minor,
            "metadata": refund_metadata(refund),
            "expand": _EXPAND,
        }
        if refund.stripe_charge_id.startswith(_INTENT_PREFIX):
            params["payment_intent"] = refund.stripe_charge_id
        else:
            params["charge"] = refund.stripe_charge_id
        raw = await self._calls.call("post", _REFUNDS, params, key=refund.stripe_key)
        return read_object(raw, read_refund)

    async def retrieve_refund(self, refund: Refund) -> StripeRefund | Refusal | Unsure | Throttled:
        """Return the present state of a refund that is known at Stripe."""
        params: RefundRetrieveParams = {"expand": _EXPAND}
        path = f"{_REFUNDS}/{quote(refund.stripe_refund_id or '', safe='')}"
        return read_object(await self._calls.call("get", path, params), read_refund)

    async def find_refund(self, refund: Refund) -> StripeRefund | Absent | Unsure | Throttled:
        """Search the list of the charge's refunds for ours, by our id in the metadata. The list is complete."""
        found = await self.refunds_of(refund.stripe_charge_id)
        if not isinstance(found, Sequence):
            return found
        return next((each for each in found if each.refund_id == refund.id), Absent())

    async def refunds_of(self, charge_id: str) -> Sequence[StripeRefund] | Unsure | Throttled:
        """Return all refunds of a charge, at most 1,000."""
        params: RefundListParams = {"expand": [f"data.{name}" for name in _EXPAND]}
        if charge_id.startswith(_INTENT_PREFIX):
            params["payment_intent"] = charge_id
        else:
            params["charge"] = charge_id
        return await read_list(self._calls, _REFUNDS, params, read_refund)
