"""Payouts in PostgreSQL, as they are made and read."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from db.connection import Connection, Row
from db.ledger import UNFOLDED
from db.paging import cut
from db.sql import Sql
from domain.disputes.model import OPEN
from domain.identity.model import Principal
from domain.ids import PayoutId, UserId
from domain.ledger.model import seller_disputed, seller_payable
from domain.money import step_minor
from domain.pages import Page, PageRequest
from domain.payouts.model import Payout, PayoutOrigin, PayoutStatus, Release, SellerBalance

PAYOUTS_LOCK = 0x6D66_0003
"""With a seller's hash it names the payouts of that seller among the advisory locks."""

SHARES = "('charge', 'conversion_settled', 'refund_failed', 'dispute_won')"
"""The kinds of journals that owe a seller its share of a payment: when it is captured, and when it comes back."""

MAX_ENTRIES = 50_000
"""How many entries a payout takes at most, but for those that make up for losses."""
MAX_NETTED = 10_000
"""Of how many payments what comes to nothing is closed at a time."""

# Journals are numbered before they commit: one that is older than this has committed, or never will.
_SETTLED_AFTER = timedelta(hours=1)

_NAMES = (
    "id",
    "seller_id",
    "stripe_account_id",
    "amount_minor",
    "carried_minor",
    "currency",
    "status",
    "origin",
    "created_at",
    "updated_at",
    "requested_by",
    "idempotency_key",
    "request_hash",
    "failure_code",
    "stripe_transfer_id",
    "stripe_payout_id",
    "reversed_minor",
    "attempts",
    "first_sent_at",
    "key_burnt_at",
    "run_at",
    "request_id",
    "traceparent",
)
COLUMNS = ", ".join(f"t.{name}" for name in _NAMES)

# What is owed to a seller and taken by no payout yet. Every entry below the floor is taken for good.
# PERF: the upper end, below which all ids are, tells the planner that a part is asked for, and not a third: it
# would go through all that was ever paid out.
_OPEN = """
    FROM entries e
    JOIN journals j ON j.id = e.journal_id
    LEFT JOIN payments p ON p.id = j.payment_id
    LEFT JOIN orders o ON o.id = p.order_id
    WHERE e.account = :account
        AND e.journal_id >= coalesce(
            (SELECT f.journal_id FROM payout_floors f WHERE f.seller_id = :seller_id),
            '00000000-0000-0000-0000-000000000000')
        AND e.journal_id <= 'ffffffff-ffff-ffff-ffff-ffffffffffff'
        AND NOT EXISTS (SELECT FROM payout_entries x WHERE x.journal_id = e.journal_id AND x.line = e.line)
"""
_OPEN_DISPUTES = ", ".join(f"'{status}'" for status in sorted(OPEN))
# An entry is as available as the money of its payment; what is of no payment came back of a transfer. A refunded
# order holds nothing, and a disputed one what it held before. What is promised back is held until it is booked,
# and what a dispute is about to take until Stripe has taken it. A payment that has paid for nothing has no money
# to wait for: what is booked for its sellers, a person has booked.
_IS_RELEASED = f"""
    (p.id IS NULL OR p.status <> 'succeeded' OR (
        coalesce(p.funds_available_at <= :now, false)
        AND NOT EXISTS (
            SELECT FROM refunds r WHERE r.payment_id = p.id AND r.status = 'pending' AND NOT r.is_booked)
        AND NOT EXISTS (
            SELECT FROM disputes d
            WHERE d.payment_id = p.id AND d.funds = 'none' AND d.status IN ({_OPEN_DISPUTES}))
        AND CASE
            WHEN p.order_id IS NULL THEN p.created_at <= :direct_before
            ELSE o.status IN ('completed', 'refunded') OR (o.status = 'disputed' AND o.resumes_as = 'completed')
        END))
"""
_CLAIM = Sql("SELECT pg_advisory_xact_lock(:key, hashtext(CAST(:seller_id AS text)))")
_AVAILABLE = Sql(
    f"""
    SELECT e.currency, -sum(e.amount_minor)::bigint AS amount_minor
    {_OPEN} AND {_IS_RELEASED}
    GROUP BY e.currency ORDER BY e.currency
    """
)
# One statement, so that the amount is the sum of the very entries that are taken. Where there are too many for one
# payout, what the seller lost comes first, and then what it earned, the oldest first: so a part is never more than
# the whole, and as many are taken as make up for the losses.
_DRAFT = Sql(
    f"""
    WITH ranked AS (
        SELECT e.journal_id, e.line, -e.amount_minor AS amount_minor, row_number() OVER in_turn AS number,
               -sum(e.amount_minor) OVER in_turn AS running_minor
        {_OPEN} AND {_IS_RELEASED} AND e.currency = :currency
        WINDOW in_turn AS (ORDER BY e.amount_minor < 0, e.journal_id, e.line)
    ), open AS (
        SELECT journal_id, line, amount_minor FROM ranked
        WHERE number <= :most OR running_minor - amount_minor < greatest(:least_minor, :step_minor)
    ), total AS (
        SELECT sum(amount_minor)::bigint AS amount_minor FROM open
    ), drafted AS (
        INSERT INTO payouts AS t (
            id, seller_id, stripe_account_id, amount_minor, carried_minor, currency, status, origin, requested_by,
            idempotency_key, request_hash, run_at, request_id, traceparent, created_at, updated_at, due_at,
            publish_at)
        SELECT :id, :seller_id, :stripe_account_id, amount_minor - amount_minor % :step_minor,
               amount_minor % :step_minor, :currency, 'pending', :origin, :requested_by, :idempotency_key,
               :request_hash, :run_at, :request_id, :traceparent, :created_at, :created_at, :created_at,
               :publish_at
        FROM total WHERE amount_minor >= greatest(:least_minor, :step_minor)
        RETURNING {COLUMNS}
    ), taken AS (
        INSERT INTO payout_entries (journal_id, line, payout_id)
        SELECT open.journal_id, open.line, drafted.id FROM open, drafted
    )
    SELECT {COLUMNS} FROM drafted t
    """
)
_DRAFTED_COLUMNS = (
    "id",
    "seller_id",
    "stripe_account_id",
    "currency",
    "origin",
    "requested_by",
    "idempotency_key",
    "request_hash",
    "run_at",
    "request_id",
    "traceparent",
    "created_at",
)
# Nobody's entries: a trigger holds that what is closed so comes to nothing in each payment and currency.
_NET = Sql(
    f"""
    WITH open AS (
        SELECT e.journal_id, e.line, e.currency, e.amount_minor, j.payment_id
        {_OPEN} AND {_IS_RELEASED} AND j.payment_id IS NOT NULL
    ), even AS (
        SELECT payment_id, currency FROM open
        GROUP BY payment_id, currency HAVING sum(amount_minor) = 0
        ORDER BY payment_id, currency LIMIT :most
    ), closed AS (
        INSERT INTO payout_entries (journal_id, line)
        SELECT open.journal_id, open.line FROM open JOIN even USING (payment_id, currency)
        ORDER BY open.journal_id, open.line
    )
    SELECT count(*) FROM even
    """
)
# A payout that is under way may let its entries go.
_RAISE_FLOOR = Sql(
    f"""
    WITH oldest AS (
        SELECT e.journal_id {_OPEN} ORDER BY e.journal_id LIMIT 1
    ), going AS (
        SELECT x.journal_id FROM payouts t JOIN payout_entries x ON x.payout_id = t.id
        WHERE t.seller_id = :seller_id AND t.status IN ('pending', 'processing', 'unknown')
        ORDER BY x.journal_id LIMIT 1
    )
    INSERT INTO payout_floors AS f (seller_id, journal_id)
    SELECT CAST(:seller_id AS uuid),
           least((SELECT journal_id FROM oldest), (SELECT journal_id FROM going), CAST(:settled AS uuid))
    ON CONFLICT (seller_id) DO UPDATE SET journal_id = greatest(f.journal_id, excluded.journal_id)
    """
)
_BY_KEY = Sql(
    f"""
    SELECT {COLUMNS} FROM payouts t
    WHERE t.requested_by = :requested_by AND t.idempotency_key = :idempotency_key
    """
)
_VISIBLE = Sql(f"SELECT {COLUMNS} FROM payouts t WHERE t.id = :id AND (:sees_all OR t.seller_id = :user_id)")
_PAGE = f"SELECT {COLUMNS} FROM payouts t WHERE (CAST(:after AS uuid) IS NULL OR t.id < :after)"
_PAGE_OF_ALL = Sql(f"{_PAGE} ORDER BY t.id DESC LIMIT :limit")
_PAGE_OF_ONE = Sql(f"{_PAGE} AND t.seller_id = :user_id ORDER BY t.id DESC LIMIT :limit")
# One statement, and so one moment. What is neither available nor on its way is pending: what is left of the
# ledger's balance, so that the parts add up to it.
_BALANCE = Sql(
    f"""
    WITH owed AS (
        SELECT currency,
               -coalesce(sum(amount_minor) FILTER (WHERE account = :account), 0)::bigint AS payable_minor,
               -coalesce(sum(amount_minor) FILTER (WHERE account = :disputed), 0)::bigint AS in_dispute_minor
        FROM (
            SELECT account, currency, balance_minor AS amount_minor FROM balances
            WHERE account IN (:account, :disputed)
            UNION ALL
            SELECT account, currency, amount_minor FROM {UNFOLDED} AS unfolded
            WHERE account IN (:account, :disputed)
        ) AS parts
        GROUP BY currency
    ), released AS (
        SELECT e.currency, -sum(e.amount_minor)::bigint AS available_minor
        {_OPEN} AND {_IS_RELEASED}
        GROUP BY e.currency
    ), going AS (
        SELECT currency, sum(amount_minor + carried_minor)::bigint AS in_payout_minor FROM payouts
        WHERE seller_id = :seller_id AND status IN ('pending', 'processing', 'unknown')
        GROUP BY currency
    )
    SELECT currency,
           payable_minor - coalesce(available_minor, 0) - coalesce(in_payout_minor, 0) AS pending_minor,
           coalesce(available_minor, 0) AS available_minor,
           coalesce(in_payout_minor, 0) AS in_payout_minor,
           in_dispute_minor
    FROM owed LEFT JOIN released USING (currency) LEFT JOIN going USING (currency)
    ORDER BY currency
    """
)


class Payouts:
    """`domain.payouts.ports.PayoutRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def claim_seller(self, seller_id: UserId) -> None:
        """Lock a seller's payouts until the transaction ends. Errors: Unavailable where another has them long."""
        await self._connection.execute(_CLAIM, {"key": PAYOUTS_LOCK, "seller_id": seller_id})

    async def available(self, seller_id: UserId, release: Release) -> dict[str, int]:
        """Return per currency the sum of what is released and not paid out, below zero where the seller owes."""
        rows = await self._connection.execute(_AVAILABLE, _of(seller_id, release))
        return {row.currency: row.amount_minor for row in rows}

    async def draft(
        self, payout: Payout, release: Release, *, least_minor: int, publish_at: datetime
    ) -> Payout | None:
        """Insert a payout of all entries that are released in its currency, and return it with its sum."""
        values = {
            **{name: getattr(payout, name) for name in _DRAFTED_COLUMNS},
            **_of(payout.seller_id, release),
            "step_minor": step_minor(payout.currency),
            "least_minor": least_minor,
            "most": MAX_ENTRIES,
            "publish_at": publish_at,
        }
        row = (await self._connection.execute(_DRAFT, values)).first()
        return read_payout(row) if row else None

    async def net(self, seller_id: UserId, release: Release) -> bool:
        """Close what is released of a payment in a currency and comes to nothing; False if not yet all."""
        closed = await self._connection.execute(_NET, {**_of(seller_id, release), "most": MAX_NETTED})
        return int(closed.scalar_one()) < MAX_NETTED

    async def raise_floor(self, seller_id: UserId, now: datetime) -> None:
        """Remember up to where all entries of a seller are taken for good, so that nobody reads them again."""
        milliseconds = int((now - _SETTLED_AFTER).timestamp() * 1000)
        values = {
            "seller_id": seller_id,
            "account": seller_payable(seller_id),
            "settled": UUID(int=milliseconds << 80),
        }
        await self._connection.execute(_RAISE_FLOOR, values)

    async def by_key(self, requested_by: UserId, idempotency_key: str) -> Payout | None:
        """Return the payout that a caller asked for under a key."""
        values = {"requested_by": requested_by, "idempotency_key": idempotency_key}
        row = (await self._connection.execute(_BY_KEY, values)).first()
        return read_payout(row) if row else None

    async def visible(self, principal: Principal, payout_id: PayoutId) -> Payout | None:
        """Return a payout if it is the caller's, or the caller may see all."""
        values = {"id": payout_id, "user_id": principal.user_id, "sees_all": principal.sees_all}
        row = (await self._connection.execute(_VISIBLE, values)).first()
        return read_payout(row) if row else None

    async def page(self, principal: Principal, request: PageRequest) -> Page[Payout]:
        """Return a page of the payouts that the caller may see, newest first."""
        values: dict[str, object] = {"after": request.after, "limit": request.limit + 1}
        if principal.sees_all:
            rows = await self._connection.execute(_PAGE_OF_ALL, values)
        else:
            rows = await self._connection.execute(_PAGE_OF_ONE, {**values, "user_id": principal.user_id})
        return cut([read_payout(row) for row in rows], request)

    async def balance(self, seller_id: UserId, release: Release) -> Sequence[SellerBalance]:
        """Return what a seller is owed, by currency, as of one moment."""
        values = {**_of(seller_id, release), "disputed": seller_disputed(seller_id)}
        return [SellerBalance(**row._mapping) for row in await self._connection.execute(_BALANCE, values)]


def read_payout(row: Row) -> Payout:
    """Make a payout from a row that holds COLUMNS."""
    states = {"status": PayoutStatus(row.status), "origin": PayoutOrigin(row.origin)}
    return Payout(**{**row._mapping, **states})


def _of(seller_id: UserId, release: Release) -> dict[str, object]:
    return {
        "seller_id": seller_id,
        "account": seller_payable(seller_id),
        "now": release.now,
        "direct_before": release.direct_before,
    }
