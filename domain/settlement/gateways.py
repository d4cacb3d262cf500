"""What charging and settling need of Stripe."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from domain.ids import PaymentId
from domain.payments.model import Payment
from domain.payouts.model import Payout, Reversal
from domain.refunds.model import Refund
from domain.sellers.model import SellerAccount
from domain.settlement.answers import (
    Absent,
    Answer,
    BankPayout,
    LinkAnswer,
    OwnPayout,
    Refusal,
    StripeAccount,
    StripeRefund,
    StripeReversal,
    StripeTransfer,
    Throttled,
    Unsure,
)
from domain.settlement.look_ups import LookUp
from domain.settlement.model import AccountPage, EventPage, EventWindow, Outcome


class ChargeGateway(Protocol):
    """Stripe, as settlement sees it. Never raises for what Stripe or the network do: all is an answer."""

    async def charge(self, payment: Payment) -> Answer:
        """Create and confirm the payment's intent under the key `charge-{payment.id}`; safe to repeat."""
        ...

    async def retrieve(self, intent_id: str) -> Answer:
        """Return the present state of an intent."""
        ...

    async def capture(self, intent_id: str, amount_minor: int | None) -> Answer:
        """Capture that much of an authorized intent, or all of it (None); the rest is released. Safe to repeat.

        When it can no longer be captured, return its present state. CaptureRefused when Stripe refuses and the
        intent is still authorized.
        """
        ...

    async def cancel(self, intent_id: str) -> Answer:
        """Cancel an intent; when it can no longer be cancelled, return its present state. Safe to repeat."""
        ...

    async def find(self, look_up: LookUp) -> Mapping[PaymentId, Answer]:
        """Search Stripe's list, by creation time and our id in the metadata.

        Returns an answer for each payment, Absent only where the whole list was read without it.
        """
        ...

    async def identify(self, intent_id: str) -> Outcome | Refusal | Unsure | Throttled | None:
        """Return the present state of an intent and the payment that it was made for; None when not by us."""
        ...


class RefundGateway(Protocol):
    """Stripe's refunds. Never raises for what Stripe or the network do: all is an answer."""

    async def refund(self, refund: Refund) -> StripeRefund | Refusal | Unsure | Throttled:
        """Refund a charge under the refund's present key; safe to repeat."""
        ...

    async def retrieve_refund(self, refund: Refund) -> StripeRefund | Refusal | Unsure | Throttled:
        """Return the present state of a refund that is known at Stripe."""
        ...

    async def find_refund(self, refund: Refund) -> StripeRefund | Absent | Unsure | Throttled:
        """Search the list of the charge's refunds for ours, by our id in the metadata. The list is complete."""
        ...

    async def refunds_of(self, charge_id: str) -> Sequence[StripeRefund] | Unsure | Throttled:
        """Return all refunds of a charge, at most 1,000."""
        ...


class AccountGateway(Protocol):
    """Stripe's connected accounts. Never raises for what Stripe or the network do: all is an answer."""

    async def open_account(self, account: SellerAccount) -> StripeAccount | Refusal | Unsure | Throttled:
        """Make a seller's account under its present key; safe to repeat."""
        ...

    async def retrieve_account(self, account: SellerAccount) -> StripeAccount | Refusal | Unsure | Throttled:
        """Return the present state of an account that is known at Stripe."""
        ...

    async def find_account(self, account: SellerAccount) -> StripeAccount | Absent | Unsure | Throttled:
        """Search the list of accounts for the seller's, by our id in the metadata; the list is complete."""
        ...

    async def make_link(self, stripe_account_id: str) -> LinkAnswer:
        """Make a link to Stripe's questions about an account; harmless to repeat."""
        ...


class TransferGateway(Protocol):
    """Stripe's transfers to sellers' accounts, and what becomes of them.

    Never raises for what Stripe or the network do: all is an answer.
    """

    async def transfer(self, payout: Payout) -> StripeTransfer | Refusal | Unsure | Throttled:
        """Transfer a payout under its key; safe to repeat."""
        ...

    async def find_transfer(self, payout: Payout) -> StripeTransfer | Absent | Unsure | Throttled:
        """Search Stripe's list of transfers for ours, by our id in the metadata. The list is complete."""
        ...

    async def reverse(self, reversal: Reversal, transfer_id: str) -> StripeReversal | Refusal | Unsure | Throttled:
        """Take a part of a transfer back under the reversal's present key; safe to repeat."""
        ...

    async def reversals_of(self, transfer_id: str) -> Sequence[StripeReversal] | Unsure | Throttled:
        """Return all reversals of a transfer, at most 1,000."""
        ...

    async def bank_payout(
        self, account_id: str, stripe_payout_id: str
    ) -> BankPayout | Absent | Unsure | Throttled:
        """Return a payout of a seller's account to its bank as it is now, with the transfers that are in it.

        Absent where there is none for us.
        """
        ...

    async def own_payout(self, stripe_payout_id: str) -> OwnPayout | Absent | Unsure | Throttled:
        """Return a payout of the platform's own balance to its bank, as it is now."""
        ...


class EventHistory(Protocol):
    """Stripe's own lists of events, of the last 30 days: the platform's, and one of each connected account."""

    async def page(self, window: EventWindow, after: str | None) -> EventPage:
        """Return a page of the platform's events that happened in that window, those older than `after`.

        Errors: Unavailable `stripe_unavailable`.
        """
        ...

    async def accounts(self, after: str | None) -> AccountPage:
        """Return a page of the connected accounts, those older than `after`. Errors: as of `page`."""
        ...

    async def page_of_account(
        self, account_id: str, types: Collection[str], window: EventWindow, after: str | None
    ) -> EventPage:
        """Return a page of a connected account's events of those types; else as `page`."""
        ...
