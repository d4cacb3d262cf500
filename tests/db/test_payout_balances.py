"""Two books that must always agree: a seller's balance as the database reads it, and as the fake adds it up."""

import asyncio
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import strategies as st

from db.pool import make_pool
from db.unit_of_work import Database
from domain.orders.model import Order
from domain.payments.model import Payment
from domain.payouts.model import Payout, ReversalStatus, SellerBalance
from domain.settlement.answers import Refusal
from domain.settlement.model import SettlementPolicy
from domain.settlement.reversals import ReversalSettlement
from tests.builders import Shop, a_requested_refund
from tests.captured import captured
from tests.domain.fakes import FakeClock, Memory
from tests.paid_out import (
    balance,
    complete,
    drafted,
    earned,
    refund,
    reversals_of,
    sent,
    taken_back,
)
from tests.stripe_answers import transferred

ACTIONS = st.lists(
    st.sampled_from(
        ["earn", "order", "complete", "refund", "refund all", "draft", "send", "refuse", "take back", "keep"]
    ),
    min_size=4,
    max_size=14,
)


class Books:
    """A seller's money in one database, moved step by step."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.payments: list[Payment] = []
        self.orders: list[Order] = []
        self.payouts: list[Payout] = []

    async def act(self, action: str) -> SellerBalance:
        """Do a step, if there is something to do it with, and return the balance afterwards."""
        step: Callable[[], Any] = getattr(self, f"_{action.replace(' ', '_')}")
        await step()
        return await balance(self.shop)

    async def _earn(self) -> None:
        self.payments.append(await earned(self.shop))

    async def _order(self) -> None:
        order = await self.shop.order()
        self.orders.append(order)
        self.payments.append(await captured(self.shop, order, fee_minor=88))

    async def _complete(self) -> None:
        if self.orders:
            await complete(self.shop, self.orders.pop())

    async def _refund(self) -> None:
        if self.payments:
            await refund(self.shop, a_requested_refund(self.payments[0], self.shop, 400))
            self.payments.append(self.payments.pop(0))

    async def _refund_all(self) -> None:
        if self.payments:
            payment = self.payments.pop()
            async with self.shop.begin() as tx:
                left = payment.captured_minor - (await tx.payments.lock(payment.id)).refunded_minor
            if payment.order_id is None and left:
                await refund(self.shop, a_requested_refund(payment, self.shop, left))

    async def _draft(self) -> None:
        if (payout := await drafted(self.shop)) is not None:
            self.payouts.append(payout)

    async def _send(self) -> None:
        if self.payouts:
            await sent(self.shop, self.payouts[-1], transferred(self.payouts[-1]))

    async def _refuse(self) -> None:
        if self.payouts:
            await sent(self.shop, self.payouts[-1], Refusal("balance_insufficient"))

    async def _take_back(self) -> None:
        for payout in self.payouts:
            for reversal in await reversals_of(self.shop, payout):
                if reversal.status is ReversalStatus.PENDING:
                    await taken_back(self.shop, reversal)

    async def _keep(self) -> None:
        settlement = ReversalSettlement(self.shop.begin, FakeClock(), SettlementPolicy())
        for payout in self.payouts:
            for reversal in await reversals_of(self.shop, payout):
                await settlement.settle(reversal.id, Refusal("balance_insufficient"))


def test_balance_is_what_the_entries_say_and_adds_up_to_the_ledger(database_url: str) -> None:
    """The database reads what is pending as the rest, the fake adds it up: after every step both are the same."""
    with asyncio.Runner() as runner:
        pool = make_pool(database_url, pool_size=2, statement_timeout_s=10)
        database = Database(pool)

        async def compare(actions: list[str]) -> None:
            real, fake = [Books(await Shop(begin).open()) for begin in (database.begin, Memory().begin)]
            for action in actions:
                assert await real.act(action) == await fake.act(action), action

        @hypothesis.given(ACTIONS)
        @hypothesis.settings(max_examples=25, deadline=None)
        def prove(actions: list[str]) -> None:
            runner.run(compare(actions))

        prove()
        runner.run(pool.close())
