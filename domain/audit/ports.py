"""What the audit log needs from outside."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.audit.model import Log, Record, Seal
from domain.feed.ports import FeedRepository
from domain.transactions import Transaction


class AuditRepository(Protocol):
    """The chain of seals, and what they seal."""

    async def try_lock(self) -> bool:
        """Take the right to seal until the transaction ends; return False when somebody else has it."""
        ...

    async def last_seal(self) -> Seal | None:
        """Return the head of the chain."""
        ...

    async def sealed_through(self, log: Log, *, before: int | None = None) -> int:
        """Return the last position of a log that is sealed, or was before the seal of a number; 0 without any."""
        ...

    async def oldest_unsealed(self) -> datetime | None:
        """Return when the first event happened that is not sealed; None when all are."""
        ...

    async def records(self, log: Log, after: int, through: int, *, limit: int) -> Sequence[Record]:
        """Return the records after one position through another in their order.

        At about `limit` it stops; never inside a position, so that all records of the last one are there.
        """
        ...

    async def add(self, seal: Seal) -> None:
        """Append a seal. Errors: Refused when it does not follow the head."""
        ...

    async def seals(self, first: int, *, limit: int) -> Sequence[Seal]:
        """Return seals from a number on, in order."""
        ...


class AuditTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def audit(self) -> AuditRepository:
        """The chain of seals."""
        ...

    @property
    def feed(self) -> FeedRepository:
        """The event log, read by position."""
        ...
