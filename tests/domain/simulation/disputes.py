"""Payers who ask their banks for their money back, and what the banks decide; webhooks alone tell of it."""

from dataclasses import dataclass, field
from typing import Any

from domain.disputes.model import DISPUTE_TRANSITIONS, DisputeStatus
from domain.errors import Unavailable
from domain.settlement.answers import StripeDispute
from domain.settlement.stripe_objects import read_dispute
from tests.builders import NOW
from tests.domain.simulation.network import SURELY, Network
from tests.domain.simulation.stripe import MadeIntent, SimulatedStripe

FEE_MINOR = 1_500
_NEXT = {
    DisputeStatus.NEEDS_RESPONSE: (DisputeStatus.UNDER_REVIEW, DisputeStatus.LOST),
    DisputeStatus.UNDER_REVIEW: (DisputeStatus.WON, DisputeStatus.LOST),
    DisputeStatus.LOST: (DisputeStatus.WON,),
    DisputeStatus.WON: (DisputeStatus.NEEDS_RESPONSE,),
}
"""What may come next; what was lost may be won late, and what was won may take its money again."""


@dataclass
class MadeDispute:
    """A dispute at Stripe, and the money that it moved: what was taken, and what was given back."""

    dispute_id: str
    made: MadeIntent
    amount_minor: int
    moves_minor: list[int]
    status: DisputeStatus = DisputeStatus.NEEDS_RESPONSE

    @property
    def balance_minor(self) -> int:
        """What it did to the platform's balance; each withdrawal bears a fee."""
        return sum(move - (FEE_MINOR if move < 0 else 0) for move in self.moves_minor)

    @property
    def transaction_ids(self) -> list[str]:
        """The balance transactions, in their order."""
        return [f"txn_{number}_{self.dispute_id}" for number, _ in enumerate(self.moves_minor)]


@dataclass
class SimulatedDisputes:
    """All disputes; one of a charge at most, of all that refunds have left of it."""

    network: Network
    stripe: SimulatedStripe
    made: list[MadeDispute] = field(default_factory=list)

    @property
    def balance_minor(self) -> int:
        """What they did to the platform's balance."""
        return sum(each.balance_minor for each in self.made)

    async def dispute(self, dispute_id: str) -> StripeDispute | None:
        """`domain.settlement.inbox.dispute_events.DisputeSource`."""

        def found() -> StripeDispute:
            (dispute,) = (each for each in self.made if each.dispute_id == dispute_id)
            return read_dispute(_about(dispute))

        answer = await self.network.carry("retrieve dispute", found)
        if not isinstance(answer, StripeDispute):
            raise Unavailable("no answer")
        return answer

    def act(self) -> None:
        """Let a payer dispute a charge, or a bank get on with it."""
        if self.network.rng.random() < 1 / 2:
            self._open()
        else:
            self._go_on()

    def _open(self) -> None:
        charged = [made for made in self.stripe.intents if self._left_minor(made) and not self._of(made)]
        if charged:
            made = self.network.rng.choice(charged)
            amount_minor = self._left_minor(made)
            dispute = MadeDispute(f"dp_{made.payment.id}", made, amount_minor, [-amount_minor])
            self.made.append(dispute)
            self.stripe.held.add(made.payment.id)
            self._tell(dispute, "charge.dispute.created")

    def _go_on(self) -> None:
        if open_ones := [each for each in self.made if each.status in _NEXT]:
            dispute = self.network.rng.choice(open_ones)
            status = self.network.rng.choice(_NEXT[dispute.status])
            assert status in DISPUTE_TRANSITIONS[dispute.status]
            dispute.status = status
            if status is DisputeStatus.WON:
                dispute.moves_minor.append(dispute.amount_minor)
                self.stripe.held.discard(dispute.made.payment.id)
            if status is DisputeStatus.NEEDS_RESPONSE:
                dispute.moves_minor.append(-dispute.amount_minor)
                self.stripe.held.add(dispute.made.payment.id)
            is_over = status in {DisputeStatus.WON, DisputeStatus.LOST}
            self._tell(dispute, "charge.dispute.closed" if is_over else "charge.dispute.updated")

    def _of(self, made: MadeIntent) -> bool:
        return any(each.made is made for each in self.made)

    def _left_minor(self, made: MadeIntent) -> int:
        return made.received_minor - self.stripe.refunded_minor(made.payment.id)

    def _tell(self, dispute: MadeDispute, kind: str) -> None:
        """Tell how a dispute is, with all that has moved so far."""
        self.network.tell(kind, _about(dispute), SURELY)


def _about(dispute: MadeDispute) -> dict[str, Any]:
    """Return what Stripe tells of a dispute as it is now."""
    payment = dispute.made.payment
    currency, created = payment.currency.lower(), int(NOW.timestamp())
    transactions = [
        {"id": each, "amount": move, "fee": FEE_MINOR if move < 0 else 0, "currency": currency}
        for each, move in zip(dispute.transaction_ids, dispute.moves_minor, strict=True)
    ]
    return {
        "id": dispute.dispute_id,
        "status": dispute.status,
        "amount": dispute.amount_minor,
        "currency": currency,
        "reason": "fraudulent",
        "charge": f"ch_{payment.id}",
        "payment_intent": f"pi_{payment.id}",
        "created": created,
        "evidence_details": {"due_by": created + 9 * 86_400},
        "balance_transactions": transactions,
    }
