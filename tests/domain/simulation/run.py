"""A schedule: the services on fakes, taken through steps, crashes and redeliveries that a seed chooses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from uuid import UUID

from domain.coalescer import Coalescer
from domain.errors import DomainError
from domain.identity.model import Principal, Role
from domain.ids import PaymentId, UserId
from domain.orders.model import Order
from domain.payments.actions import PaymentActions
from domain.payments.model import DEAD, Capture, PaymentRequest, PaymentStatus
from domain.payments.service import PaymentService
from domain.payouts.model import Destination, PayoutRequest
from domain.payouts.run import PayoutRun, RunPolicy
from domain.payouts.service import PayoutPolicy, PayoutService
from domain.refunds.model import RefundRequest
from domain.refunds.rules import RefundPolicy
from domain.refunds.service import RefundService
from domain.settlement.charges import ChargeService
from domain.settlement.disputes import DisputeSettlement
from domain.settlement.inbox.charge_owners import ChargeOwners
from domain.settlement.inbox.dispute_events import DisputeEvents
from domain.settlement.inbox.intent_events import IntentEvents
from domain.settlement.inbox.payout_events import PayoutEvents
from domain.settlement.inbox.stripe_events import StripeEventService
from domain.settlement.inbox.stripe_inbox import StripeInbox
from domain.settlement.model import Outcome, SettlementPolicy, StripeEvent
from domain.settlement.own_payouts import OwnPayouts
from domain.settlement.payouts import PayoutSender, PayoutSettlement
from domain.settlement.refunds import RefundSender, RefundSettlement
from domain.settlement.reversals import ReversalSender, ReversalSettlement
from domain.settlement.service import SettlementService
from domain.settlement.sweeper import Sweeper
from domain.work import Work
from tests.builders import PAYMENT_POLICY, Shop, a_direct_request, a_request, principal, unique
from tests.domain.fakes import FakeClock, Memory, MemoryUnitOfWork
from tests.domain.simulation.disputes import SimulatedDisputes
from tests.domain.simulation.invariants import Truth, check_end, check_step, check_taken_back
from tests.domain.simulation.network import Network
from tests.domain.simulation.stripe import AUTHENTICATED, DECLINED, SimulatedStripe
from tests.domain.simulation.transfers import SimulatedTransfers
from tests.domain.simulation.turns import Turns

PROCESSES = 3
"""An API process and two workers, all of which do everything here."""
STEPS = 400
LATE_STEPS = 400
"""In these nobody pays any more: what was paid goes on to sellers, and back."""
POLICY = SettlementPolicy(action_ttl_s=300)
"""A payer who stays away is not waited for as long as in life, for nothing else happens meanwhile."""
TASK_TIMEOUT_S = 0.9 * POLICY.lease_s
"""As of the workers' tasks."""
PAYOUTS = PayoutPolicy(direct_hold_s=0, republish_after_s=30)
RUNS = RunPolicy(interval_s=60, lease_s=60, budget_s=30)
_CAPTURES = [Capture.AUTOMATIC, Capture.AUTOMATIC, Capture.AUTOMATIC, Capture.MANUAL]
_CARDS = ["pm_card_visa", "pm_card_visa", DECLINED, AUTHENTICATED]
_UNCAPTURED = set(PaymentStatus) - DEAD - {PaymentStatus.SUCCEEDED}
_FINANCE = Principal(UserId(UUID(int=1)), Role.FINANCE)
_LOST = 0.15
"""How often a message is lost, and how often it comes again."""
_DRAIN_ROUNDS = 600


class SteppedMemory(Memory):
    """A database whose transactions wait for their turns, so that a process may die at each of their ends."""

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self.turns = turns

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[MemoryUnitOfWork]:
        await self.turns.take("begins")
        async with self._lock:
            yield SteppedUnitOfWork(self, self.turns)

    def at_once(self) -> "Memory":
        """Return the same database for what is not part of the schedule."""
        memory = Memory()
        memory.state = self.state
        return memory


class SteppedUnitOfWork(MemoryUnitOfWork):
    """A transaction that may die before it is durable, and after, when nobody hears of it any more."""

    def __init__(self, memory: SteppedMemory, turns: Turns) -> None:
        super().__init__(memory)
        self._turns = turns

    async def commit(self) -> None:
        await self._turns.take("commits")
        check_step(self._memory.state, self._state)
        await super().commit()
        await self._turns.take("has committed")


class Broker:
    """`WorkQueue` and `Announcer` over messages that are lost and doubled, and come in any order."""

    def __init__(self, rng: Random) -> None:
        self.messages: list[tuple[Work, Sequence[UUID | str]]] = []
        self.loses = True
        self._rng = rng

    def announce(self, work: Work, ids: Sequence[UUID | str]) -> None:
        drawn = self._rng.random() if self.loses else 1.0
        copies = 0 if drawn < _LOST else 2 if drawn < 2 * _LOST else 1
        self.messages += copies * [(work, list(ids))]

    async def publish(self, work: Work, ids: Sequence[UUID | str]) -> None:
        self.announce(work, ids)

    async def depth(self, work: Work) -> int:
        return sum(waiting is work for waiting, _ in self.messages)

    def take(self) -> tuple[Work, Sequence[UUID | str]]:
        return self.messages.pop(self._rng.randrange(len(self.messages)))


class Process:
    """The services of one process, which group their outcomes in its memory; it ends with them."""

    def __init__(self, number: int, simulation: "Simulation") -> None:
        begin, clock, broker = simulation.memory.begin, simulation.clock, simulation.broker
        policy, stripe, transfers = POLICY, simulation.stripe, simulation.transfers
        settlement = SettlementService(begin, broker, clock, policy)
        settle: Coalescer[Outcome, bool] = Coalescer(settlement.settle, max_batch=64)
        self.number = number
        self.payments = PaymentService(begin, broker, clock, PAYMENT_POLICY)
        self.actions = PaymentActions(begin, broker, clock, republish_after_s=30)
        self.refunds = RefundService(begin, broker, clock, RefundPolicy(direct_hold_s=1e9, republish_after_s=30))
        self.inbox = StripeInbox(begin, broker, clock, republish_after_s=30)
        self.charges = ChargeService(begin, stripe, settle, clock, policy)
        payouts, reversals = PayoutSettlement(begin, clock, policy), ReversalSettlement(begin, clock, policy)
        own = OwnPayouts(begin, transfers, clock)
        readers = [
            IntentEvents(begin, stripe, settle),
            PayoutEvents(begin, transfers, payouts, reversals, own),
            DisputeEvents(
                DisputeSettlement(begin, clock, policy),
                ChargeOwners(begin, stripe, settle),
                simulation.disputes,
            ),
        ]
        self.events = StripeEventService(begin, readers, clock, policy)
        self.payouts = PayoutService(begin, broker, clock, PAYOUTS)
        self.payout_run = PayoutRun(begin, broker, clock, PAYOUTS, RUNS)
        self.payout_sender = PayoutSender(begin, transfers, payouts, clock, policy)
        self.reversal_sender = ReversalSender(begin, transfers, reversals, clock, policy)
        self.sender = RefundSender(begin, stripe, RefundSettlement(begin, clock, policy), clock, policy)
        self.sweeper = Sweeper(begin, broker, clock, republish_after_s=30, queue_depth_limit=1_000, batch_size=4)


class Simulation:
    """One schedule of one seed, which repeats itself exactly."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.clock = FakeClock()
        self.turns = Turns(self.rng, self.clock)
        self.memory = SteppedMemory(self.turns)
        self.broker = Broker(self.rng)
        self.network = Network(self.turns, self.rng)
        self.stripe = SimulatedStripe(self.network)
        self.transfers = SimulatedTransfers(self.network)
        self.disputes = SimulatedDisputes(self.network, self.stripe)
        self.requests: list[PaymentRequest] = []
        self.promised: dict[str, PaymentId] = {}
        """The payment that was promised under each key."""
        self.shop: Shop
        self.orders: list[Order] = []
        self._started = 0
        self._processes = [self._new_process() for _ in range(PROCESSES)]

    async def run(self) -> None:
        """Take the system through a schedule, then leave it alone until all is done, and check it."""
        await self._open()
        common = {self.turns.go_on: 300, self._wait: 6, self._crash: 2, self._dispute: 4, self._refund: 5}
        early = {self._pay: 10, self._payer_acts: 3, self._capture: 10, self._cancel: 1, self._pay_out: 4}
        await self._take(STEPS, {**common, **early, self._work: 12, self._webhook: 8, self._sweep: 1})
        late = {self._pay_out: 10, self._run_payouts: 4}
        await self._take(LATE_STEPS, {**common, **late, self._work: 20, self._webhook: 10, self._sweep: 6})
        await self._drain()
        truth = Truth(self.stripe, self.transfers, self.disputes)
        check_end(self.memory.state, truth, self.promised.values())
        async with self.memory.at_once().begin() as tx:
            await check_taken_back(tx, self.memory.state)

    async def _take(self, steps: int, actions: Mapping[Callable[[], None], int]) -> None:
        """Take so many steps, each of what is drawn by its weight."""
        for action in self.rng.choices(list(actions), list(actions.values()), k=steps):
            action()
            await self._settled_down()

    async def _open(self) -> None:
        memory = self.memory.at_once()
        self.shop = await Shop(memory.begin).open()
        self.orders = [await self.shop.order(self.shop.product, self.shop.other_product) for _ in range(2)]
        for seller in (self.shop.seller, self.shop.other_seller):
            account = Destination(seller.id, f"acct_{seller.id}", payouts_enabled=True)
            memory.state.destinations[seller.id] = account
        self.memory.state = memory.state

    async def _drain(self) -> None:
        """Let no more go wrong, and all that is due be done; the sweeper alone knows what was lost."""
        self.network.fault_rate, self.broker.loses = 0.0, False
        for _ in range(_DRAIN_ROUNDS):
            while self.turns.running or self.broker.messages or self.network.webhooks:
                for _ in range(max(1, len(self.turns.parked))):
                    self.turns.go_on()
                self._work()
                self._webhook()
                await self._settled_down()
            rows = [row for work in self.memory.state.due.values() for row in work.values()]
            due_at = min((row.due_at for row in rows if row.due_at is not None), default=None)
            if due_at is None:
                return
            self.stripe.lapse(self._payments_in(PaymentStatus.REQUIRES_CAPTURE))
            self.clock.advance(max(130, (due_at - self.clock.now()).total_seconds()))
            self._sweep()
            await self._settled_down()
        raise AssertionError("something is due for ever")

    async def _settled_down(self) -> None:
        await self.turns.settle_down()
        if self.turns.errors:
            raise self.turns.errors[0]

    def _new_process(self) -> Process:
        self._started += 1
        return Process(self._started, self)

    def _some_process(self) -> Process:
        return self.rng.choice(self._processes)

    def _pay(self) -> None:
        """Let a customer pay an order or a seller, or ask once more under a key that it has used."""
        if self.requests and self.rng.random() < 1 / 3:
            request = self.rng.choice(self.requests)
        else:
            how = {"payment_method": self.rng.choice(_CARDS), "capture": self.rng.choice(_CAPTURES)}
            buyer, seller = self.shop.buyer, self.shop.seller
            request = (
                a_request(self.rng.choice(self.orders), **how)
                if self.rng.random() < 1 / 3
                else a_direct_request(buyer.id, seller.id, **how)
            )
            self.requests.append(request)
        process = self._some_process()
        self.turns.start(process.number, self._promise(process, request))

    async def _promise(self, process: Process, request: PaymentRequest) -> None:
        (answer,) = await process.payments.accept([request])
        if not isinstance(answer, DomainError):
            known = self.promised.setdefault(request.idempotency_key, answer.payment.id)
            assert known == answer.payment.id, "one key made two payments"

    def _work(self) -> None:
        """Give a message to a worker."""
        if not self.broker.messages:
            return
        work, ids = self.broker.take()
        process = self._some_process()
        task = {
            Work.CHARGES: process.charges.process,
            Work.REFUNDS: process.sender.process,
            Work.PAYOUTS: process.payout_sender.process,
            Work.REVERSALS: process.reversal_sender.process,
            Work.STRIPE_EVENTS: process.events.process,
        }[work]
        # What asks a second time takes a refusal for good, and another key, once the first one's lease has ended.
        within_s = None if work in {Work.CHARGES, Work.STRIPE_EVENTS} else TASK_TIMEOUT_S
        self.turns.start(process.number, task(ids), within_s=within_s)  # type: ignore[operator] # each is given ids of its own kind

    def _webhook(self) -> None:
        """Let one of Stripe's webhooks come."""
        if self.network.webhooks:
            event = replace(self.network.take_webhook(), received_at=self.clock.now())
            process = self._some_process()
            self.turns.start(process.number, self._receive(process, event))

    async def _receive(self, process: Process, event: StripeEvent) -> None:
        try:
            await process.inbox.receive([event])
        except asyncio.CancelledError:
            self.network.webhooks.append(event)  # nobody has answered, so it comes again
            raise

    def _sweep(self) -> None:
        process = self._some_process()
        self.turns.start(process.number, process.sweeper.sweep())

    def _wait(self) -> None:
        """Let time pass, sometimes more than a lease lasts."""
        self.clock.advance(self.rng.choice([0.5, 2, 10, 45, 130]))

    def _payer_acts(self) -> None:
        self.stripe.act(pays=self.rng.random() < 2 / 3)

    def _refund(self) -> None:
        """Let the customer ask for money back, of a part or of all that is left."""
        if paid := self._payments_in(PaymentStatus.SUCCEEDED):
            amount_minor = self.rng.choice([None, 500])
            request = RefundRequest(self.rng.choice(paid), unique("refund"), "too small", amount_minor)
            process = self._some_process()
            self.turns.start(process.number, process.refunds.request(principal(self.shop.buyer), request))

    def _dispute(self) -> None:
        self.disputes.act()

    def _pay_out(self) -> None:
        """Let a seller ask for what is available."""
        seller = self.rng.choice([self.shop.seller, self.shop.other_seller])
        process, request = self._some_process(), PayoutRequest(unique("payout"), "USD")
        self.turns.start(process.number, process.payouts.request(principal(seller), request))

    def _run_payouts(self) -> None:
        process = self._some_process()
        self.turns.start(process.number, process.payout_run.run())

    def _capture(self) -> None:
        """Let the platform capture what is authorized, or a part of it, perhaps twice and not the same."""
        if authorized := self._payments_in(PaymentStatus.REQUIRES_CAPTURE):
            amount_minor = self.rng.choice([None, 500])
            process, payment_id = self._some_process(), self.rng.choice(authorized)
            self.turns.start(process.number, self._ask_for_capture(process, payment_id, amount_minor))

    async def _ask_for_capture(self, process: Process, payment_id: PaymentId, amount_minor: int | None) -> None:
        await process.actions.capture(_FINANCE, payment_id, amount_minor)

    def _cancel(self) -> None:
        """Let the payer cancel what is not captured, as far as it knows."""
        if waiting := self._payments_in(*_UNCAPTURED):
            process, payment_id = self._some_process(), self.rng.choice(waiting)
            self.turns.start(process.number, self._ask_for_cancellation(process, payment_id))

    async def _ask_for_cancellation(self, process: Process, payment_id: PaymentId) -> None:
        await process.actions.cancel(principal(self.shop.buyer), payment_id)

    def _payments_in(self, *statuses: PaymentStatus) -> list[PaymentId]:
        return [payment.id for payment in self.memory.state.payments.values() if payment.status in statuses]

    def _crash(self) -> None:
        """Kill a process, and start another in its place."""
        index = self.rng.randrange(PROCESSES)
        self.turns.kill(self._processes[index].number)
        self._processes[index] = self._new_process()


def simulate(seed: int) -> list[str]:
    """Run the schedule of a seed; return its trace. Errors: AssertionError for an invariant that does not hold."""
    simulation = Simulation(seed)
    try:
        asyncio.run(simulation.run())
    except BaseException as error:
        error.add_note(f"the schedule of seed {seed}; to repeat: python -m tests.domain.simulation --seed {seed}")
        raise
    return simulation.turns.trace
