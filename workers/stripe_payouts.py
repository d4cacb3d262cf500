"""Transfers and their reversals at Stripe, and payouts to sellers' banks, as settlement asks for them."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from stripe.params import (
    BalanceTransactionListParams,
    TransferCreateParams,
    TransferCreateReversalParams,
    TransferListParams,
)

from domain.payouts.model import Payout, Reversal
from domain.settlement.answers import (
    Absent,
    BankPayout,
    OwnPayout,
    Refusal,
    StripeReversal,
    StripeTransfer,
    Throttled,
    Unsure,
)
from domain.settlement.stripe_objects import (
    UNREADABLE,
    JsonObject,
    read_bank_payout,
    read_own_payout,
    read_reversal,
    read_transfer,
)
from workers.stripe_answers import read_list, read_object
from workers.stripe_calls import StripeCalls

_TRANSFERS = "/v1/transfers"
_MOVEMENTS = "/v1/balance_transactions"


class StripePayouts:
    """`domain.settlement.gateways.TransferGateway`."""

    def __init__(self, calls: StripeCalls) -> None:
        """Keep what makes the calls."""
        self._calls = calls

    async def transfer(self, payout: Payout) -> StripeTransfer | Refusal | Unsure | Throttled:
        """Transfer a payout under its key; safe to repeat."""
        params: TransferCreateParams = {
            "amount": payout.amount_minor,
            "currency": payout.currency.lower(),
            "destination": payout.stripe_account_id,
            "transfer_group": _group(payout),
            "metadata": {"payout_id": str(payout.id), "seller_id": str(payout.seller_id)},
        }
        return read_object(
            await self._calls.call("post", _TRANSFERS, params, key=payout.stripe_key), read_transfer
        )

    async def find_transfer(self, payout: Payout) -> StripeTransfer | Absent | Unsure | Throttled:
        """Search Stripe's list of transfers for ours, by our id in the metadata. The list is complete.

        Each payout has a transfer group of its own, so that the list is short.
        """
        params: TransferListParams = {"transfer_group": _group(payout)}
        found = await read_list(self._calls, _TRANSFERS, params, read_transfer)
        if not isinstance(found, Sequence):
            return found
        return next((transfer for transfer in found if transfer.payout_id == payout.id), Absent())

    async def reverse(self, reversal: Reversal, transfer_id: str) -> StripeReversal | Refusal | Unsure | Throttled:
        """Take a part of a transfer back under the reversal's present key; safe to repeat."""
        params: TransferCreateReversalParams = {
            "amount": reversal.amount_minor,
            "metadata": {
                "reversal_id": str(reversal.id),
                "payout_id": str(reversal.payout_id),
                "payment_id": str(reversal.payment_id or ""),
            },
        }
        path = _reversals_path(transfer_id)
        return read_object(await self._calls.call("post", path, params, key=reversal.stripe_key), read_reversal)

    async def reversals_of(self, transfer_id: str) -> Sequence[StripeReversal] | Unsure | Throttled:
        """Return all reversals of a transfer, at most 1,000."""
        return await read_list(self._calls, _reversals_path(transfer_id), {}, read_reversal)

    async def bank_payout(
        self, account_id: str, stripe_payout_id: str
    ) -> BankPayout | Absent | Unsure | Throttled:
        """Return a payout of a seller's account to its bank as it is now, with the transfers that are in it.

        Absent for one that is not there for us: a live endpoint is told of accounts' test payouts too
        (docs.stripe.com/connect/webhooks), and of accounts that leave.
        Stripe lists what is in payouts that it makes by itself alone (docs.stripe.com/payouts/reconciliation).
        """
        path = f"/v1/payouts/{quote(stripe_payout_id, safe='')}"
        raw = await self._calls.call("get", path, {}, account=account_id)
        if not isinstance(raw, Mapping):
            return Absent() if isinstance(raw, Refusal) else raw
        movements: Sequence[JsonObject] | Unsure | Throttled = []
        if raw.get("automatic") is not False:
            params: BalanceTransactionListParams = {
                "payout": stripe_payout_id,
                "expand": ["data.source.source_transfer"],
            }
            movements = await read_list(self._calls, _MOVEMENTS, params, dict, account=account_id)
        if not isinstance(movements, Sequence):
            return movements
        try:
            return read_bank_payout(raw, movements)
        except UNREADABLE as error:
            return Unsure(f"a payout that cannot be read: {error!r}")

    async def own_payout(self, stripe_payout_id: str) -> OwnPayout | Absent | Unsure | Throttled:
        """Return a payout of the platform's own balance to its bank, as it is now."""
        params = {"expand": ["balance_transaction", "failure_balance_transaction"]}
        raw = await self._calls.call("get", f"/v1/payouts/{quote(stripe_payout_id, safe='')}", params)
        found = read_object(raw, read_own_payout)
        # To read is refused for what is not there alone.
        return Absent() if isinstance(found, Refusal) else found


def _group(payout: Payout) -> str:
    return f"payout-{payout.id}"


def _reversals_path(transfer_id: str) -> str:
    return f"{_TRANSFERS}/{quote(transfer_id, safe='')}/reversals"
