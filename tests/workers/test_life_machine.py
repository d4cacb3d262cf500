"""Random lives of payments on the real database and the sandbox, over HTTP, through Stripe's own SDK.

Payments are charged, refunded in parts, disputed, shipped, completed and paid out, while Stripe fails and its
webhooks come doubled, in any order, and again long after. Whatever is done, once it is worked off every account is
as a plain model says, and what the books say that Stripe holds is to the cent what Stripe says.

`MARKETFLOW_LIVES` plays more lives than the few of every run, each time others.
"""

import asyncio
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import httpx
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
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.breaker import Breaker
from db.breaker_rules import BreakerPolicy, LocalRules, RedisRules
from db.shared_state import SharedState
from db.unit_of_work import Database
from domain.clock import SystemClock
from domain.coalescer import Coalescer
from domain.errors import Conflict, DomainError
from domain.identity.model import Role
from domain.ids import OrderId, PaymentId, PayoutId, UserId
from domain.orders.service import OrderService
from domain.payments.model import AcceptedPayment, Payment, PaymentStatus
from domain.payments.service import PaymentService
from domain.payouts.model import PayoutRequest
from domain.payouts.service import PayoutPolicy, PayoutService
from domain.refunds.model import RefundRequest, RefundStatus
from domain.refunds.rules import RefundPolicy
from domain.refunds.service import RefundService
from domain.sellers.model import OnboardingStatus
from domain.settlement.charge_owners import ChargeOwners
from domain.settlement.charges import ChargeService
from domain.settlement.dispute_events import DisputeEvents
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.intent_events import IntentEvents
from domain.settlement.model import Outcome, SettlementPolicy, StripeEvent
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.payout_events import PayoutEvents
from domain.settlement.payouts import PayoutSender, PayoutSettlement
from domain.settlement.refund_events import RefundEvents
from domain.settlement.refunds import RefundSender, RefundSettlement
from domain.settlement.reversals import ReversalSender, ReversalSettlement
from domain.settlement.service import SettlementService
from domain.settlement.stripe_events import StripeEventService
from domain.settlement.stripe_inbox import StripeInbox
from ops.stack import Stack
from tests.builders import (
    PAYMENT_POLICY,
    Shop,
    a_direct_request,
    a_product,
    a_request,
    a_seller_account,
    a_user,
    principal,
    unique,
)
from tests.domain.fakes import RecordingAnnouncer
from tests.engines import make_sql_engine
from workers.stripe_calls import StripeCalls
from workers.stripe_egress import StripeEgress
from workers.stripe_gateway import StripeGateway
from workers.stripe_payouts import StripePayouts
from workers.stripe_refunds import StripeRefunds

Answer = TypeVar("Answer")

LIVES = int(os.environ.get("MARKETFLOW_LIVES", "0"))
COMMISSION_BPS, DISPUTE_FEE_MINOR = 250, 1500
# Nobody waits here: what has to be asked again is due again at once.
POLICY = SettlementPolicy(retry_base_s=0, lookup_grace_s=0)
ROUNDS = 40
MAX_LIVES = 5

PLAYED = (
    *("dispute won", "dispute lost", "dispute warning_closed", "refund fails", "complete", "repeated events"),
    *("payout", "payout taken back"),
)

AMOUNTS = st.integers(50, 20_000)
FAULTS = st.sampled_from([None, None, "drop_before", "drop_after", "error_500", "error_500_after"])
CHOICES = st.integers(0, 59)
SEEDS = st.integers(0, 2**16)


def shared_out(total: int, weights: Sequence[int]) -> list[int]:
    """A total in proportion to weights; what is over goes to the largest fractions, the earlier ones first."""
    exact = [(total * weight) / sum(weights) for weight in weights]
    shares = [total * weight // sum(weights) for weight in weights]
    first = sorted(range(len(weights)), key=lambda n: (-(total * weights[n] % sum(weights)), n))
    for n in first[: total - sum(shares)]:
        shares[n] += 1
    assert all(abs(share - wanted) < 1 for share, wanted in zip(shares, exact, strict=True))
    return shares


@dataclass
class Line:
    """What is left of a line: for its seller, and as commission."""

    seller: UserId
    price: int
    own: int
    commission: int

    @property
    def left(self) -> int:
        return self.own + self.commission


Taken = list[tuple[Line, int, int]]
"""What is taken of lines: for each its seller's part and the commission's."""


@dataclass
class Transfer:
    """What a payout brought to a seller and Stripe has not taken back."""

    left: int


@dataclass
class Life:
    """A payment as it must be."""

    payment: Payment
    lines: list[Line]
    captured: bool
    dispute: str = ""
    held: Taken = field(default_factory=list)
    refunds: dict[str, Taken] = field(default_factory=dict)
    refunded_since_inquiry: bool = False
    is_complete: bool = False
    open: Counter[UserId] = field(default_factory=Counter)
    """What each seller is owed of it and no payout has taken: below zero it lost more than it had."""
    paid_by: dict[UserId, Transfer] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """What can be refunded, or disputed."""
        return sum(line.left for line in self.lines)

    def take(self, amount: int) -> Taken:
        """Divide an amount over what is left of the lines, and of each over seller and commission."""
        taken: Taken = []
        for line, part in zip(self.lines, shared_out(amount, [line.left for line in self.lines]), strict=True):
            if part:
                own, commission = shared_out(part, [line.own, line.commission])
                taken.append((line, own, commission))
        return taken


def commission_of(price: int) -> int:
    """2.5 %, half to even."""
    whole, rest = divmod(price * COMMISSION_BPS, 10_000)
    return whole + (rest > 5_000 or (rest == 5_000 and whole % 2 == 1))


class LifeMachine(RuleBasedStateMachine):
    """Does whatever can be done to payments, and keeps plain books of it."""

    runner: asyncio.Runner
    engine: AsyncEngine
    stripe_url: str
    redis_url: str
    played: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.books: Counter[str] = Counter()
        self.known: list[Life] = []
        self.events: dict[str, StripeEvent] = {}
        self.came_back: Counter[UserId] = Counter()
        self.payouts: list[PayoutId] = []

    def run_async(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        """One payment of two sellers is there from the start."""
        self.run_async(self._open())
        self.charge(1999, 501, None, 0, is_good=True)

    async def _open(self) -> None:
        """Put the parts together as the workers do, on an empty Stripe."""
        database, clock, announcer = Database(self.engine), SystemClock(), RecordingAnnouncer()
        self.database = database
        self.http = httpx.AsyncClient(base_url=f"{self.stripe_url}/_sandbox", trust_env=False)
        await self.http.delete("/state")
        await self.http.delete("/faults")
        self.redis = Redis.from_url(self.redis_url)
        # The faults are many: a breaker that opens is tested elsewhere.
        breaker, state = BreakerPolicy(failures=1_000_000), SharedState(on_failure=lambda: None)
        rules = Breaker(RedisRules(self.redis, breaker), LocalRules(breaker), state)
        egress = StripeEgress(rules, None, longest_wait_s=1.0, on_wait=lambda _: None)
        self.calls = StripeCalls(egress, api_key="sk_test_of_lives", api_base=self.stripe_url, timeout_s=30.0)
        gateway, refunds_at_stripe = StripeGateway(self.calls), StripeRefunds(self.calls)
        settlement = SettlementService(database.begin, announcer, clock, POLICY)
        settle: Coalescer[Outcome, bool] = Coalescer(settlement.settle, max_batch=64)
        refunds = RefundSettlement(database.begin, clock, POLICY)
        owners = ChargeOwners(database.begin, gateway, settle)
        self.accepting = PaymentService(database.begin, announcer, clock, PAYMENT_POLICY)
        self.paying_out = PayoutService(database.begin, announcer, clock, PayoutPolicy(0, 30))
        stripe_payouts, payouts = StripePayouts(self.calls), PayoutSettlement(database.begin, clock, POLICY)
        reversals = ReversalSettlement(database.begin, clock, POLICY)
        self.payout_sender = PayoutSender(database.begin, stripe_payouts, payouts, clock, POLICY)
        self.reversal_sender = ReversalSender(database.begin, stripe_payouts, reversals, clock, POLICY)
        self.refunding = RefundService(database.begin, announcer, clock, RefundPolicy(1e9, 30))
        self.orders = OrderService(database.begin, clock)
        self.charges = ChargeService(database.each, gateway, settle, clock, POLICY)
        self.sender = RefundSender(database.begin, refunds_at_stripe, refunds, clock, POLICY)
        self.inbox = StripeInbox(database.each, announcer, clock, republish_after_s=30)
        self.hearing = StripeEventService(
            database.each,
            [
                IntentEvents(database.each, gateway, settle),
                RefundEvents(database.begin, refunds_at_stripe, refunds, owners),
                DisputeEvents(DisputeSettlement(database.begin, clock, POLICY), owners),
                PayoutEvents(
                    database.begin,
                    stripe_payouts,
                    payouts,
                    reversals,
                    OwnPayouts(database.begin, stripe_payouts, clock),
                ),
            ],
            clock,
            POLICY,
        )
        self.shop = await Shop(database.begin).open()
        self.sellers = {seller.id: seller for seller in (self.shop.seller, self.shop.other_seller)}
        for seller_id in self.sellers:
            await self._open_account(seller_id)
        finance = a_user(Role.FINANCE)
        async with database.begin() as tx:
            await tx.users.add(finance)
            await tx.commit()
        self.finance = principal(finance)
        self.before = await self._balances()

    async def _open_account(self, seller_id: UserId) -> None:
        """Give a seller an account that transfers reach."""
        raw: Any = await self.calls.call("post", "/v1/accounts", {"type": "express"})
        answer = await self.http.post(f"/accounts/{raw['id']}", json={"payouts_enabled": True})
        assert answer.status_code == 200, answer.text
        account = a_seller_account(seller_id)
        able = replace(
            account, status=OnboardingStatus.COMPLETE, stripe_account_id=raw["id"], payouts_enabled=True
        )
        async with self.database.begin() as tx:
            await tx.seller_accounts.add(account, publish_at=account.created_at)
            await tx.seller_accounts.save(able, due_at=None)
            await tx.commit()

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
            self._accept(amount, more, "pm_card_bypassPending" if is_good else "pm_card_chargeDeclined")
        )
        life.captured = is_good and fault != "error_500"
        self.known.append(life)
        self.run_async(self._play(seed, fault, "POST /v1/payment_intents"))
        if life.captured:
            self._book_charge(life)
        else:
            life.lines = []

    async def _accept(self, amount: int, more: int | None, card: str) -> Life:
        prices = [(self.shop.seller.id, amount), *([(self.shop.other_seller.id, more)] if more else [])]
        if more is None and amount % 2:
            request = a_direct_request(self.shop.buyer.id, self.shop.seller.id, amount_minor=amount)
        else:
            products = [a_product(seller, price_minor=price) for seller, price in prices]
            async with self.database.begin() as tx:
                for product in products:
                    await tx.products.add(product)
                await tx.commit()
            request = a_request(await self.shop.order(*products))
        request = replace(request, payment_method=card)
        (accepted,) = await self.accepting.accept([request])
        assert isinstance(accepted, AcceptedPayment), accepted
        lines = [
            Line(seller, price, price - commission_of(price), commission_of(price)) for seller, price in prices
        ]
        return Life(accepted.payment, lines, captured=False)

    def _book_charge(self, life: Life) -> None:
        amount = life.payment.amount_minor
        self.books["stripe_balance"] += amount
        for line in life.lines:
            self._owe(life, line.seller, line.own)
            self.books["commission_revenue"] -= line.commission
        self._book_fee(life, (amount * 29 + 500) // 1000 + 30)

    def _book_fee(self, life: Life, fee: int) -> None:
        self.books["stripe_balance"] -= fee
        parts = shared_out(fee, [line.price for line in life.lines])
        for line, part in zip(life.lines, parts, strict=True):
            self._owe(life, line.seller, -part)

    def _owe(self, life: Life, seller: UserId, minor: int) -> None:
        """Owe a seller so much more of a payment, or less."""
        self.books[f"seller_payable:{seller}"] -= minor
        life.open[seller] += minor

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
                self.played["complete"] += self.run_async(self._complete(life.payment.order_id, life.lines))
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
        refund_id, refusal = self.run_async(self._refund(life, amount))
        assert refusal == self._refusal(life)
        if refusal:
            return
        self.played[f"refund {fault}"] += 1
        self.run_async(self._play(seed, fault, "POST /v1/refunds"))
        taken = life.take(amount)
        self._move(life, taken, 1)
        self._take_back(life, taken)
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

    async def _refund(self, life: Life, amount: int) -> tuple[str, str]:
        """Ask for a refund; return its id, or the code of what refuses it."""
        request = RefundRequest(life.payment.id, unique("refund"), "too small", amount)
        try:
            return str((await self.refunding.request(self.finance, request)).refund.id), ""
        except DomainError as refused:
            return "", refused.code

    def _move(self, life: Life, taken: Taken, sign: int) -> None:
        """Book that money went back to the payer, at the cost of who had it; or, below 0, that it came back."""
        for line, own, commission in taken:
            line.own -= sign * own
            line.commission -= sign * commission
            self._owe(life, line.seller, -sign * own)
            self.books["commission_revenue"] += sign * commission
            self.books["stripe_balance"] -= sign * (own + commission)

    def _send_a_refund_back(self, life: Life, seed: int) -> None:
        """Let the bank return a refund that it cannot pay out."""
        self.played["refund fails"] += 1
        refund_id = next(iter(life.refunds))
        self.run_async(self._fail_refund(refund_id))
        self.run_async(self._play(seed))
        self._move(life, life.refunds.pop(refund_id), -1)

    async def _fail_refund(self, refund_id: str) -> None:
        refunds = (await self._state())["refunds"]
        (refund,) = [each for each in refunds if each["metadata"]["refund_id"] == refund_id]
        answer = await self.http.post(f"/refunds/{refund['id']}", json={"status": "failed"})
        assert answer.status_code == 200, answer.text

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
        self.run_async(self._dispute(life, status))
        self.run_async(self._play(seed))
        self._book_dispute(life, status)

    def _book_dispute(self, life: Life, status: str) -> None:
        match status:
            case "needs_response":
                life.held = life.take(life.left)
                self._hold(life, 1)
                self._take_back(life, life.held)
                self._book_fee(life, DISPUTE_FEE_MINOR)
            case "won":
                self._hold(life, -1)
            case "lost":
                self._lose(life)
        names = {"needs_response": "open", "warning_needs_response": "inquiry"}
        life.dispute, life.refunded_since_inquiry = names.get(status, status), False

    def _hold(self, life: Life, sign: int) -> None:
        """Book that Stripe took disputed money, or gave it back; the commission stays until it is lost."""
        for line, own, commission in life.held:
            self._owe(life, line.seller, -sign * own)
            self.books[f"seller_disputed:{line.seller}"] -= sign * own
            self.books["disputed_funds"] += sign * (own + commission)
            self.books["stripe_balance"] -= sign * (own + commission)

    def _lose(self, life: Life) -> None:
        for line, own, commission in life.held:
            self.books[f"seller_disputed:{line.seller}"] += own
            self.books["commission_revenue"] += commission
            self.books["disputed_funds"] -= own + commission

    async def _dispute(self, life: Life, status: str) -> None:
        (charge,) = [each for each in await self._charges(life.payment.id) if each["status"] == "succeeded"]
        answer = await self.http.post("/disputes", json={"charge": charge["id"], "status": status})
        assert answer.status_code == 200, answer.text

    async def _complete(self, order_id: OrderId, lines: Sequence[Line]) -> bool:
        """Bring an order to its end, if it is paid; that moves no money."""
        try:
            for line in lines:
                seller = principal(self.sellers[line.seller])
                await self.orders.ship(seller, order_id, carrier="DHL", tracking_number="JJD1")
            await self.orders.complete(principal(self.shop.buyer), order_id)
        except Conflict:
            return False
        return True

    @rule(which=st.integers(0, 1), fault=FAULTS, seed=SEEDS)
    def pay_out(self, which: int, fault: str | None, seed: int) -> None:
        """Transfer to a seller all that is available to it; with nothing available, be refused."""
        seller = list(self.sellers)[which]
        released = self.run_async(self._released())
        amount = sum(life.open[seller] for life in released) + self.came_back[seller]
        if self.books["stripe_balance"] < amount:
            return  # what the platform lost in disputes is missing there
        payout_id, refusal = self.run_async(self._pay_out(seller))
        assert refusal == ("" if amount > 0 else "nothing_to_pay_out")
        if payout_id is None:
            return
        self.payouts.append(payout_id)
        self.run_async(self._play(seed, fault, "POST /v1/transfers"))
        self.played[f"payout {fault}"] += 1
        # A transfer of which nobody knows is never sent again: where it was not made, its payout fails.
        if fault not in {"drop_before", "error_500"}:
            self.played["payout"] += 1
            self._book_payout(seller, amount, released)

    def _book_payout(self, seller: UserId, amount: int, released: Sequence[Life]) -> None:
        self.books[f"seller_payable:{seller}"] += amount
        self.books["stripe_balance"] -= amount
        transfer = Transfer(amount)
        for life in released:
            if any(line.seller == seller for line in life.lines):
                life.paid_by.setdefault(seller, transfer)
                life.open[seller] = 0
        self.came_back[seller] = 0

    async def _released(self) -> list[Life]:
        """The payments whose money is free: paid directly, or of an order that is at its end."""
        ids = [life.payment.order_id for life in self.known if life.payment.order_id is not None]
        async with self.engine.connect() as connection:
            rows = await connection.execute(
                text(
                    "SELECT id FROM orders WHERE id = ANY(:ids) AND (status IN ('completed', 'refunded')"
                    " OR (status = 'disputed' AND resumes_as = 'completed'))"
                ),
                {"ids": ids},
            )
            ended = set(rows.scalars())
        return [
            life
            for life in self.known
            if life.captured and (life.payment.order_id is None or life.payment.order_id in ended)
        ]

    async def _pay_out(self, seller: UserId) -> tuple[PayoutId | None, str]:
        """Ask for a payout; return its id, or the code of what refuses it."""
        request = PayoutRequest(unique("payout"), "USD")
        try:
            accepted = await self.paying_out.request(principal(self.sellers[seller]), request)
        except DomainError as refused:
            return None, refused.code
        return accepted.payout.id, ""

    def _take_back(self, life: Life, taken: Taken) -> None:
        """Book that what sellers lose of a payment that was paid out is taken back of its transfer, if it can."""
        lost: Counter[UserId] = Counter()
        for line, own, _ in taken:
            lost[line.seller] += own
        for seller, minor in lost.items():
            if (transfer := life.paid_by.get(seller)) is None:
                continue
            back = min(minor, transfer.left)
            transfer.left -= back
            self.books["stripe_balance"] += back
            self.books[f"seller_payable:{seller}"] -= back
            self.came_back[seller] += back
            self.played["payout taken back"] += bool(back)

    def _repeat(self, seed: int) -> None:
        """Of what was told, something comes again, under other ids, in another order, long after."""
        known = list(self.events.values())
        again = random.Random(seed).sample(known, min(len(known), 10))
        repeated = [StripeEvent(unique("evt"), event.type, event.body, event.received_at) for event in again]
        self.played["repeated events"] += len(repeated)
        self.run_async(self._hear(repeated, seed))
        self.run_async(self._play(seed))

    # The workers.

    async def _play(self, seed: int, fault: str | None = None, match: str = "") -> None:
        """Work until nothing is left to do: first under a fault, while webhooks come doubled and in disorder."""
        if fault:
            answer = await self.http.post("/faults", json={"match": match, "effect": fault, "count": 1})
            assert answer.status_code == 201, answer.text
        for _ in range(ROUNDS):
            worked = await self.charges.process([life.payment.id for life in self.known])
            worked += await self.sender.process(await self._refund_ids())
            worked += await self.payout_sender.process(self.payouts)
            worked += await self.reversal_sender.process(await self._reversal_ids())
            news = await self._news()
            if not news and not worked:
                break
            await self._hear(news, seed)
        else:
            raise AssertionError("the work does not end")
        await self.http.delete("/faults")

    async def _refund_ids(self) -> list[Any]:
        async with self.database.begin() as tx:
            return [refund.id for life in self.known for refund in await tx.refunds.of_payment(life.payment.id)]

    async def _reversal_ids(self) -> list[Any]:
        async with self.database.begin() as tx:
            return [each.id for payout_id in self.payouts for each in await tx.reversal_work.of_payout(payout_id)]

    async def _news(self) -> list[StripeEvent]:
        """What Stripe has told since, by its own list."""
        news: list[StripeEvent] = []
        params: dict[str, Any] = {"limit": 100}
        while True:
            page: Any = await self.calls.call("get", "/v1/events", params)
            for raw in page["data"]:
                if raw["id"] in self.events:
                    return news
                event = StripeEvent(raw["id"], raw["type"], json.dumps(raw), SystemClock().now())
                self.events[event.id] = event
                news.append(event)
            if not page["has_more"]:
                return news
            params["starting_after"] = page["data"][-1]["id"]

    async def _hear(self, events: Sequence[StripeEvent], seed: int) -> None:
        """Receive webhooks doubled, in disorder and in batches of any size."""
        chance = random.Random(seed)
        told = [event for event in events for _ in range(chance.choice([1, 1, 2]))]
        chance.shuffle(told)
        while told:
            batch = [told.pop() for _ in range(min(len(told), chance.randint(1, 8)))]
            await self.inbox.receive(batch)
            await self.hearing.process([event.id for event in batch])

    # What must hold.

    @invariant()
    def every_account_is_as_the_model(self) -> None:
        if not self.known:
            return
        booked, at_stripe, unbalanced = self.run_async(self._read())
        assert {name: minor for name, minor in booked.items() if minor} == {
            name: minor for name, minor in self.books.items() if minor
        }
        assert booked["stripe_balance"] == at_stripe
        assert unbalanced == 0

    async def _read(self) -> tuple[Counter[str], int, int]:
        booked = await self._balances()
        booked.subtract(self.before)
        state = await self._state()
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
        if not hasattr(self, "before"):
            return
        statuses = self.run_async(self._statuses())
        for life in self.known:
            expected = PaymentStatus.SUCCEEDED if life.captured else PaymentStatus.FAILED
            assert statuses[life.payment.id] is expected
        self.run_async(self._close())

    async def _statuses(self) -> dict[PaymentId, PaymentStatus]:
        async with self.database.begin() as tx:
            found = await tx.payment_work.by_ids([life.payment.id for life in self.known])
            for life in self.known:
                refunds = await tx.refunds.of_payment(life.payment.id)
                kept = [str(refund.id) for refund in refunds if refund.status is RefundStatus.SUCCEEDED]
                assert sorted(kept) == sorted(life.refunds)
        return {payment_id: payment.status for payment_id, payment in found.items()}

    async def _close(self) -> None:
        await self.calls.close()
        await self.http.aclose()
        await self.redis.aclose()

    async def _balances(self) -> Counter[str]:
        async with self.database.begin() as tx:
            balances = await tx.ledger.balances()
        return Counter({str(each.account): each.balance_minor for each in balances if each.currency == "USD"})

    async def _charges(self, payment_id: PaymentId) -> list[Any]:
        charges = (await self._state())["charges"]
        return [each for each in charges if each["metadata"]["payment_id"] == str(payment_id)]

    async def _state(self) -> Any:
        return (await self.http.get("/state")).json()


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
        finally:
            runner.run(engine.dispose())
    # Nothing holds that was never tried.
    assert all(LifeMachine.played[step] for step in PLAYED), LifeMachine.played
