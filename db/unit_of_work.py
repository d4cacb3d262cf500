"""One transaction with its repositories, and the border where database errors become ours."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from db.api_keys import ApiKeys
from db.audit import Audit
from db.comparisons import Comparisons
from db.connection import Connection, Lender, borrow
from db.deliveries import Deliveries
from db.destinations import Destinations
from db.disputes import Disputes
from db.due_work import DueWork
from db.events import Events
from db.feed import Feed
from db.ledger import Ledger
from db.orders import Orders
from db.payment_work import PaymentWork
from db.payments import Payments
from db.payout_runs import PayoutRuns
from db.payout_work import PayoutWork
from db.payouts import Payouts
from db.product_search import ProductIndex
from db.products import Products
from db.quarantine import Quarantine
from db.reconciliation_runs import Runs
from db.reconciliations import Reconciliations
from db.refund_work import RefundWork
from db.refunds import Refunds
from db.reversal_work import ReversalWork
from db.seller_accounts import SellerAccounts
from db.sessions import Revocations, Sessions
from db.shipments import Shipments
from db.statements import Statements
from db.stripe_events import StripeEvents
from db.traces import Traces
from db.users import Users
from db.webhook_endpoints import WebhookEndpoints
from domain.clock import Clock, SystemClock
from domain.errors import Refused, Unavailable
from domain.ids import WebhookEndpointId

_SYSTEM_CLOCK = SystemClock()

OnChange = Callable[[Collection[UUID]], None]
"""Hears, after a commit, of which subjects it wrote events; neither waits nor fails."""

OnDeliveries = Callable[[Collection[WebhookEndpointId]], None]
"""Hears, after a commit, for which endpoints it wrote deliveries; neither waits nor fails."""


def _tell_nobody(_: Collection[UUID]) -> None:
    """Stand in where nobody needs to hear."""


class UnitOfWork:
    """The repositories over one connection in one transaction."""

    users: Users
    sessions: Sessions
    api_keys: ApiKeys
    revocations: Revocations
    seller_accounts: SellerAccounts
    products: Products
    product_search: ProductIndex
    runs: Runs
    comparisons: Comparisons
    reconciliations: Reconciliations
    orders: Orders
    shipments: Shipments
    payments: Payments
    payment_work: PaymentWork
    disputes: Disputes
    refunds: Refunds
    refund_work: RefundWork
    destinations: Destinations
    payouts: Payouts
    payout_runs: PayoutRuns
    payout_work: PayoutWork
    reversal_work: ReversalWork
    stripe_events: StripeEvents
    due_work: DueWork
    quarantine: Quarantine
    ledger: Ledger
    statements: Statements
    events: Events
    feed: Feed
    traces: Traces
    audit: Audit
    webhook_endpoints: WebhookEndpoints
    deliveries: Deliveries

    def __init__(
        self,
        connection: Connection,
        on_change: OnChange = _tell_nobody,
        on_deliveries: OnDeliveries = _tell_nobody,
    ) -> None:
        """Give every repository the same connection."""
        self._connection = connection
        self._on_change = on_change
        self._on_deliveries = on_deliveries
        self._wanted_by: set[WebhookEndpointId] = set()
        self.payments = Payments(connection, self._wanted_by)
        self.events = Events(connection, self._wanted_by)

    if not TYPE_CHECKING:  # or any name would do

        def __getattr__(self, name: str) -> object:
            """Make a repository when it is first asked for. PERF: there are dozens, and few are used."""
            if (make := UnitOfWork.__annotations__.get(name)) is None:
                raise AttributeError(name)
            repository = make(self._connection)
            setattr(self, name, repository)
            return repository

    async def commit(self) -> None:
        """Commit, then tell who waits for the changed subjects and who delivers webhooks."""
        await self._connection.commit()
        if self.events.subjects:
            self._on_change(self.events.subjects)
        if self._wanted_by:
            self._on_deliveries(self._wanted_by)


class Database:
    """Where services begin their transactions."""

    def __init__(
        self,
        pool: Lender,
        *,
        on_change: OnChange = _tell_nobody,
        on_deliveries: OnDeliveries = _tell_nobody,
        around: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Clock = _SYSTEM_CLOCK,
    ) -> None:
        """Keep the pool and whom to tell after each commit.

        Each transaction runs within what `around` returns: its span. `clock` is the one that the pool's
        connections correct.
        """
        self.clock = clock
        self._pool = pool
        self._on_change = on_change
        self._on_deliveries = on_deliveries
        self._around = around

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[UnitOfWork]:
        """Open a transaction that rolls back unless it is committed.

        Errors: Refused when a constraint or trigger says no; Unavailable `database_unavailable` when the
        server is out of reach, too slow, or out of connections.
        """
        with self._around(), translated_errors():
            async with borrow(self._pool, autocommit=False) as connection:
                yield UnitOfWork(connection, self._on_change, self._on_deliveries)

    @asynccontextmanager
    async def each(self) -> AsyncIterator[UnitOfWork]:
        """Give every statement a transaction of its own, durable at once; `commit` then only tells.

        PERF: one round trip where `begin` takes three; for reading, and for work that is one statement anyway.
        Errors as for `begin`.
        """
        with self._around(), translated_errors():
            async with borrow(self._pool, autocommit=True) as connection:
                yield UnitOfWork(connection, self._on_change, self._on_deliveries)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what psycopg raises into what the domain knows; programming errors pass through."""
    try:
        yield
    # Only the first line names the rule. The others quote the row, and that must never reach a log.
    except (psycopg.IntegrityError, psycopg.DataError) as error:
        raise Refused(str(error).partition("\n")[0]) from None
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable("the database is out of reach", code="database_unavailable") from error
