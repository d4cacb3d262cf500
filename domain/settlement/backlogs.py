"""How much work waits: what operators watch."""

from collections.abc import Sequence
from datetime import datetime

from domain.settlement.model import Backlog
from domain.settlement.ports import SettlementTransaction
from domain.transactions import Begin


class BacklogService:
    """Reads what is due, of every kind."""

    def __init__(self, begin: Begin[SettlementTransaction]) -> None:
        """Keep where the rows are."""
        self._begin = begin

    async def read(self, now: datetime) -> Sequence[Backlog]:
        """Return how much of each kind of work is due and waits. Errors: Unavailable without the database."""
        async with self._begin() as tx:
            return await tx.due_work.backlogs(now)
