"""Stripe's test cards (https://docs.stripe.com/testing): what each payment method does when charged."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Card:
    """The behaviour of a test card; a plain one succeeds."""

    error_code: str | None = None
    decline_code: str | None = None
    message: str = "Your card was declined."
    needs_authentication: bool = False
    dispute: tuple[str, str] | None = None
    """The status and the reason of the dispute that follows the charge."""
    refund: str | None = None
    """What a refund becomes in the end, if it does not succeed at once."""
    is_available_at_once: bool = False
    """Whether the funds skip the pending balance."""


PLAIN = Card()
DECLINED = "card_declined"
_CARDS = {
    "": PLAIN,
    "chargeDeclined": Card(DECLINED, "generic_decline"),
    "chargeDeclinedInsufficientFunds": Card(DECLINED, "insufficient_funds", "Your card has insufficient funds."),
    "chargeDeclinedLostCard": Card(DECLINED, "lost_card"),
    "chargeDeclinedStolenCard": Card(DECLINED, "stolen_card"),
    "chargeDeclinedExpiredCard": Card("expired_card", None, "Your card has expired."),
    "chargeDeclinedIncorrectCvc": Card("incorrect_cvc", None, "Your card's security code is incorrect."),
    "chargeDeclinedProcessingError": Card(
        "processing_error", None, "An error occurred while processing your card. Try again in a little bit."
    ),
    "authenticationRequired": Card(needs_authentication=True),
    "createDispute": Card(dispute=("needs_response", "fraudulent")),
    "createDisputeInquiry": Card(dispute=("warning_needs_response", "fraudulent")),
    "createDisputeProductNotReceived": Card(dispute=("needs_response", "product_not_received")),
    "pendingRefund": Card(refund="succeeded"),
    "refundFail": Card(refund="failed"),
    "bypassPending": Card(is_available_at_once=True),
}
UNAUTHENTICATED = Card(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
BRANDS = ("pm_card_visa", "pm_card")


def find_card(payment_method: str | None) -> Card | None:
    """Return the test card of a payment method such as `pm_card_visa_chargeDeclined`, or None."""
    if payment_method is None:
        return None
    if payment_method == "pm_card_visa":
        return _CARDS[""]
    for brand in BRANDS:
        name = payment_method.removeprefix(f"{brand}_")
        if name != payment_method:
            return _CARDS.get(name) if name else None
    return None
