"""Refunds at Stripe, as settlement asks for them."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from stripe.params import RefundCreateParams, RefundListParams, RefundRetrieveParams

from domain.refunds.model import Refund
from domain.settlement.answers import Absent, Refusal, StripeRefund, Throttled, Unsure
from domain.settlement.refund_metadata import refund_metadata
from domain.settlement.stripe_objects import read_refund
from workers.stripe_calls import RawAnswer, StripeCalls

_REFUNDS = "/v1/refunds"
_EXPAND = ["balance_transaction", "failure_balance_transaction"]
_PAGE = 100
_MAX_PAGES = 10
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
        return _read(await self._calls.call("post", _REFUNDS, params, key=refund.stripe_key))

    async def retrieve_refund(self, refund: Refund) -> StripeRefund | Refusal | Unsure | Throttled:
        """Return the present state of a refund that is known at Stripe."""
        params: RefundRetrieveParams = {"expand": _EXPAND}
        path = f"{_REFUNDS}/{quote(refund.stripe_refund_id or '', safe='')}"
        return _read(await self._calls.call("get", path, params))

    async def find_refund(self, refund: Refund) -> StripeRefund | Absent | Unsure | Throttled:
        """Search the list of the charge's refunds for ours, by our id in the metadata. The list is complete."""
        found = await self.refunds_of(refund.stripe_charge_id)
        if not isinstance(found, Sequence):
            return found
        return next((each for each in found if each.refund_id == refund.id), Absent())

    async def refunds_of(self, charge_id: str) -> Sequence[StripeRefund] | Unsure | Throttled:
        """Return all refunds of a charge, at most 1,000."""
        params: RefundListParams = {"limit": _PAGE, "expand": [f"data.{name}" for name in _EXPAND]}
        if charge_id.startswith(_INTENT_PREFIX):
            params["payment_intent"] = charge_id
        else:
            params["charge"] = charge_id
        refunds: list[StripeRefund] = []
        for _ in range(_MAX_PAGES):
            page = await self._calls.call("get", _REFUNDS, params)
            if not isinstance(page, Mapping):
                # Absence needs the whole list, and a refusal to list anything is no refusal of a refund.
                return Unsure("the list was refused") if isinstance(page, Refusal) else page
            if not isinstance(page.get("data"), list):
                return Unsure("a list that cannot be read")
            for raw in page["data"]:
                refund = _read(raw)
                if not isinstance(refund, StripeRefund):
                    return Unsure("the list has a refund that cannot be read")
                refunds.append(refund)
            if not page["has_more"]:
                return refunds
            params["starting_after"] = page["data"][-1]["id"]
        return Unsure("the list does not end")


def _read(raw: RawAnswer) -> StripeRefund | Refusal | Unsure | Throttled:
    if not isinstance(raw, Mapping):
        return raw
    try:
        return read_refund(raw)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        return Unsure(f"a refund that cannot be read: {error!r}")
