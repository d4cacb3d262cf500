"""The sellers' accounts at Stripe, in PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from db.connection import Connection, Row
from db.sql import Sql
from domain.ids import UserId
from domain.sellers.model import OnboardingStatus, SellerAccount

_NAMES = (
    "seller_id",
    "status",
    "created_at",
    "updated_at",
    "stripe_account_id",
    "payouts_enabled",
    "link",
    "link_expires_at",
    "failure_code",
    "attempts",
    "wakes",
    "key_number",
    "first_sent_at",
    "key_burnt_at",
    "request_id",
    "traceparent",
)
_COLUMNS = ", ".join(f"a.{name}" for name in _NAMES)
_ADD = Sql(
    """
    INSERT INTO seller_accounts (
        seller_id, status, request_id, traceparent, created_at, updated_at, due_at, publish_at)
    VALUES (
        :seller_id, :status, :request_id, :traceparent, :created_at, :updated_at, :created_at, :publish_at)
    ON CONFLICT (seller_id) DO NOTHING
    RETURNING seller_id
    """
)
_BY_SELLERS = Sql(f"SELECT {_COLUMNS} FROM seller_accounts a WHERE a.seller_id = ANY(:ids) ORDER BY a.seller_id")
_LOCK = Sql(f"SELECT {_COLUMNS} FROM seller_accounts a WHERE a.seller_id = :seller_id FOR NO KEY UPDATE")
_LEASE = Sql(
    f"""
    WITH free AS (
        SELECT seller_id FROM seller_accounts
        WHERE seller_id = ANY(:ids) AND due_at <= :now AND (locked_until IS NULL OR locked_until <= :now)
        ORDER BY seller_id FOR UPDATE SKIP LOCKED
    )
    UPDATE seller_accounts a
    SET attempts = a.attempts + 1, locked_until = :locked_until, publish_at = :locked_until,
        first_sent_at = CASE WHEN a.stripe_account_id IS NULL THEN coalesce(a.first_sent_at, :now) END
    FROM free WHERE a.seller_id = free.seller_id
    RETURNING {_COLUMNS}
    """
)
_SAVE = Sql(
    """
    UPDATE seller_accounts
    SET status = :status, updated_at = :updated_at, stripe_account_id = :stripe_account_id,
        payouts_enabled = :payouts_enabled, link = :link, link_expires_at = :link_expires_at,
        failure_code = :failure_code, attempts = :attempts, key_number = :key_number,
        first_sent_at = :first_sent_at, key_burnt_at = :key_burnt_at,
        due_at = :due_at, publish_at = :due_at, locked_until = NULL
    WHERE seller_id = :seller_id
    """
)
_ASK = Sql(
    """
    UPDATE seller_accounts
    SET status = :status, updated_at = :updated_at, link = :link, link_expires_at = :link_expires_at,
        failure_code = :failure_code, request_id = :request_id, traceparent = :traceparent,
        wakes = wakes + 1, due_at = :due_at, publish_at = :publish_at
    WHERE seller_id = :seller_id
    """
)
_WAKE = Sql(
    """
    UPDATE seller_accounts SET wakes = wakes + 1, due_at = :due_at, publish_at = :publish_at
    WHERE stripe_account_id = :stripe_account_id OR (stripe_account_id IS NULL AND seller_id = :seller_id)
    RETURNING seller_id
    """
)


class SellerAccounts:
    """`domain.sellers.ports.SellerAccountRepository`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def add(self, account: SellerAccount, *, publish_at: datetime) -> bool:
        """Insert an account, due at once; return False when the seller has one."""
        names = ("seller_id", "status", "request_id", "traceparent", "created_at", "updated_at")
        values = {name: getattr(account, name) for name in names}
        row = (await self._connection.execute(_ADD, {**values, "publish_at": publish_at})).first()
        return row is not None

    async def by_sellers(self, ids: Collection[UserId]) -> Mapping[UserId, SellerAccount]:
        """Return the accounts of those sellers that have one, unlocked."""
        rows = await self._connection.execute(_BY_SELLERS, {"ids": list(ids)})
        return {row.seller_id: _account(row) for row in rows}

    async def lock(self, seller_id: UserId) -> SellerAccount | None:
        """Lock a seller's account until the transaction ends, and return it."""
        row = (await self._connection.execute(_LOCK, {"seller_id": seller_id})).first()
        return _account(row) if row else None

    async def lease(self, ids: Sequence[UserId], now: datetime, locked_until: datetime) -> Sequence[SellerAccount]:
        """Take those of the accounts that are due and that nobody holds, skipping locked rows."""
        values = {"ids": list(ids), "now": now, "locked_until": locked_until}
        return [_account(row) for row in await self._connection.execute(_LEASE, values)]

    async def save(self, account: SellerAccount, *, due_at: datetime | None) -> None:
        """Write a locked account and when it is due again, and end its lease."""
        values = {name: getattr(account, name) for name in _NAMES}
        await self._connection.execute(_SAVE, {**values, "due_at": due_at})

    async def ask(self, account: SellerAccount, *, due_at: datetime, publish_at: datetime) -> None:
        """Write a locked account that somebody wants to be looked at."""
        values = {name: getattr(account, name) for name in _NAMES}
        await self._connection.execute(_ASK, {**values, "due_at": due_at, "publish_at": publish_at})

    async def wake(
        self, stripe_account_id: str, seller_id: UserId | None, *, due_at: datetime, publish_at: datetime
    ) -> UserId | None:
        """Make an account due again, and return whose it is; None when it is not one of ours."""
        values = {
            "stripe_account_id": stripe_account_id,
            "seller_id": seller_id,
            "due_at": due_at,
            "publish_at": publish_at,
        }
        row = (await self._connection.execute(_WAKE, values)).first()
        return UserId(row.seller_id) if row else None


def _account(row: Row) -> SellerAccount:
    return SellerAccount(**{**row._mapping, "status": OnboardingStatus(row.status)})
