"""Orders in PostgreSQL."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.errors import CheckViolation

from db.connection import Connection, Row
from db.sql import Sql
from domain.identity.model import Principal, Role
from domain.ids import OrderId, ProductId, UserId
from domain.orders.model import Order, OrderLine, OrderStatus, StockGone
from domain.pages import Page, PageRequest

_STOCK_CHECK = "products_stock_check"

# An order comes with its lines in one row, so that one statement reads it whole.
_SELECT = """
    SELECT o.id, o.buyer_id, o.status, o.amount_minor, o.currency, o.idempotency_key, o.request_hash,
           o.created_at, o.updated_at, o.due_at, o.resumes_as,
           (SELECT json_agg(l ORDER BY l.line) FROM order_lines l WHERE l.order_id = o.id) AS lines
    FROM orders o
"""
_ADD = Sql(
    """
    INSERT INTO orders (id, buyer_id, status, amount_minor, currency, idempotency_key, request_hash,
                        created_at, updated_at, due_at)
    VALUES (:id, :buyer_id, :status, :amount_minor, :currency, :idempotency_key, :request_hash,
            :created_at, :updated_at, :due_at)
    ON CONFLICT (buyer_id, idempotency_key) DO NOTHING
    RETURNING id
    """
)
# A trigger takes the stock of the lines, from products that it locks in sorted order.
_ADD_LINES = Sql(
    """
    INSERT INTO order_lines (order_id, line, product_id, seller_id, quantity, price_minor, commission_bps)
    SELECT :order_id, * FROM unnest(
        CAST(:line AS smallint[]), CAST(:product_id AS uuid[]), CAST(:seller_id AS uuid[]),
        CAST(:quantity AS integer[]), CAST(:price_minor AS bigint[]), CAST(:commission_bps AS integer[]))
    """
)
_BY_KEY = Sql(f"{_SELECT} WHERE o.buyer_id = :buyer_id AND o.idempotency_key = :idempotency_key")
_VISIBLE = Sql(
    f"""{_SELECT}
    WHERE o.id = :id AND (:sees_all OR o.buyer_id = :user_id OR EXISTS (
        SELECT FROM order_lines l WHERE l.order_id = o.id AND l.seller_id = :user_id))
    """
)
_OLDER = "(CAST(:after AS uuid) IS NULL OR {id} < :after)"
_NEWEST = f"SELECT o.id FROM orders o WHERE {{of}} AND {_OLDER.format(id='o.id')} ORDER BY o.id DESC LIMIT :limit"
# The newest orders that hold a line of a seller, along the index of its lines. Read by a plan for sellers of few
# lines, a bare IN would take all that a large one ever sold, and sort it.
_SOLD = f"""
    SELECT DISTINCT l.order_id FROM order_lines l
    WHERE l.seller_id = :user_id AND {_OLDER.format(id="l.order_id")}
    ORDER BY l.order_id DESC LIMIT {{most}}
"""
_PAGES = {
    Role.BUYER: Sql(_NEWEST.format(of="o.buyer_id = :user_id")),
    Role.SELLER: Sql(_SOLD.format(most=":limit")),
}
_PAGE_OF_ALL = Sql(_NEWEST.format(of="true"))
# No index knows the states, or settling would have to write it. So a page of one state looks at the newest orders
# of the caller, until it has enough of them or may look at no more: then `seen` is the last one that it looked at.
_LOOK = """
    WITH looked AS MATERIALIZED ({looked} ORDER BY o.id DESC LIMIT :effort),
    found AS MATERIALIZED (
        SELECT ARRAY(SELECT id FROM looked WHERE status = :status ORDER BY id DESC LIMIT :limit) AS ids
    )
    SELECT ids, CASE WHEN cardinality(ids) < :limit
                     THEN (SELECT id FROM looked ORDER BY id DESC OFFSET :effort - 1) END AS seen
    FROM found
"""
_LOOKED = f"SELECT o.id, o.status FROM orders o WHERE {{of}} AND {_OLDER.format(id='o.id')}"
_LOOKED_SOLD = f"""
    SELECT o.id, o.status FROM ({_SOLD.format(most=":effort")}) AS sold JOIN orders o ON o.id = sold.order_id
"""
_LOOKS = {
    Role.BUYER: Sql(_LOOK.format(looked=_LOOKED.format(of="o.buyer_id = :user_id"))),
    Role.SELLER: Sql(_LOOK.format(looked=_LOOKED_SOLD)),
}
_LOOK_AT_ALL = Sql(_LOOK.format(looked=_LOOKED.format(of="true")))
# The first one, and those after it until they have enough lines together.
_READ = Sql(
    f"""
    {_SELECT}
    JOIN (
        SELECT id, sum(n) OVER (ORDER BY id DESC) - n AS lines_before
        FROM unnest(CAST(:ids AS uuid[])) AS listed (id)
        CROSS JOIN LATERAL (SELECT count(*) AS n FROM order_lines l WHERE l.order_id = listed.id) AS counted
    ) AS listed USING (id)
    WHERE lines_before < :enough_lines ORDER BY o.id DESC
    """
)
_EFFORT = 5_000
_ENOUGH_LINES = 1_000
"""Of how many lines a page is long enough: an order has a hundred at most, and a page as many orders."""
_LOCK = Sql(f"{_SELECT} WHERE o.id = ANY(:ids) ORDER BY o.id FOR NO KEY UPDATE OF o")
_ADVANCE = Sql(
    """
    UPDATE orders o
    SET status = n.status, updated_at = :at,
        -- Time looks at what ships, or is shipped again after a dispute. All else keeps its due_at, and the update
        -- of an order that is paid stays heap-only.
        due_at = CASE n.status WHEN 'shipped' THEN :at ELSE o.due_at END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:statuses AS text[])) AS n (id, status)
    WHERE o.id = n.id
    """
)
_DUE = Sql("SELECT id FROM orders WHERE due_at <= :now ORDER BY due_at, id LIMIT :limit")
_LOCK_DUE = Sql(
    f"{_SELECT} WHERE o.id = ANY(:ids) AND o.due_at <= :now ORDER BY o.id FOR NO KEY UPDATE OF o SKIP LOCKED"
)
_LIVE_PAYMENTS = Sql(
    """
    SELECT order_id, status FROM payments
    WHERE order_id = ANY(:ids) AND status NOT IN ('failed', 'canceled')
    ORDER BY order_id
    """
)
_SCHEDULE = Sql(
    """
    UPDATE orders o SET due_at = n.due_at
    FROM unnest(CAST(:ids AS uuid[]), CAST(:due_ats AS timestamptz[])) AS n (id, due_at)
    WHERE o.id = n.id
    """
)


class Orders:
    """`domain.orders.ports.OrderRepository`."""

    def __init__(
        self, connection: Connection, *, effort: int = _EFFORT, enough_lines: int = _ENOUGH_LINES
    ) -> None:
        """Work in that connection's transaction.

        For a page of one state look at so many orders, and end any that has enough lines.
        """
        self._connection = connection
        self._effort = effort
        self._enough_lines = enough_lines

    async def add(self, order: Order) -> bool:
        """Insert an order, which takes the stock of its lines; False when the buyer used its key before."""
        row = {
            "id": order.id,
            "buyer_id": order.buyer_id,
            "status": order.status,
            "amount_minor": order.amount_minor,
            "currency": order.currency,
            "idempotency_key": order.idempotency_key,
            "request_hash": order.request_hash,
            "created_at": order.created_at,
            "updated_at": order.updated_at,
            "due_at": order.due_at,
        }
        if (await self._connection.execute(_ADD, row)).first() is None:
            return False
        names = ("line", "product_id", "seller_id", "quantity", "price_minor", "commission_bps")
        columns = {name: [getattr(line, name) for line in order.lines] for name in names}
        with _stock_gone():
            await self._connection.execute(_ADD_LINES, {"order_id": order.id, **columns})
        return True

    async def by_key(self, buyer_id: UserId, idempotency_key: str) -> Order | None:
        """Return the order that a buyer placed under a key."""
        values = {"buyer_id": buyer_id, "idempotency_key": idempotency_key}
        row = (await self._connection.execute(_BY_KEY, values)).first()
        return _order(row) if row else None

    async def visible(self, principal: Principal, order_id: OrderId) -> Order | None:
        """Return an order if the caller bought it, sells a line of it, or may see all."""
        values = {"id": order_id, "user_id": principal.user_id, "sees_all": principal.sees_all}
        row = (await self._connection.execute(_VISIBLE, values)).first()
        return _order(row) if row else None

    async def page(
        self, principal: Principal, request: PageRequest, status: OrderStatus | None = None
    ) -> Page[Order]:
        """Return a page of the orders that the caller may see, of one state if given, newest first."""
        values = {"user_id": principal.user_id, "after": request.after, "limit": request.limit + 1}
        seen = None
        if status is None:
            newest = _PAGES.get(principal.role, _PAGE_OF_ALL)
            found = list((await self._connection.execute(newest, values)).scalars())
        else:
            look = _LOOKS.get(principal.role, _LOOK_AT_ALL)
            of_status = {"status": status, "effort": self._effort}
            found, seen = (await self._connection.execute(look, {**values, **of_status})).one()
        shown = found[: request.limit]
        rows = await self._connection.execute(_READ, {"ids": shown, "enough_lines": self._enough_lines})
        orders = [_order(row) for row in rows]
        if len(orders) < len(found):
            seen = orders[-1].id
        # One that has left the state since the look is in no page of it.
        return Page([order for order in orders if status in {None, order.status}], seen)

    async def lock(self, ids: Sequence[OrderId]) -> Mapping[OrderId, Order]:
        """Lock orders until the transaction ends, in sorted order, and return those that exist, by id."""
        rows = await self._connection.execute(_LOCK, {"ids": list(ids)})
        return {row.id: _order(row) for row in rows}

    async def advance(self, statuses: Mapping[OrderId, OrderStatus], at: datetime) -> None:
        """Write new states of locked orders; those that end unpaid give their stock back, by a trigger."""
        if statuses:
            values = {"ids": list(statuses), "statuses": list(statuses.values()), "at": at}
            await self._connection.execute(_ADVANCE, values)

    async def due(self, now: datetime, *, limit: int) -> Sequence[OrderId]:
        """Return the ids of orders that wait for time to take a step, the longest due first, unlocked."""
        return (await self._connection.execute(_DUE, {"now": now, "limit": limit})).scalars().all()

    async def lock_due(self, ids: Sequence[OrderId], now: datetime) -> Sequence[Order]:
        """Lock those of the orders that are still due and that nobody holds, skipping locked rows."""
        rows = await self._connection.execute(_LOCK_DUE, {"ids": list(ids), "now": now})
        return [_order(row) for row in rows]

    async def live_payments(self, ids: Sequence[OrderId]) -> Mapping[OrderId, str]:
        """Return the state of the live payment of each locked order that has one."""
        rows = await self._connection.execute(_LIVE_PAYMENTS, {"ids": list(ids)})
        return {row.order_id: row.status for row in rows}

    async def schedule(self, due_ats: Mapping[OrderId, datetime | None]) -> None:
        """Write when time takes the next step of locked orders; None for never."""
        values = {"ids": list(due_ats), "due_ats": list(due_ats.values())}
        await self._connection.execute(_SCHEDULE, values)


@contextmanager
def _stock_gone() -> Iterator[None]:
    """Tell the refusal of a stock below zero from all others."""
    try:
        yield
    except CheckViolation as error:
        if error.diag.constraint_name == _STOCK_CHECK:
            raise StockGone("not enough of a product is left") from error
        raise


def _order(row: Row) -> Order:
    values = dict(row._mapping)
    lines = tuple(_line(line) for line in values.pop("lines"))
    resumes_as = OrderStatus(row.resumes_as) if row.resumes_as is not None else None
    return Order(**{**values, "status": OrderStatus(row.status), "resumes_as": resumes_as}, lines=lines)


def _line(line: Mapping[str, Any]) -> OrderLine:
    return OrderLine(
        line=line["line"],
        product_id=ProductId(UUID(line["product_id"])),
        seller_id=UserId(UUID(line["seller_id"])),
        quantity=line["quantity"],
        price_minor=line["price_minor"],
        commission_bps=line["commission_bps"],
    )
