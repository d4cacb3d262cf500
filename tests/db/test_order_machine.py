"""The order's state machine and the stock on the real database, under whatever people, Stripe and time do."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from db.pool import make_pool
from db.unit_of_work import Database
from domain.cart.service import CartService
from domain.catalog.model import Product
from domain.errors import Conflict, DomainError, IllegalTransition
from domain.events import Event
from domain.fulfilment.deadlines import PAYMENT_LOOK, OrderDeadlines
from domain.fulfilment.service import OrderService
from domain.identity.model import User
from domain.ids import ProductId, UserId
from domain.orders.checkout import Checkout
from domain.orders.draft import OrderItem
from domain.orders.model import ORDER_TRANSITIONS, Order, OrderStatus, OutOfStock
from domain.payments.model import AcceptedPayment, Payment
from domain.payments.service import PaymentService
from domain.settlement.answers import Intent, IntentStatus
from domain.settlement.model import Outcome, SettlementPolicy
from domain.settlement.service import SettlementService
from tests.builders import ORDER_POLICY, PAYMENT_POLICY, Shop, a_product, a_request, principal, unique
from tests.domain.fakes import FakeCarts, FakeClock, RecordingAnnouncer
from tests.stripe_answers import an_intent, succeeded

Answer = TypeVar("Answer")

STOCK = 12
COMPLETES_AFTER_S = 1000.0
HOLDS_NOTHING = {OrderStatus.CANCELLED, OrderStatus.EXPIRED}
QUANTITIES = st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any)

NEWS = st.sampled_from([None, "captured", "declined", "requires_action"])


@dataclass
class PaymentModel:
    """A payment as it must be: alive or given up, and whether its money was taken."""

    payment: Payment
    alive: bool = True
    captured: bool = False


@dataclass
class OrderModel:
    """An order as it must be."""

    order: Order
    status: OrderStatus = OrderStatus.PENDING
    payments: list[PaymentModel] = field(default_factory=list)
    shipped_at: dict[UserId, datetime] = field(default_factory=dict)
    expires_at: datetime | None = None

    @property
    def is_paying(self) -> bool:
        """Whether a payment of it is alive that is not through."""
        return any(payment.alive and not payment.captured for payment in self.payments)


class OrderMachine(RuleBasedStateMachine):
    """Does whatever can be done, in any order, and keeps a model beside it."""

    runner: asyncio.Runner
    database: Database
    reached: ClassVar[set[OrderStatus]] = set()

    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        announcer, begin, carts = RecordingAnnouncer(), self.database.begin, FakeCarts()
        self.checkout = Checkout(begin, carts, self.clock, ORDER_POLICY)
        self.cart = CartService(begin, carts, self.clock)
        self.steps = OrderService(begin, self.clock)
        self.accepting = PaymentService(begin, announcer, self.clock, PAYMENT_POLICY)
        self.settling = SettlementService(begin, announcer, self.clock, SettlementPolicy())
        self.deadlines = OrderDeadlines(begin, self.clock, completes_after_s=COMPLETES_AFTER_S, batches=1_000)
        self.models: list[OrderModel] = []

    def run_async(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        """Two sellers, one of them with two products, of few pieces each."""
        self.shop = self.run_async(Shop(self.database.begin).open())
        owners = (self.shop.seller, self.shop.seller, self.shop.other_seller)
        self.products = [a_product(owner.id, stock=STOCK) for owner in owners]
        self.stock = Counter({product.id: STOCK for product in self.products})
        self.run_async(self._offer(self.products))

    async def _offer(self, products: list[Product]) -> None:
        async with self.database.begin() as tx:
            for product in products:
                await tx.products.add(product)
            await tx.commit()

    @property
    def sellers(self) -> list[User]:
        return [self.shop.seller, self.shop.other_seller]

    @rule(target=orders, quantities=QUANTITIES, by_cart=st.booleans(), news=st.lists(NEWS, max_size=2))
    def place(self, quantities: list[int], news: list[str | None], *, by_cart: bool) -> Any:
        """Order, by the way pay, and send the request again."""
        wanted = {product.id: n for product, n in zip(self.products, quantities, strict=True) if n}
        key = unique("key")
        enough = all(self.stock[product_id] >= n for product_id, n in wanted.items())
        try:
            order = self.run_async(self._place(key, wanted, by_cart=by_cart))
        except OutOfStock:
            assert not enough
            self.run_async(self.cart.clear(principal(self.shop.buyer)))
            return multiple()
        assert enough
        self.stock.subtract(wanted)
        model = OrderModel(order, expires_at=order.due_at)
        self.models.append(model)
        for each in news:
            self.pay(model, each)
        again = self.run_async(self._place(key, wanted, by_cart=by_cart))
        assert (again.id, again.status) == (order.id, model.status)
        return model

    async def _place(self, key: str, wanted: dict[ProductId, int], *, by_cart: bool) -> Order:
        buyer = principal(self.shop.buyer)
        if not by_cart:
            items = [OrderItem(product_id, n) for product_id, n in wanted.items()]
            return (await self.checkout.place(buyer, key, items)).order
        for product_id, n in wanted.items():
            await self.cart.put(buyer, product_id, n)
        return (await self.checkout.place_cart(buyer, key)).order

    @rule(model=orders, news=NEWS)
    def pay(self, model: OrderModel, news: str | None) -> None:
        (answer,) = self.run_async(self.accepting.accept([a_request(model.order)]))
        if model.status is not OrderStatus.PENDING or model.is_paying:
            assert isinstance(answer, Conflict)
            pending = model.status is OrderStatus.PENDING
            assert answer.code == ("payment_in_progress" if pending else "order_not_payable")
            return
        assert isinstance(answer, AcceptedPayment)
        model.payments.append(PaymentModel(answer.payment))
        self._hear(model, model.payments[-1], news)

    @rule(model=orders, newest=st.booleans(), news=NEWS)
    def hear_of_payment(self, model: OrderModel, news: str | None, *, newest: bool) -> None:
        """Stripe reports in time, late, or again."""
        if model.payments:
            self._hear(model, model.payments[-1 if newest else 0], news)

    def _hear(self, model: OrderModel, payment: PaymentModel, news: str | None) -> None:
        match news:
            case "captured":
                self._settle(payment, succeeded(payment.payment))
                self._captured(model, payment)
            case "declined":
                lost = an_intent(IntentStatus.CANCELED, payment.payment, failure_code="card_declined")
                self._settle(payment, lost)
                payment.alive = payment.alive and payment.captured
            case "requires_action":
                self._settle(payment, an_intent(IntentStatus.REQUIRES_ACTION, payment.payment))

    def _captured(self, model: OrderModel, payment: PaymentModel) -> None:
        if payment.captured:
            return
        payment.captured = True
        if model.status is OrderStatus.PENDING and (payment.alive or not model.is_paying):
            payment.alive = True
            model.status = OrderStatus.PAID
        else:
            payment.alive = False

    def _settle(self, payment: PaymentModel, intent: Intent) -> None:
        self.run_async(self.settling.settle([Outcome(payment.payment.id, intent)]))

    @rule(model=orders)
    def cancel(self, model: OrderModel) -> None:
        work = self.steps.cancel(principal(self.shop.buyer), model.order.id)
        if model.status is OrderStatus.PENDING and model.is_paying:
            assert self._refusal(work) == ("payment_in_progress", "pending")
        else:
            self._step(model, work, OrderStatus.PENDING, OrderStatus.CANCELLED)

    @rule(model=orders)
    def complete(self, model: OrderModel) -> None:
        work = self.steps.complete(principal(self.shop.buyer), model.order.id)
        self._step(model, work, OrderStatus.SHIPPED, OrderStatus.COMPLETED)

    @rule(model=orders, by=st.sampled_from([[0], [1], [0, 1], [1, 0]]))
    def ship(self, model: OrderModel, by: list[int]) -> None:
        for index in by:
            self._ship(model, self.sellers[index])

    def _ship(self, model: OrderModel, seller: User) -> None:
        work = self.steps.ship(principal(seller), model.order.id, carrier="DHL", tracking_number="1")
        if seller.id not in model.order.sellers:
            assert self._refusal(work) == ("order_not_found", None)
        elif seller.id in model.shipped_at:
            assert self.run_async(work).order.status is model.status
        elif model.status is OrderStatus.PAID:
            model.shipped_at[seller.id] = self.clock.now()
            if model.order.sellers == model.shipped_at.keys():
                model.status = OrderStatus.SHIPPED
            assert self.run_async(work).order.status is model.status
        else:
            assert self._refusal(work) == ("illegal_transition", str(model.status))

    def _step(
        self, model: OrderModel, work: Coroutine[Any, Any, Any], start: OrderStatus, end: OrderStatus
    ) -> None:
        """Take a step, or repeat it; from any other state it must be refused."""
        if model.status not in {start, end}:
            assert self._refusal(work) == (IllegalTransition.code, str(model.status))
            return
        assert self.run_async(work).order.status is end
        if model.status is not end:
            self._end(model, end)

    def _refusal(self, work: Coroutine[Any, Any, object]) -> tuple[str, object]:
        with pytest.raises(DomainError) as refusal:
            self.run_async(work)
        return refusal.value.code, refusal.value.facts.get("order_status")

    @rule(seconds=st.sampled_from([1.0, 1.0, PAYMENT_LOOK.total_seconds(), ORDER_POLICY.ttl_s, COMPLETES_AFTER_S]))
    def wait(self, seconds: float) -> None:
        """Time passes, and the task looks twice: what it finds due while shipping is new is put off once."""
        self.clock.advance(seconds)
        for _ in range(2):
            self.run_async(self.deadlines.enforce())
        now = self.clock.now()
        for model in self.models:
            if model.status is OrderStatus.PENDING and model.expires_at is not None and model.expires_at <= now:
                if model.is_paying:
                    model.expires_at = now + PAYMENT_LOOK
                else:
                    self._end(model, OrderStatus.EXPIRED)
            elif model.status is OrderStatus.SHIPPED:
                shipped_s = (now - max(model.shipped_at.values())).total_seconds()
                if shipped_s >= COMPLETES_AFTER_S:
                    self._end(model, OrderStatus.COMPLETED)

    def _end(self, model: OrderModel, status: OrderStatus) -> None:
        model.status = status
        if status in HOLDS_NOTHING:
            for line in model.order.lines:
                self.stock[line.product_id] += line.quantity

    @invariant()
    def database_is_as_the_model(self) -> None:
        if not self.models:
            return
        statuses, stock = self.run_async(self._read())
        assert statuses == [model.status for model in self.models]
        assert stock == {product.id: self.stock[product.id] for product in self.products}
        held: Counter[ProductId] = Counter()
        for model in self.models:
            if model.status not in HOLDS_NOTHING:
                held.update({line.product_id: line.quantity for line in model.order.lines})
        assert stock == {product.id: STOCK - held[product.id] for product in self.products}
        assert min(stock.values()) >= 0

    async def _read(self) -> tuple[list[OrderStatus], dict[ProductId, int]]:
        async with self.database.begin() as tx:
            orders = await tx.orders.lock(sorted(model.order.id for model in self.models))
            products = await tx.products.by_ids([product.id for product in self.products])
        return [orders[model.order.id].status for model in self.models], {
            product_id: product.stock for product_id, product in products.items()
        }

    def teardown(self) -> None:
        """The events of each order walk along the table of its steps, and each says by whom and why."""
        self.reached.update(model.status for model in self.models)
        for model in self.models:
            events = self.run_async(self._events(model))
            walked = [event for event in events if event.type.startswith("order.")]
            path = [OrderStatus.PENDING, *(OrderStatus(event.type.removeprefix("order.")) for event in walked[1:])]
            assert walked[0].type == "order.placed"
            assert path[-1] is model.status
            assert all(after in ORDER_TRANSITIONS[before] for before, after in pairwise(path))
            assert all(event.data["by"] and event.data["reason"] for event in events)

    async def _events(self, model: OrderModel) -> list[Event]:
        async with self.database.begin() as tx:
            return list((await tx.events.of_subject(model.order.id)).rows)


def test_orders_and_stock_are_as_the_model_whatever_happens(database_url: str) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        pool = make_pool(database_url, pool_size=2, statement_timeout_s=10)

        class Machine(OrderMachine):
            database = Database(pool)

        Machine.runner = runner
        settings = hypothesis.settings(max_examples=40, stateful_step_count=40)
        run_state_machine_as_test(Machine, settings=settings)  # type: ignore[no-untyped-call]  # it has no types
        runner.run(pool.close())
    # Money that goes back is not played here.
    assert OrderMachine.reached == set(OrderStatus) - {OrderStatus.REFUNDED, OrderStatus.DISPUTED}
