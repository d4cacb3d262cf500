"""What operators watch of the audit log: for how long something has waited to be sealed."""

from datetime import datetime

from domain.audit.ports import AuditTransaction
from domain.transactions import Begin


class SealingWatch:
    """Reads how far sealing is behind."""

    def __init__(self, begin: Begin[AuditTransaction]) -> None:
        """Keep where the log is."""
        self._begin = begin

    async def oldest_unsealed(self) -> datetime | None:
        """Return when the oldest event happened that nobody has sealed; None when all are.

        Postings have events beside them, so journals do not wait unseen. Errors: Unavailable without the database.
        """
        async with self._begin() as tx:
            return await tx.audit.oldest_unsealed()
