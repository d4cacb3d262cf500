"""Explaining a cent, from any id that people come with."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from domain.errors import NotFound
from domain.identity.model import Principal, Role, require_role
from domain.settlement.stripe_objects import JsonObject, read_event_object, read_payment_id
from domain.traces.model import MAX_NODES_OF_A_KIND, MAX_PAYMENTS, Lead, NodeKind, Trace, arrange
from domain.traces.ports import TracesTransaction
from domain.transactions import Begin

_ID = re.compile(r"[\x20-\x7e]{1,255}")
"""As many characters as an idempotency key may have."""
_CLUES = ("id", "charge", "payment_intent", "balance_transaction")
"""Where Stripe's objects name others of theirs."""


class TraceService:
    """The whole chain that an id belongs to, for finance and for operators."""

    def __init__(self, begin: Begin[TracesTransaction]) -> None:
        """Keep how transactions begin."""
        self._begin = begin

    async def get(self, principal: Principal, sought: str) -> Trace:
        """Return the trace of an id. Errors: Forbidden for all but finance; NotFound."""
        require_role(principal, Role.FINANCE)
        return await self.explain(sought)

    async def explain(self, sought: str) -> Trace:
        """Return the trace of an id, for who may see everything. Errors: NotFound `trace_not_found`."""
        async with self._begin() as tx:
            lead = await _find(tx, sought) if _ID.fullmatch(sought) else None
            if lead is None:
                raise NotFound("nothing that moved money has this id", code="trace_not_found")
            roots = await tx.traces.roots(lead, limit=MAX_PAYMENTS)
            nodes = await tx.traces.nodes(roots, limit=MAX_NODES_OF_A_KIND)
        most = max(Counter(node.kind for node in nodes).values(), default=0)
        return Trace(sought, lead.kind, arrange(nodes), roots.is_cut or most > MAX_NODES_OF_A_KIND)


async def _find(tx: TracesTransaction, sought: str) -> Lead | None:
    lead = await tx.traces.find(sought)
    if lead is not None or not sought.startswith("evt_"):
        return lead
    body = await tx.traces.stripe_event(sought)
    for clue in _clues(body) if body is not None else ():
        if lead := await tx.traces.find(clue):
            return replace(lead, kind=NodeKind.STRIPE_EVENT)
    return None


def _clues(body: str) -> Iterator[str]:
    """Yield the ids in one of Stripe's events that may be known here, ours first."""
    try:
        told: JsonObject = read_event_object(body)
    except (KeyError, ValueError, TypeError):
        return
    if payment_id := read_payment_id(told):
        yield str(payment_id)
    for name in _CLUES:
        clue = told.get(name)
        if isinstance(clue, str) and _ID.fullmatch(clue):
            yield clue
