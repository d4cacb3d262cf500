"""What Stripe lists in each payout of the platform's own balance, in PostgreSQL."""

from collections.abc import Mapping, Sequence

from db.connection import Connection
from db.sql import Sql
from domain.reconciliation.model import StripeLine
from domain.reconciliation.ports import LinePage

_PUT_IN = Sql(
    """
    UPDATE stripe_transactions SET payout_id = :payout_id
    WHERE id = ANY(CAST(:ids AS text[])) AND payout_id IS DISTINCT FROM :payout_id
    """
)
_ADD = Sql(
    """
    INSERT INTO stripe_payout_contents AS c (transaction_id, net_minor, lines, is_whole)
    VALUES (:id, :net_minor, :lines, :is_whole)
    ON CONFLICT (transaction_id) DO UPDATE
    SET net_minor = excluded.net_minor + CASE WHEN :is_first THEN 0 ELSE c.net_minor END,
        lines = excluded.lines + CASE WHEN :is_first THEN 0 ELSE c.lines END,
        is_whole = excluded.is_whole
    """
)
_FORGET = Sql("DELETE FROM stripe_payout_contents WHERE transaction_id = :id")
_OF = Sql(
    """
    SELECT transaction_id, net_minor FROM stripe_payout_contents
    WHERE transaction_id = ANY(CAST(:ids AS text[])) AND is_whole
    ORDER BY transaction_id
    """
)


class PayoutContents:
    """The lines in each payout, and what they come to."""

    def __init__(self, connection: Connection) -> None:
        """Work in that connection's transaction."""
        self._connection = connection

    async def unpack(self, payout: StripeLine, page: LinePage | None, *, is_first: bool) -> None:
        """Write in which payout the lines of a page are, and add them up; None where nobody knows what is in it.

        The first page begins the sum anew. Stripe lists the payout itself among what is in it; that is left out.
        """
        if page is None:
            await self._connection.execute(_FORGET, {"id": payout.id})
            return
        lines = [line for line in page.lines if line.id != payout.id]
        put = {"payout_id": payout.source, "ids": sorted(line.id for line in lines)}
        await self._connection.execute(_PUT_IN, put)
        sums = {
            "id": payout.id,
            "net_minor": sum(line.net_minor for line in lines),
            "lines": len(lines),
            "is_whole": not page.has_more,
            "is_first": is_first,
        }
        await self._connection.execute(_ADD, sums)

    async def of(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Return what the transactions in payouts come to, by the payout's line, where all were listed."""
        rows = await self._connection.execute(_OF, {"ids": list(ids)}) if ids else ()
        return {row.transaction_id: row.net_minor for row in rows}
