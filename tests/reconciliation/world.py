"""Payments on both sides, made without charging anybody: settled in the database, written into the sandbox's file.

Breaks of every kind are planted on either side, and it is known which. Everything happened in the last hours, so
that the ids of the journals tell their times.
"""

import asyncio
import pickle
import random
from collections import Counter, defaultdict
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from db.unit_of_work import Database
from domain.disputes.model import DisputeStatus
from domain.identity.model import Role, User
from domain.ids import PaymentId
from domain.ledger.model import PROCESSING_FEES, STRIPE_BALANCE, JournalKind
from domain.ledger.service import LedgerService
from domain.payments.model import PaymentRequest
from domain.payments.service import PaymentService
from domain.payouts.model import Payout, Release
from domain.reconciliation.model import BreakKind, ExceptionStatus
from domain.refunds.model import RefundStatus
from domain.settlement.answers import Intent, IntentStatus, OwnPayout, StripeDispute, StripeRefund
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.payouts import PayoutSettlement
from domain.settlement.refunds import RefundSettlement
from domain.settlement.service import SettlementService
from domain.settlement.stripe_objects import read_transaction
from ops.stripe_sandbox.money import DISPUTE_FEE_MINOR, charge_fee
from ops.stripe_sandbox.objects import whole
from tests.builders import PAYMENT_POLICY, a_direct_request, a_journal, a_payout, a_user, transferred
from tests.domain.fakes import FakeClock, RecordingAnnouncer, ScriptedGateway

Obj = dict[str, Any]
Plant = tuple[BreakKind, ExceptionStatus]

SPAN = timedelta(hours=20)
GRACE_S = 3600
_BATCH = 128
_REFUND_EVERY, _DISPUTE_EVERY = 31, 97
_PAYOUTS = 20
_SELLERS_AT_ONCE = 5
_ROLL_UP_EVERY = 4
"""Batches."""


@dataclass
class Sides:
    """Both sides as they are made: rows for the sandbox, and what was planted, by the key of its exception."""

    tables: defaultdict[str, dict[str, Obj]] = field(default_factory=lambda: defaultdict(dict))
    paid_out: dict[str, str] = field(default_factory=dict)
    planted: dict[str, Plant] = field(default_factory=dict)

    def put(self, table: str, row: Obj) -> Obj:
        self.tables[table][row["id"]] = row
        return row

    def counts(self) -> Counter[Plant]:
        return Counter(self.planted.values())

    def write(self, path: Path) -> None:
        """Write the sandbox's file, each table in the order of creation."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for table, rows in self.tables.items():
                ordered = sorted(rows.items(), key=lambda item: (item[1]["created"], item[0]))
                for start in range(0, len(ordered), 10_000):
                    batch = [((table, key), row) for key, row in ordered[start : start + 10_000]]
                    pickle.dump(batch, file, protocol=pickle.HIGHEST_PROTOCOL)
            held = [(("paid_out", line_id), payout_id) for line_id, payout_id in self.paid_out.items()]
            pickle.dump(held, file, protocol=pickle.HIGHEST_PROTOCOL)


@dataclass(frozen=True)
class Charged:
    """A payment of ours that was charged at Stripe."""

    payment_id: PaymentId
    at: datetime
    outcome: Outcome
    charge: Obj
    transaction: Obj


class World:
    """Makes payments, refunds, disputes and payouts on both sides, and plants breaks."""

    def __init__(self, database: Database, seed: int, now: datetime) -> None:
        self.sides = Sides()
        self.now = now.replace(microsecond=0)
        self._rng = random.Random(seed)
        self._begin = database.begin
        self._clock = FakeClock()
        policy, announcer = SettlementPolicy(), RecordingAnnouncer()
        self._accept = PaymentService(self._begin, announcer, self._clock, PAYMENT_POLICY, each=database.each)
        self._settle = SettlementService(self._begin, announcer, self._clock, policy)
        self._refunds = RefundSettlement(self._begin, self._clock, policy)
        self._disputes = DisputeSettlement(self._begin, self._clock, policy)
        self._transfers = PayoutSettlement(self._begin, self._clock, policy)
        self._bank = ScriptedGateway()
        self._bank_payouts = OwnPayouts(self._begin, self._bank, self._clock)
        self._unpaid: list[Obj] = []
        self._ledger = LedgerService(self._begin)
        self._users: list[User] = []
        self._numbers = iter(range(1, 10**9))

    async def make(self, payments: int, breaks_each: int) -> Sides:
        """Make so many payments, some of them refunded or disputed, and plant so many breaks of each way.

        Now and then sellers are paid out, and then the platform; its first payout comes back from the bank.
        """
        self._users = [a_user(Role.BUYER), *(a_user(Role.SELLER) for _ in range(20))]
        async with self._begin() as tx:
            for user in self._users:
                await tx.users.add(user)
            await tx.commit()
        for start in range(0, payments, _BATCH):
            count = min(_BATCH, payments - start)
            at = self.now - timedelta(seconds=2 * GRACE_S) - SPAN + SPAN * start / payments
            charged = await self._charge(count, at)
            await self._settle_all(charged)
            await asyncio.gather(*self._go_back(charged, start, at))
            # As beat does every minute; without it each refund reads all that was ever booked.
            if start // _BATCH % _ROLL_UP_EVERY == 0:
                await self._ledger.roll_up()
            if start // _BATCH % max(payments // _BATCH // _PAYOUTS, 1) == 0:
                await self._pay_out(at + timedelta(seconds=2), fails=not start)
        for _ in range(breaks_each):
            for plant in self._plants():
                self._clock.time = self.now - timedelta(seconds=self._rng.randrange(2 * GRACE_S, 10 * GRACE_S))
                await plant()
        return self.sides

    def _go_back(self, charged: list[Charged], start: int, at: datetime) -> Iterator[Coroutine[Any, Any, None]]:
        """Refund some of the payments, and let others be disputed."""
        for place, each in enumerate(charged, start):
            if place % _REFUND_EVERY == 0:
                yield self._refund(each, at)
            elif place % _DISPUTE_EVERY == 0:
                yield self._dispute(each, at)

    def _plants(self) -> Iterator[Any]:
        """Every way to break: by what is lost, altered, doubled, foreign or under way, on either side."""
        yield self._lose_webhook_of_charge
        yield self._refund_in_dashboard
        yield self._lose_webhook_of_dispute
        yield self._lose_fee
        yield self._alter_fee
        yield self._alter_amount
        yield self._alter_currency
        yield self._double
        yield self._foreign_charge
        yield self._top_up
        yield self._delete_line
        yield self._post_what_stripe_has_not
        yield self._journal_under_way
        yield self._lose_webhook_of_payout
        yield self._lose_line_in_payout

    # What breaks.

    async def _lose_webhook_of_charge(self) -> None:
        (each,) = await self._charge(1, self._clock.time)
        self._plant(each.transaction["id"], BreakKind.MISSING_IN_LEDGER, healed=True)

    async def _refund_in_dashboard(self) -> None:
        each = await self._good()
        refund, _ = self._refund_rows(each, self._clock.time)
        self._plant(refund["balance_transaction"], BreakKind.MISSING_IN_LEDGER, healed=True)

    async def _lose_webhook_of_dispute(self) -> None:
        each = await self._good()
        dispute, _ = self._dispute_rows(each, self._clock.time)
        self._plant(dispute["balance_transactions"][0]["id"], BreakKind.MISSING_IN_LEDGER, healed=True)

    async def _lose_fee(self) -> None:
        (each,) = await self._charge(1, self._clock.time)
        answer = each.outcome.answer
        assert isinstance(answer, Intent)
        await self._settle_all(
            [replace(each, outcome=replace(each.outcome, answer=replace(answer, transaction=None)))]
        )
        self._plant(each.transaction["id"], BreakKind.FEE_MISMATCH, healed=True)

    async def _alter_fee(self) -> None:
        await self._alter(BreakKind.FEE_MISMATCH, fee=777)

    async def _alter_amount(self) -> None:
        await self._alter(BreakKind.AMOUNT_MISMATCH, amount=123)

    async def _alter_currency(self) -> None:
        await self._alter(BreakKind.CURRENCY_MISMATCH, currency="eur")

    async def _double(self) -> None:
        each = await self._good()
        second = self._put_transaction({**each.transaction, "id": self._id("txn")})
        self._plant(second["id"], BreakKind.DUPLICATE)

    async def _foreign_charge(self) -> None:
        intent, charge, line = self._charge_rows(None, 4200, self._clock.time)
        assert intent["id"] == charge["payment_intent"]
        self._plant(line["id"], BreakKind.UNKNOWN_SOURCE)

    async def _top_up(self) -> None:
        line = self._line("topup", None, 100_000, 0, self._clock.time)
        self._plant(line["id"], BreakKind.UNKNOWN_SOURCE)

    async def _delete_line(self) -> None:
        each = await self._good()
        del self.sides.tables["balance_transactions"][each.transaction["id"]]
        async with self._begin() as tx:
            journal = await tx.ledger.by_source(JournalKind.CHARGE, each.charge["id"])
        assert journal is not None
        self._plant(str(journal.id), BreakKind.MISSING_AT_STRIPE)

    async def _post_what_stripe_has_not(self) -> None:
        await self._post_alone(BreakKind.MISSING_AT_STRIPE)

    async def _journal_under_way(self) -> None:
        self._clock.time = self.now - timedelta(minutes=10)
        await self._post_alone(BreakKind.LATE)

    async def _post_alone(self, kind: BreakKind) -> None:
        journal = a_journal((STRIPE_BALANCE, 500), (PROCESSING_FEES, -500), created_at=self._clock.time)
        async with self._begin() as tx:
            await tx.ledger.post([journal])
            await tx.commit()
        self._plant(str(journal.id), kind)

    async def _lose_webhook_of_payout(self) -> None:
        each = await self._good()
        payout = self._payout_rows([each.transaction], self._clock.time)
        self._plant(payout["balance_transaction"], BreakKind.MISSING_IN_LEDGER, healed=True)

    async def _lose_line_in_payout(self) -> None:
        lines = [(await self._good()).transaction for _ in range(2)]
        payout = self._payout_rows(lines, self._clock.time)
        await self._told_of(payout)
        del self.sides.paid_out[lines[0]["id"]]
        self._plant(payout["balance_transaction"], BreakKind.AMOUNT_MISMATCH)

    async def _alter(self, kind: BreakKind, **changes: Any) -> None:
        each = await self._good()
        self._put_transaction({**each.transaction, **changes})
        self._plant(each.transaction["id"], kind)

    def _plant(self, key: str, kind: BreakKind, *, healed: bool = False) -> None:
        self.sides.planted[key] = (kind, ExceptionStatus.HEALED if healed else ExceptionStatus.OPEN)

    # What is right.

    async def _good(self) -> Charged:
        (each,) = await self._charge(1, self._clock.time)
        await self._settle_all([each])
        return each

    async def _charge(self, count: int, at: datetime) -> list[Charged]:
        """Accept payments and let Stripe charge them; nothing is settled yet."""
        self._clock.time = at
        buyer, *sellers = self._users
        requests: list[PaymentRequest] = [
            replace(
                a_direct_request(buyer.id, self._rng.choice(sellers).id),
                amount_minor=self._rng.randrange(500, 50_000),
            )
            for _ in range(count)
        ]
        charged = []
        for accepted in await self._accept.accept(requests):
            assert not isinstance(accepted, Exception), accepted
            payment = accepted.payment
            intent, charge, line = self._charge_rows(payment.id, payment.amount_minor, at)
            answer = Intent(
                intent_id=intent["id"],
                status=IntentStatus.SUCCEEDED,
                currency="USD",
                received_minor=payment.amount_minor,
                charge_id=charge["id"],
                transaction=read_transaction(line),
            )
            charged.append(Charged(payment.id, at, Outcome(payment.id, answer), charge, line))
        return charged

    async def _settle_all(self, charged: list[Charged]) -> None:
        self._clock.time = charged[0].at + timedelta(seconds=1)
        assert all(await self._settle.settle([each.outcome for each in charged]))

    async def _refund(self, each: Charged, at: datetime) -> None:
        _, told = self._refund_rows(each, at)
        assert await self._refunds.adopt(each.payment_id, told)

    async def _dispute(self, each: Charged, at: datetime) -> None:
        _, told = self._dispute_rows(each, at)
        assert await self._disputes.settle(each.payment_id, told)

    async def _pay_out(self, at: datetime, *, fails: bool) -> None:
        """Transfer to some sellers what they have, then pay out what is left to the platform's bank."""
        self._clock.time = at
        for seller in self._rng.sample(self._users[1:], _SELLERS_AT_ONCE):
            draft = a_payout(seller.id, amount_minor=0, created_at=at, updated_at=at)
            async with self._begin() as tx:
                await tx.payouts.claim_seller(seller.id, wait=True)
                payout = await tx.payouts.draft(draft, Release(at, at), least_minor=1, publish_at=at)
                await tx.commit()
            if payout is not None:
                self._transfer_rows(payout, at)
                assert await self._transfers.settle(payout.id, transferred(payout))
        lines, self._unpaid = self._unpaid, []
        made = self._payout_rows(lines, at)
        await self._told_of(made)
        if fails:
            back = self._line("payout_failure", made["id"], made["amount"], 0, at, category="payout_reversal")
            await self._told_of({**made, "status": "failed", "failure_balance_transaction": back["id"]})

    async def _told_of(self, payout: Obj) -> None:
        """Let the webhook of a payout come."""
        self.sides.put("payouts", payout)
        moved, returned = (
            read_transaction(self.sides.tables["balance_transactions"][payout[name]]) if payout.get(name) else None
            for name in ("balance_transaction", "failure_balance_transaction")
        )
        self._bank.will("own_payout", OwnPayout(payout["id"], moved, returned))
        assert await self._bank_payouts.follow(payout["id"])

    # Stripe's rows.

    def _charge_rows(self, payment_id: PaymentId | None, amount_minor: int, at: datetime) -> tuple[Obj, Obj, Obj]:
        metadata = {"payment_id": str(payment_id)} if payment_id else {}
        created = int(at.timestamp())
        intent_id, charge_id = self._id("pi"), self._id("ch")
        line = self._line("charge", charge_id, amount_minor, charge_fee(amount_minor), at)
        shared = {"amount": amount_minor, "created": created, "currency": "usd", "metadata": metadata}
        intent = self.sides.put(
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
        charge = self.sides.put(
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

    def _refund_rows(self, each: Charged, at: datetime) -> tuple[Obj, StripeRefund]:
        amount_minor = self._rng.randrange(100, each.charge["amount"])
        refund_id = self._id("re")
        line = self._line("refund", refund_id, -amount_minor, 0, at)
        refund = self.sides.put(
            "refunds",
            {
                "id": refund_id,
                "amount": amount_minor,
                "balance_transaction": line["id"],
                "charge": each.charge["id"],
                "created": line["created"],
                "currency": "usd",
                "metadata": {},
                "payment_intent": each.charge["payment_intent"],
                "reason": None,
            },
        )
        moved = read_transaction(line)
        told = StripeRefund(
            stripe_refund_id=refund_id,
            status=RefundStatus.SUCCEEDED,
            amount_minor=amount_minor,
            currency="USD",
            charge_id=each.charge["id"],
            transaction_id=moved.id,
            transaction=moved,
        )
        return refund, told

    def _dispute_rows(self, each: Charged, at: datetime) -> tuple[Obj, StripeDispute]:
        amount_minor, dispute_id = each.charge["amount"], self._id("dp")
        line = self._line("adjustment", dispute_id, -amount_minor, DISPUTE_FEE_MINOR, at, category="dispute")
        dispute = self.sides.put(
            "disputes",
            {
                "id": dispute_id,
                "amount": amount_minor,
                "balance_transactions": [whole("balance_transaction", line)],
                "charge": each.charge["id"],
                "created": line["created"],
                "currency": "usd",
                "payment_intent": each.charge["payment_intent"],
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
            charge_id=each.charge["id"],
            opened_at=datetime.fromtimestamp(line["created"], UTC),
            transactions=(read_transaction(line),),
        )
        return dispute, told

    def _transfer_rows(self, payout: Payout, at: datetime) -> None:
        transfer_id = f"tr_{payout.id}"
        line = self._line("transfer", transfer_id, -payout.amount_minor, 0, at)
        self.sides.put(
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

    def _payout_rows(self, lines: list[Obj], at: datetime) -> Obj:
        """Stripe pays out to the platform's bank what lines come to."""
        payout_id, amount_minor = self._id("po"), sum(line["net"] for line in lines)
        line = self._line("payout", payout_id, -amount_minor, 0, at)
        self.sides.paid_out |= {each["id"]: payout_id for each in (*lines, line)}
        self._unpaid = [each for each in self._unpaid if each["id"] not in self.sides.paid_out]
        return self.sides.put(
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

    def _line(
        self, kind: str, source: str | None, amount_minor: int, fee_minor: int, at: datetime, category: str = ""
    ) -> Obj:
        created = int(at.timestamp())
        return self._put_transaction(
            {
                "id": self._id("txn"),
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

    def _put_transaction(self, line: Obj) -> Obj:
        self._unpaid.append(line)
        return self.sides.put("balance_transactions", line)

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers):010x}"
