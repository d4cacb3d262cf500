"""The sellers' accounts at Stripe in PostgreSQL, as payouts see them."""

from collections.abc import Sequence

from db.connection import Connection
from db.sql import Sql
from domain.ids import UserId
from domain.payouts.model import Destination

_COLUMNS = "seller_id, stripe_account_id, payouts_enabled"
_OF_SELLER = Sql(
    f"""
    SELECT {_COLUMNS} FROM seller_accounts
    WHERE seller_id = :seller_id AND stripe_account_id IS NOT NULL
    """
)
_ENABLED = Sql(
    f"""
    SELECT {_COLUMNS} FROM seller_accounts
    WHERE payouts_enabled AND (CAST(:after AS uuid) IS NULL OR seller_id > :after)
        AND NOT EXISTS (SELECT FROM users u WHERE u.id = seller_id AND u.suspended_at IS NOT NULL)
    ORDER BY seller_id LIMIT :limit
    """
)


class Destinations:
    """`domain.payouts.ports.Destinations`."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def of_seller(self, seller_id: UserId) -> Destination | None:
        """Return a seller's account, if it has one."""
        row = (await self._connection.execute(_OF_SELLER, {"seller_id": seller_id})).first()
        return Destination(**row._mapping) if row else None

    async def enabled(self, *, after: UserId | None, limit: int) -> Sequence[Destination]:
        """Return accounts whose payouts are enabled, by seller, those that follow the seller `after`.

        Those of suspended sellers are left out: what is owed to them waits until somebody has looked.
        """
        rows = await self._connection.execute(_ENABLED, {"after": after, "limit": limit})
        return [Destination(**row._mapping) for row in rows]
