"""A database in memory: its repositories, and transactions one after the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.domain.fakes.books import FakeEvents, FakeLedger
from tests.domain.fakes.catalog import FakeProducts, FakeProductSearch
from tests.domain.fakes.due_work import FakeDueWork
from tests.domain.fakes.identity import FakeApiKeys, FakeRevocations, FakeSellerAccounts, FakeSessions, FakeUsers
from tests.domain.fakes.notifications import FakeDeliveries, FakeWebhookEndpoints
from tests.domain.fakes.orders import FakeOrders, FakeShipments
from tests.domain.fakes.payments import FakePayments, FakePaymentWork
from tests.domain.fakes.payouts import FakeDestinations, FakePayoutRuns, FakePayouts, FakePayoutWork
from tests.domain.fakes.refunds import FakeDisputes, FakeRefunds, FakeRefundWork
from tests.domain.fakes.reversals import FakeReversalWork
from tests.domain.fakes.state import State
from tests.domain.fakes.stripe_events import FakeStripeEvents


class Memory:
    """A database in memory: transactions one after the other, each rolled back unless it is committed."""

    def __init__(self) -> None:
        self.state = State()
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator["MemoryUnitOfWork"]:
        async with self._lock:
            yield MemoryUnitOfWork(self)


class MemoryUnitOfWork:
    """The repositories over a copy of all rows, which takes their place at commit."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._state = state = memory.state.copy()
        self.users = FakeUsers(state)
        self.sessions = FakeSessions(state)
        self.api_keys = FakeApiKeys(state)
        self.revocations = FakeRevocations(state)
        self.seller_accounts = FakeSellerAccounts(state)
        self.products = FakeProducts(state)
        self.product_search = FakeProductSearch(state)
        self.orders = FakeOrders(state)
        self.shipments = FakeShipments(state)
        self.payments = FakePayments(state)
        self.payment_work = FakePaymentWork(state)
        self.disputes = FakeDisputes(state)
        self.refunds = FakeRefunds(state)
        self.refund_work = FakeRefundWork(state)
        self.destinations = FakeDestinations(state)
        self.payouts = FakePayouts(state)
        self.payout_runs = FakePayoutRuns(state)
        self.payout_work = FakePayoutWork(state)
        self.reversal_work = FakeReversalWork(state)
        self.stripe_events = FakeStripeEvents(state)
        self.due_work = FakeDueWork(state)
        self.ledger = FakeLedger(state)
        self.events = FakeEvents(state)
        self.webhook_endpoints = FakeWebhookEndpoints(state)
        self.deliveries = FakeDeliveries(state)

    async def commit(self) -> None:
        self._memory.state = self._state
