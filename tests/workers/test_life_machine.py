"""Random lives of payments on the real database and the sandbox, over HTTP, through Stripe's own SDK.

Payments are charged, refunded in parts, disputed, shipped, completed and paid out, while Stripe fails and its
webhooks come doubled, in any order, and again long after. Whatever is done, once it is worked off every account is
as a plain model says, and what the books say that Stripe holds is to the cent what Stripe says.

`MARKETFLOW_LIVES` plays more lives than the few of every run, each time others.
"""

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.ids import PaymentId
from domain.payments.model import PaymentStatus
from domain.refunds.model import RefundStatus
from domain.settlement.model import StripeEvent
from ops.stack import Stack
from tests.builders import unique
from tests.engines import make_sql_engine
from tests.workers.life.model import Books, Life
from tests.workers.life.platform import Platform

Answer = TypeVar("Answer")

LIVES = int(os.environ.get("MARKETFLOW_LIVES", "0"))
MAX_LIVES = 5

PLAYED = (
    *("dispute won", "dispute lost", "dispute warning_closed", "refund fails", "complete", "repeated events"),
    *("payout", "payout taken back"),
)

_MORE_RUNS = 3

AMOUNTS = st.integers(50, 20_000)
FAULTS = st.sampled_from([None, None, "drop_before", "drop_after", "error_500", "error_500_after"])
CHOICES = st.integers(0, 59)
SEEDS = st.integers(0, 2**16)


class LifeMachine(RuleBasedStateMachine):
    """Does whatever can be done to payments, and keeps plain books of it."""

    runner: asyncio.Runner
    engine: AsyncEngine
    stripe_url: str
    redis_url: str
    played: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.books = Books(self.played)
        self.known: list[Life] = []

    def run_async(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        """One payment of two sellers is there from the start."""
        platform = Platform(self.engine, self.stripe_url, self.redis_url)
        self.run_async(platform.open())
        self.platform = platform
        self.charge(1999, 501, None, 0, is_good=True)

    # What people and Stripe do.

    @precondition(lambda self: len(self.known) < MAX_LIVES)
    @rule(
        amount=AMOUNTS,
        more=st.none() | AMOUNTS,
        fault=FAULTS,
        is_good=st.sampled_from([True, True, True, False]),
        seed=SEEDS,
    )
    def charge(self, amount: int, more: int | None, fault: str | None, seed: int, *, is_good: bool) -> None:
        """Pay an order of two sellers, or of one, or a seller directly; one card in four is declined."""
        self.played[f"charge {fault}"] += 1
        life = self.run_async(
            self.platform.accept(amount, more, "pm_card_bypassPending" if is_good else "pm_card_chargeDeclined")
        )
        life.captured = is_good and fault != "error_500"
        self.known.append(life)
        self.run_async(self.platform.play(seed, fault, "POST /v1/payment_intents"))
        if life.captured:
            self.books.charge(life)
        else:
            life.lines = []

    @rule(which=CHOICES, what=CHOICES, part=st.floats(0, 1), fault=FAULTS, seed=SEEDS)
    def go_on(self, which: int, what: int, part: float, fault: str | None, seed: int) -> None:
        """Let a payment live on in one of the ways that it has, or try what it has not."""
        alive = [life for life in self.known if life.captured]
        life = alive[which % len(alive)]
        ways = self._ways(life)
        match ways[what % len(ways)]:
            case "refund":
                self._ask_for_refund(life, part, fault, seed)
            case "refund fails":
                self._send_a_refund_back(life, seed)
            case "dispute":
                self._go_on_with_dispute(life, seed, part)
            case "complete":
                assert life.payment.order_id is not None
                self.played["complete"] += self.run_async(
                    self.platform.complete(life.payment.order_id, life.lines)
                )
                life.is_complete = True
            case _:
                self._repeat(seed)

    @staticmethod
    def _ways(life: Life) -> list[str]:
        """How a captured payment can go on; a refund can be asked for in vain."""
        ways = ["refund", "repeat"]
        if life.dispute in {"inquiry", "open"} or (life.left and not life.dispute):
            ways.append("dispute")
        if life.refunds and not life.dispute:
            ways.append("refund fails")
        if life.payment.order_id is not None and not life.is_complete:
            ways.append("complete")
        return ways

    def _ask_for_refund(self, life: Life, part: float, fault: str | None, seed: int) -> None:
        """Refund a part of what is left, or all of it."""
        amount = max(1, round(part * life.left))
        refund_id, refusal = self.run_async(self.platform.refund(life, amount))
        assert refusal == self._refusal(life)
        if refusal:
            return
        self.played[f"refund {fault}"] += 1
        self.run_async(self.platform.play(seed, fault, "POST /v1/refunds"))
        taken = life.take(amount)
        self.books.move(life, taken, 1)
        self.books.take_back(life, taken)
        life.refunds[refund_id] = taken
        life.refunded_since_inquiry = True

    @staticmethod
    def _refusal(life: Life) -> str:
        """Why nothing may go back."""
        if not life.captured:
            return "payment_not_refundable"
        if life.dispute in {"open", "lost"}:
            return "funds_disputed"
        return "" if life.left else "refund_exceeds_captured"

    def _send_a_refund_back(self, life: Life, seed: int) -> None:
        """Let the bank return a refund that it cannot pay out."""
        self.played["refund fails"] += 1
        refund_id = next(iter(life.refunds))
        self.run_async(self.platform.fail_refund(refund_id))
        self.run_async(self.platform.play(seed))
        self.books.move(life, life.refunds.pop(refund_id), -1)

    def _go_on_with_dispute(self, life: Life, seed: int, part: float) -> None:
        """Open a dispute, which takes the money, or an inquiry, which does not; later the bank goes on with it."""
        match life.dispute:
            case "":
                status = "needs_response" if part < 2 / 3 else "warning_needs_response"
            case "inquiry":
                # What an inquiry was about may be refunded by now; then it does not become a dispute.
                is_over = part < 1 / 2 or life.refunded_since_inquiry or not life.left
                status = "warning_closed" if is_over else "needs_response"
            case "open":
                status = "won" if part < 1 / 2 else "lost"
            case over:
                raise AssertionError(over)
        self.played[f"dispute {status}"] += 1
        self.run_async(self.platform.dispute(life, status))
        self.run_async(self.platform.play(seed))
        self.books.dispute(life, status)

    @rule(which=st.integers(0, 1), fault=FAULTS, seed=SEEDS)
    def pay_out(self, which: int, fault: str | None, seed: int) -> None:
        """Transfer to a seller all that is available to it; with nothing available, be refused."""
        seller = list(self.platform.sellers)[which]
        released = self.run_async(self.platform.released(self.known))
        amount = sum(life.open[seller] for life in released) + self.books.came_back[seller]
        if self.books.accounts["stripe_balance"] < amount:
            return  # what the platform lost in disputes is missing there
        payout_id, refusal = self.run_async(self.platform.pay_out(seller))
        assert refusal == ("" if amount > 0 else "nothing_to_pay_out")
        if payout_id is None:
            return
        self.run_async(self.platform.play(seed, fault, "POST /v1/transfers"))
        self.played[f"payout {fault}"] += 1
        # A transfer of which nobody knows is never sent again: where it was not made, its payout fails.
        if fault not in {"drop_before", "error_500"}:
            self.played["payout"] += 1
            self.books.payout(seller, amount, released)

    def _repeat(self, seed: int) -> None:
        """Of what was told, something comes again, under other ids, in another order, long after."""
        known = list(self.platform.events.values())
        again = random.Random(seed).sample(known, min(len(known), 10))
        repeated = [StripeEvent(unique("evt"), event.type, event.body, event.received_at) for event in again]
        self.played["repeated events"] += len(repeated)
        self.run_async(self.platform.hear(repeated, seed))
        self.run_async(self.platform.play(seed))

    # What must hold.

    @invariant()
    def every_account_is_as_the_model(self) -> None:
        if not self.known:
            return
        booked, at_stripe, unbalanced = self.run_async(self._read())
        assert {name: minor for name, minor in booked.items() if minor} == {
            name: minor for name, minor in self.books.accounts.items() if minor
        }
        assert booked["stripe_balance"] == at_stripe
        assert unbalanced == 0

    async def _read(self) -> tuple[Counter[str], int, int]:
        booked = await self.platform.balances()
        booked.subtract(self.platform.before)
        state = await self.platform.state()
        at_stripe = sum(each["net"] for each in state["balance_transactions"])
        self._check_charges(state)
        ids = [life.payment.id for life in self.known]
        async with self.engine.connect() as connection:
            unbalanced = await connection.execute(
                text(
                    """
                    SELECT count(*) FROM (
                        SELECT FROM journals j JOIN entries e ON e.journal_id = j.id WHERE j.payment_id = ANY(:ids)
                        GROUP BY j.id, e.currency HAVING sum(e.amount_minor) <> 0
                    ) AS bad
                    """
                ),
                {"ids": ids},
            )
            return booked, at_stripe, unbalanced.scalar_one()

    def _check_charges(self, state: Any) -> None:
        """No payment is charged twice, and none goes back above what was captured."""
        charges, refunds = defaultdict(list), defaultdict(list)
        for each in state["charges"]:
            if each["status"] == "succeeded":
                charges[each["metadata"]["payment_id"]].append(each)
        for each in state["refunds"]:
            if each["status"] != "failed":
                refunds[each["charge"]].append(each["amount"])
        for life in self.known:
            made = charges[str(life.payment.id)]
            assert len(made) == life.captured, made
            for charge in made:
                assert charge["amount_captured"] == life.payment.amount_minor
                back = sum(refunds[charge["id"]])
                assert back <= charge["amount_captured"]
                assert back == sum(own + part for taken in life.refunds.values() for _, own, part in taken)

    def teardown(self) -> None:
        if not hasattr(self, "platform"):
            return
        statuses = self.run_async(self._statuses())
        for life in self.known:
            expected = PaymentStatus.SUCCEEDED if life.captured else PaymentStatus.FAILED
            assert statuses[life.payment.id] is expected
        self.run_async(self.platform.close())

    async def _statuses(self) -> dict[PaymentId, PaymentStatus]:
        async with self.platform.database.begin() as tx:
            found = await tx.payment_work.by_ids([life.payment.id for life in self.known])
            for life in self.known:
                refunds = await tx.refunds.of_payment(life.payment.id)
                kept = [str(refund.id) for refund in refunds if refund.status is RefundStatus.SUCCEEDED]
                assert sorted(kept) == sorted(life.refunds)
        return {payment_id: payment.status for payment_id, payment in found.items()}


def test_whatever_happens_in_the_lives_of_payments_the_books_are_as_at_stripe(
    database_url: str, servers: Stack
) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        engine = make_sql_engine(database_url, pool_size=8, statement_timeout_s=30)

        class Machine(LifeMachine):
            pass

        Machine.runner, Machine.engine = runner, engine
        Machine.stripe_url, Machine.redis_url = servers.info.stripe, servers.info.redis_url
        settings = hypothesis.settings(
            max_examples=LIVES or 14, stateful_step_count=30 if LIVES else 25, derandomize=not LIVES
        )
        try:
            run_state_machine_as_test(Machine, settings=settings)  # type: ignore[no-untyped-call]  # it has no types
            # What is played first is nearly the same each time, and may leave something out.
            for seed in range(_MORE_RUNS):
                if never_played():
                    others = hypothesis.settings(settings, derandomize=False, database=None)
                    run_state_machine_as_test(hypothesis.seed(seed)(Machine), settings=others)  # type: ignore[no-untyped-call]  # the same
        finally:
            runner.run(engine.dispose())
    assert never_played() == [], "nothing holds that was never tried"


def never_played() -> list[str]:
    return [step for step in PLAYED if not LifeMachine.played[step]]
