"""Whose charge an object at Stripe is about, where nothing in it names our payment."""

from domain.coalescer import Coalescer
from domain.errors import Unavailable
from domain.ids import PaymentId
from domain.settlement.answers import Refusal
from domain.settlement.gateways import ChargeGateway
from domain.settlement.model import Outcome
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin


class ChargeOwners:
    """Finds the payments of charges: in the ledger, or at Stripe while a charge is not booked yet."""

    def __init__(
        self,
        begin: Begin[SettlementTransaction],
        gateway: ChargeGateway,
        settle: Coalescer[Outcome, bool],
    ) -> None:
        """Keep the collaborators; `settle` groups the outcomes of all batches of this process."""
        self._begin = begin
        self._gateway = gateway
        self._settle = settle

    async def payment_of(self, charge_id: str, intent_id: str | None) -> PaymentId | None:
        """Return the payment of a charge, or None when it is not ours.

        What is told of a charge may arrive before the charge is settled: then it is settled here. Errors:
        Unavailable `stripe_unavailable` when Stripe does not say whose it is.
        """
        async with self._begin() as tx:
            booked = await tx.ledger.payments_of([charge_id])
        if charge_id in booked or intent_id is None:
            return booked.get(charge_id)
        match await self._gateway.identify(intent_id):
            case Outcome() as outcome:
                await self._settle.submit(outcome)
                async with self._begin() as tx:
                    return next(iter(await tx.payment_work.by_ids([outcome.payment_id])), None)
            case None | Refusal():
                return None
        raise Unavailable("Stripe does not say whose charge it is", code="stripe_unavailable")
