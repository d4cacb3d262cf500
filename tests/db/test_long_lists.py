"""Orders, payments and disputes are listed without a look at a whole past, also orders of a state that is rare."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest

from db.connection import Connection
from db.disputes import Disputes
from db.orders import Orders
from db.payments import Payments
from db.sql import Sql
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.orders.model import OrderStatus
from domain.pages import PageRequest

PAST = 6_000

_ORDERS = b"""
    INSERT INTO orders (id, buyer_id, status, amount_minor, currency, idempotency_key, request_hash, created_at,
                        updated_at)
    SELECT uuidv7(make_interval(days => 1, secs => n)), $1,
           CASE WHEN n % ($2 / 3) = 1 THEN 'disputed' ELSE 'completed' END, 3, 'USD', n::text, sha256(''),
           now(), now()
    FROM generate_series(1, $2::integer) AS n
"""
_LINES = b"""
    INSERT INTO order_lines (order_id, line, product_id, seller_id, quantity, price_minor, commission_bps)
    SELECT id, line, gen_random_uuid(), CASE line WHEN 3 THEN gen_random_uuid() ELSE $2 END, 1, 1, 250
    FROM orders, generate_series(1, 3) AS line WHERE buyer_id = $1
"""
_PAYMENTS = b"""
    INSERT INTO payments (id, payer_id, order_id, amount_minor, currency, payment_method, capture, status,
                          idempotency_key, request_hash, created_at, updated_at)
    SELECT uuidv7(make_interval(days => 2, secs => idempotency_key::float8)), buyer_id, id, 3, 'USD',
           'pm_card_visa', 'automatic', 'pending', idempotency_key, request_hash, created_at, updated_at
    FROM orders WHERE buyer_id = $1
"""
_DISPUTES = b"""
    INSERT INTO disputes (id, payment_id, stripe_dispute_id, stripe_charge_id, amount_minor, currency, reason,
                          status, opened_at, created_at, updated_at, funds, withdrawn_minor, transaction_ids)
    SELECT id, id, id, id, 3, 'USD', 'fraudulent', 'lost', now(), now(), now(), 'none', 0, '{}'
    FROM payments WHERE payer_id = $1
"""
# As a connection comes to plan that served all kinds of sellers.
_PLANS = (
    b"SELECT set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true)"
)
_READ = Sql("""
    SELECT sum(idx_tup_fetch + seq_tup_read)::bigint FROM pg_stat_xact_user_tables
    WHERE relname IN ('orders', 'order_lines', 'payments', 'disputes')
""")
_DISPUTED = b"SELECT id FROM orders WHERE buyer_id = $1 AND status = 'disputed' ORDER BY id DESC"


@dataclass(frozen=True)
class Past:
    """A buyer's orders, with two lines of one seller and one of another; three are disputed, also the oldest."""

    connection: Connection
    buyer: Principal
    seller: Principal
    disputed: list[UUID]


@pytest.fixture
async def past(superuser_url: str) -> AsyncIterator[Past]:
    """More orders than one page may look at, newer than all others, in a transaction that is never committed."""
    buyer, seller = (Principal(UserId(uuid7()), role) for role in (Role.BUYER, Role.SELLER))
    async with await psycopg.AsyncConnection.connect(superuser_url) as driver:
        driver.prepare_threshold = 0
        cursor = psycopg.AsyncRawCursor(driver)
        await cursor.execute(b"SET LOCAL session_replication_role = replica")
        await cursor.execute(_ORDERS, (buyer.user_id, PAST))
        await cursor.execute(_LINES, (buyer.user_id, seller.user_id))
        await cursor.execute(_PAYMENTS, (buyer.user_id,))
        await cursor.execute(_DISPUTES, (buyer.user_id,))
        await cursor.execute(b"ANALYZE orders, order_lines, payments, disputes")
        await cursor.execute(_PLANS)
        disputed = await (await cursor.execute(_DISPUTED, (buyer.user_id,))).fetchall()
        yield Past(Connection(driver), buyer, seller, [id_ for (id_,) in disputed])
        await driver.rollback()


@pytest.fixture(params=["buyer", "seller", "finance"])
def caller(request: pytest.FixtureRequest, past: Past) -> Principal:
    callers = {"buyer": past.buyer, "seller": past.seller, "finance": Principal(UserId(uuid7()), Role.FINANCE)}
    return callers[request.param]


async def test_page_of_a_rare_state_is_short_rather_than_a_look_at_the_whole_past(
    past: Past, caller: Principal
) -> None:
    orders = Orders(past.connection)

    first = await orders.page(caller, PageRequest(limit=3), OrderStatus.DISPUTED)
    rest = await orders.page(caller, PageRequest(limit=3, after=first.next_after), OrderStatus.DISPUTED)

    assert [order.id for order in first.rows] == past.disputed[:2]
    assert first.next_after is not None
    assert [order.id for order in rest.rows][:1] == past.disputed[2:]


async def test_page_of_a_rare_state_that_is_full_ends_with_its_last_order(past: Past, caller: Principal) -> None:
    orders = Orders(past.connection)

    first = await orders.page(caller, PageRequest(limit=1), OrderStatus.DISPUTED)
    second = await orders.page(caller, PageRequest(limit=1, after=first.next_after), OrderStatus.DISPUTED)

    assert [order.id for order in first.rows] == past.disputed[:1] == [first.next_after]
    assert [order.id for order in second.rows] == past.disputed[1:2]


async def test_last_page_of_a_state_has_no_other_behind_it(past: Past) -> None:
    orders = Orders(past.connection, effort=PAST + 1)

    for who in (past.buyer, past.seller):
        page = await orders.page(who, PageRequest(limit=3), OrderStatus.DISPUTED)
        assert ([order.id for order in page.rows], page.next_after) == (past.disputed, None)
        assert [len(order.lines) for order in page.rows] == [3, 3, 3]


@pytest.mark.parametrize("status", [None, OrderStatus.DISPUTED])
async def test_page_ends_with_the_order_that_has_enough_lines(
    past: Past, caller: Principal, status: OrderStatus | None
) -> None:
    whole = await Orders(past.connection).page(caller, PageRequest(limit=3), status)
    orders = Orders(past.connection, enough_lines=3)

    first = await orders.page(caller, PageRequest(limit=3), status)
    rest = await orders.page(caller, PageRequest(limit=1, after=first.next_after), status)

    assert first.rows == whole.rows[:1]
    assert first.next_after == first.rows[0].id
    assert rest.rows == whole.rows[1:2]


async def test_page_of_orders_of_a_large_seller_reads_few_of_its_lines(past: Past) -> None:
    before = (await past.connection.execute(_READ)).scalar_one()

    page = await Orders(past.connection).page(past.seller, PageRequest())

    assert len(page.rows) == 20
    assert (await past.connection.execute(_READ)).scalar_one() - before < PAST / 10


async def test_page_of_payments_of_a_large_seller_reads_few_however_often_it_was_asked_for(past: Past) -> None:
    await past.connection.execute(Sql("SELECT set_config('plan_cache_mode', 'auto', true)"))
    payments = Payments(past.connection, set())
    for _ in range(10):
        before = (await past.connection.execute(_READ)).scalar_one()
        page = await payments.page(past.seller, PageRequest())

    assert len(page.rows) == 20
    assert (await past.connection.execute(_READ)).scalar_one() - before < PAST / 10


async def test_page_of_disputes_of_a_seller_without_any_reads_none_of_others(past: Past) -> None:
    await past.connection.execute(Sql("SELECT set_config('plan_cache_mode', 'auto', true)"))
    disputes, stranger = Disputes(past.connection), Principal(UserId(uuid7()), Role.SELLER)
    for _ in range(10):
        before = (await past.connection.execute(_READ)).scalar_one()
        page = await disputes.page(stranger, PageRequest(), None)

    assert page.rows == []
    assert (await past.connection.execute(_READ)).scalar_one() - before < PAST / 10


async def test_page_of_disputes_of_a_large_seller_reads_few(past: Past) -> None:
    await past.connection.execute(Sql("SELECT set_config('plan_cache_mode', 'auto', true)"))
    disputes = Disputes(past.connection)
    for _ in range(10):
        before = (await past.connection.execute(_READ)).scalar_one()
        page = await disputes.page(past.seller, PageRequest(), None)

    assert len(page.rows) == 20
    assert (await past.connection.execute(_READ)).scalar_one() - before < PAST / 10
