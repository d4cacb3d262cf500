"""Breaks of every kind, planted on either side of a world that is right."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from domain.ledger.model import PROCESSING_FEES, STRIPE_BALANCE, JournalKind
from domain.reconciliation.model import BreakKind, ExceptionStatus
from domain.settlement.answers import Intent
from tests.builders import a_journal
from tests.reconciliation.world import GRACE_S, World


class Breaks:
    """Plants breaks in a world, and notes which."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def plant(self, each: int) -> None:
        """Plant so many breaks of each way."""
        world = self._world
        for _ in range(each):
            for plant in self._plants():
                world.clock.time = world.now - timedelta(seconds=world.rng.randrange(2 * GRACE_S, 10 * GRACE_S))
                await plant()

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

    async def _lose_webhook_of_charge(self) -> None:
        (each,) = await self._world.charge(1, self._world.clock.time)
        self._plant(each.transaction["id"], BreakKind.MISSING_IN_LEDGER, healed=True)

    async def _refund_in_dashboard(self) -> None:
        each = await self._world.good()
        refund, _ = self._world.rows.refund(each.charge, self._world.clock.time)
        self._plant(refund["balance_transaction"], BreakKind.MISSING_IN_LEDGER, healed=True)

    async def _lose_webhook_of_dispute(self) -> None:
        each = await self._world.good()
        dispute, _ = self._world.rows.dispute(each.charge, self._world.clock.time)
        self._plant(dispute["balance_transactions"][0]["id"], BreakKind.MISSING_IN_LEDGER, healed=True)

    async def _lose_fee(self) -> None:
        (each,) = await self._world.charge(1, self._world.clock.time)
        answer = each.outcome.answer
        assert isinstance(answer, Intent)
        await self._world.settle_all(
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
        each = await self._world.good()
        second = self._world.rows.put_transaction({**each.transaction, "id": self._world.rows.new_id("txn")})
        self._plant(second["id"], BreakKind.DUPLICATE)

    async def _foreign_charge(self) -> None:
        intent, charge, line = self._world.rows.charge(None, 4200, self._world.clock.time)
        assert intent["id"] == charge["payment_intent"]
        self._plant(line["id"], BreakKind.UNKNOWN_SOURCE)

    async def _top_up(self) -> None:
        line = self._world.rows.line("topup", None, 100_000, 0, self._world.clock.time)
        self._plant(line["id"], BreakKind.UNKNOWN_SOURCE)

    async def _delete_line(self) -> None:
        each = await self._world.good()
        del self._world.sides.tables["balance_transactions"][each.transaction["id"]]
        async with self._world.begin() as tx:
            journal = await tx.ledger.by_source(JournalKind.CHARGE, each.charge["id"])
        assert journal is not None
        self._plant(str(journal.id), BreakKind.MISSING_AT_STRIPE)

    async def _post_what_stripe_has_not(self) -> None:
        await self._post_alone(BreakKind.MISSING_AT_STRIPE)

    async def _journal_under_way(self) -> None:
        self._world.clock.time = self._world.now - timedelta(minutes=10)
        await self._post_alone(BreakKind.LATE)

    async def _post_alone(self, kind: BreakKind) -> None:
        journal = a_journal((STRIPE_BALANCE, 500), (PROCESSING_FEES, -500), created_at=self._world.clock.time)
        async with self._world.begin() as tx:
            await tx.ledger.post([journal])
            await tx.commit()
        self._plant(str(journal.id), kind)

    async def _lose_webhook_of_payout(self) -> None:
        each = await self._world.good()
        payout = self._world.rows.payout([each.transaction], self._world.clock.time)
        self._plant(payout["balance_transaction"], BreakKind.MISSING_IN_LEDGER, healed=True)

    async def _lose_line_in_payout(self) -> None:
        lines = [(await self._world.good()).transaction for _ in range(2)]
        payout = self._world.rows.payout(lines, self._world.clock.time)
        await self._world.told_of(payout)
        del self._world.sides.paid_out[lines[0]["id"]]
        self._plant(payout["balance_transaction"], BreakKind.AMOUNT_MISMATCH)

    async def _alter(self, kind: BreakKind, **changes: Any) -> None:
        each = await self._world.good()
        self._world.rows.put_transaction({**each.transaction, **changes})
        self._plant(each.transaction["id"], kind)

    def _plant(self, key: str, kind: BreakKind, *, healed: bool = False) -> None:
        self._world.sides.planted[key] = (kind, ExceptionStatus.HEALED if healed else ExceptionStatus.OPEN)
