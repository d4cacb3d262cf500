"""What traces need from outside."""

from collections.abc import Sequence
from typing import Protocol

from domain.traces.model import Lead, Node, Roots
from domain.transactions import Transaction


class TraceRepository(Protocol):
    """Everything that money leaves behind, by any of its ids."""

    async def find(self, sought: str) -> Lead | None:
        """Return what an id leads to, by an index each time; None where it leads nowhere."""
        ...

    async def stripe_event(self, event_id: str) -> str | None:
        """Return the raw body of one of Stripe's events, while it is kept."""
        ...

    async def roots(self, lead: Lead, *, limit: int) -> Roots:
        """Return what a lead belongs to: whole orders, direct payments, payouts; at most `limit` of each.

        A payout leads to all payments that it takes of, a payment to all its payouts, and no further. What Stripe
        lists of them and reconciliation says of that comes along.
        """
        ...

    async def nodes(self, roots: Roots, *, limit: int) -> Sequence[Node]:
        """Return all that belongs to the roots: for each table, the `limit` oldest rows and one more."""
        ...


class TracesTransaction(Transaction, Protocol):
    """The repositories of this context."""

    @property
    def traces(self) -> TraceRepository:
        """What money leaves behind."""
        ...
