"""Stripe's transfers to sellers and their reversals, each made once for its key, behind the network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

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
from tests.domain.simulation.network import PERHAPS, SURELY, Network
from tests.stripe_answers import transferred

Made = TypeVar("Made", StripeTransfer, StripeReversal)

_REFUSED = Refusal("balance_insufficient")


@dataclass
class SimulatedTransfers:
    """`TransferGateway`, and the truth behind it."""

    network: Network
    transfers: list[StripeTransfer] = field(default_factory=list)
    reversals: list[StripeReversal] = field(default_factory=list)
    _keys: dict[str, StripeTransfer | StripeReversal | None] = field(default_factory=dict)
    """What was made under each key; None where an error was recorded."""

    def left_minor(self, transfer_id: str) -> int:
        """Return what of a transfer was not taken back."""
        (transfer,) = (each for each in self.transfers if each.transfer_id == transfer_id)
        back = (each.amount_minor for each in self.reversals if each.transfer_id == transfer_id)
        return transfer.amount_minor - sum(back)

    @property
    def gone_minor(self) -> int:
        """What has gone to sellers, less what was taken back."""
        return sum(self.left_minor(each.transfer_id) for each in self.transfers)

    async def transfer(self, payout: Payout) -> StripeTransfer | Refusal | Unsure | Throttled:
        return await self.network.carry(
            "transfer", lambda: self._once(payout.stripe_key, lambda: self._transfer(payout))
        )

    async def find_transfer(self, payout: Payout) -> StripeTransfer | Absent | Unsure | Throttled:
        def found() -> StripeTransfer | Absent:
            return next((each for each in self.transfers if each.payout_id == payout.id), Absent())

        return await self.network.carry("find transfer", found)

    async def reverse(self, reversal: Reversal, transfer_id: str) -> StripeReversal | Refusal | Unsure | Throttled:
        return await self.network.carry(
            "reverse", lambda: self._once(reversal.stripe_key, lambda: self._reverse(reversal, transfer_id))
        )

    async def reversals_of(self, transfer_id: str) -> Sequence[StripeReversal] | Unsure | Throttled:
        return await self.network.carry(
            "list reversals", lambda: [each for each in self.reversals if each.transfer_id == transfer_id]
        )

    async def bank_payout(self, account_id: str, stripe_payout_id: str) -> BankPayout | Unsure | Throttled:
        raise AssertionError(f"no bank is told of {stripe_payout_id} of {account_id}")

    async def own_payout(self, stripe_payout_id: str) -> OwnPayout | Absent | Unsure | Throttled:
        raise AssertionError(f"no bank is told of {stripe_payout_id}")

    def _once(self, key: str, make: Callable[[], Made | Refusal]) -> Made | Refusal | Unsure:
        """Make what is asked for under a key, or tell again what was; what is refused is forgotten."""
        if key in self._keys:
            known = self._keys[key]
            return known if known is not None else Unsure("replayed", lookup_only=True)  # type: ignore[return-value]  # a key is of one kind
        if self.network.breaks() and self.network.breaks():
            return _REFUSED
        is_error = self.network.breaks()
        if is_error and self.network.rng.random() < 1 / 2:
            self._keys[key] = None
            return Unsure("500")
        made = make()
        if isinstance(made, Refusal):
            return made
        self._keys[key] = None if is_error else made
        return Unsure("500 after it was done") if is_error else made

    def _transfer(self, payout: Payout) -> StripeTransfer:
        made = transferred(payout, transfer_id=f"tr_{len(self.transfers)}_{payout.id}")
        self.transfers.append(made)
        self.network.tell("transfer.created", _about(made), SURELY)
        return made

    def _reverse(self, reversal: Reversal, transfer_id: str) -> StripeReversal | Refusal:
        if reversal.amount_minor > self.left_minor(transfer_id):
            return _REFUSED
        made = StripeReversal(
            stripe_reversal_id=f"trr_{len(self.reversals)}_{reversal.id}",
            transfer_id=transfer_id,
            amount_minor=reversal.amount_minor,
            currency=reversal.currency,
            reversal_id=reversal.id,
        )
        self.reversals.append(made)
        (transfer,) = (each for each in self.transfers if each.transfer_id == transfer_id)
        self.network.tell("transfer.reversed", _about(transfer), PERHAPS)
        return made


def _about(transfer: StripeTransfer) -> dict[str, object]:
    return {
        "id": transfer.transfer_id,
        "amount": transfer.amount_minor,
        "currency": transfer.currency.lower(),
        "destination": transfer.destination,
        "metadata": {"payout_id": str(transfer.payout_id)},
    }
