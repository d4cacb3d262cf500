"""The parts of the platform, put together as the workers do, on the real database and the sandbox."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
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
from domain.fulfilment.service import OrderService
from domain.identity.model import Role
from domain.ids import OrderId, PaymentId, PayoutId, UserId
from domain.payments.model import AcceptedPayment
from domain.payments.service import PaymentService
from domain.payouts.model import PayoutRequest
from domain.payouts.service import PayoutPolicy, PayoutService
from domain.refunds.model import RefundRequest
from domain.refunds.rules import RefundPolicy
from domain.refunds.service import RefundService
from domain.sellers.model import OnboardingStatus
from domain.settlement.charges import ChargeService
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.dispute_events import DisputeEvents
from domain.settlement.inbox.intent_events import IntentEvents
from domain.settlement.inbox.payout_events import PayoutEvents
from domain.settlement.inbox.refund_events import RefundEvents
from domain.settlement.inbox.stripe_events import StripeEventService
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import Outcome, SettlementPolicy, StripeEvent
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.payouts import PayoutSender, PayoutSettlement
from domain.settlement.refunds import RefundSender, RefundSettlement
from domain.settlement.reversals import ReversalSender, ReversalSettlement
from domain.settlement.service import SettlementService
from tests.balances import all_balances
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
from tests.workers.life.model import Life, Line, commission_of
from workers.stripe_balance import StripeBalance
from workers.stripe_calls import StripeCalls
from workers.stripe_egress import StripeEgress
from workers.stripe_gateway import StripeGateway
from workers.stripe_payouts import StripePayouts
from workers.stripe_refunds import StripeRefunds

# Nobody waits here: what has to be asked again is due again at once.
POLICY = SettlementPolicy(retry_base_s=0, lookup_grace_s=0)
ROUNDS = 40


class Platform:
    """Does what people ask for and what Stripe tells, until nothing is left to do."""

    def __init__(self, engine: AsyncEngine, stripe_url: str, redis_url: str) -> None:
        self.engine = engine
        self.stripe_url = stripe_url
        self.redis_url = redis_url
        self.payments: list[PaymentId] = []
        self.payouts: list[PayoutId] = []
        self.events: dict[str, StripeEvent] = {}

    async def open(self) -> None:
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
                DisputeEvents(DisputeSettlement(database.begin, clock, POLICY), owners, StripeBalance(self.calls)),
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
        self.before = await self.balances()

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

    async def accept(self, amount: int, more: int | None, card: str) -> Life:
        """Accept the payment of an order, or a direct one; nothing is charged yet."""
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
        self.payments.append(accepted.payment.id)
        return Life(accepted.payment, lines, captured=False)

    async def refund(self, life: Life, amount: int) -> tuple[str, str]:
        """Ask for a refund; return its id, or the code of what refuses it."""
        request = RefundRequest(life.payment.id, unique("refund"), "too small", amount)
        try:
            return str((await self.refunding.request(self.finance, request)).refund.id), ""
        except DomainError as refused:
            return "", refused.code

    async def fail_refund(self, refund_id: str) -> None:
        refunds = (await self.state())["refunds"]
        (refund,) = [each for each in refunds if each["metadata"]["refund_id"] == refund_id]
        answer = await self.http.post(f"/refunds/{refund['id']}", json={"status": "failed"})
        assert answer.status_code == 200, answer.text

    async def dispute(self, life: Life, status: str) -> None:
        (charge,) = [each for each in await self._charges_of(life.payment.id) if each["status"] == "succeeded"]
        answer = await self.http.post("/disputes", json={"charge": charge["id"], "status": status})
        assert answer.status_code == 200, answer.text

    async def complete(self, order_id: OrderId, lines: Sequence[Line]) -> bool:
        """Bring an order to its end, if it is paid; that moves no money."""
        try:
            for line in lines:
                seller = principal(self.sellers[line.seller])
                await self.orders.ship(seller, order_id, carrier="DHL", tracking_number="JJD1")
            await self.orders.complete(principal(self.shop.buyer), order_id)
        except Conflict:
            return False
        return True

    async def released(self, lives: Sequence[Life]) -> list[Life]:
        """The payments whose money is free: paid directly, or of an order that is at its end."""
        ids = [life.payment.order_id for life in lives if life.payment.order_id is not None]
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
            for life in lives
            if life.captured and (life.payment.order_id is None or life.payment.order_id in ended)
        ]

    async def pay_out(self, seller: UserId) -> tuple[PayoutId | None, str]:
        """Ask for a payout; return its id, or the code of what refuses it."""
        request = PayoutRequest(unique("payout"), "USD")
        try:
            accepted = await self.paying_out.request(principal(self.sellers[seller]), request)
        except DomainError as refused:
            return None, refused.code
        self.payouts.append(accepted.payout.id)
        return accepted.payout.id, ""

    async def play(self, seed: int, fault: str | None = None, match: str = "") -> None:
        """Work until nothing is left to do: first under a fault, while webhooks come doubled and in disorder."""
        if fault:
            answer = await self.http.post("/faults", json={"match": match, "effect": fault, "count": 1})
            assert answer.status_code == 201, answer.text
        for _ in range(ROUNDS):
            worked = await self.charges.process(self.payments)
            worked += await self.sender.process(await self._refund_ids())
            worked += await self.payout_sender.process(self.payouts)
            worked += await self.reversal_sender.process(await self._reversal_ids())
            news = await self._news()
            if not news and not worked:
                break
            await self.hear(news, seed)
        else:
            raise AssertionError("the work does not end")
        await self.http.delete("/faults")

    async def _refund_ids(self) -> list[Any]:
        async with self.database.begin() as tx:
            return [refund.id for each in self.payments for refund in await tx.refunds.of_payment(each)]

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

    async def hear(self, events: Sequence[StripeEvent], seed: int) -> None:
        """Receive webhooks doubled, in disorder and in batches of any size."""
        chance = random.Random(seed)
        told = [event for event in events for _ in range(chance.choice([1, 1, 2]))]
        chance.shuffle(told)
        while told:
            batch = [told.pop() for _ in range(min(len(told), chance.randint(1, 8)))]
            await self.inbox.receive(batch)
            await self.hearing.process([event.id for event in batch])

    async def close(self) -> None:
        await self.calls.close()
        await self.http.aclose()
        await self.redis.aclose()

    async def balances(self) -> Counter[str]:
        async with self.database.begin() as tx:
            balances = await all_balances(tx)
        return Counter({str(each.account): each.balance_minor for each in balances if each.currency == "USD"})

    async def _charges_of(self, payment_id: PaymentId) -> list[Any]:
        charges = (await self.state())["charges"]
        return [each for each in charges if each["metadata"]["payment_id"] == str(payment_id)]

    async def state(self) -> Any:
        return (await self.http.get("/state")).json()
