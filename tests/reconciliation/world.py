"""Payments on both sides, made without charging anybody: settled in the database, written into the sandbox's file.

Everything happened in the last hours, so that the ids of the journals tell their times.
"""

import asyncio
import random
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from db.unit_of_work import Database
from domain.identity.model import Role, User
from domain.ids import PaymentId
from domain.ledger.service import LedgerService
from domain.payments.model import PaymentRequest
from domain.payments.service import PaymentService
from domain.payouts.model import Release
from domain.settlement.answers import Intent, IntentStatus, OwnPayout
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.payouts import PayoutSettlement
from domain.settlement.refunds import RefundSettlement
from domain.settlement.service import SettlementService
from domain.settlement.stripe_objects import read_transaction
from tests.builders import PAYMENT_POLICY, a_direct_request, a_payout, a_user
from tests.domain.fakes import FakeClock, RecordingAnnouncer, ScriptedGateway
from tests.reconciliation.sides import Obj, Sides
from tests.reconciliation.stripe_rows import StripeRows
from tests.stripe_answers import transferred

SPAN = timedelta(hours=20)
GRACE_S = 3600
_BATCH = 128
_REFUND_EVERY, _DISPUTE_EVERY = 31, 97
_PAYOUTS = 20
_SELLERS_AT_ONCE = 5
_ROLL_UP_EVERY = 4
"""Batches."""


@dataclass(frozen=True)
class Charged:
    """A payment of ours that was charged at Stripe."""

    payment_id: PaymentId
    at: datetime
    outcome: Outcome
    charge: Obj
    transaction: Obj


class World:
    """Makes payments, refunds, disputes and payouts on both sides."""

    def __init__(self, database: Database, seed: int, now: datetime) -> None:
        self.sides = Sides()
        self.now = now.replace(microsecond=0)
        self.rng = random.Random(seed)
        self.rows = StripeRows(self.sides, self.rng)
        self.begin = database.begin
        self.clock = FakeClock()
        policy, announcer = SettlementPolicy(), RecordingAnnouncer()
        self._accept = PaymentService(self.begin, announcer, self.clock, PAYMENT_POLICY, each=database.each)
        self._settle = SettlementService(self.begin, announcer, self.clock, policy)
        self._refunds = RefundSettlement(self.begin, self.clock, policy)
        self._disputes = DisputeSettlement(self.begin, self.clock, policy)
        self._transfers = PayoutSettlement(self.begin, self.clock, policy)
        self._bank = ScriptedGateway()
        self._bank_payouts = OwnPayouts(self.begin, self._bank, self.clock)
        self._ledger = LedgerService(self.begin)
        self._users: list[User] = []

    async def make(self, payments: int) -> None:
        """Make so many payments, some of them refunded or disputed.

        Now and then sellers are paid out, and then the platform; its first payout comes back from the bank.
        """
        self._users = [a_user(Role.BUYER), *(a_user(Role.SELLER) for _ in range(20))]
        async with self.begin() as tx:
            for user in self._users:
                await tx.users.add(user)
            await tx.commit()
        for start in range(0, payments, _BATCH):
            count = min(_BATCH, payments - start)
            at = self.now - timedelta(seconds=2 * GRACE_S) - SPAN + SPAN * start / payments
            charged = await self.charge(count, at)
            await self.settle_all(charged)
            await asyncio.gather(*self._go_back(charged, start, at))
            # As beat does every minute; without it each refund reads all that was ever booked.
            if start // _BATCH % _ROLL_UP_EVERY == 0:
                await self._ledger.roll_up()
            if start // _BATCH % max(payments // _BATCH // _PAYOUTS, 1) == 0:
                await self._pay_out(at + timedelta(seconds=2), fails=not start)

    def _go_back(self, charged: list[Charged], start: int, at: datetime) -> Iterator[Coroutine[Any, Any, None]]:
        """Refund some of the payments, and let others be disputed."""
        for place, each in enumerate(charged, start):
            if place % _REFUND_EVERY == 0:
                yield self._refund(each, at)
            elif place % _DISPUTE_EVERY == 0:
                yield self._dispute(each, at)

    async def good(self) -> Charged:
        (each,) = await self.charge(1, self.clock.time)
        await self.settle_all([each])
        return each

    async def charge(self, count: int, at: datetime) -> list[Charged]:
        """Accept payments and let Stripe charge them; nothing is settled yet."""
        self.clock.time = at
        buyer, *sellers = self._users
        requests: list[PaymentRequest] = [
            replace(
                a_direct_request(buyer.id, self.rng.choice(sellers).id),
                amount_minor=self.rng.randrange(500, 50_000),
            )
            for _ in range(count)
        ]
        charged = []
        for accepted in await self._accept.accept(requests):
            assert not isinstance(accepted, Exception), accepted
            payment = accepted.payment
            intent, charge, line = self.rows.charge(payment.id, payment.amount_minor, at)
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

    async def settle_all(self, charged: list[Charged]) -> None:
        self.clock.time = charged[0].at + timedelta(seconds=1)
        assert all(await self._settle.settle([each.outcome for each in charged]))

    async def _refund(self, each: Charged, at: datetime) -> None:
        _, told = self.rows.refund(each.charge, at)
        assert await self._refunds.adopt(each.payment_id, told)

    async def _dispute(self, each: Charged, at: datetime) -> None:
        _, told = self.rows.dispute(each.charge, at)
        assert await self._disputes.settle(each.payment_id, told)

    async def _pay_out(self, at: datetime, *, fails: bool) -> None:
        """Transfer to some sellers what they have, then pay out what is left to the platform's bank."""
        self.clock.time = at
        for seller in self.rng.sample(self._users[1:], _SELLERS_AT_ONCE):
            draft = a_payout(seller.id, amount_minor=0, created_at=at, updated_at=at)
            async with self.begin() as tx:
                await tx.payouts.claim_seller(seller.id)
                payout = await tx.payouts.draft(draft, Release(at, at), least_minor=1, publish_at=at)
                await tx.commit()
            if payout is not None:
                self.rows.transfer(payout, at)
                assert await self._transfers.settle(payout.id, transferred(payout))
        lines, self.rows.unpaid = self.rows.unpaid, []
        made = self.rows.payout(lines, at)
        await self.told_of(made)
        if fails:
            back = self.rows.line("payout_failure", made["id"], made["amount"], 0, at, category="payout_reversal")
            await self.told_of({**made, "status": "failed", "failure_balance_transaction": back["id"]})

    async def told_of(self, payout: Obj) -> None:
        """Let the webhook of a payout come."""
        self.sides.put("payouts", payout)
        moved, returned = (
            read_transaction(self.sides.tables["balance_transactions"][payout[name]]) if payout.get(name) else None
            for name in ("balance_transaction", "failure_balance_transaction")
        )
        self._bank.will("own_payout", OwnPayout(payout["id"], moved, returned))
        assert await self._bank_payouts.follow(payout["id"])
