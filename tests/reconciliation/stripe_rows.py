"""What Stripe has of what happened: rows for the sandbox's file."""

import random
from datetime import UTC, datetime

from domain.disputes.model import DisputeStatus
from domain.ids import PaymentId
from domain.payouts.model import Payout
from domain.refunds.model import RefundStatus
from domain.settlement.answers import StripeDispute, StripeRefund
from domain.settlement.stripe_objects import read_transaction
from ops.stripe_sandbox.money import DISPUTE_FEE_MINOR, charge_fee
from ops.stripe_sandbox.objects import whole
from tests.reconciliation.sides import Obj, Sides


class StripeRows:
    """Writes rows on Stripe's side, and says what Stripe tells of them."""

    def __init__(self, sides: Sides, rng: random.Random) -> None:
        self._sides = sides
        self._rng = rng
        self._numbers = iter(range(1, 10**9))
        self.unpaid: list[Obj] = []

    def charge(self, payment_id: PaymentId | None, amount_minor: int, at: datetime) -> tuple[Obj, Obj, Obj]:
        metadata = {"payment_id": str(payment_id)} if payment_id else {}
        created = int(at.timestamp())
        intent_id, charge_id = self.new_id("pi"), self.new_id("ch")
        line = self.line("charge", charge_id, amount_minor, charge_fee(amount_minor), at)
        shared = {"amount": amount_minor, "created": created, "currency": "usd", "metadata": metadata}
        intent = self._sides.put(
            "payment_intents",
            {
                **shared,
                "id": intent_id,
                "amount_received": amount_minor,
                "capture_method": "automatic",
                "client_secret": f"{intent_id}_secret",
                "latest_charge": charge_id,
                "payment_method": "pm_card_visa",
                "status": "succeeded",
            },
        )
        charge = self._sides.put(
            "charges",
            {
                **shared,
                "id": charge_id,
                "amount_captured": amount_minor,
                "balance_transaction": line["id"],
                "captured": True,
                "paid": True,
                "payment_intent": intent_id,
                "payment_method": "pm_card_visa",
                "status": "succeeded",
            },
        )
        return intent, charge, line

    def refund(self, charged: Obj, at: datetime) -> tuple[Obj, StripeRefund]:
        amount_minor = self._rng.randrange(100, charged["amount"])
        refund_id = self.new_id("re")
        line = self.line("refund", refund_id, -amount_minor, 0, at)
        refund = self._sides.put(
            "refunds",
            {
                "id": refund_id,
                "amount": amount_minor,
                "balance_transaction": line["id"],
                "charge": charged["id"],
                "created": line["created"],
                "currency": "usd",
                "metadata": {},
                "payment_intent": charged["payment_intent"],
                "reason": None,
            },
        )
        moved = read_transaction(line)
        told = StripeRefund(
            stripe_refund_id=refund_id,
            status=RefundStatus.SUCCEEDED,
            amount_minor=amount_minor,
            currency="USD",
            charge_id=charged["id"],
            transaction_id=moved.id,
            transaction=moved,
        )
        return refund, told

    def dispute(self, charged: Obj, at: datetime) -> tuple[Obj, StripeDispute]:
        amount_minor, dispute_id = charged["amount"], self.new_id("dp")
        line = self.line("adjustment", dispute_id, -amount_minor, DISPUTE_FEE_MINOR, at, category="dispute")
        dispute = self._sides.put(
            "disputes",
            {
                "id": dispute_id,
                "amount": amount_minor,
                "balance_transactions": [whole("balance_transaction", line)],
                "charge": charged["id"],
                "created": line["created"],
                "currency": "usd",
                "payment_intent": charged["payment_intent"],
                "reason": "fraudulent",
                "status": "needs_response",
            },
        )
        told = StripeDispute(
            stripe_dispute_id=dispute_id,
            status=DisputeStatus.NEEDS_RESPONSE,
            amount_minor=amount_minor,
            currency="USD",
            reason="fraudulent",
            charge_id=charged["id"],
            opened_at=datetime.fromtimestamp(line["created"], UTC),
            transactions=(read_transaction(line),),
        )
        return dispute, told

    def transfer(self, payout: Payout, at: datetime) -> None:
        transfer_id = f"tr_{payout.id}"
        line = self.line("transfer", transfer_id, -payout.amount_minor, 0, at)
        self._sides.put(
            "transfers",
            {
                "id": transfer_id,
                "amount": payout.amount_minor,
                "balance_transaction": line["id"],
                "created": line["created"],
                "currency": "usd",
                "destination": payout.stripe_account_id,
                "metadata": {"payout_id": str(payout.id)},
            },
        )

    def payout(self, lines: list[Obj], at: datetime) -> Obj:
        """Stripe pays out to the platform's bank what lines come to."""
        payout_id, amount_minor = self.new_id("po"), sum(line["net"] for line in lines)
        line = self.line("payout", payout_id, -amount_minor, 0, at)
        self._sides.paid_out |= {each["id"]: payout_id for each in (*lines, line)}
        self.unpaid = [each for each in self.unpaid if each["id"] not in self._sides.paid_out]
        return self._sides.put(
            "payouts",
            {
                "id": payout_id,
                "amount": amount_minor,
                "arrival_date": line["created"],
                "automatic": True,
                "balance_transaction": line["id"],
                "created": line["created"],
                "currency": "usd",
                "metadata": {},
                "status": "paid",
            },
        )

    def line(
        self, kind: str, source: str | None, amount_minor: int, fee_minor: int, at: datetime, category: str = ""
    ) -> Obj:
        created = int(at.timestamp())
        return self.put_transaction(
            {
                "id": self.new_id("txn"),
                "amount": amount_minor,
                "available_on": created,
                "created": created,
                "currency": "usd",
                "description": None,
                "fee": fee_minor,
                "net": amount_minor - fee_minor,
                "reporting_category": category or kind,
                "source": source,
                "status": "available",
                "type": kind,
            }
        )

    def put_transaction(self, line: Obj) -> Obj:
        self.unpaid.append(line)
        return self._sides.put("balance_transactions", line)

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers):010x}"
